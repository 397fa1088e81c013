//! `kldload darksite` from the command line, with an archive made here as upstream.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use jiff::{Timestamp, ToSpan};
use pkg::deb::{IndexFile, Release};
use pkg::distribution::Distribution;
use pkg::openpgp::SigningKey;
use serde_json::Value;
use tree::Digest;

struct World {
    directory: tempfile::TempDir,
    key: SigningKey,
}

impl World {
    fn new() -> Self {
        let key = SigningKey::generate("test", Timestamp::now() - 48.hours()).unwrap();
        let world = Self { directory: tempfile::tempdir().unwrap(), key };
        world.write("key.asc", world.key.public_armor().unwrap());
        world.write("lab.txt", "one  # ours\n");
        let recipe = format!(
            "release = \"trixie\"\nsuites = [\"trixie\"]\ncomponents = [\"main\"]\nkeyring = \
             \"key.asc\"\nmirror = \"file:{}\"\nsets = [\"lab.txt\"]\noptional = [\"absent\"]\n",
            world.path("archive").display()
        );
        world.write("recipe.toml", recipe);
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Writes the archive: name, version and dependencies of each package.
    fn archive(&self, date: Timestamp, packages: &[(&str, &str, &str)]) {
        let _ = fs::remove_dir_all(self.path("archive"));
        self.suite("trixie", date, packages);
    }

    /// Writes a suite into the archive.
    fn suite(&self, name: &str, date: Timestamp, packages: &[(&str, &str, &str)]) {
        let dists = format!("archive/dists/{name}");
        let mut index = String::new();
        for (package, version, depends) in packages {
            let content = deb(package, version);
            let path = format!("pool/main/{package}_{version}_all.deb");
            self.write(&format!("archive/{path}"), &content);
            index += &format!("Package: {package}\nVersion: {version}\nArchitecture: all\n");
            if !depends.is_empty() {
                index += &format!("Depends: {depends}\n");
            }
            let (size, digest) = (content.len(), Digest::of(&content));
            index += &format!("Filename: {path}\nSize: {size}\nSHA256: {digest}\n\n");
        }
        let path = "main/binary-amd64/Packages";
        self.write(&format!("{dists}/{path}"), &index);
        let (size, sha256) = (index.len() as u64, Digest::of(index.as_bytes()));
        let release = Release {
            suite: "stable".to_owned(),
            codename: name.to_owned(),
            date: Some(date),
            architectures: vec!["amd64".to_owned()],
            components: vec!["main".to_owned()],
            files: vec![IndexFile { path: path.to_owned(), size, sha256 }],
            ..Release::default()
        };
        let text = self.key.clearsign(&release.to_text(), Timestamp::now()).unwrap();
        self.write(&format!("{dists}/InRelease"), text);
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kldload"));
        command.arg("darksite").args(args).current_dir(self.directory.path());
        command.env_remove("KLDLOAD_MIRROR").env_remove("KLDLOAD_DARKSITE");
        command
    }

    /// The program on a host with this `/etc/apt` and `os-release`, and without a network.
    fn on_host(&self, apt: &str, os_release: &str, args: &[&str]) -> Command {
        const SCRIPT: &str = "mount --bind \"$1\" /etc/apt && mount --bind \"$2\" /etc/os-release && \
                              shift 2 && exec \"$@\"";
        let inner = self.command(args);
        let mut outer = Command::new("unshare");
        outer
            .args(["-rmn", "sh", "-c", SCRIPT, "sh"])
            .arg(self.path(apt))
            .arg(self.path(os_release));
        outer.arg(inner.get_program()).args(inner.get_args()).current_dir(self.directory.path());
        outer.env_remove("KLDLOAD_MIRROR").env_remove("KLDLOAD_DARKSITE");
        outer
    }

    /// The events of a run that must end with `code`.
    fn run(&self, code: i32, args: &[&str]) -> Vec<Value> {
        let output = self.command(args).arg("--json").output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}{error}");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[test]
fn a_time_that_nobody_can_sign_is_refused_before_anything_is_done() {
    let world = World::new();
    world.archive(Timestamp::now() - 1.hour(), &[("one", "1", "")]);
    let nothing = world.path("darksite");
    for bad in ["yesterday", "", "1.5", "-1", "4294967296", "99999999999999999999"] {
        for args in [&["sync", "recipe.toml"][..], &["verify"]] {
            let output = world.command(args).env("SOURCE_DATE_EPOCH", bad).output().unwrap();
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(3), "{args:?}: {error}");
            let expected = format!(
                "kldload: SOURCE_DATE_EPOCH={bad} is not a number of seconds since 1970, from 0 to \
                 4294967295\n"
            );
            assert_eq!(error, expected);
            assert!(!nothing.exists());
        }
    }
    let mut last = world.command(&["sync", "recipe.toml"]);
    let output = last.env("SOURCE_DATE_EPOCH", "4294967295").output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("/21060207T062815Z-"), "{error}");
}

