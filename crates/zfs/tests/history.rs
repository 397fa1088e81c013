//! Pools with several states of a file system, clones, volumes, mirrors, large dnodes: written, read
//! again, and found sound. `KLDLOAD_KEEP_POOLS=DIRECTORY` keeps them for other judges.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use blk::Memory;
use tree::{Digest, File, Inode, Kind, MemoryBlobs, Metadata, Tree};
use zfs::read::{DatasetKind, Device, Pool};
use zfs::send::{Receiver, SendOptions, StreamWriter, send_pool, send_snapshot, send_tree};
use zfs::verify::{ProblemKind, verify};
use zfs::{Content, Dataset, FeatureSet, State};

fn metadata(mode: u16) -> Metadata {
    Metadata { mode, ..Metadata::default() }
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(&mut next).take(length).collect()
}

/// Trees by what changes from one to the next.
struct Maker {
    blobs: MemoryBlobs,
}

impl Maker {
    fn file(&mut self, tree: &mut Tree, path: &str, bytes: Vec<u8>) {
        let (directory, name) = path.rsplit_once('/').unwrap();
        let parent = tree.make_directories(directory, &metadata(0o755)).unwrap();
        if tree.directory(parent).unwrap().get(name.as_bytes()).is_some() {
            tree.remove(parent, name.as_bytes()).unwrap();
        }
        let size = bytes.len() as u64;
        let kind = Kind::File(File::dense(size, self.blobs.insert(bytes)));
        let inode = Inode { metadata: metadata(0o640), kind };
        tree.insert(parent, name.as_bytes(), inode).unwrap();
    }

    fn xattr(tree: &mut Tree, path: &str, name: &str, value: Vec<u8>) {
        let id = tree.get(path).unwrap();
        tree.metadata_mut(id).xattrs.insert(name.as_bytes().into(), value.into());
    }

    /// Four states, each made from the one before.
    fn states(&mut self) -> [Tree; 4] {
        let mut a = Tree::new(metadata(0o755));
        for number in 0..300 {
            self.file(&mut a, &format!("small/{number}"), format!("file {number}").into_bytes());
        }
        self.file(&mut a, "stays/large", noise(1, 3_000_000));
        self.file(&mut a, "changes/large", noise(2, 1_000_000));
        self.file(&mut a, "goes/large", noise(3, 700_000));
        self.file(&mut a, "stays/embedded", b"tiny".to_vec());
        Self::xattr(&mut a, "stays/large", "user.spills", noise(4, 900));
        Self::xattr(&mut a, "stays/embedded", "user.directory", noise(5, 100_000));
        let mut b = a.clone();
        self.file(&mut b, "changes/large", noise(6, 1_200_000));
        self.file(&mut b, "comes/large", noise(7, 500_000));
        let goes = b.get("goes").unwrap();
        b.remove(goes, b"large").unwrap();
        for number in (0..300).step_by(2) {
            let small = b.get("small").unwrap();
            b.remove(small, number.to_string().as_bytes()).unwrap();
        }
        let mut c = b.clone();
        self.file(&mut c, "goes/large", noise(3, 700_000));
        Self::xattr(&mut c, "changes/large", "user.new", noise(8, 2000));
        let stays = c.get("stays").unwrap();
        let large = c.get("stays/large").unwrap();
        c.link(stays, b"second name", large).unwrap();
        let mut d = a.clone();
        self.file(&mut d, "of the clone/file", noise(9, 300_000));
        self.file(&mut d, "changes/large", noise(10, 100));
        [a, b, c, d]
    }
}

fn content(tree: &Tree) -> Content<'_> {
    Content { tree, root: tree.root(), mounts: Default::default() }
}

fn pool(datasets: Vec<Dataset<'_>>) -> zfs::Pool<'_> {
    zfs::Pool {
        name: "tank".to_owned(),
        seed: [7; 32],
        timestamp: 1_700_000_000,
        history: "a test".to_owned(),
        datasets,
        ..zfs::Pool::default()
    }
}

fn dataset<'a>(name: &str, content: Option<Content<'a>>) -> Dataset<'a> {
    Dataset { name: name.to_owned(), content, ..Dataset::default() }
}

