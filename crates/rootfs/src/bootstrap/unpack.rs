//! Packages unpacked into the root, several at a time, with the outcome of one after the other.
//!
//! What dpkg's rules say of two packages with one path: a directory is shared, and the first package's
//! attributes hold; a file belongs to the one that `Replaces` the other, and the other's list loses it;
//! anything else is an error. A link to a directory in place of a directory stays a link.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::PoisonError;

use archive::tar::{self, Entry, EntryKind};
use pkg::deb::ControlFile;
use rustix::fs::{FileType, Timespec};

use super::facts::{Facts, PackageFile, told};
use super::parallel::each_with;
use super::place::{Attributes, NewFile, Place, Root, parts};
use super::{Fault, Package};

/// What a package has brought.
#[derive(Debug, Default)]
pub(super) struct Unpacked {
    /// Its paths, as dpkg lists them.
    pub list: Vec<Vec<u8>>,
    /// Its control files.
    pub control: Vec<ControlFile>,
    /// Its configuration files, as `conffiles` has them.
    pub conffiles: Vec<String>,
}

/// How a package is unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// As dpkg unpacks: configuration files wait under another name.
    Package,
    /// Files only, in their places; dpkg will unpack it once more.
    Files,
    /// Not now: dpkg will. Its file is hashed.
    Later,
}

/// Who has a path.
#[derive(Debug)]
struct Claim {
    package: usize,
    directory: bool,
    path: Vec<u8>,
}

/// A path by the directory that really holds it.
type Key = (u64, Box<[u8]>);

/// One unpacking.
#[derive(Debug)]
pub(super) struct Unpacker<'a> {
    pub root: &'a Root,
    pub facts: &'a [Facts],
    /// Nothing is newer.
    pub newest: i64,
    claims: Mutex<HashMap<Key, Claim>>,
    /// Paths that packages have lost to others.
    lost: Mutex<BTreeMap<usize, BTreeSet<Vec<u8>>>>,
}

impl<'a> Unpacker<'a> {
    pub fn new(root: &'a Root, facts: &'a [Facts], newest: i64) -> Self {
        Self { root, facts, newest, claims: Mutex::default(), lost: Mutex::default() }
    }

    /// Unpacks these packages with `jobs` threads; `done` hears of each. After the last of several runs
    /// [`settle`](Self::settle) takes from the lists what others got.
    pub fn run(
        &self,
        packages: &[(usize, Manner)],
        jobs: usize,
        done: &(dyn Fn(usize) + Sync),
    ) -> Result<BTreeMap<usize, Unpacked>, Fault> {
        let all = Mutex::new(BTreeMap::new());
        each_with(jobs, packages, |&(at, manner)| {
            let unpacked = self.package(at, manner)?;
            all.lock().unwrap_or_else(PoisonError::into_inner).insert(at, unpacked);
            done(at);
            Ok(())
        })?;
        Ok(all.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes from the lists of packages the paths that others replaced.
    pub fn settle(&self, unpacked: &mut BTreeMap<usize, Unpacked>) {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        for (at, paths) in &*lost {
            if let Some(unpacked) = unpacked.get_mut(at) {
                unpacked.list.retain(|path| !paths.contains(path));
            }
        }
    }

    fn package(&self, at: usize, manner: Manner) -> Result<Unpacked, Fault> {
        let facts = self.facts.get(at).ok_or_else(|| Fault::Told("no such package".to_owned()))?;
        let mut file = PackageFile::open(&facts.package)?;
        let unpacked = match manner {
            Manner::Later => Ok(Unpacked::default()),
            Manner::Package | Manner::Files => self.unpack(at, &facts.package, &mut file, manner),
        };
        file.checked(unpacked)
    }

    fn unpack(
        &self,
        at: usize,
        package: &Package,
        file: &mut PackageFile<'_>,
        manner: Manner,
    ) -> Result<Unpacked, Fault> {
        let fault = |problem: String| told(package, problem);
        let deb = file.deb()?;
        let control = deb.files().to_vec();
        let conffiles = conffiles(&control);
        let waiting = match manner {
            Manner::Package => conffiles.iter().map(|path| path.as_bytes().to_vec()).collect(),
            Manner::Files | Manner::Later => BTreeSet::new(),
        };
        let mut job = Job { unpacker: self, at, waiting, list: Vec::new(), last: None };
        let list = deb
            .data(|data| job.read(data).map(|()| std::mem::take(&mut job.list)))
            .map_err(|error| fault(error.to_string()))?
            .map_err(fault)?;
        Ok(Unpacked { list, control, conffiles })
    }
}

/// The paths of `conffiles`; flags in front of a path, as `remove-on-upgrade`, are for upgrades.
fn conffiles(control: &[ControlFile]) -> Vec<String> {
    let Some(file) = control.iter().find(|file| file.name == "conffiles") else {
        return Vec::new();
    };
    let text = String::from_utf8_lossy(&file.content);
    text.lines()
        .map(str::trim_end)
        .filter(|line| line.starts_with('/'))
        .map(str::to_owned)
        .collect()
}

/// One package being unpacked.
struct Job<'a> {
    unpacker: &'a Unpacker<'a>,
    at: usize,
    /// Paths that get the ending `.dpkg-new`.
    waiting: BTreeSet<Vec<u8>>,
    list: Vec<Vec<u8>>,
    /// The directory of the entry before, which most entries share.
    last: Option<(Vec<u8>, Place)>,
}

impl Job<'_> {
    fn read(&mut self, data: &mut dyn Read) -> Result<(), String> {
        let mut reader = tar::Reader::new(data);
        while let Some(entry) = reader.next_entry().map_err(|error| error.to_string())? {
            let named =
                |error: io::Error| format!("{}: {error}", String::from_utf8_lossy(&entry.path));
            let attributes = self.attributes(&entry);
            let Some(mut file) = self.entry(&entry, &attributes).map_err(named)? else { continue };
            loop {
                let chunk = reader.chunk().map_err(|error| error.to_string())?;
                if chunk.is_empty() {
                    break;
                }
                file.write(chunk).map_err(named)?;
            }
            file.finish(&attributes).map_err(named)?;
        }
        Ok(())
    }

