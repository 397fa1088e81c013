//! Pools made by a real kernel, read completely and compared with what the kernel said of them.
//!
//! They lie beside the checkout, in `../shared/fixtures/pools`; without them nothing is tested.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;

use common::{device, fixtures, open};
use zfs::crypt::Secret;
use zfs::read::{
    Dataset, DatasetKind, Datasets, Filesystem, Inode, InodeKind, Pool, PoolState, PropertySource,
};

fn unpacked_text(path: &Path) -> Vec<u8> {
    zstd::stream::decode_all(File::open(path).unwrap()).unwrap()
}

/// What `find`, `sha256sum` and `getfattr` print of a tree, one set of lines each.
#[derive(Debug, Default)]
struct Listing {
    stat: BTreeSet<String>,
    content: BTreeSet<String>,
    xattrs: BTreeSet<String>,
}

/// The sections of a manifest by dataset.
fn manifest(pool: &str) -> BTreeMap<String, Listing> {
    let path = fixtures().unwrap().join(format!("{pool}.manifest.zst"));
    let text = String::from_utf8_lossy(&unpacked_text(&path)).into_owned();
    let mut listings: BTreeMap<String, Listing> = BTreeMap::new();
    let (mut dataset, mut section, mut file) = (String::new(), "", String::new());
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            let (name, rest) = title.split_once(' ').unwrap();
            dataset = name.to_owned();
            section = match rest {
                "content" => "content",
                "xattrs" => "xattrs",
                _ => "stat",
            };
            continue;
        }
        let listing = listings.entry(dataset.clone()).or_default();
        match section {
            "stat" => {
                listing.stat.insert(line.to_owned());
            }
            "content" => {
                listing.content.insert(line.to_owned());
            }
            _ => {
                if let Some(name) = line.strip_prefix("# file: ") {
                    file = unescape(name);
                } else if !line.is_empty() {
                    listing.xattrs.insert(format!("{file}\t{line}"));
                }
            }
        }
    }
    listings
}

/// `getfattr` writes bytes outside ASCII as three octal digits.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let octal = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(value) if byte == b'\\' => {
                bytes.push(value);
                rest = &after[3..];
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn list<'p>(fs: &Filesystem<'p>, root: &Inode<'p>, prefix: &str, mounts: &Mounts<'p>) -> Listing {
    let mut listing = Listing::default();
    let mut todo = vec![(fs, root.clone(), prefix.to_owned())];
    while let Some((fs, inode, path)) = todo.pop() {
        let attributes = &inode.attributes;
        let kind = match inode.kind() {
            InodeKind::Directory => 'd',
            InodeKind::File => 'f',
            InodeKind::Symlink => 'l',
            InodeKind::CharDevice => 'c',
            InodeKind::BlockDevice => 'b',
            InodeKind::Fifo => 'p',
            InodeKind::Socket => 's',
            InodeKind::Unknown => panic!("{path}: unknown kind"),
        };
        let target = if kind == 'l' { fs.read_link(&inode).unwrap() } else { Box::default() };
        listing.stat.insert(format!(
            "{kind} {:o} {} {} {} {} {}.{:09}0 {path} -> {}",
            attributes.mode & 0o7777,
            attributes.uid,
            attributes.gid,
            attributes.links,
            attributes.size,
            attributes.mtime.seconds,
            attributes.mtime.nanoseconds,
            String::from_utf8_lossy(&target),
        ));
        if kind == 'f' {
            listing.content.insert(format!("{}  ./{path}", sha256(fs, &inode)));
        }
        if kind != 'l' {
            let name = if path.is_empty() { "." } else { &path };
            for (key, value) in fs.xattrs(&inode).unwrap() {
                let key = String::from_utf8_lossy(&key).into_owned();
                listing.xattrs.insert(format!("{name}\t{key}=0x{}", hex(&value)));
            }
        }
        if kind == 'd' {
            for entry in fs.read_dir(&inode).unwrap() {
                let name = String::from_utf8_lossy(&entry.name).into_owned();
                let below = if path.is_empty() { name } else { format!("{path}/{name}") };
                match mounts.get(&below) {
                    Some(mounted) => {
                        todo.push((mounted, mounted.inode(mounted.root).unwrap(), below));
                    }
                    None => {
                        let child = fs.inode(entry.object).unwrap();
                        let looked_up = fs.lookup(&inode, &entry.name).unwrap();
                        assert_eq!(looked_up, Some(entry), "{below}");
                        todo.push((fs, child, below));
                    }
                }
            }
        }
    }
    listing
}

