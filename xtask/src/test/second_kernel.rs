//! A second kernel from Debian's archive, installed with stock apt inside the machine.
//!
//! The tree has the second kernel's packages as a local archive, and what dkms compiled for it in a chroot
//! on this machine, because that takes more than an hour without hardware virtualisation. What is judged
//! happens inside: apt, dkms' and initramfs-tools' hooks, our plugin, the boot loader.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use host::qemu::Controller;
use sha2::{Digest, Sha256};

use super::inputs::Inputs;
use crate::apt::{self, PrivateApt};
use crate::run::Run;
use crate::steps::Verdict;
use crate::vm::lab::{Guest, Lab};
use crate::{checkout, debian};

/// What apt is asked for inside the machine.
const KERNEL: &str = "linux-image-cloud-amd64";
const HEADERS: &str = "linux-headers-cloud-amd64";

/// Where the tree keeps the packages, as an archive without network.
const REPOSITORY: &str = "usr/lib/second-kernel";

/// Installs a kernel, starts it, and removes the first one.
pub fn second_kernel(inputs: &Inputs) -> Result<Verdict> {
    if !apt::is_root() {
        println!("    only root can prepare the tree in a chroot");
        return Ok(Verdict::Skipped);
    }
    let tree = tree_with_packages(inputs.debian()?)?;
    let directory = inputs.scratch().join("second-kernel");
    inputs
        .kldload()?
        .args(["build", "--name", "second-kernel", "--tree"])
        .arg(&tree)
        .arg("-o")
        .arg(&directory)
        .text()?;
    let lab = Lab::new(inputs.scratch())?;
    let overlay = lab.overlay(&directory.join("second-kernel.qcow2"), 2 << 30)?;
    let variables = lab.variables()?;
    let disks = vec![overlay.disk(Controller::VirtioBlk)];
    let mut vm = lab.power_on("second-kernel", disks, &variables)?;

    let mut guest = lab.log_in(&mut vm)?;
    let first = guest.ask("uname -r")?;
    let before = Esp::of(&mut guest)?;
    guest.run("apt-get update", "apt-get update", 60)?;
    let install = format!("apt-get install -y {KERNEL} {HEADERS}");
    let said = guest.run(&install, &install, 1800)?;
    show(&said);
    guest.expect("dpkg --audit", "")?;
    let both = Esp::of(&mut guest)?;
    let second = both.only_addition(&before)?;
    println!("    the ESP has {first} as before and {second}");
    guest.ask(&format!("dkms status -k {second} | grep -q 'zfs/.*: installed'"))?;
    guest.ask(&boot_once(&format!("debian@{second}.conf")))?;

    let mut guest = guest.reboot()?;
    guest.expect("uname -r", &second)?;
    storage_is_well(&mut guest)?;
    let remove = format!("apt-get purge -y linux-image-amd64 linux-image-{first}");
    let said = guest.run(&remove, &remove, 1800)?;
    show(&said);
    guest.expect("dpkg --audit", "")?;
    let after = Esp::of(&mut guest)?;
    if after.entries.len() != 1 || after.entries.get(&second) != both.entries.get(&second) {
        bail!("after the removal of {first} the ESP has {after:?}, before it had {both:?}");
    }
    println!("    the ESP has only {second}, with {} files", after.files.len());

    // Now it is what starts without being asked for.
    let mut guest = guest.reboot()?;
    guest.expect("uname -r", &second)?;
    storage_is_well(&mut guest)?;
    guest.power_off()?;
    lab.wait_off(&mut vm)?;
    fs::remove_dir_all(&directory)?;
    Ok(Verdict::Passed)
}

/// What the hooks said.
fn show(said: &str) {
    let told = ["esp-sync: ", "update-initramfs: ", "dkms", "zfs", "Setting up", "Removing"];
    for line in said.lines().filter(|line| told.iter().any(|word| line.contains(word))).take(40) {
        println!("      {}", line.trim_end());
    }
}

fn storage_is_well(guest: &mut Guest<'_>) -> Result<()> {
    guest.expect("findmnt -no FSTYPE,SOURCE / | tr -s ' '", "zfs rpool/ROOT/debian")?;
    guest.expect("zpool status -x", "all pools are healthy")?;
    guest.expect("dpkg --audit", "")
}

