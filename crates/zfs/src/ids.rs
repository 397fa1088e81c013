//! Identifiers drawn from a seed, so that the same build gives the same pool.

use sha2::{Digest, Sha256};

/// A stream of identifiers.
#[derive(Debug)]
pub(crate) struct Ids {
    seed: [u8; 32],
}

impl Ids {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self { seed }
    }

    /// 32 bytes that depend on the seed and on `purpose` only.
    pub(crate) fn bytes(&self, purpose: &str) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.seed);
        hash.update(purpose);
        hash.finalize().into()
    }

    /// A non-zero 64-bit identifier for `purpose`.
    pub(crate) fn guid(&self, purpose: &str) -> u64 {
        let bytes = self.bytes(purpose);
        let word = bytes[..8].iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
        word.max(1)
    }
}
