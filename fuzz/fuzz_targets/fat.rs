//! Any bytes as the start of a FAT32 volume.
//!
//! Errors are fine; panics, hangs and memory far above the size of the input are bugs. What is in use lies
//! in the volume.
#![no_main]

use std::io;

use blk::ReadAt;
use libfuzzer_sys::fuzz_target;

/// No FAT32 is smaller than 33 MiB; nobody fills so much with random bytes.
const SIZE: u64 = 40 << 20;

/// Bytes, and zeros behind them.
struct Volume<'a>(&'a [u8]);

impl ReadAt for Volume<'_> {
    fn size(&self) -> io::Result<u64> {
        Ok(SIZE)
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if offset.checked_add(buf.len() as u64).is_none_or(|end| end > SIZE) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let there = self.0.get(offset as usize..).unwrap_or_default();
        let (now, behind) = buf.split_at_mut(there.len().min(buf.len()));
        now.copy_from_slice(&there[..now.len()]);
        behind.fill(0);
        Ok(())
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(used) = disk::fat::used(&Volume(data)) else { return };
    assert!(used.iter().all(|run| run.start < run.end && run.end <= SIZE));
});
