//! Any text as where a server redirects to.
//!
//! Panics are bugs. Whoever goes there stays with HTTP, and with encryption.
#![no_main]

use darksite::fetch::redirect::follow;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|target: &str| {
    if let Ok(next) = follow("http://me:secret@m.example:80/pool/a.deb?q", target) {
        assert!(next.starts_with("http://") || next.starts_with("https://"), "{next:?}");
        // What stays on the server stays below its root.
        assert!(!next.contains("/../") || target.contains("//") || next.contains('?'), "{next:?}");
    }
    if let Ok(next) = follow("https://m.example/pool/a.deb", target) {
        assert!(next.starts_with("https://"), "{next:?}");
    }
});
