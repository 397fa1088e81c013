//! Any bytes as a ZAP object: the first says how large its blocks are, and which kind it is.
//!
//! Errors are fine; panics, hangs and memory far above the size of the input are bugs. What a fat ZAP
//! finds by its hash is among its entries.
#![no_main]

use libfuzzer_sys::fuzz_target;

/// `ZBT_MICRO` and `ZBT_HEADER`.
const MICRO: u64 = 1 << 63 | 3;
const FAT: u64 = 1 << 63 | 1;

fuzz_target!(|data: &[u8]| {
    let [shape, rest @ ..] = data else { return };
    let block_size = 512 << (shape & 7);
    let mut object = rest.to_vec();
    if let Some(kind) = object.first_chunk_mut() {
        *kind = if shape & 128 == 0 { FAT } else { MICRO }.to_le_bytes();
    }
    let Ok(entries) = zfs::zap::decode(&object, block_size) else { return };
    let bytes: usize = entries.iter().map(|entry| entry.name.len()).sum();
    assert!(bytes <= 64 * object.len(), "{bytes} bytes of names");
    for entry in entries.iter().take(16) {
        if let Ok(Some(value)) = zfs::zap::lookup(&object, block_size, &entry.name) {
            assert!(entries.iter().any(|e| e.name == entry.name && e.value == value));
        }
    }
});
