//! The file systems: names, inodes and accounting must agree.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::names::{self, Part};
use super::{MAX_PROBLEMS, ProblemKind, Report};
use crate::read::walking::bad_name;
use crate::read::{
    Dataset, DatasetKind, Datasets, Filesystem, Inode, InodeKind, Pool, ReadError, zap,
};
use crate::zap::OwnedValue;

/// What every object counts besides its blocks.
const DNODE: u64 = 512;
/// `ZFS_PROJID`: the inode has a project of its own.
const HAS_PROJECT: u64 = 0x8000_0000_0000;

/// Checks all file systems, on all processors.
pub(super) fn check(pool: &Pool, datasets: &Datasets, report: &mut Report) {
    let filesystems =
        datasets.datasets.iter().filter(|dataset| dataset.kind == DatasetKind::Filesystem);
    // A stream brings inodes before their names: what it left half done is no damage.
    let (half, whole): (Vec<&Dataset>, Vec<&Dataset>) =
        filesystems.partition(|dataset| dataset.inconsistent);
    report.unseen += half.len() as u64;
    report.notes.extend(half.iter().map(|dataset| {
        format!("files of {} were not looked at: it is half received or destroyed", dataset.name)
    }));
    let mut seen = HashSet::new();
    // A snapshot of what did not change since has the same root.
    let todo: Vec<&Dataset> =
        whole.into_iter().filter(|dataset| seen.insert(dataset.root_words())).collect();
    let next = AtomicUsize::new(0);
    let all: Mutex<Vec<Report>> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(todo.len()) {
            scope.spawn(|| {
                while let Some(dataset) = todo.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut part = Report::default();
                    check_one(pool, dataset, &mut part);
                    all.lock().unwrap_or_else(PoisonError::into_inner).push(part);
                }
            });
        }
    });
    for part in all.into_inner().unwrap_or_else(PoisonError::into_inner) {
        report.inodes += part.inodes;
        report.untold += part.untold;
        report.unseen += part.unseen;
        report.notes.extend(part.notes);
        for problem in part.problems {
            report.problem(problem.kind, problem.what, problem.files);
        }
    }
    report.notes.sort();
}

struct Known {
    mode: u64,
    links: u64,
    size: u64,
    parent: u64,
    xattr_dir: Option<u64>,
}

#[derive(Default)]
struct Seen {
    inodes: BTreeMap<u64, Known>,
    /// Names of each object, and subdirectories and entries of each directory.
    names: HashMap<u64, u64>,
    parents: HashMap<u64, u64>,
    directories: HashMap<u64, (u64, u64)>,
    /// Directory and object of entries that do not tell their kind, as those of version 1.
    untyped: Vec<(u64, u64)>,
    /// Space and objects by user, group, project.
    accounts: [BTreeMap<String, u64>; 3],
    /// Directories with names that none but those of extended attributes can have, and which.
    bad_names: BTreeMap<u64, String>,
    /// Something could not be read, so that what is missing proves nothing.
    incomplete: bool,
    /// What is wrong with which object.
    problems: Vec<(ProblemKind, String, u64)>,
    /// How much more is wrong.
    untold: u64,
}

fn check_one(pool: &Pool, dataset: &Dataset, report: &mut Report) {
    let fs = match pool.filesystem(dataset) {
        Ok(fs) => fs,
        Err(ReadError::Encrypted { .. } | ReadError::Keys { .. }) => {
            report.unseen += 1;
            report.notes.push(format!("files of {} were not looked at: no key", dataset.name));
            return;
        }
        Err(error) => {
            let (kind, files) = (ProblemKind::Structure, vec![dataset.name.clone()]);
            report.problem(kind, error.to_string(), files);
            return;
        }
    };
    let mut seen = Seen::default();
    for object in fs.objset.objects() {
        let Ok(object) = object else {
            // Told by the walk.
            seen.incomplete = true;
            continue;
        };
        if !Filesystem::is_inode(&object) {
            continue;
        }
        report.inodes += 1;
        let number = object.number;
        match fs.inode_of(object) {
            Ok(inode) => seen.inode(&fs, inode),
            Err(error) => seen.unread(&error, number),
        }
    }
    let unlinked = unlinked(&fs).unwrap_or_else(|error| {
        seen.incomplete = true;
        report.problem(ProblemKind::Structure, error.to_string(), vec![dataset.name.clone()]);
        HashSet::new()
    });
    seen.count_untyped();
    seen.check_links(&fs, &unlinked);
    if !seen.incomplete {
        seen.check_accounts(&fs, dataset, report);
    }
    report.untold += seen.untold;
    let parts: BTreeSet<Part> =
        seen.problems.iter().map(|(.., object)| Part::Object(*object)).collect();
    let names = names::of_filesystem(&fs, dataset, &parts);
    for (kind, what, object) in seen.problems {
        let files = names.get(&Part::Object(object)).cloned().unwrap_or_default();
        report.problem(kind, what, files);
    }
}

