//! A lock becomes a plain repository of its family's kind, signed by our key: a snapshot.
//!
//! The repository's files are hard links into the store, so that snapshots share what they have in
//! common and publishing costs no room. `upstream/` keeps the signed files and indexes that vouch for the
//! packages, so that the whole chain can be verified on the medium alone.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, civil};
use pkg::openpgp::{KeyError, SigningKey};
use rustix::fs::{FlockOperation, flock};
use thiserror::Error;
use tree::Digest;

use crate::family::{Family, family};
use crate::lock::{Blob, Lock};
use crate::site::{CURRENT, KEY_FILE, LOCK_FILE, Site, SiteError, read_lock};
use crate::source::SourceError;
use crate::store::{Store, StoreError, at, digest_of, sync_file_system};
use crate::verify;

/// Directory of a repository that keeps what the distribution signed.
pub(crate) const UPSTREAM: &str = "upstream";
/// How ids of snapshots begin, to the second.
const ID_DATE: &str = "%Y%m%dT%H%M%SZ";

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

/// Indexes of a repository: their paths as its family names them, and their contents.
pub(crate) type Indexes = Vec<(String, Vec<u8>)>;

/// What a snapshot is going to tell of its packages.
#[derive(Debug)]
pub struct Draft(Indexes);

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

/// Begins to publish `lock` while its packages are still on their way: the indexes that it names are enough.
/// `None` if the current snapshot has this lock, and there is nothing to publish.
pub fn draft(site: &Site, lock: &Lock) -> Result<Option<Draft>, PublishError> {
    let family = family(&lock.distribution).map_err(SiteError::from)?;
    if site.current().is_some_and(|id| has(site, &id, LOCK_FILE, &lock.to_string())) {
        return Ok(None);
    }
    Ok(Some(Draft(family.indexes(lock, site.store())?)))
}

/// Publishes what `lock` names, all of which is in the store, as a new snapshot, and makes it the current
/// one, unless it is that already. An older snapshot with the same lock is not taken again: clients that have
/// seen a newer one would believe that nothing has changed since. `draft` is that of the same lock, if there is
/// one.
pub fn publish(
    site: &Site,
    lock: &Lock,
    draft: Option<Draft>,
    key: &SigningKey,
    times: Times,
) -> Result<Published, PublishError> {
    let family = family(&lock.distribution).map_err(SiteError::from)?;
    let text = lock.to_string();
    let public = key.public_armor()?;
    let snapshots = site.snapshots_directory();
    let _alone = alone(&snapshots)?;
    let known = site
        .current()
        .filter(|id| has(site, id, KEY_FILE, &public) && has(site, id, LOCK_FILE, &text));
    if let Some(id) = known {
        let path = snapshots.join(&id);
        return Ok(Published { id, path, packages: lock.packages.len(), fresh: false });
    }
    let date = date(site, times.date)?;
    let digest = Digest::of(text.as_bytes()).to_string();
    let id = format!("{}-{}", date.strftime(ID_DATE), digest.get(..8).unwrap_or_default());
    let path = snapshots.join(&id);
    place(make(site, family, lock, draft, key, Times { date, ..times })?, &path)?;
    make_current(site, &id)?;
    Ok(Published { id, path, packages: lock.packages.len(), fresh: true })
}

/// Whether a file of a snapshot has this content.
fn has(site: &Site, id: &str, name: &str, content: &str) -> bool {
    let path = site.snapshots_directory().join(id).join(name);
    fs::read(path).is_ok_and(|found| found == content.as_bytes())
}

/// Others that publish now wait here, or two would take one id.
fn alone(snapshots: &Path) -> Result<fs::File, StoreError> {
    let alone = fs::File::open(snapshots).map_err(at(snapshots))?;
    flock(&alone, FlockOperation::LockExclusive).map_err(|error| at(snapshots)(error.into()))?;
    Ok(alone)
}

/// Makes a repository under a name that is no snapshot's, and waits until it is on disk.
fn make(
    site: &Site,
    family: &dyn Family,
    lock: &Lock,
    draft: Option<Draft>,
    key: &SigningKey,
    times: Times,
) -> Result<tempfile::TempDir, PublishError> {
    let indexes = match draft {
        Some(Draft(indexes)) => indexes,
        None => family.indexes(lock, site.store())?,
    };
    let snapshots = site.snapshots_directory();
    let work = tempfile::Builder::new()
        .prefix(".new-")
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir_in(&snapshots)
        .map_err(at(&snapshots))?;
    let mut repository = Repository::new(site.store(), work.path(), times.date);

    for (path, blob) in upstream(family, lock) {
        repository.link(&path, &blob)?;
    }
    family.publish(&mut repository, lock, &indexes, key, times)?;
    repository.write(KEY_FILE, key.public_armor()?.as_bytes())?;
    repository.write(LOCK_FILE, lock.to_string().as_bytes())?;
    sync_file_system(work.path())?;
    Ok(work)
}

