//! A file system becomes a directory.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use blk::WriteAt;
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags, chmod, chownat,
    fchmod, fchown, fsetxattr, futimens, lsetxattr, makedev, mknodat, utimensat,
};
use rustix::io::Errno;
use tree::Metadata;
use zfs::read::{DirEntry, Filesystem, Inode, InodeKind, Object, ReadError};

use super::PIECE;

/// Entries that one thread takes at once: two that make files in one directory would wait
/// for each other.
const TOGETHER: usize = 64;

/// What a caller without privileges cannot do; told once each.
#[derive(Debug, Default)]
struct Notes {
    owners: AtomicBool,
    devices: AtomicUsize,
    /// How many, and the first of them.
    xattrs: Mutex<(usize, String)>,
}

impl Notes {
    fn texts(&self) -> Vec<String> {
        let mut texts = Vec::new();
        if self.owners.load(Ordering::Relaxed) {
            let what = "owners were not set, which needs root, and no file is setuid or setgid";
            texts.push(what.to_owned());
        }
        match self.devices.load(Ordering::Relaxed) {
            0 => {}
            count => texts.push(format!("{count} devices were left out, as they need root")),
        }
        match &*lock(&self.xattrs) {
            (0, _) => {}
            (count, first) => texts.push(format!(
                "{count} extended attributes were left out, the first of them {first}: they need root, or the \
                 file system has none or no room for them"
            )),
        }
        texts
    }
}

fn times(metadata: &Metadata) -> Timestamps {
    let mtime =
        Timespec { tv_sec: metadata.mtime.seconds, tv_nsec: metadata.mtime.nanoseconds.into() };
    Timestamps { last_access: mtime, last_modification: mtime }
}

/// The mode for a file that is `owned` by whom it was. What is somebody else's now must not run as
/// them: root's setuid program would become the caller's.
fn mode(metadata: &Metadata, owned: bool) -> Mode {
    let kept = if owned { 0o7777 } else { 0o1777 };
    Mode::from_raw_mode(u32::from(metadata.mode) & kept)
}

fn ids(metadata: &Metadata) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(metadata.uid)), Some(Gid::from_raw(metadata.gid)))
}

/// Gives one file the permissions and the time it had; its owner stays the caller.
pub fn file_attributes(file: &File, metadata: &Metadata) -> anyhow::Result<()> {
    fchmod(file, Mode::from_raw_mode(u32::from(metadata.mode) & 0o777))?;
    futimens(file, &times(metadata))?;
    Ok(())
}

/// A copy of a directory as those know it who asked for it.
#[derive(Debug)]
pub struct Asked<'a> {
    /// What is copied: `IMAGE:DATASET/PATH`.
    pub source: &'a str,
    /// Where it will be in the end.
    pub destination: &'a Path,
    /// Whether what cannot be read is left out.
    pub skip_bad: bool,
}

/// How a copy went.
#[derive(Debug)]
pub struct Outcome {
    /// What could not be done without privileges.
    pub notes: Vec<String>,
    /// The names of what was left out, below the directory, and why.
    pub left_out: BTreeMap<PathBuf, String>,
}

impl Asked<'_> {
    /// What has that name in the pool.
    pub fn source_of(&self, name: &Path) -> String {
        match name.as_os_str().is_empty() {
            true => self.source.to_owned(),
            false => format!("{}/{}", self.source.trim_end_matches('/'), name.display()),
        }
    }

    /// Both sides of the copying of what has that name.
    fn copying(&self, name: &Path) -> String {
        let to = self.destination.join(name);
        format!("cannot copy {} to {}", self.source_of(name), to.display())
    }
}

