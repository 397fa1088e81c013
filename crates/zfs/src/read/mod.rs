//! Reads any pool from its devices, without a kernel module and without root.
//!
//! The layers, from the disk upwards; the crate's [`guide`](crate::guide) has a page for each:
//!
//! ```text
//! Device ─ label ─ uberblock ─────────────┐     which pool, and where its newest root is
//!    └─ vdev (mirror, raidz, removed)     │     bytes at an address, from any copy
//!         └─ block (gang, checksum, lz4)  │     the content of a block pointer
//!              └─ object ─ objset ◄───────┘     numbered blocks below dnodes
//!                   ├─ zap                      names → values
//!                   ├─ dsl, property            datasets, snapshots, their properties
//!                   └─ filesystem ─ znode       files
//! ```
//!
//! ```no_run
//! use std::sync::Arc;
//! let file = std::fs::File::open("pool.img")?;
//! let device = zfs::read::Device { name: "pool.img".into(), data: Arc::new(file) };
//! let pool = zfs::read::Pool::open(&[device])?;
//! for dataset in pool.datasets()?.datasets {
//!     println!("{}\t{}", dataset.name, dataset.referenced);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Whatever the bytes of a device, the answer is a value or an error: every length, number and
//! depth is checked, and memory is bounded by the size of what is asked for.

mod block;
mod cache;
mod config;
mod dnode;
mod dsl;
mod error;
mod features;
mod filesystem;
mod label;
pub(crate) mod missing;
mod object;
pub mod object_type;
mod objset;
mod pool;
mod property;
pub(crate) mod received;
mod swap;
#[cfg(feature = "std")]
mod to_tree;
pub(crate) mod vdev;
pub(crate) mod zap;
mod znode;

pub use config::VdevConfig;
pub use dnode::Dnode;
pub use dsl::{Bookmark, Dataset, DatasetKind, Datasets, Unreadable};
pub use error::{BlockError, CopyFault, CopyProblem, ReadError};
pub use features::FeatureState;
pub use filesystem::{DirEntry, Filesystem, Inode, InodeKind};
#[cfg(any(test, feature = "surgeon"))]
pub(crate) use label::label_offsets;
pub use label::{Role, Uberblock, probe};
pub use object::{DataRuns, Object};
pub(crate) use objset::IntentLogHeader;
pub use objset::{Objset, ObjsetKind};
pub use pool::{Device, Member, Pool, PoolState};
pub(crate) use property::{INHERIT, RECEIVED};
pub use property::{Property, PropertySource};
#[cfg(feature = "std")]
pub use to_tree::FilesystemBlobs;
pub use znode::Attributes;
pub(crate) use znode::OLD_ZNODE;

use block::Blocks;

/// What those who walk block pointers themselves need.
pub(crate) mod walking {
    pub(crate) use super::block::{Room, describe as block_text, is_encrypted, least_bytes};
    pub(crate) use super::dnode::u64_at;
    pub(crate) use super::filesystem::bad_name;
}
