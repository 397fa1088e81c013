//! qcow2 version 3 images: 64 KiB clusters, no compression, backing file or snapshots.
//!
//! The same source always gives the same bytes. Reading images is not done here.

mod format;
mod writer;

pub use writer::{Qcow2Error, write};
