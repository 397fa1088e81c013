//! The judge: a stock apt, with a configuration of its own, takes what we publish; and we take what
//! apt's own tools publish.

use std::cell::Cell;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use darksite::copy::CopyError;
use darksite::deb::component;
use darksite::deb::source::SuiteState;
use darksite::gc::collect;
use darksite::keys::{NEXT, PUBLIC, SECRET, signing_key};
use darksite::lock::{Blob, Lock, LockedPackage};
use darksite::packages::{Places, packages};
use darksite::publish::{Published, Times, draft, publish};
use darksite::request::{Question, Request, resolve};
use darksite::serve::Server;
use darksite::site::{CURRENT, KEY_FILE, LOCK_FILE, Site};
use darksite::source::{Reader, SuiteSource, read_index};
use darksite::verify;
use darksite::{copy, fetch, sbom};
use jiff::ToSpan;
use pkg::deb::{Release, parse_packages};
use pkg::openpgp::{Keyring, SigningKey};
use tree::Digest;

use crate::archive::{Suite, now, test_key, write};
use crate::spdx;

fn run(command: &mut Command) -> String {
    let shown = format!("{command:?}");
    let Output { status, stdout, stderr } = command.env("LC_ALL", "C").output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{shown}: {text}");
    text
}

/// Whether all of these programs are here; says so if not.
fn have(programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap();
    let is_here = |program: &&&str| {
        std::env::split_paths(&path).any(|directory| directory.join(program).exists())
    };
    let missing: Vec<&&str> = programs.iter().filter(|program| !is_here(program)).collect();
    if !missing.is_empty() {
        assert!(std::env::var_os("CI").is_none(), "{missing:?} must judge in CI");
        eprintln!("SKIPPED: {missing:?} missing");
    }
    missing.is_empty()
}

/// A copyright file as DEP 5 wants it.
const COPYRIGHT: &str = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n\
     Files: *\nCopyright: Some One\nLicense: GPL-3+\n\n\
     Files: x\nCopyright: Another One\nLicense: Expat\n Permission is hereby granted ...\n\n\
     Files: y\nCopyright: nobody\nLicense: public-domain\n Take it.\n .\n It is yours.\n";

/// Packages a directory with dpkg-deb; returns the .deb.
fn deb(directory: &Path, control: &str) -> PathBuf {
    let field = |name: &str| {
        let line = control.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.unwrap().to_owned()
    };
    let name = format!(
        "{}_{}_{}",
        field("Package"),
        field("Version").replace(':', "%3a"),
        field("Architecture")
    );
    let root = directory.join(&name);
    write(&root.join("DEBIAN/control"), format!("{control}\n").as_bytes());
    let documents = root.join("usr/share/doc");
    match field("Package").as_str() {
        // As packages of one source do.
        "hello-data" => {
            fs::create_dir_all(&documents).unwrap();
            std::os::unix::fs::symlink("hello", documents.join("hello-data")).unwrap();
        }
        package => write(&documents.join(package).join("copyright"), COPYRIGHT.as_bytes()),
    }
    let file = directory.join(format!("{name}.deb"));
    run(Command::new("dpkg-deb").args(["--root-owner-group", "-b"]).arg(&root).arg(&file));
    fs::remove_dir_all(root).unwrap();
    file
}

fn control(name: &str, version: &str, rest: &str) -> String {
    format!(
        "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: Some One <one@example.org>\n\
         Section: misc\nPriority: optional\n{rest}Description: a package of a test"
    )
}

/// An archive made by apt's own tools: apt-ftparchive, signed with `key`.
fn upstream(root: &Path, key: &SigningKey) {
    let pool = root.join("pool/main");
    fs::create_dir_all(&pool).unwrap();
    deb(&pool, &control("hello", "2.0-1", "Depends: hello-data (>= 2)\n"));
    deb(&pool, &control("hello-data", "1:2.0+really1~rc1-1", ""));
    deb(&pool, &control("other", "1", "Depends: missing\n"));
    suite(root, "trixie", "pool", key);
}

