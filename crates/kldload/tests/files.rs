//! `kldload inspect`, `ls`, `cat` and `cp` as a person runs them, on a pool written a moment before.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use tempfile::TempDir;

fn kldload(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kldload")).args(arguments).output().unwrap()
}

fn ok(arguments: &[&str]) -> String {
    let output = kldload(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

struct Fixture {
    dir: TempDir,
}

impl Fixture {
    /// A pool of one file system, `tank/fs`, with a snapshot `install`.
    fn new() -> Self {
        Self::with(|_| ())
    }

    /// The same with what `add` adds to the directory that becomes the file system.
    fn with(add: impl FnOnce(&Path)) -> Self {
        let fixture = Self { dir: TempDir::new().unwrap() };
        let root = fixture.path("root");
        fs::create_dir_all(root.join("etc/deep/er")).unwrap();
        fs::write(root.join("etc/hostname"), "machine\n").unwrap();
        fs::set_permissions(root.join("etc/hostname"), fs::Permissions::from_mode(0o640)).unwrap();
        fs::hard_link(root.join("etc/hostname"), root.join("etc/deep/er/same")).unwrap();
        symlink("../etc/hostname", root.join("etc/link")).unwrap();
        fs::write(root.join("two\nlines"), "").unwrap();
        // Nothing that could be compressed: its words are found again.
        let large: Vec<u8> =
            (0..750_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        fs::write(root.join("large"), large).unwrap();
        let sparse = fs::File::create(root.join("sparse")).unwrap();
        sparse.set_len(10 << 20).unwrap();
        sparse.write_all_at(b"end", (9 << 20) + 5).unwrap();
        add(&root);
        let (root, image) = (fixture.text("root"), fixture.text("pool.img"));
        ok(&["pool", "--tree", &root, "-o", &image, "--size", "128M"]);
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Damages all copies of the first block of a file or directory.
    fn lose(&self, path: &str) {
        self.damage(path, usize::MAX);
    }

    /// Damages so many copies of the first block of a file or directory.
    fn damage(&self, path: &str, copies: usize) {
        let open =
            || fs::File::options().read(true).write(true).open(self.path("pool.img")).unwrap();
        let data: Arc<dyn blk::ReadAt> = Arc::new(open());
        let pool =
            zfs::read::Pool::open(&[zfs::read::Device { name: "pool".into(), data }]).unwrap();
        let system = pool.filesystem(pool.datasets().unwrap().get("tank/fs").unwrap()).unwrap();
        let places = system.resolve(path.as_bytes(), false).unwrap().object.places(0).unwrap();
        assert!(!places.is_empty(), "{path}");
        for (_, offset) in places.into_iter().take(copies) {
            open().write_all_at(b"damaged!", (4 << 20) + offset + 200).unwrap();
        }
    }

    fn place(&self, place: &str) -> String {
        format!("{}:{place}", self.text("pool.img"))
    }
}

/// Everything below a directory: path, mode, size, time, links, content or target.
fn listing(directory: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut todo = vec![directory.to_owned()];
    while let Some(at) = todo.pop() {
        for entry in fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            let stat = path.symlink_metadata().unwrap();
            let content = if stat.is_dir() {
                todo.push(path.clone());
                String::new()
            } else if stat.is_symlink() {
                fs::read_link(&path).unwrap().display().to_string()
            } else {
                tree::Digest::of(&fs::read(&path).unwrap()).to_string()
            };
            let size = if stat.is_dir() { 0 } else { stat.len() };
            lines.push(format!(
                "{} {:o} {size} {}.{:09} {} {content}",
                path.strip_prefix(directory).unwrap().display(),
                stat.mode(),
                stat.mtime(),
                stat.mtime_nsec(),
                stat.nlink()
            ));
        }
    }
    lines.sort();
    lines
}

#[test]
fn files_come_out_as_they_went_in() {
    let fixture = Fixture::new();
    let before = listing(&fixture.path("root"));

    let out = fixture.text("out");
    ok(&["cp", "-r", &fixture.place("tank/fs/"), &out]);
    assert_eq!(listing(Path::new(&out)), before);
    let sparse = fs::metadata(fixture.path("out/sparse")).unwrap();
    assert!(sparse.blocks() * 512 < 1 << 20, "the hole was filled");

    // Into a directory that is there: without a slash, under its own name.
    fs::create_dir(fixture.path("into")).unwrap();
    ok(&["cp", "-r", &fixture.place("tank/fs@install/etc"), &fixture.text("into")]);
    assert!(fixture.path("into/etc/deep/er/same").is_file());
    let again = kldload(&["cp", "-r", &fixture.place("tank/fs@install/"), &fixture.text("into")]);
    assert_eq!(again.status.code(), Some(4), "{again:?}");

    let tar = fixture.text("out.tar");
    ok(&["cp", "-r", &fixture.place("tank/fs@install/"), &tar]);
    fs::create_dir(fixture.path("untarred")).unwrap();
    let untar = Command::new("tar").args(["-C", &fixture.text("untarred"), "-xpSf", &tar]).status();
    assert!(untar.unwrap().success());
    assert_eq!(listing(&fixture.path("untarred")), before);

    assert_eq!(ok(&["cat", &fixture.place("tank/fs/etc/link")]), "machine\n");
    assert_eq!(ok(&["cp", "-r", &fixture.place("tank/fs/etc/link"), "-"]), "machine\n");
    ok(&["cp", &fixture.place("tank/fs/etc/hostname"), &fixture.text("name")]);
    let stat = fs::metadata(fixture.path("name")).unwrap();
    assert_eq!((stat.mode() & 0o7777, stat.len()), (0o640, 8));
    let left: Vec<_> = fs::read_dir(fixture.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('.'))
        .collect();
    assert_eq!(left, [""; 0], "something half-made stayed behind");
}

#[test]
fn pools_are_told() {
    let fixture = Fixture::new();
    let text = ok(&["inspect", &fixture.text("pool.img")]);
    assert!(text.contains("tank/fs@install"), "{text}");
    let json: serde_json::Value =
        serde_json::from_str(&ok(&["inspect", &fixture.text("pool.img"), "--json"])).unwrap();
    assert_eq!(json["name"], "tank");
    assert_eq!(json["state"], "exported");
    let fs = json["datasets"].as_array().unwrap().iter().find(|d| d["name"] == "tank/fs").unwrap();
    assert_eq!(fs["properties"]["canmount"]["value"], "noauto");
    assert_eq!(json["warnings"], serde_json::json!([]));

    let listing = ok(&["ls", &fixture.place("tank/fs/etc")]);
    assert!(listing.contains("link -> ../etc/hostname"), "{listing}");
    let listing = ok(&["ls", &fixture.place("tank/fs")]);
    assert!(listing.contains("two\\nlines"), "{listing}");
    let listing = ok(&["ls", "-r", "--json", &fixture.place("tank/fs")]);
    let paths: Vec<String> = listing
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["path"].to_string())
        .collect();
    assert!(paths.contains(&"\"etc/deep/er/same\"".to_owned()), "{paths:?}");
}

#[test]
fn a_pool_is_sound_until_a_byte_changes() {
    let fixture = Fixture::new();
    let image = fixture.text("pool.img");
    let text = ok(&["verify", &image]);
    assert!(text.contains("is sound"), "{text}");
    // A word of the file "large", which is stored once.
    let sound = fs::read(&image).unwrap();
    let needle = &fs::read(fixture.path("root/large")).unwrap()[700_000..700_064];
    let at = sound.windows(64).position(|window| window == needle).unwrap();
    let mut bytes = sound.clone();
    bytes[at] ^= 1;
    fs::write(&image, bytes).unwrap();
    let output = kldload(&["verify", &image, "--json"]);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let problems = report["problems"].as_array().unwrap();
    let files: Vec<_> =
        problems.iter().flat_map(|problem| problem["files"].as_array().unwrap()).collect();
    assert!(!files.is_empty(), "{report}");
    for file in files {
        assert!(file.as_str().unwrap().ends_with(":/large"), "{report}");
    }
    let copied = kldload(&["cp", &fixture.place("tank/fs/large"), &fixture.text("lost")]);
    assert_eq!(copied.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&copied.stderr).contains("tank/fs/large"), "{copied:?}");

    for (damaged, told) in [
        (sound[..100 << 20].to_vec(), "the end is cut off"),
        ([&[0; 512 << 10], &sound[512 << 10..]].concat(), "label 0"),
    ] {
        fs::write(&image, damaged).unwrap();
        let output = kldload(&["verify", &image]);
        assert_eq!(output.status.code(), Some(5), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains(told), "{output:?}");
    }
}

#[test]
fn who_reads_from_another_copy_is_told() {
    // A directory that is too large to be in the pointer to it.
    let fixture = Fixture::with(|root| {
        fs::create_dir(root.join("many")).unwrap();
        for number in 0..100 {
            fs::write(root.join(format!("many/{number}")), "machine\n").unwrap();
        }
    });
    // Directories are there twice.
    fixture.damage("many", 1);
    let file = fixture.place("tank/fs/many/7");
    for arguments in [&["cat", &file][..], &["cp", &file, "-"]] {
        let output = kldload(arguments);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(output.stdout, b"machine\n");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("a bad copy was not used"), "{arguments:?}: {said}");
    }
}

