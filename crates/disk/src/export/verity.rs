//! The digest by which fs-verity knows a file, built while the file is written.
//!
//! A Merkle tree of SHA-256 over blocks of 4 KiB without salt (Documentation/filesystems/fsverity.rst of
//! Linux). Trees of zeros are computed once, so that holes cost nothing.

use sha2::{Digest, Sha256};

/// Bytes of a block.
pub const BLOCK: usize = 4096;

/// Bytes of a hash.
const HASH: usize = 32;
/// Hashes in a block.
const FAN_OUT: u64 = (BLOCK / HASH) as u64;
/// Levels of the tree above 2^64 bytes.
const LEVELS: usize = 8;

/// The SHA-256 of each block of `bytes`, whose last one is filled up with zeros.
pub fn leaves(bytes: &[u8], out: &mut Vec<u8>) {
    for block in bytes.chunks(BLOCK) {
        let mut hash = Sha256::new_with_prefix(block);
        hash.update(&[0; BLOCK][block.len()..]);
        out.extend_from_slice(&hash.finalize());
    }
}

/// Builds the digest of a file from the hashes of its blocks, which come in their order.
#[derive(Debug)]
pub struct Verity {
    /// The hashes of each level that do not fill a block yet.
    levels: Vec<Vec<u8>>,
    /// The hash of a whole tree of zeros of each height.
    zeros: Vec<[u8; HASH]>,
    /// Blocks that are done.
    blocks: u64,
}

impl Default for Verity {
    fn default() -> Self {
        let mut hash: [u8; HASH] = Sha256::digest([0; BLOCK]).into();
        let mut zeros = Vec::new();
        for _ in 0..LEVELS {
            zeros.push(hash);
            hash = Sha256::digest(hash.repeat(FAN_OUT as usize)).into();
        }
        Self { levels: vec![Vec::new(); LEVELS + 1], zeros, blocks: 0 }
    }
}

impl Verity {
    /// Takes the hashes of the blocks from byte `offset` on; what lies between the last ones and these
    /// is zeros.
    pub fn add(&mut self, offset: u64, leaves: &[u8]) {
        self.skip_to(offset / BLOCK as u64);
        for leaf in leaves.chunks_exact(HASH) {
            self.push(0, leaf);
            self.blocks += 1;
        }
    }

    fn push(&mut self, level: usize, hash: &[u8]) {
        let Some(hashes) = self.levels.get_mut(level) else { return };
        hashes.extend_from_slice(hash);
        if hashes.len() == BLOCK {
            let parent = Sha256::digest(&*hashes);
            hashes.clear();
            self.push(level + 1, &parent);
        }
    }

    /// Zeros up to a block, in trees as large as possible.
    fn skip_to(&mut self, block: u64) {
        while self.blocks < block {
            let (mut level, mut span) = (0, 1);
            while level + 1 < self.zeros.len()
                && self.blocks.is_multiple_of(span * FAN_OUT)
                && block - self.blocks >= span * FAN_OUT
            {
                level += 1;
                span *= FAN_OUT;
            }
            let Some(zeros) = self.zeros.get(level).copied() else { return };
            self.push(level, &zeros);
            self.blocks += span;
        }
    }

    /// The digest of a file of `length` bytes.
    pub fn finish(mut self, length: u64) -> [u8; HASH] {
        self.skip_to(length.div_ceil(BLOCK as u64));
        let mut root = vec![0; HASH];
        for level in 0..=LEVELS {
            let Some(above) = self.levels.get(level + 1..) else { break };
            let top = above.iter().all(Vec::is_empty);
            let Some(hashes) = self.levels.get_mut(level) else { break };
            if top && hashes.len() <= HASH {
                root.clone_from(hashes);
                root.resize(HASH, 0);
                break;
            }
            if !hashes.is_empty() {
                hashes.resize(BLOCK, 0);
                let parent = Sha256::digest(&*hashes);
                hashes.clear();
                self.push(level + 1, &parent);
            }
        }
        // struct fsverity_descriptor: version, SHA-256, log2 of the block, no salt, no signature.
        let mut descriptor = [0; 256];
        descriptor[..4].copy_from_slice(&[1, 1, BLOCK.ilog2() as u8, 0]);
        descriptor[8..16].copy_from_slice(&length.to_le_bytes());
        descriptor[16..16 + HASH].copy_from_slice(&root);
        Sha256::digest(descriptor).into()
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)]
mod tests {
    use super::*;

    /// The definition, without any shortcut.
    fn plainly(bytes: &[u8]) -> [u8; HASH] {
        let mut hashes = Vec::new();
        leaves(bytes, &mut hashes);
        while hashes.len() > HASH {
            let mut above = Vec::new();
            leaves(&hashes, &mut above);
            hashes = above;
        }
        hashes.resize(HASH, 0);
        let mut descriptor = [0; 256];
        descriptor[..4].copy_from_slice(&[1, 1, 12, 0]);
        descriptor[8..16].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        descriptor[16..48].copy_from_slice(&hashes);
        Sha256::digest(descriptor).into()
    }

    #[test]
    fn holes_are_as_if_they_were_read() {
        // Parts of data, in blocks; sizes around one, two and three levels.
        for (size, parts) in [
            (0, vec![]),
            (1, vec![0..1]),
            (4096, vec![0..1]),
            (4097, vec![0..1]),
            (128 * 4096, vec![3..128]),
            (128 * 4096 + 5, vec![]),
            (3 << 20, vec![0..16, 130..140, 511..512]),
            (70 << 20, vec![0..1, 16384..16400]),
            ((64 << 20) + 1, vec![]),
        ] {
            let mut bytes = vec![0; size];
            let mut verity = Verity::default();
            for part in parts {
                let range = part.start * BLOCK..(part.end * BLOCK).min(size);
                for (at, byte) in bytes[range.clone()].iter_mut().enumerate() {
                    *byte = (at * at / 7) as u8 | 1;
                }
                let mut hashes = Vec::new();
                leaves(&bytes[range.clone()], &mut hashes);
                verity.add(range.start as u64, &hashes);
            }
            assert_eq!(verity.finish(size as u64), plainly(&bytes), "{size}");
        }
    }

    #[test]
    fn the_empty_file() {
        // As `fsverity digest` prints it.
        let digest: String =
            Verity::default().finish(0).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, "3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95");
    }

    #[test]
    fn the_largest_file_ends() {
        Verity::default().finish(u64::MAX);
    }
}
