//! The disk every kldload machine has: BIOS boot, ESP, pool.
//!
//! Partitions cannot change later, so this is the one place that decides them. The pool is last
//! and can grow with the disk.

use std::collections::BTreeMap;
use std::ops::Range;

use thiserror::Error;

use crate::Guid;
use crate::gpt::{
    BACKUP_SECTORS, Lba, Partition, SECTOR, TYPE_BIOS_BOOT, TYPE_ESP, TYPE_ZFS, Table,
};

/// Partitions start and end on multiples of this many bytes.
pub const ALIGNMENT: u64 = 1 << 20;
/// Bytes of the BIOS boot partition.
pub const BIOS_BOOT_SIZE: u64 = 1 << 20;
/// Bytes of the ESP unless asked otherwise: four kernels with a large initramfs fit.
pub const DEFAULT_ESP_SIZE: u64 = 1 << 30;
/// The smallest vdev OpenZFS takes (`SPA_MINDEVSIZE`).
pub const MIN_POOL_SIZE: u64 = 64 << 20;

/// Why a disk cannot be laid out.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LayoutError {
    /// The size is not a number of sectors.
    #[error("the disk's size of {size} bytes is not a multiple of {SECTOR}")]
    DiskSize {
        /// The disk's size in bytes.
        size: u64,
    },
    /// The size is zero or not a number of MiB.
    #[error("an ESP of {size} bytes is not possible; its size must be a multiple of 1 MiB")]
    EspSize {
        /// The ESP's size in bytes.
        size: u64,
    },
    /// The disk is too small.
    #[error(
        "the disk has {have} bytes, but an ESP of {esp_size} bytes and the smallest pool need \
         {need}; take a larger disk or a smaller ESP"
    )]
    TooSmall {
        /// The disk's size in bytes.
        have: u64,
        /// Bytes needed.
        need: u64,
        /// The ESP's size in bytes.
        esp_size: u64,
    },
}

/// Where the partitions lie, as byte ranges of the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskLayout {
    /// Partition 1, reserved for a boot record.
    pub bios: Range<u64>,
    /// Partition 2, the EFI system partition.
    pub esp: Range<u64>,
    /// Partition 3, the pool.
    pub pool: Range<u64>,
}

/// The GUIDs of the partitions themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionGuids {
    /// Of partition 1.
    pub bios: Guid,
    /// Of partition 2.
    pub esp: Guid,
    /// Of partition 3.
    pub pool: Guid,
}

impl DiskLayout {
    /// Lays out a disk of `disk_size` bytes with an ESP of `esp_size` bytes; the pool gets the
    /// rest down to a whole MiB, with room for the backup table behind it.
    pub fn new(disk_size: u64, esp_size: u64) -> Result<Self, LayoutError> {
        if !disk_size.is_multiple_of(SECTOR) {
            return Err(LayoutError::DiskSize { size: disk_size });
        }
        if esp_size == 0 || !esp_size.is_multiple_of(ALIGNMENT) {
            return Err(LayoutError::EspSize { size: esp_size });
        }
        let bios = ALIGNMENT..ALIGNMENT + BIOS_BOOT_SIZE;
        let esp = bios.end..bios.end.saturating_add(esp_size);
        let end = disk_size.saturating_sub(BACKUP_SECTORS * SECTOR) / ALIGNMENT * ALIGNMENT;
        let pool = esp.end..end;
        if end < esp.end.saturating_add(MIN_POOL_SIZE) {
            let need = esp.end.saturating_add(MIN_POOL_SIZE + BACKUP_SECTORS * SECTOR);
            return Err(LayoutError::TooSmall { have: disk_size, need, esp_size });
        }
        Ok(Self { bios, esp, pool })
    }

    /// The size of a disk on which the pool gets exactly `pool_size` bytes, which must be a
    /// multiple of 1 MiB. [`DiskLayout::new`] judges whether such a disk is possible.
    pub fn disk_size(esp_size: u64, pool_size: u64) -> u64 {
        (ALIGNMENT + BIOS_BOOT_SIZE + ALIGNMENT).saturating_add(esp_size).saturating_add(pool_size)
    }

    /// The partition table that says this.
    pub fn to_table(&self, disk_guid: Guid, guids: &PartitionGuids) -> Table {
        let partition = |bytes: &Range<u64>, type_guid, unique_guid, name: &str| Partition {
            type_guid,
            unique_guid,
            first_lba: Lba(bytes.start / SECTOR),
            last_lba: Lba(bytes.end / SECTOR - 1),
            attributes: 0,
            name: name.to_owned(),
        };
        let partitions = BTreeMap::from([
            (1, partition(&self.bios, TYPE_BIOS_BOOT, guids.bios, "bios")),
            (2, partition(&self.esp, TYPE_ESP, guids.esp, "esp")),
            (3, partition(&self.pool, TYPE_ZFS, guids.pool, "pool")),
        ]);
        Table { disk_guid, partitions }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_design() {
        let layout = DiskLayout::new(8 << 30, DEFAULT_ESP_SIZE).unwrap();
        assert_eq!(layout.bios, MIB..2 * MIB);
        assert_eq!(layout.esp, 2 * MIB..1026 * MIB);
        assert_eq!(layout.pool, 1026 * MIB..8191 * MIB);
        assert_eq!(DiskLayout::disk_size(DEFAULT_ESP_SIZE, 7165 * MIB), 8 << 30);
        let odd = DiskLayout::new((8 << 30) + 33 * 512, DEFAULT_ESP_SIZE).unwrap();
        assert_eq!(odd.pool.end, 8192 * MIB);
    }

    #[test]
    fn too_small_tells_what_fits() {
        let Err(LayoutError::TooSmall { need, .. }) = DiskLayout::new(1 << 30, DEFAULT_ESP_SIZE)
        else {
            panic!()
        };
        assert!(DiskLayout::new(need, DEFAULT_ESP_SIZE).is_ok());
        assert!(DiskLayout::new(need - 512, DEFAULT_ESP_SIZE).is_err());
        assert!(DiskLayout::new(0, u64::MAX / MIB * MIB).is_err());
        assert!(DiskLayout::new(u64::MAX / 512 * 512, u64::MAX / MIB * MIB).is_err());
    }

    #[test]
    fn odd_sizes_are_refused() {
        assert_eq!(DiskLayout::new(8 << 30, 1000), Err(LayoutError::EspSize { size: 1000 }));
        assert_eq!(DiskLayout::new(8 << 30, 0), Err(LayoutError::EspSize { size: 0 }));
        assert_eq!(DiskLayout::new(1000, MIB), Err(LayoutError::DiskSize { size: 1000 }));
    }
}
