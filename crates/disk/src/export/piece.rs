//! 64 KiB of a disk, and what they are compressed.

/// Bytes of a piece: a cluster of qcow2, a grain of VMDK.
pub const PIECE: usize = 64 << 10;

/// Deflate's largest stored block, in bytes.
const BLOCK: usize = 0xffff;
/// Bytes of a piece as stored deflate: two blocks with heads of five bytes.
pub const STORED: usize = PIECE + 2 * 5;

/// A part of the guest's disk that is not all zeros.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'a> {
    /// Where it lies on the disk, a multiple of [`PIECE`].
    pub offset: u64,
    /// [`PIECE`] bytes; those behind the end of the disk are zeros.
    pub bytes: &'a [u8],
    /// The bytes as deflate (RFC 1951), if that is shorter; with a window of 4 KiB where qcow2 is
    /// among the outputs.
    pub deflated: Option<&'a [u8]>,
    /// Adler-32 of the bytes.
    pub adler: u32,
    /// CRC-32 of the bytes; 0 if no writer wants it.
    pub crc: u32,
    /// SHA-256 of each 4 KiB; empty if no writer wants them.
    pub leaves: &'a [u8],
}

/// Appends `bytes` as deflate that does not compress.
pub fn store(bytes: &[u8], out: &mut Vec<u8>) {
    let mut blocks = bytes.chunks(BLOCK).peekable();
    while let Some(block) = blocks.next() {
        let length = block.len() as u16;
        out.push(u8::from(blocks.peek().is_none()));
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(block);
    }
}

/// Whether all bytes are zero: blocks without a branch inside, so that they become vector code.
pub fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(1024).all(|block| block.iter().fold(0, |or, byte| or | byte) == 0)
}

impl Piece<'_> {
    /// Calls `sink` for each run of 4 KiB blocks that are not all zeros, with its offset on the disk,
    /// up to the disk's end at `size`.
    pub(super) fn runs<E>(
        &self,
        size: u64,
        mut sink: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let bytes = self.inside(size);
        let mut start = None;
        for (index, block) in bytes.chunks(BLOCK_OF_HOLES).enumerate() {
            let at = index * BLOCK_OF_HOLES;
            match (start, is_zero(block)) {
                (None, false) => start = Some(at),
                (Some(from), true) => {
                    sink(self.offset + from as u64, &bytes[from..at])?;
                    start = None;
                }
                _ => {}
            }
        }
        match start {
            Some(from) => sink(self.offset + from as u64, &bytes[from..]),
            None => Ok(()),
        }
    }

    /// The hashes of the blocks that start before the disk's end at `size`.
    pub(super) fn leaves_inside(&self, size: u64) -> &[u8] {
        let blocks = self.inside(size).len().div_ceil(super::verity::BLOCK);
        self.leaves.get(..blocks * 32).unwrap_or(self.leaves)
    }

    /// The bytes before the disk's end at `size`.
    pub fn inside(&self, size: u64) -> &[u8] {
        let length = size.saturating_sub(self.offset).min(self.bytes.len() as u64);
        &self.bytes[..length as usize]
    }
}

/// Runs of zeros of this size become holes; the block size of common file systems.
const BLOCK_OF_HOLES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_blocks_are_deflate() {
        let piece: Vec<u8> = (0..PIECE).map(|at| (at % 251) as u8).collect();
        let mut stored = Vec::new();
        store(&piece, &mut stored);
        assert_eq!(stored.len(), STORED);
        let mut out = vec![0; PIECE];
        crate::image::inflate(&stored, false, &mut out).unwrap();
        assert!(out == piece);
    }
}
