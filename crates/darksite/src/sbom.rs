//! A software bill of materials of a lock, as SPDX 2.3 in JSON
//! (<https://spdx.github.io/spdx-spec/v2.3/>).
//!
//! Only the lock, the indexes it names and, for [`licenses`], its packages are read, so the same lock
//! always gives the same document. What is not told is `NOASSERTION`.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use pkg::distribution::{Distribution, DistributionError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thiserror::Error;
use tree::Digest;

use crate::Location;
use crate::family::{Family, family};
use crate::lock::{Lock, LockedPackage};
use crate::source::SourceError;
use crate::store::{Store, StoreError};

/// What the archive tells of a package.
#[derive(Debug, Default, Clone)]
pub struct Facts {
    /// The source package it was built from.
    pub source: String,
    /// That one's version.
    pub source_version: String,
    /// Who maintains it, as `NAME <ADDRESS>`.
    pub maintainer: Option<String>,
    /// Where its authors are.
    pub homepage: Option<String>,
    /// What an index says of its licence.
    pub license: Option<String>,
    /// What it is, in one line.
    pub summary: Option<String>,
}

/// What a package says of its licence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct License {
    /// As an expression of SPDX.
    pub declared: String,
    /// In the words of the package.
    pub named: String,
    /// What the expression names that SPDX does not know.
    pub extracted: Vec<ExtractedLicense>,
}

/// A licence that has a name in one document only (chapter 10).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtractedLicense {
    /// That name: `LicenseRef-` and more.
    pub id: String,
    /// What the package calls it.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Licences by the packages' digests.
pub type Licenses = HashMap<Digest, License>;

/// Reads what the packages of `lock` say of their licences, all of which are in `store`; `advance` hears
/// of bytes that were read.
pub fn licenses(
    lock: &Lock,
    store: &Store,
    advance: &(dyn Fn(u64) + Sync),
) -> Result<Licenses, SbomError> {
    family(&lock.distribution)?.licenses(lock, store, advance)
}

/// Why there is no document.
#[derive(Debug, Error)]
pub enum SbomError {
    /// Nobody knows how to read the distribution's indexes.
    #[error(transparent)]
    Distribution(#[from] DistributionError),
    /// An index cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A package is not in the store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A package cannot be read.
    #[error("package {path}: {reason}")]
    Package {
        /// Its path below the archive.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

/// The document of `lock`, called `name`. The indexes are read from `store`.
pub fn spdx(
    lock: &Lock,
    name: &str,
    store: &Store,
    licenses: &Licenses,
) -> Result<Value, SbomError> {
    let family = family(&lock.distribution)?;
    let distribution = Distribution::find(&lock.distribution)?;
    let facts = family.facts(lock, store)?;
    let digest = Digest::of(lock.to_string().as_bytes());
    let created = lock.date().unwrap_or(Timestamp::UNIX_EPOCH);
    let packages: Vec<Value> = lock
        .packages
        .iter()
        .map(|package| {
            let facts = facts.get(&package.blob.digest).cloned().unwrap_or_default();
            let license = licenses.get(&package.blob.digest);
            package_value(lock, package, &facts, license, (family, &distribution))
        })
        .collect();
    let extracted: BTreeMap<&str, Value> = lock
        .packages
        .iter()
        .filter_map(|package| licenses.get(&package.blob.digest))
        .flat_map(|license| &license.extracted)
        .map(|ExtractedLicense { id, name, text }| {
            let value = json!({"licenseId": id, "name": name, "extractedText": text});
            (id.as_str(), value)
        })
        .collect();
    let describes: Vec<Value> = lock.packages.iter().map(|package| id(package).into()).collect();
    let relationships: Vec<Value> = describes
        .iter()
        .map(|package| {
            json!({
                "spdxElementId": "SPDXRef-DOCUMENT",
                "relationshipType": "DESCRIBES",
                "relatedSpdxElement": package,
            })
        })
        .collect();
    Ok(json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": format!("https://spdx.org/spdxdocs/{}-{digest}", plain(name)),
        "creationInfo": {
            "created": created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "creators": [concat!("Tool: kldload-", env!("CARGO_PKG_VERSION"))],
        },
        "documentDescribes": describes,
        "packages": packages,
        "hasExtractedLicensingInfos": extracted.into_values().collect::<Vec<_>>(),
        "relationships": relationships,
    }))
}

fn package_value(
    lock: &Lock,
    package: &LockedPackage,
    facts: &Facts,
    license: Option<&License>,
    (family, distribution): (&dyn Family, &Distribution),
) -> Value {
    let LockedPackage { name, version, architecture, component, .. } = package;
    let location = location(lock, package, distribution);
    let supplier = match &facts.maintainer {
        Some(maintainer) => match maintainer.split_once(" <") {
            Some((name, address)) => {
                format!("Person: {} ({})", name.trim_matches('"'), address.trim_end_matches('>'))
            }
            None => format!("Person: {maintainer}"),
        },
        None => "NOASSERTION".to_owned(),
    };
    let purl = format!(
        "pkg:{}/{}/{}@{}?arch={architecture}&distro={}",
        family.purl_type(),
        lock.distribution,
        quoted(name),
        quoted(version),
        lock.codename
    );
    let declared = license.map_or("NOASSERTION", |license| &license.declared);
    let mut value = json!({
        "SPDXID": id(package),
        "name": name,
        "versionInfo": version,
        "supplier": supplier,
        "downloadLocation": location,
        "filesAnalyzed": false,
        "checksums": [{"algorithm": "SHA256", "checksumValue": package.blob.digest.to_string()}],
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": declared,
        "copyrightText": "NOASSERTION",
        "comment": format!("suite {}, component {component}", package.suite),
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": purl,
        }],
    });
    if let Some(object) = value.as_object_mut() {
        let mut add = |name: &str, value: String| object.insert(name.to_owned(), value.into());
        if !facts.source.is_empty() {
            add(
                "sourceInfo",
                format!("built from source package {} {}", facts.source, facts.source_version),
            );
        }
        if let Some(homepage) = facts.homepage.as_ref().filter(|text| text.starts_with("http")) {
            add("homepage", homepage.clone());
        }
        if let Some(summary) = &facts.summary {
            add("summary", summary.clone());
        }
        // What is said need not be an expression of SPDX.
        let named = match (license, &facts.license) {
            (Some(license), _) => Some(("package", &license.named)),
            (None, Some(named)) => Some(("archive's index", named)),
            (None, None) => None,
        };
        if let Some((who, named)) = named {
            add("licenseComments", format!("the {who} says: {named}"));
        }
    }
    value
}

