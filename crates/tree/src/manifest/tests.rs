use super::*;

const TEXT: &str = "\
kldload-tree 1
/ dir mode=0755 uid=0 gid=0 mtime=0.000000000
/a\\x20b file mode=4640 uid=4294967295 gid=4 mtime=-2.500000000 size=8192 \
blob=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 data=0+100,4096+1 \
xattr.user.\\x3d=\\x00v
/a.b dir mode=0755 uid=0 gid=0 mtime=0.000000000
/a.b/z link /a\\x20b
/l symlink mode=0777 uid=0 gid=0 mtime=0.000000000 target=../\\xc3\\xa9
/null char mode=0666 uid=0 gid=0 mtime=0.000000000 device=1:3
/p fifo mode=0600 uid=0 gid=0 mtime=0.000000000
/s socket mode=0600 uid=0 gid=0 mtime=0.000000000
/sda block mode=0660 uid=0 gid=6 mtime=0.000000000 device=8:0
end
";

fn written(tree: &Tree) -> String {
    let mut text = Vec::new();
    write(tree, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn every_kind_of_line() {
    let tree = parse(TEXT.as_bytes()).unwrap();
    assert_eq!(written(&tree), TEXT);
    assert_eq!(digest(&tree), Digest::of(TEXT.as_bytes()));
    let id = tree.get("a b").unwrap();
    assert_eq!((tree.links(id), tree.get("a.b/z")), (2, Some(id)));
    assert_eq!(tree.inode(id).metadata.mtime, Timestamp { seconds: -2, nanoseconds: 500_000_000 });
}

#[test]
fn anything_else_is_refused() {
    let line_of = |text: String| match parse(text.as_bytes()) {
        Ok(_) => 0,
        Err(error) => error.line,
    };
    assert_eq!(line_of(String::new()), 1);
    assert_eq!(line_of(format!("{HEADER}\n")), 1);
    assert_eq!(line_of(format!("{HEADER}\nend\n")), 2);
    assert_eq!(line_of(format!("{TEXT}end\n")), 12);
    assert_eq!(line_of(TEXT.replace("end\n", "")), 10);
    assert_eq!(line_of(TEXT.trim_end().to_owned()), 11);
    let changed = [
        ("kldload-tree 1", "kldload-tree 2", 1),
        ("/ dir", "/x dir", 2),
        ("mode=0755", "mode=755", 2),
        ("mode=0755", "mode=17777", 2),
        ("uid=0", "uid=+0", 2),
        ("uid=0 gid=0", "gid=0 uid=0", 2),
        ("mtime=0.000000000", "mtime=0.1", 2),
        ("mtime=0.000000000", "mtime=0.1000000000", 2),
        ("mtime=0.000000000", "mtime=0.000000000 target=x", 2),
        ("a\\x20b", "a\\x2gb", 3),
        ("a\\x20b", "\\x61", 3),
        ("a\\x20b", "..", 3),
        ("a\\x20b", "a/b", 3),
        ("100,4096+1", "4096,4096+1", 3),
        ("100,4096+1", "100,8192+1", 3),
        ("data=0+100,4096+1", "data=0+8192", 3),
        ("size=8192 ", "", 3),
        ("\\x00v", "\\x00v xattr.a=", 3),
        ("/a.b dir", "/9 dir", 4),
        ("/z link", "/z link  ", 5),
        ("/a.b/z", "/a.b//z", 5),
        ("link /a", "link //a", 5),
        ("link /a\\x20b", "link /l", 5),
        ("link /a\\x20b", "link /a.b", 5),
        ("/l symlink", "/l fish", 6),
        ("/p fifo", "/null fifo", 8),
    ];
    for (old, new, line) in changed {
        assert_eq!(line_of(TEXT.replacen(old, new, 1)), line, "{old} -> {new}");
    }
}
