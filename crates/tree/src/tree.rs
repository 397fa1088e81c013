//! The tree itself: inodes in an arena, directories that name them.

use alloc::collections::btree_map::Entry;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use thiserror::Error;

use crate::{Directory, Inode, Kind, Metadata};

/// Names an inode of one [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InodeId(u32);

impl InodeId {
    /// A dense number below [`Tree::inode_count`], for side tables.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Why a change to a tree, or a look-up, was refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TreeError {
    /// The name is empty, `.`, `..`, longer than 255 bytes, or has a slash or NUL.
    #[error("{0:?} is not a file name")]
    BadName(String),
    /// The name is taken.
    #[error("{0:?} exists already")]
    Exists(String),
    /// A path component is missing.
    #[error("{0:?} does not exist")]
    NotFound(String),
    /// A path component is not a directory.
    #[error("{0:?} is not a directory")]
    NotADirectory(String),
    /// Directories have exactly one name.
    #[error("{0:?} is a directory and cannot have a second name")]
    DirectoryLink(String),
    /// Too many symbolic links in a row.
    #[error("{0:?} leads through more than 40 symbolic links")]
    Loop(String),
    /// More than 2³² inodes.
    #[error("more than 4294967295 inodes")]
    Full,
}

/// A file-system tree. Every inode but the root has at least one name, unless it was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    inodes: Vec<Inode>,
    links: Vec<u32>,
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|part| !part.is_empty())
}

impl Tree {
    /// A tree with an empty root directory.
    pub fn new(root: Metadata) -> Self {
        let root = Inode { metadata: root, kind: Kind::Directory(Directory::default()) };
        Self { inodes: vec![root], links: vec![1] }
    }

    /// The root directory.
    pub fn root(&self) -> InodeId {
        InodeId(0)
    }

    /// Size of the arena; removed inodes keep their place.
    pub fn inode_count(&self) -> usize {
        self.inodes.len()
    }

    /// An inode of this tree.
    pub fn inode(&self, id: InodeId) -> &Inode {
        &self.inodes[id.index()]
    }

    /// The attributes of an inode, to change them.
    pub fn metadata_mut(&mut self, id: InodeId) -> &mut Metadata {
        &mut self.inodes[id.index()].metadata
    }

    /// Replaces the content of anything but a directory by anything but a directory.
    pub fn set_kind(&mut self, id: InodeId, kind: Kind) -> Result<(), TreeError> {
        let old = &mut self.inodes[id.index()].kind;
        if matches!(old, Kind::Directory(_)) || matches!(kind, Kind::Directory(_)) {
            return Err(TreeError::DirectoryLink(String::new()));
        }
        *old = kind;
        Ok(())
    }

