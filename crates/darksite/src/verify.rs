//! Every byte against key → Release → index → package, offline.
//!
//! A repository is verified on its own, be it a snapshot or a copy on a medium: what the distribution
//! signed is in `upstream/`, what we signed is in `dists/`, and both must lead to the same files. The
//! distribution's signatures are judged at the date of what they sign: a key that expired since then
//! was good when the lock was made.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use jiff::Timestamp;
use pkg::deb::{Release, parse_packages};
use pkg::openpgp::Keyring;
use tree::Digest;

use crate::lock::{Blob, Lock, LockedSuite};
use crate::site::{KEY_FILE, LOCK_FILE, Site, SiteError, read_lock};
use crate::source::{index_text, signed_text};
use crate::store::digest_of;

/// What was looked at, and what is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Files whose content was read.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Packages, each led to by a key.
    pub packages: usize,
    /// What is wrong, in words; empty if all is well.
    pub problems: Vec<String>,
}

/// Verifies a repository: the current snapshot's directory, or a copy of one. `keyring` has the
/// distribution's keys; `advance` hears of bytes that were read.
pub fn repository(
    directory: &Path,
    keyring: &Keyring,
    now: Timestamp,
    advance: &(dyn Fn(u64) + Sync),
) -> Result<Verified, SiteError> {
    let lock = read_lock(&directory.join(LOCK_FILE))?;
    let mut verified = Verified::default();
    let mut files = Files::default();
    for suite in &lock.suites {
        let base = directory.join("upstream").join(&suite.name);
        let place = |path: &str| base.join(path);
        upstream(&lock, suite, &place, keyring, &mut files, &mut verified);
    }
    published(directory, &lock, now, &mut files, &mut verified);
    contents(&files, &mut verified, advance);
    Ok(verified)
}

/// Verifies the locks kept by a site against its store.
pub fn locks(
    site: &Site,
    keyring_of: &dyn Fn(&Lock) -> Result<Keyring, String>,
    advance: &(dyn Fn(u64) + Sync),
) -> Result<Verified, SiteError> {
    let mut verified = Verified::default();
    let mut files = Files::default();
    let mut seen = std::collections::HashSet::new();
    for (path, lock) in site.locks()? {
        // Snapshots and recipes name the same lock.
        if !seen.insert(Digest::of(lock.to_string().as_bytes())) {
            continue;
        }
        let keyring = match keyring_of(&lock) {
            Ok(keyring) => keyring,
            Err(error) => {
                verified.problems.push(format!("{}: {error}", path.display()));
                continue;
            }
        };
        for suite in &lock.suites {
            let place = |path: &str| {
                let index = suite.indexes.iter().find(|index| index.path == path);
                let blob = match (index, path, &suite.signature) {
                    (Some(index), ..) => index.blob,
                    (None, "Release.gpg", Some(signature)) => *signature,
                    _ => suite.release,
                };
                site.store().path(&blob.digest)
            };
            upstream(&lock, suite, &place, &keyring, &mut files, &mut verified);
        }
        for package in &lock.packages {
            files.add(site.store().path(&package.blob.digest), package.blob);
        }
        verified.packages += lock.packages.len();
    }
    contents(&files, &mut verified, advance);
    Ok(verified)
}

/// Files whose content is still to be compared.
#[derive(Debug, Default)]
struct Files(BTreeMap<PathBuf, Blob>);

impl Files {
    fn add(&mut self, path: PathBuf, blob: Blob) {
        self.0.insert(path, blob);
    }
}

/// From the distribution's key to what the lock says of packages.
fn upstream(
    lock: &Lock,
    suite: &LockedSuite,
    place: &dyn Fn(&str) -> PathBuf,
    keyring: &Keyring,
    files: &mut Files,
    verified: &mut Verified,
) {
    let name = &suite.name;
    let mut problem = |text: String| verified.problems.push(format!("suite {name}: {text}"));
    let signed_name = if suite.signature.is_some() { "Release" } else { "InRelease" };
    let read = |path: &Path| fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let bytes = match read(&place(signed_name)) {
        Ok(bytes) => bytes,
        Err(error) => return problem(error),
    };
    let signature = match suite.signature.map(|_| read(&place("Release.gpg"))) {
        Some(Err(error)) => return problem(error),
        Some(Ok(signature)) => Some(signature),
        None => None,
    };
    if Blob::of(&bytes) != suite.release {
        return problem(format!("{signed_name} is not the one that the lock names"));
    }
    let release = match signed_text(keyring, &bytes, signature.as_deref(), suite.date) {
        Ok(text) => Release::parse(&text).map_err(|error| error.to_string()),
        Err(error) => Err(format!("not signed by a trusted key: {error}")),
    };
    let release = match release {
        Ok(release) => release,
        Err(error) => return problem(error),
    };
    if release.date != Some(suite.date) {
        problem("its Release file has another date than the lock tells".to_owned());
    }
    let mut known: HashMap<Digest, Vec<(String, String, String, u64)>> = HashMap::new();
    for index in &suite.indexes {
        let path = place(&index.path);
        match release.file(&index.path) {
            Some(file) if file.sha256 == index.blob.digest && file.size == index.blob.size => {}
            _ => {
                problem(format!("{} is not the index that its Release file names", index.path));
                continue;
            }
        }
        let text = read(&path).and_then(|bytes| {
            if Blob::of(&bytes) != index.blob {
                return Err(format!("{}: damaged: SHA-256 is another", path.display()));
            }
            index_text(&bytes, &index.path).map_err(|error| error.to_string())
        });
        let text = match text {
            Ok(text) => text,
            Err(error) => {
                problem(error);
                continue;
            }
        };
        files.add(path, index.blob);
        match parse_packages(&text) {
            Ok(packages) => {
                for package in packages {
                    if let (Some(digest), Some(size)) = (package.sha256, package.size) {
                        let entry = (
                            package.name.to_owned(),
                            package.version.as_str().to_owned(),
                            package.filename.to_owned(),
                            size,
                        );
                        known.entry(digest).or_default().push(entry);
                    }
                }
            }
            Err(error) => problem(format!("{}: {error}", index.path)),
        }
    }
    for package in lock.packages.iter().filter(|package| package.suite == *name) {
        let vouched = known.get(&package.blob.digest).is_some_and(|entries| {
            entries.iter().any(|(name, version, path, size)| {
                *name == package.name
                    && *version == package.version
                    && *path == package.path
                    && *size == package.blob.size
            })
        });
        if !vouched {
            let (name, version) = (&package.name, &package.version);
            problem(format!("its indexes do not have {name} {version} with this digest"));
        }
    }
}

