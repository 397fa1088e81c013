//! Any text as relations and as versions.
//!
//! Errors are fine, panics are bugs. What is accepted is written and read again as the same; the order
//! of versions is one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pkg::deb::{Version, parse_relations};

fuzz_target!(|text: &str| {
    if let Ok(clauses) = parse_relations(text) {
        let written: Vec<String> = clauses
            .iter()
            .map(|clause| clause.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | "))
            .collect();
        let written = written.join(", ");
        assert_eq!(parse_relations(&written).expect("written by us"), clauses);
    }
    let versions: Vec<Version<'_>> =
        text.split(' ').filter_map(|word| Version::parse(word).ok()).take(8).collect();
    for a in &versions {
        for b in &versions {
            assert_eq!(a.cmp(b), b.cmp(a).reverse());
            for c in &versions {
                assert!(!(a <= b && b <= c) || a <= c);
            }
        }
    }
});
