//! FAT32, with `fsck.vfat` and mtools as judges.
#![allow(missing_docs, clippy::unwrap_used)]

mod judges;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use blk::{Memory, ReadAt, Window, WriteAt};
use disk::fat::{self, FatError, Options};
use disk::layout::{DiskLayout, PartitionGuids};
use disk::{Guid, gpt};
use judges::{passes, tool};
use proptest::prelude::*;
use tree::{Directory, Extent, Inode, Kind, MemoryBlobs, Metadata, Timestamp, Tree};

const MIB: u64 = 1 << 20;
const OPTIONS: Options = Options {
    volume_id: 0x1234_abcd,
    label: "KLDLOAD ESP",
    timestamp: 1_700_000_000,
    hidden_sectors: 4096,
};

fn metadata(seconds: i64) -> Metadata {
    Metadata { mtime: Timestamp { seconds, nanoseconds: 0 }, ..Metadata::default() }
}

/// A tree and its blobs, by paths.
struct Content {
    tree: Tree,
    blobs: MemoryBlobs,
    files: BTreeMap<String, Vec<u8>>,
}

impl Content {
    fn new() -> Self {
        let tree = Tree::new(metadata(1_600_000_000));
        Self { tree, blobs: MemoryBlobs::default(), files: BTreeMap::new() }
    }

    fn kind(&mut self, path: &str, kind: Kind, mtime: i64) {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = self.tree.make_directories(directory, &metadata(mtime)).unwrap();
        let inode = Inode { metadata: metadata(mtime), kind };
        self.tree.insert(parent, name.as_bytes(), inode).unwrap();
    }

    fn file(mut self, path: &str, bytes: Vec<u8>, mtime: i64) -> Self {
        let blob = self.blobs.insert(bytes.clone());
        let file = tree::File::dense(bytes.len() as u64, blob);
        self.kind(path, Kind::File(file), mtime);
        self.files.insert(path.into(), bytes);
        self
    }

    fn write(&self, out: &dyn WriteAt) -> Result<(), FatError> {
        fat::write(out, &self.tree, &self.blobs, &OPTIONS)
    }
}