/// Writes a pool, opens it and finds it sound.
fn write(
    name: &str,
    pool: &zfs::Pool<'_>,
    blobs: &MemoryBlobs,
    disks: usize,
) -> (Pool, Vec<Device>) {
    let devices: Vec<_> = (0..disks).map(|_| Memory::zeroed(96 << 20)).collect();
    zfs::write_mirror(&devices, pool, blobs, &mut |_| {}).unwrap();
    let devices: Vec<_> = devices.into_iter().map(Memory::into_bytes).collect();
    if let Some(directory) = std::env::var_os("KLDLOAD_KEEP_POOLS") {
        for (number, bytes) in devices.iter().enumerate() {
            let directory = std::path::Path::new(&directory).join(name);
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join(format!("{number}.img")), bytes).unwrap();
        }
    }
    let devices: Vec<_> = devices
        .into_iter()
        .map(|bytes| Device { name: name.to_owned(), data: Arc::new(Memory::from(bytes)) })
        .collect();
    let pool = Pool::open(&devices).unwrap();
    let report = verify(&pool).unwrap();
    assert!(report.is_sound(), "{name}: {:#?}", report.problems);
    (pool, devices)
}

/// A tree by path, without what the pool does not keep.
fn shown(tree: &Tree) -> BTreeMap<String, String> {
    tree.walk()
        .map(|entry| {
            let kind = match &entry.inode.kind {
                Kind::Directory(_) => "directory".to_owned(),
                Kind::File(file) => format!("{} {}", file.size, file.blob),
                kind => format!("{kind:?}"),
            };
            let path = String::from_utf8_lossy(&entry.path).into_owned();
            (path, format!("{:?} {kind}", entry.inode.metadata))
        })
        .collect()
}

fn has(pool: &Pool, name: &str, tree: &Tree) {
    let fs = pool.filesystem(&pool.dataset(name).unwrap()).unwrap();
    let (read, _) = fs.tree(fs.root).unwrap();
    assert_eq!(shown(&read), shown(tree), "{name}");
}

#[test]
fn states_and_clones() {
    let mut maker = Maker { blobs: MemoryBlobs::default() };
    let [a, b, c, d] = maker.states();
    let fs = Dataset {
        properties: vec![("compression".to_owned(), "zstd-3".to_owned())],
        earlier: [("a", &a), ("b", &b)]
            .map(|(name, tree)| State { snapshot: name.to_owned(), content: content(tree) })
            .into(),
        snapshot: Some("c".to_owned()),
        ..dataset("tank/fs", Some(content(&c)))
    };
    let head_moved_on = Dataset {
        name: "tank/moved".to_owned(),
        snapshot: None,
        content: Some(content(&b)),
        earlier: vec![State { snapshot: "a".to_owned(), content: content(&a) }],
        ..Dataset::default()
    };
    let clone = |name: &str, origin: &str, content, snapshot: Option<&str>| Dataset {
        origin: Some(origin.to_owned()),
        snapshot: snapshot.map(str::to_owned),
        ..dataset(name, content)
    };
    let pool = pool(vec![
        dataset("tank", None),
        fs,
        head_moved_on,
        clone("tank/same", "tank/fs@b", None, None),
        clone("tank/kept", "tank/fs@b", None, Some("now")),
        clone("tank/other", "tank/fs@a", Some(content(&d)), Some("now")),
        clone("tank/again", "tank/other@now", Some(content(&c)), None),
    ]);
    let (pool, _) = write("states", &pool, &maker.blobs, 1);
    for (name, tree) in [
        ("tank/fs@a", &a),
        ("tank/fs@b", &b),
        ("tank/fs@c", &c),
        ("tank/fs", &c),
        ("tank/moved@a", &a),
        ("tank/moved", &b),
        ("tank/same", &b),
        ("tank/kept", &b),
        ("tank/kept@now", &b),
        ("tank/other", &d),
        ("tank/other@now", &d),
        ("tank/again", &c),
    ] {
        has(&pool, name, tree);
    }
    let all = pool.datasets().unwrap();
    let get = |name| all.get(name).unwrap();
    assert_eq!(get("tank/other").origin.as_deref(), Some("tank/fs@a"));
    // What stayed is not written again, and nothing that a clone shares is counted twice.
    assert!(get("tank/fs").used < 9_000_000, "{}", get("tank/fs").used);
    assert!(get("tank/other").used < 2_000_000, "{}", get("tank/other").used);
    assert_eq!(get("tank/same").used, 0);
    let [head, snapshots, children, _] = get("tank/fs").used_by;
    assert_eq!((head, children), (get("tank/fs").referenced, 0));
    assert!(snapshots > 700_000);
    assert!(get("tank/fs@a").used > 0);
    let number = |name| {
        let fs = pool.filesystem(get(name)).unwrap();
        fs.resolve(b"changes/large", false).unwrap().object.number
    };
    assert_eq!(number("tank/fs@a"), number("tank/fs@c"));
}

