//! `kldload build` as a person runs it: what it makes of a small bootable tree, and what it says to
//! bad input. Nothing half-made may stay behind.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use archive::cpio;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

const VERSION: &str = "6.12.38+deb13-amd64";

/// A directory with a root tree that boots as far as a reader can tell.
struct Fixture {
    dir: TempDir,
}

impl Fixture {
    fn new() -> Self {
        let fixture = Self { dir: TempDir::new().unwrap() };
        let modules = format!("usr/lib/modules/{VERSION}");
        fs::create_dir_all(fixture.root()).unwrap();
        std::os::unix::fs::symlink("usr/lib", fixture.root().join("lib")).unwrap();
        fixture.put("etc/os-release", "PRETTY_NAME=\"Debian\"\n");
        fixture.put("usr/lib/systemd/boot/efi/systemd-bootx64.efi", "MZ");
        fixture.put(&format!("boot/vmlinuz-{VERSION}"), "kernel");
        fixture.put(&format!("{modules}/updates/dkms/zfs.ko.xz"), "zfs");
        fixture.put(&format!("{modules}/updates/dkms/spl.ko.xz"), "spl");
        fixture.put(&format!("{modules}/kernel/fs/efivarfs/efivarfs.ko.xz"), "efivarfs");
        fixture.put(&format!("{modules}/modules.builtin"), "");
        let mut initramfs = cpio::Writer::new(Vec::new());
        for directory in ["etc", "scripts", "scripts/local-top", "usr", "usr/sbin"] {
            initramfs.directory(directory, 0o755).unwrap();
        }
        for driver in boot::REQUIRED_DRIVERS {
            let path = format!("{modules}/kernel/drivers/{driver}.ko.xz");
            initramfs.file(&path, 0o644, b"module").unwrap();
        }
        for module in ["zfs", "spl"] {
            let path = format!("{modules}/updates/dkms/{module}.ko.xz");
            initramfs.file(&path, 0o644, b"module").unwrap();
        }
        initramfs.file("scripts/zfs", 0o644, b"").unwrap();
        initramfs.file("usr/sbin/zpool", 0o755, b"").unwrap();
        initramfs.file("scripts/local-top/ORDER", 0o644, b"").unwrap();
        fixture.put(&format!("boot/initrd.img-{VERSION}"), initramfs.finish().unwrap());
        fixture
    }

    fn put(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    /// The tree as an archive, made by GNU tar.
    fn tar(&self) -> PathBuf {
        let path = self.dir.path().join("root.tar");
        let status = Command::new("tar")
            .args([
                "--sort=name",
                "--numeric-owner",
                "--owner=0",
                "--group=0",
                "--mtime=@1700000000",
            ])
            .arg("-C")
            .arg(self.root())
            .arg("-cf")
            .arg(&path)
            .arg(".")
            .status()
            .unwrap();
        assert!(status.success());
        path
    }

    fn build(&self, tree: &Path, arguments: &[&str]) -> Output {
        kldload()
            .arg("build")
            .arg("--tree")
            .arg(tree)
            .arg("-o")
            .arg(self.out())
            .args(arguments)
            .output()
            .unwrap()
    }

    /// Builds, expecting failure with `code` and a message with all of `words`, on one line, and
    /// nothing left in the output directory.
    fn refused(&self, tree: &Path, arguments: &[&str], code: i32, words: &[&str]) {
        let output = self.build(tree, arguments);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        for word in words {
            assert!(stderr.contains(word), "{word:?} is missing in: {stderr}");
        }
        assert_eq!(stderr.matches("kldload: ").count(), usize::from(code != 2), "{stderr}");
        self.nothing_left();
    }

    /// Not even the output directory, which the command would have made.
    fn nothing_left(&self) {
        if let Ok(entries) = fs::read_dir(self.out()) {
            let names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            panic!("the output directory was left behind, with {names:?}");
        }
    }
}

fn kldload() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kldload"));
    command.stdin(Stdio::null()).env_remove("SOURCE_DATE_EPOCH");
    command
}

