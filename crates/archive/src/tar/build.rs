//! Entries become a tree: what may follow what, and what is refused.

use tree::{Digest, Directory, File, Inode, InodeId, Kind, Metadata, Tree, TreeError};

use super::error::Problem;
use super::reader::{Entry, EntryKind};

/// Linux's PATH_MAX without the closing NUL.
const PATH_LIMIT: usize = 4095;

/// A tree under construction.
#[derive(Debug)]
pub(crate) struct Builder {
    tree: Tree,
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a missing parent directory, or the root, looks like: mode 0755, root's, from 1970.
fn default_directory() -> Metadata {
    Metadata { mode: 0o755, ..Metadata::default() }
}

/// The components of a path, `.` left out.
fn components(path: &[u8]) -> Result<Vec<&[u8]>, Problem> {
    check_length("path", path)?;
    if path.starts_with(b"/") {
        return Err(Problem::AbsolutePath);
    }
    let parts: Vec<&[u8]> =
        path.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    if parts.contains(&&b".."[..]) {
        return Err(Problem::ParentPath);
    }
    Ok(parts)
}

fn check_length(what: &'static str, bytes: &[u8]) -> Result<(), Problem> {
    if bytes.is_empty() || bytes.len() > PATH_LIMIT {
        return Err(Problem::PathLength { what, length: bytes.len() });
    }
    Ok(())
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self { tree: Tree::new(default_directory()) }
    }

    pub(crate) fn finish(self) -> Tree {
        self.tree
    }

    /// The directory of these components; what is missing is made.
    fn parent(&mut self, components: &[&[u8]]) -> Result<InodeId, Problem> {
        let mut at = self.tree.root();
        for (depth, name) in components.iter().enumerate() {
            let directory = self.tree.directory(at);
            at = match directory.and_then(|directory| directory.get(name)) {
                None => {
                    let kind = Kind::Directory(Directory::default());
                    self.tree.insert(at, name, Inode { metadata: default_directory(), kind })?
                }
                Some(id) => match &self.tree.inode(id).kind {
                    Kind::Directory(_) => id,
                    Kind::Symlink(_) => {
                        let link = components[..=depth].join(&b'/');
                        return Err(Problem::ThroughSymlink(lossy(&link)));
                    }
                    _ => {
                        let file = components[..=depth].join(&b'/');
                        return Err(Problem::ThroughFile(lossy(&file)));
                    }
                },
            };
        }
        Ok(at)
    }

    /// Adds an entry whose data, if it is a file, has the digest `blob`.
    pub(crate) fn add(&mut self, entry: Entry, blob: Digest) -> Result<(), Problem> {
        let Entry { path, metadata, kind, .. } = entry;
        let components = components(&path)?;
        let Some((name, parents)) = components.split_last() else {
            if kind == EntryKind::Directory {
                *self.tree.metadata_mut(self.tree.root()) = metadata;
                return Ok(());
            }
            return Err(Problem::Duplicate);
        };
        let parent = self.parent(parents)?;
        let existing = self.tree.directory(parent).and_then(|directory| directory.get(name));
        if let Some(id) = existing {
            // An archive that was appended to names a directory again when its attributes changed,
            // and directories that were implied so far.
            if kind == EntryKind::Directory && self.tree.directory(id).is_some() {
                *self.tree.metadata_mut(id) = metadata;
                return Ok(());
            }
            return Err(Problem::Duplicate);
        }
        let kind = match kind {
            EntryKind::HardLink(target) => {
                let missing = || Problem::LinkTarget(lossy(&target));
                let id =
                    self.tree.get(self::components(&target)?.join(&b'/')).ok_or_else(missing)?;
                return Ok(self.tree.link(parent, name, id)?);
            }
            EntryKind::Directory => Kind::Directory(Directory::default()),
            EntryKind::File { size, extents, .. } => Kind::File(File { size, blob, extents }),
            EntryKind::Symlink(target) => {
                check_length("target", &target)?;
                if target.contains(&0) {
                    return Err(TreeError::BadName(lossy(&target)).into());
                }
                Kind::Symlink(target.into())
            }
            EntryKind::CharDevice(device) => Kind::CharDevice(device),
            EntryKind::BlockDevice(device) => Kind::BlockDevice(device),
            EntryKind::Fifo => Kind::Fifo,
        };
        self.tree.insert(parent, name, Inode { metadata, kind })?;
        Ok(())
    }
}
