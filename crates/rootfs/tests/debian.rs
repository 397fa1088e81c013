//! Cleaning and installing into a real Debian tree: `KLDLOAD_DEBIAN_TAR` names its tar.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use rootfs::{firstboot, identity};
use tree::{Blobs, Inode, Kind, LayeredBlobs, MemoryBlobs, Timestamp, Tree};

fn debian() -> Option<(Tree, Box<dyn Blobs>)> {
    let Some(path) = std::env::var_os("KLDLOAD_DEBIAN_TAR") else {
        let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
        assert!(!in_ci, "KLDLOAD_DEBIAN_TAR is not set, and CI=true");
        eprintln!(
            "\n***** SKIPPED: KLDLOAD_DEBIAN_TAR is not set, no real tree was judged *****\n"
        );
        return None;
    };
    Some(archive::tar::import(Path::new(&path), &std::env::temp_dir(), &|_| {}).unwrap())
}

fn text(tree: &Tree, blobs: &dyn Blobs, path: &str) -> String {
    let Kind::File(file) = &tree.inode(tree.resolve(path).unwrap()).kind else { panic!("{path}") };
    let mut bytes = Vec::new();
    blobs.open(&file.blob).unwrap().read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Everything packages own that is there, and what it is, but for diverted names.
fn owned(tree: &Tree, blobs: &dyn Blobs) -> BTreeMap<String, Inode> {
    let info = tree.directory(tree.resolve("var/lib/dpkg/info").unwrap()).unwrap();
    let names: Vec<String> =
        info.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect();
    let mut owned = BTreeMap::new();
    for name in names.iter().filter(|name| name.ends_with(".list")) {
        for path in text(tree, blobs, &format!("var/lib/dpkg/info/{name}")).lines() {
            if let Ok(id) = tree.resolve(path) {
                let mut inode = tree.inode(id).clone();
                if let Kind::Directory(_) = inode.kind {
                    inode.kind = Kind::Directory(tree::Directory::default());
                }
                owned.insert(path.to_owned(), inode);
            }
        }
    }
    owned
}

#[test]
fn no_package_misses_anything() {
    let Some((mut tree, blobs)) = debian() else { return };
    let mut before = owned(&tree, &blobs);
    assert!(before.len() > 10_000);
    let original = tree.inode(tree.resolve("usr/sbin/zgenhostid").unwrap()).clone();

    let mut generated = MemoryBlobs::default();
    let time = Timestamp { seconds: 1_700_000_000, nanoseconds: 0 };
    let report = identity::clean(&mut tree, &mut generated, &[], time).unwrap();
    let options = firstboot::Options {
        host_name: Some("debian".to_owned()),
        network_dhcp: true,
        ..firstboot::Options::default()
    };
    let written = firstboot::install(&mut tree, &blobs, &mut generated, &options, time).unwrap();
    for change in &report {
        println!("{:?} {} ({})", change.action, change.path, change.reason);
    }
    for path in &written {
        println!("+ {path}");
    }

    let blobs = LayeredBlobs { upper: &generated, lower: &blobs };
    let mut after = owned(&tree, &blobs);
    assert!(before.remove("/usr/sbin/zgenhostid").is_some());
    assert!(after.remove("/usr/sbin/zgenhostid").is_some());
    let diverted = tree.resolve("usr/sbin/zgenhostid.distrib").unwrap();
    assert_eq!(tree.inode(diverted), &original);
    for (path, inode) in &before {
        assert_eq!(after.get(path), Some(inode), "{path}");
    }

    for gone in ["etc/hostid", "var/lib/dkms/mok.key", "etc/shadow-"] {
        assert!(tree.get(gone).is_none(), "{gone}");
    }
    for entry in tree.walk() {
        let path = String::from_utf8_lossy(&entry.path).into_owned();
        assert!(!(path.starts_with("etc/ssh/ssh_host_") || path.ends_with("/make.log")), "{path}");
    }
}