    fn attributes(&self, entry: &Entry) -> Attributes {
        let metadata = &entry.metadata;
        let seconds = metadata.mtime.seconds.min(self.unpacker.newest);
        Attributes {
            mode: u32::from(metadata.mode),
            uid: metadata.uid,
            gid: metadata.gid,
            mtime: Timespec { tv_sec: seconds, tv_nsec: 0 },
        }
    }

    /// Takes in one entry; a file whose content is to be written is returned.
    fn entry(&mut self, entry: &Entry, attributes: &Attributes) -> io::Result<Option<NewFile>> {
        let refused = |problem: &str| io::Error::new(io::ErrorKind::InvalidData, problem);
        let parts = parts(&entry.path).ok_or_else(|| refused("no package may have this path"))?;
        let Some((name, parents)) = parts.split_last() else {
            if entry.kind != EntryKind::Directory {
                return Err(refused("the root is not a directory here"));
            }
            self.list.push(b"/.".to_vec());
            return Ok(None);
        };
        let mut listed = vec![b'/'];
        listed.extend(parts.join(&b'/'));

        let parent = parents.join(&b'/');
        let place = match self.last.take() {
            Some((path, place)) if path == parent => place,
            _ => self.unpacker.root.make_place(parents)?,
        };
        let result = self.named(entry, attributes, &place, name, &parts, &listed);
        self.last = Some((parent, place));
        let outcome = result?;
        if !matches!(outcome, Outcome::Skipped) {
            self.list.push(listed);
        }
        match outcome {
            Outcome::File(file) => Ok(Some(file)),
            Outcome::Done | Outcome::Skipped => Ok(None),
        }
    }

