//! The torture tree: some of everything a file system may hold, the same bytes every time.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::Result;
use tree::{
    Device, Directory, Extent, Inode, InodeId, Kind, MemoryBlobs, Metadata, Timestamp, Tree,
};

use crate::collide::colliding_names;

/// What the tree should have.
#[derive(Debug, Clone)]
pub struct Options {
    /// Divides the large numbers: 100,000 names in a directory, 60,000 hard links.
    pub scale: u32,
    /// Attributes with values above 64 KiB, which Linux can neither set nor read but ZFS can hold.
    pub huge_xattrs: bool,
    /// A socket, which tar cannot hold.
    pub socket: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { scale: 1, huge_xattrs: true, socket: true }
    }
}

/// Writes the torture tree as an archive, without a socket.
pub fn write_torture_tar(options: &Options, out: impl Write) -> Result<()> {
    let (tree, blobs) = torture_tree(&Options { socket: false, ..options.clone() })?;
    Ok(archive::tar::write(&tree, &blobs, out)?)
}

/// Writes the torture tree to `output`: as an archive if that ends in `.tar`, else as a saved tree.
pub fn write_torture(options: &Options, output: &Path) -> Result<()> {
    if output.extension().is_some_and(|extension| extension == "tar") {
        let mut file = BufWriter::new(File::create(output)?);
        write_torture_tar(options, &mut file)?;
        return Ok(file.flush()?);
    }
    let (tree, blobs) = torture_tree(options)?;
    Ok(tree::store::save(output, &tree, &blobs)?)
}

/// Makes the torture tree.
pub fn torture_tree(options: &Options) -> Result<(Tree, MemoryBlobs)> {
    let root = Metadata { mode: 0o755, ..Metadata::default() };
    let mut torture = Torture { tree: Tree::new(root), blobs: MemoryBlobs::default() };
    torture.names()?;
    torture.directories(options)?;
    torture.attributes(options)?;
    torture.acls()?;
    torture.sizes()?;
    torture.holes()?;
    torture.special_files(options)?;
    torture.links(options)?;
    torture.owners_times_modes()?;
    torture.symlinks()?;
    torture.deep()?;
    Ok((torture.tree, torture.blobs))
}

/// Text in many scripts, with characters of one to four bytes, combining marks and directions.
const SCRIPTS: [(&str, &str); 16] = [
    ("latin", "Größe naïve Œuvre Ærø "),
    ("vietnamese", "Tiếng Việt "),
    ("greek", "Ελληνικά "),
    ("cyrillic", "Русский язык "),
    ("armenian", "Հայերեն "),
    ("georgian", "ქართული "),
    ("hebrew", "עברית "),
    ("arabic", "العربية "),
    ("devanagari", "हिन्दी "),
    ("tamil", "தமிழ் "),
    ("thai", "ภาษาไทย "),
    ("amharic", "አማርኛ "),
    ("japanese", "日本語ひらがなカタカナ"),
    ("korean", "한국어"),
    ("chinese", "简体中文繁體中文"),
    ("emoji", "👩‍👩‍👧‍👦🏳️‍🌈𓀀𝄞"),
];

struct Torture {
    tree: Tree,
    blobs: MemoryBlobs,
}

fn default_metadata() -> Metadata {
    let mtime = Timestamp { seconds: 1_700_000_000, nanoseconds: 123_456_789 };
    Metadata { mode: 0o644, mtime, ..Metadata::default() }
}

/// Bytes that do not compress: SplitMix64.
fn random(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)).to_le_bytes()
    };
    let mut bytes: Vec<u8> =
        std::iter::repeat_with(&mut next).take(length.div_ceil(8)).flatten().collect();
    bytes.truncate(length);
    bytes
}

/// Bytes that compress to about a tenth.
fn text(length: usize) -> Vec<u8> {
    let lines =
        (0..).flat_map(|number: u32| format!("{number:08} all work and no play\n").into_bytes());
    lines.take(length).collect()
}

/// `pattern` repeated to exactly `length` bytes, cut between characters and filled up with dots.
fn name(pattern: &str, length: usize) -> String {
    let mut name = String::new();
    for character in pattern.chars().cycle() {
        if name.len() + character.len_utf8() > length {
            break;
        }
        name.push(character);
    }
    name.extend(std::iter::repeat_n('.', length - name.len()));
    name
}

