//! A file-system tree: the artefact between all arrows that make a machine.
//!
//! A [`Tree`] holds names and every attribute of every inode; the bytes of regular files live
//! outside it, named by their SHA-256 ([`Digest`]), and are read through [`Blobs`]. On disk a tree
//! is a sorted text *manifest* beside a directory of such blobs.
//!
//! Names, link targets and attribute values are bytes, as in the kernel. Paths given to functions
//! here are relative to the root, without a leading slash; the root itself is the empty path.
//!
//! Without the feature `std`, which is on by default, the room is `no_std` with `alloc`: trees, inodes
//! and digests.
#![forbid(unsafe_code)]
#![cfg_attr(not(any(test, feature = "std")), no_std)]

extern crate alloc;

#[cfg(feature = "std")]
mod blobs;
mod digest;
mod inode;
#[cfg(feature = "std")]
pub mod manifest;
#[cfg(feature = "std")]
pub mod scan;
#[cfg(feature = "std")]
pub mod store;
#[allow(clippy::module_inception)]
mod tree;

#[cfg(feature = "std")]
pub use blobs::{Blobs, LayeredBlobs, MemoryBlobs};
pub use digest::{Digest, Hasher};
pub use inode::{Device, Directory, Extent, File, Inode, Kind, Metadata, Timestamp, Xattrs};
pub use tree::{InodeId, Tree, TreeError, Walk, WalkEntry};
