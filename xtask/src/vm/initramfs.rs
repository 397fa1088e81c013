//! The initramfs of a test machine, made of files of the test tree: modules, `zpool`, `zfs`, libraries.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use archive::cpio::Writer;

use crate::checkout;
use crate::run::Run;

/// What the machine needs from the kernel, besides what these need themselves.
const MODULES: [&str; 5] = ["virtio_pci", "virtio_blk", "ahci", "sd_mod", "zfs"];

const PROGRAMS: [&str; 2] = ["usr/sbin/zpool", "usr/sbin/zfs"];

/// The feature set that our pools name, without which `zpool upgrade` does nothing.
const FEATURES: &str = "usr/share/zfs/compatibility.d/openzfs-2.1-linux";

const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
const LOADER: &str = "ld-linux-x86-64.so.2";

/// What was taken out of a test tree.
#[derive(Debug)]
pub struct Parts {
    /// The kernel image.
    pub kernel: PathBuf,
    first_process: PathBuf,
    root: PathBuf,
    /// Module files below `root`, each after those it needs.
    modules: Vec<String>,
    libraries: BTreeSet<String>,
}

impl Parts {
    /// Unpacks what is needed of `tree`, unless that was done before.
    pub fn of(tree: &Path, first_process: PathBuf) -> Result<Self> {
        let root = checkout::oracle()?.join("vm-parts");
        let stat = fs::metadata(tree).with_context(|| tree.display().to_string())?;
        let key =
            format!("2 {} {} {}.{}", tree.display(), stat.len(), stat.mtime(), stat.mtime_nsec());
        if !checkout::is_complete(&root, &key) {
            checkout::fresh(&root)?;
            let libraries = format!("./{LIBRARIES}/*.so*");
            let features = format!("./{FEATURES}");
            let patterns =
                ["./boot/vmlinuz-*", "./usr/lib/modules/*/modules.dep", &libraries, &features];
            let programs = PROGRAMS.map(|path| format!("./{path}"));
            unpack(
                tree,
                &root,
                patterns.iter().copied().chain(programs.iter().map(String::as_str)),
            )?;
            let modules = modules(&root)?;
            unpack(tree, &root, modules.iter().map(String::as_str))?;
            checkout::complete(&root, &key)?;
        }
        let modules = modules(&root)?;
        Ok(Self {
            kernel: kernel(&root)?,
            first_process,
            libraries: libraries(&root)?,
            modules,
            root,
        })
    }

    /// Writes an initramfs whose first process will do `verb`, with `files` in `/judge`.
    pub fn write(&self, to: &Path, verb: &str, files: &[(&str, &Path)]) -> Result<()> {
        let mut cpio = Writer::new(BufWriter::new(File::create(to)?));
        for directory in [
            "dev", "etc", "etc/zfs", "judge", "mnt", "proc", "run", "sys", "tmp", "usr", "usr/lib",
            LIBRARIES,
        ] {
            cpio.directory(directory, 0o755)?;
        }
        for directory in [
            "usr/lib64",
            "usr/sbin",
            "usr/bin",
            "usr/share",
            "usr/share/zfs",
            "usr/share/zfs/compatibility.d",
        ] {
            cpio.directory(directory, 0o755)?;
        }
        for name in ["lib", "lib64", "sbin", "bin"] {
            cpio.symlink(name, &format!("usr/{name}"))?;
        }
        cpio.symlink(&format!("usr/lib64/{LOADER}"), &format!("../../{LIBRARIES}/{LOADER}"))?;
        cpio.symlink("etc/mtab", "/proc/self/mounts")?;
        cpio.char_device("dev/console", 0o600, tree::Device { major: 5, minor: 1 })?;
        let read = |path: PathBuf| fs::read(&path).with_context(|| path.display().to_string());
        cpio.file("init", 0o755, &read(self.first_process.clone())?)?;
        for program in PROGRAMS {
            cpio.file(program, 0o755, &read(self.root.join(program))?)?;
        }
        cpio.file(FEATURES, 0o644, &read(self.root.join(FEATURES))?)?;
        for name in &self.libraries {
            let path = format!("{LIBRARIES}/{name}");
            cpio.file(&path, 0o755, &read(self.root.join(&path))?)?;
        }
        let mut list = String::new();
        for (number, module) in self.modules.iter().enumerate() {
            let name = format!("judge/{number}.ko");
            cpio.file(&name, 0o644, &decompressed(&self.root.join(module))?)?;
            list += &format!("/{name}\n");
        }
        cpio.file("judge/modules", 0o644, list.as_bytes())?;
        cpio.file("judge/verb", 0o644, verb.as_bytes())?;
        for (name, path) in files {
            // One of them may be a program.
            cpio.file(&format!("judge/{name}"), 0o755, &read(path.to_path_buf())?)?;
        }
        cpio.finish()?.flush()?;
        Ok(())
    }
}

