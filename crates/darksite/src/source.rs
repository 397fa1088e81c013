//! Suites: where one is and how it is read; what its state is made of, which is text that a trusted key signed
//! and indexes in the store; and why it cannot be used.

use std::error::Error as StdError;
use std::io::Read;

use archive::compress::{Peek, decoder};
use jiff::Timestamp;
use pkg::openpgp::Keyring;
use thiserror::Error;

use crate::Location;
use crate::fetch::{FetchError, Fetcher};
use crate::lock::LockedIndex;
use crate::seen::Seen;
use crate::store::{Store, StoreError};

/// Longest index taken when decompressed, in bytes; that of Debian's main is about 55 MB.
const INDEX_LIMIT: u64 = 1 << 30;

/// A suite as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuiteSource {
    /// Its name in the archive, as `trixie-security`.
    pub name: String,
    /// Archives that have it, the preferred one first.
    pub mirrors: Vec<Location>,
    /// Components that are read.
    pub components: Vec<String>,
    /// Whether a state that is older than its `Valid-Until` is refused. Archives of the past need `false`.
    pub check_valid_until: bool,
    /// Whether a state older than one seen before is refused.
    pub check_rollback: bool,
}

/// Who reads suites, and with what.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    /// Brings files.
    pub fetcher: &'a Fetcher,
    /// Keeps them.
    pub store: &'a Store,
    /// Whom to trust.
    pub keyring: &'a Keyring,
    /// The dates that were seen before, whoever signed.
    pub seen: &'a Seen,
    /// The architecture whose indexes are read, as `amd64`.
    pub architecture: &'a str,
    /// The time now.
    pub now: Timestamp,
}

/// Why a suite cannot be used.
#[derive(Debug, Error)]
pub enum SourceError {
    /// There is nobody to ask.
    #[error("suite {suite}: there is no mirror to ask")]
    NoMirror {
        /// The suite.
        suite: String,
    },
    /// The signed file cannot be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The indexes cannot be fetched.
    #[error("suite {suite}: its indexes are not what its signed Release file tells: {source}")]
    Indexes {
        /// The suite.
        suite: String,
        /// What happened.
        source: FetchError,
    },
    /// No key that is trusted vouches for it.
    #[error("suite {suite} of {mirror}: not signed by a trusted key: {reason}")]
    Signature {
        /// The suite.
        suite: String,
        /// The mirror.
        mirror: Location,
        /// What was found.
        reason: String,
    },
    /// The signed text is no `Release` file.
    #[error("suite {suite} of {mirror}: its Release file cannot be used: {source}")]
    Release {
        /// The suite.
        suite: String,
        /// The mirror.
        mirror: Location,
        /// What is wrong.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// It is another suite.
    #[error("suite {suite} of {mirror}: the Release file there is of {found}")]
    OtherSuite {
        /// The suite asked for.
        suite: String,
        /// The mirror.
        mirror: Location,
        /// Suite and codename found.
        found: String,
    },
    /// It tells no date, so that nobody could notice a rollback.
    #[error("suite {suite} of {mirror}: its Release file has no Date")]
    NoDate {
        /// The suite.
        suite: String,
        /// The mirror.
        mirror: Location,
    },
    /// Its date is not right.
    #[error("suite {suite} of {mirror}: its state of {date} {problem}")]
    Date {
        /// The suite.
        suite: String,
        /// The mirror.
        mirror: Location,
        /// Its date.
        date: Timestamp,
        /// Why that cannot be, and what to do.
        problem: String,
    },
    /// It lacks a component.
    #[error("suite {suite} has no component {component}; it has {known}")]
    NoComponent {
        /// The suite.
        suite: String,
        /// The component.
        component: String,
        /// Those it has.
        known: String,
    },
    /// It lacks an index.
    #[error("suite {suite} has no index {name}; it has the architectures {architectures}")]
    NoIndex {
        /// The suite.
        suite: String,
        /// The index.
        name: String,
        /// The architectures it has.
        architectures: String,
    },
    /// An index cannot be read.
    #[error("index {path}: {reason}")]
    Index {
        /// Its path.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The text that a key of `keyring` signed: within `bytes`, or all of them with a `signature` apart.
pub(crate) fn signed_text(
    keyring: &Keyring,
    bytes: &[u8],
    signature: Option<&[u8]>,
    now: Timestamp,
) -> Result<String, String> {
    match signature {
        None => {
            let verified = keyring.verify_cleartext(bytes, now);
            verified.map(|(text, _)| text).map_err(|error| error.to_string())
        }
        Some(signature) => {
            keyring.verify_detached(bytes, signature, now).map_err(|error| error.to_string())?;
            let text = String::from_utf8(bytes.to_vec());
            text.map_err(|_| "the signed text is not UTF-8".to_owned())
        }
    }
}

/// The text of an index in the store. Its content is checked once more.
pub fn read_index(store: &Store, index: &LockedIndex) -> Result<String, SourceError> {
    index_text(&store.read(&index.blob.digest, index.blob.size)?, &index.path)
}

/// The text of the index at `path` from its bytes, compressed or not.
pub(crate) fn index_text(bytes: &[u8], path: &str) -> Result<String, SourceError> {
    let bad = |reason: String| SourceError::Index { path: path.to_owned(), reason };
    let mut peek = Peek::new(bytes);
    let reader = decoder(&mut peek).map_err(|error| bad(error.to_string()))?;
    let mut text = Vec::with_capacity(bytes.len().saturating_mul(5));
    let read = reader.take(INDEX_LIMIT + 1).read_to_end(&mut text);
    read.map_err(|error| bad(error.to_string()))?;
    if text.len() as u64 > INDEX_LIMIT {
        return Err(bad(format!("it is longer than {INDEX_LIMIT} bytes when decompressed")));
    }
    String::from_utf8(text).map_err(|error| bad(error.to_string()))
}