    fn named(
        &self,
        entry: &Entry,
        attributes: &Attributes,
        place: &Place,
        name: &[u8],
        parts: &[&[u8]],
        listed: &[u8],
    ) -> io::Result<Outcome> {
        // Names appear under the lock, so that who comes second sees what is there; contents are written
        // to open files later, which a name that changes hands does not disturb.
        let mut claims = self.unpacker.claims.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (place.inode, Box::from(name));
        let root = self.unpacker.root;
        if entry.kind == EntryKind::Directory {
            if let Some(claim) = claims.get_mut(&key).filter(|claim| claim.directory) {
                if claim.package > self.at && place.kind(name)? == Some(FileType::Directory) {
                    claim.package = self.at;
                    place.directory(name, attributes)?;
                }
                return Ok(Outcome::Done);
            }
            if place.kind(name)?.is_some() {
                if place.is_directory(root, parts, name)? {
                    return Ok(Outcome::Done);
                }
                return Err(self.conflict(claims.get(&key)));
            }
            place.directory(name, attributes)?;
            let path = listed.to_vec();
            claims.insert(key, Claim { package: self.at, directory: true, path });
            return Ok(Outcome::Done);
        }
        if matches!(entry.kind, EntryKind::Symlink(_)) && place.is_directory(root, parts, name)? {
            return Ok(Outcome::Done);
        }
        let mut written = name.to_vec();
        if self.waiting.contains(listed) {
            written.extend(b".dpkg-new");
        }
        if let Some(claim) = claims.get(&key) {
            if claim.package == self.at {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it occurs a second time"));
            }
            let facts = self.unpacker.facts;
            let (Some(ours), Some(theirs)) = (facts.get(self.at), facts.get(claim.package)) else {
                return Err(self.conflict(Some(claim)));
            };
            if claim.directory {
                return Err(self.conflict(Some(claim)));
            }
            if theirs.replaces(&ours.package) && !ours.replaces(&theirs.package) {
                return Ok(Outcome::Skipped);
            }
            if !ours.replaces(&theirs.package) {
                return Err(self.conflict(Some(claim)));
            }
            let mut lost = self.unpacker.lost.lock().unwrap_or_else(PoisonError::into_inner);
            lost.entry(claim.package).or_default().insert(claim.path.clone());
        }
        // Also what was there before anything was unpacked.
        if place.kind(&written)?.is_some() {
            place.remove(&written)?;
        }
        let outcome = self.write(entry, attributes, place, &written)?;
        let path = listed.to_vec();
        claims.insert(key, Claim { package: self.at, directory: false, path });
        Ok(outcome)
    }

    fn write(
        &self,
        entry: &Entry,
        attributes: &Attributes,
        place: &Place,
        name: &[u8],
    ) -> io::Result<Outcome> {
        let device = |device: &tree::Device| rustix::fs::makedev(device.major, device.minor);
        match &entry.kind {
            EntryKind::File { extents: None, .. } => {
                return Ok(Outcome::File(place.create(name)?));
            }
            EntryKind::Symlink(target) => place.symlink(name, target, attributes)?,
            EntryKind::HardLink(target) => self.hard_link(place, name, target)?,
            EntryKind::Fifo => place.special(name, FileType::Fifo, 0, attributes)?,
            EntryKind::CharDevice(number) => {
                place.special(name, FileType::CharacterDevice, device(number), attributes)?;
            }
            EntryKind::BlockDevice(number) => {
                place.special(name, FileType::BlockDevice, device(number), attributes)?;
            }
            EntryKind::File { .. } | EntryKind::Directory => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "dpkg does not know sparse files",
                ));
            }
        }
        Ok(Outcome::Done)
    }

    fn hard_link(&self, place: &Place, name: &[u8], target: &[u8]) -> io::Result<()> {
        let refused = || io::Error::new(io::ErrorKind::InvalidData, "a link to a forbidden path");
        let parts = parts(target).ok_or_else(refused)?;
        let (last, parents) = parts.split_last().ok_or_else(refused)?;
        let mut listed = vec![b'/'];
        listed.extend(parts.join(&b'/'));
        let mut last = last.to_vec();
        if self.waiting.contains(&listed) {
            last.extend(b".dpkg-new");
        }
        place.hard_link(name, &self.unpacker.root.place(parents)?, &last)
    }

    fn conflict(&self, claim: Option<&Claim>) -> io::Error {
        let other = claim.and_then(|claim| self.unpacker.facts.get(claim.package));
        let owner = other.map_or("something else", |facts| facts.package.name.as_str());
        io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("it is also in {owner}, which this package does not replace"),
        )
    }
}

enum Outcome {
    File(NewFile),
    Done,
    /// It belongs to another package.
    Skipped,
}

#[cfg(test)]
mod tests;
