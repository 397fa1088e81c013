//! Block pointers (`blkptr_t`): where a block is, how it is stored, what it must sum to.
//!
//! Source: the layout comments in OpenZFS `include/sys/spa.h`. 128 bytes, little-endian words.

use crate::checksum::Checksum;

/// Size of a block pointer in bytes.
pub(crate) const BLKPTR_SIZE: usize = 128;
/// The most payload an embedded block pointer takes, in bytes.
pub(crate) const EMBEDDED_MAX: usize = 112;

const SECTOR_SHIFT: u32 = 9;
const PROP_LITTLE_ENDIAN: u64 = 1 << 63;
const PROP_EMBEDDED: u64 = 1 << 39;

/// `enum zio_checksum`: fletcher-4.
pub(crate) const CHECKSUM_FLETCHER4: u8 = 7;

/// A block pointer; all words zero is a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct BlockPointer([u64; 16]);

/// What a block is, apart from where it lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockKind {
    /// `dmu_object_type_t` of the object it belongs to.
    pub object_type: u8,
    /// Level of indirection, 0 for data.
    pub level: u8,
}

impl BlockPointer {
    pub(crate) const HOLE: Self = Self([0; 16]);

    /// A pointer to a stored block. `offsets` are the byte offsets of its copies in the
    /// allocatable area, each `asize` bytes long; sizes are in bytes and multiples of 512.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn stored(
        kind: BlockKind,
        offsets: &[u64],
        (asize, psize, lsize): (u64, u64, u64),
        compression: u8,
        checksum: &Checksum,
        birth: u64,
        fill: u64,
    ) -> Self {
        let mut words = [0; 16];
        for (dva, offset) in words[..6].chunks_exact_mut(2).zip(offsets) {
            // vdev 0 in the high half.
            dva[0] = asize >> SECTOR_SHIFT;
            dva[1] = offset >> SECTOR_SHIFT;
        }
        words[6] = PROP_LITTLE_ENDIAN
            | u64::from(kind.level) << 56
            | u64::from(kind.object_type) << 48
            | u64::from(CHECKSUM_FLETCHER4) << 40
            | u64::from(compression) << 32
            | ((psize >> SECTOR_SHIFT) - 1) << 16
            | ((lsize >> SECTOR_SHIFT) - 1);
        words[10] = birth;
        words[11] = fill;
        words[12..].copy_from_slice(checksum);
        Self(words)
    }

    /// A pointer that holds its block's compressed bytes itself: at most [`EMBEDDED_MAX`].
    pub(crate) fn embedded(
        kind: BlockKind,
        payload: &[u8],
        lsize: u64,
        compression: u8,
        birth: u64,
    ) -> Self {
        debug_assert!(payload.len() <= EMBEDDED_MAX && !payload.is_empty());
        let mut padded = [0; EMBEDDED_MAX];
        padded[..payload.len()].copy_from_slice(payload);
        let mut words = [0; 16];
        // Words 6 (properties) and 10 (birth) keep their meaning; the payload flows around them.
        let slots = (0..16).filter(|index| !matches!(index, 6 | 10));
        for (slot, bytes) in slots.zip(padded.as_chunks::<8>().0) {
            words[slot] = u64::from_le_bytes(*bytes);
        }
        words[6] = PROP_LITTLE_ENDIAN
            | PROP_EMBEDDED
            | u64::from(kind.level) << 56
            | u64::from(kind.object_type) << 48
            | u64::from(compression) << 32
            | (payload.len() as u64 - 1) << 25
            | (lsize - 1);
        words[10] = birth;
        Self(words)
    }

    pub(crate) fn is_hole(&self) -> bool {
        self.0[6] == 0
    }

    pub(crate) fn is_embedded(&self) -> bool {
        self.0[6] & PROP_EMBEDDED != 0
    }

    /// The compression's number (`enum zio_compress`).
    pub(crate) fn compression(&self) -> u8 {
        (self.0[6] >> 32 & 0x7f) as u8
    }

    /// Logical size of an embedded block in bytes.
    pub(crate) fn embedded_lsize(&self) -> u64 {
        debug_assert!(self.is_embedded());
        (self.0[6] & 0x1ff_ffff) + 1
    }

    /// Number of blocks below with something in them; for dnode blocks, of dnodes.
    pub(crate) fn fill(&self) -> u64 {
        match (self.is_hole(), self.is_embedded()) {
            (true, _) => 0,
            (_, true) => 1,
            _ => self.0[11],
        }
    }

    pub(crate) fn to_bytes(self) -> [u8; BLKPTR_SIZE] {
        let mut bytes = [0; BLKPTR_SIZE];
        for (slot, word) in bytes.chunks_exact_mut(8).zip(self.0) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embedded_payload_flows_around_words_6_and_10() {
        let payload: Vec<u8> = (1..=112).collect();
        let kind = BlockKind { object_type: 19, level: 0 };
        let bytes = BlockPointer::embedded(kind, &payload, 512, 15, 4).to_bytes();
        assert_eq!(bytes[..48], payload[..48]);
        assert_eq!(bytes[56..80], payload[48..72]);
        assert_eq!(bytes[88..], payload[72..]);
        assert_eq!(bytes[80..88], 4u64.to_le_bytes());
        let word = u64::from_le_bytes(bytes[48..56].try_into().unwrap());
        assert_eq!((word & 0x1ff_ffff, word >> 25 & 0x7f, word >> 39 & 1), (511, 111, 1));
    }
}
