//! qcow2 images (QEMU): versions 2 and 3 are read; `export` writes version 3 with 64 KiB clusters.

pub(crate) mod format;
mod reader;

pub(crate) use reader::open;

/// What every image starts with.
pub(crate) const MAGIC_BYTES: [u8; 4] = format::MAGIC.to_be_bytes();
