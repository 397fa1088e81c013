//! A software bill of materials of a lock, as SPDX 2.3 in JSON
//! (<https://spdx.github.io/spdx-spec/v2.3/>).
//!
//! Only the lock, the indexes it names and, for [`licenses`], its packages are read, so the same lock
//! always gives the same document. What is not told is `NOASSERTION`.

use std::collections::HashMap;

use jiff::Timestamp;
use pkg::distribution::DistributionError;
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
    /// As an expression of SPDX, if there is one.
    pub declared: Option<String>,
    /// In the words of the package.
    pub named: String,
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
    let facts = family.facts(lock, store)?;
    let digest = Digest::of(lock.to_string().as_bytes());
    let created = lock.date().unwrap_or(Timestamp::UNIX_EPOCH);
    let packages: Vec<Value> = lock
        .packages
        .iter()
        .map(|package| {
            let facts = facts.get(&package.blob.digest).cloned().unwrap_or_default();
            let license = licenses.get(&package.blob.digest);
            package_value(lock, package, &facts, license, family)
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
        "relationships": relationships,
    }))
}

fn package_value(
    lock: &Lock,
    package: &LockedPackage,
    facts: &Facts,
    license: Option<&License>,
    family: &dyn Family,
) -> Value {
    let LockedPackage { name, version, architecture, component, .. } = package;
    // A directory of this machine is no place from which anybody could have it (7.7).
    let location = match lock.suite(&package.suite).map(|suite| &suite.mirror) {
        Some(mirror @ Location::Http(_)) => mirror.join(&package.path).to_string(),
        Some(Location::File(_)) | None => "NOASSERTION".to_owned(),
    };
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
    let declared = license.and_then(|license| license.declared.as_deref());
    let declared = declared.unwrap_or("NOASSERTION");
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

/// A name for the package within the document; the digest makes it unique.
fn id(package: &LockedPackage) -> String {
    let digest = package.blob.digest.to_string();
    let digest = digest.get(..12).unwrap_or_default();
    format!("SPDXRef-Package-{}-{}-{digest}", plain(&package.name), plain(&package.architecture))
}

/// Letters, digits, dots and dashes only.
fn plain(text: &str) -> String {
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