/// Gives what was made the name of a snapshot.
fn place(work: tempfile::TempDir, path: &Path) -> Result<(), StoreError> {
    let work = work.keep();
    let placed = fs::set_permissions(&work, fs::Permissions::from_mode(0o755))
        .and_then(|()| fs::rename(&work, path));
    placed.map_err(|error| {
        // This error is the one that counts; gc removes what stays.
        let _ = fs::remove_dir_all(&work);
        at(path)(error)
    })
}

/// A snapshot, its lock read.
#[derive(Debug)]
pub struct Snapshot {
    id: String,
    path: PathBuf,
    lock: Lock,
    family: &'static dyn Family,
}

/// All snapshots, for [`relink`] and [`remake`]. One whose lock cannot be read is left as it is; `warn` hears of
/// it.
pub fn snapshots(site: &Site, warn: &mut dyn FnMut(&str)) -> Result<Vec<Snapshot>, SiteError> {
    let mut found = Vec::new();
    for id in site.snapshots()? {
        let path = site.snapshots_directory().join(&id);
        let known = read_lock(&path.join(LOCK_FILE))
            .and_then(|lock| Ok((family(&lock.distribution)?, lock)));
        match known {
            Ok((family, lock)) => found.push(Snapshot { id, path, lock, family }),
            Err(error) => warn(&format!("a snapshot that is left as it is: {error}")),
        }
    }
    Ok(found)
}

/// Makes those of `snapshots` anew whose own files, as indexes and signatures, are damaged or missing, each with
/// its id and date, and tells how many. What they have of the store is for [`relink`]. One that cannot be made is
/// left as it is; `warn` hears of it.
pub fn remake(
    site: &Site,
    snapshots: &[Snapshot],
    key: &SigningKey,
    now: Timestamp,
    warn: &mut dyn FnMut(&str),
) -> Result<usize, PublishError> {
    let directory = site.snapshots_directory();
    let _alone = alone(&directory)?;
    let mut remade = 0;
    for Snapshot { id, path, lock, family } in snapshots {
        let Some(date) = date_of(id) else { continue };
        if verify::is_published(*family, path, lock, now) {
            continue;
        }
        match make(site, *family, lock, None, key, Times { date, now }) {
            Ok(work) => {
                // Under a name that gc removes, whatever happens.
                let old = directory.join(format!(".old-{id}"));
                removed(fs::remove_dir_all(&old)).map_err(at(&old))?;
                fs::rename(path, &old).map_err(at(path))?;
                place(work, path)?;
                removed(fs::remove_dir_all(&old)).map_err(at(&old))?;
                remade += 1;
            }
            Err(error) => warn(&format!("snapshot {id} is damaged, and left as it is: {error}")),
        }
    }
    Ok(remade)
}

