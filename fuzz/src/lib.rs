//! What the targets share.

use std::sync::Arc;

use blk::{Memory, ReadAt};
use disk::image::{Alone, Format, open};
use tree::{File, Inode, Kind, MemoryBlobs, Metadata, Tree};
use zfs::read::{Device, Pool};
use zfs::send::{Record, SendOptions, StreamReader, StreamWriter, send_snapshot};
use zfs::{Content, Dataset};

/// Opens `data` as an image and walks over the first runs of its disk.
pub fn read_image(data: &[u8], format: Format) {
    let Ok(opened) = open(Box::new(Memory::from(data.to_vec())), Some(format), &Alone) else {
        return;
    };
    let (mut at, mut buf) = (0, vec![0; 70_000]);
    for _ in 0..100 {
        let Ok(Some(run)) = opened.disk.next_data(at) else { break };
        assert!(run.start >= at && run.end > run.start, "{run:?} after {at}");
        let length = (run.end - run.start).min(buf.len() as u64) as usize;
        // Damage is an error.
        let _ = opened.disk.read_exact_at(&mut buf[..length], run.start);
        at = run.end;
    }
}

/// A device with a small pool: a file system with directories, attributes and spill blocks of each kind.
pub fn small_pool() -> Memory {
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
    let device = Memory::zeroed(64 << 20);
    zfs::write_pool(&device, &pool, &blobs, &mut |_| {}).expect("a pool");
    device
}

/// The stream of its file system.
pub fn small_stream() -> Vec<Record> {
    let device = Device { name: "fuzz".to_owned(), data: Arc::new(small_pool()) };
    let pool = Pool::open(&[device]).expect("a pool");
    let snapshot = pool.dataset("tank@now").expect("a snapshot");
    let mut stream = StreamWriter::new(Vec::new());
    let options = SendOptions { compressed: false, embedded: false };
    send_snapshot(&pool, &snapshot, None, options, &mut stream).expect("a stream");
    let stream = stream.finish(false).expect("a stream");
    let mut reader = StreamReader::new(&*stream);
    std::iter::from_fn(|| reader.next_record().expect("a record")).collect()
}