/// Makes a suite of the packages below `pool` with apt-ftparchive, signed with `key`.
fn suite(root: &Path, name: &str, pool: &str, key: &SigningKey) {
    let dists = format!("dists/{name}");
    let index = root.join(&dists).join("main/binary-amd64");
    fs::create_dir_all(&index).unwrap();
    let text = run(Command::new("apt-ftparchive").args(["packages", pool]).current_dir(root));
    write(&index.join("Packages"), text.as_bytes());
    run(Command::new("xz").arg("-k").arg(index.join("Packages")));
    let codename = format!("Codename={name}");
    let options = [
        codename.as_str(),
        "Suite=stable",
        "Origin=Test",
        "Components=main",
        "Architectures=amd64 all",
    ];
    let mut release = Command::new("apt-ftparchive");
    for option in options {
        release.args(["-o", &format!("APT::FTPArchive::Release::{option}")]);
    }
    let text = run(release.args(["release", &dists]).current_dir(root));
    let signed = key.clearsign(&text, jiff::Timestamp::now()).unwrap();
    write(&root.join(dists).join("InRelease"), signed.as_bytes());
}

/// An apt that knows our repository and nothing else.
struct Apt {
    root: PathBuf,
}

impl Apt {
    fn new(root: &Path, address: &str, key: &Path) -> Self {
        for directory in [
            "etc/apt.conf.d",
            "etc/preferences.d",
            "etc/sources.list.d",
            "etc/trusted.gpg.d",
            "state/lists/partial",
            "cache/archives/partial",
            "log",
        ] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        let source = format!("deb [signed-by={}] {address} trixie main\n", key.display());
        write(&root.join("etc/sources.list"), source.as_bytes());
        write(&root.join("status"), b"");
        let mut configuration = String::new();
        for (name, value) in [
            ("Dir::Etc", "etc"),
            ("Dir::State", "state"),
            ("Dir::State::status", "status"),
            ("Dir::Cache", "cache"),
            ("Dir::Log", "log"),
        ] {
            configuration += &format!("{name} \"{}\";\n", root.join(value).display());
        }
        configuration += "Dir::Etc::trusted \"-\";\nAPT::Architecture \"amd64\";\nAPT::Architectures \
                          {\"amd64\";};\nAPT::Sandbox::User \"\";\n";
        write(&root.join("apt.conf"), configuration.as_bytes());
        Self { root: root.to_owned() }
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).current_dir(&self.root).env("APT_CONFIG", self.root.join("apt.conf"));
        command.env_remove("http_proxy").env_remove("https_proxy");
        command
    }

    fn run(&self, args: &[&str]) -> String {
        run(&mut self.command("apt-get", args))
    }

    /// Updates without a single complaint.
    fn update(&self) {
        let text = self.run(&["update", "-o", "APT::Update::Error-Mode=any"]);
        for bad in ["W:", "E:", "N:", "Ign:", "Err:"] {
            assert!(!text.lines().any(|line| line.starts_with(bad)), "{text}");
        }
        assert!(text.contains("InRelease"), "{text}");
    }
}

fn source(suite: &str, archive: &Path) -> SuiteSource {
    SuiteSource {
        name: suite.to_owned(),
        mirrors: vec![format!("file:{}", archive.display()).parse().unwrap()],
        components: vec!["main".to_owned()],
        check_valid_until: true,
        check_rollback: true,
    }
}

/// Mirrors the packages called `names` of an archive: what sync does once the solver has chosen.
pub fn mirror(site: &Site, archive: &Path, key: &SigningKey, names: &[&str]) -> Lock {
    let source = source("trixie", archive);
    let fetcher = fetch::Fetcher::new(fetch::Options::default()).unwrap();
    let reader = Reader {
        fetcher: &fetcher,
        store: site.store(),
        keyring: &key.keyring(),
        seen: &site.seen("debian"),
        architecture: "amd64",
        now: jiff::Timestamp::now(),
    };
    let state: SuiteState = reader.suite(&source, &|_| {}).unwrap();
    let mut found = Vec::new();
    for index in &state.locked.indexes {
        let text = read_index(site.store(), index).unwrap();
        for package in parse_packages(&text).packages {
            if names.contains(&package.name) {
                found.push(LockedPackage {
                    name: package.name.to_owned(),
                    architecture: package.architecture.to_owned(),
                    version: package.version.as_str().to_owned(),
                    blob: Blob { digest: package.sha256.unwrap(), size: package.size.unwrap() },
                    suite: "trixie".to_owned(),
                    component: component(index).to_owned(),
                    path: package.filename.to_owned(),
                });
            }
        }
    }
    let mut lock = Lock {
        distribution: "debian".to_owned(),
        codename: "trixie".to_owned(),
        architecture: "amd64".to_owned(),
        pins: Vec::new(),
        asked: Vec::new(),
        requests: names.iter().map(|name| (*name).to_owned()).collect(),
        suites: vec![state.locked],
        packages: found,
    };
    lock.sort();
    let wanted = packages(&lock, &|_| Places::default());
    fetcher.all(site.store(), &wanted, &|_| {}).unwrap();
    site.save_lock("test", &lock).unwrap();
    lock
}