/// Sets the boot loader's entry for the next start, as `bootctl set-oneshot` does (the tree has no bootctl).
fn boot_once(entry: &str) -> String {
    format!(
        "perl -e 'print pack(\"V v* v\", 7, unpack(\"C*\", $ARGV[0]), 0)' '{entry}' \
         >/sys/firmware/efi/efivars/LoaderEntryOneShot-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
    )
}

/// What stands on the EFI system partition, checked against itself and `/boot`.
#[derive(Debug, PartialEq, Eq)]
struct Esp {
    /// For each kernel version its files in `/kldload`.
    entries: BTreeMap<String, BTreeSet<String>>,
    files: BTreeSet<String>,
}

/// Prints "entry VERSION FILE" for each file of each entry, and "file FILE"; fails when a content is not what its
/// name or the version says.
const LIST: &str = "set -e
for entry in /efi/loader/entries/*; do
  version=$(sed -n 's/^version //p' $entry)
  test ${entry##*/} = debian@$version.conf
  grep -q '^options root=ZFS=rpool/ROOT/debian ' $entry
  for pair in linux:vmlinuz initrd:initrd.img; do
    path=$(sed -n \"s/^${pair%:*} //p\" $entry)
    cmp /efi$path /boot/${pair#*:}-$version
    sum=$(sha256sum </efi$path | cut -c 1-32)
    test $path = /kldload/${pair%:*}-$sum
    echo entry $version ${path##*/}
  done
done
for file in /efi/kldload/*; do echo file ${file##*/}; done";

impl Esp {
    fn of(guest: &mut Guest<'_>) -> Result<Self> {
        let text = guest.run("entries and files on the ESP agree with /boot", LIST, 60)?;
        let mut esp = Self { entries: BTreeMap::new(), files: BTreeSet::new() };
        for line in text.lines() {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["entry", version, file] => {
                    esp.entries.entry(version.to_owned()).or_default().insert(file.to_owned());
                }
                ["file", file] => {
                    esp.files.insert(file.to_owned());
                }
                _ => bail!("the list of the ESP has {line:?}"),
            }
        }
        let named: BTreeSet<String> = esp.entries.values().flatten().cloned().collect();
        if named != esp.files || esp.entries.is_empty() {
            bail!("the entries on the ESP do not name exactly its files: {esp:?}");
        }
        Ok(esp)
    }

    /// The version that is new; all else must be as `before`.
    fn only_addition(&self, before: &Self) -> Result<String> {
        let mut kept = self.entries.clone();
        let new: Vec<String> =
            kept.keys().filter(|version| !before.entries.contains_key(*version)).cloned().collect();
        kept.retain(|version, _| before.entries.contains_key(version));
        match &new[..] {
            [version] if kept == before.entries => Ok(version.clone()),
            _ => bail!("not one entry is new: before {before:?}, after {self:?}"),
        }
    }
}

/// A copy of the archive `tree` that also has what dkms compiled for the second kernel, and the packages to
/// install it from. Made once for each tree.
fn tree_with_packages(tree: &Path) -> Result<PathBuf> {
    let directory = checkout::oracle()?.join("second-kernel");
    let made = directory.join("debian.tar");
    let stat = fs::metadata(tree).with_context(|| tree.display().to_string())?;
    let key = format!("3 {} {} {}", tree.display(), stat.len(), stat.mtime());
    if checkout::is_complete(&directory, &key) {
        return Ok(made);
    }
    checkout::fresh(&directory)?;
    let root = directory.join("root");
    fs::create_dir(&root)?;
    let xattrs = ["--numeric-owner", "--xattrs", "--xattrs-include=*", "-C"];
    Run::new("tar").args(xattrs).arg(&root).arg("-xpf").arg(tree).text()?;
    repository(&directory, &root)?;
    for place in ["proc", "dev"] {
        fs::create_dir_all(root.join(place))?;
    }
    // Mounts of a namespace of its own: nothing of them is left, however it ends.
    let text = Run::new("unshare")
        .args(["--mount", "--pid", "--fork", "sh", "-eu", "-c", ENTER, "sh"])
        .arg(&root)
        .args([PREPARE, HEADERS])
        .limit(Duration::from_secs(3600))
        .text()?;
    let status = text.trim_end().lines().next_back().unwrap_or_default();
    if !status.starts_with("compiled for ") {
        bail!("dkms did not build the module of the second kernel:\n{}", crate::run::end_of(&text));
    }
    println!("    {status}");
    Run::new("tar")
        .args(xattrs)
        .arg(&root)
        .args(["--sort=name", "-cf"])
        .arg(&made)
        .arg(".")
        .text()?;
    fs::remove_dir_all(&root)?;
    checkout::complete(&directory, &key)?;
    Ok(made)
}

const ENTER: &str = "mount -t proc proc \"$1/proc\"; mount --rbind /dev \"$1/dev\"; \
                     exec chroot \"$1\" /bin/sh -eu -c \"$2\" sh \"$3\"";

/// Headers depend on the kernel itself, so both are installed, which lets dkms build, and both go again. What
/// was compiled stays, and dkms is told to copy it where it would compile: nothing else of it is changed.
const PREPARE: &str = r#"
export DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
apt-get update
apt-get install -y --no-install-recommends $1
kernel=$(cd /usr/lib/modules && echo *-cloud-amd64)
version=$(dkms status zfs -k $kernel | sed -n 's|^zfs/\([^,]*\),.*installed.*|\1|p')
compiled=/usr/lib/second-kernel/compiled
mkdir $compiled
for module in zfs spl; do
  xz -dc /var/lib/dkms/zfs/$version/$kernel/*/module/$module.ko.xz >$compiled/$module.ko
done
cat >/etc/dkms/zfs-$version-$kernel.conf <<END
PRE_BUILD=""
POST_BUILD=""
MAKE[0]="cp $compiled/zfs.ko $compiled/spl.ko module/"
END
apt-get purge -y $1 linux-headers-$kernel linux-image-$kernel
test ! -e /boot/vmlinuz-$kernel
test ! -e /usr/lib/modules/$kernel
case $(dkms status -k $kernel) in *built* | *installed*) exit 1 ;; esac
echo "compiled for $kernel""#;

/// Puts the packages that `root` lacks for the second kernel into it, as the only archive its apt knows.
fn repository(directory: &Path, root: &Path) -> Result<()> {
    let private = directory.join("apt");
    let apt = PrivateApt::with_sources(&private, &debian::sources()?)?;
    // It must know what the tree has, to fetch only what that lacks.
    fs::copy(root.join("var/lib/dpkg/status"), private.join("status"))?;
    apt.get(["install", "-q", "-y", "--no-install-recommends", "--download-only", HEADERS, KERNEL])
        .limit(Duration::from_secs(1200))
        .text()?;
    let repository = root.join(REPOSITORY);
    fs::create_dir_all(&repository)?;
    let mut index = String::new();
    for entry in fs::read_dir(private.join("cache/archives"))? {
        let deb = entry?.path();
        if deb.extension().is_none_or(|extension| extension != "deb") {
            continue;
        }
        let control = Run::new("dpkg-deb").arg("--field").arg(&deb).errors_apart().text()?;
        let bytes = fs::read(&deb)?;
        let digest = Sha256::digest(&bytes);
        let name = deb.file_name().unwrap_or_default().to_string_lossy().replace('%', "_");
        fs::write(repository.join(&name), &bytes)?;
        write!(
            index,
            "{}\nFilename: ./{name}\nSize: {}\nSHA256: ",
            control.trim_end(),
            bytes.len()
        )?;
        digest.iter().try_for_each(|byte| write!(index, "{byte:02x}"))?;
        index += "\n\n";
    }
    fs::write(repository.join("Packages"), index)?;
    let lists = root.join("etc/apt/sources.list.d");
    checkout::fresh(&lists)?;
    let source = format!("deb [trusted=yes] file:/{REPOSITORY} ./\n");
    Ok(fs::write(root.join("etc/apt/sources.list"), source)?)
}
