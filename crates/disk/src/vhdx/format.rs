//! The structures of VHDX: Microsoft's [MS-VHDX]
//! (<https://learn.microsoft.com/openspecs/windows_protocols/ms-vhdx>). Everything is
//! little-endian. Declarations only.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::Guid;

/// Starts the file; a creator's name in UTF-16 follows.
pub const FILE_SIGNATURE: [u8; 8] = *b"vhdxfile";
/// Where the two headers lie.
pub const HEADER_OFFSETS: [u64; 2] = [64 << 10, 128 << 10];
/// Bytes of a header that its CRC covers.
pub const HEADER_SIZE: usize = 4096;
/// Where the two region tables lie.
pub const REGION_TABLE_OFFSETS: [u64; 2] = [192 << 10, 256 << 10];
/// Bytes of a region table, all under its CRC.
pub const REGION_TABLE_SIZE: usize = 64 << 10;
/// The most entries of a region table, and of a metadata table.
pub const MAX_ENTRIES: usize = 2047;
/// Bytes of the metadata table.
pub const METADATA_TABLE_SIZE: usize = 64 << 10;
/// Log, regions and blocks lie at multiples of this, and are as long.
pub const ALIGNMENT: u64 = 1 << 20;
/// Starts a header.
pub const HEADER_SIGNATURE: [u8; 4] = *b"head";
/// Starts a region table.
pub const REGION_SIGNATURE: [u8; 4] = *b"regi";
/// Starts the metadata table.
pub const METADATA_SIGNATURE: [u8; 8] = *b"metadata";
/// [`Header::version`].
pub const VERSION: u16 = 1;
/// The region with the block allocation table: a [`U64`] for each block.
pub const REGION_BAT: Guid = Guid::new(0x2dc27766, 0xf623, 0x4200, 0x9d64, 0x115e_9bfd_4a08);
/// The region with the metadata table and its items.
pub const REGION_METADATA: Guid = Guid::new(0x8b7ca206, 0x4790, 0x4b9a, 0xb8fe, 0x575f_050f_886e);
/// Item: [`FileParameters`].
pub const ITEM_FILE_PARAMETERS: Guid =
    Guid::new(0xcaa16737, 0xfa36, 0x4d43, 0xb3b6, 0x33f0_aa44_e76b);
/// Item: the guest's size, [`U64`].
pub const ITEM_VIRTUAL_DISK_SIZE: Guid =
    Guid::new(0x2fa54224, 0xcd1b, 0x4876, 0xb211, 0x5dbe_d83b_f4b8);
/// Item: the disk's identity, 16 bytes.
pub const ITEM_VIRTUAL_DISK_ID: Guid =
    Guid::new(0xbeca12ab, 0xb2e6, 0x4523, 0x93ef, 0xc309_e000_c746);
/// Item: [`U32`], 512 or 4096.
pub const ITEM_LOGICAL_SECTOR_SIZE: Guid =
    Guid::new(0x8141bf1d, 0xa96f, 0x4709, 0xba47, 0xf233_a8fa_ab5f);
/// Item: [`U32`], 512 or 4096.
pub const ITEM_PHYSICAL_SECTOR_SIZE: Guid =
    Guid::new(0xcda348c7, 0x445d, 0x4471, 0x9cc9, 0xe988_5251_c556);
/// Item: where the parent of a differencing disk is.
pub const ITEM_PARENT_LOCATOR: Guid =
    Guid::new(0xa8d35f2d, 0xb30b, 0x454d, 0xabf7, 0xd3d8_4834_ab0c);
