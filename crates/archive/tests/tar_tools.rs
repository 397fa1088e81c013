//! Archives made by GNU tar and bsdtar, and ours unpacked by GNU tar: the real tools are the judges.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tree::{Blobs, Kind, Tree, manifest};

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
}

/// Whether a tool is there; in CI it must be.
fn available(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    assert!(found || std::env::var_os("CI").is_none(), "{tool} is not installed");
    if !found {
        eprintln!("SKIPPED: {tool} is not installed");
    }
    found
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Tools judge attributes only where the file system of the tests has them; /tmp may not.
fn workplace() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn setxattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, rustix::fs::XattrFlags::empty())
        .unwrap_or_else(|error| panic!("{}: {name}: {error}", path.display()));
}

/// Sets a POSIX ACL through the kernel: a user and a group with rights of their own.
fn set_acl(path: &Path, name: &str) {
    let mut acl = vec![2, 0, 0, 0];
    let entries = [(1_u16, 7_u16, u32::MAX), (2, 4, 3_000_000), (4, 5, u32::MAX)];
    for (tag, permissions, id) in
        entries.into_iter().chain([(8, 5, 3_000_001), (16, 5, u32::MAX), (32, 0, u32::MAX)])
    {
        acl.extend_from_slice(&tag.to_le_bytes());
        acl.extend_from_slice(&permissions.to_le_bytes());
        acl.extend_from_slice(&id.to_le_bytes());
    }
    setxattr(path, name, &acl);
}

/// A directory with some of everything that can be made here.
fn make_directory(root: &Path) {
    fs::create_dir_all(root.join("d/empty")).unwrap();
    let deep: PathBuf =
        [root.to_owned(), "n".repeat(200).into(), "m".repeat(250).into()].iter().collect();
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("a long way down"), b"content").unwrap();
    symlink("t".repeat(300), root.join("link")).unwrap();
    fs::write(root.join("d/one"), vec![7; 1234]).unwrap();
    fs::hard_link(root.join("d/one"), deep.join("two")).unwrap();
    fs::write(root.join("empty"), b"").unwrap();
    fs::write(root.join("spaces and \u{e9}\n"), b"x").unwrap();
    fs::set_permissions(root.join("empty"), fs::Permissions::from_mode(0o4711)).unwrap();
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    sparse.set_len(40 << 20).unwrap();
    for at in 0..30_u64 {
        sparse.write_all_at(&[at as u8 + 1; 4096], at << 20).unwrap();
    }
    let hole = fs::File::create(root.join("hole")).unwrap();
    hole.set_len(1 << 30).unwrap();
    run(Command::new("mkfifo").arg(root.join("fifo")));
    run(Command::new("touch").args(["-d", "1960-02-03 04:05:06.7 UTC"]).arg(root.join("empty")));
    run(Command::new("touch")
        .args(["-d", "2160-02-03 04:05:06.123456789 UTC"])
        .arg(root.join("d")));
    setxattr(&root.join("d/one"), "user.a=b%20 c", b"value\0with=bytes\n\xff");
    setxattr(&root.join("d"), "user.empty", b"");
    set_acl(&root.join("d"), "system.posix_acl_access");
    set_acl(&root.join("d"), "system.posix_acl_default");
    if is_root() {
        setxattr(&root.join("empty"), "trusted.t", &[b't'; 2000]);
        let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        setxattr(&root.join("d/one"), "security.capability", &capability);
        run(Command::new("mknod").arg(root.join("char")).args(["c", "4000", "1000000"]));
        run(Command::new("mknod").arg(root.join("block")).args(["b", "8", "1"]));
        run(Command::new("chown").arg("-h").arg("4000000000:3000000").arg(root.join("link")));
    }
}

