//! OpenZFS on disk, in user space.
//!
//! [`write_pool`] writes a pool with all its datasets, files and snapshots to anything that can be
//! written at an offset: no root, no kernel module, no process. The result imports into OpenZFS 2.1
//! and newer. What it writes depends on its arguments only.
//!
//! [`read`] reads any pool, [`verify`] proves one sound, [`space`] tells what of its devices is in
//! use, [`send`] writes and receives streams, [`dump`] shows objects as `zdb` does. Each module's page says where its layer stands; the
//! formats below them ([`nvlist`], [`zap`], [`sa`], [`codec`], [`raidz`], [`crypt`]) stand alone.
#![forbid(unsafe_code)]

mod blkptr;
mod checksum;
pub mod codec;
mod compress;
pub mod crypt;
mod dnode;
pub mod dump;
mod feature;
#[cfg(test)]
mod fixture;
mod ids;
mod label;
pub mod nvlist;
mod property;
pub mod raidz;
pub mod read;
pub mod sa;
pub mod send;
pub mod space;
mod space_map;
pub mod verify;
mod writer;
pub mod zap;

pub use compress::Compression;
pub use feature::{FeatureSet, UnknownFeatureSet};
pub use label::MIN_DEVICE_SIZE;
pub use property::{PropertyError, check as check_property};
pub use writer::{
    Content, Dataset, Pool, State, Summary, UnreadableXattr, Volume, WriteError, check_pool,
    unreadable_xattrs, write_mirror, write_pool,
};
