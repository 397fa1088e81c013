//! What is damaged has names: those of all links of a file, wherever its dnode is.
//!
//! A file with one link is found by climbing from it to the root. For others, and for what has no inode
//! any more, all directories of the file system are read: that costs as much as looking at its files does,
//! and only where something is wrong.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::read::{Dataset, DatasetKind, Filesystem, Inode, InodeKind, Pool};

/// Of more objects than this the names are not looked for one by one.
const MOST_CLIMBED: usize = 64;
/// Most names of one dataset that are kept.
const MAX_NAMES: usize = 100_000;
/// More directories in each other than any path can name.
const MAX_DEPTH: usize = 1024;

/// What of a dataset is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// All of it, or what is of no file in particular.
    Whole,
    /// One object.
    Object(u64),
    /// The objects whose dnodes lie in one block: the first, the last, and how many there are.
    Objects(u64, u64, u64),
}

impl Part {
    /// What it is called without a path.
    pub(super) fn of(self, dataset: &str) -> String {
        match self {
            Self::Whole => dataset.to_owned(),
            Self::Object(number) => format!("{dataset}: object {number}"),
            Self::Objects(first, last, count) => {
                format!("{dataset}: {count} of the objects {first} to {last}")
            }
        }
    }
}

/// What parts of a dataset are called.
pub(super) type Names = BTreeMap<Part, Vec<String>>;

/// The names of parts of a dataset.
pub(super) fn of_dataset(pool: &Pool, dataset: &Dataset, parts: &BTreeSet<Part>) -> Names {
    // Without its key, or where what it begins with is lost, no object has a path; in a volume none ever
    // has.
    let without = |part: &Part| match dataset.kind {
        DatasetKind::Volume => dataset.name.clone(),
        _ => part.of(&dataset.name),
    };
    match pool.filesystem(dataset) {
        Ok(fs) => of_filesystem(&fs, dataset, parts),
        Err(_) => parts.iter().map(|part| (*part, vec![without(part)])).collect(),
    }
}

/// The same of a file system that is open.
pub(super) fn of_filesystem(
    fs: &Filesystem<'_>,
    dataset: &Dataset,
    parts: &BTreeSet<Part>,
) -> Names {
    let mut paths = Paths { fs, dataset: &dataset.name, known: HashMap::new() };
    let (mut names, mut wanted) = (Names::new(), Wanted::default());
    for part in parts {
        match *part {
            Part::Whole => drop(names.insert(*part, vec![dataset.name.clone()])),
            Part::Object(number) => {
                let few = parts.len() <= MOST_CLIMBED;
                match few.then(|| paths.of_only_link(number)).flatten() {
                    Some(path) => drop(names.insert(*part, vec![path])),
                    None => drop(wanted.objects.insert(number)),
                }
            }
            Part::Objects(first, last, _) => wanted.ranges.push((first, last)),
        }
    }
    let links = wanted.links(fs);
    for part in parts {
        let (first, last, count) = match *part {
            Part::Object(number) if !names.contains_key(part) => (number, number, 1),
            Part::Objects(first, last, count) => (first, last, count),
            _ => continue,
        };
        let found = links.range(first..=last);
        let nameless = count.saturating_sub(found.clone().count() as u64);
        let found = found.flat_map(|(_, links)| links);
        let mut found: Vec<String> = found.map(|link| paths.of_link(link)).collect();
        found.sort();
        if nameless > 0 {
            found.push(match part {
                Part::Objects(..) => Part::Objects(first, last, nameless).of(&dataset.name),
                _ => part.of(&dataset.name),
            });
        }
        names.insert(*part, found);
    }
    names
}

/// A name of an object, and the object that has it: a directory, or what extended attributes are of.
struct Link {
    parent: u64,
    name: Box<[u8]>,
}

/// Objects whose links are looked for.
#[derive(Default)]
struct Wanted {
    objects: HashSet<u64>,
    ranges: Vec<(u64, u64)>,
}

impl Wanted {
    fn has(&self, object: u64) -> bool {
        self.objects.contains(&object)
            || self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&object))
    }

    /// Reads all directories.
    fn links(&self, fs: &Filesystem<'_>) -> BTreeMap<u64, Vec<Link>> {
        let mut links: BTreeMap<u64, Vec<Link>> = BTreeMap::new();
        if self.objects.is_empty() && self.ranges.is_empty() {
            return links;
        }
        let mut count = 0;
        let mut note = |object: u64, parent: u64, name: Box<[u8]>| {
            if self.has(object) && count < MAX_NAMES {
                links.entry(object).or_default().push(Link { parent, name });
                count += 1;
            }
        };
        let inodes = fs.objset.objects().filter_map(Result::ok).filter(Filesystem::is_inode);
        for inode in inodes.filter_map(|object| fs.inode_of(object).ok()) {
            let number = inode.object.number;
            if let Some(xattrs) = inode.attributes.xattr_dir {
                note(xattrs, number, XATTRS.into());
            }
            if inode.kind() == InodeKind::Directory {
                for entry in fs.readable_names(&inode).0 {
                    note(entry.object, number, entry.name);
                }
            }
        }
        links
    }
}

/// What the directory of a file's extended attributes is called.
const XATTRS: &[u8] = b"<xattr>";

/// Paths of objects, `DATASET:/PATH`.
struct Paths<'f, 'p> {
    fs: &'f Filesystem<'p>,
    dataset: &'f str,
    known: HashMap<u64, String>,
}

impl<'p> Paths<'_, 'p> {
    /// The path of an object that has no other.
    fn of_only_link(&mut self, object: u64) -> Option<String> {
        if object == self.fs.root {
            return Some(format!("{}:/", self.dataset));
        }
        let inode = self.fs.inode(object).ok()?;
        let only = inode.kind() == InodeKind::Directory || inode.attributes.links < 2;
        only.then(|| self.climb(object)).flatten()
    }

    fn of_link(&mut self, link: &Link) -> String {
        let parent = self.climb(link.parent);
        // The directory may be one that was lost in its turn.
        let parent = parent.unwrap_or_else(|| Part::Object(link.parent).of(self.dataset));
        format!("{parent}/{}", String::from_utf8_lossy(&link.name))
    }

    /// From an object to the root, which is called `DATASET:` here.
    fn climb(&mut self, object: u64) -> Option<String> {
        let mut names: Vec<(u64, Box<[u8]>)> = Vec::new();
        let mut at = object;
        let mut path = loop {
            if at == self.fs.root {
                break format!("{}:", self.dataset);
            }
            if let Some(known) = self.known.get(&at) {
                break known.clone();
            }
            if names.len() >= MAX_DEPTH {
                return None;
            }
            let parent = self.fs.inode(at).ok()?.attributes.parent;
            names.push((at, self.name_in(&self.fs.inode(parent).ok()?, at)?));
            at = parent;
        };
        for (object, name) in names.into_iter().rev() {
            path = format!("{path}/{}", String::from_utf8_lossy(&name));
            self.known.insert(object, path.clone());
        }
        Some(path)
    }

    fn name_in(&self, parent: &Inode<'p>, object: u64) -> Option<Box<[u8]>> {
        if parent.attributes.xattr_dir == Some(object) {
            return Some(XATTRS.into());
        }
        let (entries, _) = self.fs.readable_names(parent);
        entries.into_iter().find(|entry| entry.object == object).map(|entry| entry.name)
    }
}