/// [`MetadataEntry::flags`]: set by a user.
pub const METADATA_USER: u32 = 1;
/// [`MetadataEntry::flags`]: belongs to the disk, not to the file.
pub const METADATA_VIRTUAL_DISK: u32 = 2;
/// [`MetadataEntry::flags`]: who does not know the item must not open the file.
pub const METADATA_REQUIRED: u32 = 4;
/// [`FileParameters::flags`]: a fixed disk.
pub const LEAVE_BLOCKS_ALLOCATED: u32 = 1;
/// [`FileParameters::flags`]: a differencing disk.
pub const HAS_PARENT: u32 = 2;
/// Guest sizes end here: 64 TiB.
pub const MAX_DISK_SIZE: u64 = 64 << 40;
/// What block sizes may be, powers of two.
pub const BLOCK_SIZES: std::ops::RangeInclusive<u32> = 1 << 20..=256 << 20;
/// Sectors a sector bitmap block (1 MiB) describes, a bit each.
pub const SECTORS_IN_BITMAP: u64 = 1 << 23;
/// The state in a BAT entry.
pub const BAT_STATE: u64 = 7;
/// Where the block lies, whole MiB.
pub const BAT_OFFSET: u64 = !(ALIGNMENT - 1);
/// Block state: never written, zeros.
pub const BLOCK_NOT_PRESENT: u64 = 0;
/// Block state: whatever; zeros here.
pub const BLOCK_UNDEFINED: u64 = 1;
/// Block state: zeros.
pub const BLOCK_ZERO: u64 = 2;
/// Block state: trimmed; zeros here.
pub const BLOCK_UNMAPPED: u64 = 3;
/// Block state: stored at the offset.
pub const BLOCK_FULLY_PRESENT: u64 = 6;
/// Block state: the sector bitmap tells what is stored; only in differencing disks.
pub const BLOCK_PARTIALLY_PRESENT: u64 = 7;

/// Bytes of a log sector; entries start and end on them.
pub const LOG_SECTOR: usize = 4096;
/// Starts a log entry.
pub const LOG_SIGNATURE: [u8; 4] = *b"loge";
/// Starts a descriptor of zeros.
pub const ZERO_SIGNATURE: [u8; 4] = *b"zero";
/// Starts a descriptor of data.
pub const DATA_SIGNATURE: [u8; 4] = *b"desc";
/// Starts a data sector.
pub const DATA_SECTOR_SIGNATURE: [u8; 4] = *b"data";
/// Descriptors in the first sector of an entry, behind its header.
pub const DESCRIPTORS_IN_FIRST_SECTOR: usize = 126;
/// Descriptors in each further sector.
pub const DESCRIPTORS_IN_SECTOR: usize = 128;

/// One of two headers; the good one with the higher sequence number counts.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// [`HEADER_SIGNATURE`].
    pub signature: [u8; 4],
    /// CRC-32C of the header's 4 KiB with this field zero.
    pub checksum: U32,
    /// The higher one is newer.
    pub sequence_number: U64,
    /// Changes before a file is written.
    pub file_write_guid: Guid,
    /// Changes before its content is changed.
    pub data_write_guid: Guid,
    /// Entries of the log with this GUID are replayed; zeros: none.
    pub log_guid: Guid,
    /// 0.
    pub log_version: U16,
    /// [`VERSION`].
    pub version: U16,
    /// Bytes of the log, whole MiB.
    pub log_length: U32,
    /// Where it lies, whole MiB.
    pub log_offset: U64,
    /// Zeros.
    pub reserved: Reserved<4016>,
}

/// Zeros.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Reserved<const N: usize>(pub [u8; N]);

/// Starts a region table; [`RegionEntry`]s follow.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RegionTable {
    /// [`REGION_SIGNATURE`].
    pub signature: [u8; 4],
    /// CRC-32C of the table's 64 KiB with this field zero.
    pub checksum: U32,
    /// Entries, at most [`MAX_ENTRIES`].
    pub entry_count: U32,
    /// Zero.
    pub reserved: U32,
}

/// A region.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RegionEntry {
    /// What it is.
    pub guid: Guid,
    /// Where it lies, whole MiB.
    pub file_offset: U64,
    /// Its bytes, whole MiB.
    pub length: U32,
    /// 1: who does not know it must not open the file.
    pub required: U32,
}

