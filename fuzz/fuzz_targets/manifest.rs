//! Any bytes as the manifest of a tree.
//!
//! Errors are fine, panics are bugs. A tree has one manifest only: what is accepted is written again as
//! the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(tree) = tree::manifest::parse(data) else { return };
    let mut written = Vec::new();
    tree::manifest::write(&tree, &mut written).expect("memory takes everything");
    assert_eq!(String::from_utf8_lossy(&written), String::from_utf8_lossy(data));
});