/// Writes everything below the directory `inode` into `directory`, which exists and is empty, on all
/// processors.
pub fn directory<'p>(
    fs: &Filesystem<'p>,
    inode: &Inode<'p>,
    directory: &Path,
    asked: &Asked<'_>,
) -> anyhow::Result<Outcome> {
    let unpack = Unpack {
        fs,
        asked,
        directory,
        left_out: Mutex::default(),
        notes: Notes::default(),
        queue: Mutex::default(),
        changed: Condvar::new(),
        names: Mutex::default(),
    };
    let top = unpack.enter(directory.to_owned(), inode)?;
    lock(&unpack.queue).tasks.push(top);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(16);
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|| unpack.work());
        }
        unpack.work();
    });
    lock(&unpack.queue).failure.take().map_or(Ok(()), Err)?;
    let names = std::mem::take(&mut *lock(&unpack.names));
    for (object, path) in &names.links {
        let Some(first) = names.first.get(object) else { continue };
        // What was left out for lack of privileges has no second name either.
        if first.symlink_metadata().is_ok() {
            fs::hard_link(first, path).with_context(|| asked.copying(unpack.name(path)))?;
        } else {
            let left_out = &mut *lock(&unpack.left_out);
            if let Some(why) = left_out.get(unpack.name(first)).cloned() {
                left_out.insert(unpack.name(path).to_owned(), why);
            }
        }
    }
    // Last, and from below: each change in a directory changes its time.
    for (path, metadata) in names.directories.iter().rev() {
        attributes(path, metadata, false, &unpack.notes)
            .with_context(|| asked.copying(unpack.name(path)))?;
    }
    let left_out = std::mem::take(&mut *lock(&unpack.left_out));
    Ok(Outcome { notes: unpack.notes.texts(), left_out })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file system that becomes a directory.
struct Unpack<'f, 'p> {
    fs: &'f Filesystem<'p>,
    asked: &'f Asked<'f>,
    /// The directory for now.
    directory: &'f Path,
    left_out: Mutex<BTreeMap<PathBuf, String>>,
    notes: Notes,
    queue: Mutex<Queue>,
    changed: Condvar,
    names: Mutex<Names>,
}

/// What is to be done; the last is done first, so that little waits.
#[derive(Default)]
struct Queue {
    tasks: Vec<Task>,
    /// Threads that may have more to add.
    busy: usize,
    failure: Option<anyhow::Error>,
}

enum Task {
    /// A directory that was made, to be filled from an object.
    Directory(PathBuf, u64),
    /// Some entries of a directory.
    Entries(Arc<Path>, Vec<DirEntry>),
}

/// What is done at the end.
#[derive(Default)]
struct Names {
    /// Directories, each behind the one it is in.
    directories: Vec<(PathBuf, Metadata)>,
    /// Their objects: none can be in two places.
    entered: HashSet<u64>,
    /// The first name of each object that has more.
    first: HashMap<u64, PathBuf>,
    /// The other names.
    links: Vec<(u64, PathBuf)>,
}

