//! Random trees for property tests; the tests of other rooms include this file as well.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use tree::{
    Blobs, Device, Digest, Directory, Extent, File, Inode, Kind, MemoryBlobs, Metadata, Timestamp,
    Tree,
};

/// Builds a tree out of these, each under a directory or as a link picked by number.
#[derive(Debug, Clone)]
pub struct Node {
    parent: prop::sample::Index,
    name: Vec<u8>,
    metadata: Metadata,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    Directory,
    /// Lengths of a hole and a data run, again and again.
    File(Vec<(u16, u16)>, u8),
    Link(prop::sample::Index),
    Other(Kind),
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-d]{1,2}".prop_map(String::into_bytes),
        "\\PC{1,40}".prop_map(String::into_bytes),
        vec(any::<u8>(), 1..255),
    ]
    .prop_filter("a file name", |name| {
        name.len() <= 255
            && !name.contains(&b'/')
            && !name.contains(&0)
            && name != b"."
            && name != b".."
    })
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let seconds = prop_oneof![-5_000_000_000_i64..9_000_000_000, Just(0)];
    let xattr_name = "(user|trusted|security)\\.[ -~]{1,20}".prop_map(String::into_bytes);
    let xattrs = btree_map(xattr_name, vec(any::<u8>(), 0..100), 0..3);
    (0..=0o7777_u16, any::<u32>(), any::<u32>(), seconds, 0..1_000_000_000_u32, xattrs).prop_map(
        |(mode, uid, gid, seconds, nanoseconds, xattrs)| Metadata {
            mode,
            uid,
            gid,
            mtime: Timestamp { seconds, nanoseconds },
            xattrs: xattrs.into_iter().map(|(k, v)| (k.into(), v.into())).collect(),
        },
    )
}

fn content() -> impl Strategy<Value = Content> {
    let device = (0..4096_u32, 0..1_048_576_u32).prop_map(|(major, minor)| Device { major, minor });
    let target = vec(1..=255_u8, 1..300).prop_map(|target| Kind::Symlink(target.into()));
    prop_oneof![
        3 => Just(Content::Directory),
        3 => (vec((any::<u16>(), any::<u16>()), 0..4), any::<u8>())
            .prop_map(|(runs, fill)| Content::File(runs, fill)),
        1 => any::<prop::sample::Index>().prop_map(Content::Link),
        1 => target.prop_map(Content::Other),
        1 => device.clone().prop_map(|device| Content::Other(Kind::CharDevice(device))),
        1 => device.prop_map(|device| Content::Other(Kind::BlockDevice(device))),
        1 => Just(Content::Other(Kind::Fifo)),
    ]
}

/// Any tree, without sockets, with the contents of its files.
pub fn trees() -> impl Strategy<Value = (Tree, MemoryBlobs)> {
    let node = (any::<prop::sample::Index>(), name(), metadata(), content());
    let node =
        node.prop_map(|(parent, name, metadata, content)| Node { parent, name, metadata, content });
    (metadata(), vec(node, 0..30)).prop_map(|(root, nodes)| build(root, nodes))
}

fn build(root: Metadata, nodes: Vec<Node>) -> (Tree, MemoryBlobs) {
    let mut tree = Tree::new(root);
    let mut blobs = MemoryBlobs::default();
    let mut directories = vec![tree.root()];
    let mut others = Vec::new();
    for Node { parent, name, metadata, content } in nodes {
        let parent = *parent.get(&directories);
        if tree.directory(parent).is_some_and(|directory| directory.get(&name).is_some()) {
            continue;
        }
        let kind = match content {
            Content::Directory => Kind::Directory(Directory::default()),
            Content::Other(kind) => kind,
            Content::File(runs, fill) => Kind::File(file(&runs, fill, &mut blobs)),
            Content::Link(_) if others.is_empty() => continue,
            Content::Link(which) => {
                tree.link(parent, &name, *which.get(&others)).unwrap();
                continue;
            }
        };
        let is_directory = matches!(kind, Kind::Directory(_));
        let id = tree.insert(parent, &name, Inode { metadata, kind }).unwrap();
        if is_directory { &mut directories } else { &mut others }.push(id);
    }
    (tree, blobs)
}

fn file(runs: &[(u16, u16)], fill: u8, blobs: &mut MemoryBlobs) -> File {
    let (mut offset, mut extents) = (0, Vec::<Extent>::new());
    for &(hole, length) in runs {
        offset += u64::from(hole);
        let length = u64::from(length) + 1;
        match extents.last_mut() {
            Some(last) if last.offset + last.length == offset => last.length += length,
            _ => extents.push(Extent { offset, length }),
        }
        offset += length;
    }
    let data: u64 = extents.iter().map(|extent| extent.length).sum();
    // An odd fill leaves a hole at the end.
    let size = offset + u64::from(fill % 2) * 1000;
    let blob = blobs.insert(vec![fill; data as usize]);
    let extents = (data != size).then(|| extents.into());
    File { size, blob, extents }
}

/// Everything a blob holds, checked against its name.
#[allow(dead_code, reason = "not every test that includes this file reads contents")]
pub fn read(blobs: &dyn Blobs, blob: &Digest) -> Vec<u8> {
    let mut bytes = Vec::new();
    blobs.open(blob).unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!(Digest::of(&bytes), *blob);
    bytes
}
