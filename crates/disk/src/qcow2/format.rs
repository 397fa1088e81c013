//! The structures of qcow2 version 3: QEMU's `docs/interop/qcow2.txt`. Declarations only.

use zerocopy::big_endian::{U32, U64};
use zerocopy::{Immutable, IntoBytes, KnownLayout, Unaligned};

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
/// In an L1 or L2 entry: the cluster's refcount is exactly one.
pub const COPIED: u64 = 1 << 63;
/// Bytes of the header without extensions.
pub const HEADER_LENGTH: u32 = 104;
/// Guest sizes are multiples of this.
pub const SECTOR: u64 = 512;

/// The header, at offset 0. After it comes the "end of extensions" mark: eight zero bytes.
#[derive(Debug, Clone, Copy, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: U32,
    /// [`VERSION`].
    pub version: U32,
    /// 0: no backing file.
    pub backing_file_offset: U64,
    /// 0.
    pub backing_file_size: U32,
    /// [`CLUSTER_BITS`].
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
    /// 0.
    pub nb_snapshots: U32,
    /// 0.
    pub snapshots_offset: U64,
    /// Features a reader must know: none.
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