impl<'p> Unpack<'_, 'p> {
    fn work(&self) {
        let mut buffer = Vec::new();
        while let Some(task) = self.next() {
            let result = self.run(task, &mut buffer);
            let mut queue = lock(&self.queue);
            queue.busy -= 1;
            match result {
                Ok(more) => queue.tasks.extend(more),
                Err(error) => drop(queue.failure.get_or_insert(error)),
            }
            self.changed.notify_all();
        }
    }

    /// Waits for a task; none when all is done, or something failed.
    fn next(&self) -> Option<Task> {
        let mut queue = lock(&self.queue);
        loop {
            if queue.failure.is_some() {
                return None;
            }
            if let Some(task) = queue.tasks.pop() {
                queue.busy += 1;
                return Some(task);
            }
            if queue.busy == 0 {
                return None;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Does a task; gives those that follow from it.
    fn run(&self, task: Task, buffer: &mut Vec<u8>) -> anyhow::Result<Vec<Task>> {
        match task {
            Task::Directory(path, object) => {
                let (entries, error) = match self.fs.inode(object) {
                    Ok(inode) => self.fs.readable_entries(&inode),
                    Err(error) => (Vec::new(), Some(error)),
                };
                if let Some(error) = error {
                    self.leave_out(&path, "what is in it", error.into())?;
                }
                let path: Arc<Path> = path.into();
                let mut entries = entries.into_iter();
                let groups = std::iter::from_fn(|| {
                    let group: Vec<_> = entries.by_ref().take(TOGETHER).collect();
                    (!group.is_empty()).then(|| Task::Entries(path.clone(), group))
                });
                Ok(groups.collect())
            }
            Task::Entries(directory, entries) => {
                let mut tasks = Vec::new();
                for entry in entries {
                    let path = directory.join(OsStr::from_bytes(&entry.name));
                    match self.entry(&path, entry.object, buffer) {
                        Ok(task) => tasks.extend(task),
                        Err(error) => self.leave_out(&path, "", error)?,
                    }
                }
                Ok(tasks)
            }
        }
    }

    /// Makes what an entry of a directory names; gives the task that follows from it. What cannot be
    /// made whole is taken away again, by whoever made it: nothing else may be.
    fn entry(
        &self,
        path: &Path,
        object: u64,
        buffer: &mut Vec<u8>,
    ) -> anyhow::Result<Option<Task>> {
        let inode = self.fs.inode(object)?;
        if inode.kind() == InodeKind::Directory {
            fs::create_dir(path)?;
            let entered = self.enter(path.to_owned(), &inode).map(Some);
            return entered.inspect_err(|_| drop(fs::remove_dir(path)));
        }
        if self.is_first(&inode, path) {
            self.write(path, &inode, buffer)?;
        }
        Ok(None)
    }

    /// The name of something that is made, below the directory.
    fn name<'t>(&self, path: &'t Path) -> &'t Path {
        path.strip_prefix(self.directory).unwrap_or(path)
    }

    /// Notes that something at `path`, or a part of it, cannot be read. Other errors, and these too unless
    /// it was asked for, end the copy.
    fn leave_out(&self, path: &Path, part: &str, error: anyhow::Error) -> anyhow::Result<()> {
        let name = self.name(path);
        let is_bad = error.chain().any(|cause| cause.is::<ReadError>());
        if !is_bad || !self.asked.skip_bad {
            let hint = if is_bad { "; --skip-bad goes on without" } else { "" };
            return Err(error.context(format!("{}{hint}", self.asked.copying(name))));
        }
        let mut left_out = lock(&self.left_out);
        match part {
            "" => drop(left_out.insert(name.to_owned(), error.to_string())),
            part => drop(left_out.entry(name.to_owned()).or_insert(format!("{part}: {error}"))),
        }
        Ok(())
    }

    /// The attributes of an inode; of the extended ones those that can be read.
    fn metadata(&self, path: &Path, inode: &Inode<'p>) -> anyhow::Result<Metadata> {
        self.fs.metadata(inode).or_else(|error| {
            self.leave_out(path, "its extended attributes", error.into())?;
            Ok(inode.metadata())
        })
    }

    /// Notes a directory that was made, and that it has to be filled.
    fn enter(&self, path: PathBuf, inode: &Inode<'p>) -> anyhow::Result<Task> {
        let metadata = self.metadata(&path, inode)?;
        let mut names = lock(&self.names);
        if !names.entered.insert(inode.object.number) {
            let (what, problem) =
                (inode.object.describe(), "it is a directory in two places".into());
            return Err(ReadError::Damaged { what, problem }.into());
        }
        names.directories.push((path.clone(), metadata));
        Ok(Task::Directory(path, inode.object.number))
    }

    /// Whether an inode is to be written at `path`; otherwise it has another name already.
    fn is_first(&self, inode: &Inode<'p>, path: &Path) -> bool {
        if inode.attributes.links < 2 {
            return true;
        }
        let object = inode.object.number;
        let names = &mut *lock(&self.names);
        if names.first.contains_key(&object) {
            names.links.push((object, path.to_owned()));
            return false;
        }
        names.first.insert(object, path.to_owned());
        true
    }

    fn write(&self, path: &Path, inode: &Inode<'p>, buffer: &mut Vec<u8>) -> anyhow::Result<()> {
        let metadata = self.metadata(path, inode)?;
        let device = inode.device();
        let node = |kind| {
            let device = makedev(device.major, device.minor);
            match mknodat(CWD, path, kind, Mode::from_raw_mode(0o600), device) {
                Err(Errno::PERM) => {
                    self.notes.devices.fetch_add(1, Ordering::Relaxed);
                    Ok(false)
                }
                result => result.map(|()| true),
            }
        };
        let made = match inode.kind() {
            InodeKind::File => {
                let mut options = fs::OpenOptions::new();
                let out = options.write(true).create_new(true).mode(0o600).open(path)?;
                // A part of a file could be taken for all of it.
                return pour(&inode.object, inode.attributes.size, &out, buffer)
                    .and_then(|()| open_file_attributes(&out, path, &metadata, &self.notes))
                    .inspect_err(|_| drop(fs::remove_file(path)));
            }
            InodeKind::Symlink => {
                let target = self.fs.read_link(inode)?;
                symlink(OsStr::from_bytes(&target), path)?;
                true
            }
            InodeKind::CharDevice => node(FileType::CharacterDevice)?,
            InodeKind::BlockDevice => node(FileType::BlockDevice)?,
            InodeKind::Fifo => node(FileType::Fifo)?,
            InodeKind::Socket => node(FileType::Socket)?,
            InodeKind::Directory | InodeKind::Unknown => {
                let (what, problem) =
                    (inode.object.describe(), "its mode has no known type".into());
                return Err(ReadError::Damaged { what, problem }.into());
            }
        };
        if made {
            attributes(path, &metadata, inode.kind() == InodeKind::Symlink, &self.notes)?;
        }
        Ok(())
    }
}

