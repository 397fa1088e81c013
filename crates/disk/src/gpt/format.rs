//! The structures of a GPT on disk: UEFI specification 2.10, chapter 5. Declarations only.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::Guid;

/// Bytes of a sector; disks with other sectors are not supported.
pub const SECTOR: u64 = 512;
/// Bytes of a partition entry as we write it, and the least a reader accepts.
pub const ENTRY_SIZE: u32 = 128;
/// Entries of the array we write: the least the specification allows.
pub const ENTRY_COUNT: u32 = 128;
/// Sectors of the array we write.
pub const ARRAY_SECTORS: u64 = (ENTRY_SIZE * ENTRY_COUNT) as u64 / SECTOR;
/// First sector for partitions in what we write: behind MBR, header and array.
pub const FIRST_USABLE: u64 = 2 + ARRAY_SECTORS;
/// Sectors at the end of the disk for the backup array and header.
pub const BACKUP_SECTORS: u64 = ARRAY_SECTORS + 1;
/// Longest name in UTF-16 code units.
pub const NAME_UNITS: usize = 36;
/// `EFI PART`.
pub const SIGNATURE: [u8; 8] = *b"EFI PART";
/// Revision 1.0, the only one there is.
pub const REVISION: u32 = 0x0001_0000;
/// Bytes of the header that its CRC covers.
pub const HEADER_SIZE: u32 = 92;
/// Largest array a reader accepts: 64 times what everyone writes.
pub const MAX_ARRAY_BYTES: u64 = 1 << 20;
/// Ends every MBR.
pub const MBR_SIGNATURE: [u8; 2] = [0x55, 0xaa];
/// The MBR partition type that says "look at the GPT".
pub const MBR_TYPE_PROTECTIVE: u8 = 0xee;

/// The header, at LBA 1 and in the last sector.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// [`SIGNATURE`].
    pub signature: [u8; 8],
    /// [`REVISION`].
    pub revision: U32,
    /// Bytes the header's CRC covers.
    pub header_size: U32,
    /// CRC-32 of the header with this field zero.
    pub header_crc: U32,
    /// Zero.
    pub reserved: U32,
    /// Where this header lies.
    pub my_lba: U64,
    /// Where the other header lies.
    pub alternate_lba: U64,
    /// First sector partitions may use.
    pub first_usable_lba: U64,
    /// Last sector partitions may use.
    pub last_usable_lba: U64,
    /// The disk's own GUID.
    pub disk_guid: Guid,
    /// Where this header's array of entries starts.
    pub entries_lba: U64,
    /// Entries in the array.
    pub entry_count: U32,
    /// Bytes of an entry.
    pub entry_size: U32,
    /// CRC-32 of the array.
    pub entries_crc: U32,
}

/// A partition entry; unused when the type is nil.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Entry {
    /// What the partition is for.
    pub type_guid: Guid,
    /// The partition's own GUID (Linux: PARTUUID).
    pub unique_guid: Guid,
    /// First sector.
    pub first_lba: U64,
    /// Last sector, inclusive.
    pub last_lba: U64,
    /// Attribute bits.
    pub attributes: U64,
    /// UTF-16, ended by zero unless full.
    pub name: [U16; NAME_UNITS],
}

/// A partition record of an MBR.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct MbrRecord {
    /// 0: not active.
    pub boot_indicator: u8,
    /// First sector as cylinder, head, sector.
    pub first_chs: [u8; 3],
    /// Partition type.
    pub os_type: u8,
    /// Last sector as cylinder, head, sector.
    pub last_chs: [u8; 3],
    /// First sector.
    pub first_lba: U32,
    /// Number of sectors.
    pub sectors: U32,
}

/// LBA 0.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Mbr {
    /// Boot code.
    pub code: [u8; 440],
    /// Disk signature, unused with GPT.
    pub disk_signature: U32,
    /// Zero.
    pub reserved: U16,
    /// Partition records.
    pub records: [MbrRecord; 4],
    /// [`MBR_SIGNATURE`].
    pub signature: [u8; 2],
}

const _: () = assert!(size_of::<Header>() == HEADER_SIZE as usize);
const _: () = assert!(size_of::<Entry>() == ENTRY_SIZE as usize);
const _: () = assert!(size_of::<Mbr>() == SECTOR as usize);