impl Torture {
    fn directory(&mut self, path: &str) -> Result<InodeId> {
        let metadata = Metadata { mode: 0o755, ..default_metadata() };
        Ok(self.tree.make_directories(path, &metadata)?)
    }

    fn add(&mut self, directory: &str, name: impl AsRef<[u8]>, kind: Kind) -> Result<InodeId> {
        let mut metadata = default_metadata();
        match kind {
            Kind::Directory(_) => metadata.mode = 0o755,
            Kind::Symlink(_) => metadata.mode = 0o777,
            _ => {}
        }
        let parent = self.directory(directory)?;
        Ok(self.tree.insert(parent, name.as_ref(), Inode { metadata, kind })?)
    }

    fn file(&mut self, directory: &str, name: impl AsRef<[u8]>, bytes: Vec<u8>) -> Result<InodeId> {
        let size = bytes.len() as u64;
        let blob = self.blobs.insert(bytes);
        self.add(directory, name, Kind::File(tree::File::dense(size, blob)))
    }

    fn xattr(&mut self, id: InodeId, name: &str, value: Vec<u8>) {
        self.tree.metadata_mut(id).xattrs.insert(name.as_bytes().into(), value.into());
    }

    fn names(&mut self) -> Result<()> {
        for length in 1..=255 {
            let name: String = ('a'..='z').cycle().take(length).collect();
            self.file("names/length", name, vec![])?;
        }
        for (script, pattern) in SCRIPTS {
            let directory = format!("names/{script}");
            for length in [30, 49, 50, 51, 100, 254, 255] {
                self.file(&directory, name(pattern, length), script.into())?;
            }
            self.file(&directory, pattern.trim_end(), script.into())?;
        }
        // What shells, tools and case- or normalisation-minded file systems stumble over.
        for name in [
            " ",
            "  leading",
            "trailing ",
            "-rf",
            "--",
            "...",
            "*",
            "?",
            "a\\b",
            "\"quoted\"",
            "it's",
            "tab\tname",
            "new\nline",
            "\u{1}",
            "\u{7f}",
            "#hash",
            "~",
            "$(x)",
            "%s",
            "a=b",
            ":",
            "README",
            "readme",
            "Readme",
            "caf\u{e9}",
            "cafe\u{301}",
            "\u{212b}",
            "\u{c5}",
            "\u{202e}txt.exe",
            "\u{feff}",
            "@snapshot",
            "TRAILER!!!",
            "nul",
            "lost+found",
        ] {
            self.file("names/odd", name, name.into())?;
        }
        for bytes in
            [&b"\xff"[..], b"\xfe\xff", b"latin-\xe9", b"half-\xc3", b"\xed\xa0\x80", &[0x80; 255]]
        {
            self.file("names/not-utf-8", bytes, bytes.to_vec())?;
        }
        Ok(())
    }

    fn directories(&mut self, options: &Options) -> Result<()> {
        self.add("directories", "empty", Kind::Directory(Directory::default()))?;
        let count = 100_000 / options.scale.max(1);
        for number in 0..count {
            self.file("directories/100000", format!("entry-{number:06}"), vec![])?;
        }
        // A micro ZAP of 128 KiB has room for 2047 entries with names below 50 bytes.
        for count in [1, 2, 15, 16, 2046, 2047, 2048, 2049] {
            for number in 0..count {
                self.file(&format!("directories/{count}"), format!("{number}"), vec![])?;
            }
        }
        for length in [49, 50] {
            self.file(&format!("directories/name-of-{length}"), name("n", length), vec![])?;
        }
        // Names of up to 49 bytes stay in a micro ZAP; a longer one makes the ZAP fat. All entries
        // of one hash share a leaf, which has room for about fifty of these.
        for name in colliding_names(40, 30) {
            self.file("directories/colliding-micro", name, vec![])?;
        }
        for name in colliding_names(64, 50) {
            self.file("directories/colliding-fat", name, vec![])?;
        }
        for number in 0..3000 {
            self.file("directories/colliding-among-others", format!("{number}"), vec![])?;
        }
        for name in colliding_names(40, 50) {
            self.file("directories/colliding-among-others", name, vec![])?;
        }
        for number in 0..300 {
            self.directory(&format!("directories/of-directories/{number}"))?;
        }
        Ok(())
    }

