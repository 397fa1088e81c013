//! What each family of package formats does its own way; the rest of this room is for all of them.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use pkg::distribution::{Distribution, DistributionError};
use pkg::openpgp::{Keyring, SigningKey};
use tree::Digest;

use crate::deb::Deb;
use crate::fetch::Report;
use crate::lock::{Blob, Lock, LockedSuite};
use crate::publish::{Indexes, PublishError, Repository, Times};
use crate::request::{HostMirrors, Question, Request, ResolveError, Resolved};
use crate::sbom::{Facts, Licenses, SbomError};
use crate::source::{Reader, SourceError};
use crate::store::Store;
use crate::verify::Findings;

/// A file of a suite that is no package: signed, or vouched for by what is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Its path below the suite, as `main/binary-amd64/Packages.xz`.
    pub path: String,
    /// Its content.
    pub blob: Blob,
    /// Where archives have it, below their root, the preferred place first.
    pub places: Vec<String>,
}

/// All there are.
const FAMILIES: [&dyn Family; 1] = [&Deb];

/// A family of package formats: Debian's, or another one day.
pub trait Family: fmt::Debug + Sync {
    /// The type of its package URLs.
    fn purl_type(&self) -> &'static str;
    /// The architecture of packages that fit any machine.
    fn any_architecture(&self) -> &'static str;
    /// The order of versions.
    fn compare_versions(&self, one: &str, other: &str) -> Ordering;
    /// Whether a suite of this name has security updates only.
    fn is_security(&self, suite: &str) -> bool;
    /// Where the package manager of this host has suites.
    fn host_mirrors(&self) -> HostMirrors;
    /// Reads suites, verified, and chooses the packages.
    fn resolve(
        &self,
        reader: &Reader<'_>,
        question: &Question<'_>,
        report: Report<'_>,
    ) -> Result<Resolved, ResolveError>;
    /// Names of the packages of `lock` that `request` itself asks for.
    fn asked_for(
        &self,
        request: &Request,
        lock: &Lock,
        store: &Store,
    ) -> Result<HashSet<String>, SourceError>;
    /// What the packages of `lock`, whose indexes are verified and in `store`, lack to be an answer to
    /// `request`, in words.
    fn lacking(
        &self,
        lock: &Lock,
        request: &Request,
        store: &Store,
        keyring: &Keyring,
    ) -> Result<Vec<String>, String>;
    /// What vouches for the packages of a suite, signed files first.
    fn metadata(&self, suite: &LockedSuite) -> Vec<Metadata>;
    /// What indexes tell of the packages of `lock`, by the packages' digests.
    fn facts(&self, lock: &Lock, store: &Store) -> Result<HashMap<Digest, Facts>, SourceError>;
    /// What the packages of `lock` themselves say of their licences.
    fn licenses(
        &self,
        lock: &Lock,
        store: &Store,
        advance: &(dyn Fn(u64) + Sync),
    ) -> Result<Licenses, SbomError>;

    /// Directories at the top of its repositories that belong to them alone.
    fn directories(&self) -> &'static [&'static str];
    /// When a file of a repository is copied: 0 for what can stand beside that of another repository, then what
    /// replaces it; what clients read first comes last.
    fn copy_rank(&self, path: &Path) -> u8;
    /// What a repository of `lock` tells of its packages; of the store, it needs only what
    /// [`Family::metadata`] names.
    fn indexes(&self, lock: &Lock, store: &Store) -> Result<Indexes, PublishError>;
    /// Makes packages and signatures of a repository, with the `indexes` of its lock.
    fn publish(
        &self,
        repository: &mut Repository<'_>,
        lock: &Lock,
        indexes: &Indexes,
        key: &SigningKey,
        times: Times,
    ) -> Result<(), PublishError>;
    /// Where a repository of `lock` has its packages, and what is there.
    fn pool(&self, lock: &Lock) -> Vec<(String, Blob)>;

    /// Goes from the distribution's key to what `lock` says of the packages of `suite`; `place` tells
    /// where each file of [`Family::metadata`] is.
    fn verify_upstream(
        &self,
        lock: &Lock,
        suite: &LockedSuite,
        place: &dyn Fn(&str) -> PathBuf,
        keyring: &Keyring,
        findings: &mut Findings,
    );
    /// Goes from our key, which signed the repository in `directory`, to its files.
    fn verify_published(
        &self,
        directory: &Path,
        lock: &Lock,
        now: Timestamp,
        findings: &mut Findings,
    );
    /// Whether what the repository in `directory` tells of its packages is what the distribution, whose files it
    /// has, tells of those that are locked: our key alone, which came with it, vouches for nothing.
    fn verify_indexes(&self, directory: &Path, lock: &Lock, findings: &mut Findings);
}

/// Whether a directory at the top of a repository is one of some family.
pub fn has_directory(name: &str) -> bool {
    FAMILIES.iter().any(|family| family.directories().contains(&name))
}

/// The family of a distribution.
pub fn family(distribution: &str) -> Result<&'static dyn Family, DistributionError> {
    let distribution = Distribution::find(distribution)?;
    match distribution.family.as_str() {
        "deb" => Ok(&Deb),
        other => Err(DistributionError::Unknown {
            what: "family of packages",
            name: other.to_owned(),
            known: vec!["deb".to_owned()],
        }),
    }
}
