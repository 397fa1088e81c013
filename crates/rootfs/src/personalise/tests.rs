//! A small Debian becomes somebody's machine; the real tools judge.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;

use tree::{Directory, File, Inode, Kind, Metadata};

use super::*;

const TIME: Timestamp = Timestamp { seconds: 86_400 * 20_000, nanoseconds: 0 };

const FILES: &[(&str, u16, &str)] = &[
    (
        "etc/passwd",
        0o644,
        "root:x:0:0:root:/root:/bin/bash\nbin:x:2:2:bin:/bin:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
    ),
    (
        "etc/shadow",
        0o640,
        "root:*:20000:0:99999:7:::\nbin:*:20000:0:99999:7:::\nnobody:*:20000:0:99999:7:::\n",
    ),
    ("etc/group", 0o644, "root:x:0:\nbin:x:2:\nadm:x:4:\nshadow:x:42:\nnogroup:x:65534:\n"),
    ("etc/gshadow", 0o640, "root:*::\nbin:*::\nadm:*::\nshadow:*::\nnogroup:*::\n"),
    ("etc/subuid", 0o644, "old:100000:65536\n"),
    ("etc/subgid", 0o644, ""),
    ("etc/skel/.bashrc", 0o644, "# hello\n"),
    ("etc/skel/.config/x", 0o600, "x\n"),
    ("etc/locale.conf", 0o644, ""),
    ("etc/apt/sources.list", 0o644, "deb http://mirror.example/debian trixie main\n"),
    (
        "etc/apt/sources.list.d/0000sources.list",
        0o644,
        "deb http://mirror.example/debian trixie main\n",
    ),
    ("etc/console-setup/cached_setup_keyboard.sh", 0o755, ""),
    ("usr/bin/bash", 0o755, ""),
    ("usr/sbin/nologin", 0o755, ""),
    ("usr/bin/sudo", 0o755, ""),
    ("usr/bin/apt-get", 0o755, ""),
    ("usr/bin/cloud-init", 0o755, ""),
    ("usr/lib/locale/locale-archive", 0o644, ""),
    ("usr/lib/systemd/systemd-networkd", 0o755, ""),
    ("usr/share/keyrings/debian-archive-keyring.pgp", 0o644, ""),
    ("usr/share/zoneinfo/Europe/Berlin", 0o644, "TZif2"),
    ("usr/share/zoneinfo/zone.tab", 0o644, "DE\t+5230+01322\tEurope/Berlin\n"),
    (
        "usr/share/X11/xkb/symbols/de",
        0o644,
        "xkb_symbols \"basic\" {\n};\nxkb_symbols \"nodeadkeys\" {\n};\n",
    ),
    (
        "usr/lib/systemd/system/one.service",
        0o644,
        "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\nAlias=uno.service\nAlso=one.socket\n",
    ),
    (
        "usr/lib/systemd/system/one.socket",
        0o644,
        "[Socket]\nListenStream=/run/one\n[Install]\nWantedBy=sockets.target\n",
    ),
    (
        "usr/lib/systemd/system/two@.service",
        0o644,
        "[Service]\nExecStart=/bin/true\n[Install]\nRequiredBy=b.target\nDefaultInstance=x\n",
    ),
    (
        "usr/lib/systemd/system/three.timer",
        0o644,
        "[Timer]\nOnBootSec=1\n[Install]\nWantedBy=timers.target\n",
    ),
    ("usr/lib/systemd/system/static.service", 0o644, "[Service]\nExecStart=/bin/true\n"),
    ("usr/lib/systemd/system/four.service", 0o644, "[Service]\nExecStart=/bin/true\n"),
];

const LINKS: &[(&str, &str)] = &[
    ("bin", "usr/bin"),
    ("etc/default/locale", "../locale.conf"),
    ("etc/localtime", "/usr/share/zoneinfo/Etc/UTC"),
    ("etc/systemd/system/alias.service", "/usr/lib/systemd/system/four.service"),
    ("usr/lib/systemd/system/ctrl-alt-del.target", "reboot.target"),
    ("usr/lib/systemd/system/reboot.target", "static.service"),
    ("etc/systemd/system/timers.target.wants/three.timer", "/usr/lib/systemd/system/three.timer"),
];