    fn attributes(&mut self, options: &Options) -> Result<()> {
        let mut sizes = vec![
            0, 1, 2, 16, 100, 200, 255, 256, 400, 511, 512, 1023, 1024, 4095, 4096, 16384, 32768,
            40000, 65535, 65536,
        ];
        if options.huge_xattrs {
            sizes.extend([65537, 100_000, 131_072, 131_073, 1 << 20]);
        }
        for size in sizes {
            for namespace in ["user", "trusted", "security"] {
                let id = self.file("xattrs/size", format!("{namespace}-{size}"), b"x".to_vec())?;
                self.xattr(id, &format!("{namespace}.value"), random(size as u64, size));
            }
        }
        for count in [2, 10, 100, 250] {
            let id = self.file("xattrs/many", format!("file-{count}"), b"x".to_vec())?;
            let directory = self.directory(&format!("xattrs/many/directory-{count}"))?;
            for number in 0..count {
                self.xattr(id, &format!("user.{number}"), text(number));
                self.xattr(
                    directory,
                    &format!("user.{number}"),
                    random(number as u64, number * 10),
                );
            }
        }
        let long = self.file("xattrs", "long-names", vec![])?;
        for length in [50, 200, 255] {
            // Not "user.user.": OpenZFS refuses a name that starts with a namespace behind its namespace.
            let long_name = format!("user.{}", name("name.", length - 5));
            self.xattr(long, &long_name, length.to_string().into());
        }
        self.xattr(long, "user.a=b%20%3D c\n\u{e9}", b"=\n\0%".to_vec());
        let program = self.file("xattrs", "capability", text(100))?;
        // cap_net_raw=ep, revision 2.
        let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        self.xattr(program, "security.capability", capability.to_vec());
        let link = self.add("xattrs", "symlink", Kind::Symlink((*b"nowhere").into()))?;
        self.xattr(link, "trusted.link", vec![1; 300]);
        let fifo = self.add("xattrs", "fifo", Kind::Fifo)?;
        self.xattr(fifo, "trusted.fifo", vec![2; 3000]);
        Ok(())
    }

    fn acls(&mut self) -> Result<()> {
        let file = self.file("acls", "file", b"acl".to_vec())?;
        self.xattr(file, "system.posix_acl_access", acl(&[1000, 4_000_000_000], &[5]));
        self.tree.metadata_mut(file).mode = 0o670;
        let inherited = self.directory("acls/default")?;
        self.xattr(inherited, "system.posix_acl_default", acl(&[1], &[2, 3]));
        let both = self.directory("acls/both")?;
        self.xattr(both, "system.posix_acl_access", acl(&[], &[7]));
        self.xattr(both, "system.posix_acl_default", acl(&[7], &[]));
        self.tree.metadata_mut(both).mode = 0o2770;
        let long = self.file("acls", "long", b"acl".to_vec())?;
        let users: Vec<u32> = (1..=400).collect();
        self.xattr(long, "system.posix_acl_access", acl(&users, &users));
        self.xattr(long, "user.beside", text(2000));
        self.tree.metadata_mut(long).mode = 0o670;
        Ok(())
    }

    fn sizes(&mut self) -> Result<()> {
        let mut sizes = vec![0, 1, 2, 3, 14, 15, 100, 111, 112, 113, 10 << 20, (3 << 17) + 1];
        for base in [512, 1024, 2048, 4096, 8192, 16384, 65536, 1 << 17, 1 << 18, 1 << 20] {
            sizes.extend([base - 1, base, base + 1]);
        }
        for size in sizes {
            self.file("sizes/text", size.to_string(), text(size))?;
            self.file("sizes/random", size.to_string(), random(size as u64, size))?;
            self.file("sizes/zero", size.to_string(), vec![0; size])?;
        }
        // Blocks that compress, that do not, and that are all zero, in one file.
        let mixed = [text(1 << 17), random(1, 1 << 17), vec![0; 1 << 17], random(2, 100)].concat();
        self.file("sizes", "mixed", mixed)?;
        Ok(())
    }

