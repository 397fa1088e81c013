//! Has what was written go to the disk early.

use std::fs::File;
use std::num::NonZeroU64;

use rustix::fs::{Advice, fadvise};

/// Bytes after which the disk is set to work: enough for a file system to lay them out well.
const STEP: u64 = 8 << 20;

/// Sets the disk to work while a file is still being made, so that `fsync` at its end is short. The
/// kernel by itself begins when a tenth of the memory waits for the disk.
#[derive(Debug, Default)]
pub struct WriteBehind {
    /// What lies before was handed to the disk.
    begun: u64,
}

impl WriteBehind {
    /// Bytes of `file` that end at `end` were written; ends ascend, or are passed over.
    pub fn wrote(&mut self, file: &File, end: u64) {
        let length = end.saturating_sub(self.begun);
        if length < STEP {
            return;
        }
        // Pages that wait for the disk begin their way; as they are not clean yet, they stay in memory.
        // A file system that does not take the advice is slower, not wrong.
        let _ = fadvise(file, self.begun, NonZeroU64::new(length), Advice::DontNeed);
        self.begun = end;
    }
}
