//! Debian packages for the tests: which mirror to ask, installing programs here, fetching packages
//! of any suite into a directory without touching this machine's configuration.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::run::Run;

/// Signs every Debian archive; part of each Debian.
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Where Debian's archives are reached from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrors {
    /// The main archive.
    pub main: String,
    /// Security updates.
    pub security: String,
}

impl Mirrors {
    /// `KLDLOAD_MIRROR`, else what this machine's own apt uses, else Debian's own addresses.
    pub fn find() -> Result<Self> {
        let built_in = Self {
            main: "http://ftp.debian.org/debian".to_owned(),
            security: "http://security.debian.org/debian-security".to_owned(),
        };
        let mut found = if is_debian() {
            let targets = Run::new("apt-get")
                .args([
                    "indextargets",
                    "--format",
                    "$(REPO_URI) $(RELEASE)",
                    "Created-By: Packages",
                ])
                .errors_apart()
                .text()?;
            from_targets(&targets, built_in)
        } else {
            built_in
        };
        // One of several is enough for tests.
        let named = std::env::var("KLDLOAD_MIRROR").unwrap_or_default();
        if let Some(mirror) = named.split_whitespace().next() {
            found.main = mirror.trim_end_matches('/').to_owned();
        }
        Ok(found)
    }
}

fn is_debian() -> bool {
    fs::read_to_string("/etc/os-release")
        .is_ok_and(|text| text.lines().any(|line| line == "ID=debian"))
}

/// The first Debian archive and the first security archive in apt's list of "URI suite" lines.
fn from_targets(targets: &str, otherwise: Mirrors) -> Mirrors {
    let debian =
        ["bullseye", "bookworm", "trixie", "forky", "sid", "stable", "testing", "unstable"];
    let first = |suffix: &str| {
        targets.lines().find_map(|line| {
            let (uri, suite) = line.split_once(' ')?;
            let known = debian.iter().any(|name| suite == format!("{name}{suffix}"));
            known.then(|| uri.trim_end_matches('/').to_owned())
        })
    };
    Mirrors {
        main: first("").unwrap_or(otherwise.main),
        security: first("-security").unwrap_or(otherwise.security),
    }
}

/// A program that a test needs: something that shows it is there, and the package that brings it.
const NEEDED: &[(&str, &str)] = &[
    ("/usr/bin/mmdebstrap", "mmdebstrap"),
    ("/usr/bin/qemu-system-x86_64", "qemu-system-x86"),
    ("/usr/bin/qemu-img", "qemu-utils"),
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "ovmf"),
    ("/usr/sbin/sgdisk", "gdisk"),
    ("/usr/sbin/fsck.vfat", "dosfstools"),
    ("/usr/bin/mcopy", "mtools"),
    ("/usr/bin/gcc", "gcc"),
    ("/usr/include/stdio.h", "libc6-dev"),
    ("/usr/bin/readelf", "binutils"),
    ("/usr/bin/xz", "xz-utils"),
    ("/usr/bin/zstd", "zstd"),
    ("/usr/bin/bzip2", "bzip2"),
    ("/usr/bin/bsdtar", "libarchive-tools"),
    ("/usr/sbin/fdisk", "fdisk"),
    ("/usr/bin/dash", "dash"),
    ("/usr/bin/perl", "perl-base"),
    ("/usr/bin/dpkg-scanpackages", "dpkg-dev"),
    ("/usr/bin/shellcheck", "shellcheck"),
    ("/usr/bin/systemd-analyze", "systemd"),
    ("/usr/bin/newuidmap", "uidmap"),
    ("/usr/bin/setfattr", "attr"),
    ("/usr/bin/setfacl", "acl"),
    ("/usr/bin/setpriv", "util-linux"),
    ("/usr/bin/faketime", "faketime"),
    ("/usr/bin/time", "time"),
    ("/usr/bin/apt-ftparchive", "apt-utils"),
    ("/usr/bin/dpkg-deb", "dpkg"),
    ("/usr/bin/hostname", "hostname"),
    ("/usr/sbin/visudo", "sudo"),
    ("/usr/sbin/pwck", "passwd"),
    ("/usr/bin/openssl", "openssl"),
    ("/usr/bin/xmllint", "libxml2-utils"),
    ("/usr/bin/fsverity", "fsverity"),
    // Its own file is named after the version of Python.
    ("/usr/share/doc/python3-libvhdi", "python3-libvhdi"),
    ("/usr/bin/gpgv", "gpgv"),
    ("/usr/sbin/mke2fs", "e2fsprogs"),
    (KEYRING, "debian-archive-keyring"),
];

/// Installs what the tests need and this machine lacks; says what to do when it is not allowed to.
pub fn install_missing() -> Result<()> {
    // A package can take another's place: QEMU of this release removes the qemu-img of a backport.
    for _ in 0..2 {
        let missing = missing();
        if missing.is_empty() {
            return Ok(());
        }
        install(&missing)?;
    }
    match &missing()[..] {
        [] => Ok(()),
        still => bail!("apt-get installed {}, but its files are not there", still.join(" ")),
    }
}