    fn sparse(&mut self, name: &str, size: u64, runs: &[(u64, u64)]) -> Result<()> {
        let extents: Box<[Extent]> =
            runs.iter().map(|&(offset, length)| Extent { offset, length }).collect();
        let length: u64 = runs.iter().map(|run| run.1).sum();
        let blob = self.blobs.insert(random(size, usize::try_from(length)?));
        self.add("holes", name, Kind::File(tree::File { size, blob, extents: Some(extents) }))?;
        Ok(())
    }

    fn holes(&mut self) -> Result<()> {
        const K: u64 = 1 << 10;
        const T: u64 = 1 << 40;
        self.sparse("all-1", 1, &[])?;
        self.sparse("all-1M", 1024 * K, &[])?;
        self.sparse("start", 1024 * K, &[(512 * K, 512 * K)])?;
        self.sparse("end", 1024 * K, &[(0, 512 * K)])?;
        self.sparse("both", 1024 * K, &[(256 * K, 512 * K)])?;
        self.sparse("middle", 1024 * K, &[(0, 128 * K), (896 * K, 128 * K)])?;
        self.sparse("small-start", 8 * K, &[(4 * K, 4 * K)])?;
        self.sparse("small-end", 8 * K, &[(0, 4 * K)])?;
        self.sparse("odd", 1_000_001, &[(1, 1), (4095, 2), (131_071, 2), (999_999, 1)])?;
        self.sparse("last-byte", 300 * K + 7, &[(300 * K + 6, 1)])?;
        self.sparse("end-of-one-byte", 128 * K + 1, &[(0, 128 * K)])?;
        let comb: Vec<_> = (0..200).map(|tooth| (tooth * 256 * K, 128 * K)).collect();
        self.sparse("comb-128K", 200 * 256 * K, &comb)?;
        let fine: Vec<_> = (0..500).map(|tooth| (tooth * 8 * K, 4 * K)).collect();
        self.sparse("comb-4K", 500 * 8 * K, &fine)?;
        self.sparse("1T", T, &[(0, 5), (T / 2 - 1, 128 * K), (T - 4096, 4096)])?;
        self.sparse("1T-empty", T, &[])?;
        self.sparse("1T-and-1", T + 1, &[(T, 1)])?;
        Ok(())
    }

    fn special_files(&mut self, options: &Options) -> Result<()> {
        let limits = [(0, 0), (1, 3), (8, 0), (255, 255), (259, 256), (4095, 1_048_575)];
        for (major, minor) in limits {
            let device = Device { major, minor };
            self.add("special", format!("char-{major}-{minor}"), Kind::CharDevice(device))?;
            self.add("special", format!("block-{major}-{minor}"), Kind::BlockDevice(device))?;
        }
        self.add("special", "fifo", Kind::Fifo)?;
        if options.socket {
            self.add("special", "socket", Kind::Socket)?;
        }
        Ok(())
    }

    fn links(&mut self, options: &Options) -> Result<()> {
        let target = self.file("links", "file", b"one file with many names".to_vec())?;
        for number in 1..60_000 / options.scale.max(1) {
            let parent = self.directory(&format!("links/{}", number % 16))?;
            self.tree.link(parent, format!("{number}").as_bytes(), target)?;
        }
        let links = self.directory("links")?;
        let device = Kind::CharDevice(Device { major: 1, minor: 5 });
        let symlink = Kind::Symlink((*b"file").into());
        for (name, kind) in [("symlink", symlink), ("fifo", Kind::Fifo), ("device", device)] {
            let id = self.add("links", name, kind)?;
            self.tree.link(links, format!("{name}-again").as_bytes(), id)?;
        }
        Ok(())
    }

