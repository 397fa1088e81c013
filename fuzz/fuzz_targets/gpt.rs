//! Any bytes as a disk with a GPT.
//!
//! Errors are fine; panics, hangs and memory far above the size of the input are bugs. Partitions of a
//! table that is accepted lie on the disk, with what is missing of one that was cut off.
#![no_main]

use blk::Memory;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(found) = disk::gpt::read(&Memory::from(data.to_vec())) else { return };
    let size = (data.len() as u64).saturating_add(found.missing.saturating_mul(disk::gpt::SECTOR));
    for partition in found.table.partitions.values() {
        let bytes = partition.bytes();
        assert!(bytes.start < bytes.end && bytes.end <= size, "{bytes:?}");
    }
});
