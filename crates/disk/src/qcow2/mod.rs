//! qcow2 images (QEMU): versions 2 and 3 are read, version 3 with 64 KiB clusters is written.

pub(crate) mod format;
mod reader;
mod writer;

pub(crate) use reader::open;
pub use writer::{Qcow2Error, write};

/// What every image starts with.
pub(crate) const MAGIC_BYTES: [u8; 4] = format::MAGIC.to_be_bytes();
