//! Trees that come from a directory or go to disk and back.

mod arbitrary;

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use proptest::prelude::*;
use tree::scan::{ScanError, scan};
use tree::store::{self, DirStore, StoreError};
use tree::{Blobs, Digest, Extent, Kind, manifest};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_tree_survives_the_disk((tree, blobs) in arbitrary::trees()) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("saved");
        store::save(&path, &tree, &blobs).unwrap();
        // Again over itself.
        store::save(&path, &tree, &blobs).unwrap();
        prop_assert!(store::is_saved_tree(&path).unwrap());
        let (loaded, store) = store::load(&path).unwrap();
        prop_assert_eq!(manifest::digest(&loaded), manifest::digest(&tree));
        for entry in loaded.walk() {
            if let Kind::File(file) = &entry.inode.kind {
                prop_assert_eq!(arbitrary::read(&store, &file.blob).len() as u64, file.data_size());
                store.verify(&file.blob).unwrap();
            }
        }
    }
}

#[test]
fn a_store_keeps_each_blob_once_and_notices_damage() {
    let directory = tempfile::tempdir().unwrap();
    let store = DirStore::new(directory.path().join("blobs"));
    let (blob, length) = store.insert(&b"hello"[..]).unwrap();
    assert_eq!((blob, length), (Digest::of(b"hello"), 5));
    assert_eq!(store.insert(&b"hello"[..]).unwrap(), (blob, 5));
    let count = |path: &Path| fs::read_dir(path).unwrap().count();
    assert_eq!(count(&directory.path().join("blobs")), 1);
    store.verify(&blob).unwrap();
    fs::write(store.path(&blob), b"hullo").unwrap();
    assert!(matches!(store.verify(&blob), Err(StoreError::Digest { .. })));
    let missing = store.open(&Digest::of(b"other")).err().unwrap();
    assert_eq!(missing.kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn a_tree_whose_contents_lie_is_not_saved() {
    struct Liar;
    impl Blobs for Liar {
        fn open(&self, _: &Digest) -> std::io::Result<Box<dyn std::io::Read + Send + '_>> {
            Ok(Box::new(&b"something else"[..]))
        }
    }
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("f"), b"content").unwrap();
    let (tree, _) = scan(directory.path(), &|_| ()).unwrap();
    let saved = directory.path().join("saved");
    assert!(matches!(store::save(&saved, &tree, &Liar), Err(StoreError::Digest { .. })));
    assert!(!store::is_saved_tree(&saved).unwrap());
    assert!(matches!(store::load(&saved), Err(StoreError::Io { .. })));
}

#[test]
fn a_directory_is_scanned() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    fs::create_dir(root.join("d")).unwrap();
    fs::write(root.join("d/one"), b"12345").unwrap();
    fs::hard_link(root.join("d/one"), root.join("another")).unwrap();
    fs::set_permissions(root.join("d/one"), fs::Permissions::from_mode(0o4750)).unwrap();
    symlink("/nowhere", root.join("link")).unwrap();
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    sparse.write_all_at(b"data", 1 << 30).unwrap();
    rustix::fs::setxattr(root.join("d"), "user.name", b"value", rustix::fs::XattrFlags::empty())
        .unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("fifo"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();

    let (tree, blobs) = scan(root, &|_| ()).unwrap();
    let names: Vec<String> =
        tree.walk().map(|entry| String::from_utf8(entry.path).unwrap()).collect();
    assert_eq!(names, ["", "another", "d", "d/one", "fifo", "link", "socket", "sparse"]);
    let one = tree.get("d/one").unwrap();
    assert_eq!((tree.get("another"), tree.links(one)), (Some(one), 2));
    let Kind::File(file) = &tree.inode(one).kind else { panic!() };
    assert_eq!(arbitrary::read(&blobs, &file.blob), b"12345");
    let stat = fs::metadata(root.join("d/one")).unwrap();
    let metadata = &tree.inode(one).metadata;
    assert_eq!((metadata.mode, metadata.uid), (0o4750, stat.uid()));
    assert_eq!(metadata.mtime.seconds, stat.mtime());
    assert_eq!(i64::from(metadata.mtime.nanoseconds), stat.mtime_nsec());
    let xattrs = &tree.inode(tree.get("d").unwrap()).metadata.xattrs;
    assert_eq!(xattrs.get(&b"user.name"[..]).map(|value| &**value), Some(&b"value"[..]));
    let target = Kind::Symlink((*b"/nowhere").into());
    assert_eq!(tree.inode(tree.get("link").unwrap()).kind, target);
    assert_eq!(tree.inode(tree.get("fifo").unwrap()).kind, Kind::Fifo);
    assert_eq!(tree.inode(tree.get("socket").unwrap()).kind, Kind::Socket);
    let Kind::File(file) = &tree.inode(tree.get("sparse").unwrap()).kind else { panic!() };
    assert_eq!(file.size, 1 << 40);
    let [Extent { offset, length }] = file.extents.as_deref().unwrap() else { panic!() };
    assert!(*offset <= 1 << 30 && *length <= 1 << 20, "{offset} {length}");
    assert!(arbitrary::read(&blobs, &file.blob).windows(4).any(|window| window == b"data"));
}

#[test]
fn changes_after_the_scan_are_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("f");
    fs::write(&path, b"old").unwrap();
    let (tree, blobs) = scan(directory.path(), &|_| ()).unwrap();
    let Kind::File(file) = &tree.inode(tree.get("f").unwrap()).kind else { panic!() };
    arbitrary::read(&blobs, &file.blob);
    fs::write(&path, b"newer").unwrap();
    assert!(blobs.open(&file.blob).is_err());
    let result = scan(&path, &|_| ());
    assert!(matches!(result, Err(ScanError::NotADirectory(_))));
}
