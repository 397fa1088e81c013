//! Any text as a `Release` file.
//!
//! Errors are fine, panics are bugs. What is accepted is written and read again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pkg::deb::Release;

fuzz_target!(|text: &str| {
    let Ok(release) = Release::parse(text) else { return };
    for file in &release.files {
        assert_eq!(release.file(&file.path), Some(file));
    }
});