fn digest(path: &Path) -> String {
    let mut hash = Sha256::new();
    let mut file = fs::File::open(path).unwrap();
    std::io::copy(&mut file, &mut hash).unwrap();
    format!("{:x}", hash.finalize())
}

const SMALL: &[&str] = &["-f", "raw", "--disk-size", "1G", "--esp-size", "64M"];

#[test]
fn the_same_tree_gives_the_same_image_wherever_it_is_built() {
    let fixture = Fixture::new();
    let tar = fixture.tar();
    let first = fixture.build(&tar, SMALL);
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    let elsewhere = TempDir::new().unwrap();
    let copy = elsewhere.path().join("other.tar");
    fs::copy(&tar, &copy).unwrap();
    let second = kldload()
        .current_dir(elsewhere.path())
        .env("TZ", "Asia/Tokyo")
        .env("HOME", "/nonexistent")
        .args(["build", "--tree", "other.tar", "-o", ".", "--name", "x"])
        .args(SMALL)
        .output()
        .unwrap();
    assert!(second.status.success(), "{}", String::from_utf8_lossy(&second.stderr));
    let (one, two) = (fixture.out().join("root.raw"), elsewhere.path().join("x.raw"));
    assert_eq!(digest(&one), digest(&two));
    assert_eq!(fs::metadata(&one).unwrap().len(), 1 << 30);

    let seeded = fixture.build(&tar, &[SMALL, &["--seed", "another"]].concat());
    assert!(seeded.status.success());
    assert_ne!(digest(&one), digest(&two));
}

#[test]
fn nothing_is_lost_by_a_build() {
    let fixture = Fixture::new();
    let tar = fixture.tar();
    let (sized, out) = (&SMALL[2..], fixture.out());
    fs::create_dir_all(out.join("x.raw")).unwrap();
    let source = out.join("x.tar.gz");
    fs::copy(&tar, &source).unwrap();
    let before = digest(&source);
    std::os::unix::fs::symlink("out", fixture.dir.path().join("same")).unwrap();
    let named = |name: &str| fixture.dir.path().join(name).display().to_string();
    let manifest = named("same/x.tar.gz");
    let vmdk = named("same/x.vmdk");
    let raw = named("out/x.raw");
    for (arguments, code, told) in [
        (&["-f", "gcp"][..], 4, "x.tar.gz is the source"),
        (&["-f", "qcow2", "--manifest", &manifest], 4, "x.tar.gz is the source"),
        (&["-f", "qcow2,vmdk", "--manifest", &vmdk], 2, "x.vmdk would be two of the outputs"),
        (&["-f", "qcow2,raw"], 4, "x.raw is a directory"),
        (&["-f", "qcow2", "--manifest", &raw], 4, "x.raw is a directory"),
        (&["-f", "vhd,vhd-dynamic"], 2, "the same name"),
    ] {
        let output = fixture.build(&source, &[sized, arguments].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(told), "{arguments:?}: {said}");
        assert_eq!(fs::read_dir(&out).unwrap().count(), 2, "{arguments:?}");
    }
    assert_eq!(digest(&source), before);
    // The directory that was made goes when the outputs are refused.
    let new = ["-o", &named("new"), "--manifest", &named("new/root.qcow2")].map(String::from);
    let output = kldload().args(["build", "--tree"]).arg(&tar).args(new).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!fixture.dir.path().join("new").exists());
    fs::write(out.join("server.toml"), "").unwrap();
    let mut command = kldload();
    command.args(["build", "server.toml", "--manifest", "server.toml"]).current_dir(&out);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("server.toml is the source"), "{said}");
}

