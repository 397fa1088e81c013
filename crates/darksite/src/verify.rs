//! Every byte against key → Release → index → package, offline.
//!
//! A repository is verified on its own, be it a snapshot or a copy on a medium: what the distribution
//! signed is in `upstream/`, what we signed beside it, and both must lead to the same files. The
//! distribution's signatures are judged at the date of what they sign: a key that expired since then
//! was good when the lock was made.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use pkg::openpgp::Keyring;
use tree::Digest;

use crate::family::{Family, family};
use crate::lock::{Blob, Lock, LockedPackage};
use crate::parallel::each;
use crate::publish::{UPSTREAM, linked};
use crate::request::Request;
use crate::site::{CURRENT, LOCK_FILE, Site, SiteError, read_lock};
use crate::store::{Store, digest_of};

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

/// How far the reading is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// So many bytes are going to be read. Until then signatures and indexes are looked at.
    Total(u64),
    /// So many more were read.
    Read(u64),
}

/// How a snapshot goes that nothing else helps.
pub(crate) const OLD: &str =
    "kldload darksite gc --keep-snapshots N removes it once it is older than the newest N";

/// How the lock of a recipe goes that nothing else helps.
pub(crate) fn forget(path: &Path) -> String {
    let name = path.file_stem().unwrap_or_default().display();
    format!("kldload darksite gc --forget {name} removes it")
}

