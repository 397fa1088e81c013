//! The newest date that was seen of each suite, so that nobody can lead us back.
//!
//! Whoever signs has suites of its own: a darksite that is mirrored calls its suite as the distribution does,
//! and its dates say nothing of the distribution's.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;

use jiff::Timestamp;
use pkg::distribution::{Distribution, DistributionError};
use pkg::openpgp::Keyring;
use tree::Digest;

use crate::store::{StoreError, at, write_file};

/// A directory with one file for each suite and whoever signs it.
#[derive(Debug, Clone)]
pub struct Seen {
    directory: PathBuf,
    distribution: String,
    /// End of the files' names.
    signer: String,
}

impl Seen {
    /// What was seen of the suites of `distribution`, kept in `directory`; those that its own keys sign,
    /// unless [`Seen::by`] names others.
    pub fn new(directory: impl Into<PathBuf>, distribution: &str) -> Self {
        let (directory, distribution) = (directory.into(), distribution.to_owned());
        Self { directory, distribution, signer: String::new() }
    }

    /// The same of suites that `keyring` vouches for. The distribution's own keys come and go with its
    /// releases, and what was seen must stay known: only foreign ones make another name.
    #[must_use]
    pub fn by(&self, keyring: &Keyring) -> Self {
        let own = own_keys(&self.distribution).unwrap_or_default();
        let keys = fingerprints(keyring);
        let signer = if keys.is_subset(&own) {
            String::new()
        } else {
            let digest = Digest::of(Vec::from_iter(keys).join(" ").as_bytes()).to_string();
            format!("_{}", digest.get(..16).unwrap_or_default())
        };
        Self { signer, ..self.clone() }
    }

    /// The file of a suite.
    pub fn file(&self, suite: &str) -> PathBuf {
        let Self { directory, distribution, signer } = self;
        directory.join(format!("{distribution}_{}{signer}", suite.replace('/', "_")))
    }

    /// The newest date of `suite` that was seen; `None` if there is none.
    pub fn date(&self, suite: &str) -> Result<Option<Timestamp>, StoreError> {
        let path = self.file(suite);
        match fs::read_to_string(&path) {
            Ok(text) => match text.trim().parse() {
                Ok(date) => Ok(Some(date)),
                Err(_) => Err(at(&path)(io::Error::other(format!(
                    "{text:?} is not a date; delete the file to accept any"
                )))),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at(&path)(error)),
        }
    }

    /// Remembers a date, if it is newer.
    pub fn remember(&self, suite: &str, date: Timestamp) -> Result<(), StoreError> {
        if self.date(suite)?.is_some_and(|seen| seen >= date) {
            return Ok(());
        }
        fs::create_dir_all(&self.directory).map_err(at(&self.directory))?;
        write_file(&self.file(suite), format!("{date}\n").as_bytes(), 0o644)
    }
}

fn fingerprints(keyring: &Keyring) -> BTreeSet<String> {
    keyring.keys().into_iter().map(|(fingerprint, _)| fingerprint).collect()
}

/// The keys of all releases of a distribution.
fn own_keys(distribution: &str) -> Result<BTreeSet<String>, DistributionError> {
    let distribution = Distribution::find(distribution)?;
    let mut keys = BTreeSet::new();
    for release in distribution.release.keys() {
        keys.extend(fingerprints(&distribution.keyring(release)?));
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use pkg::openpgp::SigningKey;

    use super::*;

    #[test]
    fn whoever_signs_has_dates_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let seen = Seen::new(directory.path(), "debian");
        let date: Timestamp = "2025-05-20T12:00:00Z".parse().unwrap();
        let own = |release| Distribution::find("debian").unwrap().keyring(release).unwrap();
        let stranger = SigningKey::generate("stranger", date).unwrap().keyring();
        let (debian, other) = (seen.by(&own("trixie")), seen.by(&stranger));
        other.remember("trixie", date).unwrap();
        assert_eq!(other.date("trixie").unwrap(), Some(date));
        assert_eq!(debian.date("trixie").unwrap(), None);
        // What was written before there were signers goes on to protect.
        for own in [&debian, &seen.by(&own("bookworm"))] {
            assert_eq!(own.file("trixie"), directory.path().join("debian_trixie"));
        }
        // Who trusts one key more has other dates than either.
        let mut both = own("trixie");
        both.extend(stranger);
        let both = seen.by(&both).file("trixie");
        assert!(both != debian.file("trixie") && both != other.file("trixie"));
    }
}
