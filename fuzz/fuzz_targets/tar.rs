//! Any bytes as a tar archive.
//!
//! Errors are fine; panics, hangs and memory far above the size of the input are bugs. What is accepted
//! is a tree that our own writer can write, and that archive is read as the same tree.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (name, spool) = (Path::new("input"), std::env::temp_dir());
    let import = |bytes: &[u8]| archive::tar::import_stream(bytes, name, &spool, &|_| ());
    let Ok((tree, blobs)) = import(data) else { return };
    let mut written = Vec::new();
    archive::tar::write(&tree, &blobs, &mut written).expect("an imported tree can be written");
    let (again, _) = import(&written).expect("our own archive can be read");
    assert_eq!(tree::manifest::digest(&again), tree::manifest::digest(&tree));
});
