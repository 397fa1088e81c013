//! Any text as a recipe.
//!
//! Errors are fine, panics are bugs.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = plan::recipe::Recipe::parse(text);
});
