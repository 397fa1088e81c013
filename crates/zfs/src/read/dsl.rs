//! Datasets: file systems, volumes, snapshots, clones, bookmarks.
//!
//! Source: OpenZFS `include/sys/dsl_dir.h`, `include/sys/dsl_dataset.h`,
//! `include/sys/dsl_bookmark.h`.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::fmt;
use hashbrown::HashSet;

use super::dnode::u64_at;
use super::objset::{Objset, ObjsetKind};
use super::property::{self, Property};
use super::{Filesystem, Object, Pool, ReadError, zap};
use crate::blkptr::BlockPointer;
use crate::crypt::KeyError;
use crate::dnode::{object_type, volume_object};
use crate::prelude::*;
use crate::zap::OwnedValue;

/// OpenZFS allows 50 levels.
const MAX_DEPTH: usize = 64;
const DIR_SIZE: usize = 256;
const DATASET_SIZE: usize = 320;
const DATASET_BP_AT: usize = 128;
const FLAG_INCONSISTENT: u64 = 1;
const FLAG_DEFER_DESTROY: u64 = 8;
/// `DS_FLAG_CI_DATASET`.
const FLAG_IGNORES_CASE: u64 = 1 << 16;

/// What a dataset is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DatasetKind {
    /// A file system.
    Filesystem,
    /// A volume.
    Volume,
    /// Neither, or its object set cannot be read.
    Unknown,
}

/// A file system, volume or snapshot. Sizes are in bytes.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// Full name, with `@` for snapshots.
    pub name: String,
    /// Number of its object in the MOS.
    pub object: u64,
    /// Number of its directory's object in the MOS.
    pub directory: u64,
    /// What it is.
    pub kind: DatasetKind,
    /// Whether it is a snapshot.
    pub is_snapshot: bool,
    /// Its GUID.
    pub guid: u64,
    /// When it was made, in seconds since 1970.
    pub creation: u64,
    /// Transaction group in which it was made.
    pub creation_txg: u64,
    /// Space that it takes, with all below it; of a snapshot: that would be freed with it.
    pub used: u64,
    /// Space that its content takes.
    pub referenced: u64,
    /// The same before compression.
    pub logical_referenced: u64,
    /// Space as `zfs list -o space` divides it: dataset, snapshots, children, reservation.
    pub used_by: [u64; 4],
    /// Name of the snapshot it is a clone of.
    pub origin: Option<String>,
    /// Whether it is half received or half destroyed.
    pub inconsistent: bool,
    /// Whether it is to be destroyed when it has no clones and holds any more.
    pub defer_destroy: bool,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// Size of a volume.
    pub volume_size: Option<u64>,
    /// Transaction group of the snapshot before it: blocks born later are its own.
    pub(crate) previous_txg: u64,
    /// Whether it was written without regard to case.
    pub(crate) ignores_case: bool,
    pub(crate) bp: BlockPointer,
    pub(crate) origin_object: u64,
    pub(crate) properties_object: u64,
}

impl Dataset {
    /// Whether it has an object set.
    pub fn has_content(&self) -> bool {
        !self.bp.is_hole()
    }

    /// What tells its content from that of others.
    pub(crate) fn root_words(&self) -> [u64; 16] {
        *self.bp.words()
    }
}

/// A bookmark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bookmark {
    /// Full name, with `#`.
    pub name: String,
    /// GUID of the snapshot it was made from.
    pub guid: u64,
    /// When that was made, in seconds since 1970.
    pub creation: u64,
    /// In which transaction group.
    pub creation_txg: u64,
}

/// A dataset that cannot be read, or something of it.
#[derive(Debug, Clone)]
pub struct Unreadable {
    /// Name of the dataset or snapshot; `DATASET@` for the list of its snapshots, `DATASET#` for that of
    /// its bookmarks. What is below such a dataset is not known either.
    pub name: String,
    error: Arc<ReadError>,
}

impl Unreadable {
    /// As the error of whoever needs it.
    pub fn error(&self) -> ReadError {
        ReadError::Dataset { what: self.what(), source: self.error.clone() }
    }

    /// The dataset that it is, or is of.
    pub fn dataset(&self) -> &str {
        self.name.split(['@', '#']).next().unwrap_or_default()
    }

