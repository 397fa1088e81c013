//! Distributions as data: releases, suites, components, archive keys, built-in mirrors.

use std::collections::BTreeMap;

use serde::Deserialize;
use thiserror::Error;

use crate::openpgp::{KeyError, Keyring};
use crate::recipe::nearest;

/// A distribution that comes with this program.
struct Known {
    name: &'static str,
    data: &'static str,
    /// Names and armored keys.
    keys: &'static [(&'static str, &'static str)],
}

const KNOWN: &[Known] = &[Known {
    name: "debian",
    data: include_str!("../data/debian/distribution.toml"),
    keys: &[
        ("bullseye-automatic", include_str!("../data/debian/bullseye-automatic.asc")),
        (
            "bullseye-security-automatic",
            include_str!("../data/debian/bullseye-security-automatic.asc"),
        ),
        ("bookworm-automatic", include_str!("../data/debian/bookworm-automatic.asc")),
        (
            "bookworm-security-automatic",
            include_str!("../data/debian/bookworm-security-automatic.asc"),
        ),
        ("bookworm-stable", include_str!("../data/debian/bookworm-stable.asc")),
        ("trixie-automatic", include_str!("../data/debian/trixie-automatic.asc")),
        ("trixie-security-automatic", include_str!("../data/debian/trixie-security-automatic.asc")),
        ("trixie-stable", include_str!("../data/debian/trixie-stable.asc")),
    ],
}];

/// A distribution.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distribution {
    /// Its name, as `debian`.
    pub name: String,
    /// Its family of packages, as `deb`.
    pub family: String,
    /// The architectures that its archive has.
    pub architectures: Vec<String>,
    /// Its archives by name.
    pub archive: BTreeMap<String, Archive>,
    /// Its releases by codename.
    pub release: BTreeMap<String, DistributionRelease>,
}

/// An archive: one tree of suites on a mirror.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// The built-in mirror, without a slash at the end.
    pub mirror: String,
    /// Where its state at any time is; `/TIME/` as `20250510T093135Z` follows.
    pub snapshot: String,
}

/// A release.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistributionRelease {
    /// Its number.
    pub version: String,
    /// The components that are used.
    pub components: Vec<String>,
    /// Names of the keys that sign its suites.
    pub keys: Vec<String>,
    /// The suites that are used, in the order apt would read them.
    pub suites: Vec<SuiteSource>,
    /// Suites that are used where a recipe asks for them.
    #[serde(default)]
    pub optional: Vec<SuiteSource>,
}

/// A suite and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuiteSource {
    /// Its name, as `trixie-updates`.
    pub name: String,
    /// The archive that has it; a key of [`Distribution::archive`].
    pub archive: String,
}

/// Why a distribution or release cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DistributionError {
    /// It is not known.
    #[error("{what} {name:?} is not known; {}", nearest(name, known))]
    Unknown {
        /// Distribution, release, architecture, suite or key.
        what: &'static str,
        /// The name.
        name: String,
        /// The names that are known.
        known: Vec<String>,
    },
    /// The data file of the distribution is wrong.
    #[error("the data of {name}: {message}")]
    Data {
        /// The distribution.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// A key that comes with this program cannot be read.
    #[error("the archive key {name}: {source}")]
    Key {
        /// Name of the key.
        name: String,
        /// What is wrong.
        source: KeyError,
    },
}

impl Distribution {
    /// The distribution of this name.
    pub fn find(name: &str) -> Result<Self, DistributionError> {
        let known = KNOWN.iter().find(|known| known.name == name);
        let known = known.ok_or_else(|| DistributionError::Unknown {
            what: "the distribution",
            name: name.to_owned(),
            known: KNOWN.iter().map(|known| known.name.to_owned()).collect(),
        })?;
        toml::from_str(known.data).map_err(|error| DistributionError::Data {
            name: name.to_owned(),
            message: error.to_string(),
        })
    }

    /// The release of this codename.
    pub fn release(&self, codename: &str) -> Result<&DistributionRelease, DistributionError> {
        self.release.get(codename).ok_or_else(|| DistributionError::Unknown {
            what: "the release",
            name: codename.to_owned(),
            known: self.release.keys().cloned().collect(),
        })
    }

    /// Whether packages of this architecture can be had.
    pub fn has_architecture(&self, name: &str) -> Result<(), DistributionError> {
        if self.architectures.iter().any(|known| known == name) {
            return Ok(());
        }
        let (what, known) = ("the architecture", self.architectures.clone());
        Err(DistributionError::Unknown { what, name: name.to_owned(), known })
    }

    /// The keys that sign the suites of a release.
    pub fn keyring(&self, codename: &str) -> Result<Keyring, DistributionError> {
        let keys = KNOWN.iter().find(|known| known.name == self.name).map(|known| known.keys);
        let keys = keys.unwrap_or_default();
        let mut keyring = Keyring::default();
        for name in &self.release(codename)?.keys {
            let (_, armor) = keys.iter().find(|(known, _)| known == name).ok_or_else(|| {
                DistributionError::Unknown {
                    what: "the key",
                    name: name.clone(),
                    known: keys.iter().map(|(name, _)| (*name).to_owned()).collect(),
                }
            })?;
            let key = Keyring::parse(armor.as_bytes())
                .map_err(|source| DistributionError::Key { name: name.clone(), source })?;
            keyring.extend(key);
        }
        Ok(keyring)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_whole() {
        for known in KNOWN {
            let distribution = Distribution::find(known.name).unwrap();
            assert_eq!(distribution.name, known.name);
            for (codename, release) in &distribution.release {
                let keys = distribution.keyring(codename).unwrap().keys();
                assert_eq!(keys.len(), release.keys.len());
                for suite in release.suites.iter().chain(&release.optional) {
                    assert!(distribution.archive.contains_key(&suite.archive));
                }
            }
        }
    }

    #[test]
    fn unknown_names() {
        let error = Distribution::find("debain").unwrap_err().to_string();
        assert_eq!(error, "the distribution \"debain\" is not known; did you mean \"debian\"?");
        let error = Distribution::find("debian").unwrap().release("sarge").unwrap_err().to_string();
        assert_eq!(error, "the release \"sarge\" is not known; known are bookworm, forky, trixie");
        let debian = Distribution::find("debian").unwrap();
        debian.has_architecture("arm64").unwrap();
        let error = debian.has_architecture("amd46").unwrap_err().to_string();
        assert_eq!(error, "the architecture \"amd46\" is not known; did you mean \"amd64\"?");
    }
}