/// From where anybody can have it (7.7). A distribution's mirrors have many names, and a machine's sources
/// have one: so has the document. Snapshots stay what they are.
fn location(lock: &Lock, package: &LockedPackage, distribution: &Distribution) -> String {
    let Some(suite) = lock.suite(&package.suite) else { return "NOASSERTION".to_owned() };
    let Location::Http(mirror) = &suite.mirror else {
        // A directory of this machine.
        return "NOASSERTION".to_owned();
    };
    let release = distribution.release.get(&lock.codename);
    let suites =
        release.into_iter().flat_map(|release| release.suites.iter().chain(&release.optional));
    let archive = suites
        .filter(|known| known.name == suite.name)
        .find_map(|known| distribution.archive.get(&known.archive))
        .filter(|archive| domain(&archive.mirror) == domain(mirror))
        .filter(|archive| host(&archive.snapshot) != host(mirror));
    match archive {
        Some(archive) => Location::Http(archive.mirror.clone()),
        None => suite.mirror.clone(),
    }
    .join(&package.path)
    .to_string()
}

fn host(address: &str) -> Option<&str> {
    address.split_once("://")?.1.split(['/', ':']).next()
}

/// Whose an address is: `debian.org`.
fn domain(address: &str) -> Option<&str> {
    let host = host(address)?;
    let start = host.rmatch_indices('.').nth(1).map_or(0, |(dot, _)| dot + 1);
    host.get(start..)
}

/// A name for the package within the document; the digest makes it unique.
fn id(package: &LockedPackage) -> String {
    let digest = package.blob.digest.to_string();
    let digest = digest.get(..12).unwrap_or_default();
    format!("SPDXRef-Package-{}-{}-{digest}", plain(&package.name), plain(&package.architecture))
}

/// Letters, digits, dots and dashes only.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect()
}

/// As a package URL has it.
fn quoted(text: &str) -> String {
    let mut quoted = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                quoted.push(char::from(byte));
            }
            _ => quoted += &format!("%{byte:02X}"),
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn official_archives_have_one_name() {
        let official = &Distribution::find("debian").unwrap().archive["main"];
        let of = |mirror: &str, suite: &str| {
            let digest = "0".repeat(64);
            let text = format!(
                "kldload-lock 1\ndistribution debian trixie amd64\nrequest hello\n\
                 suite {suite} 2025-05-17T08:05:41Z {digest} 10 {mirror}\n\
                 index {suite} {digest} 0 main/binary-amd64/Packages.xz\n\
                 package hello 1 amd64 7 {digest} {suite}/main pool/h.deb\n"
            );
            let lock = crate::lock::parse(&text).unwrap();
            location(&lock, &lock.packages[0], &Distribution::find("debian").unwrap())
        };
        let here = format!("{}/pool/h.deb", official.mirror);
        for name in ["http://ftp.de.debian.org/debian", "https://mirrors.debian.org:443/x/debian"] {
            assert_eq!(of(name, "trixie"), here);
        }
        let snapshot = format!("{}/20250520T000000Z", official.snapshot);
        for kept in ["http://mirror.example/debian", &snapshot] {
            assert_eq!(of(kept, "trixie"), format!("{kept}/pool/h.deb"));
        }
        assert_eq!(of("http://ftp.debian.org/x", "own"), "http://ftp.debian.org/x/pool/h.deb");
        assert_eq!(of("file:/srv/debian", "trixie"), "NOASSERTION");
    }
}