fn sha256(fs: &Filesystem<'_>, inode: &Inode<'_>) -> String {
    let mut hasher = tree::Hasher::default();
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        let read = fs.read_file(inode, at, &mut buffer).unwrap();
        if read == 0 {
            return hasher.finish().to_string();
        }
        hasher.update(&buffer[..read]);
        at += read as u64;
    }
}

type Mounts<'p> = BTreeMap<String, Filesystem<'p>>;

fn property(pool: &Pool, all: &Datasets, dataset: &Dataset, name: &str) -> Option<String> {
    let properties = pool.properties(all, dataset).unwrap();
    properties.into_iter().find(|property| property.name == name).map(|found| found.value)
}

/// What is mounted below a dataset that is mounted itself.
fn mounts<'p>(pool: &'p Pool, all: &Datasets, base: &Dataset) -> Mounts<'p> {
    let top = property(pool, all, base, "mountpoint").unwrap();
    let mut mounts = Mounts::new();
    for dataset in &all.datasets {
        if dataset.kind != DatasetKind::Filesystem || dataset.is_snapshot {
            continue;
        }
        let Some(at) = property(pool, all, dataset, "mountpoint") else { continue };
        let off = property(pool, all, dataset, "canmount").as_deref() == Some("off");
        if let Some(below) = at.strip_prefix(&format!("{top}/"))
            && !off
        {
            mounts.insert(below.to_owned(), pool.filesystem(dataset).unwrap());
        }
    }
    mounts
}

fn compare(what: &str, found: &BTreeSet<String>, expected: &BTreeSet<String>) {
    let missing: Vec<_> = expected.difference(found).take(5).collect();
    let more: Vec<_> = found.difference(expected).take(5).collect();
    assert!(missing.is_empty() && more.is_empty(), "{what}: missing {missing:#?}, more {more:#?}");
    eprintln!("{what}: {} lines are equal", found.len());
}

/// Compares everything a manifest tells of a pool.
fn check(pool: &Pool) {
    let all = pool.datasets().unwrap();
    assert!(all.errors.is_empty(), "{:?}", all.errors);
    check_datasets(pool, &all);
    check_properties(pool, &all);
    for (name, expected) in manifest(&pool.name) {
        let dataset = all.get(&name).unwrap_or_else(|| panic!("{name} was not found"));
        let fs = pool.filesystem(dataset).unwrap();
        let mounts = if dataset.is_snapshot { Mounts::new() } else { mounts(pool, &all, dataset) };
        let found = list(&fs, &fs.inode(fs.root).unwrap(), "", &mounts);
        compare(&format!("{name}: stat"), &found.stat, &expected.stat);
        compare(&format!("{name}: content"), &found.content, &expected.content);
        compare(&format!("{name}: xattrs"), &found.xattrs, &expected.xattrs);
    }
    assert!(pool.faults().is_empty(), "{:?}", pool.faults());
}

fn check_datasets(pool: &Pool, all: &Datasets) {
    let path = fixtures().unwrap().join(format!("{}.datasets", pool.name));
    let mut found = BTreeSet::new();
    for dataset in &all.datasets {
        let kind = match (dataset.is_snapshot, dataset.kind) {
            (true, _) => "snapshot",
            (_, DatasetKind::Filesystem) => "filesystem",
            (_, DatasetKind::Volume) => "volume",
            (_, DatasetKind::Unknown) => "unknown",
        };
        let Dataset { name, used, referenced, creation, guid, .. } = dataset;
        let line = format!("{name}\t{kind}\t{used}\t{referenced}\t{creation}\t{guid}");
        found.insert(without_used_of_root(&line, &pool.name));
    }
    let text = std::fs::read_to_string(path).unwrap();
    let (bookmarks, datasets): (BTreeSet<_>, BTreeSet<_>) = text
        .lines()
        .map(|line| without_used_of_root(line, &pool.name))
        .partition(|line| line.contains('#'));
    compare(&format!("{}: datasets", pool.name), &found, &datasets);
    let found: BTreeSet<_> = all
        .bookmarks
        .iter()
        .map(|bookmark| format!("{}\t{}\t{}", bookmark.name, bookmark.creation, bookmark.guid))
        .collect();
    let expected: BTreeSet<_> = bookmarks
        .iter()
        .map(|line| {
            let fields: Vec<_> = line.split('\t').collect();
            format!("{}\t{}\t{}", fields[0], fields[4], fields[5])
        })
        .collect();
    compare(&format!("{}: bookmarks", pool.name), &found, &expected);
}

/// What the pool's root uses includes the MOS, which the export after the listing changed.
fn without_used_of_root(line: &str, pool: &str) -> String {
    let mut fields: Vec<&str> = line.split('\t').collect();
    if fields[0] == pool {
        fields[2] = "-";
    }
    fields.join("\t")
}

