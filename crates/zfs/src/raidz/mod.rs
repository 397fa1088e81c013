//! RAID-Z: blocks striped over disks with one to three columns of parity.
//!
//! Every block is a stripe of its own. Sector `n` of the vdev's allocatable space is sector
//! `n / disks` of disk `n % disks`; a block's columns are the disks in turn from its first sector
//! on, parity columns first. [`Geometry::map`] gives the columns, [`read()`] the block, with
//! reconstruction by algebra over GF(2^8) where columns are absent or wrong, even if nobody knows
//! which.
//!
//! Source: OpenZFS `module/zfs/vdev_raidz.c` (`vdev_raidz_map_alloc`,
//! `vdev_raidz_generate_parity_*`), "The mathematics of RAID-6" for the field.

mod field;
mod map;
mod read;
#[cfg(test)]
mod tests;

pub use map::{Column, Geometry, Map};
pub use read::{ColumnFault, Outcome, read};

/// Why a RAID-Z vdev or a place on it makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RaidzError {
    /// An impossible shape.
    #[error("raidz{parity} of {children} disks with ashift {ashift} is impossible")]
    Shape {
        /// Number of disks.
        children: usize,
        /// Columns of parity.
        parity: u64,
        /// log₂ of the sector size.
        ashift: u32,
    },
    /// A vdev that was widened with `zpool attach`: older blocks lie in a narrower stripe.
    #[error("a raidz vdev that was expanded (feature org.openzfs:raidz_expansion) cannot be read")]
    Expanded,
    /// A block that cannot be there.
    #[error("no block of {length} bytes can be at offset {offset} of a raidz vdev")]
    Place {
        /// Byte offset in the allocatable space of the vdev.
        offset: u64,
        /// Its length in bytes.
        length: u64,
    },
}