    /// The directory `id`, if it is one.
    pub fn directory(&self, id: InodeId) -> Option<&Directory> {
        match &self.inode(id).kind {
            Kind::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    /// How many names an inode that is not a directory has.
    pub fn links(&self, id: InodeId) -> u32 {
        self.links[id.index()]
    }

    fn directory_mut(&mut self, id: InodeId) -> Option<&mut Directory> {
        match &mut self.inodes[id.index()].kind {
            Kind::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    fn add_entry(&mut self, parent: InodeId, name: &[u8], id: InodeId) -> Result<(), TreeError> {
        let bad = name.is_empty() || name.len() > 255 || name == b"." || name == b"..";
        if bad || name.contains(&b'/') || name.contains(&0) {
            return Err(TreeError::BadName(lossy(name)));
        }
        let directory =
            self.directory_mut(parent).ok_or_else(|| TreeError::NotADirectory(lossy(name)))?;
        match directory.entries.entry(name.into()) {
            Entry::Occupied(_) => Err(TreeError::Exists(lossy(name))),
            Entry::Vacant(entry) => {
                entry.insert(id);
                Ok(())
            }
        }
    }

    /// Adds a new inode under `name`. A directory must be empty.
    pub fn insert(
        &mut self,
        parent: InodeId,
        name: &[u8],
        inode: Inode,
    ) -> Result<InodeId, TreeError> {
        debug_assert!(!matches!(&inode.kind, Kind::Directory(d) if !d.is_empty()));
        let id = InodeId(u32::try_from(self.inodes.len()).map_err(|_| TreeError::Full)?);
        self.add_entry(parent, name, id)?;
        self.inodes.push(inode);
        self.links.push(1);
        Ok(id)
    }

    /// Gives an inode that is not a directory one more name.
    pub fn link(&mut self, parent: InodeId, name: &[u8], id: InodeId) -> Result<(), TreeError> {
        if self.directory(id).is_some() {
            return Err(TreeError::DirectoryLink(lossy(name)));
        }
        self.add_entry(parent, name, id)?;
        self.links[id.index()] += 1;
        Ok(())
    }

    /// Removes a name, and with a directory everything below it.
    pub fn remove(&mut self, parent: InodeId, name: &[u8]) -> Result<(), TreeError> {
        let directory =
            self.directory_mut(parent).ok_or_else(|| TreeError::NotADirectory(lossy(name)))?;
        let id = directory.entries.remove(name).ok_or_else(|| TreeError::NotFound(lossy(name)))?;
        let mut gone = vec![id];
        while let Some(id) = gone.pop() {
            self.links[id.index()] -= 1;
            if let Some(directory) = self.directory_mut(id) {
                gone.extend(core::mem::take(&mut directory.entries).into_values());
            }
        }
        Ok(())
    }

    /// The inode at `path`; symbolic links are not followed.
    pub fn get(&self, path: impl AsRef<[u8]>) -> Option<InodeId> {
        components(path.as_ref()).try_fold(self.root(), |id, name| self.directory(id)?.get(name))
    }

    /// The inode at `path` as a process chrooted into the tree would find it: symbolic links are
    /// followed, the last one too, and `..` never leaves the root.
    pub fn resolve(&self, path: impl AsRef<[u8]>) -> Result<InodeId, TreeError> {
        let path = path.as_ref();
        let mut todo: Vec<&[u8]> = components(path).collect();
        todo.reverse();
        let mut at = vec![self.root()];
        let mut followed = 0;
        while let Some(name) = todo.pop() {
            let here = at[at.len() - 1];
            let directory =
                self.directory(here).ok_or_else(|| TreeError::NotADirectory(lossy(path)))?;
            match name {
                b"." => continue,
                b".." => {
                    if at.len() > 1 {
                        at.pop();
                    }
                    continue;
                }
                _ => {}
            }
            let id = directory.get(name).ok_or_else(|| TreeError::NotFound(lossy(path)))?;
            match &self.inode(id).kind {
                Kind::Symlink(target) => {
                    followed += 1;
                    if followed > 40 {
                        return Err(TreeError::Loop(lossy(path)));
                    }
                    if target.first() == Some(&b'/') {
                        at.truncate(1);
                    }
                    let start = todo.len();
                    todo.extend(components(target));
                    todo[start..].reverse();
                }
                _ => at.push(id),
            }
        }
        Ok(at[at.len() - 1])
    }

    /// The directory at `path`, symbolic links followed; missing directories are made with
    /// `metadata`.
    pub fn make_directories(
        &mut self,
        path: impl AsRef<[u8]>,
        metadata: &Metadata,
    ) -> Result<InodeId, TreeError> {
        let path = path.as_ref();
        let mut at = self.root();
        let mut done: Vec<u8> = Vec::new();
        for name in components(path) {
            done.push(b'/');
            done.extend_from_slice(name);
            at = match self.resolve(&done) {
                Ok(id) => id,
                Err(TreeError::NotFound(_)) => {
                    let kind = Kind::Directory(Directory::default());
                    self.insert(at, name, Inode { metadata: metadata.clone(), kind })?
                }
                Err(error) => return Err(error),
            };
        }
        if self.directory(at).is_none() {
            return Err(TreeError::NotADirectory(lossy(path)));
        }
        Ok(at)
    }

    /// Every name of the tree, the root first (with an empty path), each directory before what is
    /// in it, siblings in order of their names' bytes.
    pub fn walk(&self) -> Walk<'_> {
        Walk { tree: self, todo: vec![(Vec::new(), self.root())] }
    }

    /// Bytes of all regular files, without holes, each inode once.
    pub fn data_bytes(&self) -> u64 {
        let mut seen = vec![false; self.inode_count()];
        let mut total = 0;
        for entry in self.walk() {
            if let Kind::File(file) = &entry.inode.kind
                && !core::mem::replace(&mut seen[entry.id.index()], true)
            {
                total += file.data_size();
            }
        }
        total
    }
}

/// Iterator of [`Tree::walk`].
#[derive(Debug)]
pub struct Walk<'a> {
    tree: &'a Tree,
    todo: Vec<(Vec<u8>, InodeId)>,
}

/// One name found by [`Tree::walk`].
#[derive(Debug, Clone)]
pub struct WalkEntry<'a> {
    /// Path from the root, without a leading slash.
    pub path: Vec<u8>,
    /// The inode's number.
    pub id: InodeId,
    /// The inode.
    pub inode: &'a Inode,
}

impl<'a> Iterator for Walk<'a> {
    type Item = WalkEntry<'a>;

