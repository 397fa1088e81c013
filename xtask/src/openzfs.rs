//! OpenZFS without a kernel: `zdb` and our libzpool program, for the two releases that Debian 12 has, and
//! `zdb` of the newest.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::apt::{Mirrors, PrivateApt};
use crate::checkout;
use crate::run::Run;

/// Change this when what is downloaded changes, so that a kept copy is not used.
const KEY: &str = "2";

/// A release of OpenZFS and how Debian packs it.
#[derive(Debug)]
pub struct Release {
    /// Major and minor version.
    pub version: &'static str,
    suite: &'static str,
    /// Besides those of all releases; OpenZFS's own tests, where they are used.
    libraries: &'static [&'static str],
    /// For `#if` in the C source; without it our program is not built.
    number: Option<u32>,
    debian: &'static Debian,
}

/// A Debian whose libraries OpenZFS links to.
#[derive(Debug)]
struct Debian {
    suite: &'static str,
    /// What a small Debian of this release may lack; of another release all of it.
    libraries: &'static [&'static str],
}

const BOOKWORM: Debian =
    Debian { suite: "bookworm", libraries: &["libtirpc3", "libssl3", "libudev1", "libblkid1"] };

const TRIXIE: Debian = Debian {
    suite: "trixie",
    libraries: &[
        "libc6",
        "libgcc-s1",
        "libblkid1",
        "libudev1",
        "libcap2",
        "libuuid1",
        "libssl3t64",
        "libzstd1",
        "zlib1g",
        "libtirpc3t64",
        "libgssapi-krb5-2",
        "libkrb5-3",
        "libk5crypto3",
        "libkrb5support0",
        "libcom-err2",
        "libkeyutils1",
    ],
};

/// The oldest release that is to read our pools, and a recent one.
pub const RELEASES: [Release; 2] = [
    Release {
        version: "2.1",
        suite: "bookworm",
        libraries: &["libzfs4linux", "libzpool5linux", "zfs-test"],
        number: Some(201),
        debian: &BOOKWORM,
    },
    Release {
        version: "2.3",
        suite: "bookworm-backports",
        libraries: &["libzfs6linux", "libzpool6linux", "zfs-test"],
        number: Some(203),
        debian: &BOOKWORM,
    },
];

/// The newest, which needs a newer Debian's libraries, and whose source not every mirror has.
const NEWEST: Release = Release {
    version: "2.4",
    suite: "trixie-backports",
    libraries: &["libzfs7linux", "libzpool7linux"],
    number: None,
    debian: &TRIXIE,
};

/// Headers that libzfslinux-dev lacks, in the upstream source.
const MISSING_HEADERS: [&str; 2] = ["*/include/sys/zfs_ioctl.h", "*/lib/libzpool/include/sys/*"];

/// One release, unpacked, with our program built against it.
#[derive(Debug)]
pub struct UserLand {
    /// Major and minor version.
    pub version: &'static str,
    root: PathBuf,
    judge: Option<PathBuf>,
}

/// Both releases, downloaded and built when they are not there yet.
pub fn user_lands() -> Result<Vec<UserLand>> {
    RELEASES.iter().map(user_land).collect()
}

/// The newest release, of which there is only `zdb`.
pub fn newest() -> Result<UserLand> {
    user_land(&NEWEST)
}

fn user_land(release: &Release) -> Result<UserLand> {
    let oracle = checkout::oracle()?;
    let root = oracle.join(format!("openzfs-{}", release.version));
    if !checkout::is_complete(&root, KEY) {
        fetch(release, &oracle, &root).with_context(|| format!("OpenZFS {}", release.version))?;
        checkout::complete(&root, KEY)?;
    }
    let judge = release.number.map(|number| build(number, &root)).transpose()?;
    Ok(UserLand { version: release.version, root, judge })
}

fn fetch(release: &Release, oracle: &Path, root: &Path) -> Result<()> {
    let debian = release.debian;
    let suites = [debian.suite.to_owned(), format!("{}-backports", debian.suite)];
    let suites = suites.each_ref().map(|suite| (suite.as_str(), "main contrib"));
    let apt = oracle.join(format!("apt-{}", debian.suite));
    let apt = PrivateApt::new(&apt, &Mirrors::find()?.main, &suites)?;
    checkout::fresh(root)?;
    let common = [
        "zfsutils-linux",
        "libzfslinux-dev",
        "libnvpair3linux",
        "libuutil3linux",
        "libzfsbootenv1linux",
    ];
    let of = |suite: &'static str| move |name: &&str| format!("{name}/{suite}");
    let mut packages: Vec<String> =
        common.iter().chain(release.libraries).map(of(release.suite)).collect();
    packages.extend(debian.libraries.iter().map(of(debian.suite)));
    apt.unpack(&packages, root)?;
    if release.number.is_none() {
        return Ok(());
    }
    let tarball = apt.upstream_tarball(&format!("zfs-linux/{}", release.suite), root)?;
    let headers = root.join("headers");
    fs::create_dir_all(&headers)?;
    // Later releases pack more of them, so that a pattern may match nothing.
    Run::new("tar")
        .args(["--strip-components=1", "--wildcards", "-C"])
        .arg(&headers)
        .arg("-xf")
        .arg(&tarball)
        .args(MISSING_HEADERS)
        .output()?;
    if !headers.join("include/sys/zfs_ioctl.h").exists() {
        bail!("{} has no include/sys/zfs_ioctl.h", tarball.display());
    }
    fs::remove_file(tarball)?;
    Ok(())
}

