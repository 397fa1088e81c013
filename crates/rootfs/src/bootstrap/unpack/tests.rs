//! Packages made here, unpacked into a directory.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use tree::{Digest, Directory, File, Inode, InodeId, Kind, MemoryBlobs, Metadata, Timestamp, Tree};

use super::super::{BootstrapError, Package, database};
use super::*;

/// A tree that belongs to whoever runs the test.
struct Files {
    tree: Tree,
    blobs: MemoryBlobs,
    metadata: Metadata,
}

impl Files {
    fn new() -> Self {
        let metadata = Metadata {
            mode: 0o755,
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
            mtime: Timestamp { seconds: 2000, nanoseconds: 0 },
            ..Metadata::default()
        };
        Self { tree: Tree::new(metadata.clone()), blobs: MemoryBlobs::default(), metadata }
    }

    fn add(&mut self, path: &str, kind: Kind) -> InodeId {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = self.tree.make_directories(parent, &self.metadata).unwrap();
        let inode = Inode { metadata: self.metadata.clone(), kind };
        self.tree.insert(parent, name.as_bytes(), inode).unwrap()
    }

    fn file(&mut self, path: &str, content: &str) -> InodeId {
        let blob = self.blobs.insert(content.as_bytes());
        self.add(path, Kind::File(File::dense(content.len() as u64, blob)))
    }

    fn tar(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        tar::write(&self.tree, &self.blobs, &mut bytes).unwrap();
        bytes
    }
}

fn deb(path: &Path, control: &Files, data: &[u8]) {
    let mut bytes = archive::ar::MAGIC.to_vec();
    let members = [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar", control.tar()),
        ("data.tar", data.to_vec()),
    ];
    for (name, content) in members {
        let length = content.len();
        bytes.extend(format!("{name:<16}0           0     0     100644  {length:<10}`\n").bytes());
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(2), b'\n');
    }
    fs::write(path, bytes).unwrap();
}

/// A package with these fields besides those that each has.
fn package(
    directory: &Path,
    name: &str,
    fields: &str,
    control: &[(&str, &str)],
    data: &[u8],
) -> Facts {
    let text = format!("Package: {name}\nVersion: 1\nArchitecture: all\nDescription: x\n{fields}");
    let mut files = Files::new();
    files.file("control", &text);
    for (name, content) in control {
        files.file(name, content);
    }
    let path = directory.join(format!("{name}.deb"));
    deb(&path, &files, data);
    let sha256 = Digest::of(&fs::read(&path).unwrap()).to_string();
    let package = Package {
        name: name.to_owned(),
        version: "1".to_owned(),
        architecture: "all".to_owned(),
        deb: path,
        sha256,
        automatic: false,
    };
    Facts::read(&package, "amd64").unwrap()
}

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("root/usr/lib")).unwrap();
    symlink("usr/lib", root.path().join("root/lib")).unwrap();
    root
}

fn lines(list: &[Vec<u8>]) -> Vec<String> {
    list.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect()
}

#[test]
fn files_links_and_lists_as_dpkg_has_them() {
    let scratch = root();
    let path = scratch.path().join("root");
    let mut first = Files::new();
    first.file("etc/first.conf", "setting");
    let shared = first.file("lib/first/data", "data");
    let directory = first.tree.get("lib/first").unwrap();
    first.tree.link(directory, b"same", shared).unwrap();
    first.add("lib/first/link", Kind::Symlink(b"data".as_slice().into()));
    first.file("usr/bin/tool", "old");
    first.add("usr/share/empty", Kind::Directory(Directory::default()));
    let mut second = Files::new();
    second.file("usr/bin/tool", "new");
    let facts = [
        package(
            scratch.path(),
            "first",
            "Depends: second\n",
            &[("conffiles", "/etc/first.conf\n"), ("triggers", "interest-noawait /usr/x\n")],
            &first.tar(),
        ),
        package(scratch.path(), "second", "Replaces: first (<< 2)\n", &[], &second.tar()),
    ];
    let root = Root::open(&path).unwrap();
    let unpacker = Unpacker::new(&root, &facts, 1000);
    // As base-files is: alone, before the package that takes a file of it.
    let mut unpacked = unpacker.run(&[(0, Manner::Package)], 1, &|_| ()).unwrap();
    unpacked.append(&mut unpacker.run(&[(1, Manner::Package)], 2, &|_| ()).unwrap());
    unpacker.settle(&mut unpacked);

    let read = |name: &str| fs::read_to_string(path.join(name)).unwrap();
    assert_eq!(read("etc/first.conf.dpkg-new"), "setting");
    assert!(!path.join("etc/first.conf").exists());
    assert_eq!(
        (read("usr/lib/first/same"), read("usr/lib/first/link")),
        ("data".into(), "data".into())
    );
    let stat = fs::metadata(path.join("usr/lib/first/data")).unwrap();
    assert_eq!((stat.nlink(), stat.mtime(), stat.mode() & 0o7777), (2, 1000, 0o755));
    assert_eq!(read("usr/bin/tool"), "new", "who replaces has the file, in whatever order");
    assert!(path.join("lib").is_symlink(), "a link to a directory stays");
    assert_eq!(
        lines(&unpacked[&0].list),
        [
            "/.",
            "/etc",
            "/etc/first.conf",
            "/lib",
            "/lib/first",
            "/lib/first/data",
            "/lib/first/link",
            "/lib/first/same",
            "/usr",
            "/usr/bin",
            "/usr/share",
            "/usr/share/empty",
        ]
    );
    assert_eq!(lines(&unpacked[&1].list), ["/.", "/usr", "/usr/bin", "/usr/bin/tool"]);

    database::create(&path, "amd64", &facts, &unpacked).unwrap();
    let status = read("var/lib/dpkg/status");
    assert!(status.contains("Conffiles:\n /etc/first.conf newconffile\n\n"), "{status}");
    assert_eq!(status.matches("Status: install ok unpacked\n").count(), 2);
    assert_eq!(read("var/lib/dpkg/triggers/File"), "/usr/x first/noawait\n");
    assert_eq!(read("var/lib/dpkg/info/second.list"), "/.\n/usr\n/usr/bin\n/usr/bin/tool\n");
    assert_eq!(database::unfinished(&path).unwrap().len(), 2);
}

