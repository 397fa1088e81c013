//! Any text as a lock file.
//!
//! Errors are fine, panics are bugs. What is accepted and written is accepted again, and written as the
//! same text.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(lock) = darksite::lock::parse(text) else { return };
    let written = lock.to_string();
    let again = darksite::lock::parse(&written).expect("what we write we read");
    assert_eq!(again.to_string(), written);
});
