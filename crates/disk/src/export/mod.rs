//! Writers of disk images that are fed with the pieces of a disk: one reader and one compressor
//! serve all formats at once.
//!
//! A piece is 64 KiB of the guest's disk. Pieces come in ascending order; those that never come
//! are zeros. The same disk always gives the same bytes: identifiers come from [`Identity`].

mod gcp;
mod output;
pub mod ova;
mod piece;
mod qcow2;
mod raw;
mod stream;
mod tar;
pub mod verity;
mod vhd;
mod vhdx;
mod vmdk;

use std::io;
use std::ops::Range;

use sha2::{Digest, Sha256};
use thiserror::Error;

pub use gcp::Gcp;
pub use output::Output;
pub use ova::Ova;
pub use piece::{PIECE, Piece, STORED, is_zero, store};
pub use qcow2::{Compression, Qcow2};
pub use raw::Raw;
pub use stream::Stream;
pub use tar::SparseFile;
pub use vhd::{DynamicVhd, FixedVhd};
pub use vhdx::Vhdx;
pub use vmdk::Vmdk;

use crate::Guid;
use crate::vhd::format::MAX_SIZE;

/// Bytes of the largest disk that VHD and VMDK hold: their sectors have 32 bits.
pub const MAX_VHD: u64 = MAX_SIZE;
/// Bytes of the largest disk that VHDX holds.
pub const MAX_VHDX: u64 = crate::vhdx::format::MAX_DISK_SIZE;
/// Bytes of the largest disk that QEMU opens as qcow2.
pub const MAX_QCOW2: u64 = crate::qcow2::format::MAX_L1_ENTRIES * crate::qcow2::format::L2_COVERS;

/// Guest sizes are multiples of this.
pub const SECTOR: u64 = 512;

/// Why an image was not written. What is in the output then is of no use.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The format cannot hold such a disk.
    #[error("a disk of {size} bytes cannot be written as {format}: {why}")]
    Size {
        /// The format.
        format: &'static str,
        /// The disk's size in bytes.
        size: u64,
        /// What would be possible.
        why: &'static str,
    },
    /// The output failed.
    #[error("writing the {format} image at offset {offset}")]
    Output {
        /// The format.
        format: &'static str,
        /// Byte offset in the output.
        offset: u64,
        /// The failure.
        source: io::Error,
    },
}

/// A finished image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Bytes of the file.
    pub length: u64,
    /// SHA-256 of the file, where the bytes were written in their order.
    pub sha256: Option<[u8; 32]>,
    /// The fs-verity digest of the file, where it was asked for.
    pub verity: Option<[u8; 32]>,
}

impl Written {
    /// An image of `length` bytes without digests.
    pub fn new(length: u64) -> Self {
        Self { length, sha256: None, verity: None }
    }
}

/// Writes one image.
pub trait ImageWriter: Send {
    /// Stores a piece; offsets ascend.
    fn piece(&mut self, piece: &Piece<'_>) -> Result<(), WriteError>;

    /// Writes all that remains.
    fn finish(self: Box<Self>) -> Result<Written, WriteError>;
}

/// Where the identifiers of an image come from. Those that are written last depend on every piece: who
/// registers two images with one hypervisor wants different ones for different disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity(pub [u8; 32]);

impl Identity {
    /// Makes it depend on a piece, by its place and its CRC-32.
    fn add(&mut self, piece: &Piece<'_>) {
        let digest = Sha256::new()
            .chain_update(self.0)
            .chain_update(piece.offset.to_le_bytes())
            .chain_update(piece.crc.to_le_bytes());
        self.0 = digest.finalize().into();
    }

    /// Sixteen bytes for what `purpose` names.
    pub fn bytes(&self, purpose: &str) -> [u8; 16] {
        let digest = Sha256::new().chain_update(self.0).chain_update(purpose).finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        bytes
    }

    /// A GUID for what `purpose` names.
    pub fn guid(&self, purpose: &str) -> Guid {
        Guid::v4(self.bytes(purpose))
    }
}

/// Pieces that may hold data, as whole pieces that neither overlap nor touch.
pub type Runs = Vec<Range<u64>>;

/// Refuses disks of which VHD and VMDK, with their 32-bit sectors, cannot name every place.
fn at_most_2040_gib(format: &'static str, size: u64) -> Result<(), WriteError> {
    if size <= MAX_SIZE {
        return Ok(());
    }
    Err(WriteError::Size { format, size, why: "2040 GiB are the most; take vhdx or qcow2" })
}

/// Refuses sizes that are no number of sectors.
fn whole_sectors(format: &'static str, size: u64) -> Result<(), WriteError> {
    if size.is_multiple_of(SECTOR) {
        return Ok(());
    }
    Err(WriteError::Size { format, size, why: "its size must be a multiple of 512" })
}
