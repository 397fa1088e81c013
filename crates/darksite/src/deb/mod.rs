//! Debian's family: suites of signed `Release` files, `Packages` indexes, `.deb` files.

pub mod apt_sources;
mod facts;
mod licenses;
mod publish;
mod resolve;
pub mod source;
mod verify;
mod whole;

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use apt_sources::HostApt;
use jiff::Timestamp;
use pkg::deb::{IndexFile, Version};
use pkg::openpgp::{Keyring, SigningKey};
use tree::Digest;

use crate::family::{Family, Metadata};
use crate::fetch::Report;
use crate::lock::{Blob, Lock, LockedIndex, LockedSuite};
use crate::publish::{Indexes, PublishError, Repository, Times, UPSTREAM};
use crate::request::{HostMirrors, Question, Request, ResolveError, Resolved};
use crate::sbom::{Facts, Licenses, SbomError};
use crate::source::{Reader, SourceError, read_index};
use crate::store::Store;
use crate::verify::Findings;

/// The file of a suite that has its signature within.
const INLINE: &str = "InRelease";
/// The same without one.
const RELEASE: &str = "Release";
/// The signature of [`RELEASE`].
const SIGNATURE: &str = "Release.gpg";

/// See the module.
#[derive(Debug)]
pub(crate) struct Deb;

/// The component that an index is of: what stands before `/binary-`.
pub fn component(index: &LockedIndex) -> &str {
    index.path.find("/binary-").and_then(|at| index.path.get(..at)).unwrap_or("main")
}

impl Family for Deb {
    fn purl_type(&self) -> &'static str {
        "deb"
    }

    fn any_architecture(&self) -> &'static str {
        "all"
    }

    fn compare_versions(&self, one: &str, other: &str) -> Ordering {
        match (Version::parse(one), Version::parse(other)) {
            (Ok(one), Ok(other)) => one.cmp(&other),
            _ => one.cmp(other),
        }
    }

    /// `trixie-security`, `bullseye/updates` and the like.
    fn is_security(&self, suite: &str) -> bool {
        suite.ends_with("-security") || suite.ends_with("/updates")
    }

    fn host_mirrors(&self) -> HostMirrors {
        let apt = HostApt::read(Path::new("/etc/apt"));
        Box::new(move |endings, codenames| apt.mirrors(endings, codenames))
    }

    fn resolve(
        &self,
        reader: &Reader<'_>,
        question: &Question<'_>,
        report: Report<'_>,
    ) -> Result<Resolved, ResolveError> {
        resolve::resolve(reader, question, report)
    }

    fn asked_for(
        &self,
        request: &Request,
        lock: &Lock,
        store: &Store,
    ) -> Result<HashSet<String>, SourceError> {
        resolve::asked_for(request, lock, store)
    }

    fn lacking(
        &self,
        lock: &Lock,
        request: &Request,
        store: &Store,
        keyring: &Keyring,
    ) -> Result<Vec<String>, String> {
        whole::lacking(lock, &resolve::in_solvers_words(request), store, keyring)
    }

    fn metadata(&self, suite: &LockedSuite) -> Vec<Metadata> {
        let dists = format!("dists/{}", suite.name);
        let plain = |path: &str, blob| Metadata {
            path: path.to_owned(),
            blob,
            places: vec![format!("{dists}/{path}")],
        };
        let mut files = match suite.signature {
            Some(signature) => vec![plain(RELEASE, suite.release), plain(SIGNATURE, signature)],
            None => vec![plain(INLINE, suite.release)],
        };
        files.extend(suite.indexes.iter().map(|index| {
            let Blob { digest: sha256, size } = index.blob;
            let by_hash = IndexFile { path: index.path.clone(), size, sha256 }.by_hash();
            let mut file = plain(&index.path, index.blob);
            file.places.insert(0, format!("{dists}/{by_hash}"));
            file
        }));
        files
    }

    fn facts(&self, lock: &Lock, store: &Store) -> Result<HashMap<Digest, Facts>, SourceError> {
        facts::facts(lock, store)
    }

    fn licenses(
        &self,
        lock: &Lock,
        store: &Store,
        advance: &(dyn Fn(u64) + Sync),
    ) -> Result<Licenses, SbomError> {
        licenses::read(lock, store, advance)
    }

    fn directories(&self) -> &'static [&'static str] {
        &["dists", "pool"]
    }

    fn copy_rank(&self, path: &Path) -> u8 {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        match (path.iter().next().and_then(OsStr::to_str).unwrap_or_default(), name) {
            ("pool", _) => 0,
            // A stock apt asks for indexes by their digests.
            ("dists", _) if path.iter().any(|part| part == "by-hash") => 0,
            (UPSTREAM, _) => 1,
            ("dists", RELEASE | SIGNATURE) => 4,
            ("dists", INLINE) => 5,
            ("dists", _) => 2,
            _ => 3,
        }
    }

    fn indexes(&self, lock: &Lock, store: &Store) -> Result<Indexes, PublishError> {
        publish::indexes(lock, &|_, index| read_index(store, index))
    }

    fn publish(
        &self,
        repository: &mut Repository<'_>,
        lock: &Lock,
        indexes: &Indexes,
        key: &SigningKey,
        times: Times,
    ) -> Result<(), PublishError> {
        publish::publish(repository, lock, indexes, key, times)
    }

    fn pool(&self, lock: &Lock) -> Vec<(String, Blob)> {
        let placed = publish::pool(lock).into_iter();
        placed.map(|(package, path)| (path, package.blob)).collect()
    }

    fn verify_upstream(
        &self,
        lock: &Lock,
        suite: &LockedSuite,
        place: &dyn Fn(&str) -> PathBuf,
        keyring: &Keyring,
        findings: &mut Findings,
    ) {
        verify::upstream(lock, suite, place, keyring, findings);
    }

    fn verify_published(
        &self,
        directory: &Path,
        lock: &Lock,
        now: Timestamp,
        findings: &mut Findings,
    ) {
        verify::published(directory, lock, now, findings);
    }

    fn verify_indexes(&self, directory: &Path, lock: &Lock, findings: &mut Findings) {
        verify::indexes(directory, lock, findings);
    }
}
