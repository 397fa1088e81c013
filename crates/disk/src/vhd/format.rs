//! The structures of VHD: Microsoft's "Virtual Hard Disk Image Format Specification", version 1.0
//! (<https://learn.microsoft.com/windows-server/virtualization/hyper-v/vhd-specification>).
//! Everything is big-endian. Declarations only.

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a sector; sizes and offsets in the table are in sectors.
pub const SECTOR: u64 = 512;
/// Starts a footer.
pub const FOOTER_COOKIE: [u8; 8] = *b"conectix";
/// Starts the header of a dynamic disk.
pub const DYNAMIC_COOKIE: [u8; 8] = *b"cxsparse";
/// In [`Footer::features`]: reserved, always set.
pub const FEATURE_RESERVED: u32 = 2;
/// [`Footer::version`] and [`DynamicHeader::version`].
pub const VERSION: u32 = 0x0001_0000;
/// [`Footer::data_offset`] of a fixed disk, [`DynamicHeader::data_offset`] always.
pub const NO_OFFSET: u64 = u64::MAX;
/// [`Footer::disk_type`]: the disk's bytes, then the footer.
pub const TYPE_FIXED: u32 = 2;
/// [`Footer::disk_type`]: blocks where the table says.
pub const TYPE_DYNAMIC: u32 = 3;
/// [`Footer::disk_type`]: blocks over another image.
pub const TYPE_DIFFERENCING: u32 = 4;
/// A table entry: the block is not stored.
pub const BLOCK_ABSENT: u32 = u32::MAX;
/// Guest bytes of a block as everybody makes them; before each lies its sector bitmap.
pub const BLOCK_SIZE: u32 = 2 << 20;
/// Seconds from 1970 to 2000, when VHD's time starts.
pub const EPOCH: u64 = 946_684_800;
/// The largest geometry: 65535 cylinders, 16 heads, 255 sectors.
pub const MAX_GEOMETRY_SECTORS: u64 = 65535 * 16 * 255;
/// The largest disk, fixed as well: Windows and QEMU open none above it.
pub const MAX_SIZE: u64 = 2040 << 30;

/// Cylinders, heads and sectors per track.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Geometry {
    /// Cylinders.
    pub cylinders: U16,
    /// Heads.
    pub heads: u8,
    /// Sectors in a track.
    pub sectors: u8,
}

/// The last sector of every image; a copy is the first sector of a dynamic one.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Footer {
    /// [`FOOTER_COOKIE`].
    pub cookie: [u8; 8],
    /// [`FEATURE_RESERVED`].
    pub features: U32,
    /// [`VERSION`].
    pub version: U32,
    /// Where the [`DynamicHeader`] lies, or [`NO_OFFSET`].
    pub data_offset: U64,
    /// Seconds since [`EPOCH`].
    pub timestamp: U32,
    /// Who wrote the image; decides which of the sizes is meant.
    pub creator_application: [u8; 4],
    /// Its version.
    pub creator_version: U32,
    /// The system it ran on.
    pub creator_host_os: [u8; 4],
    /// The size the disk was made with.
    pub original_size: U64,
    /// The size it has now.
    pub current_size: U64,
    /// The size in other words, perhaps a little less.
    pub geometry: Geometry,
    /// [`TYPE_FIXED`], [`TYPE_DYNAMIC`] or [`TYPE_DIFFERENCING`].
    pub disk_type: U32,
    /// One's complement of the sum of all bytes but these.
    pub checksum: U32,
    /// Names the image.
    pub unique_id: [u8; 16],
    /// 1: a machine is suspended on it.
    pub saved_state: u8,
    /// Zeros.
    pub reserved: [u8; 427],
}

/// Tells where the table is.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct DynamicHeader {
    /// [`DYNAMIC_COOKIE`].
    pub cookie: [u8; 8],
    /// [`NO_OFFSET`].
    pub data_offset: U64,
    /// Where the block allocation table lies: a [`U32`] for each block, its first sector.
    pub table_offset: U64,
    /// [`VERSION`].
    pub version: U32,
    /// Entries of the table.
    pub max_table_entries: U32,
    /// Guest bytes of a block, a power of two of sectors.
    pub block_size: U32,
    /// As in the footer.
    pub checksum: U32,
    /// Of a differencing disk, as all that follows.
    pub parent_unique_id: [u8; 16],
    /// See above.
    pub parent_timestamp: U32,
    /// Zero.
    pub reserved: U32,
    /// See above.
    pub parent_name: [u8; 512],
    /// See above.
    pub parent_locators: [u8; 192],
    /// Zeros.
    pub reserved2: [u8; 256],
}

const _: () = assert!(size_of::<Footer>() == 512 && size_of::<DynamicHeader>() == 1024);

/// One's complement of the sum of `bytes`, in which the checksum field counts as zeros.
pub fn checksum(bytes: &[u8], field: std::ops::Range<usize>) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().fold(0_u32, |sum, &byte| sum.wrapping_add(byte.into()));
    !sum(bytes).wrapping_sub(sum(&bytes[field]))
}

impl Footer {
    /// What [`Footer::checksum`] should be.
    pub fn right_checksum(&self) -> u32 {
        checksum(self.as_bytes(), 64..68)
    }
}

impl DynamicHeader {
    /// What [`DynamicHeader::checksum`] should be.
    pub fn right_checksum(&self) -> u32 {
        checksum(self.as_bytes(), 36..40)
    }
}

/// Bytes of the sector bitmap before each block, whole sectors.
pub fn bitmap_size(block_size: u32) -> u64 {
    (u64::from(block_size) / SECTOR).div_ceil(8).next_multiple_of(SECTOR)
}
