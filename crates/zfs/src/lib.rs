//! OpenZFS on disk, in user space.
//!
//! [`write_pool`] writes a pool with all its datasets, files and snapshots to anything that can be
//! written at an offset: no root, no kernel module, no process. The result imports into OpenZFS 2.1
//! and newer. What it writes depends on its arguments only.
//!
//! The [`guide`] has a page for each layer of what lies on the disks, and a picture of what points to what.
//!
//! [`read`] reads any pool, [`verify`] proves one sound, [`space`] tells what of its devices is in
//! use, [`send`] writes and receives streams, [`dump`] shows objects as `zdb` does. The formats below
//! them ([`nvlist`], [`zap`], [`sa`], [`codec`], [`raidz`], [`crypt`]) stand alone.
//!
//! Without the feature `std`, which is on by default, the crate is `no_std` with `alloc` and has only what
//! reads: [`read`] (but for the trees of [`tree`]), [`space`], [`dump`] and the formats below them.
#![forbid(unsafe_code)]
#![cfg_attr(not(any(test, feature = "std")), no_std)]
// What only writers use of the formats.
#![cfg_attr(not(feature = "std"), allow(dead_code, unused_imports))]

extern crate alloc;

/// The example in the README is compiled as well.
#[cfg(all(doctest, feature = "std"))]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(not(any(feature = "std", feature = "alloc")))]
compile_error!("zfs needs one of its features `std` and `alloc`");

mod blkptr;
mod checksum;
pub mod codec;
#[cfg(feature = "std")]
mod compress;
pub mod crypt;
mod dnode;
pub mod dump;
#[cfg(feature = "std")]
mod feature;
#[cfg(test)]
mod fixture;
#[cfg(doc)]
pub mod guide;
#[cfg(feature = "std")]
mod ids;
mod label;
pub mod nvlist;
mod prelude;
#[cfg(feature = "std")]
mod property;
pub mod raidz;
pub mod read;
pub mod sa;
#[cfg(feature = "std")]
pub mod send;
pub mod space;
mod space_map;
mod sync;
#[cfg(feature = "std")]
pub mod verify;
#[cfg(feature = "std")]
mod writer;
pub mod zap;

#[cfg(feature = "std")]
pub use compress::{Compression, UnknownCompression};
#[cfg(feature = "std")]
pub use feature::{FeatureSet, UnknownFeatureSet};
pub use label::{MIN_DEVICE_SIZE, metaslab_size};
#[cfg(feature = "std")]
pub use property::{PropertyError, check as check_property};
#[cfg(feature = "std")]
pub use writer::{
    Content, Dataset, Packed, Pool, State, Summary, UnreadableXattr, Volume, WriteError,
    check_pool, unreadable_xattrs, write_mirror, write_pool,
};
