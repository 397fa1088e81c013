//! Where everything goes, before anything is written.

use tree::{File, InodeId, Kind, Timestamp, Tree};

use super::FatError;
use super::format::{ENTRY_SIZE, FIRST_CLUSTER, MAX_ENTRIES};
use super::geometry::Geometry;
use super::name::{self, Fault, ShortName, long_entries};
use crate::export::PIECE;

/// Everything on the volume, in the order in which it lies there. The root is first.
#[derive(Debug)]
pub struct Plan<'a> {
    /// All nodes.
    pub nodes: Vec<Node<'a>>,
    /// Indexes of nodes, in the order of their clusters.
    pub order: Vec<usize>,
    /// Clusters used.
    pub used: u32,
    /// Clusters up to the last one used.
    pub end: u32,
}

/// A directory or a file.
#[derive(Debug)]
pub struct Node<'a> {
    /// Path from the root.
    pub path: String,
    /// Last modification.
    pub mtime: Timestamp,
    /// First cluster; 0 when there is none.
    pub cluster: u32,
    /// Number of clusters.
    pub clusters: u32,
    /// What it holds.
    pub content: Content<'a>,
}

/// What a node holds.
#[derive(Debug)]
pub enum Content<'a> {
    /// The directory it is in (the root is in itself), and what is in it.
    Directory { parent: usize, names: Vec<Name<'a>> },
    /// The content of a file.
    File(&'a File),
}

/// A directory entry.
#[derive(Debug)]
pub struct Name<'a> {
    /// The name in the tree.
    pub name: &'a str,
    /// Its 8.3 name.
    pub short: ShortName,
    /// What it names.
    pub node: usize,
}

/// Plans the volume; the root directory gets `root_entries` entries besides its files. Where there is room, large
/// files begin at multiples of the unit in which images store content: a pool on the same disk may hold it too.
pub fn plan<'a>(
    tree: &'a Tree,
    geometry: &Geometry,
    root_entries: usize,
) -> Result<Plan<'a>, FatError> {
    let piece = PIECE as u64 / geometry.cluster_size();
    match lay_out(tree, geometry, root_entries, piece) {
        Err(FatError::Full { .. }) => lay_out(tree, geometry, root_entries, 1),
        other => other,
    }
}

/// The plan in which files of `piece` clusters or more begin at multiples of it.
fn lay_out<'a>(
    tree: &'a Tree,
    geometry: &Geometry,
    root_entries: usize,
    piece: u64,
) -> Result<Plan<'a>, FatError> {
    let mut nodes: Vec<Node> = vec![node(tree, tree.root(), String::new(), 0)?];
    let mut ids = vec![tree.root()];
    let mut order = Vec::new();
    let mut todo = vec![0];
    let (mut used, mut end) = (0, 0u64);
    while let Some(index) = todo.pop() {
        let bytes = match tree.directory(ids[index]) {
            Some(directory) => {
                let path = nodes[index].path.clone();
                let bytes: Vec<&[u8]> = directory.iter().map(|(name, _)| name).collect();
                let assigned = name::assign(&bytes).map_err(|fault| named(&path, fault))?;
                let mut entries = if index == 0 { root_entries } else { 2 };
                let mut names = Vec::with_capacity(assigned.len());
                for ((name, short), (_, id)) in assigned.into_iter().zip(directory.iter()) {
                    entries += 1 + long_entries(name, &short).len();
                    names.push(Name { name, short, node: nodes.len() });
                    nodes.push(node(tree, id, join(&path, name), index)?);
                    ids.push(id);
                }
                if entries > MAX_ENTRIES {
                    return Err(FatError::DirectoryTooLarge { path, entries });
                }
                todo.extend(names.iter().rev().map(|name| name.node));
                if let Content::Directory { names: place, .. } = &mut nodes[index].content {
                    *place = names;
                }
                // Even an empty directory, which only the root can be, has a cluster.
                entries.max(1) as u64 * ENTRY_SIZE as u64
            }
            None => match &nodes[index].content {
                Content::File(file) => file.size,
                Content::Directory { .. } => 0,
            },
        };
        let clusters = geometry.clusters_for(bytes);
        let node = &mut nodes[index];
        // Numbers that do not fit are of no use anyway: then the volume is full.
        if clusters > 0 {
            let start = if clusters < piece { end } else { end.next_multiple_of(piece) };
            node.cluster = u32::try_from(u64::from(FIRST_CLUSTER) + start).unwrap_or(u32::MAX);
            node.clusters = u32::try_from(clusters).unwrap_or(u32::MAX);
            end = start + clusters;
        }
        used += clusters;
        order.push(index);
    }
    if end > geometry.clusters.into() {
        let size = geometry.cluster_size();
        return Err(FatError::Full {
            need: used * size,
            have: u64::from(geometry.clusters) * size,
        });
    }
    Ok(Plan { nodes, order, used: used as u32, end: end as u32 })
}

fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

fn named(directory: &str, fault: Fault) -> FatError {
    match fault {
        Fault::Bad(name, why) => FatError::Name { path: join(directory, &name), why },
        Fault::Same(first, second) => {
            FatError::SameName { first: join(directory, &first), second: join(directory, &second) }
        }
    }
}

fn node(tree: &Tree, id: InodeId, path: String, parent: usize) -> Result<Node<'_>, FatError> {
    let inode = tree.inode(id);
    let refuse = |kind| Err(FatError::Kind { path: path.clone(), kind });
    let content = match &inode.kind {
        Kind::Directory(_) => Content::Directory { parent, names: Vec::new() },
        Kind::File(file) if file.size > u32::MAX.into() => {
            return Err(FatError::FileTooLarge { path, size: file.size });
        }
        Kind::File(file) => {
            if !sound(file) {
                return Err(FatError::Extents { path, size: file.size });
            }
            Content::File(file)
        }
        Kind::Symlink(_) => return refuse("symbolic link"),
        Kind::CharDevice(_) => return refuse("character device"),
        Kind::BlockDevice(_) => return refuse("block device"),
        Kind::Fifo => return refuse("named pipe"),
        Kind::Socket => return refuse("socket"),
    };
    Ok(Node { path, mtime: inode.metadata.mtime, cluster: 0, clusters: 0, content })
}

/// Whether the data runs ascend inside the file: outside it they would hit other files.
fn sound(file: &File) -> bool {
    let mut end = 0;
    file.extents.iter().flatten().all(|extent| {
        let fine = extent.offset >= end;
        end = extent.offset.saturating_add(extent.length);
        fine && end <= file.size
    })
}
