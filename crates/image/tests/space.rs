//! What of a disk is in use: partitions that are understood lose their free space, all others nothing.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use blk::{ReadAt, Window};
use disk::gpt::{self, Lba, Partition, TYPE_ESP, TYPE_ZFS, Table};
use disk::{Guid, fat};
use image::{Source, Space};

const MIB: u64 = 1 << 20;
const ESP: Range<u64> = MIB..65 * MIB;
const LINUX: Range<u64> = 65 * MIB..97 * MIB;
const STRANGE: Range<u64> = 97 * MIB..105 * MIB;
/// In the free space of the ESP.
const FREE: Range<u64> = 50 * MIB..51 * MIB;

fn partition(number: u8, type_guid: Guid, bytes: &Range<u64>) -> (u32, Partition) {
    let partition = Partition {
        type_guid,
        unique_guid: Guid::v4([number; 16]),
        first_lba: Lba(bytes.start / gpt::SECTOR),
        last_lba: Lba(bytes.end / gpt::SECTOR - 1),
        attributes: 0,
        name: String::new(),
    };
    (number.into(), partition)
}

/// An ext4 with a file, if mke2fs is there.
fn ext4(directory: &Path) -> Vec<u8> {
    let path = directory.join("ext4");
    let size = LINUX.end - LINUX.start;
    File::create_new(&path).unwrap().set_len(size).unwrap();
    let tree = directory.join("tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("file"), b"ext4 ".repeat(10_000)).unwrap();
    let made = Command::new("/usr/sbin/mke2fs")
        .args(["-q", "-t", "ext4", "-d"])
        .args([&tree, &path])
        .status()
        .is_ok_and(|status| status.success());
    if !made {
        eprintln!("\n***** SKIPPED: mke2fs made no ext4; other bytes stand for it *****\n");
        return b"not ext4".repeat(size as usize / 8);
    }
    std::fs::read(path).unwrap()
}

#[test]
fn only_what_is_understood_loses_its_free_space() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.raw");
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    file.set_len(128 * MIB).unwrap();
    let esp = Window::new(&file, ESP).unwrap();
    let options =
        fat::Options { volume_id: 7, label: "ESP", timestamp: 1_700_000_000, hidden_sectors: 2048 };
    let empty = tree::Tree::new(tree::Metadata::default());
    fat::write(&esp, &empty, &tree::MemoryBlobs::default(), &options).unwrap();
    let linux = Guid::v4([99; 16]);
    let partitions = BTreeMap::from([
        partition(1, TYPE_ESP, &ESP),
        partition(2, linux, &LINUX),
        partition(3, TYPE_ZFS, &STRANGE),
    ]);
    gpt::write(&file, &Table { disk_guid: Guid::v4([1; 16]), partitions }).unwrap();
    let put = |bytes: &[u8], offset| FileExt::write_all_at(&file, bytes, offset).unwrap();
    put(&vec![0xee; MIB as usize], FREE.start);
    put(&ext4(directory.path()), LINUX.start);
    put(&vec![0xdd; 8 * MIB as usize], STRANGE.start);

    let disk: Arc<dyn ReadAt> = Arc::new(file.try_clone().unwrap());
    let space = Space::find(&disk).unwrap();
    for kept in [0..MIB, LINUX, STRANGE, 105 * MIB..128 * MIB] {
        assert!(space.used.covers(kept.clone()), "{kept:?}");
    }
    assert!(!space.used.overlaps(FREE));
    assert!(space.used.covers(ESP.start..ESP.start + 512));
    assert_eq!(space.notes.len(), 3);
    assert!(space.notes[1].contains("kept whole") && space.notes[2].contains("kept whole"));

    let source = Source::new(&*disk, Some(&space.used), false).unwrap();
    let mut bytes = vec![1; 128 * MIB as usize];
    source.read(&mut bytes, 0).unwrap();
    let mut expected = std::fs::read(&path).unwrap();
    expected[FREE.start as usize..FREE.end as usize].fill(0);
    assert!(bytes == expected);
    // A disk without a table is kept whole.
    let bare: Arc<dyn ReadAt> = Arc::new(Window::new(file, STRANGE).unwrap());
    assert_eq!(Space::find(&bare).unwrap().used.bytes(), 8 * MIB);
}

