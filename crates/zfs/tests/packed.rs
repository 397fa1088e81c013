//! A pool whose files were packed ahead is the same to the byte, and does not read them again.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{self, Read};

use blk::{Memory, ReadAt};
use tree::{Blobs, Digest, Extent, File, Inode, Kind, MemoryBlobs, Metadata, Tree};
use zfs::{Compression, Packed};

const RECORD: usize = 128 << 10;
const SIZE: usize = 72 << 20;
const COMPRESSION: Compression = Compression::Zstd(5);

/// Files of every kind, with their content.
fn files() -> (Tree, MemoryBlobs) {
    let mut tree = Tree::new(Metadata { mode: 0o755, ..Metadata::default() });
    let mut blobs = MemoryBlobs::default();
    let text: Vec<u8> = (0..300_000u32).flat_map(|n| n.to_string().into_bytes()).collect();
    let mut state = 7u64;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    });
    let noise: Vec<u8> = noise.take(RECORD + 77).collect();
    let all_but_last = [vec![0; 2 * RECORD], text[..5000].to_vec()].concat();
    let one_of_sevens = [text[..RECORD].to_vec(), vec![7; RECORD], noise[..9].to_vec()].concat();
    let files: [(&str, &[u8]); 9] = [
        ("empty", b""),
        ("tiny", b"tiny"),
        ("small", &text[..3000]),
        ("text", &text),
        ("same text", &text),
        ("noise", &noise),
        ("zeros", &[0; 3 * RECORD]),
        ("begins with zeros", &all_but_last),
        ("a block that a pointer holds", &one_of_sevens),
    ];
    let root = tree.root();
    let mut insert = |name: &str, file| {
        let inode = Inode { metadata: Metadata::default(), kind: Kind::File(file) };
        tree.insert(root, name.as_bytes(), inode).unwrap();
    };
    for (name, content) in files {
        insert(name, File::dense(content.len() as u64, blobs.insert(content)));
    }
    let extents = [Extent { offset: 5 * RECORD as u64, length: noise.len() as u64 }];
    let size = extents[0].offset + extents[0].length;
    insert("sparse", File { size, blob: blobs.insert(&*noise), extents: Some(extents.into()) });
    (tree, blobs)
}

fn pool<'a>(tree: &'a Tree, recordsize: &str, packed: Option<&'a Packed>) -> zfs::Pool<'a> {
    let content = zfs::Content { tree, root: tree.root(), mounts: Default::default() };
    zfs::Pool {
        name: "tank".to_owned(),
        denser: Some(COMPRESSION),
        packed,
        datasets: vec![zfs::Dataset {
            name: "tank".to_owned(),
            properties: vec![("recordsize".to_owned(), recordsize.to_owned())],
            content: Some(content),
            snapshot: Some("now".to_owned()),
            ..zfs::Dataset::default()
        }],
        ..zfs::Pool::default()
    }
}

