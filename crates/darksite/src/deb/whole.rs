//! Whether a lock that comes from elsewhere has all the packages that it was made for.

use std::collections::{BTreeMap, BTreeSet};

use pkg::deb::{self, IndexInfo, Universe, parse_packages};
use pkg::openpgp::Keyring;

use super::verify::signed;
use super::{SIGNATURE, component};
use crate::lock::Lock;
use crate::source::read_index;
use crate::store::Store;

/// What the packages of `lock` lack to be an answer to `request`, in words.
pub(super) fn lacking(
    lock: &Lock,
    request: &deb::Request,
    store: &Store,
    keyring: &Keyring,
) -> Result<Vec<String>, String> {
    let mut infos = Vec::new();
    let mut texts = Vec::new();
    for suite in &lock.suites {
        let place = |path: &str| {
            let apart = suite.signature.filter(|_| path == SIGNATURE);
            store.path(&apart.unwrap_or(suite.release).digest)
        };
        let release = signed(suite, &place, keyring)?;
        for index in &suite.indexes {
            infos.push(IndexInfo::new(&release, component(index), ""));
            texts.push(read_index(store, index).map_err(|error| error.to_string())?);
        }
    }
    let mut universe = Universe::new(&lock.architecture);
    for (info, text) in infos.into_iter().zip(&texts) {
        universe.add(info, parse_packages(text));
    }
    let mut found = Vec::new();
    let mut names = BTreeMap::new();
    let mut set = BTreeSet::new();
    for package in &lock.packages {
        let (name, version) = (&package.name, &package.version);
        if let Some(other) = names.insert(name, version) {
            found.push(format!("{name} is there as {other} and as {version}"));
        }
        let versions = universe.name_id(name).and_then(|id| universe.names().get(id as usize));
        let mut versions = versions.into_iter().flat_map(|name| &name.versions);
        let same = |id: &&u32| {
            universe.entries().get(**id as usize).is_some_and(|entry| {
                entry.package.version.as_str() == version
                    && entry.package.sha256 == Some(package.blob.digest)
            })
        };
        match versions.find(same) {
            Some(id) => set.extend([*id]),
            None => found.push(format!("{name} {version} is not for {}", lock.architecture)),
        }
    }
    found.extend(deb::lacking(&universe, request, &set));
    Ok(found)
}
