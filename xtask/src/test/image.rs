//! Disk images: the tools of other projects read them, other users build the same, machines boot them.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::inputs::Inputs;
use crate::run::Run;
use crate::steps::Verdict;
use crate::{apt, judge_pool, vm};

/// An ordinary user of this machine (`nobody` in Debian).
pub const NOBODY: u32 = 65534;

pub fn tools(inputs: &Inputs) -> Result<Verdict> {
    let images = inputs.images()?;
    let (raw, qcow2) = (images.join("debian.raw"), images.join("debian.qcow2"));
    Run::new("qemu-img").args(["check", "-f", "qcow2"]).arg(&qcow2).text()?;
    Run::new("qemu-img")
        .args(["compare", "-f", "raw", "-F", "qcow2"])
        .args([&raw, &qcow2])
        .text()?;
    let verdict = Run::new("sgdisk").arg("-v").arg(&raw).env("LC_ALL", "C").text()?;
    if !verdict.contains("No problems found") {
        bail!("sgdisk -v: {verdict}");
    }
    let parts = inputs.scratch().join("partitions");
    let system = partition(&raw, 2, &parts)?;
    Run::new("fsck.vfat").arg("-n").arg(&system).text()?;
    let pool = partition(&raw, 3, &parts)?;
    for user_land in inputs.user_lands()? {
        judge_pool::judge_as_it_is(user_land, &pool, "rpool")
            .with_context(|| format!("OpenZFS {}", user_land.version))?;
        // A machine's pool has more datasets than a bare one, and properties of its own.
        judge_pool::check(user_land, &pool, "rpool")?;
    }
    fs::remove_dir_all(&parts)?;
    Ok(Verdict::Passed)
}

/// First and last sector of a partition of a raw image.
pub fn sectors(raw: &Path, number: u32) -> Result<(u64, u64)> {
    let info =
        Run::new("sgdisk").args(["-i", &number.to_string()]).arg(raw).env("LC_ALL", "C").text()?;
    let sector = |name: &str| -> Result<u64> {
        let line = info.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|rest| rest.split_whitespace().next());
        number.and_then(|text| text.parse().ok()).with_context(|| format!("sgdisk -i: {info}"))
    };
    Ok((sector("First sector: ")?, sector("Last sector: ")?))
}

/// Copies a partition out of a raw image.
pub fn partition(raw: &Path, number: u32, directory: &Path) -> Result<PathBuf> {
    fs::create_dir_all(directory)?;
    let (first, last) = sectors(raw, number)?;
    let copy = directory.join(format!("partition-{number}"));
    let bytes = (last + 1 - first) * 512;
    Run::new("dd")
        .args(["bs=1M", "conv=sparse", "iflag=skip_bytes,count_bytes", "status=none"])
        .args([format!("skip={}", first * 512), format!("count={bytes}")])
        .arg(format!("if={}", raw.display()))
        .arg(format!("of={}", copy.display()))
        .text()?;
    // A hole at the end was not written.
    fs::OpenOptions::new().write(true).open(&copy)?.set_len(bytes)?;
    Ok(copy)
}