    fn owners_times_modes(&mut self) -> Result<()> {
        for id in [
            1,
            1000,
            65_534,
            65_535,
            65_536,
            2_097_151,
            2_097_152,
            i32::MAX as u32,
            1 << 31,
            u32::MAX - 1,
        ] {
            let file = self.file("owners", format!("user-{id}"), text(5000))?;
            self.tree.metadata_mut(file).uid = id;
            let file = self.file("owners", format!("group-{id}"), text(300))?;
            self.tree.metadata_mut(file).gid = id;
        }
        let seconds: [i64; 12] = [
            -62_135_596_800, // year 1
            i32::MIN as i64 - 1,
            i32::MIN as i64,
            -1_000_000_000,
            -1,
            0,
            1,
            i32::MAX as i64,
            1 << 31,
            1 << 32,
            15_032_385_535,  // the last one of ext4
            253_402_300_799, // year 9999
        ];
        for seconds in seconds {
            for nanoseconds in [0, 1, 500_000_000, 999_999_999] {
                let name = format!("{seconds}.{nanoseconds:09}");
                let file = self.file("times", name, vec![])?;
                self.tree.metadata_mut(file).mtime = Timestamp { seconds, nanoseconds };
            }
        }
        for mode in [0, 0o1, 0o20, 0o400, 0o777, 0o1777, 0o2755, 0o4755, 0o6555, 0o7000, 0o7777] {
            let file = self.file("modes", format!("file-{mode:04o}"), vec![])?;
            self.tree.metadata_mut(file).mode = mode;
            let directory = self.directory(&format!("modes/directory-{mode:04o}"))?;
            self.tree.metadata_mut(directory).mode = mode;
        }
        Ok(())
    }

    fn symlinks(&mut self) -> Result<()> {
        for length in [
            1, 2, 59, 60, 99, 100, 101, 111, 112, 113, 140, 141, 142, 200, 255, 256, 1023, 4094,
            4095,
        ] {
            let target = name("t/", length);
            self.add("symlinks", length.to_string(), Kind::Symlink(target.into_bytes().into()))?;
        }
        for (name, target) in [
            ("self", "self"),
            ("here", "."),
            ("above", "../../../../.."),
            ("root", "/"),
            ("unicode", "Ελληνικά 🏳️‍🌈"),
            ("newline", "a\nb"),
        ] {
            self.add("symlinks", name, Kind::Symlink(target.as_bytes().into()))?;
        }
        self.add("symlinks", "not-utf-8", Kind::Symlink((*b"\xff\xfe").into()))?;
        Ok(())
    }

    /// As deep as paths of 4095 bytes go: few long names, and many short ones.
    fn deep(&mut self) -> Result<()> {
        let long: Vec<String> = (0..15).map(|_| name("deep ", 255)).collect();
        self.file(&format!("deep/{}", long.join("/")), "end", b"long names".to_vec())?;
        self.file(&format!("deep/{}", vec!["d"; 1000].join("/")), "end", b"many names".to_vec())?;
        Ok(())
    }
}

/// A POSIX ACL in the kernel's form, with these users and groups, in ascending order.
fn acl(users: &[u32], groups: &[u32]) -> Vec<u8> {
    let mut acl = vec![2, 0, 0, 0];
    let mut entry = |tag: u16, permissions: u16, id: u32| {
        acl.extend_from_slice(&tag.to_le_bytes());
        acl.extend_from_slice(&permissions.to_le_bytes());
        acl.extend_from_slice(&id.to_le_bytes());
    };
    entry(1, 6, u32::MAX);
    users.iter().for_each(|&user| entry(2, 5, user));
    entry(4, 7, u32::MAX);
    groups.iter().for_each(|&group| entry(8, 4, group));
    entry(16, 7, u32::MAX);
    entry(32, 0, u32::MAX);
    acl
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_survives_its_archive() {
        let options = Options { scale: 100, socket: false, ..Options::default() };
        let (tree, _) = torture_tree(&options).unwrap();
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("torture.tar");
        write_torture_tar(&options, std::fs::File::create(&path).unwrap()).unwrap();
        let (imported, _) = archive::open(&path, place.path(), &|_| ()).unwrap();
        assert_eq!(tree::manifest::digest(&imported), tree::manifest::digest(&tree));
    }

    #[test]
    fn sizes_are_as_promised() {
        let (tree, _) = torture_tree(&Options::default()).unwrap();
        let many = tree.directory(tree.get("directories/100000").unwrap()).unwrap();
        assert_eq!(many.len(), 100_000);
        assert_eq!(tree.links(tree.get("links/file").unwrap()), 60_000);
        assert!(tree.walk().all(|entry| entry.path.len() <= 4095));
        let longest = tree.walk().map(|entry| entry.path.len()).max();
        assert!(longest > Some(3800), "{longest:?}");
        for (script, pattern) in SCRIPTS {
            assert_eq!(name(pattern, 255).len(), 255, "{script}");
        }
    }
}