fn noise(length: usize) -> Vec<u8> {
    (0..length as u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// Copies a volume and keeps its holes.
fn copy(volume: &dyn ReadAt, out: &File) {
    let size = volume.size().unwrap();
    out.set_len(size).unwrap();
    let mut at = 0;
    while let Some(run) = volume.next_data(at).unwrap() {
        at = run.start;
        while at < run.end {
            let mut bytes = vec![0; (run.end - at).min(1 << 20) as usize];
            volume.read_exact_at(&mut bytes, at).unwrap();
            out.write_all_at(&bytes, at).unwrap();
            at += bytes.len() as u64;
        }
    }
}

/// The volume of `size` bytes at `offset` of the file `path`, read by others.
fn judge(path: &Path, offset: u64, size: u64, content: &Content) {
    let Some(mut fsck) = tool("fsck.vfat") else { return };
    let directory = tempfile::tempdir().unwrap();
    let volume = directory.path().join("volume");
    let window = Window::new(File::open(path).unwrap(), offset..offset + size).unwrap();
    copy(&window, &File::create_new(&volume).unwrap());
    let said = passes(fsck.args(["-n", "-v"]).arg(&volume));
    let files = content.tree.walk().count();
    // It counts the label, but not the root.
    assert!(said.contains(&format!(": {files} files,")), "{said}\n{files}");
    for complaint in ["differ", "wrong", "Dirty", "corrupt", "Unable", "bad ", "Free cluster"] {
        assert!(!said.contains(complaint), "{said}");
    }

    let Some(mut mcopy) = tool("mcopy") else { return };
    let image = format!("{}@@{offset}", path.display());
    let out = directory.path().join("out");
    fs::create_dir(&out).unwrap();
    if files > 1 {
        mcopy.args(["-s", "-m", "-i", &image, "::*"]).arg(&out).env("TZ", "UTC");
        passes(&mut mcopy);
    }
    let mut found = 0;
    for entry in content.tree.walk() {
        let path = str::from_utf8(&entry.path).unwrap();
        let copied = out.join(path);
        match content.files.get(path) {
            None => assert!(copied.is_dir(), "{path}"),
            Some(bytes) => {
                assert!(&fs::read(&copied).unwrap() == bytes, "{path}");
                let mtime = fs::metadata(&copied).unwrap().mtime();
                assert_eq!(mtime, entry.inode.metadata.mtime.seconds & !1, "{path}");
                found += 1;
            }
        }
    }
    assert_eq!(found, content.files.len());
}

fn esp() -> Content {
    let kernel = noise(9_000_001);
    let mut content = Content::new()
        .file("EFI/BOOT/BOOTX64.EFI", noise(120_000), 1_709_210_096)
        .file("EFI/systemd/systemd-bootx64.efi", noise(4096), 1_709_210_097)
        .file("loader/loader.conf", b"timeout 3\n".to_vec(), 4_000_000_000)
        .file("loader/loader.config", vec![], 1_700_000_001)
        .file("loader/entries/9f86d081-6.12.48+deb13-amd64.conf", noise(300), 1_700_000_001)
        .file("kldload/9f86d081884c7d659a2feaa0c55ad015/vmlinuz", kernel, 1_700_000_001)
        .file("größe 漢字 – ελ.txt", noise(512), 1_700_000_001)
        .file(".hidden", noise(513), 1_700_000_001)
        .file(&"long".repeat(62), noise(1), 1_700_000_001);
    let empty = Kind::Directory(Directory::default());
    content.kind("loader/empty", empty, 1_700_000_001);
    // A file with holes is stored with its zeros.
    let extents = [Extent { offset: 10_000, length: 5 }, Extent { offset: 50_000, length: 7 }];
    let blob = content.blobs.insert(*b"helloagain!!");
    let file = tree::File { size: 70_000, blob, extents: Some(extents.into()) };
    content.kind("holes", Kind::File(file), 1_700_000_001);
    let mut bytes = vec![0; 70_000];
    bytes[10_000..10_005].copy_from_slice(b"hello");
    bytes[50_000..50_007].copy_from_slice(b"again!!");
    content.files.insert("holes".into(), bytes);
    content
}

#[test]
fn an_esp_on_a_disk() {
    let disk = tempfile::NamedTempFile::new().unwrap();
    disk.as_file().set_len(700 * MIB).unwrap();
    let layout = DiskLayout::new(700 * MIB, 512 * MIB).unwrap();
    let guid = |byte| Guid::v4([byte; 16]);
    let guids = PartitionGuids { bios: guid(1), esp: guid(2), pool: guid(3) };
    gpt::write(disk.as_file(), &layout.to_table(guid(4), &guids)).unwrap();
    let content = esp();
    content.write(&Window::new(disk.as_file(), layout.esp.clone()).unwrap()).unwrap();
    assert!(disk.as_file().metadata().unwrap().blocks() * 512 < 12 * MIB, "free space is written");
    judge(disk.path(), layout.esp.start, 512 * MIB, &content);

    let Some(mut mdir) = tool("mdir") else { return };
    let image = format!("{}@@{}", disk.path().display(), layout.esp.start);
    let said = passes(mdir.args(["-i", &image, "::EFI/BOOT"]));
    assert!(said.contains("Volume in drive : is KLDLOAD ESP"), "{said}");
    assert!(said.contains("Volume Serial Number is 1234-ABCD"), "{said}");
    assert!(said.contains("BOOTX64  EFI    120000"), "{said}");
    let Some(mut minfo) = tool("minfo") else { return };
    let said = passes(minfo.args(["-i", &image, "::"]));
    assert!(said.contains("hidden sectors: 4096") && said.contains("cluster size: 8"), "{said}");
}

#[test]
fn old_bytes_do_no_harm() {
    let content = esp();
    let (clean, dirty) = (Memory::zeroed(64 << 20), Memory::from(vec![0xa5; 64 << 20]));
    content.write(&clean).unwrap();
    content.write(&dirty).unwrap();
    let (clean, dirty) = (clean.into_bytes(), dirty.into_bytes());
    let same = |(clean, dirty): (&u8, &u8)| clean == dirty || (*clean == 0 && *dirty == 0xa5);
    assert!(clean.iter().zip(&dirty).all(same));
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), dirty).unwrap();
    judge(file.path(), 0, 64 << 20, &content);
}