/// The smallest .deb there is.
fn deb(name: &str, version: &str) -> Vec<u8> {
    let control = format!("Package: {name}\nVersion: {version}\nArchitecture: all\n");
    let mut tar = vec![0; 512];
    tar[..9].copy_from_slice(b"./control");
    tar[100..107].copy_from_slice(b"0000644");
    tar[124..135].copy_from_slice(format!("{:011o}", control.len()).as_bytes());
    tar[156] = b'0';
    tar[257..265].copy_from_slice(b"ustar\x0000");
    tar[148..156].fill(b' ');
    let sum: u32 = tar.iter().map(|&byte| u32::from(byte)).sum();
    tar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    tar.extend(control.as_bytes());
    tar.resize(2048, 0);
    let mut bytes = b"!<arch>\n".to_vec();
    let members =
        [("debian-binary", &b"2.0\n"[..]), ("control.tar", &tar), ("data.tar", &[0; 1024])];
    for (name, content) in members {
        let head = format!("{name:<16}0           0     0     100644  {:<10}`\n", content.len());
        bytes.extend(head.as_bytes());
        bytes.extend(content);
    }
    bytes
}

fn event(events: &[Value], name: &str) -> Value {
    let found = events.iter().find(|event| event["event"] == name);
    found.unwrap_or_else(|| panic!("no event {name} in {events:?}")).clone()
}

#[test]
fn from_sync_to_gc() {
    let world = World::new();
    let date = Timestamp::now() - 3.hours();
    world.archive(date, &[("one", "1", "two"), ("two", "1", ""), ("three", "1", "")]);
    let events = world.run(0, &["sync", "recipe.toml"]);
    let warning = event(&events, "warning")["text"].as_str().unwrap().to_owned();
    assert!(warning.contains("absent"), "{warning}");
    let synced = event(&events, "synced");
    assert_eq!((&synced["packages"], &synced["fetched"]), (&2.into(), &2.into()), "{synced}");
    let lock = fs::read_to_string(world.path("recipe.lock")).unwrap();
    assert!(
        lock.contains("\npackage one 1 all ") && lock.contains("\npackage two 1 all "),
        "{lock}"
    );
    assert!(world.path("darksite/current/pool/main/one_1_all.deb").exists());

    // The archive goes on; the lock does not, and needs nobody.
    world.archive(Timestamp::now() - 2.hours(), &[("one", "2", "three"), ("three", "1", "")]);
    let synced = event(&world.run(0, &["sync", "recipe.toml"]), "synced");
    assert_eq!((&synced["fetched"], &synced["fresh"]), (&0.into(), &false.into()));
    assert_eq!(fs::read_to_string(world.path("recipe.lock")).unwrap(), lock);

    let changes = event(&world.run(0, &["update", "recipe.toml", "--dry-run"]), "difference");
    let words: Vec<&str> = changes["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["change"].as_str().unwrap())
        .collect();
    assert_eq!(words, ["upgraded", "added", "removed"]);
    assert_eq!(fs::read_to_string(world.path("recipe.lock")).unwrap(), lock);
    world.run(0, &["update", "recipe.toml"]);
    let synced = event(&world.run(0, &["sync", "recipe.toml"]), "synced");
    assert_eq!(synced["fetched"], 2);

    let verified = event(&world.run(0, &["verify", "--keyring", "key.asc"]), "verified");
    assert_eq!(
        (&verified["good"], &verified["problems"]),
        (&true.into(), &Value::Array(Vec::new()))
    );
    // With Debian's keys, this is nobody's archive.
    world.run(5, &["verify"]);
    let snapshots =
        world.run(0, &["list"]).iter().filter(|event| event["event"] == "snapshot").count();
    assert_eq!(snapshots, 2);
    assert_eq!(world.run(0, &["list", "--packages"]).len(), 2);
    let removed = event(&world.run(0, &["gc", "--keep-snapshots", "1"]), "removed");
    assert!(removed["files"].as_u64().unwrap() >= 2, "{removed}");
    world.run(0, &["copy", "medium"]);
    world.run(0, &["verify", "medium", "--keyring", "key.asc"]);
    fs::write(world.path("medium/pool/main/one_2_all.deb"), "one 3").unwrap();
    let verified = event(&world.run(5, &["verify", "medium", "--keyring", "key.asc"]), "verified");
    assert!(verified["problems"][0].as_str().unwrap().contains("one_2_all.deb"), "{verified}");
    let output = world.command(&["sbom"]).output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["packages"].as_array().unwrap().len(), 2);
}

