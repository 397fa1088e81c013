//! Wrapping keys: from what the owner of a dataset has to what opens its keys.

use core::fmt;

use super::cipher::{IV, MAC};
use super::{CryptError, Keys, Suite};
use crate::prelude::*;

/// Length of wrapping keys in bytes, whatever the suite.
const WRAPPING: usize = 32;
/// Length of HMAC keys in bytes.
pub(super) const HMAC: usize = 64;
/// OpenZFS accepts passphrases of these lengths in bytes.
const PASSPHRASE: core::ops::RangeInclusive<usize> = 8..=512;
/// More rounds of PBKDF2 than anyone waits for: days.
const MAX_ROUNDS: u64 = 1 << 32;

/// How the key of a dataset is given (the property `keyformat`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFormat {
    /// 32 bytes.
    Raw,
    /// 64 hexadecimal digits.
    Hex,
    /// A passphrase of 8 to 512 bytes.
    Passphrase,
}

impl KeyFormat {
    /// The format of a number of the property.
    pub fn from_number(number: u64) -> Option<Self> {
        match number {
            1 => Some(Self::Raw),
            2 => Some(Self::Hex),
            3 => Some(Self::Passphrase),
            _ => None,
        }
    }
}

impl fmt::Display for KeyFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::Hex => "hex",
            Self::Passphrase => "passphrase",
        })
    }
}

/// What the owner of a dataset gives. Not shown by `Debug`.
#[derive(Clone)]
pub enum Secret {
    /// A passphrase, without the line's end.
    Passphrase(Vec<u8>),
    /// The content of a key file: 32 bytes, or 64 digits that a line's end may follow.
    KeyFile(Vec<u8>),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A key that opens the keys of datasets. Not shown by `Debug`.
#[derive(Clone)]
pub struct WrappingKey([u8; WRAPPING]);

impl fmt::Debug for WrappingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WrappingKey")
    }
}

impl WrappingKey {
    /// From what the owner gave, by what the dataset's key object says: its `keyformat`, and
    /// for passphrases `pbkdf2salt` and `pbkdf2iters`.
    pub fn new(
        secret: &Secret,
        format: KeyFormat,
        salt: u64,
        rounds: u64,
    ) -> Result<Self, CryptError> {
        let bad = |problem: String| CryptError::BadKey { format, problem };
        let mut key = [0; WRAPPING];
        match (secret, format) {
            (Secret::Passphrase(phrase), KeyFormat::Passphrase) => {
                if !PASSPHRASE.contains(&phrase.len()) {
                    return Err(bad(format!("of {} bytes; 8 to 512 are allowed", phrase.len())));
                }
                let rounds = Some(rounds).filter(|rounds| (1..MAX_ROUNDS).contains(rounds));
                let rounds = rounds
                    .and_then(|rounds| u32::try_from(rounds).ok())
                    .ok_or(CryptError::DamagedKeys("the number of PBKDF2 rounds is impossible"))?;
                let salt = salt.to_le_bytes();
                pbkdf2::pbkdf2_hmac::<sha1::Sha1>(phrase, &salt, rounds, &mut key);
            }
            (Secret::KeyFile(bytes), KeyFormat::Raw) => {
                let length = bytes.len();
                key = <[u8; WRAPPING]>::try_from(&**bytes)
                    .map_err(|_| bad(format!("has 32 bytes, not {length}")))?;
            }
            (Secret::KeyFile(bytes), KeyFormat::Hex) => {
                let digits = bytes.trim_ascii_end();
                let (pairs, rest) = digits.as_chunks::<2>();
                if pairs.len() != WRAPPING || !rest.is_empty() {
                    return Err(bad(format!("has 64 digits, not {}", digits.len())));
                }
                for (byte, pair) in key.iter_mut().zip(pairs) {
                    let digit = |digit: u8| char::from(digit).to_digit(16);
                    let value = digit(pair[0]).zip(digit(pair[1]));
                    let (high, low) =
                        value.ok_or_else(|| bad("has something other than digits".into()))?;
                    *byte = (high << 4 | low) as u8;
                }
            }
            // A passphrase may well lie in a file, with the line's end that editors leave.
            (Secret::KeyFile(bytes), KeyFormat::Passphrase) => {
                let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
                return Self::new(&Secret::Passphrase(line.to_vec()), format, salt, rounds);
            }
            (Secret::Passphrase(_), wanted) => {
                return Err(CryptError::WrongKind { wanted, given: KeyFormat::Passphrase });
            }
        }
        Ok(Self(key))
    }
}

/// The keys of a dataset as its key object has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedKeys {
    /// `DSL_CRYPTO_SUITE`.
    pub suite: u64,
    /// `DSL_CRYPTO_VERSION`, 0 if there is none.
    pub version: u64,
    /// `DSL_CRYPTO_GUID`.
    pub guid: u64,
    /// `DSL_CRYPTO_IV`.
    pub iv: [u8; IV],
    /// `DSL_CRYPTO_MAC`.
    pub mac: [u8; MAC],
    /// `DSL_CRYPTO_MASTER_KEY_1`: 32 bytes, of which as many count as the suite's keys have.
    pub master: Vec<u8>,
    /// `DSL_CRYPTO_HMAC_KEY_1`.
    pub hmac: [u8; HMAC],
}

impl WrappedKeys {
    /// Opens them.
    pub fn unwrap(&self, key: &WrappingKey) -> Result<Keys, CryptError> {
        let suite = Suite::from_number(self.suite)?;
        let mut extra = self.guid.to_le_bytes().to_vec();
        match self.version {
            0 => {}
            1 => {
                extra.extend_from_slice(&self.suite.to_le_bytes());
                extra.extend_from_slice(&self.version.to_le_bytes());
            }
            version => return Err(CryptError::UnknownVersion(version)),
        }
        let length = suite.key_length();
        let master = self.master.get(..length);
        let master = master.ok_or(CryptError::DamagedKeys("the master key is too short"))?;
        let mut both = [master, &self.hmac].concat();
        if !suite.cipher(&key.0)?.decrypt(&self.iv, &extra, &mut both, &self.mac) {
            return Err(CryptError::WrongKey);
        }
        let (master, hmac) = both
            .split_at_checked(length)
            .ok_or(CryptError::DamagedKeys("the master key is too short"))?;
        Keys::new(suite, self.version, master, hmac)
    }

    /// What [`Self::unwrap`] undoes.
    #[cfg(test)]
    pub(super) fn wrap(&mut self, key: &WrappingKey, master: &[u8], hmac: &[u8; HMAC]) {
        let suite = Suite::from_number(self.suite).unwrap();
        let mut extra = self.guid.to_le_bytes().to_vec();
        if self.version == 1 {
            extra.extend_from_slice(&self.suite.to_le_bytes());
            extra.extend_from_slice(&self.version.to_le_bytes());
        }
        let mut both = [master, hmac].concat();
        self.mac = suite.cipher(&key.0).unwrap().encrypt(&self.iv, &extra, &mut both);
        self.master = both[..master.len()].to_vec();
        self.master.resize(32, 0);
        self.hmac.copy_from_slice(&both[master.len()..]);
    }
}
