//! Any bytes in the place of one block of a file system: a directory, a table of attributes, a bonus
//! area, a spill block. The rest of it is sound, so that the reader gets as far as it can.
//!
//! Errors are fine; panics, hangs and memory far above the size of the file system are bugs.
#![no_main]

use std::sync::{Arc, LazyLock};

use blk::Memory;
use libfuzzer_sys::fuzz_target;
use tree::{File, Inode, Kind, MemoryBlobs, Metadata, Tree};
use zfs::read::{Device, Pool};
use zfs::send::{Receiver, Record, SendOptions, StreamReader, StreamWriter, send_snapshot};
use zfs::{Content, Dataset};

/// The stream of a small file system.
static STREAM: LazyLock<Vec<Record>> = LazyLock::new(|| {
    let mut tree = Tree::new(Metadata { mode: 0o755, ..Metadata::default() });
    let mut blobs = MemoryBlobs::default();
    let directory = Metadata { mode: 0o755, ..Metadata::default() };
    for (name, length) in [("micro", 10), ("fat", 80)] {
        let parent = tree.make_directories(name, &directory).expect("a directory");
        for number in 0..20usize {
            let kind = match number {
                0 => Kind::Symlink(vec![b'x'; 300].into()),
                _ => Kind::File(File::dense(100, blobs.insert(vec![number as u8; 100]))),
            };
            let mut metadata = Metadata { mode: 0o644, ..Metadata::default() };
            let value = vec![7; 150 * number].into();
            metadata.xattrs.insert(b"user.name".as_slice().into(), value);
            let name = format!("{number:0length$}");
            tree.insert(parent, name.as_bytes(), Inode { metadata, kind }).expect("a name");
        }
    }
    let content = Content { tree: &tree, root: tree.root(), mounts: Default::default() };
    let root = Dataset {
        name: "tank".to_owned(),
        content: Some(content),
        snapshot: Some("now".to_owned()),
        ..Dataset::default()
    };
    let pool = zfs::Pool {
        name: "tank".to_owned(),
        seed: [7; 32],
        timestamp: 1_700_000_000,
        datasets: vec![root],
        ..zfs::Pool::default()
    };
    let device = Arc::new(Memory::zeroed(64 << 20));
    zfs::write_pool(&*device, &pool, &blobs, &mut |_| {}).expect("a pool");
    let pool = Pool::open(&[Device { name: "fuzz".to_owned(), data: device }]).expect("a pool");
    let snapshot = pool.dataset("tank@now").expect("a snapshot");
    let mut stream = StreamWriter::new(Vec::new());
    let options = SendOptions { compressed: false, embedded: false };
    send_snapshot(&pool, &snapshot, None, options, &mut stream).expect("a stream");
    let stream = stream.finish(false).expect("a stream");
    let mut reader = StreamReader::new(&*stream);
    std::iter::from_fn(|| reader.next_record().expect("a record")).collect()
});

fn overlay(place: &mut [u8], bytes: &[u8]) {
    let length = place.len().min(bytes.len());
    place[..length].copy_from_slice(&bytes[..length]);
}

fuzz_target!(|data: &[u8]| {
    let [which, bytes @ ..] = data else { return };
    let mut records = STREAM.clone();
    let at = usize::from(*which) % records.len();
    match &mut records[at] {
        Record::Object(object) => overlay(&mut object.bonus, bytes),
        Record::Write(write) => overlay(&mut write.data, bytes),
        Record::Spill(spill) => overlay(&mut spill.data, bytes),
        _ => return,
    }
    let mut stream = StreamWriter::new(Vec::new());
    for record in records.iter().filter(|record| !matches!(record, Record::End(_))) {
        stream.write(record).expect("memory takes everything");
    }
    let Some(Record::Begin(begin)) = records.first() else { return };
    stream.end(begin.to_guid).expect("memory takes everything");
    let stream = stream.finish(false).expect("memory takes everything");
    let mut receiver = Receiver::new(Memory::zeroed(64 << 20)).expect("a spool");
    if receiver.receive(&*stream).is_ok()
        && let Ok(filesystem) = receiver.filesystem(begin.to_guid)
    {
        let _ = filesystem.tree(filesystem.root);
    }
});
