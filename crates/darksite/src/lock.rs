//! Lock files: exactly which packages, from which state of which suites.
//!
//! A lock is text, one fact a line, sorted, so that versions of it can be compared with `diff`. Building
//! from a lock resolves nothing and trusts no name: every file is known by its SHA-256.
//!
//! ```text
//! kldload-lock 1
//! distribution debian trixie amd64
//! asked recommends false
//! suite trixie 2025-05-17T08:05:41Z DIGEST SIZE http://ftp.debian.org/debian
//! index trixie main/binary-amd64/Packages.xz DIGEST SIZE
//! package bash 5.2.37-2 amd64 1489456 DIGEST trixie/main pool/main/b/bash/bash_5.2.37-2_amd64.deb
//! ```
//!
//! `asked` has a key and its value, for what decided and shows nowhere else. `suite` has the date of its signed `Release` file, the digest and length of that file and the archive
//! it came from; where the signature was a file of its own, a `signature` line follows. `index` is what
//! the packages of a component were read from. Paths come last, as they may contain blanks.

mod diff;
mod text;

use jiff::Timestamp;
use tree::Digest;

use crate::Location;

pub use diff::{Change, Difference, difference};
pub use text::{LockError, parse};

/// First word of every lock file.
pub(crate) const HEADER: &str = "kldload-lock";
/// The version that is written.
pub(crate) const VERSION: u32 = 1;

/// A lock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    /// The distribution, as `debian`.
    pub distribution: String,
    /// Its release by codename, as `trixie`.
    pub codename: String,
    /// The architecture, as `amd64`.
    pub architecture: String,
    /// What was asked for, sorted.
    pub requests: Vec<String>,
    /// Which versions were preferred, in words, in the recipe's order, which counts.
    pub pins: Vec<String>,
    /// What else of the recipe decided, as a key and its value; empty in locks of old, which do not tell.
    pub asked: Vec<(String, String)>,
    /// The suites, in the order of the source.
    pub suites: Vec<LockedSuite>,
    /// The packages, by name, architecture, version.
    pub packages: Vec<LockedPackage>,
}

/// The state of a suite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedSuite {
    /// As it was asked for.
    pub name: String,
    /// `Date` of its `Release` file.
    pub date: Timestamp,
    /// The file that is signed: `InRelease`, or `Release` if there is a `signature`.
    pub release: Blob,
    /// `Release.gpg`.
    pub signature: Option<Blob>,
    /// The archive it came from.
    pub mirror: Location,
    /// What was read of it, by path.
    pub indexes: Vec<LockedIndex>,
}

/// A file in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Blob {
    /// Its SHA-256.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
}

impl Blob {
    /// The blob that holds `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self { digest: Digest::of(bytes), size: bytes.len() as u64 }
    }
}

/// An index of packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedIndex {
    /// Its path below the suite, as `main/binary-amd64/Packages.xz`.
    pub path: String,
    /// Its content.
    pub blob: Blob,
}

/// A package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LockedPackage {
    /// Its name.
    pub name: String,
    /// Its architecture: that of the lock, or `all`.
    pub architecture: String,
    /// Its version.
    pub version: String,
    /// Its file.
    pub blob: Blob,
    /// The suite it is from.
    pub suite: String,
    /// The component it is from.
    pub component: String,
    /// Its path below the archive's root.
    pub path: String,
}

impl Lock {
    /// Brings everything into the order in which it is written.
    pub fn sort(&mut self) {
        self.requests.sort();
        self.requests.dedup();
        for suite in &mut self.suites {
            suite.indexes.sort_by(|a, b| a.path.cmp(&b.path));
        }
        self.packages.sort();
        self.packages.dedup();
    }

    /// Every file in the store that this needs: signed files, indexes, packages.
    pub fn blobs(&self) -> impl Iterator<Item = Blob> + '_ {
        let suites = self.suites.iter().flat_map(|suite| {
            let signed = [Some(suite.release), suite.signature].into_iter().flatten();
            signed.chain(suite.indexes.iter().map(|index| index.blob))
        });
        suites.chain(self.packages.iter().map(|package| package.blob))
    }

    /// The suite of this name.
    pub fn suite(&self, name: &str) -> Option<&LockedSuite> {
        self.suites.iter().find(|suite| suite.name == name)
    }

    /// Date of the newest suite.
    pub fn date(&self) -> Option<Timestamp> {
        self.suites.iter().map(|suite| suite.date).max()
    }

    /// Length of all packages together, in bytes.
    pub fn size(&self) -> u64 {
        self.packages.iter().map(|package| package.blob.size).sum()
    }
}

#[cfg(test)]
mod tests;