#[test]
fn a_package_that_cannot_be_read_costs_itself_alone() {
    let world = World::new();
    let packages = [("one", "1", ""), ("two", "1", "three (>> 2"), ("four", "1", "two")];
    world.archive(Timestamp::now() - 3.hours(), &packages);
    let events = world.run(0, &["sync", "recipe.toml"]);
    let warned = events.iter().any(|event| {
        event["text"].as_str().is_some_and(|text| {
            text.starts_with(
                "suite trixie: main/binary-amd64/Packages: line 11: Depends: a bracket",
            ) && text.ends_with("; two 1 is passed over")
        })
    });
    assert!(warned, "{events:?}");
    world.run(0, &["verify", "--keyring", "key.asc"]);
    assert!(world.command(&["sbom"]).output().unwrap().status.success());

    // Who needs it hears why it is not there.
    world.write("lab.txt", "four\n");
    let output = world.command(&["update", "recipe.toml"]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{error}");
    let why = "four 1 has Depends: two [two 1 in trixie/main cannot be read: line 11: Depends: ";
    assert!(error.contains(why), "{error}");
}

#[test]
fn a_snapshot_whose_lock_cannot_be_read_stops_nothing() {
    let world = World::new();
    world.archive(Timestamp::now() - 3.hours(), &[("one", "1", "")]);
    // Whatever the mask is, all may read what is published.
    let sync = world.command(&["sync", "recipe.toml"]);
    let mut masked = Command::new("sh");
    masked.args(["-c", "umask 077; exec \"$@\"", "sh"]).arg(sync.get_program());
    masked.args(sync.get_args()).current_dir(world.directory.path());
    assert!(masked.output().unwrap().status.success());
    let old = fs::canonicalize(world.path("darksite/current")).unwrap();
    for path in ["", "dists/trixie/main/binary-amd64", "pool/main", "pool/main/one_1_all.deb"] {
        let mode = fs::metadata(old.join(path)).unwrap().permissions().mode();
        assert_eq!(mode & 0o444, 0o444, "{path}: {mode:o}");
    }

    world.archive(Timestamp::now() - 2.hours(), &[("one", "2", "")]);
    world.run(0, &["update", "recipe.toml"]);
    world.run(0, &["sync", "recipe.toml"]);
    let lock = old.join("darksite.lock");
    let text = fs::read_to_string(&lock).unwrap();
    fs::write(&lock, text.replace("kldload-lock 1", "kldload-lock 2")).unwrap();
    let said = |args: &[&str]| {
        let output = world.command(args).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("darksite.lock: line 1"), "{args:?}: {error}");
        output.status.code()
    };
    assert_eq!(said(&["sync", "recipe.toml"]), Some(0));
    assert_eq!(said(&["list"]), Some(0));
    assert_eq!(said(&["verify", "--keyring", "key.asc"]), Some(5));
    // What it needs is not known, so that nothing goes unless it goes first.
    assert_eq!(said(&["gc"]), Some(3));
    world.run(0, &["gc", "--keep-snapshots", "1"]);
    assert!(!old.exists());
    world.run(0, &["verify", "--keyring", "key.asc"]);
}

#[test]
fn every_snapshot_is_verified_and_gets_what_is_fetched_again() {
    let world = World::new();
    let date = Timestamp::now() - 3.hours();
    world.archive(date, &[("one", "1", "two"), ("two", "1", "")]);
    world.run(0, &["sync", "recipe.toml"]);
    let older = fs::canonicalize(world.path("darksite/current")).unwrap();
    world.archive(date + 1.hour(), &[("one", "2", "two"), ("two", "1", "")]);
    world.run(0, &["update", "recipe.toml"]);
    world.run(0, &["sync", "recipe.toml"]);
    let newer = fs::canonicalize(world.path("darksite/current")).unwrap();
    assert_ne!(older, newer);
    let verified = |code| event(&world.run(code, &["verify", "--keyring", "key.asc"]), "verified");
    let good = verified(0);
    // Each file once, whatever names it has: 2 locks, 3 packages, 2 times 2 indexes and what is signed.
    assert_eq!(good["packages"], 4, "{good}");

    // The older snapshot's own files, which no blob vouches for.
    let index = older.join("dists/trixie/main/binary-amd64/Packages");
    let text = fs::read_to_string(&index).unwrap();
    fs::write(&index, text.replace("Version: 1", "Version: 3")).unwrap();
    let problems = verified(5)["problems"].to_string();
    assert!(problems.contains("binary-amd64/Packages: damaged"), "{problems}");
    fs::write(&index, text).unwrap();
    verified(0);

    // A file of the older one that is no link any more.
    let (shared, content) = ("pool/main/two_1_all.deb", deb("two", "1"));
    fs::remove_file(older.join(shared)).unwrap();
    fs::write(older.join(shared), "two 666").unwrap();
    let problems = verified(5)["problems"].to_string();
    let place = format!("{}/{shared}: damaged", older.file_name().unwrap().to_str().unwrap());
    assert!(problems.contains(&place), "{problems}");

    // The disk fails: the blob and all its names.
    let name = Digest::of(&content).to_string();
    let blob = world.path("darksite/blobs").join(&name[..2]).join(&name[2..]);
    fs::remove_file(newer.join("pool/main/one_2_all.deb")).unwrap();
    let mut permissions = fs::metadata(&blob).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
    fs::set_permissions(&blob, permissions).unwrap();
    fs::write(&blob, "damaged").unwrap();
    verified(5);
    fs::remove_file(&blob).unwrap();
    // A run that was killed before it gave a link its name.
    fs::write(newer.join("pool/main/.relink-two_1_all.deb"), "damaged").unwrap();
    let events = world.run(0, &["sync", "recipe.toml"]);
    assert_eq!(event(&events, "synced")["fetched"], 1);
    let warning = event(&events, "warning").to_string();
    assert!(warning.contains("3 damaged or missing files of snapshots"), "{warning}");
    for snapshot in [&older, &newer] {
        assert_eq!(fs::read(snapshot.join(shared)).unwrap(), content);
        let left = fs::read_dir(snapshot.join("pool/main")).unwrap();
        let left = left.filter(|entry| entry.as_ref().unwrap().file_name().len() > 20).count();
        assert_eq!(left, 0, "what the killed run left");
    }
    verified(0);
}