fn unlinked(fs: &Filesystem<'_>) -> Result<HashSet<u64>, ReadError> {
    let Some(number) = fs.unlinked else { return Ok(HashSet::new()) };
    let entries = zap::entries(&fs.objset.object(number)?)?;
    Ok(entries
        .into_iter()
        .filter_map(|entry| match entry.value {
            OwnedValue::U64(object) => Some(object),
            _ => None,
        })
        .collect())
}

impl Seen {
    fn problem(&mut self, kind: ProblemKind, what: String, object: u64) {
        match self.problems.len() < MAX_PROBLEMS {
            true => self.problems.push((kind, what, object)),
            false => self.untold += 1,
        }
    }

    /// Notes that something of an object cannot be read. Of blocks that are lost the walk tells.
    fn unread(&mut self, error: &ReadError, object: u64) {
        self.incomplete = true;
        if !matches!(error, ReadError::Block(_)) {
            self.problem(ProblemKind::Structure, error.to_string(), object);
        }
    }

    fn inode<'p>(&mut self, fs: &Filesystem<'p>, inode: Inode<'p>) {
        let (number, attributes) = (inode.object.number, &inode.attributes);
        let known = Known {
            mode: attributes.mode,
            links: attributes.links,
            size: attributes.size,
            parent: attributes.parent,
            xattr_dir: attributes.xattr_dir,
        };
        let own = attributes.flags & HAS_PROJECT != 0;
        let project = attributes.projid.filter(|_| own).unwrap_or(0);
        let ids = [attributes.uid, attributes.gid, project];
        for (account, id) in self.accounts.iter_mut().zip(ids) {
            let space = account.entry(format!("{id:x}")).or_default();
            *space = space.saturating_add(inode.object.dnode.used).saturating_add(DNODE);
            *account.entry(format!("obj-{id:x}")).or_default() += 1;
        }
        self.inodes.insert(number, known);
        if inode.kind() == InodeKind::File {
            self.check_end(&inode);
        }
        if inode.kind() != InodeKind::Directory {
            return;
        }
        match fs.entries_of(&inode.object) {
            Ok(entries) => {
                self.bad_names.extend(bad_name(&entries).map(|problem| (number, problem)));
                let directories = entries.iter().filter(|entry| entry.kind == 4).count() as u64;
                self.directories.insert(number, (entries.len() as u64, directories));
                for entry in entries {
                    if entry.kind == 0 {
                        self.untyped.push((number, entry.object));
                    }
                    *self.names.entry(entry.object).or_default() += 1;
                    self.parents.insert(entry.object, number);
                }
            }
            Err(error) => self.unread(&error, number),
        }
    }

    /// What lies behind the end of a file was freed when it became shorter.
    fn check_end(&mut self, inode: &Inode<'_>) {
        let (dnode, size) = (&inode.object.dnode, inode.attributes.size);
        let last = dnode.max_block;
        let behind = last > 0 && last.saturating_mul(u64::from(dnode.block_size)) >= size;
        if behind && inode.object.pointer(last).is_ok_and(|bp| !bp.is_hole()) {
            let what = format!("the file ends at {size}, but has data in block {last}");
            self.problem(ProblemKind::File, what, inode.object.number);
        }
    }

    /// Counts the subdirectories that only their inodes tell.
    fn count_untyped(&mut self) {
        for (directory, object) in std::mem::take(&mut self.untyped) {
            let inode = self.inodes.get(&object);
            if inode.is_none() && self.incomplete {
                // It may have been a subdirectory or not.
                self.directories.remove(&directory);
            }
            if inode.is_some_and(|inode| inode.mode & 0o170_000 == 0o040_000)
                && let Some((_, subdirectories)) = self.directories.get_mut(&directory)
            {
                *subdirectories += 1;
            }
        }
    }

    fn check_links(&mut self, fs: &Filesystem<'_>, unlinked: &HashSet<u64>) {
        let mut found = Vec::new();
        let xattr_dirs: HashSet<u64> =
            self.inodes.values().filter_map(|inode| inode.xattr_dir).collect();
        let mut wrong = |number: u64, what: String| found.push((number, what));
        for (&number, inode) in &self.inodes {
            if unlinked.contains(&number) {
                continue;
            }
            let names = self.names.get(&number).copied().unwrap_or(0);
            let is_start = number == fs.root || Some(number) == fs.shares;
            let held = names > 0 || is_start || xattr_dirs.contains(&number);
            if !held && !self.incomplete {
                wrong(number, format!("object {number} has no name"));
                continue;
            }
            if let Some((entries, subdirectories)) = self.directories.get(&number) {
                if inode.links != 2 + subdirectories {
                    let is = 2 + subdirectories;
                    wrong(number, format!("the directory has {} links, not {is}", inode.links));
                }
                if inode.size != entries + 2 {
                    let is = entries + 2;
                    wrong(number, format!("the directory has size {}, not {is}", inode.size));
                }
                let parent = self.parents.get(&number).copied();
                if parent.is_some_and(|parent| parent != inode.parent) && names == 1 {
                    wrong(number, format!("the directory's parent is object {}", inode.parent));
                }
                if names > 1 {
                    wrong(number, format!("the directory has {names} names"));
                }
            } else if inode.mode & 0o170_000 != 0o040_000
                && inode.links != names
                && !self.incomplete
            {
                wrong(number, format!("it has {names} names and counts {} links", inode.links));
            }
        }
        for (&number, problem) in &self.bad_names {
            if !xattr_dirs.contains(&number) {
                wrong(number, problem.clone());
            }
        }
        for (&number, parent) in &self.parents {
            if !self.inodes.contains_key(&number) && !self.incomplete {
                let what = format!("an entry of object {parent} names object {number}: no inode");
                wrong(*parent, what);
            }
        }
        for (number, what) in found {
            self.problem(ProblemKind::File, what, number);
        }
    }

    fn check_accounts(&self, fs: &Filesystem<'_>, dataset: &Dataset, report: &mut Report) {
        let objects = fs.objset.flags & 2 != 0;
        let stored = fs.objset.accounting_by_kind();
        let kinds = [("user", 1), ("group", 1), ("project", 4)];
        for (((kind, flag), found), object) in kinds.iter().zip(&self.accounts).zip(stored) {
            if fs.objset.flags & flag == 0 {
                continue;
            }
            let Some(object) = object else { continue };
            let entries = match zap::entries(&object) {
                Ok(entries) => entries,
                Err(error) => {
                    let files = vec![dataset.name.clone()];
                    report.problem(ProblemKind::Structure, error.to_string(), files);
                    continue;
                }
            };
            let mut told: BTreeMap<String, u64> = BTreeMap::new();
            for entry in entries {
                if let OwnedValue::U64(value) = entry.value {
                    told.insert(String::from_utf8_lossy(&entry.name).into_owned(), value);
                }
            }
            let keys: BTreeSet<&String> = told.keys().chain(found.keys()).collect();
            for key in keys.into_iter().filter(|key| objects || !key.starts_with("obj-")) {
                let value = |map: &BTreeMap<String, u64>| map.get(key).copied().unwrap_or(0);
                if value(&told) != value(found) {
                    let (told, found) = (value(&told), value(found));
                    let what = format!("{kind} {key} is charged {told}; there are {found}");
                    report.problem(ProblemKind::Accounting, what, vec![dataset.name.clone()]);
                }
            }
        }
    }
}
