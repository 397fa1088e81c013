//! AES in the two modes and three key sizes of the suites.

use core::fmt;

use aes_gcm::aead::AeadInPlace;
use aes_gcm::aead::consts::{U12, U16};
use aes_gcm::aes::{Aes128, Aes192, Aes256};
use aes_gcm::{AesGcm, KeyInit};
use ccm::Ccm;

use super::CryptError;

/// Length of initialisation vectors in bytes.
pub(super) const IV: usize = 12;
/// Length of MACs in bytes.
pub(super) const MAC: usize = 16;

/// An encryption suite (`enum zio_encrypt`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suite {
    /// Galois/counter mode rather than counter with CBC-MAC.
    gcm: bool,
    key_length: usize,
}

impl Suite {
    /// The suite of a number in `DSL_CRYPTO_SUITE`.
    pub fn from_number(number: u64) -> Result<Self, CryptError> {
        let (gcm, key_length) = match number {
            3 => (false, 16),
            4 => (false, 24),
            5 => (false, 32),
            6 => (true, 16),
            7 => (true, 24),
            8 => (true, 32),
            _ => return Err(CryptError::UnknownSuite(number)),
        };
        Ok(Self { gcm, key_length })
    }

    /// Its number.
    pub fn number(self) -> u64 {
        self.key_length as u64 / 8 + if self.gcm { 4 } else { 1 }
    }

    /// Length of the master key and of block keys in bytes.
    pub fn key_length(self) -> usize {
        self.key_length
    }

    /// A cipher of the suite's mode with `key`, whose length counts, not the suite's: wrapping keys
    /// are of 32 bytes always.
    pub(super) fn cipher(self, key: &[u8]) -> Result<Cipher, CryptError> {
        fn make<C: KeyInit>(key: &[u8]) -> Option<C> {
            C::new_from_slice(key).ok()
        }
        let cipher = match (self.gcm, key.len()) {
            (true, 16) => make(key).map(Cipher::Gcm128),
            (true, 24) => make(key).map(Cipher::Gcm192),
            (true, 32) => make(key).map(Cipher::Gcm256),
            (false, 16) => make(key).map(Cipher::Ccm128),
            (false, 24) => make(key).map(Cipher::Ccm192),
            (false, 32) => make(key).map(Cipher::Ccm256),
            _ => None,
        };
        cipher.ok_or(CryptError::DamagedKeys("a key has an impossible length"))
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = if self.gcm { "gcm" } else { "ccm" };
        write!(f, "aes-{}-{mode}", self.key_length * 8)
    }
}

/// A cipher with its key schedule.
pub(super) enum Cipher {
    Gcm128(AesGcm<Aes128, U12>),
    Gcm192(AesGcm<Aes192, U12>),
    Gcm256(AesGcm<Aes256, U12>),
    Ccm128(Ccm<Aes128, U16, U12>),
    Ccm192(Ccm<Aes192, U16, U12>),
    Ccm256(Ccm<Aes256, U16, U12>),
}

impl Cipher {
    /// Decrypts in place; false if the MAC is wrong, and the data is of no use then.
    pub(super) fn decrypt(
        &self,
        iv: &[u8; IV],
        extra: &[u8],
        data: &mut [u8],
        mac: &[u8; MAC],
    ) -> bool {
        let (iv, mac) = (iv.into(), mac.into());
        match self {
            Self::Gcm128(aes) => aes.decrypt_in_place_detached(iv, extra, data, mac),
            Self::Gcm192(aes) => aes.decrypt_in_place_detached(iv, extra, data, mac),
            Self::Gcm256(aes) => aes.decrypt_in_place_detached(iv, extra, data, mac),
            Self::Ccm128(aes) => aes.decrypt_in_place_detached(iv, extra, data, mac),
            Self::Ccm192(aes) => aes.decrypt_in_place_detached(iv, extra, data, mac),
            Self::Ccm256(aes) => aes.decrypt_in_place_detached(iv, extra, data, mac),
        }
        .is_ok()
    }

    /// Encrypts in place and gives the MAC.
    #[cfg(test)]
    pub(super) fn encrypt(&self, iv: &[u8; IV], extra: &[u8], data: &mut [u8]) -> [u8; MAC] {
        let iv = iv.into();
        let mac = match self {
            Self::Gcm128(aes) => aes.encrypt_in_place_detached(iv, extra, data),
            Self::Gcm192(aes) => aes.encrypt_in_place_detached(iv, extra, data),
            Self::Gcm256(aes) => aes.encrypt_in_place_detached(iv, extra, data),
            Self::Ccm128(aes) => aes.encrypt_in_place_detached(iv, extra, data),
            Self::Ccm192(aes) => aes.encrypt_in_place_detached(iv, extra, data),
            Self::Ccm256(aes) => aes.encrypt_in_place_detached(iv, extra, data),
        };
        mac.unwrap().into()
    }
}
