//! Byte streams in and out: tar, cpio, compression.