/// The packages that bring what is not there.
fn missing() -> Vec<&'static str> {
    let there = |file: &str| {
        let merged = file.strip_prefix("/usr").unwrap_or(file);
        Path::new(file).exists() || Path::new(merged).exists()
    };
    NEEDED.iter().filter(|(file, _)| !there(file)).map(|&(_, package)| package).collect()
}

fn install(packages: &[&str]) -> Result<()> {
    let line = packages.join(" ");
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("the tests need programs from these Debian packages: {line}");
    }
    if !is_root() {
        bail!(
            "the tests need more programs; run as root: apt-get install --no-install-recommends {line}"
        );
    }
    println!("installing {line}");
    let apt = |args: &[&str]| {
        let apt = Run::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive");
        apt.limit(Duration::from_secs(1200)).text()
    };
    apt(&["update", "-q"])?;
    apt(&[&["install", "-q", "-y", "--no-install-recommends"], packages].concat())?;
    Ok(())
}

/// Whether this process may do everything.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// An apt with sources and lists of its own, that downloads and installs nothing.
#[derive(Debug)]
pub struct PrivateApt {
    root: PathBuf,
}

impl PrivateApt {
    /// Sets one up in `root` and fetches the lists. `suites` are suite and components.
    pub fn new(root: &Path, mirror: &str, suites: &[(&str, &str)]) -> Result<Self> {
        let mut sources = String::new();
        for (suite, components) in suites {
            let rest = format!("[signed-by={KEYRING} arch=amd64] {mirror} {suite} {components}\n");
            sources += &format!("deb {rest}deb-src {rest}");
        }
        Self::with_sources(root, &sources)
    }

    /// The same with the text of a sources.list.
    pub fn with_sources(root: &Path, sources: &str) -> Result<Self> {
        for directory in
            ["etc/apt.conf.d", "etc/preferences.d", "state/lists/partial", "cache/archives/partial"]
        {
            fs::create_dir_all(root.join(directory)).context("private apt")?;
        }
        fs::write(root.join("etc/sources.list"), sources)?;
        fs::write(root.join("status"), "")?;
        let apt = Self { root: root.to_owned() };
        apt.get(["update", "-q", "-o", "APT::Update::Error-Mode=any"]).text()?;
        Ok(apt)
    }

    /// `apt-get` with this configuration and `args`.
    pub fn get<const N: usize>(&self, args: [&str; N]) -> Run {
        let at = |path: &str| self.root.join(path).display().to_string();
        let options = [
            format!("Dir::Etc={}", at("etc")),
            "Dir::Etc::sourceparts=-".to_owned(),
            "Dir::Etc::trusted=-".to_owned(),
            format!("Dir::State={}", at("state")),
            format!("Dir::State::status={}", at("status")),
            format!("Dir::Cache={}", at("cache")),
            "APT::Sandbox::User=".to_owned(),
            "APT::Architecture=amd64".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=3".to_owned(),
        ];
        Run::new("apt-get")
            .args(options.iter().flat_map(|option| ["-o", option.as_str()]))
            .args(args)
            .env("LC_ALL", "C")
    }

    /// Downloads packages (`name/suite`) and unpacks them all into `directory`.
    pub fn unpack(&self, packages: &[String], directory: &Path) -> Result<()> {
        let debs = tempfile::tempdir_in(&self.root)?;
        self.get(["download", "-q"]).args(packages).directory(debs.path()).text()?;
        let mut files: Vec<PathBuf> =
            fs::read_dir(debs.path())?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        files.sort();
        for deb in files {
            Run::new("dpkg-deb").arg("-x").arg(deb).arg(directory).text()?;
        }
        Ok(())
    }

    /// Downloads the upstream tarball of a source package (`name/suite`) into `directory`.
    pub fn upstream_tarball(&self, source: &str, directory: &Path) -> Result<PathBuf> {
        self.get(["source", "--download-only", "--tar-only", "-q", source])
            .directory(directory)
            .text()?;
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.to_string_lossy().contains(".orig.tar.") {
                return Ok(path);
            }
        }
        bail!("apt-get source {source} brought no upstream tarball")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built_in() -> Mirrors {
        Mirrors { main: "main".into(), security: "security".into() }
    }

    #[test]
    fn mirrors_come_from_apts_own_list() {
        let targets = "http://other.example/tools/ nodistro\n\
                       http://near.example/debian/ bookworm-updates\n\
                       http://near.example/debian/ bookworm\n\
                       http://near.example/debian-security/ bookworm-security\n";
        let found = from_targets(targets, built_in());
        assert_eq!(found.main, "http://near.example/debian");
        assert_eq!(found.security, "http://near.example/debian-security");
    }

    #[test]
    fn without_a_debian_source_the_built_in_ones_stay() {
        assert_eq!(from_targets("http://x.example/ubuntu/ noble\n", built_in()), built_in());
    }
}
