//! Any text as a package set.
//!
//! Errors are fine, panics are bugs. The names that are accepted are accepted as a set again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pkg::profile::parse_set;

fuzz_target!(|text: &str| {
    let Ok(names) = parse_set("set.txt", text, "amd64") else { return };
    assert_eq!(parse_set("set.txt", &names.join("\n"), "amd64"), Ok(names));
});
