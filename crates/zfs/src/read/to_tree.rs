//! File systems as trees.

use std::collections::HashMap;
use std::io::{self, Read};
use std::ops::Range;

use tree::{
    Blobs, Digest, Directory, Extent, File, Hasher, Inode as TreeInode, InodeId, Kind, Metadata,
    Tree, TreeError,
};

use super::{Filesystem, Inode, InodeKind, ReadError};

/// How much of a file is read at once.
const PIECE: usize = 1 << 20;
/// More directories in each other than any path can name.
const MAX_DEPTH: usize = 4096;
/// Most parts of a file that are kept: of a tebibyte of which every second block of 32 KiB is a hole.
const MAX_RUNS: usize = 1 << 24;

/// The contents of the files of a tree made by [`Filesystem::tree`].
#[derive(Debug)]
pub struct FilesystemBlobs<'f, 'p> {
    filesystem: &'f Filesystem<'p>,
    /// Object and data runs of each blob.
    files: HashMap<Digest, (u64, Vec<Range<u64>>)>,
}

impl Inode<'_> {
    /// Its attributes as a tree has them, without the extended ones.
    pub fn metadata(&self) -> Metadata {
        let attributes = &self.attributes;
        Metadata {
            mode: (attributes.mode & 0o7777) as u16,
            // The upper half is for identities of other systems.
            uid: attributes.uid as u32,
            gid: attributes.gid as u32,
            mtime: attributes.mtime,
            ..Metadata::default()
        }
    }
}

impl<'p> Filesystem<'p> {
    /// The attributes of an inode as a tree has them.
    pub fn metadata(&self, inode: &Inode<'p>) -> Result<Metadata, ReadError> {
        Ok(Metadata { xattrs: self.xattrs(inode)?, ..inode.metadata() })
    }

    /// The parts of a file that are not holes.
    pub fn data_runs(&self, inode: &Inode<'p>) -> Result<Vec<Range<u64>>, ReadError> {
        let mut runs = Vec::new();
        for run in inode.object.data_runs(inode.attributes.size) {
            if runs.len() >= MAX_RUNS {
                return Err(inode.object.damaged("it has more holes than any file"));
            }
            runs.push(run?);
        }
        Ok(runs)
    }

    /// Everything from the inode `object` down as a tree, and where the contents of its files are.
    ///
    /// Every file is read once, to name its content.
    pub fn tree(&self, object: u64) -> Result<(Tree, FilesystemBlobs<'_, 'p>), ReadError> {
        self.build(object, true)
    }

    /// As [`Self::tree`], but the contents are not read: their names stand for the objects they are
    /// in, so that two files of the same content have blobs of different names. For passing on
    /// (to an archive, to a directory), not for keeping.
    pub fn tree_of_objects(
        &self,
        object: u64,
    ) -> Result<(Tree, FilesystemBlobs<'_, 'p>), ReadError> {
        self.build(object, false)
    }

    fn build(&self, object: u64, hash: bool) -> Result<(Tree, FilesystemBlobs<'_, 'p>), ReadError> {
        let root = self.inode(object)?;
        let mut build = Build {
            tree: Tree::new(self.metadata(&root)?),
            blobs: FilesystemBlobs { filesystem: self, files: HashMap::new() },
            links: HashMap::new(),
            hash,
        };
        let mut todo = vec![(root, build.tree.root(), 0)];
        while let Some((directory, id, depth)) = todo.pop() {
            for entry in self.read_dir(&directory)? {
                let inode = self.inode(entry.object)?;
                if let Some(below) = build.add(id, &entry.name, &inode)? {
                    if depth >= MAX_DEPTH {
                        return Err(directory.object.damaged("directories are nested too deeply"));
                    }
                    todo.push((inode, below, depth + 1));
                }
            }
        }
        Ok((build.tree, build.blobs))
    }
}

struct Build<'f, 'p> {
    tree: Tree,
    blobs: FilesystemBlobs<'f, 'p>,
    /// Inodes that were added, by object.
    links: HashMap<u64, InodeId>,
    /// Whether blobs are named by content.
    hash: bool,
}