/// What was not there need not be removed.
fn removed(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// When something is published that wants to be of `date`: after everything that was published before, as clients
/// refuse to go back.
fn date(site: &Site, date: Timestamp) -> Result<Timestamp, SiteError> {
    let next = |id: &String| date_of(id)?.checked_add(1.second()).ok();
    // Those that have lost their lock were seen too.
    let ids = [site.snapshots()?, site.halves()?].concat();
    Ok(ids.iter().filter_map(next).fold(date, Timestamp::max))
}

/// When the snapshot of this id was made; `None` if it is no such id.
pub(crate) fn date_of(id: &str) -> Option<Timestamp> {
    let (date, _) = id.split_once('-')?;
    let date = civil::DateTime::strptime(ID_DATE, date).ok()?;
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// Files that the distribution signed, or whose digest such a file has, and where a repository keeps them.
fn upstream(family: &dyn Family, lock: &Lock) -> Vec<(String, Blob)> {
    let files = lock.suites.iter().flat_map(|suite| {
        let metadata = family.metadata(suite).into_iter();
        metadata.map(move |file| (format!("{UPSTREAM}/{}/{}", suite.name, file.path), file.blob))
    });
    files.collect()
}

/// The files of a repository that are links into the store.
pub(crate) fn linked(family: &dyn Family, lock: &Lock) -> Vec<(String, Blob)> {
    let mut files = upstream(family, lock);
    files.extend(family.pool(lock));
    files
}

/// Makes `snapshots` hold what the store holds, and tells how many files were replaced. A damaged blob that
/// was removed and fetched again is another file than the one to which snapshots have links. Nothing is
/// remembered between runs: whatever a crash left undone is found again.
pub fn relink(site: &Site, snapshots: &[Snapshot]) -> Result<usize, SiteError> {
    let mut links: BTreeMap<Blob, Vec<PathBuf>> = BTreeMap::new();
    for Snapshot { path, lock, family, .. } in snapshots {
        for (file, blob) in linked(*family, lock) {
            links.entry(blob).or_default().push(path.join(file));
        }
    }
    let same = |one: &fs::Metadata, other: &fs::Metadata| {
        (one.dev(), one.ino()) == (other.dev(), other.ino())
    };
    let mut replaced = 0;
    for (blob, mut targets) in links {
        let source = site.store().path(&blob.digest);
        // What the store lacks cannot be better than what is there.
        let Ok(stored) = fs::metadata(&source) else { continue };
        targets.retain(|target| {
            let is_link = fs::metadata(target).is_ok_and(|found| same(&found, &stored));
            !is_link && !holds(target, &blob)
        });
        if targets.is_empty() || !holds(&source, &blob) {
            continue;
        }
        for target in &targets {
            replace(&source, target).map_err(at(target))?;
        }
        replaced += targets.len();
    }
    if replaced > 0 {
        sync_file_system(&site.snapshots_directory())?;
    }
    Ok(replaced)
}

/// Whether a file has the content of a blob.
fn holds(path: &Path, blob: &Blob) -> bool {
    digest_of(path).is_ok_and(|(digest, size)| (Blob { digest, size }) == *blob)
}

/// Makes `target` another name of `source`, at once.
fn replace(source: &Path, target: &Path) -> io::Result<()> {
    // Always the same name, so that what a crash left is overwritten, and never stays.
    let mut name = OsString::from(".relink-");
    name.push(target.file_name().unwrap_or_default());
    let temporary = target.with_file_name(name);
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    removed(fs::remove_file(&temporary))?;
    link(source, &temporary)?;
    fs::rename(&temporary, target)
}

/// Points `current` to a snapshot, at once.
fn make_current(site: &Site, id: &str) -> Result<(), StoreError> {
    let (link, temporary) = (site.root().join(CURRENT), site.root().join(".current.new"));
    let place = || {
        removed(fs::remove_file(&temporary))?;
        symlink(Path::new("snapshots").join(id), &temporary)?;
        fs::rename(&temporary, &link)?;
        fs::File::open(site.snapshots_directory())?.sync_all()?;
        fs::File::open(site.root())?.sync_all()
    };
    place().map_err(at(&link))
}

/// Another name for a file.
fn link(source: &Path, target: &Path) -> io::Result<()> {
    match fs::hard_link(source, target) {
        // More names than the file system has room for.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::MLINK.raw_os_error()) => {
            fs::copy(source, target).map(drop)
        }
        linked => linked,
    }
}

/// Makes directories below `root` that everybody may read: the mask of the process has no say.
fn make_directories(root: &Path, directory: &Path) -> Result<(), StoreError> {
    let missing = |path: &&Path| path.starts_with(root) && !path.is_dir();
    let mut missing: Vec<&Path> = directory.ancestors().take_while(missing).collect();
    while let Some(path) = missing.pop() {
        let mode = fs::Permissions::from_mode(0o755);
        fs::create_dir(path).and_then(|()| fs::set_permissions(path, mode)).map_err(at(path))?;
    }
    Ok(())
}

/// When a repository is made.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// What it says.
    pub date: Timestamp,
    /// When it is signed: nobody takes a signature from the future, not even by a second.
    pub now: Timestamp,
}

/// A repository being made.
#[derive(Debug)]
pub struct Repository<'a> {
    /// What its files are links into.
    pub store: &'a Store,
    root: &'a Path,
    made: HashSet<PathBuf>,
    date: Timestamp,
}

impl<'a> Repository<'a> {
    fn new(store: &'a Store, root: &'a Path, date: Timestamp) -> Self {
        Self { store, root, made: HashSet::new(), date }
    }

    /// The file at `path`, its directory made.
    pub fn place(&mut self, path: &str) -> Result<PathBuf, StoreError> {
        let path = self.root.join(path);
        if let Some(parent) = path.parent()
            && !self.made.contains(parent)
        {
            make_directories(self.root, parent)?;
            self.made.insert(parent.to_owned());
        }
        Ok(path)
    }

    /// A name for a blob.
    pub fn link(&mut self, path: &str, blob: &Blob) -> Result<(), StoreError> {
        let target = self.place(path)?;
        let source = self.store.path(&blob.digest);
        link(&source, &target).map_err(at(&source))
    }

    /// A file of its own. Clients ask for what is newer than theirs, to the second: its time is that of the
    /// repository, which no other has.
    pub fn write(&mut self, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.place(path)?;
        // The mask of the process has no say.
        let mode = fs::Permissions::from_mode(0o644);
        let write = || {
            let mut file = fs::File::create(&path)?;
            file.write_all(bytes)?;
            file.set_permissions(mode)?;
            file.set_modified(self.date.into())
        };
        write().map_err(at(&path))
    }
}
