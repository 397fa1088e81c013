use std::io::Read as _;

use tree::{Directory, File, Inode, Metadata};

use super::*;

fn debian(generated: &mut MemoryBlobs, more: &[&str]) -> Tree {
    let mut tree = Tree::new(Metadata::default());
    let file = |text: &str, generated: &mut MemoryBlobs| {
        Kind::File(File::dense(text.len() as u64, generated.insert(text.as_bytes())))
    };
    let diversions = "/lib32\n/.lib32.usr-is-merged\nbase-files\n";
    let mut entries = vec![
        ("etc/hosts", file("127.0.0.1\tlocalhost\n::1\tlocalhost\n", generated)),
        ("proc", Kind::Directory(Directory::default())),
        ("usr/lib/systemd/systemd-networkd", file("", generated)),
        ("usr/lib/systemd/system/systemd-networkd.service", file("", generated)),
        ("usr/lib/systemd/system/zfs-mount.service", file("", generated)),
        ("usr/sbin/zgenhostid", file("original", generated)),
        ("var/lib/dpkg/diversions", file(diversions, generated)),
    ];
    entries.extend(more.iter().map(|path| (*path, file("", generated))));
    for (path, kind) in entries {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = tree.make_directories(parent, &Metadata::default()).unwrap();
        let metadata = Metadata { mode: 0o755, ..Metadata::default() };
        tree.insert(parent, name.as_bytes(), Inode { metadata, kind }).unwrap();
    }
    tree
}

fn options() -> Options {
    Options {
        host_name: Some("pear.example.org".to_owned()),
        network_dhcp: true,
        ..Options::default()
    }
}

fn run(tree: &mut Tree, generated: &mut MemoryBlobs, options: &Options) -> Vec<String> {
    let time = Timestamp { seconds: 1, nanoseconds: 0 };
    install(tree, &MemoryBlobs::default(), generated, options, time).unwrap()
}

fn text(tree: &Tree, generated: &MemoryBlobs, path: &str) -> String {
    let Kind::File(file) = &tree.inode(tree.resolve(path).unwrap()).kind else { panic!("{path}") };
    let mut text = String::new();
    generated.open(&file.blob).unwrap().read_to_string(&mut text).unwrap();
    text
}

/// Mode, type and path of everything that is in `after` and not the same in `before`.
fn difference(before: &Tree, after: &Tree) -> String {
    let mut list = String::new();
    for entry in after.walk().skip(1) {
        if before.get(&entry.path).is_some_and(|old| before.inode(old).kind == entry.inode.kind) {
            continue;
        }
        let path = String::from_utf8_lossy(&entry.path);
        let mode = entry.inode.metadata.mode;
        match &entry.inode.kind {
            Kind::Directory(_) if before.get(&entry.path).is_some() => {}
            Kind::Directory(_) => list += &format!("d{mode:04o} {path}\n"),
            Kind::Symlink(target) => {
                list += &format!("l {path} -> {}\n", String::from_utf8_lossy(target));
            }
            _ => list += &format!("-{mode:04o} {path}\n"),
        }
    }
    list
}

#[test]
fn listing_of_what_is_added() {
    let mut generated = MemoryBlobs::default();
    let mut tree = debian(&mut generated, &[]);
    let before = tree.clone();
    run(&mut tree, &mut generated, &options());
    let expected = "\
d0755 dev
-0644 etc/hostname
-0755 etc/hosts
l etc/resolv.conf -> ../run/kldload/resolv.conf
d0755 etc/systemd
d0755 etc/systemd/network
-0644 etc/systemd/network/99-kldload-dhcp.network
d0755 etc/systemd/system
l etc/systemd/system/dbus-org.freedesktop.network1.service -> /usr/lib/systemd/system/systemd-networkd.service
d0755 etc/systemd/system/multi-user.target.wants
l etc/systemd/system/multi-user.target.wants/kldload-first-boot.service -> /usr/lib/systemd/system/kldload-first-boot.service
l etc/systemd/system/multi-user.target.wants/kldload-grow.service -> /usr/lib/systemd/system/kldload-grow.service
l etc/systemd/system/multi-user.target.wants/kldload-host-keys.service -> /usr/lib/systemd/system/kldload-host-keys.service
l etc/systemd/system/multi-user.target.wants/kldload-resolv-conf.service -> /usr/lib/systemd/system/kldload-resolv-conf.service
l etc/systemd/system/multi-user.target.wants/systemd-networkd.service -> /usr/lib/systemd/system/systemd-networkd.service
d0755 etc/systemd/system/paths.target.wants
l etc/systemd/system/paths.target.wants/kldload-resolv-conf.path -> /usr/lib/systemd/system/kldload-resolv-conf.path
d0755 etc/systemd/system/zfs.target.wants
l etc/systemd/system/zfs.target.wants/zfs-mount.service -> /usr/lib/systemd/system/zfs-mount.service
d0755 run
d0555 sys
d1777 tmp
d0755 usr/lib/kldload
-0755 usr/lib/kldload/first-boot
-0755 usr/lib/kldload/grow
-0755 usr/lib/kldload/grow-gpt
-0755 usr/lib/kldload/host-keys
-0644 usr/lib/kldload/pool-disk.sh
-0755 usr/lib/kldload/resolv-conf
d0755 usr/lib/systemd/system/console-setup.service.d
-0644 usr/lib/systemd/system/console-setup.service.d/10-kldload.conf
-0644 usr/lib/systemd/system/kldload-first-boot.service
-0644 usr/lib/systemd/system/kldload-grow.service
-0644 usr/lib/systemd/system/kldload-host-keys.service
-0644 usr/lib/systemd/system/kldload-resolv-conf.path
-0644 usr/lib/systemd/system/kldload-resolv-conf.service
d0755 usr/lib/systemd/system/systemd-journal-flush.service.d
-0644 usr/lib/systemd/system/systemd-journal-flush.service.d/10-kldload.conf
d0755 usr/lib/systemd/system/systemd-networkd-wait-online.service.d
-0644 usr/lib/systemd/system/systemd-networkd-wait-online.service.d/10-kldload.conf
-0755 usr/sbin/zgenhostid
-0755 usr/sbin/zgenhostid.distrib
-0644 var/lib/dpkg/diversions
";
    assert_eq!(difference(&before, &tree), expected);
    assert_eq!(text(&tree, &generated, "usr/sbin/zgenhostid.distrib"), "original");
    assert_eq!(
        text(&tree, &generated, "var/lib/dpkg/diversions"),
        "/lib32\n/.lib32.usr-is-merged\nbase-files\n\
         /usr/sbin/zgenhostid\n/usr/sbin/zgenhostid.distrib\n:\n"
    );
    assert_eq!(
        text(&tree, &generated, "etc/hosts"),
        "127.0.0.1\tlocalhost\n127.0.1.1\tpear.example.org pear\n::1\tlocalhost\n"
    );
}

