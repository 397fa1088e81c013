//! Writes a small good input of each format that no fuzzer guesses to `corpus/TARGET/`, where cargo-fuzz looks
//! first: `cargo run --example seeds`, in this directory.
//!
//! They are made by our own writers, so that no bytes need to be kept here.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io::Read;
use std::path::Path;

use blk::Memory;
use disk::Guid;
use disk::export::{Identity, ImageWriter, Vhdx};
use disk::gpt::{Lba, Partition, TYPE_ZFS, Table};
use fuzz::small_stream;
// Built like the targets, its coverage is counted by functions of that crate.
use libfuzzer_sys as _;
use tree::{Device, File, Inode, Kind, MemoryBlobs, Metadata, Tree};
use zfs::nvlist::{NvList, encode_xdr};
use zfs::send::{Record, StreamWriter};
use zfs::zap::{Entry, ZapOptions};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What no fuzzer guesses of formats that are text.
const TEXTS: &[(&str, &str)] = &[
    (
        "lock",
        "kldload-lock 1\ndistribution debian trixie amd64\nrequest bash\n\
         suite trixie 2025-05-17T08:05:41Z DIGEST 10 http://m.example/debian\nsignature trixie DIGEST 3\n\
         index trixie DIGEST 0 main/binary-amd64/Packages.xz\n\
         package bash 5.2-1 amd64 7 DIGEST trixie/main pool/main/b/bash.deb\n",
    ),
    (
        "copyright",
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: GPL-2+ \
         or Artistic, and BSD-3-clause\n text\n",
    ),
    (
        "request",
        "GET http://m/pool/a%2bb.deb?x HTTP/1.1\r\nRange: bytes=5-9\r\nIf-Range: Sat, 10 May 2025 09:31:35 \
         GMT\r\nConnection: close\r\n\r\n",
    ),
    ("redirect", "https://cdn.example/x/../y?key=1#part"),
    ("location", "file://localhost/srv/a%20b"),
    ("package_set", "# ours\nr-base=4.5  # statistics\nzfs-dkms/trixie-backports\n"),
    (
        "profiles",
        "[a]\nextends = \"b\"\npriority = \"standard\"\nexclude = [\"vim\"]\n[a.release.trixie]\nwithout = \
         [\"jq\"]\n[b]\nextends = \"core\"\n",
    ),
    ("pin", "linux-* src:linux-signed-amd64\nrelease n=trixie-backports, c=main"),
];

fn main() -> Result<()> {
    // Of nothing, as good as any other.
    let digest = tree::Digest::of(b"").to_string();
    for (target, text) in TEXTS {
        save(target, text.replace("DIGEST", &digest).as_bytes())?;
    }
    let (tree, blobs) = tree()?;
    let mut manifest = Vec::new();
    tree::manifest::write(&tree, &mut manifest)?;
    save("manifest", &manifest)?;
    let mut tar = Vec::new();
    archive::tar::write(&tree, &blobs, &mut tar)?;
    save("tar", &tar)?;
    save("deb", &deb(&tar)?)?;
    save("gpt", &gpt()?)?;
    save("fat", &fat()?)?;
    save("vhdx", &vhdx()?)?;
    save("zfs_nvlist", &encode_xdr(&config()))?;
    // The uberblock comes first, and there is none.
    save("zfs_label", &[vec![0; 512], encode_xdr(&config())].concat())?;
    save("zfs_zap", &zap()?)?;
    // Eight bytes in the first place of all.
    save("zfs_pool", b"\0\0\0\x08\xff\xff\xff\xff\xff\xff\xff\x7f")?;
    zfs_records()
}

fn save(target: &str, bytes: &[u8]) -> Result<()> {
    save_as(target, "seed", bytes)
}

fn save_as(target: &str, name: &str, bytes: &[u8]) -> Result<()> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&directory)?;
    println!("{target}: {} bytes", bytes.len());
    Ok(fs::write(directory.join(name), bytes)?)
}

/// One inode of each kind.
fn tree() -> Result<(Tree, MemoryBlobs)> {
    let (mut tree, mut blobs) = (Tree::new(Metadata::default()), MemoryBlobs::default());
    let blob = blobs.insert(&b"content"[..]);
    let directory = tree.make_directories("usr/bin", &Metadata::default())?;
    let kinds = [
        ("file", Kind::File(File::dense(7, blob))),
        ("link", Kind::Symlink(b"file".as_slice().into())),
        ("null", Kind::CharDevice(Device { major: 1, minor: 3 })),
        ("pipe", Kind::Fifo),
    ];
    for (name, kind) in kinds {
        let mut metadata = Metadata { mode: 0o644, uid: 1000, ..Metadata::default() };
        if let Kind::File(_) = kind {
            metadata.xattrs.insert(b"user.x".as_slice().into(), b"y".as_slice().into());
        }
        tree.insert(directory, name.as_bytes(), Inode { metadata, kind })?;
    }
    let id = tree.resolve("usr/bin/file")?;
    tree.link(directory, b"second", id)?;
    Ok((tree, blobs))
}

