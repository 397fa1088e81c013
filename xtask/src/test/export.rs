//! Exported images: `qemu-img` compares them with the disk, OpenZFS judges the pool that was made
//! without its free space, machines boot them.

use std::fs;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};

use super::image::{boot_check, booted, partition, sectors};
use super::inputs::Inputs;
use crate::apt::{Mirrors, PrivateApt};
use crate::run::Run;
use crate::steps::Verdict;
use crate::{judge_pool, vm};

/// What `all` writes, with qemu-img's names.
const FORMATS: [(&str, &str); 5] =
    [("qcow2", "qcow2"), ("raw", "raw"), ("vhd", "vpc"), ("vhdx", "vhdx"), ("vmdk", "vmdk")];

/// Kibibytes of memory that an export may need.
const MEMORY: u64 = 256 << 10;

/// Runs a program and prints how many kibibytes of memory it needed at most.
const MEASURED: &str = "import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=sys.stderr)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)";

/// Where machines of each hypervisor find their disk; `disk` is a larger one with the raw image.
const MACHINES: [(&str, &str); 6] = [
    ("vmdk", "pvscsi"),
    ("vmdk", "ahci"),
    ("vhd", "ahci"),
    ("vhdx", "ahci"),
    ("qcow2", "nvme"),
    ("disk", "virtio"),
];

/// An empty directory for this step.
fn directory(inputs: &Inputs) -> Result<PathBuf> {
    let out = inputs.scratch().join("export");
    crate::checkout::fresh(&out)?;
    Ok(out)
}

fn export(inputs: &Inputs, source: &Path, out: &Path, args: &[&str]) -> Result<String> {
    inputs.kldload()?.arg("export").arg(source).args(args).arg("-o").arg(out).text()
}

/// Like [`export`]; an error if that needs more memory than it may.
fn measured(inputs: &Inputs, source: &Path, out: &Path, args: &[&str]) -> Result<()> {
    let export = Run::new("python3").args(["-c", MEASURED]).arg(inputs.kldload()?.path());
    let export = export.arg("export").arg(source).args(args).arg("-o").arg(out).errors_apart();
    let text = export.text()?;
    let needed: u64 = text.trim().parse().with_context(|| format!("not a number: {text}"))?;
    println!("    export {}: {} MiB of memory", args.join(" "), needed >> 10);
    if needed > MEMORY {
        bail!("an export may need {} MiB of memory", MEMORY >> 10);
    }
    Ok(())
}

pub fn every_format(inputs: &Inputs) -> Result<Verdict> {
    let raw = inputs.images()?.join("debian.raw");
    let out = directory(inputs)?;
    measured(inputs, &raw, &out, &["all", "gcp", "--keep-free", "--verify", "--name", "kept"])?;
    hold(&raw, &out, "kept")?;
    terabyte(inputs)?;
    fs::remove_dir_all(&out)?;
    Ok(Verdict::Passed)
}

/// A disk of 1 TiB with data at both ends. `qemu-img` reads the images in `crates/image/tests/export.rs`.
fn terabyte(inputs: &Inputs) -> Result<()> {
    let out = directory(inputs)?;
    let raw = out.join("disk");
    let file = fs::File::create(&raw)?;
    let (size, bytes) = (1 << 40, b"kldload ".repeat(10_000));
    file.set_len(size)?;
    for at in [4096, size - bytes.len() as u64] {
        file.write_all_at(&bytes, at)?;
    }
    measured(inputs, &raw, &out, &["all", "gcp", "--verify", "--name", "large"])
}

/// Fails unless all images called `name` in `out` hold the disk `raw`.
fn hold(raw: &Path, out: &Path, name: &str) -> Result<()> {
    let compare = |image: &Path, format: &str| {
        let compare = Run::new("qemu-img").args(["compare", "-f", "raw", "-F", format]);
        compare.args([raw, image]).text()
    };
    for (extension, format) in FORMATS {
        let image = out.join(format!("{name}.{extension}"));
        compare(&image, format)?;
        if matches!(format, "qcow2" | "vmdk" | "vhdx") {
            Run::new("qemu-img").args(["check", "-f", format]).arg(&image).text()?;
        }
    }
    for (extension, inside, format) in
        [("ova", "kldload-disk.vmdk", "vmdk"), ("tar.gz", "disk.raw", "raw")]
    {
        let archive = out.join(format!("{name}.{extension}"));
        Run::new("tar").arg("-C").arg(out).arg("-xSf").arg(archive).text()?;
        let image = out.join(inside);
        compare(&image, format)?;
        fs::remove_file(image)?;
    }
    Ok(())
}

