//! Any text as the sources and the configuration of an apt.
//!
//! Panics are bugs; what cannot be read is left out.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let nothing = |_: &std::path::Path| String::new();
    let _ = darksite::deb::apt_sources::parse_one_line(text, &nothing);
    let _ = darksite::deb::apt_sources::parse_deb822(text, &nothing);
    let _ = darksite::deb::apt_sources::parse_mirrors(text);
    let _ = darksite::deb::apt_sources::ignores_valid_until(text);
});
