//! What is laid on bytes: GPT, FAT, disk image formats.