#[test]
fn a_mirror_with_large_dnodes_a_volume_and_new_features() {
    let mut maker = Maker { blobs: MemoryBlobs::default() };
    let [mut tree, ..] = maker.states();
    for (number, size) in [100, 300, 600, 1500, 4000, 12_000, 20_000].into_iter().enumerate() {
        let path = format!("attributes/{number}");
        maker.file(&mut tree, &path, path.clone().into_bytes());
        Maker::xattr(&mut tree, &path, "user.value", noise(number as u64, size));
    }
    let bytes = [noise(11, 100_000), vec![0; 500_000], noise(12, 48_576)].concat();
    let (size, digest) = (39 << 14, Digest::of(&bytes[..39 << 14]));
    maker.blobs.insert(bytes[..39 << 14].to_vec());
    let volume = zfs::Volume { file: File::dense(size, digest), block_size: 16 << 10 };
    let fs = |name: &str, property: &str, value: &str| Dataset {
        properties: vec![
            ("dnodesize".to_owned(), "auto".to_owned()),
            (property.to_owned(), value.to_owned()),
        ],
        snapshot: Some("now".to_owned()),
        ..dataset(name, Some(content(&tree)))
    };
    let vol = Dataset {
        volume: Some(volume),
        snapshot: Some("now".to_owned()),
        ..dataset("tank/vol", None)
    };
    let clone = Dataset { origin: Some("tank/vol@now".to_owned()), ..dataset("tank/vol2", None) };
    let pool = zfs::Pool {
        features: FeatureSet::OpenZfs23,
        large_dnodes: true,
        ..pool(vec![
            dataset("tank", None),
            fs("tank/fs", "recordsize", "1M"),
            fs("tank/copies", "copies", "2"),
            vol,
            clone,
        ])
    };
    let (pool, devices) = write("mirror", &pool, &maker.blobs, 2);
    for name in ["tank/fs", "tank/fs@now", "tank/copies"] {
        has(&pool, name, &tree);
    }
    let fs = pool.filesystem(&pool.dataset("tank/fs").unwrap()).unwrap();
    let slots = |path: &str| fs.resolve(path.as_bytes(), false).unwrap().object.dnode.slots;
    assert_eq!((slots("small/1"), slots("stays/large")), (1, 3));
    assert!(slots("attributes/5") > 20 && slots("attributes/6") == 1);
    let (data, length) = pool.volume(&pool.dataset("tank/vol2").unwrap()).unwrap();
    let mut read = vec![0; length as usize];
    data.read_at(0, &mut read).unwrap();
    assert!(read == bytes[..39 << 14]);
    // Each half is enough, and that the other is absent is all that is wrong.
    for device in devices {
        let half = Pool::open(&[device]).unwrap();
        has(&half, "tank/fs", &tree);
        let report = verify(&half).unwrap();
        let kinds: Vec<_> = report.problems.iter().map(|problem| problem.kind).collect();
        assert_eq!(kinds, [ProblemKind::Device], "{:?}", report.problems);
    }
}

#[test]
fn what_cannot_be_written_is_refused_by_name() {
    let tree = Tree::new(metadata(0o755));
    let refused = |dataset: Dataset<'_>, why: &str| {
        let root = Dataset { name: "tank".to_owned(), ..Dataset::default() };
        let error = zfs::check_pool(&pool(vec![root, dataset])).unwrap_err().to_string();
        assert!(error.contains("tank/x") && error.contains(why), "{error}");
    };
    let state = |name: &str| State { snapshot: name.to_owned(), content: content(&tree) };
    let earlier = vec![state("a"), state("A")];
    refused(Dataset { earlier, ..dataset("tank/x", Some(content(&tree))) }, "same name");
    refused(Dataset { earlier: vec![state("a")], ..dataset("tank/x", None) }, "no content");
    refused(
        Dataset { origin: Some("tank@x".to_owned()), ..dataset("tank/x", None) },
        "not a snapshot",
    );
    let file = File::dense(1000, Digest([0; 32]));
    let volume = Some(zfs::Volume { file, block_size: 8192 });
    refused(Dataset { volume, ..dataset("tank/x", None) }, "multiple of its block size");
}

/// The stream of a snapshot.
fn stream(pool: &Pool, to: &str, from: Option<&str>, options: SendOptions) -> Vec<u8> {
    let [to, from] = [Some(to), from].map(|name| name.map(|name| pool.dataset(name).unwrap()));
    let mut out = StreamWriter::new(Vec::new());
    send_snapshot(pool, &to.unwrap(), from.as_ref(), options, &mut out).unwrap();
    out.finish(false).unwrap()
}