/// Writes what of an object is not a hole; whole blocks, so that none is read twice.
pub fn pour(
    object: &Object<'_>,
    size: u64,
    file: &File,
    buffer: &mut Vec<u8>,
) -> anyhow::Result<()> {
    let block = u64::from(object.dnode.block_size).max(1);
    let piece = (PIECE as u64).max(block) / block * block;
    let mut end = 0;
    for run in object.data_runs(size) {
        let run = run?;
        let mut at = run.start;
        while at < run.end {
            let length = (run.end - at).min(piece);
            let whole = length.next_multiple_of(block) as usize;
            if buffer.len() < whole {
                buffer.resize(whole, 0);
            }
            object.read_at(at, &mut buffer[..whole])?;
            WriteAt::write_all_at(file, &buffer[..length as usize], at)?;
            at += length;
        }
        end = run.end;
    }
    if end < size {
        file.set_len(size)?;
    }
    Ok(())
}

/// Whether an extended attribute may be left out: the caller may not set it, or the file system
/// does not have it, or no room for it.
fn may_lack(
    result: rustix::io::Result<()>,
    (path, name): (&Path, &[u8]),
    notes: &Notes,
) -> anyhow::Result<()> {
    use Errno as E;
    match result {
        Err(E::PERM | E::ACCESS | E::OPNOTSUPP | E::NOSPC | E::TOOBIG | E::RANGE) => {
            let mut noted = lock(&notes.xattrs);
            if noted.0 == 0 {
                let file = path.file_name().unwrap_or_default();
                noted.1 = format!("{} of {}", name.escape_ascii(), file.display());
            }
            noted.0 += 1;
            Ok(())
        }
        Err(error) => {
            let what = || format!("the extended attribute {}", name.escape_ascii());
            Err(std::io::Error::from(error)).with_context(what)
        }
        Ok(()) => Ok(()),
    }
}

/// Whether the owner could be set.
fn owner(result: rustix::io::Result<()>, notes: &Notes) -> rustix::io::Result<bool> {
    match result {
        Err(Errno::PERM) => {
            notes.owners.store(true, Ordering::Relaxed);
            Ok(false)
        }
        result => result.map(|()| true),
    }
}

fn open_file_attributes(
    file: &File,
    path: &Path,
    metadata: &Metadata,
    notes: &Notes,
) -> anyhow::Result<()> {
    let (uid, gid) = ids(metadata);
    let owned = owner(fchown(file, uid, gid), notes)?;
    // A change of owner clears setuid and capabilities, so these come after it.
    fchmod(file, mode(metadata, owned))?;
    for (name, value) in &metadata.xattrs {
        let set = fsetxattr(file, OsStr::from_bytes(name), value, XattrFlags::empty());
        may_lack(set, (path, name), notes)?;
    }
    futimens(file, &times(metadata))?;
    Ok(())
}

fn attributes(
    path: &Path,
    metadata: &Metadata,
    is_symlink: bool,
    notes: &Notes,
) -> anyhow::Result<()> {
    let (uid, gid) = ids(metadata);
    let owned = owner(chownat(CWD, path, uid, gid, AtFlags::SYMLINK_NOFOLLOW), notes)?;
    for (name, value) in &metadata.xattrs {
        let set = lsetxattr(path, OsStr::from_bytes(name), value, XattrFlags::empty());
        may_lack(set, (path, name), notes)?;
    }
    if !is_symlink {
        chmod(path, mode(metadata, owned))?;
    }
    utimensat(CWD, path, &times(metadata), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}