/// Builds `tests/libzpool`, unless the same source was built here before.
fn build(number: u32, root: &Path) -> Result<PathBuf> {
    let source = checkout::root().join("tests/libzpool");
    let mut files: Vec<PathBuf> =
        fs::read_dir(&source)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.sort();
    let mut hash = Sha256::new();
    for file in &files {
        hash.update(fs::read(file)?);
    }
    let digest: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let program = root.join(format!("judge-{digest}"));
    if program.exists() {
        return Ok(program);
    }
    let libraries = root.join("lib/x86_64-linux-gnu");
    let include = |path: &str| format!("-isystem{}", root.join(path).display());
    let building = root.join("judge.building");
    Run::new("gcc")
        .args(["-g", "-O1", "-std=gnu11", "-Wall", "-Werror", "-Wno-unknown-pragmas", "-pthread"])
        .args(["-D_GNU_SOURCE", "-D_LARGEFILE64_SOURCE", "-DDEBUG", "-DZFS_DEBUG"])
        .arg(format!("-DOPENZFS={number}"))
        .args(["headers/include", "headers/lib/libzpool/include"].map(include))
        .args(["usr/include/libzpool", "usr/include/libspl", "usr/include/libzfs"].map(include))
        .arg("-o")
        .arg(&building)
        .args(files.iter().filter(|file| file.extension().is_some_and(|name| name == "c")))
        .arg(format!("-L{}", libraries.display()))
        .arg(format!("-l:{}", library(&libraries, "libzpool.so.")?))
        .arg(format!("-l:{}", library(&libraries, "libnvpair.so.")?))
        .arg("-Wl,--allow-shlib-undefined")
        .text()
        .context("tests/libzpool")?;
    fs::rename(&building, &program)?;
    Ok(program)
}

/// The file name of the one library whose name starts with `prefix` and is shortest.
fn library(directory: &Path, prefix: &str) -> Result<String> {
    let mut names: Vec<String> = fs::read_dir(directory)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    names.retain(|name| name.starts_with(prefix));
    names.sort_by_key(String::len);
    names.into_iter().next().with_context(|| format!("no {prefix} in {}", directory.display()))
}

impl UserLand {
    /// Runs a program of this release: with its own C library where it came with one.
    fn program(&self, path: &Path) -> Run {
        let directories = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"];
        let libraries =
            directories.map(|path| self.root.join(path).display().to_string()).join(":");
        let loader = self.root.join("usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2");
        let run = if loader.exists() {
            Run::new(loader).arg("--library-path").arg(libraries).arg(path)
        } else {
            Run::new(path).env("LD_LIBRARY_PATH", libraries)
        };
        run.limit(Duration::from_secs(1200))
    }

    /// This release's `zdb`.
    pub fn zdb(&self) -> Run {
        // Where it is in a Debian without a /sbin of its own.
        let merged = self.root.join("usr/sbin/zdb");
        self.program(&if merged.exists() { merged } else { self.root.join("sbin/zdb") })
    }

    /// This release's `ztest`, which uses a pool of its own in every way there is.
    pub fn ztest(&self) -> Run {
        // It runs the zdb that it finds first.
        let path = std::env::var_os("PATH").unwrap_or_default();
        let places = std::env::split_paths(&path);
        let path = std::env::join_paths([self.root.join("sbin")].into_iter().chain(places));
        self.program(&self.root.join("sbin/ztest")).env("PATH", path.unwrap_or_default())
    }

    /// OpenZFS's own tests of what programs do.
    pub fn functional_tests(&self) -> PathBuf {
        self.root.join("usr/share/zfs/zfs-tests/tests/functional")
    }

    /// Our program in `tests/libzpool`, linked to this release.
    pub fn judge(&self) -> Result<Run> {
        let judge = self.judge.as_ref();
        let judge = judge.with_context(|| format!("no libzpool program for {}", self.version))?;
        Ok(self.program(judge))
    }
}
