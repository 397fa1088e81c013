//! Any text as the address of an archive.
//!
//! Errors are fine, panics are bugs. What is shown is read again as the same, without a password.
#![no_main]

use darksite::Location;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(location) = text.parse::<Location>() else { return };
    let shown = location.to_string();
    let again: Location = shown.parse().expect("what we show we read");
    assert_eq!(again.to_string(), shown);
    assert_eq!(again.join("pool/a b").to_string(), location.join("pool/a b").to_string());
});
