//! Any text as a `Release` file.
//!
//! Errors are fine, panics are bugs. Each file that is told of is found by its path.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pkg::deb::Release;

fuzz_target!(|text: &str| {
    let Ok(release) = Release::parse(text) else { return };
    for file in &release.files {
        assert_eq!(release.file(&file.path), Some(file));
    }
});
