//! `kldload darksite` from the command line, with an archive made here as upstream.
#![allow(clippy::unwrap_used)]

mod damaged;
mod locks;
mod names;
mod refused;
mod told;

use std::fs::{self, Permissions};
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
        let mut sync = world.command(&["sync", "recipe.toml"]);
        let output = sync.env("SOURCE_DATE_EPOCH", bad).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{error}");
        let expected = format!(
            "kldload: SOURCE_DATE_EPOCH={bad} is not a number of seconds since 1970, from 0 to \
             4294967295\n"
        );
        assert_eq!(error, expected);
        assert!(!nothing.exists());
    }
    let mut last = world.command(&["sync", "recipe.toml"]);
    let output = last.env("SOURCE_DATE_EPOCH", "4294967295").output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("/21060207T062815Z-"), "{error}");
}

#[test]
fn a_time_of_long_ago_dates_what_is_published_and_judges_nothing() {
    let world = World::new();
    world.archive(Timestamp::now() - 3.hours(), &[("one", "1", "")]);
    world.run(0, &["sync", "recipe.toml"]);
    let signed = || {
        let dists = world.path("darksite/current/dists/trixie");
        ["InRelease", "Release.gpg"].map(|name| fs::read(dists.join(name)).unwrap())
    };
    let good = signed();
    for args in [&["verify", "--keyring", "key.asc"][..], &["sync", "recipe.toml"]] {
        let output = world.command(args).env("SOURCE_DATE_EPOCH", "1700000000").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(signed(), good);

    // What is new then is signed by a key that is newer than its date, and good.
    fs::remove_dir_all(world.path("darksite")).unwrap();
    let mut sync = world.command(&["sync", "recipe.toml"]);
    assert!(sync.env("SOURCE_DATE_EPOCH", "1700000000").output().unwrap().status.success());
    let release = fs::read_to_string(world.path("darksite/current/dists/trixie/Release")).unwrap();
    assert!(release.contains("Date: Tue, 14 Nov 2023 22:13:20"), "{release}");
    world.run(0, &["verify", "--keyring", "key.asc"]);
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
    world.write("vms/pool/vm1.qcow2", "a disk");
    says(&world, 4, &["copy", "vms"], &["vms: there is pool, but no lock of an earlier copy"]);
    assert!(world.path("vms/pool/vm1.qcow2").exists());
    fs::write(world.path("medium/pool/main/one_2_all.deb"), "one 3").unwrap();
    let verified = event(&world.run(5, &["verify", "medium", "--keyring", "key.asc"]), "verified");
    assert!(verified["problems"][0].as_str().unwrap().contains("one_2_all.deb"), "{verified}");
    let output = world.command(&["sbom"]).output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["packages"].as_array().unwrap().len(), 2);
    let told = event(&world.run(0, &["sbom", "-o", "sbom.json"]), "sbom");
    assert_eq!((&told["path"], &told["packages"]), (&"sbom.json".into(), &2.into()));
    assert_eq!(fs::read(world.path("sbom.json")).unwrap(), output.stdout);
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
    world.run(3, &["key"]);
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
    // What others may read, others may sign with.
    fs::set_permissions(world.path("darksite/keys/secret.asc"), Permissions::from_mode(0o644))
        .unwrap();
    for args in [&["key"][..], &["sync", "recipe.toml"]] {
        says(&world, 4, args, &["secret.asc: mode 0644", "chmod 600"]);
    }
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
    fs::create_dir(world.path("nothing")).unwrap();
    for nothing in ["nowhere", "nothing"] {
        let told = format!("{nothing} is no darksite; kldload darksite sync makes one");
        for command in ["verify", "list", "gc", "copy", "sbom"] {
            let medium = (command == "copy").then_some("medium");
            let args = [command, "--dir", nothing].into_iter().chain(medium);
            fails(3, &args.collect::<Vec<_>>(), &told);
        }
        let told = format!("{nothing} is neither a darksite nor a copy of one");
        fails(3, &["serve", "--dir", nothing], &told);
        let told =
            format!("{nothing}: there is nothing to verify, as darksite.lock is missing; name");
        fails(3, &["verify", nothing], &told);
    }
    fails(2, &["sync"], "RECIPE|LIST");
    fails(2, &["sync", "recipe.toml", "--limit-rate", "0"], "nothing arrives at 0 bytes");
    fails(2, &["serve", "--listen", "localhost"], "as in localhost:3142");
    fs::create_dir_all(world.path("empty/blobs")).unwrap();
    fails(3, &["verify", "--dir", "empty"], "there is nothing to verify");
    let components = fs::read_to_string(world.path("recipe.toml")).unwrap();
    world.write("component.toml", components.replace("[\"main\"]", "[\"man\"]"));
    fails(3, &["sync", "component.toml"], "has no component man; it has main");
    // A snapshot and a mirror, each of which would be all that is asked.
    let date = "snapshot = \"2025-05-20T00:00:00Z\"\n";
    world.write("both.toml", format!("{date}{components}"));
    fails(3, &["sync", "both.toml"], "both.toml: line 6: file:/");
    fails(3, &["update", "both.toml"], "is not asked: with snapshot = \"2025-05-20T00:00:00Z\"");
    let mirror = components.lines().find(|line| line.starts_with("mirror")).unwrap();
    world.write("date.toml", format!("{date}{}", components.replace(mirror, "")));
    for option in ["--mirror", "--security-mirror"] {
        let told = format!("{option}: date.toml has snapshot = ");
        fails(2, &["sync", "date.toml", option, "file:/nowhere"], &told);
    }
    // What a profile extends is told of its own file.
    world.write("profiles.toml", "[lab]\nextends = \"nope\"\n\n[far]\npackages = [\"one:i386\"]\n");
    for (profile, told) in [
        ("lab", "profiles.toml: line 2: the profile \"nope\" is not known"),
        ("far", "profiles.toml: profile \"far\": \"one:i386\": a machine has packages of one"),
        ("lib", "profile.toml: line 1: the profile \"lib\" is not known; did you mean \"lab\"?"),
    ] {
        world.write("profile.toml", format!("profile = \"{profile}\"\n{components}"));
        fails(3, &["sync", "profile.toml"], told);
    }
    world.write("old.lock", "kldload-lock 9\n");
    fails(
        3,
        &["sync", "recipe.toml", "--lock", "old.lock"],
        "old.lock: line 1: a lock of version 9",
    );
    world.write("empty/darksite.lock", b"kldload-lock 1\nrequest caf\xe9\n");
    let told = "darksite.lock: line 2: a lock is text in UTF-8";
    fails(3, &["verify", "empty"], told);
    fails(3, &["sync", "recipe.toml", "--lock", "empty/darksite.lock"], told);
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
fn the_architecture_of_a_package_is_that_of_the_recipe() {
    let world = World::new();
    world.archive(Timestamp::now() - 3.hours(), &[("one", "1", "two | three"), ("three", "1", "")]);
    let recipe = fs::read_to_string(world.path("recipe.toml")).unwrap();
    let more =
        "packages = [\n  \"one:amd64=1\",\n  \"three:amd64\",\n]\nexclude = [\"two:amd64\"]\n";
    world.write("recipe.toml", format!("{recipe}{more}"));
    world.write("lab.txt", "one:amd64\n");
    world.run(0, &["sync", "recipe.toml"]);
    let lock = fs::read_to_string(world.path("recipe.lock")).unwrap();
    for line in ["request one\n", "request one=1\n", "request three\n", "asked exclude two\n"] {
        assert!(lock.contains(line), "{lock}");
    }
    let told = "\"three:amd64\": a machine has packages of one architecture; here it is arm64";
    let args = ["sync", "recipe.toml", "--architecture", "arm64"];
    world.write("recipe.toml", format!("{recipe}{}", more.replace("one:amd64", "one")));
    says(&world, 3, &args, &["recipe.toml: line 10: ", told]);
    says(
        &world,
        3,
        &["sync", "lab.txt", "--architecture", "i386"],
        &["lab.txt: line 1: \"one:amd64\""],
    );
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
