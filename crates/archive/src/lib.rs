//! Byte streams in and out: tar, cpio, compression.
#![forbid(unsafe_code)]

pub mod compress;
pub mod cpio;
mod open;
pub mod tar;

pub use open::{OpenError, open};
