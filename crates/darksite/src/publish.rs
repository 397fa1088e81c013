//! A lock becomes a plain apt repository: `dists/`, `pool/`, by-hash, signed.
//!
//! The repository's files are hard links into the store, so that snapshots share what they have in
//! common and publishing costs no room. One suite, named by the codename, has exactly the packages of
//! the lock, in the components they came from. `upstream/` keeps the signed files and indexes that vouch
//! for them, so that the whole chain can be verified on the medium alone.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use pkg::deb::{IndexFile, Release, paragraphs, parse_packages, write_package};
use pkg::openpgp::{KeyError, SigningKey};
use thiserror::Error;
use tree::Digest;

use crate::lock::{Blob, Lock, LockedPackage};
use crate::site::{CURRENT, KEY_FILE, LOCK_FILE, Site, SiteError};
use crate::source::{SourceError, read_index};
use crate::store::{Store, StoreError, at, write_file};

/// What was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The snapshot's id.
    pub id: String,
    /// Its directory.
    pub path: PathBuf,
    /// How many packages it has.
    pub packages: usize,
    /// Whether it was made now; if not, the lock was published before.
    pub fresh: bool,
}

/// Why nothing was published.
#[derive(Debug, Error)]
pub enum PublishError {
    /// The site or its store failed.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// An index in the store cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A package of the lock is in no index that the lock names.
    #[error(
        "package {name} {version} {architecture} is not in the indexes of suite {suite} that the lock \
         names: was the lock changed by hand?"
    )]
    Unknown {
        /// Its name.
        name: String,
        /// Its version.
        version: String,
        /// Its architecture.
        architecture: String,
        /// The suite.
        suite: String,
    },
    /// Signing failed.
    #[error("cannot sign: {0}")]
    Sign(#[from] KeyError),
}

impl From<StoreError> for PublishError {
    fn from(error: StoreError) -> Self {
        Self::Site(error.into())
    }
}

/// Publishes what `lock` names, all of which is in the store, as a new snapshot, and makes it the current
/// one. A lock that is published already is left as it is.
pub fn publish(
    site: &Site,
    lock: &Lock,
    key: &SigningKey,
    now: Timestamp,
) -> Result<Published, PublishError> {
    let text = lock.to_string();
    let public = key.public_armor()?;
    if let Some(id) = site.current() {
        let path = site.snapshots_directory().join(&id);
        let signed_by_us =
            fs::read(path.join(KEY_FILE)).is_ok_and(|found| found == public.as_bytes());
        if signed_by_us
            && fs::read(path.join(LOCK_FILE)).is_ok_and(|found| found == text.as_bytes())
        {
            return Ok(Published { id, path, packages: lock.packages.len(), fresh: false });
        }
    }
    let digest = Digest::of(text.as_bytes()).to_string();
    let id = format!("{}-{}", now.strftime("%Y%m%dT%H%M%SZ"), digest.get(..8).unwrap_or_default());
    let snapshots = site.snapshots_directory();
    let work = tempfile::Builder::new()
        .prefix(".new-")
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir_in(&snapshots)
        .map_err(at(&snapshots))?;
    let mut repository = Repository::new(site.store(), work.path());

    let indexes = upstream(&mut repository, lock)?;
    let paths = pool(&mut repository, lock)?;
    let files = components(&mut repository, lock, &indexes, &paths)?;
    sign(&mut repository, lock, files, key, now)?;
    repository.write(KEY_FILE, public.as_bytes())?;
    repository.write(LOCK_FILE, text.as_bytes())?;

    let path = snapshots.join(&id);
    let work = work.keep();
    let placed = fs::set_permissions(&work, fs::Permissions::from_mode(0o755))
        .and_then(|()| fs::rename(&work, &path));
    if let Err(error) = placed {
        // The error above is the one that counts; gc removes what stays.
        let _ = fs::remove_dir_all(&work);
        return Err(at(&path)(error).into());
    }
    make_current(site, &id)?;
    Ok(Published { id, path, packages: lock.packages.len(), fresh: true })
}

/// Points `current` to a snapshot, at once.
fn make_current(site: &Site, id: &str) -> Result<(), StoreError> {
    let (link, temporary) = (site.root().join(CURRENT), site.root().join(".current.new"));
    let place = || {
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        symlink(Path::new("snapshots").join(id), &temporary)?;
        fs::rename(&temporary, &link)?;
        fs::File::open(site.snapshots_directory())?.sync_all()?;
        fs::File::open(site.root())?.sync_all()
    };
    place().map_err(at(&link))
}

/// A repository being made.
struct Repository<'a> {
    store: &'a Store,
    root: &'a Path,
    made: HashSet<PathBuf>,
}

impl<'a> Repository<'a> {
    fn new(store: &'a Store, root: &'a Path) -> Self {
        Self { store, root, made: HashSet::new() }
    }

    /// The file at `path`, its directory made.
    fn place(&mut self, path: &str) -> Result<PathBuf, StoreError> {
        let path = self.root.join(path);
        if let Some(parent) = path.parent()
            && !self.made.contains(parent)
        {
            fs::create_dir_all(parent).map_err(at(parent))?;
            self.made.insert(parent.to_owned());
        }
        Ok(path)
    }