/// Fails unless each block of `free` is the block of `raw`, or zeros; how many bytes are zeros only there.
fn only_zeroed(raw: &Path, free: &Path) -> Result<u64> {
    const CHUNK: usize = 1 << 20;
    let (mut raw, mut free) = (fs::File::open(raw)?, fs::File::open(free)?);
    let length = raw.metadata()?.len();
    if length != free.metadata()?.len() {
        bail!("the disk has another size");
    }
    let (mut before, mut after) = (vec![0; CHUNK], vec![0; CHUNK]);
    let (mut at, mut zeroed) = (0, 0);
    while at < length {
        let now = CHUNK.min((length - at) as usize);
        raw.read_exact(&mut before[..now])?;
        free.read_exact(&mut after[..now])?;
        for (before, after) in before[..now].chunks(512).zip(after[..now].chunks(512)) {
            if before != after {
                if after.iter().any(|&byte| byte != 0) {
                    bail!("the sector at offset {at} is neither what it was nor zeros");
                }
                zeroed += 512;
            }
            at += 512;
        }
    }
    Ok(zeroed)
}

pub fn without_free_space(inputs: &Inputs) -> Result<Verdict> {
    let images = inputs.images()?;
    let (raw, manifest) = (images.join("debian.raw"), images.join("manifest"));
    let out = directory(inputs)?;
    measured(inputs, &raw, &out, &["all", "gcp", "--verify", "--name", "free"])?;
    let free = out.join("free.raw");
    println!("    {} bytes are zeros now", only_zeroed(&raw, &free)?);
    hold(&free, &out, "free")?;
    // Again from a compressed image: the same identifiers, the same bytes.
    let qcow2 = out.join("free.qcow2");
    export(inputs, &qcow2, &out, &["qcow2", "--name", "again"])?;
    Run::new("cmp").arg(&qcow2).arg(out.join("again.qcow2")).text()?;
    inputs.kldload()?.arg("verify").arg(&free).text()?;
    let parts = out.join("partitions");
    let system = partition(&free, 2, &parts)?;
    Run::new("fsck.vfat").arg("-n").arg(&system).text()?;
    let pool = partition(&free, 3, &parts)?;
    for user_land in inputs.user_lands()? {
        judge_pool::judge_as_it_is(user_land, &pool, "rpool")
            .with_context(|| format!("OpenZFS {}", user_land.version))?;
    }
    let (_, sums) = inputs.debian_described()?;
    let (image, manifest) = (&*free, &*manifest);
    let case =
        vm::Case::Pool { image, partition: Some(3), pool: "rpool", manifest, sums, growth: 0 };
    inputs.kernel()?.judge(case, 180)?;
    fs::remove_dir_all(&out)?;
    Ok(Verdict::Passed)
}

