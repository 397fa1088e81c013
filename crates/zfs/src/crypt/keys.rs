//! The keys of a dataset and of its blocks.

use alloc::sync::Arc;
use core::fmt;

use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha512;

use super::cipher::Cipher;
use super::{CryptError, Suite};
use crate::prelude::*;
use crate::sync::Mutex;

/// Ciphers that are kept; a salt is used for hundreds of millions of blocks.
const KEPT: usize = 16;

/// A salt and the cipher that it gives.
type Salted = ([u8; 8], Arc<Cipher>);

/// What opens the blocks of a dataset. Not shown by `Debug`.
pub struct Keys {
    suite: Suite,
    pub(super) version: u64,
    master: Vec<u8>,
    hmac: Hmac<Sha512>,
    ciphers: Mutex<Vec<Salted>>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("suite", &self.suite).finish_non_exhaustive()
    }
}

impl Keys {
    pub(super) fn new(
        suite: Suite,
        version: u64,
        master: &[u8],
        hmac: &[u8],
    ) -> Result<Self, CryptError> {
        let hmac = Hmac::new_from_slice(hmac)
            .map_err(|_| CryptError::DamagedKeys("the HMAC key has an impossible length"))?;
        Ok(Self { suite, version, master: master.to_vec(), hmac, ciphers: Mutex::default() })
    }

    /// The suite.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The first bytes of the HMAC of `pieces`.
    pub(super) fn mac<const N: usize>(&self, pieces: &[&[u8]]) -> [u8; N] {
        let mut hmac = self.hmac.clone();
        for piece in pieces {
            hmac.update(piece);
        }
        let digest = hmac.finalize().into_bytes();
        let mut mac = [0; N];
        for (slot, byte) in mac.iter_mut().zip(digest) {
            *slot = byte;
        }
        mac
    }

    /// The cipher of blocks with this salt.
    pub(super) fn cipher(&self, salt: [u8; 8]) -> Result<Arc<Cipher>, CryptError> {
        let mut ciphers = self.ciphers.lock();
        if let Some((_, cipher)) = ciphers.iter().find(|(have, _)| *have == salt) {
            return Ok(cipher.clone());
        }
        let mut key = [0; 32];
        let key = key
            .get_mut(..self.suite.key_length())
            .ok_or(CryptError::DamagedKeys("a key is too long"))?;
        Hkdf::<Sha512>::new(None, &self.master)
            .expand(&salt, key)
            .map_err(|_| CryptError::DamagedKeys("a key is too long"))?;
        let cipher = Arc::new(self.suite.cipher(key)?);
        if ciphers.len() >= KEPT {
            ciphers.remove(0);
        }
        ciphers.push((salt, cipher.clone()));
        Ok(cipher)
    }
}