#[test]
fn pins_and_holds_of_a_recipe() {
    let world = World::new();
    let recipe = fs::read_to_string(world.path("recipe.toml")).unwrap();
    let recipe = recipe.replace("optional = [\"absent\"]\n", "");
    let recipe =
        recipe.replace("suites = [\"trixie\"]", "suites = [\"trixie\", \"trixie-updates\"]");
    let asked = |more: &str| world.write("recipe.toml", format!("{recipe}{more}"));
    let date = Timestamp::now() - 3.hours();
    world.archive(date, &[("one", "1.0", "two"), ("two", "1.0", "")]);
    world.suite("trixie-updates", date, &[("one", "2.0", "two"), ("two", "2.0", "")]);
    let locked = || -> Vec<String> {
        let lock = fs::read_to_string(world.path("recipe.lock")).unwrap();
        let packages = lock.lines().filter_map(|line| line.strip_prefix("package "));
        packages.map(|line| line.split(" all ").next().unwrap().to_owned()).collect()
    };
    let said = |args: &[&str]| {
        let output = world.command(args).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    asked("");
    world.run(0, &["sync", "recipe.toml"]);
    assert_eq!(locked(), ["one 2.0", "two 2.0"]);

    // By suite and by a pattern of versions; a lock of other pins is refused.
    let by_suite = "[[pins]]\npackages = [\"tw?\"]\nsuite = \"trixie\"\n";
    let by_version = "[[pins]]\npackages = [\"one\"]\nversion = \"1.*\"\npriority = 1001\n";
    asked(&format!("{by_suite}{by_version}"));
    let (good, error) = said(&["sync", "recipe.toml"]);
    assert!(!good && error.contains("made before the pin \"990 release trixie: tw?\""), "{error}");
    world.run(0, &["update", "recipe.toml"]);
    assert_eq!(locked(), ["one 1.0", "two 1.0"]);
    world.run(0, &["sync", "recipe.toml"]);
    asked(by_version);
    let (good, error) = said(&["sync", "recipe.toml"]);
    assert!(!good && error.contains("made with other pins"), "{error}");
    let idle = "[[pins]]\npackages = [\"one\"]\nsuite = \"trixie-backports\"\n";
    asked(idle);
    let (good, error) = said(&["update", "recipe.toml", "--dry-run"]);
    assert!(good && error.contains("nothing is of release trixie-backports"), "{error}");

    // What is held stays as the lock has it, what is not goes on.
    asked("hold = [\"tw*\", \"three\"]\n");
    let (good, error) = said(&["update", "recipe.toml"]);
    assert!(good && error.contains("hold: the lock has no package \"three\""), "{error}");
    assert_eq!(locked(), ["one 2.0", "two 1.0"]);
    world.run(0, &["sync", "recipe.toml"]);
    world.archive(date, &[("one", "1.0", "two")]);
    world.suite("trixie-updates", date, &[("one", "2.1", "two"), ("two", "2.1", "")]);
    let (good, error) = said(&["update", "recipe.toml"]);
    assert!(
        !good && error.contains("two: it is held at 1.0, which no suite has any more"),
        "{error}"
    );
}

#[test]
fn a_lock_from_elsewhere_is_believed_as_little_as_a_mirror() {
    let world = World::new();
    let packages = [("one", "1", ""), ("three", "1", "")];
    world.archive(Timestamp::now() - 3.hours(), &packages);
    world.run(0, &["sync", "recipe.toml"]);
    let lock = fs::read_to_string(world.path("recipe.lock")).unwrap();

    // Another darksite, the same lock: all of it is verified again.
    world.run(0, &["sync", "recipe.toml", "--dir", "second"]);
    // A package that no index has, from a place that has it.
    let line = lock.lines().find(|line| line.starts_with("package one ")).unwrap();
    let evil = deb("one", "666");
    world.write("archive/pool/main/one_666_all.deb", &evil);
    let (size, digest) = (evil.len(), Digest::of(&evil));
    let changed =
        format!("package one 666 all {size} {digest} trixie/main pool/main/one_666_all.deb");
    world.write("recipe.lock", lock.replace(line, &changed));
    let refused = |args: &[&str], with: &str| {
        let output = world.command(args).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(with), "{args:?}: {error}");
    };
    refused(&["sync", "recipe.toml", "--dir", "third"], "do not have one 666 with this digest");
    assert!(!world.path("third/current").exists());
    says(&world, 5, &["sync", "recipe.toml", "--dir", "third"], &[]);
    // Another key.
    world.write("recipe.lock", &lock);
    let stranger = SigningKey::generate("stranger", Timestamp::now() - 48.hours()).unwrap();
    world.write("other.asc", stranger.public_armor().unwrap());
    let other = ["sync", "recipe.toml", "--dir", "fourth", "--keyring", "other.asc"];
    refused(&other, "not signed by a trusted key");

    // What was asked for since then is not left out in silence.
    world.write("lab.txt", "one\nthree\n");
    refused(
        &["sync", "recipe.toml"],
        "made before \"three\" was asked for; kldload darksite update",
    );
    refused(&["sync", "recipe.toml", "--architecture", "arm64"], "made for architecture amd64");
    world.run(0, &["update", "recipe.toml"]);
    world.run(0, &["sync", "recipe.toml"]);
    world.write("lab.txt", "one\n");
    let events = world.run(0, &["sync", "recipe.toml"]);
    let warning = event(&events, "warning")["text"].as_str().unwrap().to_owned();
    assert!(warning.contains("nobody asks for \"three\" any more"), "{warning}");
}