/// Starts the metadata table; [`MetadataEntry`]s follow.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct MetadataTable {
    /// [`METADATA_SIGNATURE`].
    pub signature: [u8; 8],
    /// Zero.
    pub reserved: U16,
    /// Entries, at most [`MAX_ENTRIES`].
    pub entry_count: U16,
    /// Zeros.
    pub reserved2: [u8; 20],
}

/// Tells where an item is.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct MetadataEntry {
    /// What it is.
    pub item_id: Guid,
    /// From the start of the region, at least 64 KiB.
    pub offset: U32,
    /// Its bytes.
    pub length: U32,
    /// [`METADATA_USER`] and the others.
    pub flags: U32,
    /// Zero.
    pub reserved: U32,
}

/// The item of the same name.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct FileParameters {
    /// Guest bytes of a block, one of [`BLOCK_SIZES`].
    pub block_size: U32,
    /// [`LEAVE_BLOCKS_ALLOCATED`], [`HAS_PARENT`].
    pub flags: U32,
}

/// Starts a log entry; descriptors follow, then the data sectors.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct LogEntry {
    /// [`LOG_SIGNATURE`].
    pub signature: [u8; 4],
    /// CRC-32C of the whole entry with this field zero.
    pub checksum: U32,
    /// Bytes of the entry, whole log sectors.
    pub entry_length: U32,
    /// Where in the log the oldest entry that is needed starts.
    pub tail: U32,
    /// One more than that of the entry before.
    pub sequence_number: U64,
    /// Descriptors.
    pub descriptor_count: U32,
    /// Zero.
    pub reserved: U32,
    /// [`Header::log_guid`].
    pub log_guid: Guid,
    /// The file was at least so long when the entry was written.
    pub flushed_file_offset: U64,
    /// It must be at least so long after replay.
    pub last_file_offset: U64,
}

/// What an entry changes: a data sector or a run of zeros.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Descriptor {
    /// [`ZERO_SIGNATURE`] or [`DATA_SIGNATURE`].
    pub signature: [u8; 4],
    /// Of data: the last four bytes of the sector.
    pub trailing_bytes: [u8; 4],
    /// Of data: its first eight bytes. Of zeros: their number ([`U64`]).
    pub leading_bytes: [u8; 8],
    /// Where in the file.
    pub file_offset: U64,
    /// As in the entry.
    pub sequence_number: U64,
}

/// The bytes of a sector that its descriptor does not have.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct DataSector {
    /// [`DATA_SECTOR_SIGNATURE`].
    pub signature: [u8; 4],
    /// High half of the entry's number.
    pub sequence_high: U32,
    /// Bytes 8 to 4091 of the sector.
    pub data: Reserved<4084>,
    /// Low half of the entry's number.
    pub sequence_low: U32,
}

const _: () = assert!(
    size_of::<Header>() == HEADER_SIZE
        && size_of::<RegionTable>() == 16
        && size_of::<RegionEntry>() == 32
        && size_of::<MetadataTable>() == 32
        && size_of::<MetadataEntry>() == 32
        && size_of::<LogEntry>() == 64
        && size_of::<Descriptor>() == 32
        && size_of::<DataSector>() == LOG_SECTOR
);

/// Payload blocks before each sector bitmap entry of the BAT. Both arguments come checked.
pub fn chunk_ratio(logical_sector: u32, block_size: u32) -> u64 {
    SECTORS_IN_BITMAP * u64::from(logical_sector) / u64::from(block_size)
}

/// Entries of the BAT of a disk without parent.
pub fn bat_entries(disk_size: u64, logical_sector: u32, block_size: u32) -> u64 {
    let blocks = disk_size.div_ceil(block_size.into());
    blocks + blocks.saturating_sub(1) / chunk_ratio(logical_sector, block_size)
}

/// CRC-32C (Castagnoli) of `bytes` with the four bytes at `field` taken as zeros.
pub fn crc32c(bytes: &[u8], field: usize) -> u32 {
    let crc = ::crc32c::crc32c(&bytes[..field]);
    let crc = ::crc32c::crc32c_append(crc, &[0; 4]);
    ::crc32c::crc32c_append(crc, &bytes[field + 4..])
}
