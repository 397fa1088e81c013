//! From keys to packages: the distribution's signatures on what was mirrored, ours on what was published.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use pkg::deb::{Package, Release, parse_packages};
use pkg::openpgp::Keyring;
use tree::Digest;

use super::publish::pool;
use super::{INLINE, RELEASE, SIGNATURE, component};
use crate::copy::walk;
use crate::lock::{Blob, Lock, LockedIndex, LockedPackage, LockedSuite};
use crate::publish::UPSTREAM;
use crate::site::KEY_FILE;
use crate::source::{SourceError, index_text, signed_text};
use crate::verify::Findings;

/// From the distribution's key to what the lock says of packages.
pub(super) fn upstream(
    lock: &Lock,
    suite: &LockedSuite,
    place: &dyn Fn(&str) -> PathBuf,
    keyring: &Keyring,
    findings: &mut Findings,
) {
    let Findings { files, problems, .. } = findings;
    let name = &suite.name;
    let mut problem = |text: String| problems.push(format!("suite {name}: {text}"));
    let release = match signed(suite, place, keyring) {
        Ok(release) => release,
        Err(error) => return problem(error),
    };
    if !release.is_suite(name) {
        let Release { suite, codename, .. } = &release;
        return problem(format!("its Release file is of {suite} ({codename})"));
    }
    if release.date != Some(suite.date) {
        problem("its Release file has another date than the lock tells".to_owned());
    }
    let mut unmet: HashMap<Digest, Vec<&LockedPackage>> = HashMap::new();
    for package in lock.packages.iter().filter(|package| package.suite == *name) {
        unmet.entry(package.blob.digest).or_default().push(package);
    }
    for index in &suite.indexes {
        let path = place(&index.path);
        match vouched(&release, index, &path) {
            Ok(text) => {
                // Who chose the packages passed over those that cannot be read.
                for known in parse_packages(&text).packages {
                    if let Some(locked) = known.sha256.and_then(|digest| unmet.get_mut(&digest)) {
                        locked.retain(|locked| !is_same(locked, &known, component(index)));
                    }
                }
                files.insert(path, index.blob);
            }
            Err(error) => problem(error),
        }
    }
    let mut unmet: Vec<&LockedPackage> = unmet.into_values().flatten().collect();
    unmet.sort();
    for LockedPackage { name, version, architecture, component, path, .. } in unmet {
        problem(format!(
            "its indexes do not have {name} {version} with this digest and size for {architecture} \
             in {component}, as {path}"
        ));
    }
}

/// Whether an index of `component` tells of this package what the lock does.
fn is_same(locked: &LockedPackage, known: &Package<'_>, component: &str) -> bool {
    let LockedPackage { name, architecture, version, blob, suite: _, component: of, path } = locked;
    (name.as_str(), architecture.as_str(), version.as_str(), path.as_str(), of.as_str())
        == (known.name, known.architecture, known.version.as_str(), known.filename, component)
        && known.size == Some(blob.size)
        && known.sha256 == Some(blob.digest)
}

/// What the distribution signed of a suite.
pub(super) fn signed(
    suite: &LockedSuite,
    place: &dyn Fn(&str) -> PathBuf,
    keyring: &Keyring,
) -> Result<Release, String> {
    let (bytes, signature) = match suite.signature {
        Some(_) => (read(&place(RELEASE))?, Some(read(&place(SIGNATURE))?)),
        None => (read(&place(INLINE))?, None),
    };
    if Blob::of(&bytes) != suite.release {
        return Err("its signed file is not the one that the lock names".to_owned());
    }
    let text = signed_text(keyring, &bytes, signature.as_deref(), suite.date)
        .map_err(|error| format!("not signed by a trusted key: {error}"))?;
    Release::parse(&text).map_err(|error| error.to_string())
}