#[test]
fn what_is_excluded_stays_away_and_a_misspelt_name_is_told() {
    let world = World::new();
    world.archive(
        Timestamp::now() - 3.hours(),
        &[("one", "1", "two | three"), ("two", "1", ""), ("three", "1", "")],
    );
    world.run(0, &["sync", "recipe.toml"]);
    let recipe = fs::read_to_string(world.path("recipe.toml")).unwrap();
    world.write("recipe.toml", format!("{recipe}exclude = [\"two\", \"thre\"]\n"));
    // The lock has it, and is not used in silence.
    let output = world.command(&["sync", "recipe.toml"]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && error.contains("made before \"two\" was excluded"),
        "{error}"
    );
    let events = world.run(0, &["update", "recipe.toml"]);
    let warned =
        |event: &Value| event["text"].as_str().is_some_and(|text| text.contains("exclude: "));
    let warnings: Vec<&Value> = events.iter().filter(|event| warned(event)).collect();
    assert_eq!(warnings.len(), 1, "{events:?}");
    let text = warnings[0]["text"].as_str().unwrap();
    assert!(text.contains("\"thre\"") && text.contains("meant: three?"), "{text}");
    world.run(0, &["sync", "recipe.toml"]);
    let lock = fs::read_to_string(world.path("recipe.lock")).unwrap();
    assert!(lock.contains("\npackage three ") && !lock.contains("\npackage two "), "{lock}");
}

#[test]
fn two_recipes_take_turns() {
    let world = World::new();
    world.archive(Timestamp::now() - 3.hours(), &[("one", "1", ""), ("two", "1", "")]);
    let recipe = fs::read_to_string(world.path("recipe.toml")).unwrap();
    world.write(
        "other/recipe.toml",
        recipe.replace("lab.txt", "other.txt").replace("key.asc", "../key.asc"),
    );
    world.write("other/other.txt", "two\n");
    let sync = |recipe: &str| event(&world.run(0, &["sync", recipe]), "synced");
    let first = sync("recipe.toml");
    let second = sync("other/recipe.toml");
    assert_ne!(first["snapshot"], second["snapshot"]);
    // What is current again is published anew, or clients would not notice. Nothing is fetched, and both
    // locks are kept though both are called recipe.lock.
    let again = sync("recipe.toml");
    assert_eq!((&again["fetched"], &again["fresh"]), (&0.into(), &true.into()));
    assert!(again["snapshot"] != first["snapshot"] && again["snapshot"] != second["snapshot"]);
    assert_eq!(sync("recipe.toml")["snapshot"], again["snapshot"]);
    assert!(world.path("darksite/current/pool/main/one_1_all.deb").exists());
    world.run(0, &["gc", "--keep-snapshots", "1"]);
    assert_eq!(sync("other/recipe.toml")["fetched"], 0);
}

#[test]
fn without_a_network_everything_after_sync_works() {
    let world = World::new();
    world.archive(Timestamp::now() - 3.hours(), &[("one", "1", "")]);
    world.run(0, &["sync", "recipe.toml"]);
    fs::remove_dir_all(world.path("archive")).unwrap();
    let alone = |args: &[&str]| {
        let inner = world.command(args);
        let mut outer = Command::new("unshare");
        outer.arg("-rn").arg(inner.get_program()).args(inner.get_args());
        outer.current_dir(world.directory.path()).output()
    };
    let possible = Command::new("unshare").args(["-rn", "true"]).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: unshare -rn is not possible here");
        return;
    }
    for args in [
        &["sync", "recipe.toml"][..],
        &["verify", "--keyring", "key.asc"],
        &["copy", "medium"],
        &["list"],
        &["sbom"],
        &["gc"],
    ] {
        let output = alone(args).unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {error}");
    }
}

#[test]
fn the_order_of_mirrors() {
    let world = World::new();
    let date = Timestamp::now() - 3.hours();
    let places = ["option", "recipe", "environment", "host"];
    for place in places {
        world.archive(date, &[("one", "1", "")]);
        world.suite("trixie-security", date, &[("one", "1", "")]);
        fs::rename(world.path("archive"), world.path(place)).unwrap();
    }
    let address = |place: &str| format!("file:{}", world.path(place).display());
    let plain = "release = \"trixie\"\nsuites = [\"trixie\", \"trixie-security\"]\ncomponents = \
                 [\"main\"]\nkeyring = \"key.asc\"\npackages = [\"one\"]\n";
    world.write("plain.toml", plain);
    let own = address("recipe");
    world.write("own.toml", format!("{plain}mirror = \"{own}\"\nsecurity_mirror = \"{own}\"\n"));
    let host = address("host");
    let sources = format!("deb {host} trixie main\ndeb {host} bookworm-security main\n");
    world.write("apt/sources.list", sources);
    world.write("no-apt/sources.list", "");
    world.write("debian", "NAME=\"x\"\nID=debian\n");
    world.write("other", "ID=other\n");

    let possible = world.on_host("apt", "debian", &["--help"]).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: unshare -rmn with mounts over /etc/apt is not possible here");
        return;
    }
    // The mirrors of both suites, as the lock tells them.
    let asked = |name: &str, args: &[&str], environment: bool| {
        let (lock, directory) = (format!("{name}.lock"), format!("{name}.site"));
        let all = [args, &["--lock", &lock, "--dir", &directory]].concat();
        let mut command = world.on_host("apt", "debian", &all);
        if environment {
            command.env("KLDLOAD_MIRROR", address("environment"));
        }
        let output = command.output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {error}");
        let lock = fs::read_to_string(world.path(&lock)).unwrap();
        let suites = lock.lines().filter(|line| line.starts_with("suite "));
        suites.map(|line| line.rsplit('/').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let option = address("option");
    let options = ["sync", "own.toml", "--mirror", &option, "--security-mirror", &option];
    assert_eq!(asked("options", &options, true), ["option", "option"]);
    assert_eq!(asked("own", &["sync", "own.toml"], true), ["recipe", "recipe"]);
    // The environment speaks of the main archive only.
    assert_eq!(asked("environment", &["sync", "plain.toml"], true), ["environment", "host"]);
    assert_eq!(asked("host", &["sync", "plain.toml"], false), ["host", "host"]);

    // An apt without sources, and that of another distribution, say nothing.
    let built_in = &Distribution::find("debian").unwrap().archive["main"].mirror;
    // One suite of an archive says where the archive is; another archive is elsewhere.
    world.write("main/sources.list", format!("deb {host} stable main\n"));
    let list = format!("deb mirror+file:{} trixie-updates main\n", world.path("mirrors").display());
    world.write("list/sources.list", list);
    world.write("mirrors", format!("{host}\n"));
    let main = plain.replace(", \"trixie-security\"", "");
    world.write("main.toml", main);
    for apt in ["main", "list"] {
        let directory = format!("{apt}.site");
        let args = ["sync", "main.toml", "--dir", &directory];
        let output = world.on_host(apt, "debian", &args).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{apt}: {error}");
        fs::remove_file(world.path("main.lock")).unwrap();
    }
    // What a mirror does not have, the built-in one is asked for.
    world.write("updates.toml", plain.replace("trixie-security", "trixie-updates"));
    let output = world.on_host("main", "debian", &["sync", "updates.toml"]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && error.contains(&format!("{host}/dists/trixie-updates")),
        "{error}"
    );
    assert!(error.contains(built_in), "{error}");
    let hosts = [("no-apt", "debian"), ("apt", "other")];
    let children = hosts.map(|(apt, os_release)| {
        let directory = format!("{os_release}.site");
        let mut command =
            world.on_host(apt, os_release, &["sync", "plain.toml", "--dir", &directory]);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    });
    for child in children {
        let output = child.wait_with_output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(built_in), "{error}");
    }
}

