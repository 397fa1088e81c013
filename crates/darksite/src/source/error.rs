//! Why a suite cannot be used.

use jiff::Timestamp;
use pkg::deb::ReleaseError;
use thiserror::Error;

use crate::Location;
use crate::fetch::FetchError;
use crate::store::StoreError;

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
        source: Box<ReleaseError>,
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