/// The text of an index that `release` vouches for.
fn vouched(release: &Release, index: &LockedIndex, path: &Path) -> Result<String, String> {
    let named = release.file(&index.path);
    if named.is_none_or(|file| (file.sha256, file.size) != (index.blob.digest, index.blob.size)) {
        return Err(format!("{} is not the index that its Release file names", index.path));
    }
    let bytes = read(path)?;
    if Blob::of(&bytes) != index.blob {
        return Err(format!("{}: damaged: SHA-256 is another", path.display()));
    }
    index_text(&bytes, &index.path).map_err(|error| error.to_string())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// From our key to what it signed, and the packages.
pub(super) fn published(directory: &Path, lock: &Lock, now: Timestamp, findings: &mut Findings) {
    let Findings { files, packages: count, problems, .. } = findings;
    let dists = directory.join("dists").join(&lock.codename);
    let mut problem = |text: String| problems.push(text);
    let release = read(&directory.join(KEY_FILE))
        .and_then(|key| Keyring::parse(&key).map_err(|error| format!("{KEY_FILE}: {error}")))
        .and_then(|keyring| {
            let path = dists.join(INLINE);
            let text = signed_text(&keyring, &read(&path)?, None, now);
            let inline = text.map_err(|error| format!("{}: {error}", path.display()))?;
            let (plain, signature) = (read(&dists.join(RELEASE))?, read(&dists.join(SIGNATURE))?);
            let apart = signed_text(&keyring, &plain, Some(&signature), now);
            let apart = apart.map_err(|error| format!("{SIGNATURE}: {error}"))?;
            match inline.trim_end() == apart.trim_end() {
                true => Release::parse(&inline).map_err(|error| error.to_string()),
                false => Err("Release and InRelease differ".to_owned()),
            }
        });
    let release = match release {
        Ok(release) => release,
        Err(error) => return problem(error),
    };
    for file in &release.files {
        let blob = Blob { digest: file.sha256, size: file.size };
        files.insert(dists.join(&file.path), blob);
        files.insert(dists.join(file.by_hash()), blob);
    }
    let packages = pool(lock).into_iter();
    files.extend(packages.map(|(package, path)| (directory.join(path), package.blob)));
    *count += lock.packages.len();
}

/// Whether the published indexes are those that follow from the lock and the distribution's own, and nothing else
/// is published.
pub(super) fn indexes(directory: &Path, lock: &Lock, findings: &mut Findings) {
    let mut problem = |text: String| findings.problems.push(text);
    let dists = directory.join("dists");
    let suite = dists.join(&lock.codename);
    // What is wrong with it is told where its signature is looked at.
    let Ok(Ok(release)) = fs::read_to_string(suite.join(RELEASE)).map(|text| Release::parse(&text))
    else {
        return;
    };
    let read_upstream = |suite: &LockedSuite, index: &LockedIndex| {
        let path = directory.join(UPSTREAM).join(&suite.name).join(&index.path);
        let unread = |reason| SourceError::Index { path: path.display().to_string(), reason };
        index_text(&read(&path).map_err(unread)?, &index.path)
    };
    let expected = match super::publish::indexes(lock, &read_upstream) {
        Ok(indexes) => indexes,
        Err(error) => return problem(error.to_string()),
    };
    let expected: BTreeMap<String, Vec<u8>> = expected.into_iter().collect();
    let mut named: HashSet<PathBuf> =
        [RELEASE, SIGNATURE, INLINE].map(|name| suite.join(name)).into();
    for file in &release.files {
        let path = suite.join(&file.path);
        named.insert(path.clone());
        // However it is compressed: that may change from one version of ours to the next.
        let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
        let plain = format!("{folder}/{}", name.split('.').next().unwrap_or_default());
        let text = read(&path)
            .and_then(|bytes| index_text(&bytes, &file.path).map_err(|error| error.to_string()));
        match text {
            Ok(text) if expected.get(&plain).is_some_and(|it| it == text.as_bytes()) => {}
            Ok(_) => problem(format!(
                "{}: it does not tell of the locked packages what the distribution tells",
                path.display()
            )),
            Err(error) => problem(error),
        }
    }
    // The compressed ones need not be there: an earlier version of ours had others.
    let plain = expected.keys().filter(|path| path.ends_with("/Packages"));
    for path in plain.filter(|path| release.file(path).is_none()) {
        problem(format!("{} is not published", suite.join(path).display()));
    }
    // Those that are called by their digests are read by whoever has it from a signed file: a copy that was
    // interrupted leaves some.
    let by_hash = |path: &Path| path.iter().any(|part| part == "by-hash");
    match walk(&dists) {
        Ok(found) => found.iter().map(|path| dists.join(path)).for_each(|path| {
            if !named.contains(&path) && !by_hash(&path) {
                problem(format!("{}: no file that is signed names it; remove it", path.display()));
            }
        }),
        Err(error) => problem(error.to_string()),
    }
}