/// From our key to the files in the pool.
fn published(
    directory: &Path,
    lock: &Lock,
    now: Timestamp,
    files: &mut Files,
    verified: &mut Verified,
) {
    let dists = directory.join("dists").join(&lock.codename);
    let mut problem = |text: String| verified.problems.push(text);
    let read = |path: &Path| fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let release = read(&directory.join(KEY_FILE))
        .and_then(|key| Keyring::parse(&key).map_err(|error| format!("{KEY_FILE}: {error}")))
        .and_then(|keyring| {
            let path = dists.join("InRelease");
            let text = signed_text(&keyring, &read(&path)?, None, now);
            let inline = text.map_err(|error| format!("{}: {error}", path.display()))?;
            let (plain, signature) =
                (read(&dists.join("Release"))?, read(&dists.join("Release.gpg"))?);
            let apart = signed_text(&keyring, &plain, Some(&signature), now);
            let apart = apart.map_err(|error| format!("Release.gpg: {error}"))?;
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
        files.add(dists.join(&file.path), blob);
        files.add(dists.join(file.by_hash()), blob);
        if !file.path.ends_with("/Packages") {
            continue;
        }
        let text = read(&dists.join(&file.path)).and_then(|bytes| {
            String::from_utf8(bytes).map_err(|error| format!("{}: {error}", file.path))
        });
        let packages = match &text {
            Ok(text) => parse_packages(text).map_err(|error| format!("{}: {error}", file.path)),
            Err(error) => Err(error.clone()),
        };
        match packages {
            Ok(packages) => {
                for package in packages {
                    let (Some(digest), Some(size)) = (package.sha256, package.size) else {
                        continue;
                    };
                    files.add(directory.join(package.filename), Blob { digest, size });
                    *found.entry((digest, size)).or_default() += 1;
                    verified.packages += 1;
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

/// Reads all files, several at a time; a file of several names once.
fn contents(files: &Files, verified: &mut Verified, advance: &(dyn Fn(u64) + Sync)) {
    use std::os::unix::fs::MetadataExt;
    let mut unique: BTreeMap<(u64, u64), (&Path, Blob)> = BTreeMap::new();
    for (path, blob) in &files.0 {
        match fs::metadata(path) {
            Ok(found) => {
                let known = unique.entry((found.dev(), found.ino())).or_insert((path, *blob));
                if known.1 != *blob {
                    let text = format!("{} is also {}", path.display(), known.0.display());
                    verified.problems.push(text);
                }
            }
            Err(error) => verified.problems.push(format!("{}: {error}", path.display())),
        }
    }
    let work: Vec<(&Path, Blob)> = unique.into_values().collect();
    let next = AtomicUsize::new(0);
    let sum = Mutex::new((0, 0, Vec::new()));
    let run = || {
        while let Some((path, blob)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
            let result = digest_of(path);
            let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
            match result {
                Ok((digest, size)) => {
                    sum.0 += 1;
                    sum.1 += size;
                    if (Blob { digest, size }) != *blob {
                        let expected = blob.digest;
                        sum.2.push(format!(
                            "{}: damaged: SHA-256 is {digest} ({size} bytes), {expected} is expected",
                            path.display()
                        ));
                    }
                    drop(sum);
                    advance(size);
                }
                Err(error) => sum.2.push(format!("{}: {error}", path.display())),
            }
        }
    };
    let threads = thread::available_parallelism().map_or(2, std::num::NonZero::get);
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(run);
        }
        run();
    });
    let (count, bytes, mut problems) = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    verified.files += count;
    verified.bytes += bytes;
    problems.sort();
    verified.problems.append(&mut problems);
}
