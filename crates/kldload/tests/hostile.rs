//! Pools that somebody made to do harm, and pools of which something is lost: all checksums are right.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;

use blk::{Memory, ReadAt};
use tempfile::TempDir;
use tree::{File, Inode, Kind, MemoryBlobs, Metadata, Tree};
use zfs::verify::surgeon::{Surgeon, change};

fn kldload(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kldload")).args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A pool `tank` with the file systems `fs`, in which is a directory `d`, and `fs/sub`, and with a volume
/// `vol`.
struct Patient {
    dir: TempDir,
    surgeon: Surgeon,
}

impl Patient {
    fn new() -> Self {
        let directory = Metadata { mode: 0o755, ..Metadata::default() };
        let mut tree = Tree::new(directory.clone());
        let mut blobs = MemoryBlobs::default();
        let d = tree.make_directories("d", &directory).unwrap();
        tree.make_directories("d/below", &directory).unwrap();
        tree.make_directories("sub", &directory).unwrap();
        for number in 0..40 {
            let text = format!("content {number}");
            let kind = Kind::File(File::dense(text.len() as u64, blobs.insert(text.into_bytes())));
            let metadata = Metadata { mode: 0o644, ..Metadata::default() };
            let name = format!("a name of some length, number {number}");
            tree.insert(d, name.as_bytes(), Inode { metadata, kind }).unwrap();
        }
        let content = zfs::Content { tree: &tree, root: tree.root(), mounts: Default::default() };
        let dataset = |name: &str| zfs::Dataset {
            name: name.to_owned(),
            snapshot: Some("now".to_owned()),
            ..zfs::Dataset::default()
        };
        let volume = File::dense(1 << 20, blobs.insert(vec![7; 1 << 20]));
        let atime = vec![("atime".to_owned(), "off".to_owned())];
        let pool = zfs::Pool {
            name: "tank".to_owned(),
            seed: [7; 32],
            datasets: vec![
                dataset("tank"),
                zfs::Dataset { content: Some(content), properties: atime, ..dataset("tank/fs") },
                dataset("tank/fs/sub"),
                zfs::Dataset {
                    volume: Some(zfs::Volume { file: volume, block_size: 16 << 10 }),
                    ..dataset("tank/vol")
                },
            ],
            ..zfs::Pool::default()
        };
        let device = Arc::new(Memory::zeroed(64 << 20));
        zfs::write_pool(&*device, &pool, &blobs, &mut |_| {}).unwrap();
        Self { dir: TempDir::new().unwrap(), surgeon: Surgeon { device } }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Gives an entry of `d` another name, and an object.
    fn rename(&self, number: u64, name: &str, object: impl FnOnce(u64) -> u64) {
        let pool = self.surgeon.pool();
        let fs = pool.filesystem(&pool.dataset("tank/fs").unwrap()).unwrap();
        let d = fs.resolve(b"d", false).unwrap().object.number;
        let old = format!("a name of some length, number {number}\0");
        let mut object = Some(object);
        self.surgeon.object("tank/fs", d, &mut |dnode| {
            self.surgeon.block(dnode, 0, &mut |zap| {
                let named = |at: &usize| zap[at + 14..].starts_with(old.as_bytes());
                let at = (64..zap.len()).step_by(64).find(named).unwrap();
                zap[at + 14..at + 64].fill(0);
                zap[at + 14..at + 14 + name.len()].copy_from_slice(name.as_bytes());
                let object = object.take().unwrap();
                change(zap, at, |value| object(value & !(15 << 60)) | value & 15 << 60);
            });
        });
    }

    /// Makes the dnode of an object of the MOS one that cannot be.
    fn lose(&self, object: u64) {
        self.surgeon.mos(object, &mut |dnode| dnode[8..10].fill(0));
    }

    /// `IMAGE:PLACE`, after writing the image.
    fn place(&self, place: &str) -> String {
        let image = fs::File::create(self.path("pool.img")).unwrap();
        let size = self.surgeon.device.size().unwrap();
        image.set_len(size).unwrap();
        let mut piece = vec![0; 64 << 10];
        for at in (0..size).step_by(piece.len()) {
            self.surgeon.device.read_exact_at(&mut piece, at).unwrap();
            if piece.iter().any(|byte| *byte != 0) {
                image.write_all_at(&piece, at).unwrap();
            }
        }
        match place {
            "" => self.text("pool.img"),
            _ => format!("{}:{place}", self.text("pool.img")),
        }
    }
}

#[test]
fn nothing_is_written_or_deleted_outside() {
    let patient = Patient::new();
    patient.rename(3, "../../evil", |object| object);
    // What cannot be read was taken away again.
    patient.rename(4, "../../precious", |_| 1 << 40);
    fs::write(patient.path("precious"), "precious").unwrap();
    let (place, out) = (patient.place("tank/fs/"), patient.text("out"));

    let output = kldload(&["cp", "-r", &place, &out]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(said(&output).contains("\"../../evil\" cannot be in it"), "{output:?}");
    let output = kldload(&["cp", "-r", "--skip-bad", &place, &out]);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert!(said(&output).contains("what is in it: "), "{output:?}");
    let mut left: Vec<_> = fs::read_dir(patient.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["out", "pool.img", "precious"]);
    // 40 files and a directory, less those two.
    assert_eq!(fs::read_dir(patient.path("out/d")).unwrap().count(), 39);

    let output = kldload(&["verify", &patient.text("pool.img")]);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(report.contains("cannot be in it (tank/fs:/d)"), "{report}");
}

#[test]
fn directories_that_are_in_themselves() {
    let patient = Patient::new();
    let pool = patient.surgeon.pool();
    let fs = pool.filesystem(&pool.dataset("tank/fs").unwrap()).unwrap();
    let d = fs.resolve(b"d", false).unwrap().object.number;
    patient.rename(3, "again", |_| d);
    let place = patient.place("tank/fs");
    for arguments in [&["ls", "-r", &place][..], &["cp", "-r", &place, &patient.text("out")]] {
        let output = kldload(arguments);
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        assert!(said(&output).contains("a directory in two places"), "{output:?}");
    }
}

#[test]
fn names_do_nothing_to_a_terminal() {
    let patient = Patient::new();
    patient.rename(3, "\x1b[2J", |_| 1 << 40);
    let place = patient.place("tank/fs/");
    let output = kldload(&["cp", "-r", "--skip-bad", &place, &patient.text("out")]);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let told = said(&output);
    assert!(told.contains("/d/\\u{1b}[2J: ") && !told.contains('\x1b'), "{told:?}");
    let output = kldload(&["cp", "-r", &place, &patient.text("again")]);
    assert!(!output.status.success() && !said(&output).contains('\x1b'), "{output:?}");
    let output = kldload(&["verify", &patient.text("pool.img")]);
    assert!(!output.stdout.contains(&0x1b), "{output:?}");
}

#[test]
fn a_dataset_that_cannot_be_read() {
    let patient = Patient::new();
    patient.lose(patient.surgeon.pool().dataset("tank/fs/sub").unwrap().directory);
    let place = patient.place("tank/fs/sub/");
    // There is a directory of that name in `tank/fs`, and it is not what was asked for.
    for arguments in
        [&["cp", "-r", &place, &patient.text("out")][..], &["ls", &place], &["cat", &place]]
    {
        let output = kldload(arguments);
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        assert!(said(&output).contains("dataset tank/fs/sub: object "), "{output:?}");
    }
    for (place, code) in
        [("tank/fs//sub", 0), ("tank/fs/d", 0), ("tank/fs/sub@now", 3), ("tank/fs/sub/x/y", 3)]
    {
        let output = kldload(&["ls", &patient.place(place)]);
        assert_eq!(output.status.code(), Some(code), "{place}: {output:?}");
    }
    let stream = patient.text("stream");
    let output = kldload(&["send", "-R", &patient.place("tank@now"), "-o", &stream]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(!patient.path("stream").exists());
    let output = kldload(&["send", &patient.place("tank/fs@now"), "-o", &stream]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn the_rest_is_told_of_a_pool_of_which_something_cannot_be_read() {
    let patient = Patient::new();
    let pool = patient.surgeon.pool();
    let directory = pool.dataset("tank/fs").unwrap().directory;
    let bonus = pool.mos().unwrap().object(directory).unwrap().dnode.bonus;
    patient.lose(u64::from_le_bytes(bonus[80..88].try_into().unwrap()));
    let image = patient.place("");
    let output = kldload(&["inspect", &image]);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert!(said(&output).contains("warning: properties of tank/fs: "), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("tank/vol"), "{output:?}");
    let output = kldload(&["inspect", "--json", &image]);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["datasets"].as_array().unwrap().len(), 8, "{report}");
    assert!(report["warnings"].to_string().contains("properties of tank/fs: "), "{report}");
}

#[test]
fn volumes_have_no_paths() {
    let patient = Patient::new();
    let (place, out) = (patient.place("tank/vol/x"), patient.text("out"));
    for arguments in [&["cat", &place][..], &["cp", &place, &out], &["cp", &place, "-"]] {
        let output = kldload(arguments);
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        assert!(said(&output).contains("tank/vol is not a file system"), "{output:?}");
        assert!(output.stdout.is_empty() && !patient.path("out").exists());
    }
    let output = kldload(&["cat", &patient.place("tank/vol")]);
    assert_eq!(output.stdout, vec![7; 1 << 20]);
}

#[test]
fn who_reads_an_older_state_is_told() {
    let patient = Patient::new();
    patient.surgeon.lose_newest();
    let name = "tank/fs/d/a name of some length, number 7";
    let (file, snapshot) = (patient.place(name), patient.place("tank/fs@now"));
    let (out, stream) = (patient.text("out"), patient.text("stream"));
    for arguments in [
        &["ls", &file][..],
        &["cat", &file],
        &["cp", &file, &out],
        &["send", &snapshot, "-o", &stream],
    ] {
        let output = kldload(arguments);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let told = said(&output);
        assert!(told.starts_with("warning: transaction group "), "{arguments:?}: {told}");
    }
}

#[test]
fn what_was_not_meant_is_refused_as_such() {
    let patient = Patient::new();
    let (dataset, snapshot) = (patient.place("tank/fs"), patient.place("tank/fs@now"));
    for arguments in [
        &["send", &dataset, "-o", "x"][..],
        &["send", &snapshot, "--from", "tank/fs#mark", "-o", "x"],
    ] {
        let output = kldload(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
    }
}