/// An archive in `root`, its key, and the site that has mirrored two packages of it.
fn mirrored(root: &Path) -> (SigningKey, Site, Lock) {
    let key = SigningKey::generate("test", jiff::Timestamp::now() - 24.hours()).unwrap();
    upstream(&root.join("upstream"), &key);
    let site = Site::open(root.join("site")).unwrap();
    let lock = mirror(&site, &root.join("upstream"), &key, &["hello", "hello-data"]);
    (key, site, lock)
}

fn published(site: &Site, lock: &Lock, now: jiff::Timestamp) -> Published {
    let key = signing_key(&site.keys(), now).unwrap();
    publish(site, lock, None, &key, Times { date: now, now }).unwrap()
}

#[test]
fn apt_takes_what_we_publish() {
    if !have(&["apt-get", "apt-ftparchive", "dpkg-deb", "xz"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let (key, site, lock) = mirrored(root);
    assert_eq!(lock.packages.len(), 2);
    assert_eq!(lock, darksite::lock::parse(&lock.to_string()).unwrap());
    let first = published(&site, &lock, jiff::Timestamp::now());
    assert!(first.fresh && !published(&site, &lock, jiff::Timestamp::now()).fresh);
    // From here on nothing of upstream is needed.
    fs::remove_dir_all(root.join("upstream")).unwrap();

    let server = Server::bind("127.0.0.1:0", site.root()).unwrap();
    let http = format!("http://{}/", server.address().unwrap());
    std::thread::spawn(|| server.run(|_, _| {}));
    let medium = root.join("medium");
    copy::copy(&first.path, &medium, &|_| {}).unwrap();
    let file = |path: &Path| format!("file:{}", path.display());
    for (number, address) in
        [file(&site.root().join("current")), file(&medium), http].into_iter().enumerate()
    {
        let apt =
            Apt::new(&root.join(format!("apt{number}")), &address, &site.keys().join("public.asc"));
        apt.update();
        let plan = apt.run(&["install", "-s", "hello"]);
        assert!(plan.contains("Inst hello-data (1:2.0+really1~rc1-1 "), "{plan}");
        assert!(plan.contains("Inst hello (2.0-1 "), "{plan}");
        let missing = apt.command("apt-get", &["install", "-s", "other"]).output().unwrap();
        assert!(!missing.status.success());
        apt.run(&["download", "hello", "hello-data"]);
        let bytes = fs::read(apt.root.join("hello_2.0-1_all.deb")).unwrap();
        let locked = lock.packages.iter().find(|package| package.name == "hello").unwrap();
        assert_eq!(Blob::of(&bytes), locked.blob);
        // A second update finds nothing new.
        apt.update();
    }

    // `hello` says it in its copyright file, `hello-data` shares the directory.
    let licenses = sbom::licenses(&lock, site.store(), &|_| {}).unwrap();
    let document = sbom::spdx(&lock, "test", site.store(), &licenses).unwrap();
    spdx::assert_good(&document);
    for package in document["packages"].as_array().unwrap() {
        let gift = document["hasExtractedLicensingInfos"][0]["licenseId"].as_str().unwrap();
        let declared = format!("GPL-3.0-or-later AND {gift} AND MIT");
        assert_eq!(package["licenseDeclared"], declared, "{package}");
        assert_eq!(package["licenseComments"], "the package says: Expat; GPL-3+; public-domain");
    }
    let gift = &document["hasExtractedLicensingInfos"];
    assert_eq!(gift.as_array().unwrap().len(), 1);
    assert_eq!(gift[0]["extractedText"], "Take it.\n\nIt is yours.");
    let mut lost = document.clone();
    lost["hasExtractedLicensingInfos"] = serde_json::json!([]);
    assert!(spdx::problems(&lost)[0].starts_with("10.1: "));

    let keyring = key.keyring();
    for place in [&first.path, &medium] {
        let verified =
            verify::repository(place, &keyring, jiff::Timestamp::now(), &|_| {}).unwrap();
        assert_eq!((verified.problems, verified.packages), (Vec::new(), 2));
    }
    let verified =
        verify::site(&site, &|_| Ok(keyring.clone()), jiff::Timestamp::now(), &|_| {}).unwrap();
    assert_eq!((verified.problems, verified.packages), (Vec::new(), 2));
}

#[test]
fn a_new_key_is_known_before_it_signs() {
    if !have(&["apt-get", "apt-ftparchive", "dpkg-deb", "xz"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let now = jiff::Timestamp::now();
    let (key, site, lock) = mirrored(root);
    let old = published(&site, &lock, now - 2.hours());

    // As docs/darksite.md tells.
    let (keys, next) = (site.keys(), site.keys().join(NEXT));
    let first = fs::read(keys.join(PUBLIC)).unwrap();
    signing_key(&next, now).unwrap();
    let second = fs::read(next.join(PUBLIC)).unwrap();
    for (name, content) in
        [("old", first.clone()), ("new", second.clone()), ("both", [first, second].concat())]
    {
        write(&root.join(format!("{name}.asc")), &content);
    }
    let address = format!("file:{}", site.root().join(CURRENT).display());
    let accepts = |name: &str| {
        let apt = Apt::new(
            &root.join(format!("apt-{name}")),
            &address,
            &root.join(format!("{name}.asc")),
        );
        let update = ["update", "-o", "APT::Update::Error-Mode=any"];
        apt.command("apt-get", &update).output().unwrap().status.success()
    };
    assert_eq!(["old", "both", "new"].map(accepts), [true, true, false]);
    assert!(!published(&site, &lock, now - 2.hours()).fresh);
    fs::rename(next.join(SECRET), keys.join(SECRET)).unwrap();
    let new = published(&site, &lock, now - 1.hour());
    assert!(new.fresh && new.id != old.id);
    assert_eq!(["old", "both", "new"].map(accepts), [false, true, true]);
    for place in [&old.path, &new.path] {
        let verified = verify::repository(place, &key.keyring(), now, &|_| {}).unwrap();
        assert_eq!(verified.problems, Vec::<String>::new());
    }
}

#[test]
fn the_newest_version_wins_whichever_suite_has_it() {
    if !have(&["apt-get", "apt-ftparchive", "dpkg-deb", "xz"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let key = SigningKey::generate("test", jiff::Timestamp::now() - 24.hours()).unwrap();
    let archive = root.join("archive");
    // Name, version in the main suite, version in that of security updates, other fields.
    let packages = [
        ("fixed", "1.0-1", "1.0-1+deb13u1", ""),
        ("overtaken", "2.0-1", "1.0-1+deb13u1", ""),
        ("epoch", "1:1.0~rc1-1", "9.0-1", ""),
        ("tilde", "1.0~rc1-1", "1.0~rc1+security-1", ""),
        ("binary-rebuild", "1.0-1", "1.0-1+b1", ""),
        ("only-fixed", "", "1", ""),
        ("needs-fixed", "1", "", "Depends: fixed (>= 1.0-1+deb13u1), overtaken\n"),
        ("held-back", "1", "", "Depends: fixed (= 1.0-1)\n"),
    ];
    for (name, main, security, fields) in packages {
        for (pool, version) in [("pool/main", main), ("pool/updates", security)] {
            fs::create_dir_all(archive.join(pool)).unwrap();
            if !version.is_empty() {
                deb(&archive.join(pool), &control(name, version, fields));
            }
        }
    }
    suite(&archive, "trixie", "pool/main", &key);
    suite(&archive, "trixie-security", "pool/updates", &key);

    write(&root.join("key.asc"), key.public_armor().unwrap().as_bytes());
    let apt = Apt::new(&root.join("apt"), "", &root.join("key.asc"));
    let site = Site::open(root.join("site")).unwrap();
    let fetcher = fetch::Fetcher::new(fetch::Options::default()).unwrap();
    let reader = Reader {
        fetcher: &fetcher,
        store: site.store(),
        keyring: &key.keyring(),
        seen: &site.seen("debian"),
        architecture: "amd64",
        now: jiff::Timestamp::now(),
    };
    let all: Vec<&str> = packages.iter().map(|package| package.0).collect();
    let (held, good) = all.split_last().unwrap();
    for order in [["trixie", "trixie-security"], ["trixie-security", "trixie"]] {
        let address =
            format!("deb [signed-by={}/key.asc] file:{}", root.display(), archive.display());
        let lines = order.map(|suite| format!("{address} {suite} main\n"));
        write(&apt.root.join("etc/sources.list"), lines.concat().as_bytes());
        apt.update();
        let suites = order.map(|suite| source(suite, &archive));
        let ours = |names: &[&str]| {
            let packages = names.iter().map(|name| (*name).to_owned()).collect();
            let request = Request { packages, ..Request::default() };
            let question = Question {
                distribution: "debian",
                codename: "trixie",
                suites: &suites,
                request: &request,
                hold: &[],
                old: None,
            };
            resolve(&reader, &question, &|_| {}).map(|resolved| resolved.lock)
        };
        let lock = ours(good).unwrap();
        let mut chosen: Vec<String> =
            lock.packages.iter().map(|one| format!("{} ({} ", one.name, one.version)).collect();
        chosen.sort();
        let plan = apt.run(&[&["install", "-s", "--no-install-recommends"], good].concat());
        let mut theirs: Vec<&str> =
            plan.lines().filter_map(|line| line.strip_prefix("Inst ")).collect();
        theirs.sort_unstable();
        assert_eq!(chosen.len(), theirs.len(), "{plan}");
        for (ours, theirs) in chosen.iter().zip(theirs) {
            assert!(theirs.starts_with(ours), "we {ours}, apt {theirs}");
        }
        let of = |name: &str| lock.packages.iter().find(|one| one.name == name).unwrap();
        assert_eq!(of("fixed").suite, "trixie-security");
        assert_eq!(of("overtaken").suite, "trixie");

        // What needs the version before the fix cannot be had, for apt as little as for us.
        ours(&[held]).unwrap_err();
        // The solver of newer apts would take the older version.
        let install = ["install", "-s", "-o", "APT::Solver=internal", held];
        assert!(!apt.command("apt-get", &install).output().unwrap().status.success());
    }
}

/// A site with two snapshots, the second without `b` and with a newer `a`; nothing of apt is needed.
fn two_snapshots() -> (tempfile::TempDir, Site, SigningKey, [Lock; 2]) {
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("archive");
    let key = test_key();
    let site = Site::open(directory.path().join("site")).unwrap();
    let valid_until = None;
    let old =
        Suite { valid_until, ..Suite::new("trixie").with("a", "1").with("b", "1").with("c", "1") };
    old.write(&archive, &key);
    let first = mirror(&site, &archive, &key, &["a", "b", "c"]);
    let one = published(&site, &first, now());
    let new =
        Suite { date: now(), valid_until, ..Suite::new("trixie").with("a", "2").with("c", "1") };
    new.write(&archive, &key);
    let second = mirror(&site, &archive, &key, &["a", "c"]);
    let two = published(&site, &second, now() + 1.hour());
    assert_ne!(one.id, two.id);
    assert_eq!(site.current(), Some(two.id));
    (directory, site, key, [first, second])
}

#[test]
fn apt_hears_of_a_state_that_is_current_again() {
    if !have(&["apt-get"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let (archive, key) = (root.join("archive"), test_key());
    let site = Site::open(root.join("site")).unwrap();
    let mirrored = |version: &str| {
        let date = now() - version.parse::<i64>().unwrap().hours();
        let valid_until = None;
        Suite { date, valid_until, ..Suite::new("trixie").with("a", version) }
            .write(&archive, &key);
        mirror(&site, &archive, &key, &["a"])
    };
    let (old, new) = (mirrored("3"), mirrored("2"));
    let fresh = |lock| published(&site, lock, jiff::Timestamp::now()).fresh;
    assert!(fresh(&old));
    let server = Server::bind("127.0.0.1:0", site.root()).unwrap();
    let http = format!("http://{}/", server.address().unwrap());
    std::thread::spawn(|| server.run(|_, _| {}));
    let addresses = [format!("file:{}", site.root().join(CURRENT).display()), http];
    let apts = [0, 1].map(|at| {
        let root = root.join(format!("apt{at}"));
        Apt::new(&root, &addresses[at], &site.keys().join("public.asc"))
    });
    // All within a second or two.
    for (lock, version) in [(&old, "3"), (&new, "2"), (&old, "3"), (&new, "2")] {
        fresh(lock);
        assert!(!fresh(lock));
        for apt in &apts {
            apt.update();
            let plan = apt.run(&["install", "-s", "a"]);
            assert!(plan.contains(&format!("Inst a ({version} ")), "{plan}");
        }
    }
    assert_eq!(site.snapshots().unwrap().len(), 4);
}

#[test]
fn what_is_told_of_packages_is_made_before_they_are_here() {
    let (_directory, site, key, [first, second]) = two_snapshots();
    assert!(draft(&site, &second).unwrap().is_none(), "it is the current one");
    let store = site.store();
    let gone: Vec<Vec<u8>> = first
        .packages
        .iter()
        .map(|package| {
            let content = store.read(&package.blob.digest, package.blob.size).unwrap();
            store.remove(&package.blob.digest).unwrap();
            content
        })
        .collect();
    let early = draft(&site, &first).unwrap();
    assert!(early.is_some());
    for content in &gone {
        store.insert(content).unwrap();
    }
    store.settle().unwrap();
    let now = jiff::Timestamp::now();
    let published = publish(&site, &first, early, &key, Times { date: now, now }).unwrap();
    assert!(published.fresh);
    let told = |id: &str| {
        let suite = site.snapshots_directory().join(id).join("dists/trixie/main/binary-amd64");
        ["Packages", "Packages.gz"].map(|name| fs::read(suite.join(name)).unwrap())
    };
    assert_eq!(told(&published.id), told(&site.snapshots().unwrap()[0]));
}

#[test]
fn snapshots_share_and_gc_keeps_what_is_named() {
    use std::os::unix::fs::MetadataExt;
    let (_directory, site, _, [first, second]) = two_snapshots();
    let snapshots = site.snapshots().unwrap();
    assert_eq!(snapshots.len(), 2);
    let inode = |id: &str, path: &str| {
        fs::metadata(site.snapshots_directory().join(id).join(path)).unwrap().ino()
    };
    let path = "pool/main/c_1_amd64.deb";
    assert_eq!(inode(&snapshots[0], path), inode(&snapshots[1], path));

    // All is named: nothing goes.
    let removed = collect(&site, &[], None, false).unwrap();
    assert_eq!((removed.blobs, removed.snapshots.len()), (0, 0));
    let stranger = site.store().insert(b"nobody names this").unwrap();
    site.store().settle().unwrap();
    assert_eq!(collect(&site, &[], None, true).unwrap().blobs, 1);
    assert_eq!(collect(&site, &[], None, false).unwrap().blobs, 1);
    assert!(!site.store().path(&stranger).exists());

    // The older snapshot goes, with what only it names.
    let removed = collect(&site, &[], Some(1), false).unwrap();
    assert_eq!(removed.snapshots, snapshots[..1]);
    for blob in second.blobs() {
        assert!(site.store().contains(&blob.digest, blob.size));
    }
    let gone = first
        .packages
        .iter()
        .filter(|package| !site.store().contains(&package.blob.digest, package.blob.size));
    assert_eq!(
        gone.map(|package| package.path.as_str()).collect::<Vec<_>>(),
        ["pool/main/a_1_amd64.deb", "pool/main/b_1_amd64.deb"]
    );
    // Somebody works here.
    let _guard = site.guard().unwrap();
    assert!(collect(&site, &[], None, false).unwrap_err().to_string().contains("another kldload"));
}

#[test]
fn every_kind_of_damage_is_found() {
    let (_directory, site, key, [_, lock]) = two_snapshots();
    let medium = tempfile::tempdir().unwrap();
    copy::copy(&site.repository(None).unwrap(), medium.path(), &|_| {}).unwrap();
    let check = |keyring: &Keyring| {
        let now = jiff::Timestamp::now();
        verify::repository(medium.path(), keyring, now, &|_| {}).unwrap().problems
    };
    assert_eq!(check(&key.keyring()), Vec::<String>::new());
    let stranger = check(&test_key().keyring());
    assert!(stranger[0].contains("not signed by a trusted key"), "{stranger:?}");

    let mut todo = vec![medium.path().to_owned()];
    let mut files = Vec::new();
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { todo.push(path) } else { files.push(path) }
        }
    }
    assert!(files.len() > 10, "{files:?}");
    for path in files {
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        // In the lock, not every word is vouched for; in the key, not every byte matters.
        let at = match path.file_name().unwrap().to_str().unwrap() {
            LOCK_FILE => String::from_utf8_lossy(&good).rfind("package ").unwrap() + 8,
            _ => bad.len() / 2,
        };
        bad[at] ^= 1;
        fs::write(&path, &bad).unwrap();
        let now = jiff::Timestamp::now();
        let wrong = || {
            let result = verify::repository(medium.path(), &key.keyring(), now, &|_| {});
            result.is_err() || !result.unwrap().problems.is_empty()
        };
        assert!(wrong() || path.ends_with(KEY_FILE), "{}", path.display());
        fs::remove_file(&path).unwrap();
        assert!(wrong(), "{}", path.display());
        // A copy mends it, if there is something to tell that it is one.
        let copied = copy::copy(&site.repository(None).unwrap(), medium.path(), &|_| {});
        if path.ends_with(LOCK_FILE) {
            assert!(matches!(copied, Err(CopyError::Foreign { .. })), "{copied:?}");
            fs::write(&path, &good).unwrap();
            continue;
        }
        assert_eq!(copied.unwrap().copied, 1);
        assert_eq!(fs::read(&path).unwrap(), good);
    }
    let blob = site.store().path(&lock.packages[0].blob.digest);
    fs::remove_file(&blob).unwrap();
    fs::write(&blob, "other").unwrap();
    let verified =
        verify::site(&site, &|_| Ok(key.keyring()), jiff::Timestamp::now(), &|_| {}).unwrap();
    assert!(verified.problems[0].contains("damaged"), "{:?}", verified.problems);
}

#[test]
fn our_key_alone_vouches_for_nothing() {
    let (_directory, site, key, [_, lock]) = two_snapshots();
    let medium = tempfile::tempdir().unwrap();
    copy::copy(&site.repository(None).unwrap(), medium.path(), &|_| {}).unwrap();
    let check = || {
        let now = jiff::Timestamp::now();
        verify::repository(medium.path(), &key.keyring(), now, &|_| {}).unwrap().problems
    };
    let stray = medium.path().join("dists/other/InRelease");
    fs::create_dir_all(stray.parent().unwrap()).unwrap();
    fs::write(&stray, "").unwrap();
    let problems = check();
    assert!(matches!(&*problems, [one] if one.contains("no file that is signed names it")));
    fs::remove_file(&stray).unwrap();

    // Somebody changes what is told of a package, and signs it with a key that he puts beside it.
    let dists = medium.path().join("dists").join(&lock.codename);
    let text = fs::read_to_string(dists.join("Release")).unwrap();
    let mut release = Release::parse(&text).unwrap();
    release.files.retain(|file| {
        let kept = file.path.ends_with("/Packages");
        if !kept {
            fs::remove_file(dists.join(&file.path)).unwrap();
        }
        fs::remove_file(dists.join(file.by_hash())).unwrap();
        kept
    });
    for file in &mut release.files {
        let text = fs::read_to_string(dists.join(&file.path)).unwrap();
        let text = text.replacen("Package: a\n", "Package: a\nEssential: yes\n", 1);
        (file.size, file.sha256) = (text.len() as u64, Digest::of(text.as_bytes()));
        fs::write(dists.join(&file.path), &text).unwrap();
        fs::write(dists.join(file.by_hash()), &text).unwrap();
    }
    let (stranger, now, text) = (test_key(), jiff::Timestamp::now(), release.to_text());
    fs::write(medium.path().join(KEY_FILE), stranger.public_armor().unwrap()).unwrap();
    fs::write(dists.join("InRelease"), stranger.clearsign(&text, now).unwrap()).unwrap();
    let apart = stranger.detach_sign(text.as_bytes(), now).unwrap();
    fs::write(dists.join("Release"), text).unwrap();
    fs::write(dists.join("Release.gpg"), apart).unwrap();
    let problems = check();
    assert!(
        matches!(&*problems, [one] if one.contains("what the distribution tells")),
        "{problems:?}"
    );
}

#[test]
fn a_copy_replaces_an_earlier_one_and_spares_strangers() {
    let (_directory, site, _, _) = two_snapshots();
    let medium = tempfile::tempdir().unwrap();
    let snapshots = site.snapshots().unwrap();
    let from = |number: usize| site.snapshots_directory().join(&snapshots[number]);
    copy::copy(&from(0), medium.path(), &|_| {}).unwrap();
    let copied = copy::copy(&from(1), medium.path(), &|_| {}).unwrap();
    assert!(copied.removed > 0 && copied.kept > 0, "{copied:?}");
    assert!(!medium.path().join("pool/main/b_1_amd64.deb").exists());
    fs::write(medium.path().join("thesis.txt"), "mine").unwrap();
    let error = copy::copy(&from(1), medium.path(), &|_| {}).unwrap_err().to_string();
    assert!(error.contains("thesis.txt"), "{error}");

    // Others have directories of these names, too.
    for (path, lock) in [("pool/main/vm1.qcow2", None), ("dists/x", Some("kldload-lock 9\n"))] {
        let stranger = tempfile::tempdir().unwrap();
        write(&stranger.path().join(path), b"mine");
        lock.iter().for_each(|lock| fs::write(stranger.path().join(LOCK_FILE), lock).unwrap());
        let refused = copy::copy(&from(1), stranger.path(), &|_| {});
        assert!(matches!(refused, Err(CopyError::Foreign { .. })), "{refused:?}");
        assert_eq!(fs::read(stranger.path().join(path)).unwrap(), b"mine");
    }
}

/// Copies; tells whether it was interrupted before the file of this number was there.
fn interrupted(from: &Path, to: &Path, file: usize) -> bool {
    let left = Cell::new(file);
    let advance = |_| left.set(left.get().checked_sub(1).unwrap());
    let copied = catch_unwind(AssertUnwindSafe(|| copy::copy(from, to, &advance)));
    copied.map(|copied| copied.unwrap()).is_err()
}

#[test]
fn an_interrupted_copy_is_what_it_was_as_long_as_it_can_be() {
    let (_directory, site, key, _) = two_snapshots();
    let snapshots = site.snapshots().unwrap();
    let from = |number: usize| site.snapshots_directory().join(&snapshots[number]);
    let medium = tempfile::tempdir().unwrap();
    let is_good = || {
        let now = jiff::Timestamp::now();
        let verified = verify::repository(medium.path(), &key.keyring(), now, &|_| {});
        verified.is_ok_and(|verified| verified.problems.is_empty())
    };
    // A first one, which whoever looks knows for one from its first file on.
    fs::create_dir(medium.path().join("lost+found")).unwrap();
    write(&medium.path().join(".darksite-x"), b"what was just written when the machine stopped");
    for file in [0, 1, 2, 5] {
        assert!(interrupted(&from(0), medium.path(), file));
        assert_eq!(medium.path().join(LOCK_FILE).exists(), file > 0);
    }
    let good = |file| {
        copy::copy(&from(0), medium.path(), &|_| {}).unwrap();
        assert!(is_good());
        interrupted(&from(1), medium.path(), file).then(&is_good)
    };
    let good: Vec<bool> = (0..).map_while(good).collect();
    // Two packages and two indexes by their digests can stand beside the others; only the last file of those
    // that replace others makes it good again.
    let expected: Vec<bool> = (0..good.len()).map(|file| file <= 4).collect();
    assert_eq!(good, expected);
    assert!(good.len() > 10 && is_good());
}

#[test]
fn the_bill_of_materials_is_complete() {
    let (_directory, site, _, [_, lock]) = two_snapshots();
    let document = sbom::spdx(&lock, "test", site.store(), &sbom::Licenses::new()).unwrap();
    assert_eq!(document["spdxVersion"], "SPDX-2.3");
    let listed = document["packages"].as_array().unwrap();
    assert_eq!(listed.len(), 2);
    for (value, package) in listed.iter().zip(&lock.packages) {
        assert_eq!(value["name"], package.name.as_str());
        assert_eq!(value["versionInfo"], package.version.as_str());
        assert_eq!(value["checksums"][0]["checksumValue"], package.blob.digest.to_string());
        assert_eq!(value["supplier"], "Person: Some One (one@example.org)");
        assert_eq!(
            value["sourceInfo"],
            format!("built from source package {} {}", package.name, package.version)
        );
    }
    assert_eq!(document["relationships"].as_array().unwrap().len(), 2);
    // The archive is a directory here, which is nowhere to anybody else.
    assert_eq!(listed[0]["downloadLocation"], "NOASSERTION");
    spdx::assert_good(&document);
    spdx::assert_notices(&document);
}

#[test]
fn a_lock_that_was_changed_by_hand_is_not_published() {
    let (_directory, site, key, [_, mut lock]) = two_snapshots();
    lock.packages[0].version = "666".to_owned();
    let now = jiff::Timestamp::now();
    let error =
        publish(&site, &lock, None, &key, Times { date: now, now }).unwrap_err().to_string();
    assert!(error.contains("package a 666 amd64 is not in the indexes"), "{error}");
    // Nothing half-made stays.
    let hidden = fs::read_dir(site.snapshots_directory()).unwrap();
    assert!(hidden.flatten().all(|entry| !entry.file_name().to_string_lossy().starts_with('.')));
}
