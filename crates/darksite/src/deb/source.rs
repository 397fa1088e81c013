//! A suite of an archive, from its key to its indexes: what apt-secure(8) does.
//!
//! The signed file is fetched, its signature verified, its date and name checked, and the indexes it
//! names are brought into the store. Nothing is taken from a mirror that a key of the distribution does
//! not vouch for, so it does not matter which mirror it is, or whether it is `http:`.

use std::slice;

use jiff::SignedDuration;
use pkg::deb::{Release, paragraphs};

use super::{INLINE, RELEASE, SIGNATURE};
use crate::Location;
use crate::fetch::{Event, FetchError, Report, Wanted};
use crate::lock::{Blob, LockedIndex, LockedSuite};
use crate::source::{Reader, SourceError, SuiteSource, signed_text};

/// Longest signed file taken, in bytes; Debian's are about 200 KB.
const RELEASE_LIMIT: u64 = 16 << 20;
/// How far a date may be ahead of our clock.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_hours(24);
/// Which compression is taken if there is a choice; the smallest first.
const COMPRESSIONS: [&str; 4] = [".xz", ".zst", ".gz", ""];

/// A suite's state, verified, its indexes in the store.
#[derive(Debug, Clone)]
pub struct SuiteState {
    /// What a lock keeps of it.
    pub locked: LockedSuite,
    /// The verified content of its signed file.
    pub release: Release,
}

impl Reader<'_> {
    /// Fetches and verifies the present state of `suite`.
    pub fn suite(
        &self,
        suite: &SuiteSource,
        report: Report<'_>,
    ) -> Result<SuiteState, SourceError> {
        match self.suite_once(suite, report) {
            // A mirror may have changed between the signed file and its indexes.
            Err(SourceError::Indexes { .. }) => self.suite_once(suite, report),
            result => result,
        }
    }

    fn suite_once(
        &self,
        suite: &SuiteSource,
        report: Report<'_>,
    ) -> Result<SuiteState, SourceError> {
        let warn = |error: &SourceError| report(Event::Warning(&error.to_string()));
        let mut mirrors = suite.mirrors.clone();
        let mut refused = Vec::new();
        while !mirrors.is_empty() {
            let (bytes, mirror, inline) = match self.signed_file(suite, &mirrors, report) {
                Ok(found) => found,
                // What a mirror that had one was refused for says more than the silence of the others.
                Err(error) if refused.is_empty() => return Err(error.into()),
                Err(_) => break,
            };
            let state = || {
                let beside = || self.file_of(suite, SIGNATURE, slice::from_ref(&mirror), report);
                let signature = if inline { None } else { Some(beside()?.0) };
                let signed = Signed { bytes, signature, mirror: mirror.clone() };
                let (release, text) = self.check(suite, &signed)?;
                self.indexes(suite, signed, release, &text, report)
            };
            match state() {
                // Another mirror does not help our own disk.
                Err(error @ (SourceError::Store(_) | SourceError::Fetch(FetchError::Store(_)))) => {
                    return Err(error);
                }
                Err(error) => {
                    mirrors.retain(|other| *other != mirror);
                    refused.push(error);
                }
                Ok(state) => {
                    refused.iter().for_each(warn);
                    return Ok(state);
                }
            }
        }
        // Each is told once: the first is the error.
        let mut refused = refused.into_iter();
        let first = refused.next();
        refused.for_each(|error| warn(&error));
        Err(first.unwrap_or_else(|| SourceError::NoMirror { suite: suite.name.clone() }))
    }

    /// The signed file as some mirror has it, and whether the signature is inside.
    fn signed_file(
        &self,
        suite: &SuiteSource,
        mirrors: &[Location],
        report: Report<'_>,
    ) -> Result<(Vec<u8>, Location, bool), FetchError> {
        match self.file_of(suite, INLINE, mirrors, report) {
            Ok((bytes, mirror)) => Ok((bytes, mirror, true)),
            // Old archives have two files instead.
            Err(error) if error.is_not_found_somewhere() => {
                let (bytes, mirror) = self.file_of(suite, RELEASE, mirrors, report)?;
                Ok((bytes, mirror, false))
            }
            Err(error) => Err(error),
        }
    }

    /// A small file at the top of the suite, and the mirror that delivered it.
    fn file_of(
        &self,
        suite: &SuiteSource,
        name: &str,
        mirrors: &[Location],
        report: Report<'_>,
    ) -> Result<(Vec<u8>, Location), FetchError> {
        let name = format!("dists/{}/{name}", suite.name);
        let places: Vec<Location> = mirrors.iter().map(|mirror| mirror.join(&name)).collect();
        let (bytes, place) = self.fetcher.small(&name, &places, RELEASE_LIMIT, report)?;
        let at = places.iter().position(|other| *other == place).unwrap_or_default();
        Ok((bytes, mirrors.get(at).cloned().unwrap_or(place)))
    }

    /// Everything that must hold before an index is looked at.
    fn check(
        &self,
        suite: &SuiteSource,
        signed: &Signed,
    ) -> Result<(Release, String), SourceError> {
        let (name, mirror) = (&suite.name, &signed.mirror);
        let text = signed_text(self.keyring, &signed.bytes, signed.signature.as_deref(), self.now)
            .map_err(|reason| SourceError::Signature {
                suite: name.clone(),
                mirror: mirror.clone(),
                reason,
            })?;
        let release = Release::parse(&text).map_err(|source| SourceError::Release {
            suite: name.clone(),
            mirror: mirror.clone(),
            source: Box::new(source),
        })?;
        if !release.is_suite(name) {
            return Err(SourceError::OtherSuite {
                suite: name.clone(),
                mirror: mirror.clone(),
                found: format!("{} ({})", release.suite, release.codename),
            });
        }
        let date = release
            .date
            .ok_or_else(|| SourceError::NoDate { suite: name.clone(), mirror: mirror.clone() })?;
        let dated = |problem| SourceError::Date {
            suite: name.clone(),
            mirror: mirror.clone(),
            date,
            problem,
        };
        if suite.check_valid_until {
            if let Some(until) = release.valid_until
                && until < self.now
            {
                return Err(dated(format!(
                    "was valid until {until}: the mirror is stale; use another one, or allow it with \
                     check_valid_until = false in the recipe or --ignore-valid-until"
                )));
            }
            if date > self.now.saturating_add(CLOCKS_DIFFER).unwrap_or(self.now) {
                let now = self.now;
                return Err(dated(format!("is in the future: is our clock right? It is {now}")));
            }
        }
        let memory = self.seen.by(self.keyring);
        if suite.check_rollback
            && let Some(seen) = memory.date(name)?
            && date < seen
        {
            let file = memory.file(name);
            return Err(dated(format!(
                "is older than {seen}, which was seen before: the mirror went back; use another one, or \
                 delete {} to accept it",
                file.display()
            )));
        }
        for component in &suite.components {
            // `main` of `trixie-security` may be called `updates/main`.
            let known = release.components.iter().any(|known| {
                known == component || known.rsplit('/').next() == Some(component.as_str())
            });
            if !known {
                return Err(SourceError::NoComponent {
                    suite: name.clone(),
                    component: component.clone(),
                    known: release.components.join(", "),
                });
            }
        }
        Ok((release, text))
    }

    /// Brings the indexes into the store.
    fn indexes(
        &self,
        suite: &SuiteSource,
        signed: Signed,
        release: Release,
        text: &str,
        report: Report<'_>,
    ) -> Result<SuiteState, SourceError> {
        let paths = index_paths(&release, text, suite, self.architecture)?;
        let mut mirrors = vec![signed.mirror.clone()];
        mirrors.extend(suite.mirrors.iter().filter(|mirror| **mirror != signed.mirror).cloned());
        let mut indexes = Vec::new();
        let mut wanted = Vec::new();
        for path in paths {
            let Some(file) = release.file(&path) else { continue };
            let by_hash = release.acquire_by_hash.then(|| file.by_hash());
            let names: Vec<&str> = by_hash.as_deref().into_iter().chain([path.as_str()]).collect();
            let places = mirrors.iter().flat_map(|mirror| {
                let base = mirror.join(&format!("dists/{}", suite.name));
                names.iter().map(move |name| base.join(name)).collect::<Vec<_>>()
            });
            wanted.push(Wanted {
                name: format!("dists/{}/{path}", suite.name),
                locations: places.collect(),
                archives: Vec::new(),
                digest: file.sha256,
                size: file.size,
            });
            let blob = Blob { digest: file.sha256, size: file.size };
            indexes.push(LockedIndex { path, blob });
        }
        self.fetcher.all(self.store, &wanted, report).map_err(|source| match source {
            FetchError::Failed { .. } => SourceError::Indexes { suite: suite.name.clone(), source },
            source => source.into(),
        })?;
        let release_blob = Blob::of(&signed.bytes);
        self.store.insert(&signed.bytes)?;
        let signature = match &signed.signature {
            Some(bytes) => {
                self.store.insert(bytes)?;
                Some(Blob::of(bytes))
            }
            None => None,
        };
        self.store.settle()?;
        let date = release.date.unwrap_or_default();
        if suite.check_rollback {
            self.seen.by(self.keyring).remember(&suite.name, date)?;
        }
        indexes.sort_by(|a, b| a.path.cmp(&b.path));
        let locked = LockedSuite {
            name: suite.name.clone(),
            date,
            release: release_blob,
            signature,
            mirror: signed.mirror,
            indexes,
        };
        Ok(SuiteState { locked, release })
    }
}

