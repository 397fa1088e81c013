//! Block pointers (`blkptr_t`): where a block is, how it is stored, what it must sum to.
//!
//! Source: the layout comments in OpenZFS `include/sys/spa.h`. 128 bytes, little-endian words.

use core::fmt;

use crate::checksum::Checksum;
use crate::prelude::*;

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

/// Where one copy of a block lies (`dva_t`, "data virtual address").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Dva([u64; 2]);

impl Dva {
    /// An address as its two words say it.
    pub(crate) fn new(words: [u64; 2]) -> Self {
        Self(words)
    }

    fn is_set(&self) -> bool {
        self.asize() != 0
    }

    /// Number of the top-level vdev.
    pub(crate) fn vdev(&self) -> u64 {
        self.0[0] >> 32 & 0xff_ffff
    }

    /// Bytes allocated, parity included.
    pub(crate) fn asize(&self) -> u64 {
        (self.0[0] & 0xff_ffff) << SECTOR_SHIFT
    }

    /// Byte offset in the vdev's allocatable area.
    pub(crate) fn offset(&self) -> u64 {
        self.0[1] << 1 >> 1 << SECTOR_SHIFT
    }

    /// Whether a gang header lies here, which points to the parts of the block.
    pub(crate) fn is_gang(&self) -> bool {
        self.0[1] >> 63 != 0
    }
}

impl fmt::Display for Dva {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:x}:{:x}", self.vdev(), self.offset(), self.asize())
    }
}

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

    /// The pointer as lists of freed blocks keep it: without checksum, fill count and payload.
    pub(crate) fn in_list(&self) -> Self {
        let mut words = self.0;
        if self.is_embedded() {
            words = [0; 16];
            words[6] = self.0[6];
            words[10] = self.0[10];
        }
        words[11..].fill(0);
        Self(words)
    }

    /// Whether there is no block. A hole may have properties and a birth all the same.
    pub(crate) fn is_hole(&self) -> bool {
        !self.is_embedded() && self.0[0] == 0 && self.0[1] == 0
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

    /// A pointer as its sixteen words say it, whatever they are.
    pub(crate) fn from_words(words: [u64; 16]) -> Self {
        Self(words)
    }

    /// The pointer in the first 128 bytes of `bytes`, little-endian; `None` if there are fewer.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; BLKPTR_SIZE] = bytes.first_chunk()?;
        let mut words = [0; 16];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        Some(Self(words))
    }

    /// The sixteen words.
    pub(crate) fn words(&self) -> &[u64; 16] {
        &self.0
    }

    /// `dmu_object_type_t` of the object it belongs to.
    pub(crate) fn object_type(&self) -> u8 {
        (self.0[6] >> 48) as u8
    }

    /// Level of indirection, 0 for data.
    pub(crate) fn level(&self) -> u8 {
        (self.0[6] >> 56 & 0x1f) as u8
    }

    /// Whether the block's words are big-endian.
    pub(crate) fn is_big_endian(&self) -> bool {
        self.0[6] & PROP_LITTLE_ENDIAN == 0
    }

    /// `enum zio_checksum` of a stored block.
    pub(crate) fn checksum_type(&self) -> u8 {
        if self.is_embedded() { 2 } else { (self.0[6] >> 40) as u8 }
    }

    /// Whether the block belongs to an encrypted dataset: it is encrypted or carries a MAC.
    pub(crate) fn uses_crypt(&self) -> bool {
        self.0[6] >> 61 & 1 != 0
    }

    /// Whether the block was written with deduplication.
    pub(crate) fn is_dedup(&self) -> bool {
        self.0[6] >> 62 & 1 != 0
    }

    /// What an embedded pointer holds (`bp_embedded_type_t`): 0 is data, 2 a redacted block.
    pub(crate) fn embedded_type(&self) -> u8 {
        (self.0[6] >> 40) as u8
    }

    /// Size of the block's content in bytes.
    pub(crate) fn lsize(&self) -> u64 {
        match (self.is_hole(), self.is_embedded()) {
            (_, true) => self.embedded_lsize(),
            _ => ((self.0[6] & 0xffff) + 1) << SECTOR_SHIFT,
        }
    }

    /// Size of the block as it is stored, compressed, in bytes.
    pub(crate) fn psize(&self) -> u64 {
        if self.is_embedded() {
            (self.0[6] >> 25 & 0x7f) + 1
        } else {
            ((self.0[6] >> 16 & 0xffff) + 1) << SECTOR_SHIFT
        }
    }

    /// Transaction group in which the block was referenced.
    pub(crate) fn birth(&self) -> u64 {
        self.0[10]
    }

    /// Transaction group in which the block was allocated.
    pub(crate) fn physical_birth(&self) -> u64 {
        match self.0[9] {
            _ if self.is_embedded() => 0,
            0 => self.0[10],
            // The upper bits are flags of newer versions.
            physical => physical & ((1 << 56) - 1),
        }
    }

    /// Transaction group in which the block became its dataset's: `zfs rewrite -P` moves blocks and
    /// leaves the other birth as it was (`BP_GET_BIRTH`).
    pub(crate) fn allocation_birth(&self) -> u64 {
        if !self.is_embedded() && self.0[7] >> 63 != 0 {
            return self.physical_birth();
        }
        self.birth()
    }

    /// The checksum that the block must have.
    pub(crate) fn checksum(&self) -> Checksum {
        [self.0[12], self.0[13], self.0[14], self.0[15]]
    }

    /// The compressed bytes that an embedded pointer holds.
    pub(crate) fn embedded_payload(&self) -> Vec<u8> {
        let words = self.0.iter().enumerate().filter(|(index, _)| !matches!(index, 6 | 10));
        let mut payload: Vec<u8> = words.flat_map(|(_, word)| word.to_le_bytes()).collect();
        payload.truncate(self.psize() as usize);
        payload
    }

    /// Where the copies are; none for holes and embedded pointers. `encrypted` pointers keep salt
    /// and initialisation vector in the place of the third.
    pub(crate) fn copies(&self, encrypted: bool) -> impl Iterator<Item = Dva> + use<> {
        let words = self.0;
        let places = match (self.is_hole() || self.is_embedded(), encrypted) {
            (true, _) => 0,
            (_, true) => 2,
            _ => 3,
        };
        (0..places).map(move |at| Dva([words[2 * at], words[2 * at + 1]])).filter(Dva::is_set)
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
