//! Which object each inode of a dataset becomes, decided before anything is written.
//!
//! Objects are numbered in the order in which they are written: a directory before what is in it,
//! siblings by name. Numbers known beforehand let every dnode be finished in one pass.

use std::collections::{HashMap, HashSet};

use tree::{InodeId, Kind, Tree};

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
    /// The first number that is free.
    pub next: u64,
}

impl Numbering {
    /// Numbers the tree below `root` from `first` on. Directories in `mounts` stay empty: their
    /// content belongs to another dataset.
    pub(crate) fn new(
        tree: &Tree,
        root: InodeId,
        mounts: &HashSet<InodeId>,
        first: u32,
    ) -> Option<Self> {
        let count = tree.inode_count();
        let mut numbering = Self {
            order: Vec::new(),
            objects: vec![0; count],
            parents: vec![0; count],
            links: vec![0; count],
            attribute_objects: HashMap::new(),
            next: u64::from(first),
        };
        let mut todo = vec![(root, 0)];
        while let Some((id, parent)) = todo.pop() {
            numbering.links[id.index()] += 1;
            if numbering.objects[id.index()] != 0 {
                continue;
            }
            let object = u32::try_from(numbering.next).ok()?;
            numbering.objects[id.index()] = object;
            numbering.parents[id.index()] = if id == root { object } else { parent };
            numbering.order.push(id);
            let inode = tree.inode(id);
            let mut objects = 1;
            if !inode.metadata.xattrs.is_empty() {
                let outside = pack_xattrs(&inode.metadata.xattrs).directory.len() as u32;
                if outside > 0 {
                    numbering.attribute_objects.insert(id, outside + 1);
                    objects += outside + 1;
                }
            }
            numbering.next += u64::from(objects);
            if let Kind::Directory(directory) = &inode.kind
                && !mounts.contains(&id)
            {
                let start = todo.len();
                todo.extend(directory.iter().map(|(_, child)| (child, object)));
                todo[start..].reverse();
            }
        }
        Some(numbering)
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

    /// The object of an inode's extended-attribute directory, when it needs one.
    pub(crate) fn attribute_directory(&self, id: InodeId) -> Option<u64> {
        self.attribute_objects.contains_key(&id).then(|| self.object(id) + 1)
    }
}