#[test]
fn nobody_gets_programs_that_run_as_them() {
    if !rustix::process::geteuid().is_root() {
        eprintln!(
            "\n***** SKIPPED: only root can make a pool with root's files and be somebody else *****\n"
        );
        return;
    }
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("root")).unwrap();
    fs::write(at("root/program"), "").unwrap();
    fs::set_permissions(at("root/program"), fs::Permissions::from_mode(0o6755)).unwrap();
    let image = at("pool.img").display().to_string();
    ok(&["pool", "--tree", at("root").to_str().unwrap(), "-o", &image, "--size", "128M"]);
    // Whoever they are, they find the program and the pool.
    fs::copy(env!("CARGO_BIN_EXE_kldload"), at("kldload")).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let output = Command::new(at("kldload"))
        .args(["cp", "-r", &format!("{image}:tank/fs/"), "out"])
        .current_dir(dir.path())
        .uid(65534)
        .gid(65534)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("no file is setuid"), "{output:?}");
    let stat = fs::metadata(at("out/program")).unwrap();
    assert_eq!((stat.uid(), stat.mode() & 0o7777), (65534, 0o755));
}

/// What somebody wants who has to rescue what is left.
#[test]
fn copies_of_what_can_be_read() {
    let fixture = Fixture::with(|root| {
        fs::hard_link(root.join("large"), root.join("etc/large too")).unwrap();
        fs::create_dir(root.join("names")).unwrap();
        for number in 0..60 {
            fs::write(root.join(format!("names/a name of some length, {number}")), "").unwrap();
        }
    });
    let place = fixture.place("tank/fs");
    fixture.lose("large");
    fixture.lose("names");
    let out = fixture.text("out");
    let lost = ["etc/large too", "large", "names"];

    let output = kldload(&["cp", "-r", &format!("{place}/"), &out]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let named = |name: &&str| {
        told.contains(&format!("cannot copy {place}/{name} to {out}/{name}; --skip-bad goes on"))
    };
    assert!(lost.iter().any(named) && !told.contains(".new-"), "{told}");
    assert!(!fixture.path("out").exists());

    let output = kldload(&["cp", "-r", "--skip-bad", &format!("{place}/"), &out]);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let told: Vec<_> = told.lines().filter(|line| line.starts_with("left out: ")).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    for (line, (name, part)) in told.iter().zip(lost.iter().zip(["", "", "what is in it: "])) {
        let start = format!("left out: {place}/{name}: {part}cannot read L0 ");
        assert!(line.starts_with(&start), "{line}");
    }
    let kept = |directory: &str| {
        let mut lines = listing(&fixture.path(directory));
        lines.retain(|line| {
            let below = line.starts_with("names/");
            !below && !["large ", "etc/large too "].iter().any(|name| line.starts_with(name))
        });
        lines
    };
    assert_eq!(kept("out"), kept("root"));
    assert_eq!(listing(&fixture.path("out")), kept("out"), "something was made of what was lost");

    let (json, place) = (fixture.text("json"), format!("{place}/etc"));
    let output = kldload(&["cp", "-r", "--skip-bad", "--json", &place, &json]);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let events: Vec<serde_json::Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let [left_out, copied] = &events[..] else { panic!("{events:?}") };
    assert_eq!(left_out["event"], "left out");
    assert_eq!(left_out["source"], format!("{place}/large too"));
    assert_eq!(copied["event"], "copied");

    for arguments in [&["--skip-bad"][..], &["-r", "--skip-bad"]] {
        let output = kldload(&[&["cp"], arguments, &[&place, &fixture.text("out.tar")]].concat());
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
}

#[test]
fn links_that_lead_nowhere() {
    let fixture = Fixture::with(|root| {
        symlink("../nowhere", root.join("etc/dangling")).unwrap();
        symlink("etc/dangling", root.join("to it")).unwrap();
    });
    for (path, link, target) in [
        ("etc/dangling", "etc/dangling", "../nowhere"),
        ("to it", "to it", "../nowhere"),
        ("etc/dangling/file", "dangling", "../nowhere"),
    ] {
        for command in ["cat", "cp"] {
            let output = kldload(&[command, &fixture.place(&format!("tank/fs/{path}"))]);
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            let what = format!(
                "{target:?}, which the symbolic link {link:?} in tank/fs points to, does not exist"
            );
            assert!(told.contains(&what), "{told}");
        }
    }
}

#[test]
fn what_is_read_is_not_replaced() {
    let fixture = Fixture::new();
    let image = fixture.text("pool.img");
    fs::rename(&image, fixture.path("pool.tar")).unwrap();
    symlink("pool.tar", &image).unwrap();
    fs::create_dir(fixture.path("fs")).unwrap();
    let tar = fixture.text("pool.tar");
    // What is a directory is told before anything is read.
    let directory = fixture.text("fs");
    for (arguments, told) in [
        (&["cp", &fixture.place("tank/fs/large"), &tar][..], "is the source"),
        (&["cp", &fixture.place("tank/fs/large"), &image], "is the source"),
        (&["cp", "-r", &fixture.place("tank/fs/"), &tar], "is the source"),
        (&["send", &fixture.place("tank/fs@install"), "-o", &tar], "is the source"),
        (&["send", &fixture.place("tank/fs@install"), "-o", &directory], "is a directory"),
    ] {
        let output = kldload(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(4), "{arguments:?}: {said}");
        assert!(said.contains(told), "{arguments:?}: {said}");
    }
    assert!(ok(&["verify", &image]).contains("is sound"));
}

/// The pool of a [`Fixture`] as a partition, with so much before it and behind it.
fn disk_of(fixture: &Fixture, around: u64) -> Vec<u8> {
    use disk::gpt::{Lba, Partition, SECTOR, TYPE_ZFS, Table, write};
    let pool = fs::read(fixture.path("pool.img")).unwrap();
    let end = around + pool.len() as u64;
    let mut bytes = vec![0; (end + around) as usize];
    bytes[around as usize..end as usize].copy_from_slice(&pool);
    let partition = Partition {
        type_guid: TYPE_ZFS,
        unique_guid: disk::Guid::v4([1; 16]),
        first_lba: Lba(around / SECTOR),
        last_lba: Lba(end / SECTOR - 1),
        attributes: 0,
        name: String::new(),
    };
    let memory = blk::Memory::from(bytes);
    let partitions = [(1, partition)].into();
    write(&memory, &Table { disk_guid: disk::Guid::v4([2; 16]), partitions }).unwrap();
    memory.into_bytes()
}

#[test]
fn a_disk_that_was_cut_off_is_read() {
    let fixture = Fixture::new();
    let (image, place) = (fixture.text("disk.img"), fixture.text("disk.img:tank/fs/etc/hostname"));
    let bytes = disk_of(&fixture, 8 << 20);
    // Behind the pool: only the second copy of the table is missing.
    fs::write(&image, &bytes[..bytes.len() - (4 << 20)]).unwrap();
    for arguments in [["inspect", &image], ["verify", &image]] {
        let output = kldload(&arguments);
        assert!(output.status.success(), "{output:?}");
        let said = [output.stdout, output.stderr].concat();
        let told = "disk.img was cut off: its GPT counts on 4194304 bytes more";
        assert!(String::from_utf8_lossy(&said).contains(told), "{arguments:?}");
    }
    // In the pool.
    fs::write(&image, &bytes[..bytes.len() - (20 << 20)]).unwrap();
    let output = kldload(&["verify", &image]);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert_eq!(ok(&["cat", &place]), "machine\n");
}

#[test]
fn tables_that_are_not_read_are_told() {
    let fixture = Fixture::new();
    let image = fixture.text("disk.img");
    let mut large = vec![0; 1 << 20];
    large[4096..4104].copy_from_slice(b"EFI PART");
    let mut mbr = vec![0; 1 << 20];
    mbr[446..462].copy_from_slice(&[0, 0, 0, 0, 0xbf, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0]);
    mbr[510..512].copy_from_slice(&[0x55, 0xaa]);
    for (bytes, told) in [(large, "a GPT for sectors of 4096 bytes"), (mbr, "an MBR and no GPT")] {
        fs::write(&image, bytes).unwrap();
        let output = kldload(&["inspect", &image]);
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(told) && said.contains("name the partition"), "{said}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    let fixture = Fixture::new();
    let code = |arguments: &[&str]| kldload(arguments).status.code();
    assert_eq!(code(&["cat", &fixture.place("tank/fs/nothing")]), Some(1));
    assert_eq!(code(&["cat", &fixture.place("other/fs/etc")]), Some(1));
    assert_eq!(code(&["cat", &fixture.place("tank/fs/etc")]), Some(3));
    let image = fixture.text("pool.img");
    for arguments in [
        ["ls", &image].as_slice(),
        &["ls", &fixture.place("")],
        &["ls", &format!("{image},:tank")],
        &["verify", &image, &image],
        &["send", &fixture.place("tank/fs@install/etc"), "-o", "x"],
        &["send", &fixture.place("tank/fs"), "-o", "x"],
        &["cp", &fixture.place("tank/fs/etc"), "x"],
    ] {
        assert_eq!(code(arguments), Some(2), "{arguments:?}");
    }
    for command in ["inspect", "verify"] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_kldload"))
            .args([command, &image])
            .stdout(full)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
    }
    fs::write(fixture.path("zeros"), vec![0; 1 << 20]).unwrap();
    let output = kldload(&["inspect", &fixture.text("zeros")]);
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("label"), "{output:?}");
}