#[test]
fn a_directory_of_many_names() {
    let mut content = Content::new();
    for n in 0..3000 {
        content = content.file(&format!("many/a name of some length {n}"), vec![], 1_700_000_000);
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(fat::MIN_SIZE).unwrap();
    content.write(file.as_file()).unwrap();
    judge(file.path(), 0, fat::MIN_SIZE, &content);
}

#[test]
fn a_full_volume_and_one_byte_more() {
    let memory = Memory::zeroed(fat::MIN_SIZE as usize);
    let error = Content::new().file("f", noise(40 << 20), 0).write(&memory).unwrap_err();
    let FatError::Full { need, have } = error else { panic!("{error}") };
    assert_eq!(need, (40 << 20) + 512);
    assert!(memory.into_bytes().iter().all(|&byte| byte == 0));

    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(fat::MIN_SIZE).unwrap();
    let content = Content::new().file("f", noise(have as usize - 512), 1_700_000_000);
    content.write(file.as_file()).unwrap();
    judge(file.path(), 0, fat::MIN_SIZE, &content);
    let error = Content::new().file("f", noise(have as usize - 511), 0).write(file.as_file());
    assert!(matches!(error, Err(FatError::Full { .. })));
}

#[test]
fn what_fat_cannot_hold_is_refused() {
    let refuse = |content: &Content, size| content.write(&Memory::zeroed(size)).unwrap_err();
    let size = fat::MIN_SIZE as usize;

    let mut content = Content::new();
    content.kind("etc/link", Kind::Symlink(b"x".as_slice().into()), 0);
    let error = refuse(&content, size).to_string();
    assert!(error.contains("\"etc/link\" is a symbolic link"), "{error}");

    let content = Content::new().file("d/a:b", vec![], 0);
    assert!(refuse(&content, size).to_string().starts_with("\"d/a:b\" cannot be on FAT"));
    let content = Content::new().file("d/Readme", vec![], 0).file("d/README", vec![], 0);
    assert!(matches!(refuse(&content, size), FatError::SameName { .. }));

    let mut content = Content::new();
    let blob = content.blobs.insert(*b"four");
    for (size, found) in [(3, "longer"), (5, "shorter")] {
        let mut content = Content { tree: content.tree.clone(), ..Content::new() };
        content.blobs.insert(*b"four");
        content.kind("f", Kind::File(tree::File::dense(size, blob)), 0);
        let error = refuse(&content, fat::MIN_SIZE as usize);
        assert!(error.to_string().contains(found), "{error}");
    }
    let huge = Kind::File(tree::File::dense(1 << 32, blob));
    content.kind("huge", huge, 0);
    assert!(matches!(refuse(&content, size), FatError::FileTooLarge { .. }));
    let mut content = Content::new();
    let extents = Some([Extent { offset: 8, length: 4 }].into());
    content.kind("f", Kind::File(tree::File { size: 9, blob, extents }), 0);
    assert!(matches!(refuse(&content, size), FatError::Extents { .. }));
    let mut content = Content::new();
    content.kind("f", Kind::File(tree::File::dense(4, blob)), 0);
    assert!(matches!(refuse(&content, size), FatError::Blob { .. }));

    let empty = Content::new();
    assert!(matches!(refuse(&empty, 32 << 20), FatError::TooSmall { .. }));
    for label in ["lower", "TWELVE CHARS", " X", "Ä"] {
        let memory = Memory::zeroed(size);
        let options = Options { label, ..OPTIONS };
        let error = fat::write(&memory, &empty.tree, &empty.blobs, &options).unwrap_err();
        assert!(matches!(error, FatError::Label { .. }), "{error}");
    }
}

#[test]
fn no_label() {
    let Some(mut fsck) = tool("fsck.vfat") else { return };
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(fat::MIN_SIZE).unwrap();
    let empty = Content::new();
    let options = Options { label: "", ..OPTIONS };
    fat::write(file.as_file(), &empty.tree, &empty.blobs, &options).unwrap();
    let command: &mut Command = fsck.arg("-n").arg(file.path());
    assert!(passes(command).contains(": 0 files, 1/"));
}

/// Files by path; a path that is below another file, or a name again in other case, is dropped.
fn contents() -> impl Strategy<Value = Content> {
    let name = prop_oneof![
        "[A-Z0-9_]{1,8}(\\.[A-Z]{1,3})?",
        "[a-z]{1,4}~[1-3]",
        "[a-zA-Z0-9 .+~äß漢=;,\\[\\]-]{0,40}[a-z0-9]",
    ];
    let path = prop::collection::vec(name, 1..4);
    let file = (path, 0..20_000_usize, 315_532_800..4_000_000_000_i64);
    prop::collection::vec(file, 0..40).prop_map(|drawn| {
        let mut content = Content::new();
        let mut seen: BTreeMap<String, (String, bool)> = BTreeMap::new();
        'next: for (path, length, mtime) in drawn {
            let path: Vec<String> = path.into_iter().map(|name| name.replace(' ', "_")).collect();
            for depth in 1..=path.len() {
                let (part, directory) = (path[..depth].join("/"), depth < path.len());
                if part.split('/').any(|name| name == "." || name == "..") {
                    continue 'next;
                }
                match seen.get(&part.to_uppercase()) {
                    Some(known) if *known != (part.clone(), true) || !directory => continue 'next,
                    Some(_) => {}
                    None => drop(seen.insert(part.to_uppercase(), (part, directory))),
                }
            }
            content = content.file(&path.join("/"), noise(length), mtime);
        }
        content
    })
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.files.keys()).finish()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_tree(content in contents()) {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(fat::MIN_SIZE).unwrap();
        content.write(file.as_file()).unwrap();
        judge(file.path(), 0, fat::MIN_SIZE, &content);
    }
}