fn debian(generated: &mut MemoryBlobs) -> Tree {
    let mut tree = Tree::new(Metadata { mode: 0o755, ..Metadata::default() });
    let directories = Metadata { mode: 0o755, ..Metadata::default() };
    let files = FILES.iter().map(|&(path, mode, text)| {
        let blob = generated.insert(text.as_bytes());
        (path, mode, Kind::File(File::dense(text.len() as u64, blob)))
    });
    let links = LINKS.iter().map(|&(path, to)| (path, 0o777, Kind::Symlink(to.as_bytes().into())));
    for (path, mode, kind) in files.collect::<Vec<_>>().into_iter().chain(links) {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = tree.make_directories(parent, &directories).unwrap();
        let metadata = Metadata { mode, ..Metadata::default() };
        tree.insert(parent, name.as_bytes(), Inode { metadata, kind }).unwrap();
    }
    let kind = Kind::Directory(Directory::default());
    tree.insert(tree.root(), b"root", Inode { metadata: directories, kind }).unwrap();
    let shadow = tree.get("etc/shadow").unwrap();
    tree.metadata_mut(shadow).gid = 42;
    tree
}

fn alice() -> Account {
    Account {
        name: "alice".to_owned(),
        full_name: "Alice Doe".to_owned(),
        uid: None,
        groups: vec!["adm".to_owned()],
        password_hash: Some("$6$salt$hash".to_owned()),
        ssh_keys: vec!["ssh-ed25519 AAAA alice".to_owned()],
        sudo: Sudo::Password,
        shell: "/bin/bash".to_owned(),
        home: None,
    }
}

fn machine() -> Machine {
    let more = |name: &str, uid, sudo| Account {
        name: name.to_owned(),
        full_name: String::new(),
        uid,
        password_hash: None,
        sudo,
        ..alice()
    };
    Machine {
        accounts: vec![
            alice(),
            more("bob", Some(1001), Sudo::NoPassword),
            more("root", None, Sudo::None),
        ],
        network: Network {
            interface: Some("en*".to_owned()),
            addresses: vec![("192.0.2.10".parse().unwrap(), 24)],
            gateways: vec!["192.0.2.1".parse().unwrap()],
            dns: vec!["192.0.2.53".parse().unwrap()],
            search: vec!["example.org".to_owned()],
            ..Network::default()
        },
        time_zone: Some("Europe/Berlin".to_owned()),
        locale: Some("de_DE.UTF-8".to_owned()),
        keyboard: Some(Keyboard {
            layout: "de".to_owned(),
            variant: "nodeadkeys".to_owned(),
            model: "pc105".to_owned(),
            options: String::new(),
        }),
        services: Services {
            enable: vec!["one.service".to_owned(), "two@.service".to_owned()],
            disable: vec!["three.timer".to_owned()],
            mask: vec!["four.service".to_owned()],
        },
        files: vec![NewFile {
            path: "/etc/motd".to_owned(),
            content: Some(b"pears\n".to_vec()),
            mode: 0o600,
            owner: "alice".to_owned(),
            group: "adm".to_owned(),
        }],
        sources: Some(AptSources {
            distribution: "debian".to_owned(),
            archives: vec![
                AptArchive {
                    uri: "http://ftp.debian.org/debian".to_owned(),
                    suites: vec!["trixie".to_owned(), "trixie-updates".to_owned()],
                    components: vec!["main".to_owned(), "contrib".to_owned()],
                },
                AptArchive {
                    uri: "http://security.debian.org/debian-security".to_owned(),
                    suites: vec!["trixie-security".to_owned()],
                    components: vec!["main".to_owned()],
                },
            ],
        }),
        cloud_init: Some(vec!["NoCloud".to_owned(), "None".to_owned()]),
    }
}

fn apply(machine: &Machine) -> Result<(Tree, MemoryBlobs), PersonaliseError> {
    let mut generated = MemoryBlobs::default();
    let mut tree = debian(&mut generated);
    personalise(&mut tree, &MemoryBlobs::default(), &mut generated, machine, TIME)?;
    Ok((tree, generated))
}

fn text(tree: &Tree, generated: &MemoryBlobs, path: &str) -> String {
    let Kind::File(file) = &tree.inode(tree.resolve(path).unwrap()).kind else { panic!("{path}") };
    let mut text = String::new();
    generated.open(&file.blob).unwrap().read_to_string(&mut text).unwrap();
    text
}

