//! What Debian's archive tells of packages beside what a lock needs.

use std::collections::{HashMap, HashSet};

use pkg::deb::{paragraphs, parse_packages};
use tree::Digest;

use crate::lock::Lock;
use crate::sbom::Facts;
use crate::source::{SourceError, read_index};
use crate::store::Store;

/// From the indexes of `lock`, by the packages' digests.
pub(super) fn facts(lock: &Lock, store: &Store) -> Result<HashMap<Digest, Facts>, SourceError> {
    let wanted: HashSet<Digest> = lock.packages.iter().map(|package| package.blob.digest).collect();
    let mut found = HashMap::new();
    for index in lock.suites.iter().flat_map(|suite| &suite.indexes) {
        let text = read_index(store, index)?;
        for package in parse_packages(&text).packages {
            let Some(digest) = package.sha256.filter(|digest| wanted.contains(digest)) else {
                continue;
            };
            let Some(Ok(paragraph)) = paragraphs(package.text).next() else { continue };
            let get = |name: &str| paragraph.get(name).map(str::to_owned);
            found.insert(
                digest,
                Facts {
                    source: package.source.to_owned(),
                    source_version: package.source_version.to_owned(),
                    maintainer: get("Maintainer"),
                    homepage: get("Homepage"),
                    license: get("License"),
                    summary: get("Description")
                        .map(|text| text.lines().next().unwrap_or_default().trim().to_owned()),
                },
            );
        }
    }
    Ok(found)
}