    /// A name for a blob.
    fn link(&mut self, path: &str, blob: &Blob) -> Result<(), StoreError> {
        let target = self.place(path)?;
        let source = self.store.path(&blob.digest);
        match fs::hard_link(&source, &target) {
            Ok(()) => Ok(()),
            // More names than the file system has room for.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::MLINK.raw_os_error()) => {
                fs::copy(&source, &target).map(drop).map_err(at(&target))
            }
            Err(error) => Err(at(&source)(error)),
        }
    }

    fn write(&mut self, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.place(path)?;
        write_file(&path, bytes, 0o644)
    }
}

/// Text of an index with its suite and component.
struct Index {
    suite: String,
    text: String,
}

/// Keeps what vouches for the packages, and reads it.
fn upstream(repository: &mut Repository<'_>, lock: &Lock) -> Result<Vec<Index>, PublishError> {
    let mut indexes = Vec::new();
    for suite in &lock.suites {
        let directory = format!("upstream/{}", suite.name);
        let signed = if suite.signature.is_some() { "Release" } else { "InRelease" };
        repository.link(&format!("{directory}/{signed}"), &suite.release)?;
        if let Some(signature) = &suite.signature {
            repository.link(&format!("{directory}/Release.gpg"), signature)?;
        }
        for index in &suite.indexes {
            repository.link(&format!("{directory}/{}", index.path), &index.blob)?;
            let text = read_index(repository.store, index)?;
            indexes.push(Index { suite: suite.name.clone(), text });
        }
    }
    Ok(indexes)
}

/// Links the packages into the pool; tells where each is.
fn pool<'a>(
    repository: &mut Repository<'_>,
    lock: &'a Lock,
) -> Result<Vec<(&'a LockedPackage, String)>, PublishError> {
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
        if taken.insert(path.clone(), package.blob.digest) != Some(package.blob.digest) {
            repository.link(&path, &package.blob)?;
        }
        placed.push((package, path));
    }
    Ok(placed)
}

/// Writes the indexes of each component; gives their lines for the `Release` file.
fn components(
    repository: &mut Repository<'_>,
    lock: &Lock,
    indexes: &[Index],
    placed: &[(&LockedPackage, String)],
) -> Result<Vec<IndexFile>, PublishError> {
    let mut wanted: HashMap<(&str, Digest), (usize, &LockedPackage, &str)> = HashMap::new();
    for (number, (package, path)) in placed.iter().enumerate() {
        let key = (package.suite.as_str(), package.blob.digest);
        wanted.insert(key, (number, package, path));
    }
    let mut entries: BTreeMap<&str, Vec<(usize, String)>> = BTreeMap::new();
    for index in indexes {
        let packages = parse_packages(&index.text).map_err(|error| SourceError::Index {
            path: index.suite.clone(),
            reason: error.to_string(),
        })?;
        for package in packages {
            let Some(digest) = package.sha256 else { continue };
            let key = (index.suite.as_str(), digest);
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
            entries.entry(component_of(locked)).or_default().push((number, text));
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
    entries.entry("main").or_default();
    let mut files = Vec::new();
    for (component, mut entries) in entries {
        entries.sort();
        let text: String = entries.into_iter().map(|(_, text)| text).collect();
        let name = format!("{component}/binary-{}/Packages", lock.architecture);
        let xz = compressed(text.as_bytes()).map_err(at(Path::new(&name)))?;
        for (path, bytes) in [(name.clone(), text.as_bytes()), (format!("{name}.xz"), &xz)] {
            let file = IndexFile { path, size: bytes.len() as u64, sha256: Digest::of(bytes) };
            let dists = format!("dists/{}", lock.codename);
            repository.write(&format!("{dists}/{}", file.path), bytes)?;
            let plain = repository.place(&format!("{dists}/{}", file.path))?;
            let by_hash = repository.place(&format!("{dists}/{}", file.by_hash()))?;
            fs::hard_link(&plain, &by_hash).map_err(at(&by_hash))?;
            files.push(file);
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// The last part of a component's name: a directory of ours.
fn component_of(package: &LockedPackage) -> &str {
    package.component.rsplit('/').next().unwrap_or("main")
}

fn compressed(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 6);
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// Writes the `Release` file in all forms apt may ask for.
fn sign(
    repository: &mut Repository<'_>,
    lock: &Lock,
    files: Vec<IndexFile>,
    key: &SigningKey,
    now: Timestamp,
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
        date: Some(now),
        architectures: vec![lock.architecture.clone()],
        components,
        acquire_by_hash: true,
        files,
        ..Release::default()
    };
    let text = release.to_text();
    let inline = key.clearsign(&text, now)?;
    let apart = key.detach_sign(text.as_bytes(), now)?;
    let dists = format!("dists/{}", lock.codename);
    repository.write(&format!("{dists}/Release"), text.as_bytes())?;
    repository.write(&format!("{dists}/Release.gpg"), apart.as_bytes())?;
    repository.write(&format!("{dists}/InRelease"), inline.as_bytes())?;
    Ok(())
}
