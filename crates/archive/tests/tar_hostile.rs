//! Archives that try to do harm, or make no sense: each is refused with one clear error.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::path::Path;

use tree::{Kind, Tree};

/// A ustar entry without data.
fn entry(path: &str, typeflag: u8, target: &str) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..path.len()].copy_from_slice(path.as_bytes());
    block[100..107].copy_from_slice(b"0000750");
    block[156] = typeflag;
    block[157..157 + target.len()].copy_from_slice(target.as_bytes());
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn import(entries: &[Vec<u8>]) -> Result<Tree, String> {
    let archive = [entries.concat(), vec![0; 1024]].concat();
    let spool = tempfile::tempdir().unwrap();
    archive::tar::import_stream(&archive[..], Path::new("evil.tar"), spool.path(), &|_| ())
        .map(|(tree, _)| tree)
        .map_err(|error| error.to_string())
}

#[test]
fn paths_out_of_the_tree() {
    for (entries, message) in [
        (
            vec![entry("/etc/passwd", b'0', "")],
            "evil.tar: entry \"/etc/passwd\" at byte 0: the path is absolute; make the archive with \
             relative paths",
        ),
        (
            vec![entry("a/../../b", b'0', "")],
            "evil.tar: entry \"a/../../b\" at byte 0: the path has a component '..'",
        ),
        (
            vec![entry("l", b'2', "/tmp"), entry("l/x", b'0', "")],
            "evil.tar: entry \"l/x\" at byte 512: the path leads through the symbolic link \"l\"",
        ),
        (
            vec![entry("d/l", b'2', "."), entry("d/l/x", b'5', "")],
            "evil.tar: entry \"d/l/x\" at byte 512: the path leads through the symbolic link \"d/l\"",
        ),
        (
            vec![entry("f", b'0', ""), entry("f/x", b'0', "")],
            "evil.tar: entry \"f/x\" at byte 512: the path leads through \"f\", which is not a \
             directory",
        ),
        (
            vec![entry("h", b'1', "../../etc/shadow")],
            "evil.tar: entry \"h\" at byte 0: the path has a component '..'",
        ),
        (
            vec![entry("h", b'1', "/etc/shadow")],
            "evil.tar: entry \"h\" at byte 0: the path is absolute; make the archive with relative \
             paths",
        ),
        (
            vec![entry("l", b'2', "/etc"), entry("h", b'1', "l/shadow")],
            "evil.tar: entry \"h\" at byte 512: hard link to \"l/shadow\", which is not in the archive \
             before it",
        ),
        (
            vec![entry("h", b'1', "later"), entry("later", b'0', "")],
            "evil.tar: entry \"h\" at byte 0: hard link to \"later\", which is not in the archive \
             before it",
        ),
        (
            vec![entry("d", b'5', ""), entry("h", b'1', "d")],
            "evil.tar: entry \"h\" at byte 512: \"h\" is a directory and cannot have a second name",
        ),
        (
            vec![entry("", b'0', "")],
            "evil.tar: entry \"\" at byte 0: the path has 0 bytes; Linux can use 1 to 4095",
        ),
        (
            vec![entry("l", b'2', "")],
            "evil.tar: entry \"l\" at byte 0: the target has 0 bytes; Linux can use 1 to 4095",
        ),
        (
            vec![entry(".", b'0', "")],
            "evil.tar: entry \".\" at byte 0: the path occurs a second time",
        ),
    ] {
        assert_eq!(import(&entries).unwrap_err(), message);
    }
}

#[test]
fn second_occurrences() {
    for (first, second) in [(b'0', b'0'), (b'0', b'5'), (b'5', b'2'), (b'2', b'5'), (b'0', b'1')] {
        let error = import(&[entry("x", first, "t"), entry("./x", second, "x")]).unwrap_err();
        let expected = "evil.tar: entry \"./x\" at byte 512: the path occurs a second time";
        assert_eq!(error, expected);
    }
    let tree = import(&[
        entry("a/b/c", b'0', ""),
        entry("a/b/", b'5', ""),
        entry("./a/b", b'5', ""),
        entry("./", b'5', ""),
    ])
    .unwrap();
    let mode = |path: &str| tree.inode(tree.get(path).unwrap()).metadata.mode;
    assert_eq!((mode(""), mode("a"), mode("a/b"), mode("a/b/c")), (0o750, 0o755, 0o750, 0o750));
}

#[test]
fn symbolic_links_may_point_anywhere() {
    let tree = import(&[entry("l", b'2', "/../../x"), entry("hard", b'1', "l")]).unwrap();
    let link = tree.get("l").unwrap();
    assert_eq!(tree.links(link), 2);
    assert!(matches!(&tree.inode(link).kind, Kind::Symlink(target) if &**target == b"/../../x"));
}

#[test]
fn names_that_are_too_long() {
    let long = |path: String| {
        let record = format!(" path={path}\n");
        let length = record.len() + (record.len() + 4).to_string().len();
        let record = format!("{length}{record}").into_bytes();
        let mut header = entry("pax", b'x', "");
        header[124..135].copy_from_slice(format!("{:011o}", record.len()).as_bytes());
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let mut padded = record;
        padded.resize(padded.len().next_multiple_of(512), 0);
        import(&[header, padded, entry("x", b'0', "")])
    };
    assert!(long("n".repeat(256)).unwrap_err().ends_with("is not a file name"));
    assert!(long("a/".repeat(2048)).unwrap_err().contains("the path has 4096 bytes"));
    assert!(long("n\0".to_owned()).unwrap_err().ends_with("is not a file name"));
    long("n/".repeat(2047)).unwrap();
}