/// Verifies a repository: the current snapshot's directory, or a copy of one. `keyring` has the
/// distribution's keys; `progress` hears how far it is.
pub fn repository(
    directory: &Path,
    keyring: &Keyring,
    now: Timestamp,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Verified, SiteError> {
    let lock = read_lock(&directory.join(LOCK_FILE))?;
    let family = family(&lock.distribution)?;
    let mut findings = Findings::default();
    for suite in &lock.suites {
        let base = directory.join(UPSTREAM).join(&suite.name);
        let place = |path: &str| base.join(path);
        family.verify_upstream(&lock, suite, &place, keyring, &mut findings);
    }
    family.verify_published(directory, &lock, now, &mut findings);
    family.verify_indexes(directory, &lock, &mut findings);
    findings.name(&lock);
    let remedy = match Site::around(directory) {
        Some(_) => "kldload darksite verify without a directory tells what to do",
        None => "kldload darksite copy to this directory makes it good",
    };
    Ok(findings.contents(&|_, _| remedy, progress))
}

/// Verifies the locks kept by a site against its store, and every snapshot, as each is still published:
/// what it has of the distribution and its packages must be what its lock names, and all of that is led to
/// by our key. What is missing without which nobody would find them is a problem too.
pub fn site(
    site: &Site,
    keyring_of: &dyn Fn(&Lock) -> Result<Keyring, String>,
    now: Timestamp,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Verified, SiteError> {
    let mut findings = Findings::default();
    let mut seen = HashSet::new();
    for (path, lock) in site.locks()? {
        let way = match path.starts_with(site.snapshots_directory()) {
            true => OLD.to_owned(),
            false => {
                format!("kldload darksite sync of its recipe writes it again, {}", forget(&path))
            }
        };
        let lock = match lock {
            Ok(lock) => lock,
            Err(error) => {
                findings.problems.push(format!("{error}; {way}"));
                continue;
            }
        };
        findings.name(&lock);
        // Snapshots and recipes name the same lock.
        if !seen.insert(Digest::of(lock.to_string().as_bytes())) {
            continue;
        }
        let keyring = match keyring_of(&lock) {
            Ok(keyring) => keyring,
            Err(error) => {
                findings.problems.push(format!("{}: {error}", path.display()));
                continue;
            }
        };
        let mut own = Findings::default();
        upstream(&lock, site.store(), &keyring, &mut own)?;
        findings.files.extend(own.files);
        let way = format!("if the lock is to blame, {way}");
        findings.tell(&path.display().to_string(), own.problems, &way);
        for package in &lock.packages {
            let path = site.store().path(&package.blob.digest);
            findings.files.insert(path, package.blob);
        }
        findings.packages += lock.packages.len();
    }
    for id in site.snapshots()? {
        snapshot(site, &id, now, &mut findings)?;
    }
    findings.problems.extend(lost(site)?);
    let snapshots = site.snapshots_directory();
    let remedy = |path: &Path, is_there| match (path.starts_with(&snapshots), is_there) {
        (true, _) => "kldload darksite sync makes it good",
        (false, true) => "remove it and run kldload darksite sync for a recipe that needs it",
        (false, false) => "kldload darksite sync for a recipe that needs it fetches it again",
    };
    Ok(findings.contents(&remedy, progress))
}

/// What is missing of a site, by what there is.
fn lost(site: &Site) -> Result<Vec<String>, SiteError> {
    let (snapshots, halves) = (site.snapshots()?, site.halves()?);
    let mut problems: Vec<String> = halves
        .iter()
        .map(|id| {
            format!(
                "{}: it is lost, and with it what snapshot {id} is; kldload darksite sync publishes its recipe \
                 again, kldload darksite gc removes the rest",
                site.snapshots_directory().join(id).join(LOCK_FILE).display()
            )
        })
        .collect();
    let link = site.root().join(CURRENT);
    let published = [snapshots, halves].concat();
    let is_good = link.is_dir() && site.current().is_some_and(|id| published.contains(&id));
    // Where packages were brought for builds only nothing is published, whatever locks there are.
    if !is_good && (!published.is_empty() || link.is_symlink()) {
        problems.push(format!(
            "{}: it leads to no snapshot, so that clients find nothing; kldload darksite sync publishes one",
            link.display()
        ));
    }
    Ok(problems)
}

/// Whether the files of its own that a snapshot has are what our key says. Its packages, which may be many, are
/// not read.
pub(crate) fn is_published(
    family: &dyn Family,
    directory: &Path,
    lock: &Lock,
    now: Timestamp,
) -> bool {
    let mut findings = Findings::default();
    family.verify_published(directory, lock, now, &mut findings);
    for (path, _) in family.pool(lock) {
        findings.files.remove(&directory.join(path));
    }
    findings.contents(&|_, _| "", &|_| {}).problems.is_empty()
}

/// Verifies a snapshot whose lock is verified.
fn snapshot(
    site: &Site,
    id: &str,
    now: Timestamp,
    findings: &mut Findings,
) -> Result<(), SiteError> {
    let directory = site.snapshots_directory().join(id);
    // What is wrong with it is told with those of recipes.
    let Ok(lock) = read_lock(&directory.join(LOCK_FILE)) else { return Ok(()) };
    let family = family(&lock.distribution)?;
    let mut own = Findings::default();
    family.verify_published(&directory, &lock, now, &mut own);
    family.verify_indexes(&directory, &lock, &mut own);
    findings.files.extend(own.files);
    let linked = linked(family, &lock).into_iter();
    findings.files.extend(linked.map(|(path, blob)| (directory.join(path), blob)));
    let way = format!("kldload darksite sync makes it again; if that does not help, {OLD}");
    findings.tell(&format!("snapshot {id}"), own.problems, &way);
    Ok(())
}

/// Goes from the distribution's keys to each package that `lock` names, whose indexes are in `store`. The
/// first problem is the error; packages are not read.
pub fn lock(lock: &Lock, store: &Store, keyring: &Keyring) -> Result<(), String> {
    let mut findings = Findings::default();
    upstream(lock, store, keyring, &mut findings).map_err(|error| error.to_string())?;
    findings.problems.into_iter().next().map_or(Ok(()), Err)
}

/// What the packages of a lock that [`lock`] found good lack to be an answer to `request`, in words.
pub fn lacking(
    lock: &Lock,
    request: &Request,
    store: &Store,
    keyring: &Keyring,
) -> Result<Vec<String>, String> {
    let family = family(&lock.distribution).map_err(|error| error.to_string())?;
    family.lacking(lock, request, store, keyring)
}

fn upstream(
    lock: &Lock,
    store: &Store,
    keyring: &Keyring,
    findings: &mut Findings,
) -> Result<(), SiteError> {
    let family = family(&lock.distribution)?;
    for suite in &lock.suites {
        let metadata = family.metadata(suite);
        let place = |path: &str| {
            let file = metadata.iter().find(|file| file.path == path);
            store.path(&file.map_or(suite.release, |file| file.blob).digest)
        };
        family.verify_upstream(lock, suite, &place, keyring, findings);
    }
    Ok(())
}

/// What is known before the content of files is compared.
#[derive(Debug, Default)]
pub struct Findings {
    /// Files, and what each must hold.
    pub files: BTreeMap<PathBuf, Blob>,
    /// Packages, each led to by a key.
    pub packages: usize,
    /// What is wrong, in words.
    pub problems: Vec<String>,
    /// Names and versions of the packages that files are.
    names: HashMap<Digest, String>,
}

impl Findings {
    /// Knows the packages of a lock by name.
    fn name(&mut self, lock: &Lock) {
        let named = |LockedPackage { name, version, blob, .. }: &_| {
            (blob.digest, format!("; it is the package {name} {version}"))
        };
        self.names.extend(lock.packages.iter().map(named));
    }

    /// Takes over problems of `what`, and says once what to do.
    fn tell(&mut self, what: &str, problems: Vec<String>, way: &str) {
        self.problems.extend(problems.iter().map(|text| format!("{what}: {text}")));
        if let (false, Some(last)) = (problems.is_empty(), self.problems.last_mut()) {
            *last = format!("{last}; {way}");
        }
    }

    /// Reads all files, several at a time; a file of several names once. `remedy` tells what to do about a file that is
    /// damaged, or not there.
    fn contents(
        self,
        remedy: &(dyn Fn(&Path, bool) -> &'static str + Sync),
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Verified {
        let Self { files, packages, mut problems, names } = self;
        let what = |path: &Path, blob: &Blob, is_there| {
            let name = names.get(&blob.digest).map_or("", String::as_str);
            format!("{name}; {}", remedy(path, is_there))
        };
        let mut total = 0;
        let mut unique: BTreeMap<(u64, u64), (&Path, Blob)> = BTreeMap::new();
        for (path, blob) in &files {
            match fs::metadata(path) {
                Ok(found) => {
                    let known = unique.entry((found.dev(), found.ino())).or_insert_with(|| {
                        total += found.len();
                        (path, *blob)
                    });
                    if known.1 != *blob {
                        let text = format!("{} is also {}", path.display(), known.0.display());
                        problems.push(text);
                    }
                }
                Err(error) => {
                    let what = what(path, blob, false);
                    problems.push(format!("{}: {error}{what}", path.display()));
                }
            }
        }
        progress(Progress::Total(total));
        let work: Vec<(&Path, Blob)> = unique.into_values().collect();
        let sum = Mutex::new((0, 0, Vec::new()));
        each(&work, |(path, blob)| {
            let result = digest_of(path);
            let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
            match result {
                Ok((digest, size)) => {
                    sum.0 += 1;
                    sum.1 += size;
                    if (Blob { digest, size }) != *blob {
                        let expected = blob.digest;
                        sum.2.push(format!(
                            "{}: damaged: SHA-256 is {digest} ({size} bytes), {expected} is expected{}",
                            path.display(),
                            what(path, blob, true)
                        ));
                    }
                    drop(sum);
                    progress(Progress::Read(size));
                }
                Err(error) => sum.2.push(format!("{}: {error}", path.display())),
            }
        });
        let (files, bytes, mut damaged) = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
        damaged.sort();
        problems.append(&mut damaged);
        Verified { files, bytes, packages, problems }
    }
}
