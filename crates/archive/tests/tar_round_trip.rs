//! Any tree written as an archive is read as the same tree.

#[path = "../../tree/tests/arbitrary/mod.rs"]
mod arbitrary;

use std::path::Path;

use proptest::prelude::*;
use tree::{Inode, Kind, Metadata, Tree, manifest};

proptest! {
    #[test]
    fn a_tree_survives_tar((tree, blobs) in arbitrary::trees()) {
        let mut archive = Vec::new();
        archive::tar::write(&tree, &blobs, &mut archive).unwrap();
        prop_assert_eq!(archive.len() % 512, 0);
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a.tar");
        std::fs::write(&path, &archive).unwrap();
        let (again, files) = archive::tar::import(&path, place.path(), &|_| ()).unwrap();
        let text = |tree: &Tree| {
            let mut text = Vec::new();
            manifest::write(tree, &mut text).unwrap();
            String::from_utf8(text).unwrap()
        };
        prop_assert_eq!(text(&tree), text(&again));
        for entry in again.walk() {
            if let Kind::File(file) = &entry.inode.kind {
                let content = arbitrary::read(&files, &file.blob);
                prop_assert_eq!(content.len() as u64, file.data_size());
            }
        }
        let mut second = Vec::new();
        archive::tar::write(&again, &files, &mut second).unwrap();
        prop_assert!(second == archive, "the second archive differs");
        // An archive that changed under its blobs is noticed.
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().set_len(1).unwrap();
        for entry in again.walk() {
            if let Kind::File(file) = &entry.inode.kind {
                prop_assert!(tree::Blobs::open(&files, &file.blob).is_err());
            }
        }
    }

    #[test]
    fn damage_is_an_error_and_no_panic(
        (tree, blobs) in arbitrary::trees(),
        at in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 1..20),
        cut in any::<bool>(),
    ) {
        let mut archive = Vec::new();
        archive::tar::write(&tree, &blobs, &mut archive).unwrap();
        let length = archive.len();
        let at = at.index(length);
        if cut {
            archive.truncate(at);
        } else {
            let end = (at + bytes.len()).min(archive.len());
            archive[at..end].copy_from_slice(&bytes[..end - at]);
        }
        let spool = std::env::temp_dir();
        let result = archive::tar::import_stream(&archive[..], Path::new("x"), &spool, &|_| ());
        // One of the two zero blocks at the end is enough.
        prop_assert!(!cut || at + 512 >= length || result.is_err());
    }
}

#[test]
fn sockets_and_lies_are_refused() {
    let mut tree = Tree::new(Metadata::default());
    let socket = Inode { metadata: Metadata::default(), kind: Kind::Socket };
    tree.insert(tree.root(), b"s", socket).unwrap();
    let blobs = tree::MemoryBlobs::default();
    let error = archive::tar::write(&tree, &blobs, Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), "\"s\" is a socket, which tar cannot hold; remove it");
    tree.remove(tree.root(), b"s").unwrap();
    let mut blobs = tree::MemoryBlobs::default();
    let file = tree::File::dense(4, blobs.insert(*b"three!"));
    let file = Inode { metadata: Metadata::default(), kind: Kind::File(file) };
    tree.insert(tree.root(), b"f", file).unwrap();
    let error = archive::tar::write(&tree, &blobs, Vec::new()).unwrap_err();
    assert!(error.to_string().ends_with("is not 4 bytes long"), "{error}");
}