/// Mode, owner and path of everything, links with their targets.
fn listing(tree: &Tree) -> Vec<String> {
    let line = |entry: tree::WalkEntry<'_>| {
        let Metadata { mode, uid, gid, .. } = &entry.inode.metadata;
        let path = String::from_utf8_lossy(&entry.path).into_owned();
        match &entry.inode.kind {
            Kind::Symlink(target) => format!("{path} -> {}", String::from_utf8_lossy(target)),
            _ => format!("{mode:04o} {uid}:{gid} {path}"),
        }
    };
    tree.walk().map(line).collect()
}

/// Writes the tree into a directory, without owners.
fn write(tree: &Tree, generated: &MemoryBlobs, to: &Path) {
    for entry in tree.walk().skip(1) {
        let path = to.join(String::from_utf8(entry.path.clone()).unwrap());
        match &entry.inode.kind {
            Kind::Directory(_) => fs::create_dir_all(&path).unwrap(),
            Kind::Symlink(target) => {
                symlink(String::from_utf8_lossy(target).as_ref(), &path).unwrap();
            }
            Kind::File(file) => {
                let mut content = Vec::new();
                generated.open(&file.blob).unwrap().read_to_end(&mut content).unwrap();
                fs::write(&path, content).unwrap();
            }
            _ => {}
        }
    }
}

/// Runs a judge; skips loudly where it is missing.
fn judge(command: &mut Command) -> Option<String> {
    let name = command.get_program().to_owned();
    match command.env("LC_ALL", "C").output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{command:?}: {said}{error}");
            Some(said)
        }
        Err(error) => {
            eprintln!("skipped: {name:?}: {error}");
            None
        }
    }
}

#[test]
fn what_changes() {
    let before = listing(&debian(&mut MemoryBlobs::default()));
    let (tree, generated) = apply(&machine()).unwrap();
    let after = listing(&tree);
    let removed: Vec<&str> =
        before.iter().filter(|line| !after.contains(line)).map(String::as_str).collect();
    assert_eq!(
        removed,
        [
            "0644 0:0 etc/apt/sources.list",
            "0644 0:0 etc/apt/sources.list.d/0000sources.list",
            "0755 0:0 etc/console-setup/cached_setup_keyboard.sh",
            "etc/localtime -> /usr/share/zoneinfo/Etc/UTC",
            "etc/systemd/system/timers.target.wants/three.timer -> /usr/lib/systemd/system/three.timer",
        ]
    );
    let added: Vec<&str> = after
        .iter()
        .filter(|line| !before.contains(line) && !line.starts_with("0755 0:0 etc/"))
        .map(String::as_str)
        .collect();
    assert_eq!(
        added,
        [
            "0644 0:0 etc/apt/sources.list.d/debian.sources",
            "0644 0:0 etc/cloud/cloud.cfg.d/91-kldload-network.cfg",
            "0644 0:0 etc/cloud/cloud.cfg.d/95-kldload-sources.cfg",
            "0644 0:0 etc/default/keyboard",
            "etc/localtime -> /usr/share/zoneinfo/Europe/Berlin",
            "0600 1000:4 etc/motd",
            "0440 0:0 etc/sudoers.d/90-alice",
            "0440 0:0 etc/sudoers.d/90-bob",
            "0644 0:0 etc/systemd/network/20-kldload.network",
            "etc/systemd/system/b.target.requires/two@x.service -> /usr/lib/systemd/system/two@.service",
            "etc/systemd/system/four.service -> /dev/null",
            "etc/systemd/system/multi-user.target.wants/one.service -> /usr/lib/systemd/system/one.service",
            "etc/systemd/system/sockets.target.wants/one.socket -> /usr/lib/systemd/system/one.socket",
            "etc/systemd/system/uno.service -> /usr/lib/systemd/system/one.service",
            "0755 0:0 home",
            "0700 1000:1000 home/alice",
            "0644 1000:1000 home/alice/.bashrc",
            "0755 1000:1000 home/alice/.config",
            "0600 1000:1000 home/alice/.config/x",
            "0700 1000:1000 home/alice/.ssh",
            "0600 1000:1000 home/alice/.ssh/authorized_keys",
            "0700 1001:1001 home/bob",
            "0644 1001:1001 home/bob/.bashrc",
            "0755 1001:1001 home/bob/.config",
            "0600 1001:1001 home/bob/.config/x",
            "0700 1001:1001 home/bob/.ssh",
            "0600 1001:1001 home/bob/.ssh/authorized_keys",
            "0700 0:0 root/.ssh",
            "0600 0:0 root/.ssh/authorized_keys",
        ]
    );
    let text = |path| text(&tree, &generated, path);
    assert!(text("etc/passwd").ends_with(
        "alice:x:1000:1000:Alice Doe,,,:/home/alice:/bin/bash\nbob:x:1001:1001::/home/bob:/bin/bash\n"
    ));
    assert!(
        text("etc/shadow")
            .ends_with("alice:$6$salt$hash:20000:0:99999:7:::\nbob:*:20000:0:99999:7:::\n")
    );
    assert!(text("etc/group").contains("adm:x:4:alice,bob,root\n"));
    assert!(text("etc/gshadow").ends_with("alice:!::\nbob:!::\n"));
    assert_eq!(text("etc/subuid"), "old:100000:65536\nalice:165536:65536\nbob:231072:65536\n");
    assert_eq!(text("etc/locale.conf"), "LANG=de_DE.UTF-8\n");
    assert_eq!(
        text("etc/systemd/network/20-kldload.network"),
        "[Match]\nName=en*\n\n[Network]\nAddress=192.0.2.10/24\nGateway=192.0.2.1\nDNS=192.0.2.53\n\
         Domains=example.org\n"
    );
    assert_eq!(
        text("etc/cloud/cloud.cfg.d/95-kldload-sources.cfg"),
        "datasource_list: [ NoCloud, None ]\n"
    );
}