    fn what(&self) -> String {
        let (dataset, name) = (self.dataset(), &self.name);
        match name.get(dataset.len()..).unwrap_or_default() {
            "" => format!("dataset {name}"),
            "@" => format!("the snapshots of {dataset}"),
            "#" => format!("the bookmarks of {dataset}"),
            _ => format!("snapshot {name}"),
        }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what(), self.error)
    }
}

/// All datasets of a pool.
#[derive(Debug, Clone, Default)]
pub struct Datasets {
    /// Parents before children, each followed by its snapshots from the oldest on.
    pub datasets: Vec<Dataset>,
    /// All bookmarks.
    pub bookmarks: Vec<Bookmark>,
    /// What could not be read.
    pub errors: Vec<Unreadable>,
    /// Parent of each directory by their objects, with its properties.
    dirs: BTreeMap<u64, Dir>,
}

#[derive(Debug, Clone)]
struct Dir {
    name: String,
    parent: u64,
    properties: u64,
    quota: u64,
    reservation: u64,
    head: u64,
}

impl Datasets {
    /// The dataset of that name.
    pub fn get(&self, name: &str) -> Option<&Dataset> {
        self.datasets.iter().find(|dataset| dataset.name == name)
    }

    /// Why the dataset or snapshot of that name is not known, if it may be in the pool all the same.
    pub fn failure(&self, name: &str) -> Option<&Unreadable> {
        let (dataset, is_snapshot) =
            name.split_once('@').map_or((name, false), |(dataset, _)| (dataset, true));
        self.errors.iter().find(|failed| {
            let is_in = |rest: &str| rest.is_empty() || rest.starts_with('/');
            match failed.name.strip_prefix(failed.dataset()) {
                Some("") => dataset.strip_prefix(&*failed.name).is_some_and(is_in),
                Some("@") => is_snapshot && dataset == failed.dataset(),
                _ => failed.name == name,
            }
        })
    }
}

struct Walk<'p> {
    mos: Objset<'p>,
    found: Datasets,
    seen: HashSet<u64>,
}

