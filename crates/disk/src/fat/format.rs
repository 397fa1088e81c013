//! The structures of FAT32 on disk: Microsoft's "FAT: General Overview of On-Disk Format" 1.03.
//! Declarations only.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a sector.
pub const SECTOR: u64 = 512;
/// Copies of the FAT.
pub const FATS: u32 = 2;
/// With fewer clusters it would be FAT16, whatever the boot sector says.
pub const MIN_CLUSTERS: u64 = 65_525;
/// The first cluster there is; the root directory.
pub const FIRST_CLUSTER: u32 = 2;
/// Sectors before the first FAT; a few more may follow them to align the clusters.
pub const MIN_RESERVED: u32 = 32;
/// Sector of the FSInfo structure.
pub const FSINFO_SECTOR: u16 = 1;
/// Sector of the second boot sector, with the second FSInfo behind it.
pub const BACKUP_SECTOR: u16 = 6;
/// A hard disk.
pub const MEDIA: u8 = 0xf8;
/// In a FAT: nobody has the cluster.
pub const FREE: u32 = 0;
/// End of a cluster chain; as FAT\[1\]: cleanly unmounted, no errors.
pub const END_OF_CHAIN: u32 = 0x0fff_ffff;
/// Bytes of a directory entry.
pub const ENTRY_SIZE: usize = 32;
/// Entries of the largest directory: 2 MiB.
pub const MAX_ENTRIES: usize = 65_536;
/// UTF-16 units in one long entry.
pub const LONG_UNITS: usize = 13;
/// Ends boot sectors.
pub const SIGNATURE: [u8; 2] = [0x55, 0xaa];

/// Entry is the volume label.
pub const ATTR_VOLUME_ID: u8 = 0x08;
/// Entry is a directory.
pub const ATTR_DIRECTORY: u8 = 0x10;
/// Entry changed since the last backup, as every new file has.
pub const ATTR_ARCHIVE: u8 = 0x20;
/// Entry is a part of a long name.
pub const ATTR_LONG_NAME: u8 = 0x0f;
/// In [`LongEntry::order`]: the name ends here.
pub const LAST_LONG_ENTRY: u8 = 0x40;

/// Sector 0 with the BIOS parameter block.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BootSector {
    /// A jump over the parameters.
    pub jump: [u8; 3],
    /// Who formatted.
    pub oem_name: [u8; 8],
    /// [`SECTOR`].
    pub bytes_per_sector: U16,
    /// A power of two.
    pub sectors_per_cluster: u8,
    /// Sectors before the first FAT.
    pub reserved_sectors: U16,
    /// [`FATS`].
    pub fats: u8,
    /// 0 on FAT32.
    pub root_entries: U16,
    /// 0 on FAT32.
    pub total_sectors_16: U16,
    /// [`MEDIA`].
    pub media: u8,
    /// 0 on FAT32.
    pub fat_sectors_16: U16,
    /// Geometry for BIOS calls.
    pub sectors_per_track: U16,
    /// Geometry for BIOS calls.
    pub heads: U16,
    /// Sectors of the disk before the volume.
    pub hidden_sectors: U32,
    /// Sectors of the volume.
    pub total_sectors: U32,
    /// Sectors of one FAT.
    pub fat_sectors: U32,
    /// 0: both FATs are kept the same.
    pub flags: U16,
    /// 0.0.
    pub version: U16,
    /// [`FIRST_CLUSTER`].
    pub root_cluster: U32,
    /// [`FSINFO_SECTOR`].
    pub fsinfo_sector: U16,
    /// [`BACKUP_SECTOR`].
    pub backup_sector: U16,
    /// 0.
    pub reserved: [u8; 12],
    /// 0x80: first hard disk.
    pub drive: u8,
    /// 0.
    pub reserved_1: u8,
    /// 0x29: the next three fields are there.
    pub extended_signature: u8,
    /// Serial number.
    pub volume_id: U32,
    /// Label, padded with spaces.
    pub label: [u8; 11],
    /// `FAT32   `.
    pub type_name: [u8; 8],
    /// Boot code.
    pub code: [u8; 420],
    /// [`SIGNATURE`].
    pub signature: [u8; 2],
}

/// What saves a driver from counting free clusters.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct FsInfo {
    /// `RRaA`.
    pub lead: [u8; 4],
    /// 0.
    pub reserved: [u8; 480],
    /// `rrAa`.
    pub structure: [u8; 4],
    /// Free clusters.
    pub free: U32,
    /// Where to look for one.
    pub next_free: U32,
    /// 0.
    pub reserved_1: [u8; 14],
    /// [`SIGNATURE`].
    pub signature: [u8; 2],
}

/// A directory entry with its 8.3 name.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Entry {
    /// Base and extension, each padded with spaces.
    pub name: [u8; 11],
    /// `ATTR_…`.
    pub attributes: u8,
    /// 0.
    pub reserved: u8,
    /// Creation time: hundredths of a second, below 200.
    pub created_hundredths: u8,
    /// Creation time.
    pub created_time: U16,
    /// Creation date.
    pub created_date: U16,
    /// Date of the last access.
    pub accessed_date: U16,
    /// High half of the first cluster.
    pub cluster_high: U16,
    /// Time of the last write.
    pub written_time: U16,
    /// Date of the last write.
    pub written_date: U16,
    /// Low half of the first cluster.
    pub cluster_low: U16,
    /// Bytes; 0 for directories.
    pub size: U32,
}

/// A part of a long name; these lie before the entry they name, the last part first.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct LongEntry {
    /// Number of the part, from 1.
    pub order: u8,
    /// Units 0 to 4.
    pub units_0: [U16; 5],
    /// [`ATTR_LONG_NAME`].
    pub attributes: u8,
    /// 0.
    pub kind: u8,
    /// Checksum of the 8.3 name.
    pub checksum: u8,
    /// Units 5 to 10.
    pub units_5: [U16; 6],
    /// 0.
    pub cluster_low: U16,
    /// Units 11 and 12.
    pub units_11: [U16; 2],
}

const _: () = assert!(size_of::<BootSector>() == SECTOR as usize);
const _: () = assert!(size_of::<FsInfo>() == SECTOR as usize);
const _: () = assert!(size_of::<Entry>() == ENTRY_SIZE);
const _: () = assert!(size_of::<LongEntry>() == ENTRY_SIZE);