#[test]
fn a_home_below_a_linked_directory_is_its_owners() {
    let mut generated = MemoryBlobs::default();
    let mut tree = debian(&mut generated);
    let link = Inode {
        metadata: Metadata::default(),
        kind: Kind::Symlink(b"usr/share".as_slice().into()),
    };
    tree.insert(tree.root(), b"people", link).unwrap();
    let account = Account { home: Some("/people/alice".to_owned()), ..alice() };
    let machine = Machine { accounts: vec![account], ..Machine::default() };
    personalise(&mut tree, &MemoryBlobs::default(), &mut generated, &machine, TIME).unwrap();
    let lines = listing(&tree);
    for line in [
        "0700 1000:1000 usr/share/alice",
        "0644 1000:1000 usr/share/alice/.bashrc",
        "0700 1000:1000 usr/share/alice/.ssh",
        "0600 1000:1000 usr/share/alice/.ssh/authorized_keys",
    ] {
        assert!(lines.iter().any(|known| known == line), "{line} is missing: {lines:?}");
    }
}

#[test]
fn twice_is_once() {
    let (tree, mut generated) = apply(&machine()).unwrap();
    let mut again = tree.clone();
    let blobs = MemoryBlobs::default();
    personalise(&mut again, &blobs, &mut generated, &machine(), TIME).unwrap();
    let digest = tree::manifest::digest;
    assert_eq!(digest(&tree), digest(&again));
}

#[test]
fn an_empty_request_means_dhcp() {
    let (tree, generated) = apply(&Machine::default()).unwrap();
    let network = text(&tree, &generated, NETWORK);
    assert_eq!(network, "[Match]\nType=ether\nKind=!*\n\n[Network]\nDHCP=yes\n");
    // Cloud-init alone knows better.
    let cloud = Machine { cloud_init: Some(vec!["Ec2".to_owned()]), ..Machine::default() };
    assert!(apply(&cloud).unwrap().0.get(NETWORK).is_none());
    let off = Machine { cloud_init: Some(Vec::new()), ..Machine::default() };
    assert!(apply(&off).unwrap().0.get("etc/cloud/cloud-init.disabled").is_some());
}

