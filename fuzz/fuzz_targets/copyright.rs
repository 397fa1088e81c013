//! Any text as the copyright file of a package.
//!
//! Panics are bugs; what cannot be read has no licences. An expression has words of SPDX only.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pkg::deb::{Copyright, spdx_expression};

fuzz_target!(|text: &str| {
    let Some(found) = Copyright::parse(text) else { return };
    assert!(!found.names.is_empty());
    let mut other = |name: &str| {
        // Only that it does not panic.
        let _ = found.text(name);
        "LicenseRef-other".to_owned()
    };
    let expression = spdx_expression(&found.names, &mut other);
    let fine = |c: char| c.is_ascii_alphanumeric() || " .+-()".contains(c);
    assert!(!expression.is_empty() && expression.chars().all(fine), "{expression:?}");
});
