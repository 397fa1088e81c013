//! The structures of VMDK: VMware's "Virtual Disk Format 5.0"
//! (<https://www.vmware.com/app/vmdk/?src=vmdk>). Everything is little-endian; sizes and offsets are in
//! sectors of 512 bytes. Declarations only.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a sector.
pub const SECTOR: u64 = 512;
/// Starts a sparse extent.
pub const MAGIC: [u8; 4] = *b"KDMV";
/// Starts a sparse extent of old ESX hosts, which is not read here.
pub const MAGIC_COWD: [u8; 4] = *b"COWD";
/// The first line of a descriptor.
pub const DESCRIPTOR_LINE: &str = "# Disk DescriptorFile";
/// [`SparseHeader::flags`]: the newline bytes are there to be checked.
pub const FLAG_NEWLINES: u32 = 1;
/// [`SparseHeader::flags`]: the redundant grain directory is good as well.
pub const FLAG_REDUNDANT: u32 = 1 << 1;
/// [`SparseHeader::flags`]: [`GRAIN_ZERO`] has its meaning.
pub const FLAG_ZERO_GRAINS: u32 = 1 << 2;
/// [`SparseHeader::flags`]: grains are compressed.
pub const FLAG_COMPRESSED: u32 = 1 << 16;
/// [`SparseHeader::flags`]: there are markers.
pub const FLAG_MARKERS: u32 = 1 << 17;
/// [`SparseHeader::newlines`]: these bytes survive a binary transfer only.
pub const NEWLINES: [u8; 4] = *b"\n \r\n";
/// [`SparseHeader::compression`]: none.
pub const COMPRESSION_NONE: u16 = 0;
/// [`SparseHeader::compression`]: zlib streams (RFC 1950).
pub const COMPRESSION_DEFLATE: u16 = 1;
/// [`SparseHeader::directory`]: the header at the end of the file tells.
pub const DIRECTORY_AT_END: u64 = u64::MAX;
/// Entries of a grain table; no other number is in use.
pub const GRAINS_IN_TABLE: u32 = 512;
/// Sectors of a grain as everybody makes them: 64 KiB.
pub const GRAIN_SECTORS: u64 = 128;
/// In a grain table: nothing stored.
pub const GRAIN_ABSENT: u32 = 0;
/// In a grain table with [`FLAG_ZERO_GRAINS`]: zeros.
pub const GRAIN_ZERO: u32 = 1;
/// [`Marker::kind`]: the end of the stream.
pub const MARKER_END: u32 = 0;
/// [`Marker::kind`]: a grain table.
pub const MARKER_TABLE: u32 = 1;
/// [`Marker::kind`]: the grain directory.
pub const MARKER_DIRECTORY: u32 = 2;
/// [`Marker::kind`]: the header again, with [`SparseHeader::directory`].
pub const MARKER_FOOTER: u32 = 3;

/// The first sector of a sparse extent; the footer of a stream-optimised one is the same.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct SparseHeader {
    /// [`MAGIC`].
    pub magic: [u8; 4],
    /// 1 to 3.
    pub version: U32,
    /// [`FLAG_NEWLINES`] and the others.
    pub flags: U32,
    /// Sectors of the guest.
    pub capacity: U64,
    /// Sectors of a grain, a power of two.
    pub grain_size: U64,
    /// Where the embedded descriptor starts; 0: there is none.
    pub descriptor_offset: U64,
    /// Its sectors.
    pub descriptor_size: U64,
    /// [`GRAINS_IN_TABLE`].
    pub grains_in_table: U32,
    /// The redundant grain directory.
    pub redundant_directory: U64,
    /// The grain directory, or [`DIRECTORY_AT_END`].
    pub directory: U64,
    /// Sectors before the first grain.
    pub overhead: U64,
    /// 1 while a machine runs on it.
    pub unclean_shutdown: u8,
    /// [`NEWLINES`].
    pub newlines: [u8; 4],
    /// [`COMPRESSION_NONE`] or [`COMPRESSION_DEFLATE`].
    pub compression: U16,
    /// Zeros.
    pub reserved: [u8; 433],
}

/// A sector before each part of a stream-optimised extent that is not a grain.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Marker {
    /// Sectors that follow.
    pub sectors: U64,
    /// 0: not a grain.
    pub size: U32,
    /// [`MARKER_END`] and the others.
    pub kind: U32,
    /// Zeros.
    pub reserved: [u8; 496],
}

/// Stands directly before the bytes of a compressed grain.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct GrainMarker {
    /// First guest sector of the grain.
    pub sector: U64,
    /// Compressed bytes.
    pub size: U32,
}

const _: () = assert!(
    size_of::<SparseHeader>() == 512
        && size_of::<Marker>() == 512
        && size_of::<GrainMarker>() == 12
);
