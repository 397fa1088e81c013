//! Native encryption: from a passphrase or key to the content of blocks.
//!
//! ```text
//! passphrase ─ PBKDF2 ─► wrapping key ─ unwraps ─► master key, HMAC key   one pair per dataset
//!                                                    │            │
//! block pointer: salt ── HKDF ──► block key ◄────────┘            └─► MACs of what is not secret
//!                IV, MAC ───────► AES-GCM or AES-CCM
//! ```
//!
//! [`Keys`] are what a dataset needs. [`Keys::open`] decrypts or authenticates a stored block;
//! [`verify_indirect`] checks the sum of MACs in indirect blocks, which needs no key. Blocks are
//! taken as they are stored: checked by their checksum, compressed, in their own byte order.
//!
//! Source: OpenZFS `module/os/linux/zfs/zio_crypt.c`, `module/zfs/dsl_crypt.c`,
//! `lib/libzfs/libzfs_crypto.c`.

use crate::prelude::*;

mod auth;
mod block;
mod cipher;
mod keyring;
mod keys;
#[cfg(test)]
mod tests;
mod wrapping;

pub use auth::verify_indirect;
pub use cipher::Suite;
pub use keyring::{KeyError, Keyring};
pub use keys::Keys;
pub use wrapping::{KeyFormat, Secret, WrappedKeys, WrappingKey};

/// Why keys or encrypted blocks were not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CryptError {
    /// A number that is no encryption suite.
    #[error("encryption suite {0} is not known; aes-128-ccm to aes-256-gcm (3 to 8) are")]
    UnknownSuite(u64),
    /// A version of the format that we do not know.
    #[error("version {0} of the encryption format is not known; 0 and 1 are")]
    UnknownVersion(u64),
    /// The dataset's key is of another kind than what was given.
    #[error("the key of this dataset is given as a {wanted}; a {given} was given")]
    WrongKind {
        /// What the dataset's `keyformat` says.
        wanted: KeyFormat,
        /// What the caller gave.
        given: KeyFormat,
    },
    /// A key file that is not what its format says.
    #[error("a {format} key {problem}")]
    BadKey {
        /// The format.
        format: KeyFormat,
        /// What is wrong.
        problem: String,
    },
    /// The passphrase or key does not open the dataset's keys.
    #[error("the passphrase or key is wrong, or the keys of the dataset are damaged")]
    WrongKey,
    /// The stored keys make no sense.
    #[error("the keys of the dataset are damaged: {0}")]
    DamagedKeys(&'static str),
    /// A block's MAC is wrong: it was changed by someone without the key.
    #[error("the MAC of the block is wrong")]
    WrongMac,
    /// A block that cannot be taken apart.
    #[error("the encrypted block is damaged: {0}")]
    Block(&'static str),
}