#[test]
fn what_cannot_be_is_told() {
    let broken = |change: &dyn Fn(&mut Machine)| {
        let mut machine = machine();
        change(&mut machine);
        apply(&machine).unwrap_err().to_string()
    };
    let account = |change: &dyn Fn(&mut Account)| broken(&|m| change(&mut m.accounts[0]));
    for (error, message) in [
        (
            account(&|a| a.shell = "/bin/zsh".into()),
            "needs /bin/zsh, which is not in the root; add the package zsh",
        ),
        (
            account(&|a| a.groups = vec!["wheel".into()]),
            "user alice: groups: there is no group wheel",
        ),
        (account(&|a| a.uid = Some(2)), "user alice: uid: the number 2 is that of bin"),
        (account(&|a| a.full_name = "a:b".into()), "the name \"a:b\" has a colon"),
        (
            account(&|a| a.password_hash = Some("a\nroot::0".into())),
            "the password hash of \"alice\"",
        ),
        (
            broken(&|m| m.files[0].group = "carol".into()),
            "file /etc/motd: group = \"carol\": there is no such group",
        ),
        (account(&|a| a.shell = "/etc".into()), "user alice: shell = \"/etc\": it is no program"),
        (
            account(&|a| a.shell = "/etc/passwd".into()),
            "user alice: shell = \"/etc/passwd\": nobody may run it",
        ),
        (account(&|a| a.name = "bob".into()), "users: bob is there twice"),
        // A package's account is nobody's by accident; nor is a group that gives rights.
        (
            account(&|a| a.name = "bin".into()),
            "user bin: the root has a user of this name already, with uid 2, gid 2 and home \"/bin\"",
        ),
        (account(&|a| (a.name, a.uid) = ("bin".into(), Some(2))), "user bin: the root has a user"),
        (
            account(&|a| (a.name, a.home) = ("bin".into(), Some("/bin".into()))),
            "user bin: the root has a user",
        ),
        (account(&|a| a.name = "shadow".into()), "user shadow: a user's own group"),
        (broken(&|m| m.time_zone = Some("Europe/Rome".into())), "the time zone Europe/Rome needs"),
        (broken(&|m| m.time_zone = Some("Europe".into())), "time_zone = \"Europe\": /usr/share"),
        (broken(&|m| m.time_zone = Some("zone.tab".into())), "time_zone = \"zone.tab\": /usr"),
        (
            broken(&|m| m.keyboard.as_mut().unwrap().layout = "de,xy".into()),
            "keyboard: layout = \"xy\": /usr/share/X11/xkb/symbols of the root",
        ),
        (
            broken(&|m| m.keyboard.as_mut().unwrap().variant = "deadkeys".into()),
            "keyboard: variant = \"deadkeys\": /usr/share/X11/xkb/symbols/de of the root",
        ),
        (
            broken(&|m| m.services.enable = vec!["five.service".into()]),
            "there is no unit five.service",
        ),
        (broken(&|m| m.services.enable = vec!["static.service".into()]), "no [Install] section"),
        (
            broken(&|m| m.services.disable = vec!["five.service".into()]),
            "there is no unit five.service",
        ),
        (
            broken(&|m| m.services.mask = vec!["no-such-thing.service".into()]),
            "there is no unit no-such-thing.service",
        ),
        (
            broken(&|m| m.services.mask = vec!["alias.service".into()]),
            "alias.service is another name of four.service",
        ),
        (broken(&|m| m.services.disable = vec!["alias.service".into()]), "another name of four"),
        (broken(&|m| m.services.enable = vec!["alias.service".into()]), "another name of four"),
        (
            broken(&|m| m.files[0].owner = "carol".into()),
            "file /etc/motd: owner = \"carol\": there is no such user",
        ),
    ] {
        assert!(error.contains(message), "{error:?} does not tell {message:?}");
    }
}

#[test]
fn units_that_come_later_are_known() {
    let services = Services {
        enable: vec!["kldload-host-keys.service".to_owned()],
        disable: vec!["kldload-grow.service".to_owned()],
        mask: vec!["kldload-first-boot.service".to_owned(), "ctrl-alt-del.target".to_owned()],
    };
    let (tree, _) = apply(&Machine { services, ..Machine::default() }).unwrap();
    assert!(tree.get("etc/systemd/system/kldload-first-boot.service").is_some());
    assert!(tree.get("etc/systemd/system/ctrl-alt-del.target").is_some());
}