#[test]
fn the_key_and_the_next_one() {
    let world = World::new();
    world.run(1, &["key"]);
    world.archive(Timestamp::now() - 3.hours(), &[("one", "1", "")]);
    let sync = || event(&world.run(0, &["sync", "recipe.toml"]), "synced");
    let first = sync();
    let key = |args: &[&str]| event(&world.run(0, args), "key")["fingerprint"].clone();
    let next = key(&["key", "--next"]);
    assert_eq!((&key(&["key"]), &key(&["key", "--next"])), (&first["key"], &next));
    assert_ne!(first["key"], next);
    let moved =
        ["darksite/keys/next/secret.asc", "darksite/keys/secret.asc"].map(|name| world.path(name));
    fs::rename(&moved[0], &moved[1]).unwrap();
    // A snapshot is named by the second in which it is made.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let second = sync();
    assert_eq!((&second["key"], &second["fresh"]), (&next, &true.into()));
    let public = fs::read(world.path("darksite/current/darksite.asc")).unwrap();
    assert_eq!(public, fs::read(world.path("darksite/keys/public.asc")).unwrap());
}

#[test]
fn gc_keeps_what_an_updated_lock_names() {
    let world = World::new();
    let state = [("one", "2", "three"), ("three", "1", "")];
    world.archive(Timestamp::now() - 3.hours(), &[("one", "1", "")]);
    world.run(0, &["sync", "recipe.toml"]);
    world.archive(Timestamp::now() - 2.hours(), &state);
    world.run(0, &["update", "recipe.toml"]);
    // What is not fetched yet is no damage; what update fetched is nobody's waste.
    world.run(0, &["verify", "--keyring", "key.asc"]);
    assert_eq!(event(&world.run(0, &["gc"]), "removed")["files"], 0);
    // The mirror goes on, so that nobody else has the indexes of the lock any more.
    world.archive(Timestamp::now() - 1.hours(), &state);
    world.run(0, &["sync", "recipe.toml"]);
    // A lock that was given up keeps nothing.
    let lock = fs::read(world.path("recipe.lock")).unwrap();
    world.archive(Timestamp::now(), &[("one", "3", "")]);
    world.run(0, &["update", "recipe.toml"]);
    world.write("recipe.lock", lock);
    world.run(0, &["sync", "recipe.toml"]);
    assert_eq!(event(&world.run(0, &["gc"]), "removed")["files"], 2);
}

#[test]
fn mistakes_are_named_with_the_right_exit_code() {
    let world = World::new();
    world.archive(Timestamp::now() - 3.hours(), &[("one", "1", "")]);
    let fails = |code: i32, args: &[&str], with: &str| {
        let output = world.command(args).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
        assert!(error.contains(with), "{error} does not tell {with:?}");
    };
    world.write("bad.toml", "pakages = []\n");
    fails(3, &["sync", "bad.toml"], "bad.toml: line 1: unknown key \"pakages\"");
    let other = SigningKey::generate("other", Timestamp::now() - 48.hours()).unwrap();
    world.write("other.asc", other.public_armor().unwrap());
    world.write(
        "near.toml",
        fs::read_to_string(world.path("recipe.toml")).unwrap() + "packages = [\"onee\"]\n",
    );
    fails(3, &["sync", "near.toml"], "there is no package \"onee\"");
    fails(3, &["sync", "recipe.toml", "--suite", "sarge"], "sarge");
    fails(3, &["sync", "recipe.toml", "--mirror", "ftp://x"], "only file:, http: and https:");
    fails(5, &["sync", "near.toml", "--keyring", "other.asc"], "not signed by a trusted key");
    fails(1, &["verify", "--dir", "nowhere"], "nowhere is no darksite");
    fails(2, &["sync"], "RECIPE|LIST");
    fails(2, &["sync", "recipe.toml", "--limit-rate", "0"], "nothing arrives at 0 bytes");
    fails(2, &["serve", "--listen", "localhost"], "as in localhost:3142");
    fs::create_dir_all(world.path("empty/blobs")).unwrap();
    fails(3, &["verify", "--dir", "empty"], "there is nothing to verify");
    let components = fs::read_to_string(world.path("recipe.toml")).unwrap();
    world.write("component.toml", components.replace("[\"main\"]", "[\"man\"]"));
    fails(3, &["sync", "component.toml"], "has no component man; it has main");
    world.write("old.lock", "kldload-lock 9\n");
    fails(
        3,
        &["sync", "recipe.toml", "--lock", "old.lock"],
        "old.lock: line 1: a lock of version 9",
    );
}

