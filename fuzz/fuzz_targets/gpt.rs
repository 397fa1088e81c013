//! Any bytes as a disk with a GPT.
//!
//! Errors are fine; panics, hangs and memory far above the size of the input are bugs. Partitions of a
//! table that is accepted lie on the disk.
#![no_main]

use blk::Memory;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(found) = disk::gpt::read(&Memory::from(data.to_vec())) else { return };
    for partition in found.table.partitions.values() {
        let bytes = partition.bytes();
        assert!(bytes.start < bytes.end && bytes.end <= data.len() as u64, "{bytes:?}");
    }
});