#[test]
fn network_manager_has_one_gateway_of_each_family() {
    let addresses = ["192.0.2.1", "2001:db8::1", "192.0.2.2"].map(|text| text.parse().unwrap());
    let made = |gateways: &[std::net::IpAddr]| {
        let mut generated = MemoryBlobs::default();
        let mut tree = debian(&mut generated);
        let mut editor = Editor { tree: &mut tree, generated: &mut generated, time: TIME };
        editor.file("usr/sbin/NetworkManager", 0o755, "").unwrap();
        let network = Network { gateways: gateways.to_vec(), ..machine().network };
        let machine = Machine { network, ..Machine::default() };
        personalise(&mut tree, &MemoryBlobs::default(), &mut generated, &machine, TIME)
    };
    made(&addresses[..2]).unwrap();
    let error = made(&addresses).unwrap_err();
    assert!(matches!(error, PersonaliseError::Gateway(gateway) if gateway == addresses[2]));
}

/// What scripts left of a file of the recipe, whatever else is written there.
#[test]
fn files_that_are_there_already_stay() {
    let mut generated = MemoryBlobs::default();
    let mut tree = debian(&mut generated);
    let told = ["etc/apt/sources.list.d/mine.sources", "etc/localtime"];
    let mut editor = Editor { tree: &mut tree, generated: &mut generated, time: TIME };
    told.iter().for_each(|path| editor.file(path, 0o644, "mine").unwrap());
    let files = told.map(|path| NewFile {
        path: format!("/{path}"),
        content: None,
        mode: 0o600,
        owner: "root".to_owned(),
        group: "adm".to_owned(),
    });
    let machine = Machine { files: files.to_vec(), ..machine() };
    personalise(&mut tree, &MemoryBlobs::default(), &mut generated, &machine, TIME).unwrap();
    for path in told {
        assert_eq!(text(&tree, &generated, path), "mine");
        let metadata = &tree.inode(tree.get(path).unwrap()).metadata;
        assert_eq!((metadata.mode, metadata.gid), (0o600, 4));
    }
}

#[test]
fn an_account_of_a_package_may_be_told_as_it_is() {
    let bin = Account {
        name: "bin".to_owned(),
        uid: Some(2),
        home: Some("/bin/".to_owned()),
        groups: Vec::new(),
        ..alice()
    };
    let machine = Machine { accounts: vec![bin], ..Machine::default() };
    let (tree, generated) = apply(&machine).unwrap();
    let passwd = text(&tree, &generated, "etc/passwd");
    assert!(passwd.contains("\nbin:x:2:2:Alice Doe,,,:/bin:/bin/bash\n"), "{passwd}");
}

#[test]
fn account_tools_agree() {
    let directory = tempfile::tempdir().unwrap();
    let (tree, generated) = apply(&machine()).unwrap();
    write(&tree, &generated, directory.path());
    let at = |name: &str| directory.path().join("etc").join(name);
    // They look for groups, shells and homes, so the directory must be their root.
    if fs::metadata(directory.path()).unwrap().uid() == 0 {
        for tool in ["pwck", "grpck"] {
            judge(Command::new(tool).arg("-r").arg("-R").arg(directory.path()));
        }
    } else {
        eprintln!("skipped: pwck and grpck change their root directory, which only root can");
    }
    for name in ["sudoers.d/90-alice", "sudoers.d/90-bob"] {
        judge(Command::new("visudo").arg("-c").arg("-f").arg(at(name)));
    }
}

#[test]
fn systemctl_makes_the_same_links() {
    let mut generated = MemoryBlobs::default();
    let original = debian(&mut generated);
    let directory = tempfile::tempdir().unwrap();
    write(&original, &generated, directory.path());
    let root = format!("--root={}", directory.path().display());
    for (verb, units) in [
        ("disable", ["three.timer"].as_slice()),
        ("mask", &["four.service"]),
        ("enable", &["one.service", "two@.service"]),
    ] {
        if judge(Command::new("systemctl").arg(&root).arg(verb).args(units)).is_none() {
            return;
        }
    }
    let (tree, _) = apply(&machine()).unwrap();
    let ours: Vec<String> =
        listing(&tree).into_iter().filter(|line| line.starts_with("etc/systemd/system/")).collect();
    let mut theirs = Vec::new();
    let mut todo = vec![directory.path().join("etc/systemd/system")];
    while let Some(path) = todo.pop() {
        for entry in fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() && !entry.is_symlink() {
                todo.push(entry);
                continue;
            }
            let target = fs::read_link(&entry).unwrap();
            let name = entry.strip_prefix(directory.path()).unwrap();
            theirs.push(format!("{} -> {}", name.display(), target.display()));
        }
    }
    theirs.sort();
    assert_eq!(ours, theirs);
}