/// A disk of bad sectors.
struct Unreadable;

impl ReadAt for Unreadable {
    fn size(&self) -> std::io::Result<u64> {
        Ok(MIB)
    }
    fn read_exact_at(&self, _: &mut [u8], _: u64) -> std::io::Result<()> {
        Err(std::io::Error::other("bad sector"))
    }
}

/// A disk that lost its second half: what is left keeps its partitions.
#[test]
fn a_disk_that_was_cut_off_is_told() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(8 * MIB).unwrap();
    let partitions = BTreeMap::from([
        partition(1, TYPE_ESP, &(MIB..3 * MIB)),
        partition(2, TYPE_ZFS, &(3 * MIB..5 * MIB)),
        partition(3, TYPE_ESP, &(5 * MIB..7 * MIB)),
    ]);
    gpt::write(&file, &Table { disk_guid: Guid::v4([1; 16]), partitions }).unwrap();
    file.set_len(4 * MIB).unwrap();
    let disk: Arc<dyn ReadAt> = Arc::new(file);
    let Space { used, notes } = Space::find(&disk).unwrap();
    assert_eq!(used.bytes(), 4 * MIB);
    let missing = 4 * MIB;
    let told = format!("the disk was cut off: its GPT counts on {missing} bytes more");
    assert_eq!(notes[0], told);
    for number in [2, 3] {
        let told = format!("partition {number}: kept whole (its end is cut off)");
        assert_eq!(notes[number], told);
    }
}

/// A table of which neither copy is good: people must not take it for one without partitions.
#[test]
fn a_damaged_table_is_told() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(8 * MIB).unwrap();
    let partitions = BTreeMap::from([partition(1, TYPE_ZFS, &(MIB..7 * MIB))]);
    gpt::write(&file, &Table { disk_guid: Guid::v4([1; 16]), partitions }).unwrap();
    let found = |file: &File| {
        let disk: Arc<dyn ReadAt> = Arc::new(file.try_clone().unwrap());
        let space = Space::find(&disk).unwrap();
        assert_eq!(space.used.bytes(), disk.size().unwrap());
        space.notes.concat()
    };
    file.set_len(4 * MIB).unwrap();
    file.write_all_at(b"x", 1024).unwrap();
    let note = found(&file);
    assert!(note.starts_with("the GPT is damaged (primary copy: "), "{note}");
    assert!(note.contains("offset 1024") && note.ends_with("everything is kept"), "{note}");
    let unreadable: Arc<dyn ReadAt> = Arc::new(Unreadable);
    let note = Space::find(&unreadable).unwrap().notes.concat();
    assert!(note.starts_with("no GPT can be read (primary copy: ") && note.contains("bad sector"));
    for size in [0, 512, 1024, 1536] {
        file.set_len(0).unwrap();
        file.set_len(size).unwrap();
        assert_eq!(found(&file), "no GPT: everything is kept", "{size}");
    }
}

/// Images have sectors of 512 bytes: whoever exports a disk with larger ones must hear of it.
#[test]
fn a_table_of_large_sectors_is_told() {
    let notes = |at: usize| {
        let mut bytes = vec![0; 1 << 20];
        bytes[at..at + 8].copy_from_slice(b"EFI PART");
        let disk: Arc<dyn ReadAt> = Arc::new(blk::Memory::from(bytes));
        Space::find(&disk).unwrap().notes.concat()
    };
    assert!(notes(4096).contains("4096"), "{}", notes(4096));
    assert_eq!(notes(8192), "no GPT: everything is kept");
}
