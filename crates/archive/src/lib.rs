//! Byte streams in and out: ar, tar, cpio, compression.
#![forbid(unsafe_code)]

pub mod ar;
pub mod compress;
pub mod cpio;
mod open;
pub mod tar;

pub use open::{OpenError, open};