fn received(receiver: &Receiver<Memory>, guid: u64) -> Tree {
    let fs = receiver.filesystem(guid).unwrap();
    fs.tree(fs.root).unwrap().0
}

#[test]
fn streams_of_states_are_received() {
    let mut maker = Maker { blobs: MemoryBlobs::default() };
    let [a, b, c, _] = maker.states();
    let fs = Dataset {
        properties: vec![("dnodesize".to_owned(), "auto".to_owned())],
        earlier: [("a", &a), ("b", &b)]
            .map(|(name, tree)| State { snapshot: name.to_owned(), content: content(tree) })
            .into(),
        snapshot: Some("c".to_owned()),
        ..dataset("tank/fs", Some(content(&c)))
    };
    let root = Dataset { snapshot: Some("c".to_owned()), ..dataset("tank", None) };
    let pool = zfs::Pool { large_dnodes: true, ..pool(vec![root, fs]) };
    let (pool, _) = write("streams", &pool, &maker.blobs, 1);
    for options in [SendOptions::default(), SendOptions { compressed: false, embedded: false }] {
        let mut receiver = Receiver::new(Memory::zeroed(64 << 20)).unwrap();
        let full = stream(&pool, "tank/fs@a", None, options);
        let changes = stream(&pool, "tank/fs@b", Some("tank/fs@a"), options);
        assert!(changes.len() < full.len());
        // What it goes on from is not there yet.
        let error = receiver.receive(&changes[..]).unwrap_err().to_string();
        assert!(error.contains("tank/fs@b") && error.contains("not received"), "{error}");
        assert!(receiver.receive(&full[..full.len() / 2]).is_err());
        receiver.receive(&full[..]).unwrap();
        receiver.receive(&changes[..]).unwrap();
        receiver.receive(&stream(&pool, "tank/fs@c", Some("tank/fs@b"), options)[..]).unwrap();
        // What it goes on from is not the newest.
        receiver.receive(&changes[..]).unwrap();
        let guids: Vec<u64> = receiver.received().iter().map(|snapshot| snapshot.guid).collect();
        for (guid, tree) in guids.into_iter().zip([&a, &b, &c]) {
            assert_eq!(shown(&received(&receiver, guid)), shown(tree));
        }
    }
    let mut all = StreamWriter::new(Vec::new());
    send_tree(&pool, "tank/fs", "c", None, SendOptions::default(), &mut all).unwrap();
    let all = all.finish(true).unwrap();
    let mut receiver = Receiver::new(Memory::zeroed(64 << 20)).unwrap();
    receiver.receive(&all[..]).unwrap();
    assert_eq!(receiver.received().len(), 3);
    assert!(receiver.list().is_some());
    let newest = receiver.received().last().unwrap().clone();
    assert_eq!((&*newest.name, newest.is_volume), ("tank/fs@c", false));
    assert_eq!(shown(&received(&receiver, newest.guid)), shown(&c));
    let mut whole = Vec::new();
    let length = send_pool(&pool, "c", &mut whole).unwrap();
    assert_eq!(length, whole.len() as u64);
    let mut receiver = Receiver::new(Memory::zeroed(64 << 20)).unwrap();
    receiver.receive(&whole[..]).unwrap();
    assert_eq!(receiver.received().len(), 4);
}

#[test]
fn streams_of_a_kernels_pool_are_received() {
    let Some(pool) = common::open(&["dev23"]) else { return };
    let mut receiver = Receiver::new(Memory::zeroed(256 << 20)).unwrap();
    let all = pool.datasets().unwrap().datasets;
    let mut compared = 0;
    for head in all.iter().filter(|dataset| !dataset.is_snapshot) {
        let mut older: Option<&str> = None;
        let prefix = format!("{}@", head.name);
        for snapshot in all.iter().filter(|other| other.name.starts_with(&prefix)) {
            let stream = stream(&pool, &snapshot.name, older, SendOptions::default());
            receiver.receive(&stream[..]).unwrap();
            older = Some(&snapshot.name);
            if snapshot.kind == DatasetKind::Filesystem {
                let fs = pool.filesystem(snapshot).unwrap();
                let (tree, _) = fs.tree(fs.root).unwrap();
                assert_eq!(shown(&received(&receiver, snapshot.guid)), shown(&tree));
                compared += 1;
            }
        }
    }
    assert!(compared > 1);
}