#[test]
fn what_dpkg_refuses() {
    let scratch = root();
    let root = Root::open(&scratch.path().join("root")).unwrap();
    let mut tool = Files::new();
    tool.file("usr/bin/tool", "x");
    let mut out = Files::new();
    out.file("usr/bin/other", "x");
    let mut climbs = out.tar();
    // The name of the file, and the sum that goes with it.
    for at in (0..climbs.len()).step_by(512) {
        if climbs[at..].starts_with(b"usr/bin/other")
            || climbs[at..].starts_with(b"./usr/bin/other")
        {
            climbs[at..at + 100].fill(0);
            climbs[at..at + 14].copy_from_slice(b"usr/../../evil");
            climbs[at + 148..at + 156].fill(b' ');
            let sum: u32 = climbs[at..at + 512].iter().map(|&byte| u32::from(byte)).sum();
            climbs[at + 148..at + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    let facts = [
        package(scratch.path(), "one", "", &[], &tool.tar()),
        package(scratch.path(), "two", "", &[], &tool.tar()),
        package(scratch.path(), "climber", "", &[], &climbs),
    ];
    let fails = |todo: &[(usize, Manner)]| {
        let fault = Unpacker::new(&root, &facts, 1000).run(todo, 1, &|_| ()).unwrap_err();
        BootstrapError::from(fault).to_string()
    };
    let error = fails(&[(0, Manner::Package), (1, Manner::Package)]);
    assert!(
        error.contains("two (")
            && error.ends_with("it is also in one, which this package does not replace")
    );
    let error = fails(&[(2, Manner::Package)]);
    assert!(error.ends_with("no package may have this path"), "{error}");
    assert!(!scratch.path().join("evil").exists());
}

/// Where its bytes are changed, a package may still be good to read.
#[test]
fn a_file_that_is_not_the_lock_s_is_noticed_whoever_unpacks_it() {
    let scratch = root();
    let root = Root::open(&scratch.path().join("root")).unwrap();
    let mut tool = Files::new();
    tool.file("usr/bin/tool", "sweet");
    let facts = [package(scratch.path(), "pear", "", &[], &tool.tar())];
    let good = fs::read(&facts[0].package.deb).unwrap();
    let at = |text: &[u8]| good.windows(text.len()).position(|bytes| bytes == text).unwrap();
    let (content, archive) = (at(b"sweet"), at(b"ustar"));
    for (place, manner) in [
        (content, Manner::Package),
        (content, Manner::Files),
        (content, Manner::Later),
        (good.len() - 1, Manner::Package),
        (archive, Manner::Package),
    ] {
        let mut bad = good.clone();
        bad[place] ^= 1;
        fs::write(&facts[0].package.deb, &bad).unwrap();
        let fault = Unpacker::new(&root, &facts, 1000).run(&[(0, manner)], 1, &|_| ()).unwrap_err();
        let error = BootstrapError::from(fault);
        let BootstrapError::Damaged { deb, wanted, found } = &error else {
            panic!("{place} {manner:?}: {error}");
        };
        assert_eq!((deb, wanted), (&facts[0].package.deb, &facts[0].package.sha256));
        assert_eq!(*found, Digest::of(&bad).to_string());
        assert!(error.to_string().contains("delete this file, and the next build"), "{error}");
    }
    // What is in it is not looked at before.
    let fault = Facts::read(&facts[0].package, "amd64").unwrap_err();
    assert!(matches!(fault, super::super::Fault::Damaged { .. }), "{fault:?}");
    fs::write(&facts[0].package.deb, &good).unwrap();
    for manner in [Manner::Later, Manner::Package] {
        Unpacker::new(&root, &facts, 1000).run(&[(0, manner)], 1, &|_| ()).unwrap();
    }
}
