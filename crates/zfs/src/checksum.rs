//! Block checksums: fletcher-4 and SHA-256, and the form that is embedded in labels.
//!
//! Source: OpenZFS `module/zcommon/zfs_fletcher.c`, `module/zfs/zio_checksum.c`. A checksum is four
//! 64-bit words as a block pointer holds them.

use sha2::{Digest, Sha256};

pub(crate) use crate::codec::fletcher::fletcher4;

/// Four words of checksum.
pub(crate) type Checksum = [u64; 4];

/// The trailer magic of blocks that carry their own checksum (`zio_eck_t`).
const ECK_MAGIC: u64 = 0x0210_da7a_b10c_7a11;
/// Length of that trailer: magic and checksum.
const ECK_SIZE: usize = 40;

/// SHA-256 as ZFS stores it: the digest's bytes read as big-endian words.
pub(crate) fn sha256(data: &[u8]) -> Checksum {
    let digest = Sha256::digest(data);
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(digest.chunks_exact(8)) {
        *word = bytes.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
    }
    words
}

/// Ends `block` with the checksum that covers it, as the areas of a vdev label have it: SHA-256 with
/// the block's own byte offset on the device in the checksum's place.
pub(crate) fn seal_label_block(block: &mut [u8], device_offset: u64) {
    seal(block, &[device_offset, 0, 0, 0]);
}

/// The same with another verifier in the checksum's place, as gang headers have it.
pub(crate) fn seal(block: &mut [u8], verifier: &Checksum) {
    let at = block.len() - ECK_SIZE;
    let put = |block: &mut [u8], words: &Checksum| {
        for (slot, word) in block[at + 8..].chunks_exact_mut(8).zip(words) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
    };
    block[at..at + 8].copy_from_slice(&ECK_MAGIC.to_le_bytes());
    put(block, verifier);
    let words = sha256(block);
    put(block, &words);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fletcher4_sums_words() {
        let data: Vec<u8> = [1u32, 2, 3].iter().flat_map(|word| word.to_le_bytes()).collect();
        // a: 1 3 6, b: 1 4 10, c: 1 5 15, d: 1 6 21.
        assert_eq!(fletcher4(&data), [6, 10, 15, 21]);
    }

    #[test]
    fn sha256_words_are_big_endian() {
        // SHA-256("abc") = ba7816bf 8f01cfea ...
        assert_eq!(sha256(b"abc")[0], 0xba78_16bf_8f01_cfea);
    }
}
