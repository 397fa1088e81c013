//! `cargo xtask bench recipe`: from a synced darksite to a finished machine, beside mmdebstrap.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::bench::{measured, timed};
use crate::checkout::{cache, fresh, kldload, target};
use crate::run::Run;

const LIMIT: Duration = Duration::from_secs(2 * 3600);
/// Keeps zfs-dkms from compiling, which we do not either; without the package zfs-initramfs would bring it.
const NO_MODULE: &str = "--setup-hook=touch \"$1/etc/dkms/no-autoinstall\"";
/// Puts the compiled modules of our image, in the directory `MODULES`, where dkms would put them.
const OUR_MODULE: &str = "--setup-hook=cd \"$MODULES\" && for kernel in *; do \
     mkdir -p \"$1/usr/lib/modules/$kernel\" && \
     cp -r \"$kernel/updates\" \"$1/usr/lib/modules/$kernel/\" || exit 1; done";
/// Architecture of what is built.
const ARCHITECTURE: &str = "amd64";

/// Times a build with only the kernel module cached, with its peak of memory, one that differs in the host
/// name, and mmdebstrap's tar of the same packages from the same darksite, with the same module. Each once: they
/// take minutes.
pub fn recipe(profile: &str) -> Result<()> {
    let kldload = kldload()?;
    let work = tempfile::Builder::new().prefix("bench-").tempdir_in(target())?;
    let at = |name: &str| work.path().join(name);
    // Another run need neither fetch nor compile again.
    let (site, cache) = (target().join("bench-recipe/site"), cache()?);
    let text = format!("release = \"trixie\"\nprofile = \"{profile}\"\n");
    fs::write(at("first.toml"), &text)?;
    fs::write(at("second.toml"), format!("hostname = \"pear\"\n{text}"))?;
    let build = |recipe: &str| {
        Run::new(&kldload)
            .arg("build")
            .arg(at(recipe))
            .args(["--lock".as_ref(), at("lock").as_os_str()])
            .args(["--darksite".as_ref(), site.as_os_str()])
            .args(["--cache".as_ref(), cache.as_os_str()])
            .args(["-o".as_ref(), at("out").as_os_str()])
            .limit(LIMIT)
    };
    // Fetches everything and compiles the module.
    build("first.toml").text()?;
    Run::new(&kldload)
        .args(["darksite", "sync"])
        .arg(at("first.toml"))
        .args(["--lock".as_ref(), at("lock").as_os_str()])
        .args(["--dir".as_ref(), site.as_os_str()])
        .text()?;
    let forget =
        || ["roots", "licences", "images"].iter().try_for_each(|kind| fresh(&cache.join(kind)));
    forget()?;
    let (whole, most) = measured(build("first.toml"))?;
    let (renamed, _) = measured(build("second.toml"))?;
    forget()?;
    let image = fs::metadata(at("out/first.qcow2"))?.len();

    let modules = format!("{}:rpool/ROOT/debian/usr/lib/modules/", at("out/first.qcow2").display());
    Run::new(&kldload).args(["cp", "-r"]).arg(modules).arg(at("modules")).text()?;
    let lock = fs::read_to_string(at("lock"))?;
    let packages = packages(&lock);
    let site = fs::canonicalize(&site)?;
    let source = format!(
        "deb [signed-by={} arch={ARCHITECTURE}] copy:{} trixie main contrib non-free-firmware\n",
        site.join("keys/public.asc").display(),
        fs::canonicalize(site.join("current"))?.display(),
    );
    fs::write(at("sources.list"), source)?;
    let tar = at("theirs.tar");
    let mmdebstrap = Run::new("mmdebstrap")
        .args(["--mode=root", "--variant=custom", "--skip=output/dev"])
        .args(["--setup-hook=mkdir -p \"$1/etc/dkms\"", NO_MODULE, OUR_MODULE])
        .env("MODULES", at("modules"))
        .args(["--aptopt=APT::Install-Recommends \"false\""])
        .arg(format!("--architectures={ARCHITECTURE}"))
        .arg(format!("--include={}", packages.join(",")))
        .arg("trixie")
        .arg(&tar)
        .arg(at("sources.list"))
        .env("LC_ALL", "C.UTF-8")
        .limit(LIMIT);
    let peer = timed(|| mmdebstrap.text().map(drop))?;
    let peer_image = ext4(&tar, work.path())?;

    println!("packages                         {:9}", packages.len());
    println!("darksite to qcow2                {whole:9.2} s, {most:.0} MB");
    println!("the same, another host name      {renamed:9.2} s");
    println!("mmdebstrap, darksite to tar      {peer:9.2} s");
    println!("ours / mmdebstrap                {:9.2}", whole / peer);
    println!("another host name / mmdebstrap   {:9.2}", renamed / peer);
    println!("qcow2                            {:9.1} MB", image as f64 / 1e6);
    println!("their tree, ext4, qcow2 -c       {:9.1} MB", peer_image as f64 / 1e6);
    println!("ours / theirs                    {:9.2}", image as f64 / peer_image as f64);
    Ok(())
}

/// Names of the packages of a lock.
fn packages(lock: &str) -> Vec<&str> {
    let packages = lock.lines().filter_map(|line| line.strip_prefix("package "));
    packages.filter_map(|line| line.split(' ').next()).collect()
}

/// Size of the tree of a tar in an ext4 image, compressed by qemu-img.
fn ext4(tar: &Path, work: &Path) -> Result<u64> {
    let (tree, raw, image) = (work.join("tree"), work.join("ext4"), work.join("ext4.qcow2"));
    fresh(&tree)?;
    Run::new("tar")
        .args(["--xattrs", "--xattrs-include=*", "-xpf"])
        .arg(tar)
        .directory(&tree)
        .text()?;
    fs::File::create(&raw)?.set_len(8 << 30)?;
    Run::new("mke2fs").args(["-q", "-t", "ext4", "-d"]).args([&tree, &raw]).text()?;
    Run::new("qemu-img")
        .args(["convert", "-c", "-f", "raw", "-O", "qcow2"])
        .args([&raw, &image])
        .text()?;
    Ok(fs::metadata(&image).context("qemu-img wrote nothing")?.len())
}
