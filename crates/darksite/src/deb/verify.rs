//! From keys to packages: the distribution's signatures on what was mirrored, ours on what was published.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use pkg::deb::{Package, Release, parse_packages};
use pkg::openpgp::Keyring;
use tree::Digest;

use super::{INLINE, RELEASE, SIGNATURE, component};
use crate::lock::{Blob, Lock, LockedIndex, LockedPackage, LockedSuite};
use crate::site::KEY_FILE;
use crate::source::{index_text, signed_text};
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

/// From our key to the files in the pool.
pub(super) fn published(directory: &Path, lock: &Lock, now: Timestamp, findings: &mut Findings) {
    let Findings { files, packages: count, problems } = findings;
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
    let mut found: HashMap<(Digest, u64), usize> = HashMap::new();
    for file in &release.files {
        let blob = Blob { digest: file.sha256, size: file.size };
        files.insert(dists.join(&file.path), blob);
        files.insert(dists.join(file.by_hash()), blob);
        if !file.path.ends_with("/Packages") {
            continue;
        }
        let text = read(&dists.join(&file.path)).and_then(|bytes| {
            String::from_utf8(bytes).map_err(|error| format!("{}: {error}", file.path))
        });
        let packages = match &text {
            Ok(text) => {
                parse_packages(text).whole().map_err(|error| format!("{}: {error}", file.path))
            }
            Err(error) => Err(error.clone()),
        };
        match packages {
            Ok(packages) => {
                for package in packages {
                    let (Some(digest), Some(size)) = (package.sha256, package.size) else {
                        continue;
                    };
                    files.insert(directory.join(package.filename), Blob { digest, size });
                    *found.entry((digest, size)).or_default() += 1;
                    *count += 1;
                }
            }
            Err(error) => problem(error),
        }
    }
    for package in &lock.packages {
        let key = (package.blob.digest, package.blob.size);
        match found.get_mut(&key) {
            Some(count) if *count > 0 => *count -= 1,
            _ => {
                problem(format!("{} {} is locked but not published", package.name, package.version))
            }
        }
    }
    for ((digest, _), count) in found {
        if count > 0 {
            problem(format!("a package of SHA-256 {digest} is published but not locked"));
        }
    }
}
