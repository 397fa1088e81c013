//! Any text as profiles of an organisation.
//!
//! Errors are fine; panics and endless chains are bugs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pkg::profile::Profiles;

fuzz_target!(|text: &str| {
    let mut profiles = Profiles::built_in("debian").expect("it comes with the program");
    if profiles.add("profiles.toml", text).is_ok() {
        for name in ["core", "desktop", "a", "b"] {
            let _ = profiles.get(name, "trixie");
        }
    }
});
