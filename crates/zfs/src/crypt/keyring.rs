//! Finding and opening the keys of datasets.

use alloc::sync::Arc;
use hashbrown::HashMap;

use super::{CryptError, KeyFormat, Keys, Secret, WrappedKeys, WrappingKey};
use crate::dnode::object_type;
use crate::prelude::*;
use crate::read::{Objset, ReadError, zap};
use crate::sync::Mutex;
use crate::zap::OwnedValue;

/// Secrets and the keys that they opened. One secret may open several datasets.
#[derive(Debug, Default)]
pub struct Keyring {
    secrets: Vec<Secret>,
    /// By the encryption root's directory: PBKDF2 takes a second.
    roots: Mutex<HashMap<u64, WrappingKey>>,
    /// By the key object.
    keys: Mutex<HashMap<u64, Arc<Keys>>>,
}

/// Why there are no keys for a dataset.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// What tells of the keys cannot be read.
    #[error(transparent)]
    Read(#[from] Box<ReadError>),
    /// None of the secrets opens them.
    #[error(transparent)]
    Crypt(#[from] CryptError),
    /// No secret was given.
    #[error("no key or passphrase was given")]
    NoSecret,
}

impl From<ReadError> for KeyError {
    fn from(error: ReadError) -> Self {
        Self::Read(Box::new(error))
    }
}

impl Keyring {
    /// A keyring that tries `secrets`.
    pub fn new(secrets: Vec<Secret>) -> Self {
        Self { secrets, ..Self::default() }
    }

    /// Whether there is nothing to try.
    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty()
    }

    /// The keys of the dataset with directory object `directory` of the MOS; `None` if it is not
    /// encrypted.
    pub(crate) fn keys(
        &self,
        mos: &Objset<'_>,
        directory: u64,
    ) -> Result<Option<Arc<Keys>>, KeyError> {
        let object = mos.object(directory)?;
        if object.dnode.object_type != object_type::ZAP_METADATA {
            return Ok(None);
        }
        let Some(number) = zap::number(&object, b"com.datto:crypto_key_obj")? else {
            return Ok(None);
        };
        if let Some(keys) = self.keys.lock().get(&number) {
            return Ok(Some(keys.clone()));
        }
        let keys = Arc::new(self.open(&KeyObject::read(mos, number, directory)?)?);
        let mut known = self.keys.lock();
        known.insert(number, keys.clone());
        Ok(Some(keys))
    }

    fn open(&self, object: &KeyObject) -> Result<Keys, KeyError> {
        let KeyObject { wrapped, root, format, salt, rounds } = object;
        let known = self.roots.lock().get(root).cloned();
        if let Some(key) = known {
            return Ok(wrapped.unwrap(&key)?);
        }
        let mut failure = KeyError::NoSecret;
        for secret in &self.secrets {
            let opened = WrappingKey::new(secret, *format, *salt, *rounds)
                .and_then(|key| wrapped.unwrap(&key).map(|keys| (key, keys)));
            match opened {
                Ok((key, keys)) => {
                    let mut known = self.roots.lock();
                    known.insert(*root, key);
                    return Ok(keys);
                }
                Err(error) => failure = error.into(),
            }
        }
        Err(failure)
    }
}

/// What a key object says.
struct KeyObject {
    wrapped: WrappedKeys,
    /// Directory of the encryption root, which the secret belongs to.
    root: u64,
    format: KeyFormat,
    salt: u64,
    rounds: u64,
}

impl KeyObject {
    fn read(mos: &Objset<'_>, number: u64, directory: u64) -> Result<Self, KeyError> {
        const MISSING: CryptError = CryptError::DamagedKeys("a part of them is missing");
        let mut numbers: HashMap<Box<[u8]>, u64> = HashMap::new();
        let mut strings: HashMap<Box<[u8]>, Box<[u8]>> = HashMap::new();
        for entry in zap::entries(&mos.object(number)?)? {
            match entry.value {
                OwnedValue::U64(value) => {
                    numbers.insert(entry.name, value);
                }
                OwnedValue::Bytes(bytes) => {
                    strings.insert(entry.name, bytes);
                }
                _ => {}
            }
        }
        let number = |name: &str| numbers.get(name.as_bytes()).copied();
        let string = |name: &str| strings.get(name.as_bytes()).ok_or(MISSING);
        let format = number("keyformat").and_then(KeyFormat::from_number);
        Ok(Self {
            wrapped: WrappedKeys {
                suite: number("DSL_CRYPTO_SUITE").ok_or(MISSING)?,
                version: number("DSL_CRYPTO_VERSION").unwrap_or(0),
                guid: number("DSL_CRYPTO_GUID").ok_or(MISSING)?,
                iv: string("DSL_CRYPTO_IV")?.first_chunk().copied().ok_or(MISSING)?,
                mac: string("DSL_CRYPTO_MAC")?.first_chunk().copied().ok_or(MISSING)?,
                master: string("DSL_CRYPTO_MASTER_KEY_1")?.to_vec(),
                hmac: string("DSL_CRYPTO_HMAC_KEY_1")?.first_chunk().copied().ok_or(MISSING)?,
            },
            root: number("DSL_CRYPTO_ROOT_DDOBJ").unwrap_or(directory),
            format: format.ok_or(CryptError::DamagedKeys("their keyformat is not known"))?,
            salt: number("pbkdf2salt").unwrap_or(0),
            rounds: number("pbkdf2iters").unwrap_or(0),
        })
    }
}
