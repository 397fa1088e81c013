//! Block pointers that hold their block themselves.
//!
//! Source: OpenZFS `include/sys/spa.h`, `module/zfs/blkptr.c`. The payload fills the words of the
//! block pointer apart from 6 (properties) and 10 (birth), least significant byte of a word first:
//! once a block pointer's words are read in their byte order, the payload is the same for both.

use super::CodecError;

/// The (possibly compressed) bytes of an embedded block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbeddedPayload {
    bytes: [u8; 112],
    length: usize,
}

impl EmbeddedPayload {
    /// The bytes, 1 to 112 of them.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// The payload of an embedded block pointer, given as its sixteen words in host order.
pub fn embedded_payload(words: &[u64; 16]) -> Result<EmbeddedPayload, CodecError> {
    let length = (words[6] >> 25 & 0x7f) + 1;
    let mut bytes = [0; 112];
    if length > bytes.len() as u64 {
        return Err(CodecError::EmbeddedSize(length));
    }
    let payload = words.iter().enumerate().filter(|(at, _)| !matches!(at, 6 | 10));
    for (slot, (_, word)) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(payload) {
        *slot = word.to_le_bytes();
    }
    Ok(EmbeddedPayload { bytes, length: length as usize })
}
