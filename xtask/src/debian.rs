//! The Debian that the tests are about: a real Debian 13 as a tar archive, made once by mmdebstrap.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::apt::{self, KEYRING, Mirrors};
use crate::checkout;
use crate::run::Run;

/// A variable that names a tree to use instead of one made here.
pub const VARIABLE: &str = "KLDLOAD_TEST_TREE";

/// What the tree has besides the smallest Debian. Building zfs-dkms takes most of the time.
const PACKAGES: [&str; 13] = [
    "ca-certificates",
    "dbus",
    "iproute2",
    "libpam-systemd",
    "linux-headers-amd64",
    "linux-image-amd64",
    "openssh-server",
    "systemd-boot-efi",
    "systemd-sysv",
    "udev",
    "zfs-dkms",
    "zfs-initramfs",
    "zfsutils-linux",
];

/// The archive, made when there is none yet.
pub fn tree() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(VARIABLE) {
        println!("    {VARIABLE}: {}", path.display());
        return Ok(path.into());
    }
    let directory = checkout::oracle()?.join("debian-trixie");
    let tree = directory.join("debian.tar");
    let key = PACKAGES.join(" ");
    if checkout::is_complete(&directory, &key) {
        return Ok(tree);
    }
    checkout::fresh(&directory)?;
    let list = directory.join("sources.list");
    std::fs::write(&list, sources()?)?;
    let mode = if apt::is_root() { "root" } else { "unshare" };
    Run::new("mmdebstrap")
        .arg(format!("--mode={mode}"))
        .args(["--variant=minbase", "--architectures=amd64", "--skip=output/dev"])
        .args(["--aptopt=APT::Install-Recommends \"false\"", "--aptopt=Acquire::Retries \"3\""])
        .args(proxy()?.map(|proxy| format!("--aptopt=Acquire::http::Proxy \"{proxy}\"")))
        .arg(format!("--include={}", PACKAGES.join(",")))
        .arg("trixie")
        .arg(&tree)
        .arg(&list)
        .env("LC_ALL", "C.UTF-8")
        .limit(Duration::from_secs(2400))
        .text()?;
    let names = Run::new("tar").arg("-tf").arg(&tree).text()?;
    if !names.lines().any(|name| name.contains("/updates/dkms/zfs.ko")) {
        bail!("mmdebstrap made a tree without zfs.ko: zfs-dkms was not built");
    }
    checkout::complete(&directory, &key)?;
    Ok(tree)
}

/// The text of a `sources.list` for Debian 13.
pub fn sources() -> Result<String> {
    let mirrors = Mirrors::find()?;
    Ok(format!(
        "deb [signed-by={KEYRING}] {main} trixie main contrib non-free-firmware\n\
         deb [signed-by={KEYRING}] {main} trixie-updates main contrib non-free-firmware\n\
         deb [signed-by={KEYRING}] {security} trixie-security main contrib non-free-firmware\n",
        main = mirrors.main,
        security = mirrors.security,
    ))
}

/// The proxy that this machine's apt uses, which mmdebstrap's apt does not hear of.
pub fn proxy() -> Result<Option<String>> {
    let text = Run::new("apt-config")
        .args(["shell", "PROXY", "Acquire::http::Proxy"])
        .errors_apart()
        .text()
        .context("apt-config")?;
    let value = text.trim().strip_prefix("PROXY=").map(|value| value.trim_matches('\'').to_owned());
    Ok(value.filter(|value| !value.is_empty()))
}