fn written(pool: &zfs::Pool<'_>, blobs: &dyn Blobs) -> Result<Vec<u8>, zfs::WriteError> {
    let device = Memory::zeroed(SIZE);
    zfs::write_pool(&device, pool, blobs, &mut |_| {})?;
    let mut bytes = vec![0; SIZE];
    device.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Has only the blobs that are not packed.
struct Rest(MemoryBlobs, Vec<Digest>);

impl Blobs for Rest {
    fn open(&self, blob: &Digest) -> io::Result<Box<dyn Read + Send + '_>> {
        match self.1.contains(blob) {
            true => self.0.open(blob),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

#[test]
fn the_pool_is_the_same() {
    let (tree, blobs) = files();
    let directory = tempfile::tempdir().unwrap();
    let packs = directory.path().join("packed");
    let mut read = 0;
    Packed::write(&packs, &tree, &blobs, COMPRESSION, &[], &mut |bytes| read += bytes).unwrap();
    assert!(read > 2_000_000, "{read}");
    let packed = Packed::open(&packs, COMPRESSION).unwrap();

    let unpacked = ["empty", "tiny", "a block that a pointer holds", "sparse"];
    let digest = |name: &str| match &tree.inode(tree.get(name).unwrap()).kind {
        Kind::File(file) => file.blob,
        other => panic!("{other:?}"),
    };
    let rest = Rest(blobs.clone(), unpacked.map(digest).to_vec());
    let plain = written(&pool(&tree, "128K", None), &blobs).unwrap();
    assert!(written(&pool(&tree, "128K", Some(&packed)), &rest).unwrap() == plain);

    // Another directory is packed from this one, to the byte, whatever can be read.
    let again = directory.path().join("again");
    Packed::write(&again, &tree, &rest, COMPRESSION, &[packed], &mut |_| {}).unwrap();
    for file in ["blocks", "index"] {
        assert!(fs::read(packs.join(file)).unwrap() == fs::read(again.join(file)).unwrap());
    }
    let packed = Packed::open(&again, COMPRESSION).unwrap();
    Packed::open(&again, Compression::Zstd(6)).unwrap_err();

    // Blocks of other sizes are made anew; files of one block are as they were packed.
    let plain = written(&pool(&tree, "16K", None), &blobs).unwrap();
    assert!(written(&pool(&tree, "16K", Some(&packed)), &blobs).unwrap() == plain);
    let error = written(&pool(&tree, "16K", Some(&packed)), &rest);
    let error = error.map(drop).unwrap_err().to_string();
    assert!(error.contains("cannot read blob"), "{error}");

    // And so are those that are to be compressed otherwise.
    let denser = zfs::Pool { denser: Some(Compression::Zstd(9)), ..pool(&tree, "128K", None) };
    let plain = written(&denser, &blobs).unwrap();
    let with = zfs::Pool { packed: Some(&packed), ..denser };
    assert!(written(&with, &blobs).unwrap() == plain);
}

#[test]
fn what_is_damaged_is_not_taken() {
    let (tree, blobs) = files();
    let directory = tempfile::tempdir().unwrap();
    let packs = directory.path().join("packed");
    Packed::write(&packs, &tree, &blobs, COMPRESSION, &[], &mut |_| {}).unwrap();
    let (blocks, index) = (packs.join("blocks"), packs.join("index"));
    let (good_blocks, good_index) = (fs::read(&blocks).unwrap(), fs::read(&index).unwrap());

    let mut bad = good_blocks.clone();
    // The last one is of a file that is packed.
    bad[good_blocks.len() - 1] ^= 1;
    fs::write(&blocks, bad).unwrap();
    let packed = Packed::open(&packs, COMPRESSION).unwrap();
    let pool = pool(&tree, "128K", Some(&packed));
    let error = written(&pool, &blobs).map(drop).unwrap_err().to_string();
    assert!(error.contains("packed/blocks, block at offset"), "{error}");
    assert!(error.contains("not what was written there"), "{error}");

    fs::write(&blocks, &good_blocks[..good_blocks.len() - 1]).unwrap();
    Packed::open(&packs, COMPRESSION).unwrap_err();
    fs::write(&blocks, &good_blocks).unwrap();
    // A length, the sizes, an entry cut short, the entries of a blob torn apart.
    let line = 1 + good_index.iter().position(|&byte| byte == b'\n').unwrap();
    for at in [43, 47, 51].map(|at| line + at) {
        let mut bad = good_index.clone();
        bad[at] = 0xff;
        fs::write(&index, bad).unwrap();
        let error = Packed::open(&packs, COMPRESSION).unwrap_err().to_string();
        assert!(error.contains("blocks does not fit its index"), "{error}");
    }
    fs::write(&index, &good_index[..good_index.len() - 1]).unwrap();
    Packed::open(&packs, COMPRESSION).unwrap_err();
    let torn = [&good_index[..], &good_index[line..line + 88]].concat();
    fs::write(&index, torn).unwrap();
    Packed::open(&packs, COMPRESSION).unwrap_err();
}