#[test]
fn apt_reads_the_sources() {
    let directory = tempfile::tempdir().unwrap();
    let (tree, generated) = apply(&machine()).unwrap();
    write(&tree, &generated, directory.path());
    for name in ["etc/apt/apt.conf.d", "var/lib/apt/lists/partial", "var/cache/apt", "var/lib/dpkg"]
    {
        fs::create_dir_all(directory.path().join(name)).unwrap();
    }
    fs::write(directory.path().join("var/lib/dpkg/status"), "").unwrap();
    let said = judge(
        Command::new("apt-get")
            .args(["update", "--print-uris", "-o", "APT::Architecture=amd64"])
            .args(["-o", &format!("Dir={}", directory.path().display())]),
    );
    let Some(said) = said else { return };
    let index = |line: &str| {
        let address = line.strip_prefix('\'')?.split('\'').next()?;
        Some(address.split_once("/binary-amd64/Packages")?.0.to_owned())
    };
    let mut indexes: Vec<String> = said.lines().filter_map(index).collect();
    indexes.sort_unstable();
    assert_eq!(
        indexes,
        [
            "http://ftp.debian.org/debian/dists/trixie-updates/contrib",
            "http://ftp.debian.org/debian/dists/trixie-updates/main",
            "http://ftp.debian.org/debian/dists/trixie/contrib",
            "http://ftp.debian.org/debian/dists/trixie/main",
            "http://security.debian.org/debian-security/dists/trixie-security/main",
        ]
    );
}

#[test]
fn the_locale_script_is_a_script() {
    assert_eq!(locale::script("C.UTF-8"), None);
    assert_eq!(locale::script("a'; rm"), None);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("script");
    fs::write(&path, locale::script("de_DE.UTF-8").unwrap()).unwrap();
    judge(Command::new("sh").arg("-n").arg(&path));
}

#[test]
fn only_locales_that_there_are_are_compiled() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    let supported = "aa_DJ.UTF-8 UTF-8\nde_DE.UTF-8 UTF-8\nde_DE ISO-8859-1\n";
    fs::write(at("SUPPORTED"), supported).unwrap();
    for (locale, line) in [
        ("de_DE.UTF-8", Some("de_DE.UTF-8 UTF-8")),
        ("de_DE", Some("de_DE ISO-8859-1")),
        ("DE.UTF-8", None),
        ("de_DE.UTF", None),
        ("de.DE.UTF-8", None),
    ] {
        fs::write(at("locale.gen"), "# none\n").unwrap();
        let script = locale::script(locale)
            .unwrap()
            .replace("/usr/share/i18n/SUPPORTED", &at("SUPPORTED"))
            .replace("/etc/locale.gen", &at("locale.gen"))
            .replace("\nlocale-gen\n", "\n");
        let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let added = fs::read_to_string(at("locale.gen")).unwrap();
        match line {
            Some(line) => assert_eq!(added, format!("# none\n{line}\n"), "{said}"),
            None => {
                assert_eq!((&*added, output.status.code()), ("# none\n", Some(1)));
                let told = format!("locale = \"{locale}\": there is no such locale");
                assert!(said.starts_with(&told), "{said}");
            }
        }
    }
    let mut generated = MemoryBlobs::default();
    let mut tree = debian(&mut generated);
    let check = |tree: &Tree, generated: &MemoryBlobs, locale| {
        locale::check(tree, generated, locale).map_err(|error| error.to_string())
    };
    let error = check(&tree, &generated, "de_DE.UTF-8").unwrap_err();
    assert!(error.ends_with("not in the root; add the package locales"), "{error}");
    let mut editor = Editor { tree: &mut tree, generated: &mut generated, time: TIME };
    editor.file("usr/share/i18n/SUPPORTED", 0o644, supported).unwrap();
    for fine in ["de_DE.UTF-8", "de_DE", "C.UTF-8"] {
        check(&tree, &generated, fine).unwrap();
    }
    let error = check(&tree, &generated, "de_DE.UTF").unwrap_err();
    assert!(error.starts_with("locale = \"de_DE.UTF\": /usr/share/i18n/SUPPORTED"), "{error}");
    assert!(locale::script("c.utf-8").is_some(), "libc knows it by one name only");
}