/// Free space that was full of files must not make an image larger.
pub fn deleted_files(inputs: &Inputs) -> Result<Verdict> {
    let out = directory(inputs)?;
    let build = inputs.kldload()?.args(["build", "--name", "fresh", "-f", "raw"]);
    build.args(["--disk-size", "8G", "--tree"]).arg(inputs.debian()?).arg("-o").arg(&out).text()?;
    let (fresh, used) = (out.join("fresh.raw"), out.join("used.raw"));
    let pool = partition(&fresh, 3, &out.join("partitions"))?;
    let user_land = inputs.user_lands()?.last().context("there is no OpenZFS")?;
    judge_pool::use_once(user_land, "fill", "rpool", &pool)?;
    // The same disk around the pool; what is not copied is zeros in both.
    let length = fs::metadata(&fresh)?.len();
    fs::File::create(&used)?.set_len(length)?;
    let (first, last) = sectors(&fresh, 3)?;
    let (first, behind) = (first * 512, (last + 1) * 512);
    for (from, skip, count, to) in [
        (&fresh, 0, first, 0),
        (&pool, 0, behind - first, first),
        (&fresh, behind, length - behind, behind),
    ] {
        Run::new("dd")
            .args(["bs=1M", "conv=sparse,notrunc", "status=none"])
            .args(["iflag=skip_bytes,count_bytes", "oflag=seek_bytes"])
            .args([format!("skip={skip}"), format!("count={count}"), format!("seek={to}")])
            .arg(format!("if={}", from.display()))
            .arg(format!("of={}", used.display()))
            .text()?;
    }
    let size = |source: &Path, name: &str, more: &[&str]| -> Result<f64> {
        export(inputs, source, &out, &[&["qcow2"], more, &["--name", name]].concat())?;
        Ok(fs::metadata(out.join(format!("{name}.qcow2")))?.len() as f64 / 1e6)
    };
    let never = size(&fresh, "never", &[])?;
    let deleted =
        size(&used, "deleted", &["raw", "vhd", "vhdx", "vmdk", "ova", "gcp", "--verify"])?;
    let kept = size(&used, "kept", &["--keep-free"])?;
    println!(
        "    {never:.1} MB before 2 GiB were filled and deleted, {deleted:.1} MB after, {kept:.1} MB with them"
    );
    let free = out.join("deleted.raw");
    let zeroed = only_zeroed(&used, &free)?;
    println!("    {zeroed} bytes are zeros now");
    if deleted > never * 1.05 || kept < never * 1.5 || zeroed < 1 << 30 {
        bail!("free space is not left out");
    }
    hold(&free, &out, "deleted")?;
    inputs.kldload()?.arg("verify").arg(&free).text()?;
    let pool = partition(&free, 3, &out.join("partitions"))?;
    judge_pool::judge_as_it_is(user_land, &pool, "rpool")?;
    fs::remove_dir_all(&out)?;
    Ok(Verdict::Passed)
}

/// A firmware that has a driver for VMware's controller: Debian has one since forky.
fn legacy_firmware(out: &Path) -> Result<String> {
    let root = out.join("apt");
    let apt = PrivateApt::new(&root, &Mirrors::find()?.main, &[("forky", "main")])?;
    apt.unpack(&["ovmf-legacy/forky".to_owned()], &root)?;
    Ok(root.join("usr/share/ovmf/OVMF.legacy.fd").display().to_string())
}

pub fn boot_export(inputs: &Inputs) -> Result<Verdict> {
    let raw = inputs.images()?.join("debian.raw");
    let out = directory(inputs)?;
    export(inputs, &raw, &out, &["qcow2", "raw", "vhd", "vhdx", "vmdk", "--name", "boot"])?;
    // As dd leaves it on a disk that is larger.
    let larger = out.join("boot.disk");
    Run::new("dd")
        .args(["bs=1M", "conv=sparse", "status=none"])
        .arg(format!("if={}", out.join("boot.raw").display()))
        .arg(format!("of={}", larger.display()))
        .text()?;
    let length = fs::metadata(&larger)?.len() + (3 << 30);
    fs::OpenOptions::new().write(true).open(&larger)?.set_len(length)?;
    let firmware = legacy_firmware(&out)?;
    let mut machines = Vec::new();
    for (extension, controller) in MACHINES {
        let mut options = vec!["--controller", controller];
        if controller == "pvscsi" {
            options.extend(["--firmware", &firmware]);
        }
        let name = format!("{extension}-{controller}");
        let image = out.join(format!("boot.{extension}"));
        machines.push((boot_check(inputs, &image, &options, &name)?, name));
    }
    // Without KVM a machine keeps about one core busy; all at once would starve each other.
    let at_once = std::thread::available_parallelism()?.get().min(machines.len());
    let waiting = Mutex::new(machines.into_iter());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
    let boot_them = || -> Result<()> {
        while let Some((machine, name)) = next() {
            println!("    {name} begins");
            booted(&machine.text().context(name)?);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let hosts: Vec<_> = (0..at_once).map(|_| scope.spawn(boot_them)).collect();
        hosts.into_iter().try_for_each(|host| {
            host.join().map_err(|_| anyhow::anyhow!("a machine's thread failed"))?
        })
    })?;
    fs::remove_dir_all(&out)?;
    Ok(Verdict::Passed)
}