/// A signed file, not verified yet.
struct Signed {
    bytes: Vec<u8>,
    signature: Option<Vec<u8>>,
    mirror: Location,
}

/// Which indexes of packages are read, each in its best compression.
fn index_paths(
    release: &Release,
    text: &str,
    suite: &SuiteSource,
    architecture: &str,
) -> Result<Vec<String>, SourceError> {
    let mut architectures = vec![architecture];
    if has_all_apart(release, text) {
        architectures.push("all");
    }
    let mut paths = Vec::new();
    for component in &suite.components {
        let component = release
            .components
            .iter()
            .find(|known| known.rsplit('/').next() == Some(component.as_str()))
            .map_or(component.as_str(), String::as_str);
        for architecture in &architectures {
            // The directory has the last part of the name only: `dists/SUITE/main/…` of `updates/main`.
            let directory = component.rsplit('/').next().unwrap_or(component);
            let name = format!("{directory}/binary-{architecture}/Packages");
            let path = COMPRESSIONS
                .iter()
                .map(|compression| format!("{name}{compression}"))
                .find(|path| release.file(path).is_some());
            paths.push(path.ok_or_else(|| SourceError::NoIndex {
                suite: suite.name.clone(),
                name,
                architectures: release.architectures.join(", "),
            })?);
        }
    }
    Ok(paths)
}

/// Whether packages of architecture `all` have indexes of their own that the others do not repeat.
fn has_all_apart(release: &Release, text: &str) -> bool {
    let all = release.architectures.iter().any(|architecture| architecture == "all");
    let repeats = paragraphs(text).map_while(Result::ok).any(|paragraph| {
        paragraph
            .get("No-Support-for-Architecture-all")
            .is_some_and(|value| value.split_whitespace().any(|word| word == "Packages"))
    });
    all && !repeats && release.files.iter().any(|file| file.path.contains("/binary-all/Packages"))
}