fn unpack<'a>(tree: &Path, root: &Path, patterns: impl Iterator<Item = &'a str>) -> Result<()> {
    Run::new("tar")
        .args(["--wildcards", "-C"])
        .arg(root)
        .arg("-xf")
        .arg(tree)
        .args(patterns)
        .text()?;
    Ok(())
}

fn only(directory: &Path, prefix: &str) -> Result<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            found.push(entry.path());
        }
    }
    match &found[..] {
        [one] => Ok(one.clone()),
        _ => bail!("{} holds {} of {prefix}*, not one", directory.display(), found.len()),
    }
}

fn kernel(root: &Path) -> Result<PathBuf> {
    only(&root.join("boot"), "vmlinuz-")
}

/// The files of [`MODULES`] and of what they need, in the order to load them, as `./usr/lib/modules/…`.
fn modules(root: &Path) -> Result<Vec<String>> {
    let directory = only(&root.join("usr/lib/modules"), "")?;
    let text = fs::read_to_string(directory.join("modules.dep"))?;
    let version = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let order = load_order(&text, &MODULES);
    if !order.iter().any(|path| path.contains("/zfs.ko")) {
        bail!("{version} has no zfs.ko: was zfs-dkms built?");
    }
    Ok(order.into_iter().map(|path| format!("./usr/lib/modules/{version}/{path}")).collect())
}

/// From the text of a `modules.dep`: the files of `wanted`, each after everything that it needs.
/// A module that is not in it is part of the kernel.
fn load_order(text: &str, wanted: &[&str]) -> Vec<String> {
    let mut order: Vec<String> = Vec::new();
    for name in wanted {
        let line = text.lines().find_map(|line| {
            let (path, needs) = line.split_once(':')?;
            let file = path.rsplit('/').next()?;
            let same = file.split_once(".ko")?.0.replace('-', "_") == *name;
            same.then_some((path, needs))
        });
        let Some((path, needs)) = line else { continue };
        // modules.dep lists all that is needed, the deepest last.
        for path in needs.split_whitespace().rev().chain([path]) {
            if !order.iter().any(|known| known == path) {
                order.push(path.to_owned());
            }
        }
    }
    order
}

fn decompressed(module: &Path) -> Result<Vec<u8>> {
    let file = File::open(module).with_context(|| module.display().to_string())?;
    let mut input = archive::compress::Peek::new(file);
    let mut bytes = Vec::new();
    archive::compress::decoder(&mut input)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// File names of all libraries that the programs need.
fn libraries(root: &Path) -> Result<BTreeSet<String>> {
    let mut known = BTreeSet::from([LOADER.to_owned()]);
    let mut todo: Vec<PathBuf> = PROGRAMS.iter().map(|path| root.join(path)).collect();
    // pthread_exit and cancellation load it by name.
    let by_name = "libgcc_s.so.1";
    if root.join(LIBRARIES).join(by_name).exists() {
        known.insert(by_name.to_owned());
    }
    while let Some(file) = todo.pop() {
        let text =
            Run::new("readelf").args(["-d", "--wide"]).arg(&file).env("LC_ALL", "C").text()?;
        for line in text.lines().filter(|line| line.contains("(NEEDED)")) {
            let name = line.split(['[', ']']).nth(1).with_context(|| line.to_owned())?;
            if known.insert(name.to_owned()) {
                todo.push(root.join(LIBRARIES).join(name));
            }
        }
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_loaded_after_what_they_need() {
        let text = "kernel/a/virtio-blk.ko.xz: kernel/a/virtio_ring.ko.xz kernel/a/virtio.ko.xz\n\
                    kernel/a/virtio_ring.ko.xz: kernel/a/virtio.ko.xz\n\
                    updates/dkms/zfs.ko.xz: updates/dkms/spl.ko.xz\n";
        let order = load_order(text, &["virtio_blk", "built_in", "zfs"]);
        let names: Vec<&str> = order.iter().filter_map(|path| path.rsplit('/').next()).collect();
        assert_eq!(
            names,
            ["virtio.ko.xz", "virtio_ring.ko.xz", "virtio-blk.ko.xz", "spl.ko.xz", "zfs.ko.xz"]
        );
    }
}
