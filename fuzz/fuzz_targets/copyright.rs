//! Any text as the copyright file of a package.
//!
//! Panics are bugs; what cannot be read has no licences. An expression has words of SPDX only.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pkg::deb::{licenses, spdx_expression};

fuzz_target!(|text: &str| {
    let Some(found) = licenses(text) else { return };
    assert!(!found.is_empty());
    if let Some(expression) = spdx_expression(&found) {
        let fine = |c: char| c.is_ascii_alphanumeric() || " .+-()".contains(c);
        assert!(!expression.is_empty() && expression.chars().all(fine), "{expression:?}");
    }
});
