//! What is laid on bytes: partition tables, FAT, disk image formats.
//!
//! Everything here is written in one pass from what the caller says: no clock, no random number,
//! no state of the machine. Nothing here knows what lies in a partition or starts a process.
#![forbid(unsafe_code)]

pub mod export;
pub mod fat;
pub mod gpt;
mod guid;
pub mod image;
pub mod layout;
pub mod qcow2;
pub mod vhd;
pub mod vhdx;
pub mod vmdk;

pub use guid::{BadGuid, Guid};

/// Whether a checksum is right. No fuzzer guesses sums.
fn sums_agree(stored: u32, computed: u32) -> bool {
    cfg!(fuzzing) || stored == computed
}