/// Runs that must end with a code, and say something on standard error.
fn says(world: &World, code: i32, args: &[&str], with: &[&str]) -> String {
    let output = world.command(args).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
    for with in with {
        assert!(error.contains(with), "{error} does not tell {with:?}");
    }
    error
}

#[test]
fn a_lock_of_another_recipe_is_refused_with_the_keys_that_differ() {
    let world = World::new();
    let date = Timestamp::now() - 3.hours();
    world.archive(date, &[("one", "1", ""), ("three", "1", "")]);
    for suite in ["trixie-updates", "trixie-backports"] {
        world.suite(suite, date, &[]);
    }
    world.write("extra.txt", "three\n");
    let recipe = fs::read_to_string(world.path("recipe.toml")).unwrap();
    world.run(0, &["sync", "recipe.toml"]);
    let lock = fs::read_to_string(world.path("recipe.lock")).unwrap();
    assert!(
        lock.contains("\nasked components main\n") && lock.contains("\nasked optional absent\n")
    );
    let suites = |all: &str| recipe.replace("[\"trixie\"]", all);
    let changes = [
        ("optional", recipe.replace("[\"absent\"]", "[\"absent\", \"three\"]")),
        ("optional_sets", format!("{recipe}optional_sets = [\"extra.txt\"]\n")),
        ("recommends", format!("{recipe}recommends = true\n")),
        ("suites", suites("[\"trixie\", \"trixie-updates\"]")),
        ("components", recipe.replace("[\"main\"]", "[\"main\", \"contrib\"]")),
        ("snapshot", format!("{recipe}snapshot = \"2025-05-20T00:00:00Z\"\n")),
        (
            "backports",
            format!("{}backports = true\n", suites("[\"trixie\", \"trixie-backports\"]")),
        ),
    ];
    for (key, changed) in &changes {
        world.write("recipe.toml", changed);
        let told = format!("made when the recipe had other {key}; kldload darksite update");
        says(&world, 3, &["sync", "recipe.toml"], &[&told, "recipe.lock: "]);
    }
    // What update makes is taken.
    for (key, changed) in &changes {
        if !["components", "snapshot"].contains(key) {
            world.write("recipe.toml", changed);
            world.run(0, &["update", "recipe.toml"]);
            world.run(0, &["sync", "recipe.toml"]);
        }
    }
    // A lock of old does not tell; only the suites are known.
    let old: Vec<&str> = lock.lines().filter(|line| !line.starts_with("asked ")).collect();
    world.write("recipe.lock", old.join("\n") + "\n");
    world.write("recipe.toml", &changes[0].1);
    world.run(0, &["sync", "recipe.toml"]);
    world.write("recipe.toml", &changes[3].1);
    says(&world, 3, &["sync", "recipe.toml"], &["other suites;"]);
}

#[test]
fn each_lock_is_judged_by_its_own_keys() {
    let world = World::new();
    let date = Timestamp::now() - 3.hours();
    world.archive(date, &[("one", "1", "")]);
    world.run(0, &["sync", "recipe.toml"]);
    // Another recipe, whose archive another key signed.
    let recipe = fs::read_to_string(world.path("recipe.toml")).unwrap();
    let other = World::new();
    other.archive(date, &[("one", "2", "")]);
    let archive = other.path("archive").display().to_string();
    let recipe = recipe.replace("key.asc", "other.asc");
    let recipe = recipe.replace(&world.path("archive").display().to_string(), &archive);
    world.write("other.asc", other.key.public_armor().unwrap());
    world.write("other.toml", recipe);
    world.run(0, &["sync", "other.toml"]);
    for alone in ["key.asc", "other.asc"] {
        world.run(5, &["verify", "--keyring", alone]);
    }
    world.run(0, &["verify", "--keyring", "key.asc", "--keyring", "other.asc"]);
}

