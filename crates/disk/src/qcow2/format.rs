//! The structures of qcow2 version 3: QEMU's `docs/interop/qcow2.txt`. Declarations only.

use zerocopy::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Starts every image.
pub const MAGIC: u32 = u32::from_be_bytes(*b"QFI\xfb");
/// Version 3 (`compat=1.1`).
pub const VERSION: u32 = 3;
/// Clusters of 2¹⁶ bytes, QEMU's own choice.
pub const CLUSTER_BITS: u32 = 16;
/// Bytes of a cluster.
pub const CLUSTER: usize = 1 << CLUSTER_BITS;
/// Entries of an L2 table, one for each guest cluster.
pub const L2_ENTRIES: usize = CLUSTER / 8;
/// Guest bytes an L2 table describes: 512 MiB.
pub const L2_COVERS: u64 = (L2_ENTRIES * CLUSTER) as u64;
/// Refcounts have 2⁴ = 16 bits.
pub const REFCOUNT_ORDER: u32 = 4;
/// Refcounts in a refcount block.
pub const REFCOUNTS_IN_BLOCK: u64 = CLUSTER as u64 / 2;
/// Refcount blocks a cluster of the refcount table names.
pub const BLOCKS_IN_TABLE_CLUSTER: u64 = CLUSTER as u64 / 8;
/// Entries of the largest L1 table QEMU opens (`QCOW_MAX_L1_SIZE`).
pub const MAX_L1_ENTRIES: u64 = (32 << 20) / 8;
/// Cluster sizes an image may have, as powers of two: 512 bytes to 2 MiB.
pub const CLUSTER_BITS_RANGE: std::ops::RangeInclusive<u32> = 9..=21;
/// Bytes of a version 2 header.
pub const HEADER_LENGTH_2: u32 = 72;
/// [`Header::incompatible_features`]: refcounts may be wrong; the guest's data is not.
pub const INCOMPATIBLE_DIRTY: u64 = 1;
/// [`Header::incompatible_features`]: something is wrong with the tables.
pub const INCOMPATIBLE_CORRUPT: u64 = 1 << 1;
/// [`Header::incompatible_features`]: the data is in another file.
pub const INCOMPATIBLE_EXTERNAL: u64 = 1 << 2;
/// [`Header::incompatible_features`]: the byte behind the header tells the compression.
pub const INCOMPATIBLE_COMPRESSION: u64 = 1 << 3;
/// [`Header::incompatible_features`]: L2 entries have 16 bytes, with 32 subclusters.
pub const INCOMPATIBLE_EXTENDED_L2: u64 = 1 << 4;
/// The byte behind the header: raw deflate, with a window of 4 KiB.
pub const COMPRESSION_DEFLATE: u8 = 0;
/// The byte behind the header: zstd.
pub const COMPRESSION_ZSTD: u8 = 1;
/// Header extension: the format of the backing file, in text.
pub const EXTENSION_BACKING_FORMAT: u32 = 0xe279_2aca;
/// In an L1 or L2 entry: the offset of the table or the cluster.
pub const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
/// In an L2 entry: compressed; offset and size follow in another form.
pub const COMPRESSED: u64 = 1 << 62;
/// In an L2 entry (version 3): reads as zeros.
pub const ZERO: u64 = 1;
/// Subclusters of a cluster with extended L2 entries.
pub const SUBCLUSTERS: u64 = 32;
/// In an L1 or L2 entry: the cluster's refcount is exactly one.
pub const COPIED: u64 = 1 << 63;
/// Bytes of the header without extensions.
pub const HEADER_LENGTH: u32 = 104;
/// Guest sizes are multiples of this.
pub const SECTOR: u64 = 512;

/// The header, at offset 0. After it comes the "end of extensions" mark: eight zero bytes.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: U32,
    /// 2 or [`VERSION`].
    pub version: U32,
    /// Where the name of the backing file is; 0: there is none.
    pub backing_file_offset: U64,
    /// Bytes of the name, at most 1023.
    pub backing_file_size: U32,
    /// One of [`CLUSTER_BITS_RANGE`].
    pub cluster_bits: U32,
    /// Guest size in bytes.
    pub size: U64,
    /// 0: not encrypted.
    pub crypt_method: U32,
    /// Entries of the L1 table.
    pub l1_size: U32,
    /// Where the L1 table lies.
    pub l1_table_offset: U64,
    /// Where the refcount table lies.
    pub refcount_table_offset: U64,
    /// Its size.
    pub refcount_table_clusters: U32,
    /// Snapshots inside.
    pub nb_snapshots: U32,
    /// Where their table lies.
    pub snapshots_offset: U64,
    /// Features a reader must know.
    pub incompatible_features: U64,
    /// Features a reader may ignore: none.
    pub compatible_features: U64,
    /// Features a writer that does not know them must clear: none.
    pub autoclear_features: U64,
    /// [`REFCOUNT_ORDER`].
    pub refcount_order: U32,
    /// [`HEADER_LENGTH`].
    pub header_length: U32,
}

const _: () = assert!(size_of::<Header>() == HEADER_LENGTH as usize);
