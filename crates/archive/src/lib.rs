//! Byte streams in and out: tar, cpio, compression.
#![forbid(unsafe_code)]

pub mod compress;
pub mod cpio;
pub mod tar;
