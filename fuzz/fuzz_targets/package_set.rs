//! Any text as a package set.
//!
//! Errors are fine, panics are bugs. The names that are accepted are accepted as a set again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pkg::profile::{ProfileError, parse_set};

fuzz_target!(|text: &str| {
    let parse = |text: &str| {
        let lines = parse_set("set.txt", text, "amd64")?;
        Ok::<Vec<String>, ProfileError>(lines.into_iter().map(|(_, package)| package).collect())
    };
    let Ok(names) = parse(text) else { return };
    assert_eq!(parse(&names.join("\n")), Ok(names));
});