impl<'p> Build<'_, 'p> {
    /// Adds a name; gives its number if it is a directory to go on with.
    fn add(
        &mut self,
        parent: InodeId,
        name: &[u8],
        inode: &Inode<'p>,
    ) -> Result<Option<InodeId>, ReadError> {
        let object = inode.object.number;
        let bad = |error: TreeError| inode.object.damaged(error.to_string());
        if let Some(&id) = self.links.get(&object) {
            self.tree.link(parent, name, id).map_err(bad)?;
            return Ok(None);
        }
        let kind = match inode.kind() {
            InodeKind::Directory => Kind::Directory(Directory::default()),
            InodeKind::File => Kind::File(self.file(inode)?),
            InodeKind::Symlink => Kind::Symlink(self.blobs.filesystem.read_link(inode)?),
            InodeKind::CharDevice => Kind::CharDevice(inode.device()),
            InodeKind::BlockDevice => Kind::BlockDevice(inode.device()),
            InodeKind::Fifo => Kind::Fifo,
            InodeKind::Socket => Kind::Socket,
            InodeKind::Unknown => return Err(inode.object.damaged("its mode has no known type")),
        };
        let metadata = self.blobs.filesystem.metadata(inode)?;
        let is_directory = matches!(kind, Kind::Directory(_));
        let id = self.tree.insert(parent, name, TreeInode { metadata, kind }).map_err(bad)?;
        self.links.insert(object, id);
        Ok(is_directory.then_some(id))
    }

    fn file(&mut self, inode: &Inode<'p>) -> Result<File, ReadError> {
        let size = inode.attributes.size;
        let runs = self.blobs.filesystem.data_runs(inode)?;
        let blob = if self.hash { digest(inode, &runs)? } else { stand_in(inode.object.number) };
        let whole = runs.iter().map(|run| run.end - run.start).sum::<u64>() == size;
        let extent = |run: &Range<u64>| Extent { offset: run.start, length: run.end - run.start };
        let extents = (!whole).then(|| runs.iter().map(extent).collect());
        self.blobs.files.entry(blob).or_insert((inode.object.number, runs));
        Ok(File { size, blob, extents })
    }
}

/// A name for a content that was not read.
fn stand_in(object: u64) -> Digest {
    let mut name = [0; 32];
    name[..8].copy_from_slice(&object.to_be_bytes());
    Digest(name)
}

fn digest(inode: &Inode<'_>, runs: &[Range<u64>]) -> Result<Digest, ReadError> {
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; PIECE];
    for run in runs {
        let mut at = run.start;
        while at < run.end {
            let length = (run.end - at).min(PIECE as u64) as usize;
            let piece = buffer.get_mut(..length).unwrap_or_default();
            inode.object.read_at(at, piece)?;
            hasher.update(piece);
            at += length as u64;
        }
    }
    Ok(hasher.finish())
}

impl Blobs for FilesystemBlobs<'_, '_> {
    fn open(&self, blob: &Digest) -> io::Result<Box<dyn Read + Send + '_>> {
        let (object, runs) = self
            .files
            .get(blob)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no blob {blob}")))?;
        let inode = self.filesystem.inode(*object).map_err(io::Error::other)?;
        let runs = runs.iter().rev().cloned().collect();
        Ok(Box::new(RunReader { inode, runs }))
    }
}

/// Reads the data runs of a file one after the other.
struct RunReader<'p> {
    inode: Inode<'p>,
    /// What is still to be read, the last one first.
    runs: Vec<Range<u64>>,
}

impl Read for RunReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(run) = self.runs.last_mut() {
            if run.is_empty() {
                self.runs.pop();
                continue;
            }
            // Whole blocks, so that none is read twice.
            let size = u64::from(self.inode.object.dnode.block_size);
            let next = (run.start / size + 1) * size;
            let mut length =
                buffer.len().min(usize::try_from(run.end - run.start).unwrap_or(PIECE));
            if length as u64 > next - run.start {
                length -= ((run.start + length as u64) % size) as usize;
            }
            let piece = buffer.get_mut(..length).unwrap_or_default();
            self.inode.object.read_at(run.start, piece).map_err(io::Error::other)?;
            run.start += length as u64;
            return Ok(length);
        }
        Ok(0)
    }
}