/// The stream is what `kldload send -R` makes of the image, and is received as the tree.
#[test]
fn a_stream_of_all_datasets_is_built() {
    let fixture = Fixture::new();
    fixture.put("etc/motd", "hello");
    // Read from standard input, which keeps nothing in memory but the tree.
    let mut command = kldload();
    command.args(["build", "--name", "root", "--tree", "-", "-o"]).arg(fixture.out());
    command.args(["-f", "zfs-stream,raw", "--json"]).args(&SMALL[2..]);
    let output = command.stdin(fs::File::open(fixture.tar()).unwrap()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let (raw, stream) = (fixture.out().join("root.raw"), fixture.out().join("root.zfs"));
    let size = fs::metadata(&stream).unwrap().len();
    let stream_event = stdout.lines().find(|line| line.contains(r#""event":"stream""#)).unwrap();
    assert!(stream_event.contains(&format!(r#""size":{size}"#)), "{stream_event}");
    let names: Vec<_> = fs::read_dir(fixture.out()).unwrap().flatten().collect();
    assert_eq!(names.len(), 2, "{names:?}");

    let sent = fixture.dir.path().join("sent.zfs");
    let place = format!("{}:rpool@install", raw.display());
    let output = kldload().args(["send", "-R", &place, "-o"]).arg(&sent).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(digest(&sent), digest(&stream));

    let spool = tempfile::tempfile().unwrap();
    spool.set_len(1 << 30).unwrap();
    let mut receiver = zfs::send::Receiver::new(spool).unwrap();
    receiver.receive(std::io::BufReader::new(fs::File::open(&stream).unwrap())).unwrap();
    let named = |name: &str| receiver.received().iter().find(|one| one.name == name);
    assert!(named("rpool@install").is_some() && named("rpool/var/log@install").is_some());
    let system = named("rpool/ROOT/debian@install").unwrap();
    let filesystem = receiver.filesystem(system.guid).unwrap();
    let motd = filesystem.resolve(b"etc/motd", true).unwrap();
    let mut content = [0; 5];
    motd.object.read_at(0, &mut content).unwrap();
    assert_eq!(&content, b"hello");

    // Alone, without an image beside it.
    fs::remove_dir_all(fixture.out()).unwrap();
    let small = ["-f", "zfs-stream", SMALL[2], SMALL[3], SMALL[4], SMALL[5]];
    assert!(fixture.build(&fixture.tar(), &small).status.success());
    let names: Vec<_> = fs::read_dir(fixture.out()).unwrap().flatten().collect();
    assert_eq!(names.len(), 1, "{names:?}");
    assert_eq!(digest(&stream), digest(&sent));
}

#[test]
fn a_dry_run_tells_the_plan_and_writes_nothing() {
    let fixture = Fixture::new();
    let output = fixture.build(&fixture.tar(), &["--dry-run"]);
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for word in ["rpool/ROOT/debian", "rpool/var/log", VERSION, "esp"] {
        assert!(stdout.contains(word), "{stdout}");
    }
    fixture.nothing_left();
}

#[test]
fn the_manifest_is_of_what_the_image_holds() {
    let fixture = Fixture::new();
    fixture.put("etc/hostid", "abcd");
    fixture.put("etc/motd", "hello");
    let tar = fixture.tar();
    let file = fixture.dir.path().join("root.manifest");
    let argument = file.display().to_string();
    let output = fixture.build(&tar, &[SMALL, &["--json", "--manifest", &argument]].concat());
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(stdout.contains(r#""event":"manifest""#), "{stdout}");
    let written = tree::manifest::parse(&fs::read(&file).unwrap()).unwrap();
    let tree::Kind::File(motd) = &written.inode(written.get("etc/motd").unwrap()).kind else {
        panic!("etc/motd is no file");
    };
    assert_eq!(motd.blob, tree::Digest::of(b"hello"));
    assert!(written.get("usr/lib/kldload/esp-sync").is_some(), "what boots the machine is in it");
    assert!(written.get("var/log").is_some(), "mount points are in it");
    assert!(written.get("etc/hostid").is_none(), "what was left out is not in it");

    // It appears with the images or not at all, and a dry run writes nothing.
    fs::remove_file(&file).unwrap();
    fs::remove_dir_all(fixture.out()).unwrap();
    fixture.refused(&tar, &["--dry-run", "--manifest", &argument], 2, &["--manifest"]);
    fixture.refused(&tar, &["--disk-size", "100M", "--manifest", &argument], 3, &["larger disk"]);
    fixture.refused(&tar, &["--manifest", "/nonexistent/x"], 1, &["/nonexistent"]);
    assert!(!file.exists());
}

#[test]
fn archives_that_are_broken_or_hostile() {
    let fixture = Fixture::new();
    let tar = fixture.tar();
    let whole = fs::read(&tar).unwrap();
    let broken = fixture.dir.path().join("broken.tar");
    fs::write(&broken, &whole[..whole.len() / 2 + 100]).unwrap();
    fixture.refused(&broken, &[], 3, &["broken.tar"]);
    fs::write(&broken, b"this is no archive at all".repeat(100)).unwrap();
    fixture.refused(&broken, &[], 3, &["broken.tar"]);

    let outside = fixture.dir.path().join("outside.tar");
    let status = Command::new("tar")
        .args(["-P", "--transform=s,^,../../,", "-C"])
        .arg(fixture.root())
        .arg("-cf")
        .arg(&outside)
        .arg("etc/os-release")
        .status()
        .unwrap();
    assert!(status.success());
    fixture.refused(&outside, &[], 3, &["outside.tar", "../../etc/os-release"]);
    fixture.refused(Path::new("/nonexistent/x.tar"), &[], 1, &["/nonexistent/x.tar"]);
}

#[test]
fn trees_that_cannot_boot() {
    let cases: [(&str, &[&str]); 3] = [
        (&format!("boot/vmlinuz-{VERSION}"), &["kernel"]),
        (&format!("boot/initrd.img-{VERSION}"), &["initramfs", VERSION]),
        ("usr/lib/systemd/boot/efi/systemd-bootx64.efi", &["systemd-boot-efi"]),
    ];
    for (path, words) in cases {
        let fixture = Fixture::new();
        fs::remove_file(fixture.root().join(path)).unwrap();
        fixture.refused(&fixture.tar(), &[], 3, words);
    }
}

#[test]
fn disks_that_are_too_small() {
    let fixture = Fixture::new();
    // 700 MiB that do not compress, on a pool of 512 MiB.
    let mut state = 1u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .take(700 << 17)
    .flatten()
    .collect();
    fixture.put("var/noise", noise);
    let tar = fixture.tar();
    let small = ["-f", "raw", "--disk-size", "600M", "--esp-size", "64M"];
    fixture.refused(&tar, &small, 3, &["the pool is full", "larger"]);
    fixture.refused(&tar, &["--disk-size", "150M", "--esp-size", "64M"], 3, &["--disk-size"]);
    fixture.refused(&tar, &["--disk-size", "100M", "--esp-size", "64M"], 3, &["larger disk"]);
    fixture.refused(&tar, &["--esp-size", "1M"], 3, &["ESP"]);
}

#[test]
fn options_and_properties_that_do_not_exist() {
    let fixture = Fixture::new();
    let tar = fixture.tar();
    fixture.refused(&tar, &["--colour"], 2, &["--colour"]);
    fixture.refused(&tar, &["--disk-size", "big"], 2, &["big"]);
    fixture.refused(&tar, &["--property", "rpool"], 2, &["DATASET:PROPERTY=VALUE"]);
    fixture.refused(
        &tar,
        &["--property", "rpool:compresion=lz4"],
        3,
        &["compresion", "compression"],
    );
    fixture.refused(&tar, &["--property", "rpool:compression=lz5"], 3, &["lz5"]);
    // Known to `zfs set`, but nothing the pool writer can do.
    for dry_run in [&[][..], &["--dry-run"]] {
        let quota = [&["--property", "rpool/home:quota=1G"], dry_run].concat();
        fixture.refused(&tar, &quota, 3, &["rpool/home", "quota"]);
    }
    fixture.refused(&tar, &["--pool", "mirror"], 3, &["mirror"]);
    let output = kldload()
        .args(["build", "--tree"])
        .arg(&tar)
        .arg("-o")
        .arg(fixture.out())
        .env("SOURCE_DATE_EPOCH", "yesterday")
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("yesterday"));
}

#[test]
fn attributes_that_linux_cannot_read_are_named() {
    let fixture = Fixture::new();
    fixture.put("etc/odd", "");
    let path = fixture.root().join("etc/odd");
    rustix::fs::setxattr(&path, "user.user.x", b"1", rustix::fs::XattrFlags::empty()).unwrap();
    let output = fixture.build(&fixture.root(), &["--dry-run"]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("/etc/odd") && stderr.contains("user.user.x"), "{stderr}");
}

#[test]
fn a_mount_point_that_is_a_link_is_refused() {
    let fixture = Fixture::new();
    fs::create_dir_all(fixture.root().join("data")).unwrap();
    std::os::unix::fs::symlink("data", fixture.root().join("srv")).unwrap();
    fixture.refused(&fixture.tar(), &[], 3, &["/srv", "symbolic link"]);
}

#[test]
fn a_killed_build_leaves_nothing() {
    let fixture = Fixture::new();
    // Text that zstd-19 works on for many seconds.
    let text: String =
        (0..6_000_000u64).map(|n| format!("{:x} ", (n * n).wrapping_mul(2_654_435_761))).collect();
    fixture.put("var/big", text);
    let tar = fixture.tar();
    let mut child = kldload()
        .args(["build", "--json", "--property", "rpool:compression=zstd-19", "--tree"])
        .arg(&tar)
        .arg("-o")
        .arg(fixture.out())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Killed while it writes: it says so.
    let mut events = std::io::BufReader::new(child.stdout.take().unwrap());
    let started = Instant::now();
    let mut line = String::new();
    while !line.contains("writing pool") {
        line.clear();
        assert_ne!(std::io::BufRead::read_line(&mut events, &mut line).unwrap(), 0);
        assert!(started.elapsed() < Duration::from_secs(60));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // Nobody is left to remove the directory; it is empty.
    assert_eq!(fs::read_dir(fixture.out()).unwrap().count(), 0);
}

#[test]
fn a_full_host_disk_leaves_nothing() {
    let fixture = Fixture::new();
    let mut state = 1u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(32 << 20)
    .collect();
    fixture.put("var/noise", noise);
    let tar = fixture.tar();
    // A file system of 16 MiB that only this process tree sees.
    let script = "mount -t tmpfs -o size=16m tmpfs \"$2\" && \"$1\" build --tree \"$3\" -o \"$2\" -f raw; \
                  code=$?; ls -A \"$2\"; exit $code";
    let mount = fixture.dir.path().join("small");
    fs::create_dir(&mount).unwrap();
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .args([Path::new(env!("CARGO_BIN_EXE_kldload")), &mount, &tar])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    if stderr.starts_with("unshare:") {
        assert!(std::env::var_os("CI").is_none(), "{stderr}");
        eprintln!("SKIPPED: no user namespaces here: {stderr}");
        return;
    }
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("No space left on device"), "{stderr}");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn what_only_recipes_take_is_refused_with_a_tree() {
    let fixture = Fixture::new();
    for option in [
        &["--no-cache"][..],
        &["--cache", "cache"],
        &["--limit-rate", "1M"],
        &["--parallel", "3"],
        &["--lock", "pear.lock"],
        &["--darksite", "darksite"],
    ] {
        let arguments = [option, &["--dry-run"]].concat();
        fixture.refused(&fixture.root(), &arguments, 2, &["cannot be used with", option[0]]);
    }
    // What the environment says is for builds of recipes.
    let mut command = kldload();
    command.args(["build", "--dry-run", "--tree"]).arg(fixture.root());
    command.arg("-o").arg(fixture.out()).env("KLDLOAD_DARKSITE", "darksite");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