#[test]
fn what_is_published_and_damaged_is_made_anew() {
    let world = World::new();
    let date = Timestamp::now() - 3.hours();
    world.archive(date, &[("one", "1", "")]);
    world.run(0, &["sync", "recipe.toml"]);
    let older = fs::canonicalize(world.path("darksite/current")).unwrap();
    world.archive(date + 1.hour(), &[("one", "2", "")]);
    world.run(0, &["update", "recipe.toml"]);
    let synced = event(&world.run(0, &["sync", "recipe.toml"]), "synced");
    let newer = fs::canonicalize(world.path("darksite/current")).unwrap();
    for (place, damage) in [
        (&newer, "dists/trixie/main/binary-amd64/Packages"),
        (&newer, "dists/trixie/InRelease"),
        (&older, "dists/trixie/main/binary-amd64/Packages.xz"),
        (&older, "darksite.asc"),
    ] {
        let before = fs::read(place.join("dists/trixie/main/binary-amd64/Packages")).unwrap();
        fs::write(place.join(damage), "damaged").unwrap();
        world.run(5, &["verify", "--keyring", "key.asc"]);
        let events = world.run(0, &["sync", "recipe.toml"]);
        let warning = event(&events, "warning").to_string();
        assert!(warning.contains("1 snapshots with damaged or missing indexes"), "{warning}");
        let again = event(&events, "synced");
        assert_eq!((&again["snapshot"], &again["fresh"]), (&synced["snapshot"], &false.into()));
        world.run(0, &["verify", "--keyring", "key.asc"]);
        if damage.ends_with(".xz") {
            let after = fs::read(place.join("dists/trixie/main/binary-amd64/Packages")).unwrap();
            assert_eq!(before, after);
        }
    }
    let left = fs::read_dir(world.path("darksite/snapshots")).unwrap().count();
    assert_eq!(left, 2, "nothing else is left");
}

#[test]
fn what_is_missing_or_wrong_is_told_once() {
    let world = World::new();
    let names: Vec<String> = (0..9).map(|number| format!("p{number}")).collect();
    let packages: Vec<(&str, &str, &str)> = names.iter().map(|name| (&**name, "1", "")).collect();
    world.archive(Timestamp::now() - 3.hours(), &packages);
    world.write("lab.txt", names.join("\n"));
    world.run(0, &["update", "recipe.toml"]);
    // Lost; wrong bytes of the right length.
    let pool = |name: &str| world.path(&format!("archive/pool/main/{name}_1_all.deb"));
    let good = fs::read(pool("p0")).unwrap();
    // Nobody else is asked: the archive of snapshots would be far away.
    let alone = |code: i32, directory: &str| {
        let mut command = world.command(&["sync", "recipe.toml", "--dir", directory]);
        for proxy in ["http_proxy", "https_proxy"] {
            command.env(proxy, "http://127.0.0.1:1");
        }
        let output = command.output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{error}");
        error
    };
    fs::write(pool("p0"), vec![b'x'; good.len()]).unwrap();
    let error = alone(5, "darksite");
    assert_eq!(
        error.matches("wrong content").count(),
        2,
        "once as it happens, once at the end: {error}"
    );
    names.iter().for_each(|name| fs::remove_file(pool(name)).unwrap());
    let error = alone(1, "another");
    let lines = |with: &str| error.lines().filter(|line| line.contains(with)).count();
    assert_eq!(lines("cannot fetch pool/main/p"), 9, "{error}");
    assert!(lines("warning: ") <= 4, "{error}");

    // A signature that nobody trusts is told once, and is no good content.
    let stranger = World::new();
    world.write("other.asc", stranger.key.public_armor().unwrap());
    let error = says(&world, 5, &["update", "recipe.toml", "--keyring", "other.asc"], &[]);
    assert_eq!(error.matches("not signed by a trusted key").count(), 1, "{error}");
}

#[test]
fn gc_tells_of_downloads_and_takes_snapshots_without_a_lock() {
    let world = World::new();
    world.archive(Timestamp::now() - 3.hours(), &[("one", "1", "")]);
    world.run(0, &["sync", "recipe.toml"]);
    let removed = |args: &[&str]| event(&world.run(0, args), "removed");
    let half = "darksite/snapshots/20200101T000000Z-0123abcd";
    world.write(&format!("{half}/pool/x"), "x");
    world.write("darksite/snapshots/notes/x", "somebody's own");
    let partial = format!("darksite/partial/{}", Digest::of(b"x"));
    world.write(&partial, "12345");
    let dry = removed(&["gc", "-n"]);
    assert_eq!(
        (&dry["bytes"], &dry["snapshots"][0]),
        (&5.into(), &"20200101T000000Z-0123abcd".into())
    );
    assert!(world.path(half).exists() && world.path(&partial).exists());
    let wet = removed(&["gc"]);
    assert_eq!((&wet["bytes"], &wet["snapshots"]), (&dry["bytes"], &dry["snapshots"]));
    assert!(!world.path(half).exists() && !world.path(&partial).exists());
    assert!(world.path("darksite/snapshots/notes/x").exists());
    assert_eq!(removed(&["gc", "-n"])["bytes"], 0);
}

#[test]
fn the_environment_names_mirrors_or_none() {
    let world = World::new();
    world.archive(Timestamp::now() - 3.hours(), &[("one", "1", "")]);
    let recipe = fs::read_to_string(world.path("recipe.toml")).unwrap();
    let mirror = recipe.lines().find(|line| line.starts_with("mirror")).unwrap();
    world.write("plain.toml", recipe.replace(mirror, ""));
    let address = format!("file:{}", world.path("archive").display());
    let sync = |value: &str, args: &[&str]| {
        let output = world.command(args).env("KLDLOAD_MIRROR", value).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for empty in ["", " \t"] {
        assert_eq!(sync(empty, &["sync", "recipe.toml"]).0, Some(0));
    }
    let (code, error) = sync(&format!(" file:/nowhere\n{address} "), &["sync", "plain.toml"]);
    assert_eq!(code, Some(0), "{error}");
    let (code, error) = sync("file:/nowhere nonsense", &["update", "plain.toml"]);
    assert!(code == Some(3) && error.contains("KLDLOAD_MIRROR: \"nonsense\""), "{error}");
}
