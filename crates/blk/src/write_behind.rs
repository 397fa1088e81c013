//! Has what was written go to the disk early, and out of memory.

use std::fs::File;
use std::num::NonZeroU64;

use rustix::fs::{Advice, fadvise};

/// Bytes after which the disk is set to work: enough for a file system to lay them out well.
const STEP: u64 = 8 << 20;
/// How far behind the disk is taken to be done.
const LAG: u64 = 64 << 20;

/// Sets the disk to work while a file is still being made, so that `fsync` at its end is short: the
/// kernel by itself begins when a tenth of the memory waits for the disk. What the disk has by then
/// leaves memory, where many gigabytes of images would take the place of all else.
#[derive(Debug, Default)]
pub struct WriteBehind {
    /// What lies before was handed to the disk.
    begun: u64,
    /// Whether it stays in memory.
    keep: bool,
}

impl WriteBehind {
    /// Leaves in memory what was written, for a file that is read again when it is made.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// Bytes of `file` that end at `end` were written; ends ascend, or are passed over.
    pub fn wrote(&mut self, file: &File, end: u64) {
        if end.saturating_sub(self.begun) < STEP {
            return;
        }
        // The advice has pages that wait for the disk begin their way and takes clean ones out of memory.
        dont_need(file, self.begun, end);
        let (dropped, done) = (self.begun.saturating_sub(LAG), end.saturating_sub(LAG));
        if !self.keep && done > dropped {
            dont_need(file, dropped, done);
        }
        self.begun = end;
    }
}

/// A file system that does not take the advice is slower, not wrong.
fn dont_need(file: &File, start: u64, end: u64) {
    let _ = fadvise(file, start, NonZeroU64::new(end - start), Advice::DontNeed);
}
