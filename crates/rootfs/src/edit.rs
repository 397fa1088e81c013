//! Writing files and links into a tree.

use std::io::Read;

use tree::{
    Blobs, Directory, File, Inode, Kind, MemoryBlobs, Metadata, Timestamp, Tree, TreeError,
};

use crate::RootfsError;
use crate::glob::find;

/// A tree being changed: new content goes to `generated`, new inodes get `time` and belong to root.
pub(crate) struct Editor<'a> {
    pub tree: &'a mut Tree,
    pub generated: &'a mut MemoryBlobs,
    pub time: Timestamp,
}

impl Editor<'_> {
    fn metadata(&self, mode: u16) -> Metadata {
        Metadata { mode, mtime: self.time, ..Metadata::default() }
    }

    /// Puts `inode` at `path`, in place of any file there; missing directories are made.
    pub fn put(&mut self, path: &str, inode: Inode) -> Result<(), RootfsError> {
        let failed = |error| RootfsError::Tree { path: path.to_owned(), error };
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let metadata = self.metadata(0o755);
        let parent = self.tree.make_directories(parent, &metadata).map_err(failed)?;
        let old = self.tree.directory(parent).and_then(|directory| directory.get(name.as_bytes()));
        if let Some(old) = old {
            if self.tree.directory(old).is_some() {
                return Err(failed(TreeError::Exists(path.to_owned())));
            }
            // Not `set_kind`: other names of the old inode keep what they have.
            self.tree.remove(parent, name.as_bytes()).map_err(failed)?;
        }
        self.tree.insert(parent, name.as_bytes(), inode).map_err(failed)?;
        Ok(())
    }

    /// Writes a regular file.
    pub fn file(&mut self, path: &str, mode: u16, content: &str) -> Result<(), RootfsError> {
        self.bytes(path, mode, content.as_bytes())
    }

    /// Writes a regular file of any content.
    pub fn bytes(&mut self, path: &str, mode: u16, content: &[u8]) -> Result<(), RootfsError> {
        let blob = self.generated.insert(content);
        let kind = Kind::File(File::dense(content.len() as u64, blob));
        self.put(path, Inode { metadata: self.metadata(mode), kind })
    }

    /// Changes the text of a file, found as the machine would find it; owner and permissions stay. A
    /// file that is not there is made for root with `mode`.
    pub fn change(&mut self, path: &str, mode: u16, content: &str) -> Result<(), RootfsError> {
        let Ok(id) = self.tree.resolve(path) else { return self.file(path, mode, content) };
        let blob = self.generated.insert(content.as_bytes());
        let kind = Kind::File(File::dense(content.len() as u64, blob));
        let failed = |error| RootfsError::Tree { path: path.to_owned(), error };
        self.tree.set_kind(id, kind).map_err(failed)?;
        self.tree.metadata_mut(id).mtime = self.time;
        Ok(())
    }

    /// Gives what is at `path`, found as the machine would find it, to somebody.
    pub fn give(&mut self, path: &str, uid: u32, gid: u32) {
        if let Ok(id) = self.tree.resolve(path) {
            let metadata = self.tree.metadata_mut(id);
            (metadata.uid, metadata.gid) = (uid, gid);
        }
    }

    /// Removes a name, if it is there.
    pub fn remove(&mut self, path: &str) -> Result<(), RootfsError> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let Ok(parent) = self.tree.resolve(parent) else { return Ok(()) };
        let known = |directory: &Directory| directory.get(name.as_bytes()).is_some();
        if !self.tree.directory(parent).is_some_and(known) {
            return Ok(());
        }
        let failed = |error| RootfsError::Tree { path: path.to_owned(), error };
        self.tree.remove(parent, name.as_bytes()).map_err(failed)
    }

    /// Removes every name that `pattern` matches.
    pub fn remove_all(&mut self, pattern: &str) -> Result<(), RootfsError> {
        for found in find(self.tree, pattern) {
            let path = || String::from_utf8_lossy(&found.path).into_owned();
            let failed = |error| RootfsError::Tree { path: path(), error };
            self.tree.remove(found.parent, &found.name).map_err(failed)?;
        }
        Ok(())
    }

    /// Writes a symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<(), RootfsError> {
        let kind = Kind::Symlink(target.as_bytes().into());
        self.put(path, Inode { metadata: self.metadata(0o777), kind })
    }

    /// Makes a directory unless there is one, or a link to one.
    pub fn directory(&mut self, path: &str, mode: u16) -> Result<(), RootfsError> {
        if self.tree.resolve(path).is_ok_and(|id| self.tree.directory(id).is_some()) {
            return Ok(());
        }
        let kind = Kind::Directory(Directory::default());
        self.put(path, Inode { metadata: self.metadata(mode), kind })
    }

    /// The text of a regular file, found as the machine would find it; `None` when there is none.
    pub fn read(&self, blobs: &dyn Blobs, path: &str) -> Result<Option<String>, RootfsError> {
        text(self.tree, |file| self.open(blobs, file), path)
    }

    /// Whether what is at `path`, found as the machine would find it, is a file that starts with `magic`.
    pub fn starts_with(
        &self,
        blobs: &dyn Blobs,
        path: &str,
        magic: &[u8],
    ) -> Result<bool, RootfsError> {
        let Ok(id) = self.tree.resolve(path) else { return Ok(false) };
        let Kind::File(file) = &self.tree.inode(id).kind else { return Ok(false) };
        let failed = |error| RootfsError::Read { path: path.to_owned(), error };
        let mut start = Vec::new();
        let blob = self.open(blobs, file).map_err(failed)?;
        blob.take(magic.len() as u64).read_to_end(&mut start).map_err(failed)?;
        Ok(start == magic)
    }

    fn open<'b>(
        &'b self,
        blobs: &'b dyn Blobs,
        file: &File,
    ) -> std::io::Result<Box<dyn Read + Send + 'b>> {
        self.generated.open(&file.blob).or_else(|_| blobs.open(&file.blob))
    }

    /// Whether the machine would find anything at `path`.
    pub fn has(&self, path: &str) -> bool {
        self.tree.resolve(path).is_ok()
    }
}

/// The text of a regular file of a tree, found as the machine would find it; `None` when there is none.
pub(crate) fn text<'b>(
    tree: &Tree,
    open: impl FnOnce(&File) -> std::io::Result<Box<dyn Read + Send + 'b>>,
    path: &str,
) -> Result<Option<String>, RootfsError> {
    let Ok(id) = tree.resolve(path) else { return Ok(None) };
    let Kind::File(file) = &tree.inode(id).kind else { return Ok(None) };
    let failed = |error| RootfsError::Read { path: path.to_owned(), error };
    let mut text = String::new();
    open(file).map_err(failed)?.take(MAX_TEXT).read_to_string(&mut text).map_err(failed)?;
    Ok(Some(text))
}

/// Configuration files read here are far smaller.
const MAX_TEXT: u64 = 16 << 20;
