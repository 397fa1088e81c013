//! A file-system tree: the artefact between all arrows that make a machine.
//!
//! A [`Tree`] holds names and every attribute of every inode; the bytes of regular files live
//! outside it, named by their SHA-256 ([`Digest`]), and are read through [`Blobs`]. On disk a tree
//! is a sorted text *manifest* beside a directory of such blobs.
//!
//! Names, link targets and attribute values are bytes, as in the kernel. Paths given to functions
//! here are relative to the root, without a leading slash; the root itself is the empty path.
#![forbid(unsafe_code)]

mod blobs;
mod digest;
mod inode;
pub mod manifest;
pub mod scan;
pub mod store;
#[allow(clippy::module_inception)]
mod tree;

pub use blobs::{Blobs, LayeredBlobs, MemoryBlobs};
pub use digest::{Digest, Hasher};
pub use inode::{Device, Directory, Extent, File, Inode, Kind, Metadata, Timestamp, Xattrs};
pub use tree::{InodeId, Tree, TreeError, Walk, WalkEntry};