fn check_properties(pool: &Pool, all: &Datasets) {
    let path = fixtures().unwrap().join(format!("{}.properties", pool.name));
    let mut expected = BTreeSet::new();
    for line in std::fs::read_to_string(path).unwrap().lines() {
        // `xattr=on` is what OpenZFS 2.3 calls `sa`.
        expected.insert(line.replace("\txattr\ton", "\txattr\tsa"));
    }
    let mut found = BTreeSet::new();
    for dataset in &all.datasets {
        for property in pool.properties(all, dataset).unwrap() {
            // Kept with the others, but not shown as set.
            let hidden =
                ["snapshots_changed", "pbkdf2salt", "pbkdf2iters", "encryption", "keyformat"]
                    .contains(&&*property.name);
            if property.source == PropertySource::Local && !hidden {
                found.insert(format!("{}\t{}\t{}", dataset.name, property.name, property.value));
            }
        }
    }
    compare(&format!("{}: properties", pool.name), &found, &expected);
}

#[test]
fn a_pool_of_openzfs_2_1_features() {
    let Some(pool) = open(&["dev21"]) else { return };
    assert_eq!(pool.state, PoolState::Exported);
    assert_eq!(pool.warnings, [] as [&str; 0]);
    check(&pool);
    let all = pool.datasets().unwrap();
    let clone = all.get("dev21/ROOT/older").unwrap();
    assert_eq!(clone.origin.as_deref(), Some("dev21/ROOT/default@first"));
    let (volume, size) = pool.volume(all.get("dev21/vol").unwrap()).unwrap();
    let mut start = [1; 512];
    volume.read_at(0, &mut start).unwrap();
    assert_eq!((size, start), (16 << 20, [0; 512]));
}

#[test]
fn a_pool_of_openzfs_2_3_features() {
    let Some(pool) = open(&["dev23"]) else { return };
    check(&pool);
}

#[test]
fn a_mirror_and_its_halves() {
    let Some(fixtures) = fixtures() else { return };
    let [a, b] = ["devmir-a", "devmir-b"].map(|image| device(&fixtures, image));
    check(&Pool::open(&[b.clone(), a.clone()]).unwrap());
    for half in [a, b] {
        let pool = Pool::open(&[half]).unwrap();
        assert!(pool.warnings.iter().any(|warning| warning.contains("absent")));
        let all = pool.datasets().unwrap();
        let fs = pool.filesystem(all.get("devmir/ROOT/default").unwrap()).unwrap();
        let file = fs.resolve(b"bin/bash", true).unwrap();
        let expected = &manifest("devmir")["devmir/ROOT/default"].content;
        assert!(expected.contains(&format!("{}  ./bin/bash", sha256(&fs, &file))));
    }
}

#[test]
fn raidz_whole_and_without_each_of_its_disks() {
    let Some(fixtures) = fixtures() else { return };
    let devices = ["devrz-a", "devrz-b", "devrz-c"].map(|image| device(&fixtures, image));
    check(&Pool::open(&devices).unwrap());
    for absent in 0..3 {
        let mut some = devices.to_vec();
        some.remove(absent);
        let pool = Pool::open(&some).unwrap();
        let all = pool.datasets().unwrap();
        let fs = pool.filesystem(all.get("devrz/ROOT/default@first").unwrap()).unwrap();
        let expected = &manifest("devrz")["devrz/ROOT/default@first"].content;
        for path in ["bin/bash", "numbers", "random-1m", "etc/passwd"] {
            let file = fs.resolve(path.as_bytes(), true).unwrap();
            assert!(expected.contains(&format!("{}  ./{path}", sha256(&fs, &file))), "{path}");
        }
        assert!(!pool.faults().is_empty());
    }
}

#[test]
fn an_encrypted_pool_says_what_it_needs() {
    let Some(pool) = open(&["devenc"]) else { return };
    let all = pool.datasets().unwrap();
    check_datasets(&pool, &all);
    let secret = all.get("devenc/secret").unwrap();
    assert!(secret.encrypted);
    let error = pool.filesystem(secret).unwrap_err();
    assert!(error.to_string().contains("--passphrase-file"), "{error}");
}

#[test]
fn an_encrypted_pool_with_its_passphrase() {
    let Some(mut pool) = open(&["devenc"]) else { return };
    pool.set_secrets(vec![Secret::Passphrase(b"correct-horse-battery".to_vec())]);
    check(&pool);
    pool.set_secrets(vec![Secret::Passphrase(b"wrong-horse-battery".to_vec())]);
    let secret = pool.dataset("devenc/secret").unwrap();
    let error = pool.filesystem(&secret).unwrap_err();
    assert!(error.to_string().contains("wrong"), "{error}");
}