    fn next(&mut self) -> Option<WalkEntry<'a>> {
        let (path, id) = self.todo.pop()?;
        let inode = self.tree.inode(id);
        if let Kind::Directory(directory) = &inode.kind {
            for (name, &child) in directory.entries.iter().rev() {
                let mut below = path.clone();
                if !below.is_empty() {
                    below.push(b'/');
                }
                below.extend_from_slice(name);
                self.todo.push((below, child));
            }
        }
        Some(WalkEntry { path, id, inode })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> Inode {
        Inode { metadata: Metadata::default(), kind: Kind::Directory(Directory::default()) }
    }

    fn symlink(target: &str) -> Inode {
        Inode { metadata: Metadata::default(), kind: Kind::Symlink(target.as_bytes().into()) }
    }

    #[test]
    fn links_resolve_as_in_a_chroot() {
        let mut tree = Tree::new(Metadata::default());
        let usr = tree.insert(tree.root(), b"usr", directory()).unwrap();
        let lib = tree.insert(usr, b"lib", directory()).unwrap();
        tree.insert(tree.root(), b"lib", symlink("usr/lib")).unwrap();
        tree.insert(lib, b"up", symlink("../../../../usr")).unwrap();
        tree.insert(lib, b"abs", symlink("/lib/up/lib")).unwrap();
        tree.insert(lib, b"loop", symlink("loop")).unwrap();
        assert_eq!(tree.resolve("lib"), Ok(lib));
        assert_eq!(tree.resolve("/lib/abs/up"), Ok(usr));
        assert_eq!(tree.resolve("lib/loop"), Err(TreeError::Loop("lib/loop".into())));
        assert_eq!(tree.resolve("lib/nothing"), Err(TreeError::NotFound("lib/nothing".into())));
        let made = tree.make_directories("lib/a/b", &Metadata::default()).unwrap();
        assert_eq!(tree.get("usr/lib/a/b"), Some(made));
    }

    #[test]
    fn removing_drops_links_below() {
        let mut tree = Tree::new(Metadata::default());
        let a = tree.insert(tree.root(), b"a", directory()).unwrap();
        let link = tree.insert(a, b"x", symlink("t")).unwrap();
        tree.link(tree.root(), b"y", link).unwrap();
        assert_eq!(tree.links(link), 2);
        tree.remove(tree.root(), b"a").unwrap();
        assert_eq!(tree.links(link), 1);
        let paths: Vec<_> = tree.walk().map(|entry| entry.path).collect();
        assert_eq!(paths, [b"".to_vec(), b"y".to_vec()]);
    }

    #[test]
    fn names_are_checked() {
        let mut tree = Tree::new(Metadata::default());
        for name in ["", ".", "..", "a/b", "a\0"] {
            let result = tree.insert(tree.root(), name.as_bytes(), directory());
            assert_eq!(result, Err(TreeError::BadName(name.into())));
        }
        assert!(tree.insert(tree.root(), &[b'n'; 256], directory()).is_err());
        tree.insert(tree.root(), &[b'n'; 255], directory()).unwrap();
    }
}