impl<'p> Walk<'p> {
    fn bonus(&self, number: u64, size: usize) -> Result<Object<'p>, ReadError> {
        let object = self.mos.object(number)?;
        if object.dnode.bonus.len() < size {
            return Err(object.damaged("its bonus area is too short"));
        }
        Ok(object)
    }

    fn fail(&mut self, name: String, error: ReadError) {
        self.found.errors.push(Unreadable { name, error: Arc::new(error) });
    }

    fn directory(&mut self, number: u64, name: &str, parent: u64, depth: usize) {
        if depth > MAX_DEPTH || !self.seen.insert(number) {
            let (what, why) = (format!("object {number}"), "nested too deeply, or in a circle");
            return self.fail(name.to_owned(), ReadError::damaged(what, why));
        }
        let children = match self.read_directory(number, name, parent) {
            Ok(children) => children,
            Err(error) => return self.fail(name.to_owned(), error),
        };
        for (child, object) in children {
            // Datasets of the pool's own: $MOS, $FREE, $ORIGIN.
            if !child.starts_with('$') {
                self.directory(object, &format!("{name}/{child}"), number, depth + 1);
            }
        }
    }

    fn read_directory(
        &mut self,
        number: u64,
        name: &str,
        parent: u64,
    ) -> Result<Vec<(String, u64)>, ReadError> {
        let directory = self.bonus(number, DIR_SIZE)?;
        let bonus = &directory.dnode.bonus;
        let word = |at: usize| u64_at(bonus, 8 * at);
        let (head, children, properties) = (word(1), word(4), word(10));
        let dir = Dir {
            name: name.to_owned(),
            parent,
            properties,
            quota: word(8),
            reservation: word(9),
            head,
        };
        self.found.dirs.insert(number, dir);
        let is_zap = directory.dnode.object_type == object_type::ZAP_METADATA;
        let encrypted = is_zap && zap::number(&directory, b"com.datto:crypto_key_obj")?.is_some();
        // Whatever is wrong with the dataset itself, those below may be well.
        if head != 0 {
            match self.dataset(head, name.to_owned()) {
                Ok(mut dataset) => {
                    dataset.used = word(5);
                    let children = word(15).saturating_add(word(16));
                    dataset.used_by = [word(13), word(14), children, word(17)];
                    dataset.origin_object = word(3);
                    dataset.properties_object = properties;
                    dataset.encrypted = encrypted;
                    self.head(dataset);
                }
                Err(error) => self.fail(name.to_owned(), error),
            }
        }
        let mut names = Vec::new();
        if children != 0 {
            for entry in zap::entries(&self.mos.object(children)?)? {
                if let OwnedValue::U64(object) = entry.value {
                    names.push((String::from_utf8_lossy(&entry.name).into_owned(), object));
                }
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Adds a dataset, its snapshots and its bookmarks.
    /// A dataset with its snapshots and bookmarks.
    fn head(&mut self, dataset: Dataset) {
        self.found.datasets.push(dataset.clone());
        if let Err(error) = self.snapshots(&dataset) {
            self.fail(format!("{}@", dataset.name), error);
        }
        if let Err(error) = self.bookmarks(&dataset) {
            self.fail(format!("{}#", dataset.name), error);
        }
    }

    fn snapshots(&mut self, head: &Dataset) -> Result<(), ReadError> {
        let object = self.bonus(head.object, DATASET_SIZE)?;
        let names = u64_at(&object.dnode.bonus, 32);
        let mut snapshots = Vec::new();
        if names != 0 {
            for entry in zap::entries(&self.mos.object(names)?)? {
                let OwnedValue::U64(number) = entry.value else { continue };
                let name = format!("{}@{}", head.name, String::from_utf8_lossy(&entry.name));
                match self.dataset(number, name.clone()) {
                    Ok(snapshot) => {
                        snapshots.push(Dataset { encrypted: head.encrypted, ..snapshot })
                    }
                    Err(error) => self.fail(name, error),
                }
            }
        }
        snapshots.sort_by_key(|snapshot| (snapshot.creation_txg, snapshot.object));
        self.found.datasets.extend(snapshots);
        Ok(())
    }

    fn bookmarks(&mut self, head: &Dataset) -> Result<(), ReadError> {
        let object = self.bonus(head.object, DATASET_SIZE)?;
        if object.dnode.object_type == object_type::ZAP_METADATA
            && let Some(list) = zap::number(&object, b"com.delphix:bookmarks")?
        {
            let mut bookmarks = Vec::new();
            for entry in zap::entries(&self.mos.object(list)?)? {
                let OwnedValue::U64s(words) = entry.value else { continue };
                let word = |at: usize| words.get(at).copied().unwrap_or(0);
                bookmarks.push(Bookmark {
                    name: format!("{}#{}", head.name, String::from_utf8_lossy(&entry.name)),
                    guid: word(0),
                    creation_txg: word(1),
                    creation: word(2),
                });
            }
            bookmarks.sort_by(|a, b| (a.creation_txg, &a.name).cmp(&(b.creation_txg, &b.name)));
            self.found.bookmarks.extend(bookmarks);
        }
        Ok(())
    }

    fn dataset(&self, number: u64, name: String) -> Result<Dataset, ReadError> {
        let object = self.bonus(number, DATASET_SIZE)?;
        let bonus = &object.dnode.bonus;
        let word = |at: usize| u64_at(bonus, 8 * at);
        let bp = bonus.get(DATASET_BP_AT..).and_then(BlockPointer::from_bytes);
        let bp = bp.unwrap_or(BlockPointer::HOLE);
        // A dataset that was never written to has no object set yet.
        let objset = (!bp.is_hole())
            .then(|| Objset::open(self.mos.source.blocks, name.as_str().into(), &bp));
        let kind = match &objset {
            // What libzpool creates, as `ztest` does, has no object at all until somebody makes it a file system.
            Some(Ok(objset))
                if objset.kind == ObjsetKind::Filesystem && objset.pointer.fill() > 0 =>
            {
                DatasetKind::Filesystem
            }
            Some(Ok(objset)) if objset.kind == ObjsetKind::Volume => DatasetKind::Volume,
            _ => DatasetKind::Unknown,
        };
        let volume_size = match (kind, &objset) {
            (DatasetKind::Volume, Some(Ok(objset))) => objset
                .object(volume_object::PROPERTIES)
                .and_then(|object| zap::number(&object, b"size"))
                .ok()
                .flatten(),
            _ => None,
        };
        let flags = word(15);
        Ok(Dataset {
            name,
            object: number,
            directory: word(0),
            kind,
            is_snapshot: word(4) == 0,
            guid: word(14),
            creation: word(6),
            creation_txg: word(7),
            used: word(12),
            referenced: word(9),
            logical_referenced: word(11),
            used_by: [0; 4],
            origin: None,
            inconsistent: flags & FLAG_INCONSISTENT != 0,
            defer_destroy: flags & FLAG_DEFER_DESTROY != 0,
            encrypted: false,
            volume_size,
            previous_txg: word(2),
            ignores_case: flags & FLAG_IGNORES_CASE != 0,
            bp,
            origin_object: 0,
            properties_object: word(33),
        })
    }
}

impl Pool {
    /// All datasets and bookmarks. What cannot be read is told in [`Datasets::errors`].
    pub fn datasets(&self) -> Result<Datasets, ReadError> {
        let mos = self.mos()?;
        let root = match self.directory.get(&b"root_dataset"[..]) {
            Some(OwnedValue::U64(number)) => *number,
            _ => return Err(ReadError::damaged("the object directory", "it has no root_dataset")),
        };
        let mut walk = Walk { mos, found: Datasets::default(), seen: HashSet::new() };
        walk.directory(root, &self.name, 0, 0);
        let mut found = walk.found;
        let names: BTreeMap<u64, String> =
            found.datasets.iter().map(|dataset| (dataset.object, dataset.name.clone())).collect();
        for dataset in &mut found.datasets {
            dataset.origin = names.get(&dataset.origin_object).cloned();
        }
        Ok(found)
    }

    /// The dataset or snapshot of that name.
    pub fn dataset(&self, name: &str) -> Result<Dataset, ReadError> {
        let datasets = self.datasets()?;
        match (datasets.get(name), datasets.failure(name)) {
            (Some(dataset), _) => Ok(dataset.clone()),
            (None, Some(failed)) => Err(failed.error()),
            (None, None) => Err(ReadError::NotFound { what: format!("dataset {name}") }),
        }
    }

    /// The object set of a dataset.
    pub fn objset(&self, dataset: &Dataset) -> Result<Objset<'_>, ReadError> {
        let name: Arc<str> = dataset.name.as_str().into();
        let mut keys = None;
        if dataset.encrypted && !self.keyring.is_empty() {
            let found = self.keyring.keys(&self.mos()?, dataset.directory);
            keys = found.map_err(|error| match error {
                KeyError::Read(error) => *error,
                error => {
                    ReadError::Keys { dataset: dataset.name.clone(), problem: error.to_string() }
                }
            })?;
        }
        Objset::open_with(&self.blocks, name, &dataset.bp, keys)
    }

    /// The same, of an encrypted dataset only what can be had without its keys.
    pub(crate) fn objset_without_keys(&self, dataset: &Dataset) -> Result<Objset<'_>, ReadError> {
        Objset::open(&self.blocks, dataset.name.as_str().into(), &dataset.bp)
    }

    /// The file system of a dataset.
    pub fn filesystem(&self, dataset: &Dataset) -> Result<Filesystem<'_>, ReadError> {
        Filesystem::open(self.objset(dataset)?)
    }

    /// The content of a volume: its object and its size in bytes.
    pub fn volume(&self, dataset: &Dataset) -> Result<(Object<'_>, u64), ReadError> {
        let size = dataset.volume_size.ok_or_else(|| ReadError::WrongKind {
            what: dataset.name.clone(),
            expected: "a volume",
        })?;
        Ok((self.objset(dataset)?.object(volume_object::DATA)?, size))
    }

    /// The properties of a dataset that are set on it or inherited, by name.
    pub fn properties(
        &self,
        datasets: &Datasets,
        dataset: &Dataset,
    ) -> Result<Vec<Property>, ReadError> {
        let mos = self.mos()?;
        let read = |number: u64| {
            if number == 0 { Ok(Vec::new()) } else { zap::entries(&mos.object(number)?) }
        };
        let mut properties = property::Collected::default();
        if dataset.is_snapshot {
            properties.add(&dataset.name, read(dataset.properties_object)?, true);
        }
        let mut at = dataset.directory;
        // Directories name their parents only once each, so this ends.
        while let Some(dir) = datasets.dirs.get(&at) {
            let own = !dataset.is_snapshot && dir.head == dataset.object;
            properties.add(&dir.name, read(dir.properties)?, own);
            if own {
                properties.size(&dir.name, "quota", dir.quota);
                properties.size(&dir.name, "reservation", dir.reservation);
                properties.size(&dir.name, "volsize", dataset.volume_size.unwrap_or(0));
            }
            at = dir.parent;
        }
        let mut properties = properties.finish();
        if !dataset.is_snapshot {
            properties.iter_mut().for_each(|property| property::below(property, &dataset.name));
        }
        Ok(properties)
    }
}
