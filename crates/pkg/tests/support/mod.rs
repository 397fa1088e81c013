//! An apt of its own in a directory, with the suites of a real mirror; nothing of this machine changes.
#![allow(dead_code, reason = "each test uses its part")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pkg::deb::{IndexInfo, Package, Release, Universe, parse_packages};
use pkg::distribution::Distribution;
use tempfile::TempDir;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One index that apt fetched.
pub struct Index {
    pub release: Release,
    pub component: String,
    pub text: String,
}

/// The apt, and what it fetched.
pub struct Apt {
    directory: TempDir,
    pub indexes: Vec<Index>,
    /// Each InRelease file as apt fetched it, by suite.
    pub in_release: BTreeMap<String, Vec<u8>>,
}

/// A package that is installed.
pub struct Installed<'a> {
    pub package: &'a Package<'a>,
    /// Somebody asked for it, so that it stays when nobody needs it.
    pub asked: bool,
    pub held: bool,
}

/// Mirrors of this machine's own apt: the main archive and the security archive.
fn mirrors() -> Option<(String, String)> {
    let output = Command::new("apt-get")
        .args(["indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let find = |suffix: &str| {
        text.lines().find_map(|line| {
            let (uri, suite) = line.split_once(' ')?;
            let known = ["bookworm", "trixie", "forky", "sid"];
            let ours = known.iter().any(|name| suite == format!("{name}{suffix}"));
            ours.then(|| uri.trim_end_matches('/').to_owned())
        })
    };
    Some((find("")?, find("-security")?))
}

impl Apt {
    /// Fetches the suites of a Debian release, backports as well if asked. `None`, with a loud word, if
    /// there is no apt or the mirror does not answer.
    pub fn fetch(codename: &str, backports: bool) -> Option<Self> {
        let skipped = |why: &str| {
            eprintln!("skipped: {why}");
            None
        };
        if !Path::new("/usr/bin/apt-get").exists() || !Path::new(KEYRING).exists() {
            return skipped("no apt-get or no debian-archive-keyring here");
        }
        let Some((main, security)) = mirrors() else {
            return skipped("this machine's apt has no Debian mirror");
        };
        let debian = Distribution::find("debian").unwrap();
        let release = debian.release(codename).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let at = |path: &str| directory.path().join(path);
        for path in
            ["etc/apt.conf.d", "etc/preferences.d", "state/lists/partial", "cache/archives/partial"]
        {
            fs::create_dir_all(at(path)).unwrap();
        }
        let mut sources = String::new();
        let optional = release.optional.iter().filter(|_| backports);
        let suites: Vec<_> = release.suites.iter().chain(optional).collect();
        for suite in &suites {
            let mirror = if suite.archive == "security" { &security } else { &main };
            sources += &format!(
                "deb [signed-by={KEYRING} arch=amd64] {mirror} {} {}\n",
                suite.name,
                release.components.join(" ")
            );
        }
        fs::write(at("etc/sources.list"), sources).unwrap();
        fs::write(at("status"), "").unwrap();
        let mut apt = Self { directory, indexes: Vec::new(), in_release: BTreeMap::new() };
        let output = apt.get(&["update", "-q", "-o", "APT::Update::Error-Mode=any"]);
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            return skipped(&format!("apt-get update does not reach the mirror: {why}"));
        }
        // As apt itself names them, in the order it reads them.
        let output = apt.get(&[
            "indextargets",
            "--format",
            "$(RELEASE) $(COMPONENT) $(FILENAME)",
            "Created-By: Packages",
        ]);
        let keyring = debian.keyring(codename).unwrap();
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            let mut words = line.splitn(3, ' ');
            let (suite, component, file) = (
                words.next().unwrap(),
                words.next().unwrap(),
                PathBuf::from(words.next().unwrap()),
            );
            let name = file.file_name().unwrap().to_str().unwrap();
            let stem = name.split(&format!("_{component}_binary")).next().unwrap();
            let signed = fs::read(file.with_file_name(format!("{stem}_InRelease"))).unwrap();
            let now = jiff::Timestamp::now();
            let (text, _) = keyring.verify_cleartext(&signed, now).unwrap();
            apt.in_release.insert(suite.to_owned(), signed);
            // A component without packages has no file.
            let text_of_index = fs::read_to_string(&file).unwrap_or_default();
            apt.indexes.push(Index {
                release: Release::parse(&text).unwrap(),
                component: component.to_owned(),
                text: text_of_index,
            });
        }
        Some(apt)
    }

    /// `apt-get` with this configuration.
    pub fn get(&self, args: &[&str]) -> Output {
        let at = |path: &str| self.directory.path().join(path).display().to_string();
        let options = [
            format!("Dir::Etc={}", at("etc")),
            "Dir::Etc::sourceparts=-".to_owned(),
            "Dir::Etc::trusted=-".to_owned(),
            format!("Dir::State={}", at("state")),
            format!("Dir::State::status={}", at("status")),
            format!("Dir::Cache={}", at("cache")),
            "APT::Sandbox::User=".to_owned(),
            "APT::Architecture=amd64".to_owned(),
            "APT::Architectures::=amd64".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::GzipIndexes=false".to_owned(),
            "Acquire::Retries=2".to_owned(),
            "Acquire::http::Timeout=20".to_owned(),
            // Newer apt has others; this is the one whose way is followed.
            "APT::Solver=internal".to_owned(),
            // Containers say no, against apt's default.
            "APT::AutoRemove::SuggestsImportant=true".to_owned(),
            // Some containers switch the cache off, and each call would read all indexes again.
            "Dir::Cache::pkgcache=pkgcache.bin".to_owned(),
            "Dir::Cache::srcpkgcache=srcpkgcache.bin".to_owned(),
            "Debug::NoLocking=true".to_owned(),
        ];
        Command::new("apt-get")
            .args(options.iter().flat_map(|option| ["-o", option.as_str()]))
            .args(args)
            .env("LC_ALL", "C")
            .output()
            .unwrap()
    }

    /// Writes apt's preferences.
    pub fn preferences(&self, text: &str) {
        fs::write(self.directory.path().join("etc/preferences"), text).unwrap();
    }

    /// What apt would install for these arguments on an empty system: names and versions. `Err` is what
    /// apt says instead.
    pub fn simulate(
        &self,
        args: &[&str],
        recommends: bool,
    ) -> Result<BTreeMap<String, String>, String> {
        let recommends = format!("APT::Install-Recommends={recommends}");
        // `-s` also plays the order of unpacking, which takes many times as long.
        let mut all = vec!["-y", "-q", "--print-uris", "-o", &recommends, "install"];
        all.extend(args);
        let output = self.get(&all);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            return Err(text + &String::from_utf8_lossy(&output.stderr));
        }
        // 'ADDRESS' NAME_VERSION_ARCHITECTURE.deb SIZE DIGEST
        let installed = text.lines().filter(|line| line.starts_with('\'')).filter_map(|line| {
            let mut parts = line.split(' ').nth(1)?.splitn(3, '_');
            let (name, version) = (parts.next()?, parts.next()?);
            Some((name.to_owned(), version.replace("%3a", ":")))
        });
        Ok(installed.collect())
    }

    /// What upgrading everything comes to on a machine that has `installed`; what nobody needs any more
    /// goes. Names and versions.
    pub fn upgraded(&self, installed: &[Installed<'_>]) -> BTreeMap<String, String> {
        let (mut status, mut automatic) = (String::new(), String::new());
        for one in installed {
            let (text, name) = (one.package.text.trim_end(), one.package.name);
            let wanted = if one.held { "hold" } else { "install" };
            status += &format!("{text}\nStatus: {wanted} ok installed\n\n");
            if !one.asked {
                let architecture = "Architecture: amd64";
                automatic += &format!("Package: {name}\n{architecture}\nAuto-Installed: 1\n\n");
            }
        }
        let file = |name: &str| self.directory.path().join(name);
        fs::write(file("status"), status).unwrap();
        fs::write(file("state/extended_states"), automatic).unwrap();
        let options = [
            "APT::Install-Recommends=false",
            "APT::AutoRemove::RecommendsImportant=false",
            // It would keep the last two.
            "APT::Protect-Kernels=false",
        ];
        let mut args = vec!["-s", "-q", "--autoremove", "dist-upgrade"];
        args.extend(options.iter().flat_map(|option| ["-o", *option]));
        let output = self.get(&args);
        fs::write(file("status"), "").unwrap();
        fs::remove_file(file("state/extended_states")).unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}{error}");
        let mut packages: BTreeMap<String, String> = installed
            .iter()
            .map(|Installed { package, .. }| {
                (package.name.to_owned(), package.version.as_str().to_owned())
            })
            .collect();
        // Inst NAME [OLD] (NEW SUITE [ARCHITECTURE]), where [OLD] is missing for what is new.
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("Remv ") {
                packages.remove(name.split(' ').next().unwrap());
            } else if let Some(line) = line.strip_prefix("Inst ") {
                let name = line.split(' ').next().unwrap();
                let version = line.split_once('(').unwrap().1.split(' ').next().unwrap();
                packages.insert(name.to_owned(), version.to_owned());
            }
        }
        packages
    }

    /// Everything that was fetched, as a universe.
    pub fn universe(&self) -> Universe<'_> {
        self.universe_of(|_| true)
    }

    /// What was fetched of some suites, as a universe.
    pub fn universe_of(&self, wanted: impl Fn(&Release) -> bool) -> Universe<'_> {
        let mut universe = Universe::new("amd64");
        for index in self.indexes.iter().filter(|index| wanted(&index.release)) {
            let info = IndexInfo::new(&index.release, &index.component, "");
            universe.add(info, parse_packages(&index.text));
        }
        universe
    }
}
