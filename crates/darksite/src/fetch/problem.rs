//! What can go wrong on the way.

use std::fmt;
use std::io;
use std::iter;
use std::path::PathBuf;

use thiserror::Error;
use tree::Digest;

use super::MOST_FAILURES;
use crate::Location;
use crate::store::StoreError;

/// Why a place did not deliver a file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Problem {
    /// It does not have it.
    #[error("not found")]
    NotFound,
    /// It answered with a status of HTTP that is no success.
    #[error("the server answered with status {0}")]
    Status(u16),
    /// The same, and the proxy in between may have said it.
    #[error("the answer, through the proxy {proxy} of the environment, has status {status}")]
    StatusVia {
        /// The status.
        status: u16,
        /// The proxy's address, without a password.
        proxy: String,
    },
    /// It sends us somewhere else, where nobody goes.
    #[error("the server redirects to {0}")]
    Redirect(String),
    /// It cannot be reached, or the connection broke.
    #[error("{0}")]
    Connection(String),
    /// It was silent for too long.
    #[error("no answer in time ({0})")]
    Silence(String),
    /// It has another file of that name: a stale or a newer state of the repository.
    #[error(
        "the file there has {found} bytes, {size} are expected: the mirror is in another state"
    )]
    OtherSize {
        /// The length it announced.
        found: u64,
        /// The length that is wanted.
        size: u64,
    },
    /// The answer ended early.
    #[error("the answer ended after {received} of {size} bytes")]
    Short {
        /// Bytes that arrived.
        received: u64,
        /// Bytes expected.
        size: u64,
    },
    /// The answer went on and on.
    #[error("the answer is longer than {limit} bytes")]
    TooLong {
        /// Most bytes taken.
        limit: u64,
    },
    /// The content is another one.
    #[error("wrong content: SHA-256 is {found}, {expected} is expected")]
    Digest {
        /// Digest of what arrived.
        found: Digest,
        /// Digest wanted.
        expected: Digest,
    },
    /// It cannot begin in the middle of the file.
    #[error("the server cannot continue a download")]
    Range,
}

impl Problem {
    /// Whether asking again is useless.
    pub(super) fn is_final_at(&self, location: &Location) -> bool {
        match self {
            // A disk says the same each time.
            _ if matches!(location, Location::File(_)) => true,
            Self::NotFound | Self::OtherSize { .. } | Self::TooLong { .. } | Self::Redirect(_) => {
                true
            }
            // 408 and 429 ask for patience.
            Self::Status(status) | Self::StatusVia { status, .. } => {
                (400..500).contains(status) && !matches!(status, 408 | 429)
            }
            _ => false,
        }
    }

    pub(super) fn of_io(error: &io::Error) -> Self {
        let of_ureq = error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>());
        if let Some(ureq::Error::Timeout(which)) = of_ureq {
            return Self::Silence(which.to_string());
        }
        match error.kind() {
            io::ErrorKind::NotFound => Self::NotFound,
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::Silence(error.to_string()),
            _ => Self::Connection(error.to_string()),
        }
    }
}

/// A file that no place delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What people call it.
    pub name: String,
    /// Every place that was asked, with its last problem.
    pub places: Vec<(Location, Problem)>,
}

impl Failure {
    /// Whether a place says that it does not have the file.
    pub fn is_not_found_somewhere(&self) -> bool {
        self.places.iter().any(|(_, problem)| *problem == Problem::NotFound)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot fetch {}", self.name)?;
        if self.places.is_empty() {
            return f.write_str(": there is no mirror to ask");
        }
        // One problem of several places is told once.
        for (number, alike) in self.places.chunk_by(|one, next| one.1 == next.1).enumerate() {
            f.write_str(if number == 0 { ": " } else { "; " })?;
            for (number, (location, _)) in alike.iter().enumerate() {
                write!(f, "{}{location}", if number == 0 { "" } else { ", " })?;
            }
            alike.first().map_or(Ok(()), |(_, problem)| write!(f, ": {problem}"))?;
        }
        Ok(())
    }
}

/// Why files are missing.
#[derive(Debug, Error)]
pub enum FetchError {
    /// Nobody delivered one file or several.
    #[error("{first}{}", others(more))]
    Failed {
        /// The first of them.
        first: Failure,
        /// The others.
        more: Vec<Failure>,
    },
    /// A proxy's address is none.
    #[error("the proxy {address:?} cannot be used: {reason}")]
    Proxy {
        /// The address, without a password.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file of trusted authorities is none.
    #[error("{}: cannot use it as the certificates to trust: {reason}", .path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A line for each, as each has its own reason.
fn others(more: &[Failure]) -> String {
    let mut lines: String = more.iter().map(|failure| format!("\n{failure}")).collect();
    if more.len() + 1 >= MOST_FAILURES {
        lines.push_str("\nwhat else is missing was not asked for any more");
    }
    lines
}

impl From<Failure> for FetchError {
    fn from(first: Failure) -> Self {
        Self::Failed { first, more: Vec::new() }
    }
}

impl FetchError {
    /// Whether it is one file that a place says it does not have.
    pub fn is_not_found_somewhere(&self) -> bool {
        matches!(self, Self::Failed { first, more } if more.is_empty() && first.is_not_found_somewhere())
    }

    /// Whether some place had other bytes than those that are wanted.
    pub fn is_wrong_content(&self) -> bool {
        let Self::Failed { first, more } = self else { return false };
        let wrong = |problem: &Problem| {
            matches!(problem, Problem::Digest { .. } | Problem::OtherSize { .. })
        };
        let mut failures = iter::once(first).chain(more);
        failures.any(|failure| failure.places.iter().any(|(_, problem)| wrong(problem)))
    }

    /// The same, if others had been asked before.
    pub(super) fn after(mut self, before: Failure) -> Self {
        if let Self::Failed { first, .. } = &mut self {
            first.places.splice(..0, before.places);
        }
        self
    }

    /// One error of several: one of the store is worst.
    pub(super) fn of_many(errors: Vec<Self>) -> Option<Self> {
        let mut failures = Vec::new();
        for error in errors {
            match error {
                Self::Failed { first, more } => {
                    failures.push(first);
                    failures.extend(more);
                }
                error => return Some(error),
            }
        }
        failures.sort_by(|a, b| a.name.cmp(&b.name));
        let mut failures = failures.into_iter();
        Some(Self::Failed { first: failures.next()?, more: failures.collect() })
    }
}
