//! Random trees become pools; read again they are the same, and the pools are sound.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use blk::Memory;
use proptest::prelude::*;
use tree::{
    Device as DeviceNumber, Directory, Extent, File, Inode, InodeId, Kind, MemoryBlobs, Metadata,
    Timestamp, Tree, Xattrs,
};
use zfs::read::{Device, Pool};
use zfs::verify::verify;

/// What may be put into a tree, in order; numbers choose among what is there.
#[derive(Debug, Clone)]
enum Step {
    Directory(u8, String),
    File(u8, String, Vec<u8>, u32),
    Sparse(u8, String, u32, Vec<u8>),
    Symlink(u8, String, String),
    Device(u8, String, u32, u32),
    Link(u8, String, u8),
    Xattr(u8, String, Vec<u8>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = || "[a-zA-Zé_ .-]{1,60}".prop_filter("a name", |name| name != "." && name != "..");
    let step = prop_oneof![
        (any::<u8>(), name()).prop_map(|(at, name)| Step::Directory(at, name)),
        (any::<u8>(), name(), prop::collection::vec(any::<u8>(), 0..200), 0..3000u32)
            .prop_map(|(at, name, bytes, times)| Step::File(at, name, bytes, times)),
        (any::<u8>(), name(), 0..400u32, prop::collection::vec(any::<u8>(), 1..50))
            .prop_map(|(at, name, hole, bytes)| Step::Sparse(at, name, hole, bytes)),
        (any::<u8>(), name(), "[a-z/.]{1,300}")
            .prop_map(|(at, name, to)| Step::Symlink(at, name, to)),
        (any::<u8>(), name(), 0..4096u32, 0..1_048_576u32)
            .prop_map(|(at, name, major, minor)| Step::Device(at, name, major, minor)),
        (any::<u8>(), name(), any::<u8>()).prop_map(|(at, name, to)| Step::Link(at, name, to)),
        (any::<u8>(), "[a-z]{1,40}", prop::collection::vec(any::<u8>(), 0..600))
            .prop_map(|(at, name, value)| Step::Xattr(at, name, value)),
    ];
    prop::collection::vec(step, 0..60)
}

/// The content of a sparse file: only its last block is stored.
const BLOCK: u64 = 128 << 10;

fn build(steps: &[Step]) -> (Tree, MemoryBlobs) {
    let mut tree = Tree::new(Metadata { mode: 0o755, ..Metadata::default() });
    let mut blobs = MemoryBlobs::default();
    let mut directories = vec![tree.root()];
    let mut others: Vec<InodeId> = Vec::new();
    for (number, step) in (0i64..).zip(steps) {
        let metadata = Metadata {
            mode: (number * 37 % 0o7777) as u16,
            uid: number as u32,
            gid: 7 * number as u32,
            mtime: Timestamp { seconds: number * 1_000_003 - 5, nanoseconds: number as u32 },
            xattrs: Xattrs::new(),
        };
        let pick = |at: &u8| directories[usize::from(*at) % directories.len()];
        let (at, name, kind) = match step {
            Step::Directory(at, name) => (pick(at), name, Kind::Directory(Directory::default())),
            Step::File(at, name, bytes, times) => {
                let content = bytes.repeat(*times as usize);
                let size = content.len() as u64;
                (pick(at), name, Kind::File(File::dense(size, blobs.insert(content))))
            }
            Step::Sparse(at, name, hole, bytes) => {
                let offset = u64::from(*hole + 1) * BLOCK;
                // Never zeros: those would become a hole of their own.
                let content: Vec<u8> =
                    bytes.iter().map(|byte| byte | 1).cycle().take(BLOCK as usize).collect();
                let extents = [Extent { offset, length: BLOCK }];
                let blob = blobs.insert(content);
                let (size, extents) = (offset + BLOCK, Some(extents.into()));
                (pick(at), name, Kind::File(File { size, blob, extents }))
            }
            Step::Symlink(at, name, to) => (pick(at), name, Kind::Symlink(to.as_bytes().into())),
            Step::Device(at, name, major, minor) => {
                let device = DeviceNumber { major: *major, minor: *minor };
                (pick(at), name, Kind::CharDevice(device))
            }
            Step::Link(at, name, to) => {
                if let Some(&id) = others.get(usize::from(*to) % others.len().max(1)) {
                    let _ = tree.link(pick(at), name.as_bytes(), id);
                }
                continue;
            }
            Step::Xattr(to, name, value) => {
                let all: Vec<_> = directories.iter().chain(&others).copied().collect();
                let metadata = tree.metadata_mut(all[usize::from(*to) % all.len()]);
                let name = format!("user.{name}").into_bytes();
                metadata.xattrs.insert(name.into(), value.as_slice().into());
                continue;
            }
        };
        let is_directory = matches!(kind, Kind::Directory(_));
        if let Ok(id) = tree.insert(at, name.as_bytes(), Inode { metadata, kind }) {
            if is_directory { directories.push(id) } else { others.push(id) }
        }
    }
    (tree, blobs)
}

/// A tree in a form that does not depend on the numbers of its inodes, nor on which parts of zeros
/// are kept as holes.
fn shown(tree: &Tree) -> Vec<String> {
    let mut first = std::collections::HashMap::new();
    tree.walk()
        .map(|entry| {
            let number = first.len();
            let same = *first.entry(entry.id).or_insert(number);
            let kind = match &entry.inode.kind {
                Kind::Directory(_) => "directory".to_owned(),
                Kind::File(file) if file.size == 0 => "empty file".to_owned(),
                kind => format!("{kind:?}"),
            };
            let path = String::from_utf8_lossy(&entry.path).into_owned();
            format!("{path} {same} {:?} {kind}", entry.inode.metadata)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 40, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(steps in steps()) {
        let (tree, blobs) = build(&steps);
        let device = Memory::zeroed(72 << 20);
        let content = zfs::Content { tree: &tree, root: tree.root(), mounts: Default::default() };
        let dataset = |name: &str, content| zfs::Dataset {
            name: name.to_owned(),
            properties: vec![("compression".to_owned(), "off".to_owned())],
            content,
            snapshot: Some("now".to_owned()),
            ..zfs::Dataset::default()
        };
        let pool = zfs::Pool {
            name: "tank".to_owned(),
            seed: [7; 32],
            timestamp: 1_700_000_000,
            history: "a test".to_owned(),
            datasets: vec![dataset("tank", None), dataset("tank/fs", Some(content))],
            ..zfs::Pool::default()
        };
        zfs::write_pool(&device, &pool, &blobs, &mut |_| {}).unwrap();
        let device = Device { name: "memory".to_owned(), data: Arc::new(device) };
        let pool = Pool::open(&[device]).unwrap();
        for name in ["tank/fs", "tank/fs@now"] {
            let fs = pool.filesystem(&pool.dataset(name).unwrap()).unwrap();
            let (read, _) = fs.tree(fs.root).unwrap();
            prop_assert_eq!(shown(&read), shown(&tree));
        }
        let report = verify(&pool).unwrap();
        prop_assert!(report.is_sound(), "{:#?}", report.problems);
    }
}
