use std::io::Read as _;

use tree::{Blobs as _, Digest, Directory, Inode, Metadata};

use super::*;

/// A tree from paths: `name/` is a directory, `a -> b` a link, anything else a file.
fn tree_of(paths: &[&str]) -> Tree {
    let mut tree = Tree::new(Metadata::default());
    for path in paths {
        let (path, kind) = if let Some((path, target)) = path.split_once(" -> ") {
            (path, Kind::Symlink(target.as_bytes().into()))
        } else if let Some(path) = path.strip_suffix('/') {
            (path, Kind::Directory(Directory::default()))
        } else {
            (*path, Kind::File(File::dense(1, Digest::of(b"x"))))
        };
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = tree.make_directories(parent, &Metadata::default()).unwrap();
        let metadata = Metadata { mode: 0o640, gid: 7, ..Metadata::default() };
        tree.insert(parent, name.as_bytes(), Inode { metadata, kind }).unwrap();
    }
    tree
}

fn cleaned(paths: &[&str]) -> (Tree, MemoryBlobs, Report) {
    let mut tree = tree_of(paths);
    let mut generated = MemoryBlobs::default();
    let time = Timestamp { seconds: 7, nanoseconds: 0 };
    let report = clean(&mut tree, &mut generated, &[], time).unwrap();
    (tree, generated, report)
}

#[test]
fn what_goes_and_what_stays() {
    let (tree, _, report) = cleaned(&[
        "etc/hostid",
        "etc/ssh/ssh_host_rsa_key",
        "etc/ssh/ssh_host_rsa_key.pub",
        "etc/ssh/sshd_config",
        "etc/resolv.conf",
        "var/lib/dkms/zfs/2.3.9/6.12/x86_64/log/make.log",
        "var/lib/dkms/zfs/2.3.9/6.12/x86_64/module/zfs.ko.xz",
        "var/lib/dkms/mok.key",
        "var/lib/apt/lists/deb_main_Packages",
        "var/lib/apt/lists/partial/",
        "var/log/apt/history.log",
        "var/log/btmp",
        "var/log/journal/0123/system.journal",
        "run/lock/apt",
        "tmp/.hidden",
    ]);
    for gone in [
        "etc/hostid",
        "etc/ssh/ssh_host_rsa_key",
        "etc/ssh/ssh_host_rsa_key.pub",
        "etc/resolv.conf",
        "var/lib/dkms/zfs/2.3.9/6.12/x86_64/log",
        "var/lib/dkms/mok.key",
        "var/lib/apt/lists/deb_main_Packages",
        "var/log/apt/history.log",
        "var/log/journal/0123",
        "run/lock/apt",
        "tmp/.hidden",
    ] {
        assert_eq!(tree.get(gone), None, "{gone}");
        assert!(report.iter().any(|change| change.path == gone), "{gone}");
    }
    for kept in [
        "etc/ssh/sshd_config",
        "etc/machine-id",
        "var/lib/dkms/zfs/2.3.9/6.12/x86_64/module/zfs.ko.xz",
        "var/lib/apt/lists/partial",
        "var/log/apt",
        "var/log/journal",
        "run/lock",
        "tmp",
    ] {
        assert!(tree.get(kept).is_some(), "{kept}");
    }
    let btmp = tree.inode(tree.get("var/log/btmp").unwrap());
    assert_eq!((btmp.metadata.mode, btmp.metadata.gid), (0o640, 7));
    assert!(matches!(&btmp.kind, Kind::File(file) if file.size == 0));
}

#[test]
fn twice_is_once() {
    let (mut tree, mut generated, _) = cleaned(&["etc/machine-id", "var/log/wtmp"]);
    let before = tree.clone();
    let report = clean(&mut tree, &mut generated, &[], Timestamp::default()).unwrap();
    assert_eq!(report, []);
    assert_eq!(tree, before);
}

#[test]
fn content_is_replaced_and_links_are_left() {
    let (tree, generated, _) = cleaned(&[
        "etc/iscsi/initiatorname.iscsi",
        "etc/resolv.conf -> ../run/systemd/resolve/stub-resolv.conf",
        "etc/machine-id -> ../run/machine-id",
    ]);
    let Kind::File(file) = &tree.inode(tree.get("etc/iscsi/initiatorname.iscsi").unwrap()).kind
    else {
        panic!("not a file")
    };
    let mut text = String::new();
    generated.open(&file.blob).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "GenerateName=yes\n");
    assert!(tree.get("etc/resolv.conf").is_some());
    assert!(matches!(tree.inode(tree.get("etc/machine-id").unwrap()).kind, Kind::Symlink(_)));
}

#[test]
fn new_machine_id_is_empty() {
    let (tree, _, report) = cleaned(&["etc/passwd"]);
    let inode = tree.inode(tree.get("etc/machine-id").unwrap());
    assert_eq!((inode.metadata.mode, inode.metadata.mtime.seconds), (0o444, 7));
    assert_eq!(inode.kind, Kind::File(File::dense(0, Digest::of(b""))));
    assert_eq!(report.len(), 1);
    // A tree without /etc is not given one.
    assert!(cleaned(&["usr/bin/true"]).0.get("etc").is_none());
}

#[test]
fn a_certificate_stays_and_the_pair_of_dkms_goes() {
    let (key, certificate) = ("var/lib/dkms/mok.key", "var/lib/dkms/mok.pub");
    assert!(cleaned(&[certificate]).0.get(certificate).is_some());
    let (tree, ..) = cleaned(&[key, certificate]);
    assert!(tree.get(key).is_none() && tree.get(certificate).is_none());
}

#[test]
fn what_was_told_stays() {
    let paths = [
        "etc/hostname",
        "etc/machine-id",
        "etc/resolv.conf",
        "etc/ssh/ssh_host_ed25519_key",
        "root/.cache/x/told",
        "tmp/home/.profile",
        "var/log/app/seed",
        "var/log/wtmp",
    ];
    let told = paths.map(|path| path.trim_end_matches("/.profile").to_owned());
    let others =
        ["etc/ssh/ssh_host_rsa_key", "root/.cache/x/other", "root/.cache/y/z", "var/log/app/log"];
    let mut tree = tree_of(&[paths.as_slice(), &others].concat());
    let before = tree.clone();
    let time = Timestamp::default();
    let report = clean(&mut tree, &mut MemoryBlobs::default(), &told, time).unwrap();
    for path in paths {
        let of = |tree: &Tree| tree.inode(tree.get(path).unwrap()).clone();
        assert_eq!(of(&tree), of(&before), "{path}");
    }
    for path in others {
        assert!(tree.get(path).is_none(), "{path}");
    }
    assert!(tree.get("root/.cache/y").is_none());
    let changed: Vec<&str> = report.iter().map(|change| &*change.path).collect();
    assert_eq!(changed, ["etc/ssh/ssh_host_rsa_key", "root/.cache", "var/log/app/log"]);
}
