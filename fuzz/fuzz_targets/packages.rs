//! Any text as a `Packages` file.
//!
//! Errors are fine, panics are bugs. Each paragraph of what is accepted can be written, and is read
//! again as the same package.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pkg::deb::{paragraphs, parse_packages, write_package};

fuzz_target!(|text: &str| {
    for package in parse_packages(text).packages {
        let paragraph = paragraphs(package.text).next().expect("read before").expect("read before");
        let digest = package.sha256.unwrap_or(tree::Digest([0; 32]));
        let mut written = String::new();
        write_package(&mut written, &paragraph, "pool/x.deb", 1, digest);
        let again = parse_packages(&written).whole().expect("written by us");
        assert_eq!(again.len(), 1);
        assert_eq!((again[0].name, again[0].version), (package.name, package.version));
    }
});
