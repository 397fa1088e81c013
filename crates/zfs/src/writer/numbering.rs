//! Which object each inode of a dataset becomes, decided before anything is written.
//!
//! Objects are numbered in the order in which they are written: a directory before what is in it,
//! siblings by name. Numbers known beforehand let every dnode be finished in one pass. In a later
//! state of a dataset, inodes keep the number they had, and new ones get new numbers.

use std::collections::{HashMap, HashSet};

use tree::{Inode, InodeId, Kind, Tree};

use super::history::Known;
use super::inode::dirent_type;
use crate::dnode::MAX_SLOTS;
use crate::sa::pack_xattrs;

/// The objects of one dataset's tree.
#[derive(Debug, Default)]
pub(crate) struct Numbering {
    /// Inodes in the order of their objects.
    pub order: Vec<InodeId>,
    /// Object number by inode, 0 for inodes of other datasets.
    objects: Vec<u32>,
    /// Object number of the directory that holds an inode's first name.
    parents: Vec<u32>,
    /// Names that an inode has inside this dataset.
    links: Vec<u32>,
    /// Objects that follow an inode's own: its extended-attribute directory and what is in it.
    attribute_objects: HashMap<InodeId, u32>,
    /// Inodes whose dnode takes more than one slot.
    slots: HashMap<InodeId, u32>,
    /// Transaction groups in which inodes of earlier states were made.
    generations: HashMap<InodeId, u64>,
    /// The first number that is free.
    pub next: u64,
    /// Where histories are written: all inodes by path.
    pub paths: HashMap<Vec<u8>, Known>,
}

/// How to number.
pub(crate) struct Plan<'a> {
    /// The first free number.
    pub first: u64,
    /// How many slots the dnode of an inode takes that has an attribute directory or not.
    pub slots: &'a dyn Fn(&Inode, bool) -> u32,
    /// The largest blocks of files.
    pub record_size: u32,
    /// Transaction group in which new inodes are made, if paths are to be remembered.
    pub remember: Option<u64>,
    /// The inodes of the state before.
    pub past: Option<&'a HashMap<Vec<u8>, Known>>,
}

/// The size of the blocks of a file of `size` bytes.
pub(crate) fn block_size(size: u64, record_size: u32) -> u64 {
    size.min(record_size.into()).next_multiple_of(512).max(512)
}

impl Numbering {
    /// Numbers the tree below `root`. Directories in `mounts` stay empty: their content belongs to
    /// another dataset.
    pub(crate) fn new(
        tree: &Tree,
        root: InodeId,
        mounts: &HashSet<InodeId>,
        plan: &Plan<'_>,
    ) -> Option<Self> {
        let count = tree.inode_count();
        let mut numbering = Self {
            objects: vec![0; count],
            parents: vec![0; count],
            links: vec![0; count],
            next: plan.first,
            ..Self::default()
        };
        let mut taken = HashSet::new();
        let mut todo = vec![(root, 0, Vec::new())];
        while let Some((id, parent, path)) = todo.pop() {
            numbering.links[id.index()] += 1;
            if numbering.objects[id.index()] != 0 {
                continue;
            }
            let inode = tree.inode(id);
            let mut attributes = 0;
            if !inode.metadata.xattrs.is_empty() {
                let outside = pack_xattrs(&inode.metadata.xattrs).directory.len() as u32;
                if outside > 0 {
                    attributes = outside + 1;
                    numbering.attribute_objects.insert(id, attributes);
                }
            }
            let slots = (plan.slots)(inode, attributes > 0).clamp(1, MAX_SLOTS);
            let block_size = match &inode.kind {
                Kind::File(file) => block_size(file.size, plan.record_size),
                _ => 0,
            };
            // A file whose blocks have another size is another one: receivers of a stream take the
            // same one for changed only where records say so.
            let before = plan.past.and_then(|past| past.get(&path)).filter(|known| {
                known.kind == dirent_type(&inode.kind)
                    && (known.attributes, known.slots) == (attributes, slots)
                    && known.block_size == block_size
            });
            let object = match before {
                Some(known) if taken.insert(known.object) => {
                    numbering.generations.insert(id, known.generation);
                    known.object
                }
                _ => numbering.give(slots, attributes)?,
            };
            if slots > 1 {
                numbering.slots.insert(id, slots);
            }
            numbering.objects[id.index()] = object;
            numbering.parents[id.index()] = if id == root { object } else { parent };
            numbering.order.push(id);
            if let Kind::Directory(directory) = &inode.kind
                && !mounts.contains(&id)
            {
                let start = todo.len();
                let below = |name: &[u8]| match plan.remember {
                    Some(_) => [&path, &b"/"[..], name].concat(),
                    None => Vec::new(),
                };
                todo.extend(directory.iter().map(|(name, child)| (child, object, below(name))));
                todo[start..].reverse();
            }
            if let Some(birth) = plan.remember {
                let generation = numbering.generations.get(&id).copied().unwrap_or(birth);
                let kind = dirent_type(&inode.kind);
                let known = Known { object, attributes, slots, generation, kind, block_size };
                numbering.paths.insert(path, known);
            }
        }
        if plan.past.is_some() {
            let objects = &numbering.objects;
            numbering.order.sort_by_key(|id| objects[id.index()]);
        }
        Some(numbering)
    }

    /// A new number for a dnode of `slots` slots, which lie in one block, and for what follows it.
    fn give(&mut self, slots: u32, attributes: u32) -> Option<u32> {
        let block = u64::from(MAX_SLOTS);
        if self.next % block + u64::from(slots) > block {
            self.next = self.next.next_multiple_of(block);
        }
        let object = u32::try_from(self.next).ok()?;
        self.next += u64::from(slots) + u64::from(attributes);
        Some(object)
    }

    /// The object of an inode of this dataset.
    pub(crate) fn object(&self, id: InodeId) -> u64 {
        u64::from(self.objects[id.index()])
    }

    /// The object of the directory an inode lies in; the root lies in itself.
    pub(crate) fn parent(&self, id: InodeId) -> u64 {
        u64::from(self.parents[id.index()])
    }

    /// How many names an inode that is not a directory has in this dataset.
    pub(crate) fn links(&self, id: InodeId) -> u64 {
        u64::from(self.links[id.index()])
    }

    /// Slots of an inode's dnode.
    pub(crate) fn slots(&self, id: InodeId) -> u32 {
        self.slots.get(&id).copied().unwrap_or(1)
    }

    /// The transaction group in which an inode was made, if that was in an earlier state.
    pub(crate) fn generation(&self, id: InodeId) -> Option<u64> {
        self.generations.get(&id).copied()
    }

    /// The object of an inode's extended-attribute directory, when it needs one.
    pub(crate) fn attribute_directory(&self, id: InodeId) -> Option<u64> {
        let after = u64::from(self.slots(id));
        self.attribute_objects.contains_key(&id).then(|| self.object(id) + after)
    }
}