pub fn twice(inputs: &Inputs) -> Result<Verdict> {
    let first = inputs.images()?.join("debian.raw");
    if !apt::is_root() {
        println!("    only root can become another user with another host name and clock");
        return Ok(Verdict::Skipped);
    }
    // Somewhere that everybody may enter, unlike a checkout below somebody's home.
    let elsewhere = tempfile::Builder::new().prefix("kldload-twice").tempdir()?;
    let here = elsewhere.path();
    fs::set_permissions(here, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let program = here.join("kldload");
    fs::copy(inputs.kldload()?.path(), &program)?;
    let home = here.join("home");
    fs::create_dir(&home)?;
    chown(&home, Some(NOBODY), Some(NOBODY))?;
    // The tree may be somebody else's secret; nobody reads it from an open file.
    let tree = fs::File::open(inputs.debian()?)?;
    let script = "hostname elsewhere && cd \"$1\" && exec setpriv --reuid 65534 --regid 65534 --clear-groups \
                  faketime '2031-05-06 07:08:09' \"$2\" build --tree - -o . --name debian -f raw";
    Run::new("unshare")
        .args(["--uts", "sh", "-c", script, "sh"])
        .args([&home, &program])
        .env("HOME", &home)
        .env("TMPDIR", &home)
        .env("TZ", "Pacific/Chatham")
        .env("LC_ALL", "tr_TR.UTF-8")
        .env("USER", "nobody")
        .input(tree)
        .text()?;
    Run::new("cmp").arg(&first).arg(home.join("debian.raw")).text()?;
    Ok(Verdict::Passed)
}

pub fn boot_virtio(inputs: &Inputs) -> Result<Verdict> {
    boot(inputs, "virtio")
}

pub fn boot_ahci(inputs: &Inputs) -> Result<Verdict> {
    boot(inputs, "ahci")
}

pub fn boot_nvme(inputs: &Inputs) -> Result<Verdict> {
    boot(inputs, "nvme")
}

/// The kernel judge over the pool of the finished disk image, in its partition.
pub fn kernel(inputs: &Inputs) -> Result<Verdict> {
    let images = inputs.images()?;
    let (image, manifest) = (images.join("debian.raw"), images.join("manifest"));
    let (source, sums) = inputs.debian_described()?;
    println!("    {}", differences(source, &manifest)?);
    let case = vm::Case::Pool {
        image: &image,
        partition: Some(3),
        pool: "rpool",
        manifest: &manifest,
        sums,
        growth: 0,
    };
    inputs.kernel()?.judge(case, 180)?;
    Ok(Verdict::Passed)
}

/// How the manifest of the image differs from that of its source: the build writes it itself, so it must not
/// leave out what the judge then misses nowhere.
fn differences(source: &Path, written: &Path) -> Result<String> {
    let read = |path: &Path| -> Result<tree::Tree> {
        tree::manifest::parse(&fs::read(path)?).with_context(|| path.display().to_string())
    };
    let (source, written) = (read(source)?, read(written)?);
    let content = |tree: &tree::Tree, id| match &tree.inode(id).kind {
        tree::Kind::File(file) => Some(file.clone()),
        _ => None,
    };
    let (mut same, mut changed, mut gone) = (0, Vec::new(), Vec::new());
    for entry in source.walk() {
        let path = format!("/{}", entry.path.escape_ascii());
        match written.get(&entry.path) {
            None => gone.push(path),
            Some(id)
                if written.inode(id).metadata == entry.inode.metadata
                    && content(&written, id) == content(&source, entry.id) =>
            {
                same += 1;
            }
            Some(_) => changed.push(path),
        }
    }
    let added = written.walk().filter(|entry| source.get(&entry.path).is_none()).count();
    let text = format!(
        "{same} paths as in the tree, {} changed, {} left out, {added} added",
        changed.len(),
        gone.len()
    );
    let kernels = |path: &String| path.contains("/vmlinuz-") || path.contains("/zfs.ko");
    if changed.len() > 50 || gone.len() > 2000 || gone.iter().any(kernels) {
        bail!("too much is not as in the tree: {text}; {changed:?} {gone:?}");
    }
    Ok(text)
}

/// `kldload boot --check` of Debian's image on a controller.
fn boot(inputs: &Inputs, controller: &str) -> Result<Verdict> {
    let image = &inputs.images()?.join("debian.qcow2");
    booted(&boot_check(inputs, image, &["--controller", controller], controller)?.text()?);
    Ok(Verdict::Passed)
}

/// `kldload boot --check` of an image with options; `name` tells its console from others.
pub fn boot_check(inputs: &Inputs, image: &Path, options: &[&str], name: &str) -> Result<Run> {
    let log = inputs.scratch().join(format!("console-{name}.log"));
    let check = inputs.kldload()?.args(["boot", "--check"]).args(options);
    Ok(check.arg("--keep-log").arg(log).arg(image).limit(Duration::from_secs(2700)))
}

/// Prints what was checked.
pub fn booted(text: &str) {
    for line in text.lines() {
        println!("    {line}");
    }
}
