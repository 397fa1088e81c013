//! Any text as a pin: the names of packages in the first line, what they are pinned to after it.
//!
//! Errors are fine; panics and patterns that take for ever are bugs. What a pin is about is known.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pkg::deb::{IndexInfo, Pin, PinTarget, Policy, Universe, parse_packages};

/// Names with what patterns stumble over: the same letters again and again.
const INDEX: &str = "Package: aaaaaaaaaaaaaaaaaaaaaaaab\nVersion: 1:1.1-1.1\nArchitecture: all\n\n\
                     Package: linux-image-amd64\nSource: linux-signed-amd64 (6.1)\nVersion: 6.1\nArchitecture: \
                     amd64\n\n";

fuzz_target!(|text: &str| {
    let (packages, target) = text.split_once('\n').unwrap_or((text, "release *"));
    let Ok(target) = PinTarget::parse(target) else { return };
    let mut universe = Universe::new("amd64");
    let codename = "trixie-backports".to_owned();
    let info = IndexInfo { codename, priority: 500, ..IndexInfo::default() };
    universe.add(info, parse_packages(INDEX));
    let packages: Vec<String> = packages.split(' ').map(str::to_owned).collect();
    let policy = Policy { pins: vec![Pin { packages, target, priority: -1 }], ..Policy::default() };
    let named = policy.pins[0].packages.len() - policy.unknown(&universe).len();
    let kept = policy.candidates(&universe).into_iter().flatten().count();
    assert!(named > 0 || kept == universe.entries().len());
});
