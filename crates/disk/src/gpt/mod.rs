//! GUID partition tables on disks with sectors of 512 bytes (UEFI specification 2.10, chapter 5).
//!
//! A [`Table`] is written whole, protective MBR and both copies; the reader checks both copies and
//! says which of them it believed. Changing a table in place is not done here.

mod format;
mod reader;
mod writer;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use thiserror::Error;

pub use format::{BACKUP_SECTORS, ENTRY_COUNT, FIRST_USABLE, NAME_UNITS, SECTOR};
pub use reader::{CopyError, Found, MbrError, OtherTable, ReadError, TableCopy, other_table, read};
pub use writer::{WriteError, write};

use crate::Guid;

/// Type of the partition that holds GRUB's core image on machines with a BIOS.
pub const TYPE_BIOS_BOOT: Guid = Guid::new(0x2168_6148, 0x6449, 0x6e6f, 0x744e, 0x6565_6445_4649);
/// Type of the EFI system partition.
pub const TYPE_ESP: Guid = Guid::new(0xc12a_7328, 0xf81f, 0x11d2, 0xba4b, 0x00a0_c93e_c93b);
/// Type of a partition with a ZFS vdev (`sgdisk` code BF01).
pub const TYPE_ZFS: Guid = Guid::new(0x6a89_8cc3, 0x1dd2, 0x11b2, 0x99a6, 0x0800_2073_6631);

/// The number of a sector, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lba(pub u64);

impl Lba {
    /// Byte offset of the sector's start; saturates for a sector beyond any disk.
    pub const fn offset(self) -> u64 {
        self.0.saturating_mul(SECTOR)
    }
}

impl fmt::Display for Lba {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// What it is for; never nil.
    pub type_guid: Guid,
    /// Its own GUID (Linux: PARTUUID); never nil, different from all others.
    pub unique_guid: Guid,
    /// First sector.
    pub first_lba: Lba,
    /// Last sector, which belongs to the partition.
    pub last_lba: Lba,
    /// Attribute bits; 0 for everything we make.
    pub attributes: u64,
    /// Name of at most 36 UTF-16 code units without NUL. Read from a disk, unpaired surrogates
    /// become U+FFFD.
    pub name: String,
}

impl Partition {
    /// The bytes of the disk it covers.
    pub fn bytes(&self) -> Range<u64> {
        self.first_lba.offset()..self.last_lba.offset().saturating_add(SECTOR)
    }
}

/// A partition table: what both copies on a disk say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The disk's own GUID.
    pub disk_guid: Guid,
    /// Partitions by number, from 1.
    pub partitions: BTreeMap<u32, Partition>,
}

/// What makes a table impossible.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TableError {
    /// No such place in the table.
    #[error("partition number {number} is not in 1..={ENTRY_COUNT}")]
    Number {
        /// The number asked for.
        number: u32,
    },
    /// The first sector lies behind the last one, or one of them is not for partitions.
    #[error(
        "partition {number} has sectors {first}..={last}, outside the disk's usable sectors \
         {usable_first}..={usable_last}"
    )]
    Range {
        /// The partition.
        number: u32,
        /// Its first sector.
        first: Lba,
        /// Its last sector.
        last: Lba,
        /// First sector for partitions.
        usable_first: Lba,
        /// Last sector for partitions.
        usable_last: Lba,
    },
    /// A sector belongs to two partitions.
    #[error("partitions {first} and {second} overlap from sector {at} on")]
    Overlap {
        /// The one that starts first.
        first: u32,
        /// The other.
        second: u32,
        /// Where it starts.
        at: Lba,
    },
    /// A GUID of zeros where one is needed.
    #[error("partition {number} has no {what} GUID")]
    Nil {
        /// The partition.
        number: u32,
        /// Which GUID.
        what: &'static str,
    },
    /// Two partitions have one GUID.
    #[error("partitions {first} and {second} both have the GUID {guid}")]
    SameGuid {
        /// The lower number.
        first: u32,
        /// The higher number.
        second: u32,
        /// Their GUID.
        guid: Guid,
    },
    /// The name does not fit.
    #[error(
        "the name {name:?} of partition {number} has NUL or more than {NAME_UNITS} UTF-16 units"
    )]
    Name {
        /// The partition.
        number: u32,
        /// Its name.
        name: String,
    },
}

impl Table {
    /// Checks that every partition lies in `first..=last`, that none overlap and that GUIDs are
    /// there and unique.
    fn check_ranges(&self, usable_first: Lba, usable_last: Lba) -> Result<(), TableError> {
        let mut guids: BTreeMap<Guid, u32> = BTreeMap::new();
        let mut order: Vec<(Lba, Lba, u32)> = Vec::new();
        for (&number, partition) in &self.partitions {
            let Partition { type_guid, unique_guid, first_lba: first, last_lba: last, .. } =
                *partition;
            if first > last || first < usable_first || last > usable_last {
                return Err(TableError::Range { number, first, last, usable_first, usable_last });
            }
            for (guid, what) in [(type_guid, "type"), (unique_guid, "unique")] {
                if guid.is_nil() {
                    return Err(TableError::Nil { number, what });
                }
            }
            if let Some(first) = guids.insert(unique_guid, number) {
                return Err(TableError::SameGuid { first, second: number, guid: unique_guid });
            }
            order.push((first, last, number));
        }
        order.sort_unstable();
        for pair in order.windows(2) {
            let [(_, last, first), (at, _, second)] = [pair[0], pair[1]];
            if at <= last {
                return Err(TableError::Overlap { first, second, at });
            }
        }
        Ok(())
    }
}
