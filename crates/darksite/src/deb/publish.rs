//! A plain apt repository: `dists/`, `pool/`, by-hash, signed.
//!
//! One suite, named by the codename, has exactly the packages of the lock, in the components they came
//! from.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use pkg::deb::{IndexFile, Release, paragraphs, parse_packages, write_package};
use pkg::openpgp::SigningKey;
use tree::Digest;

use crate::lock::{Lock, LockedIndex, LockedPackage, LockedSuite};
use crate::publish::{Indexes, PublishError, Repository, Times};
use crate::source::SourceError;
use crate::store::at;

/// Makes pool and signatures, with the indexes of the lock.
pub(super) fn publish(
    repository: &mut Repository<'_>,
    lock: &Lock,
    indexes: &Indexes,
    key: &SigningKey,
    times: Times,
) -> Result<(), PublishError> {
    let paths = pool(lock);
    let mut linked = HashSet::new();
    for (package, path) in &paths {
        if linked.insert(path) {
            repository.link(path, &package.blob)?;
        }
    }
    let dists = format!("dists/{}", lock.codename);
    let mut files = Vec::with_capacity(indexes.len());
    for (path, bytes) in indexes {
        let (size, sha256) = (bytes.len() as u64, Digest::of(bytes));
        let file = IndexFile { path: path.clone(), size, sha256 };
        repository.write(&format!("{dists}/{path}"), bytes)?;
        let plain = repository.place(&format!("{dists}/{path}"))?;
        let by_hash = repository.place(&format!("{dists}/{}", file.by_hash()))?;
        fs::hard_link(&plain, &by_hash).map_err(at(&by_hash))?;
        files.push(file);
    }
    sign(repository, lock, files, key, times)
}

/// Where each package is in the pool.
pub(super) fn pool(lock: &Lock) -> Vec<(&LockedPackage, String)> {
    let mut taken: HashMap<String, Digest> = HashMap::new();
    let mut placed = Vec::with_capacity(lock.packages.len());
    for package in &lock.packages {
        let plain = match package.path.strip_prefix("pool/") {
            Some(_) => package.path.clone(),
            // Of a flat repository.
            None => format!("pool/{}", package.path),
        };
        // Different archives may use one path for different files.
        let apart = format!("pool/{}/{}", package.suite, plain.trim_start_matches("pool/"));
        let path = match taken.get(&plain) {
            Some(digest) if *digest != package.blob.digest => apart,
            _ => plain,
        };
        taken.insert(path.clone(), package.blob.digest);
        placed.push((package, path));
    }
    placed
}

/// Gives the text of an index of the distribution.
pub(super) type ReadIndex<'a> =
    &'a dyn Fn(&LockedSuite, &LockedIndex) -> Result<String, SourceError>;

/// The indexes of each component, by their paths below the suite. They follow from the lock and the distribution's
/// own, so that whoever has those can make them again.
pub(super) fn indexes(lock: &Lock, read: ReadIndex<'_>) -> Result<Indexes, PublishError> {
    let placed = pool(lock);
    let mut wanted: HashMap<(&str, Digest), (usize, &LockedPackage, &str)> = HashMap::new();
    for (number, (package, path)) in placed.iter().enumerate() {
        let key = (package.suite.as_str(), package.blob.digest);
        wanted.insert(key, (number, package, path));
    }
    let mut entries: BTreeMap<&str, Vec<(usize, String)>> = BTreeMap::new();
    let suites = lock.suites.iter();
    for (suite, index) in suites.flat_map(|suite| suite.indexes.iter().map(move |i| (suite, i))) {
        let text = read(suite, index)?;
        for package in parse_packages(&text).packages {
            let Some(digest) = package.sha256 else { continue };
            let key = (suite.name.as_str(), digest);
            let same = |locked: &LockedPackage| {
                locked.name == package.name && locked.version == package.version.as_str()
            };
            let Some((number, locked, path)) =
                wanted.get(&key).copied().filter(|(_, locked, _)| same(locked))
            else {
                continue;
            };
            wanted.remove(&key);
            let Some(Ok(paragraph)) = paragraphs(package.text).next() else { continue };
            let mut text = String::with_capacity(package.text.len() + 200);
            write_package(&mut text, &paragraph, path, locked.blob.size, digest);
            entries.entry(last_part(&locked.component)).or_default().push((number, text));
        }
    }
    if let Some((_, package, _)) = wanted.into_values().min_by_key(|(number, ..)| *number) {
        return Err(PublishError::Unknown {
            name: package.name.clone(),
            version: package.version.clone(),
            architecture: package.architecture.clone(),
            suite: package.suite.clone(),
        });
    }
    // Those of which the snapshot has nothing, too: apt warns about a component that is not there.
    for index in lock.suites.iter().flat_map(|suite| &suite.indexes) {
        if let Some((component, _)) = index.path.split_once("/binary-") {
            entries.entry(last_part(component)).or_default();
        }
    }
    entries.entry("main").or_default();
    let mut files = Vec::new();
    for (component, mut entries) in entries {
        entries.sort();
        let text: String = entries.into_iter().map(|(_, text)| text).collect();
        let name = format!("{component}/binary-{}/Packages", lock.architecture);
        let gz = compressed(text.as_bytes()).map_err(at(Path::new(&name)))?;
        files.extend([(format!("{name}.gz"), gz), (name, text.into_bytes())]);
    }
    files.sort();
    Ok(files)
}

/// The last part of a component's name: a directory of ours.
fn last_part(component: &str) -> &str {
    component.rsplit('/').next().unwrap_or("main")
}

/// Quickly: xz took more time than all else of publishing, for 50 kB less beside 340 MB of packages.
fn compressed(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// Writes the `Release` file in all forms apt may ask for.
fn sign(
    repository: &mut Repository<'_>,
    lock: &Lock,
    files: Vec<IndexFile>,
    key: &SigningKey,
    times: Times,
) -> Result<(), PublishError> {
    let mut components: Vec<String> =
        files.iter().filter_map(|file| file.path.split('/').next().map(str::to_owned)).collect();
    components.dedup();
    let release = Release {
        origin: "kldload".to_owned(),
        label: "kldload darksite".to_owned(),
        suite: lock.codename.clone(),
        codename: lock.codename.clone(),
        description: format!("Packages of {} {}, as locked", lock.distribution, lock.codename),
        date: Some(times.date),
        architectures: vec![lock.architecture.clone()],
        components,
        acquire_by_hash: true,
        files,
        ..Release::default()
    };
    let text = release.to_text();
    let inline = key.clearsign(&text, times.now)?;
    let apart = key.detach_sign(text.as_bytes(), times.now)?;
    let dists = format!("dists/{}", lock.codename);
    repository.write(&format!("{dists}/Release"), text.as_bytes())?;
    repository.write(&format!("{dists}/Release.gpg"), apart.as_bytes())?;
    repository.write(&format!("{dists}/InRelease"), inline.as_bytes())?;
    Ok(())
}