#[test]
fn twice_is_once() {
    let mut generated = MemoryBlobs::default();
    let mut tree = debian(&mut generated, &[]);
    run(&mut tree, &mut generated, &options());
    let before = tree.clone();
    run(&mut tree, &mut generated, &options());
    assert_eq!(difference(&before, &tree), "");
}

#[test]
fn a_configured_network_is_left_alone() {
    for path in [
        "etc/network/interfaces",
        "etc/netplan/01.yaml",
        "etc/systemd/network/10-mine.network",
        "usr/sbin/NetworkManager",
    ] {
        let mut generated = MemoryBlobs::default();
        let mut tree = debian(&mut generated, &[path]);
        let written = run(&mut tree, &mut generated, &options());
        assert!(!written.iter().any(|path| path.contains("network") || path.contains("resolv")));
    }
    let mut generated = MemoryBlobs::default();
    let mut tree = debian(&mut generated, &["usr/lib/systemd/systemd-resolved"]);
    run(&mut tree, &mut generated, &options());
    let link = tree.inode(tree.get("etc/resolv.conf").unwrap());
    let stub = b"../run/systemd/resolve/stub-resolv.conf";
    assert_eq!(link.kind, Kind::Symlink(stub[..].into()));
}

#[test]
fn masked_units_stay_masked() {
    let mut generated = MemoryBlobs::default();
    let mut tree = debian(&mut generated, &["etc/systemd/system/zfs-mount.service"]);
    let written = run(&mut tree, &mut generated, &Options::default());
    assert!(!written.iter().any(|path| path.ends_with("wants/zfs-mount.service")));
}

#[test]
fn disabled_units_stay_disabled() {
    let zed = "usr/lib/systemd/system/zfs-zed.service";
    let disabled = ["zfs-zed.service", "systemd-networkd.service", "kldload-grow.service"];
    let options = Options { disabled: disabled.map(str::to_owned).to_vec(), ..options() };
    let mut generated = MemoryBlobs::default();
    let mut tree = debian(&mut generated, &[zed]);
    run(&mut tree, &mut generated, &options);
    let links: Vec<String> = tree
        .walk()
        .filter(|entry| matches!(&entry.inode.kind, Kind::Symlink(to) if to.starts_with(b"/usr")))
        .map(|entry| String::from_utf8_lossy(&entry.path).into_owned())
        .collect();
    for unit in disabled {
        assert!(!links.iter().any(|link| link.ends_with(unit)), "{unit}: {links:?}");
    }
    assert!(links.iter().any(|link| link.ends_with("wants/zfs-mount.service")), "{links:?}");
    assert!(!links.iter().any(|link| link.contains("dbus-org")), "{links:?}");
}

#[test]
fn every_file_that_is_added_is_known() {
    let mut generated = MemoryBlobs::default();
    let mut tree = debian(&mut generated, &[]);
    let written = run(&mut tree, &mut generated, &options());
    let told = ["etc/hostname", "etc/hosts", "etc/resolv.conf"];
    let ours = |path: &str| told.contains(&path) || own_files().any(|own| own == path);
    let is_file = |path: &&String| tree.directory(tree.get(path.as_str()).unwrap()).is_none();
    for path in written.iter().filter(is_file) {
        assert!(ours(path) || path.starts_with("etc/systemd/system/"), "{path}");
    }
    assert!(is_own_unit("kldload-grow.service") && is_own_unit("kldload-resolv-conf.path"));
    assert!(!is_own_unit("zfs-zed.service"));
}

/// Whoever told the file says who may read it.
#[test]
fn the_host_name_changes_a_line_of_hosts() {
    let mut generated = MemoryBlobs::default();
    let mut tree = debian(&mut generated, &[]);
    let hosts = tree.get("etc/hosts").unwrap();
    tree.metadata_mut(hosts).mode = 0o640;
    run(&mut tree, &mut generated, &options());
    let hosts = tree.inode(tree.get("etc/hosts").unwrap());
    assert_eq!(hosts.metadata.mode, 0o640);
}

#[test]
fn host_names() {
    for bad in ["", "-a", "a-", "a..b", "a_b", "a b", &"a".repeat(64), &"a.".repeat(40)] {
        let mut generated = MemoryBlobs::default();
        let mut tree = debian(&mut generated, &[]);
        let options = Options { host_name: Some((*bad).to_owned()), ..Options::default() };
        let empty = MemoryBlobs::default();
        let result = install(&mut tree, &empty, &mut generated, &options, Timestamp::default());
        assert!(matches!(result, Err(RootfsError::HostName(_))), "{bad}");
    }
}
