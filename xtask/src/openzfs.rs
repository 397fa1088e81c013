//! OpenZFS without a kernel: `zdb` and our libzpool program, for the two releases that Debian 12 has.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::apt::{Mirrors, PrivateApt};
use crate::checkout;
use crate::run::Run;

/// Change this when what is downloaded changes, so that a kept copy is not used.
const KEY: &str = "1";

/// A release of OpenZFS and how Debian packs it.
#[derive(Debug)]
pub struct Release {
    /// Major and minor version.
    pub version: &'static str,
    suite: &'static str,
    libraries: &'static [&'static str],
    /// For `#if` in the C source.
    number: u32,
}

/// The oldest release that is to read our pools, and a recent one.
pub const RELEASES: [Release; 2] = [
    Release {
        version: "2.1",
        suite: "bookworm",
        libraries: &["libzfs4linux", "libzpool5linux"],
        number: 201,
    },
    Release {
        version: "2.3",
        suite: "bookworm-backports",
        libraries: &["libzfs6linux", "libzpool6linux"],
        number: 203,
    },
];

/// Headers that libzfslinux-dev lacks, in the upstream source.
const MISSING_HEADERS: [&str; 2] = ["*/include/sys/zfs_ioctl.h", "*/lib/libzpool/include/sys/*"];

/// One release, unpacked, with our program built against it.
#[derive(Debug)]
pub struct UserLand {
    /// Major and minor version.
    pub version: &'static str,
    root: PathBuf,
    judge: PathBuf,
}

/// Both releases, downloaded and built when they are not there yet.
pub fn user_lands() -> Result<Vec<UserLand>> {
    let oracle = checkout::oracle()?;
    let mut apt = None;
    let mut ready = Vec::new();
    for release in &RELEASES {
        let root = oracle.join(format!("openzfs-{}", release.version));
        if !checkout::is_complete(&root, KEY) {
            if apt.is_none() {
                apt = Some(private_apt(&oracle)?);
            }
            let apt = apt.as_ref().context("apt")?;
            fetch(release, apt, &root).with_context(|| format!("OpenZFS {}", release.version))?;
            checkout::complete(&root, KEY)?;
        }
        let judge = build(release, &root)?;
        ready.push(UserLand { version: release.version, root, judge });
    }
    Ok(ready)
}

fn private_apt(oracle: &Path) -> Result<PrivateApt> {
    let mirrors = Mirrors::find()?;
    PrivateApt::new(
        &oracle.join("apt"),
        &mirrors.main,
        &[("bookworm", "main contrib"), ("bookworm-backports", "main contrib")],
    )
}

fn fetch(release: &Release, apt: &PrivateApt, root: &Path) -> Result<()> {
    checkout::fresh(root)?;
    let common = [
        "zfsutils-linux",
        "libzfslinux-dev",
        "libnvpair3linux",
        "libuutil3linux",
        "libzfsbootenv1linux",
    ];
    let mut packages: Vec<String> = common
        .iter()
        .chain(release.libraries)
        .map(|name| format!("{name}/{}", release.suite))
        .collect();
    // What they link to and a small Debian may lack.
    packages.extend(
        ["libtirpc3", "libssl3", "libudev1", "libblkid1"].map(|name| format!("{name}/bookworm")),
    );
    apt.unpack(&packages, root)?;
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
fn build(release: &Release, root: &Path) -> Result<PathBuf> {
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
        .arg(format!("-DOPENZFS={}", release.number))
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
    fn program(&self, path: &Path) -> Run {
        let libraries = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"]
            .map(|path| self.root.join(path).display().to_string())
            .join(":");
        Run::new(path).env("LD_LIBRARY_PATH", libraries).limit(Duration::from_secs(1200))
    }

    /// This release's `zdb`.
    pub fn zdb(&self) -> Run {
        self.program(&self.root.join("sbin/zdb"))
    }

    /// Our program in `tests/libzpool`, linked to this release.
    pub fn judge(&self) -> Run {
        self.program(&self.judge)
    }
}