fn deb(data: &[u8]) -> Result<Vec<u8>> {
    let mut blobs = MemoryBlobs::default();
    let content = b"Package: a\nVersion: 1\nArchitecture: all\n";
    let file = File::dense(content.len() as u64, blobs.insert(&content[..]));
    let mut tree = Tree::new(Metadata::default());
    let inode = Inode { metadata: Metadata::default(), kind: Kind::File(file) };
    tree.insert(tree.root(), b"control", inode)?;
    let mut control = Vec::new();
    archive::tar::write(&tree, &blobs, &mut control)?;
    let mut bytes = b"!<arch>\n".to_vec();
    let members = [("debian-binary", &b"2.0\n"[..]), ("control.tar", &control), ("data.tar", data)];
    for (name, content) in members {
        let head = format!("{name:<16}0           0     0     100644  {:<10}`\n", content.len());
        bytes.extend(head.as_bytes());
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(2), b'\n');
    }
    Ok(bytes)
}

fn gpt() -> Result<Vec<u8>> {
    let guid = |byte| Guid::v4([byte; 16]);
    let partition = Partition {
        type_guid: TYPE_ZFS,
        unique_guid: guid(1),
        first_lba: Lba(34),
        last_lba: Lba(40),
        attributes: 0,
        name: "pool".to_owned(),
    };
    let table = Table { disk_guid: guid(2), partitions: BTreeMap::from([(1, partition)]) };
    let disk = Memory::zeroed(128 << 9);
    disk::gpt::write(&disk, &table)?;
    Ok(disk.into_bytes())
}

/// Boot sectors and the start of the file allocation table: the target puts zeros behind.
fn fat() -> Result<Vec<u8>> {
    let (tree, blobs) = tree_of_files()?;
    let options =
        disk::fat::Options { volume_id: 1, label: "ESP", timestamp: 0, hidden_sectors: 2048 };
    let volume = Memory::zeroed(40 << 20);
    disk::fat::write(&volume, &tree, &blobs, &options)?;
    let mut bytes = volume.into_bytes();
    bytes.truncate(20 << 10);
    Ok(bytes)
}

fn tree_of_files() -> Result<(Tree, MemoryBlobs)> {
    let (mut tree, mut blobs) = (Tree::new(Metadata::default()), MemoryBlobs::default());
    let directory = tree.make_directories("EFI/BOOT", &Metadata::default())?;
    let file = File::dense(5000, blobs.insert(vec![1; 5000]));
    let inode = Inode { metadata: Metadata::default(), kind: Kind::File(file) };
    tree.insert(directory, b"BOOTX64.EFI", inode)?;
    Ok((tree, blobs))
}

fn vhdx() -> Result<Vec<u8>> {
    let path = std::env::temp_dir().join(format!("seed-{}.vhdx", std::process::id()));
    let file = fs::File::create_new(&path)?;
    let made = write_vhdx(file).and_then(|()| {
        let mut bytes = Vec::new();
        fs::File::open(&path)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    fs::remove_file(path)?;
    made
}

fn write_vhdx(file: fs::File) -> Result<()> {
    // Nothing but the tables: a block with data would be another megabyte.
    let writer = Vhdx::new(file, 1 << 20, Identity([7; 32]))?;
    Ok(Box::new(writer).finish().map(drop)?)
}

/// Of a pool on a mirror.
fn config() -> NvList {
    let disk = |guid: u64| NvList::new().with("type", "disk").with("id", 0u64).with("guid", guid);
    let mirror = NvList::new()
        .with("type", "mirror")
        .with("id", 0u64)
        .with("guid", 7u64)
        .with("ashift", 12u64)
        .with("asize", 1u64 << 20)
        .with("children", vec![disk(5), disk(6)]);
    NvList::new()
        .with("version", 5000u64)
        .with("name", "tank")
        .with("state", 0u64)
        .with("txg", 4u64)
        .with("pool_guid", 1u64)
        .with("top_guid", 7u64)
        .with("guid", 5u64)
        .with("vdev_children", 1u64)
        .with("vdev_tree", mirror)
        .with("features_for_read", NvList::new())
}

/// A fat one; the target takes its size of blocks from the first byte.
fn zap() -> Result<Vec<u8>> {
    let names: Vec<String> = (0..9).map(|number| format!("name-{number}")).collect();
    let entries: Vec<Entry<'_>> = names.iter().map(|name| Entry::new(name, 7)).collect();
    let options = ZapOptions { force_fat: true, ..ZapOptions::new(1) };
    let object = zfs::zap::encode(&entries, &options)?;
    let shape = (object.block_size / 512).trailing_zeros() as u8;
    Ok([vec![shape], object.data].concat())
}

/// A stream, and what its records hold, each behind its number.
fn zfs_records() -> Result<()> {
    let records = small_stream();
    let mut stream = StreamWriter::new(Vec::new());
    for (number, record) in records.iter().enumerate() {
        let content = match record {
            Record::Object(object) => &object.bonus,
            Record::Write(write) => &write.data,
            Record::Spill(spill) => &spill.data,
            Record::End(_) => continue,
            _ => &Vec::new(),
        };
        if !content.is_empty() && number < 256 {
            let bytes = [&[number as u8], &content[..]].concat();
            save_as("zfs_filesystem", &format!("record-{number}"), &bytes)?;
        }
        stream.write(record)?;
    }
    save("zfs_stream", &stream.finish(false)?)
}