fn text(tree: &Tree) -> String {
    let mut text = Vec::new();
    manifest::write(tree, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

/// Where data runs lie is the file system's business: an archiver may cut them elsewhere. Compares
/// contents with the holes filled in, and everything else as it is.
fn assert_same(left: (&Tree, &dyn Blobs), right: (&Tree, &dyn Blobs), what: &str) {
    let strip = |text: &str| {
        let lines = text.lines().map(|line| {
            let fields = line.split(' ');
            let kept = fields.filter(|f| !f.starts_with("blob=") && !f.starts_with("data="));
            kept.collect::<Vec<_>>().join(" ")
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    let (l, r) = (strip(&text(left.0)), strip(&text(right.0)));
    for (l, r) in l.lines().zip(r.lines()) {
        assert_eq!(l, r, "{what}");
    }
    assert_eq!(l, r, "{what}");
    for (a, b) in left.0.walk().zip(right.0.walk()) {
        if let (Kind::File(a_file), Kind::File(b_file)) = (&a.inode.kind, &b.inode.kind) {
            let path = String::from_utf8_lossy(&a.path);
            assert!(data(left.1, a_file) == data(right.1, b_file), "{what}: {path}");
        }
    }
}

/// The non-zero 512-byte blocks of a file by their place.
fn data(blobs: &dyn Blobs, file: &tree::File) -> Vec<(u64, Vec<u8>)> {
    let mut bytes = Vec::new();
    blobs.open(&file.blob).unwrap().read_to_end(&mut bytes).unwrap();
    let whole = [tree::Extent { offset: 0, length: file.size }];
    let (mut rest, mut blocks) = (&bytes[..], Vec::new());
    for extent in file.extents.as_deref().unwrap_or(&whole) {
        let (run, after) = rest.split_at(extent.length as usize);
        rest = after;
        for (at, block) in run.chunks(512).enumerate() {
            if block.iter().any(|&byte| byte != 0) {
                blocks.push((extent.offset + at as u64 * 512, block.to_vec()));
            }
        }
    }
    assert!(rest.is_empty());
    blocks
}

fn import(archive: &Path) -> (Tree, Box<dyn Blobs>) {
    let spool = archive.parent().unwrap();
    archive::open(archive, spool, &|_| ()).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_format_of_gnu_tar_is_read() {
    let place = workplace();
    let root = place.path().join("root");
    make_directory(&root);
    let (scanned, files) = tree::scan::scan(&root, &|_| ()).unwrap();
    let pax = ["--format=pax", "--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner"];
    for sparse in ["0.0", "0.1", "1.0"] {
        let archive = place.path().join(format!("{sparse}.tar"));
        run(Command::new("tar")
            .args(pax)
            .args(["--sparse", &format!("--sparse-version={sparse}"), "-cf"])
            .arg(&archive)
            .arg("-C")
            .arg(&root)
            .arg("."));
        let (tree, blobs) = import(&archive);
        assert_same((&tree, &*blobs), (&scanned, &files), sparse);
        let file = tree.get("hole").unwrap();
        let Kind::File(file) = &tree.inode(file).kind else { panic!() };
        assert_eq!((file.size, file.extents.as_deref()), (1 << 30, Some(&[][..])));
    }
    // ACLs as attributes, which keeps the numbers of groups that have names.
    let acl = tree::Xattrs::from([(
        (*b"system.posix_acl_default").into(),
        [2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 4, 0, 5, 0, 255, 255, 255, 255]
            .into_iter()
            .chain([8, 0, 5, 0, 5, 0, 0, 0, 16, 0, 5, 0, 255, 255, 255, 255])
            .chain([32, 0, 0, 0, 255, 255, 255, 255])
            .collect(),
    )]);
    for (name, value) in &acl {
        setxattr(&root.join("d/empty"), std::str::from_utf8(name).unwrap(), value);
    }
    let archive = place.path().join("acl.tar");
    run(Command::new("tar")
        .args(["--format=pax", "--xattrs", "--xattrs-include=*", "-cf"])
        .arg(&archive)
        .arg("-C")
        .arg(&root)
        .arg("."));
    let (tree, _) = import(&archive);
    assert_eq!(tree.inode(tree.get("d/empty").unwrap()).metadata.xattrs, acl);
    // The older formats have neither attributes nor parts of seconds.
    for format in ["gnu", "oldgnu"] {
        let archive = place.path().join(format!("{format}.tar"));
        run(Command::new("tar")
            .args([&format!("--format={format}"), "--sparse", "--numeric-owner", "-cf"])
            .arg(&archive)
            .arg("-C")
            .arg(&root)
            .arg("."));
        let (tree, blobs) = import(&archive);
        let mut expected = scanned.clone();
        let ids: Vec<_> = expected.walk().map(|entry| entry.id).collect();
        for id in ids {
            let metadata = expected.metadata_mut(id);
            metadata.xattrs.clear();
            metadata.mtime.nanoseconds = 0;
        }
        assert_same((&tree, &*blobs), (&expected, &files), format);
    }
}

#[test]
fn bsdtar_is_read() {
    if !available("bsdtar") {
        return;
    }
    let place = workplace();
    let root = place.path().join("root");
    make_directory(&root);
    // libarchive writes fractions of times before 1970 wrongly (as if they were after it).
    run(Command::new("touch").args(["-d", "1960-02-03 UTC"]).arg(root.join("empty")));
    let (scanned, files) = tree::scan::scan(&root, &|_| ()).unwrap();
    let archive = place.path().join("bsd.tar");
    run(Command::new("bsdtar")
        .args(["--format=pax", "--xattrs", "--acls", "--numeric-owner", "--read-sparse", "-cf"])
        .arg(&archive)
        .arg("-C")
        .arg(&root)
        .arg(".")
        .env("LC_ALL", "C.UTF-8"));
    let (tree, blobs) = import(&archive);
    assert_same((&tree, &*blobs), (&scanned, &files), "bsdtar");
}

#[test]
fn compressed_archives_and_pipes_are_read() {
    let place = workplace();
    let root = place.path().join("root");
    make_directory(&root);
    let plain = place.path().join("plain.tar");
    run(Command::new("tar").args(["-S", "-cf"]).arg(&plain).arg("-C").arg(&root).arg("."));
    let (expected, _) = import(&plain);
    for (flag, suffix) in [("-z", "gz"), ("-J", "xz"), ("--zstd", "zst"), ("-j", "bz2")] {
        let archive = place.path().join(suffix);
        run(Command::new("tar")
            .args(["-S", flag, "-cf"])
            .arg(&archive)
            .arg("-C")
            .arg(&root)
            .arg("."));
        let (tree, blobs) = import(&archive);
        assert_eq!(text(&tree), text(&expected), "{suffix}");
        let saved = place.path().join("saved");
        tree::store::save(&saved, &tree, &*blobs).unwrap();
        let (again, _) = import(&saved);
        assert_eq!(text(&again), text(&expected));
        let whole = fs::read(&archive).unwrap();
        fs::write(&archive, &whole[..whole.len() / 2]).unwrap();
        assert!(archive::open(&archive, place.path(), &|_| ()).is_err());
        let name = Path::new("standard input");
        let count = std::cell::Cell::new(0);
        let progress = |bytes| count.set(bytes);
        let (tree, _) =
            archive::tar::import_stream(&whole[..], name, place.path(), &progress).unwrap();
        assert_eq!(text(&tree), text(&expected));
        assert_eq!(count.get(), whole.len() as u64);
    }
}

#[test]
fn gnu_tar_unpacks_what_we_write() {
    if !is_root() {
        eprintln!("SKIPPED: only root can unpack devices and owners");
        return;
    }
    let place = workplace();
    let root = place.path().join("root");
    make_directory(&root);
    let (scanned, files) = tree::scan::scan(&root, &|_| ()).unwrap();
    let archive = place.path().join("ours.tar");
    archive::tar::write(&scanned, &files, fs::File::create(&archive).unwrap()).unwrap();
    let out = place.path().join("out");
    fs::create_dir(&out).unwrap();
    run(Command::new("tar")
        .args(["--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner", "-xpf"])
        .arg(&archive)
        .arg("-C")
        .arg(&out));
    let (unpacked, blobs) = tree::scan::scan(&out, &|_| ()).unwrap();
    assert_same((&unpacked, &blobs), (&scanned, &files), "unpacked");
}
