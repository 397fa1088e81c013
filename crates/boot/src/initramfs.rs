//! What is inside an initramfs: the check that it can find the root, and what it gets appended.
//!
//! The initramfs was made by the distribution before our files were in the tree. What later ones
//! get from `files/initramfs-hook` is added to this one as one more cpio archive: the kernel
//! unpacks archives one after the other, and a later file replaces an earlier one of that name.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use archive::cpio;
use tree::{InodeId, Kind, Tree};

use crate::machine::{BOOT_DISK, INITRAMFS_SCRIPT};
use crate::{Kernel, Problem};

/// Modules without which some machine finds no root: the disk controllers of hardware (`ahci`,
/// `nvme`), KVM, VMware (`vmw_pvscsi`, `mptspi`), Hyper-V and Xen, and what lets those that speak
/// SCSI show a disk.
pub const REQUIRED_DRIVERS: [&str; 10] = [
    "ahci",
    "nvme",
    "virtio_pci",
    "virtio_blk",
    "virtio_scsi",
    "vmw_pvscsi",
    "mptspi",
    "hv_storvsc",
    "xen-blkfront",
    "sd_mod",
];

/// Network drivers of clouds; only unlocking a disk over the network would need them so early.
pub const OPTIONAL_DRIVERS: [&str; 2] = ["ena", "virtio_net"];

const SCRIPT_PATH: &str = "scripts/local-top/kldload";
const ORDER_PATH: &str = "scripts/local-top/ORDER";
const BOOT_DISK_PATH: &str = "usr/lib/kldload/boot-disk";
const EFIVARFS: &str = "kernel/fs/efivarfs/efivarfs.ko";

const HOSTID_PATH: &str = "etc/hostid";
const CACHE_PATH: &str = "etc/zfs/zpool.cache";

/// Files whose content matters here.
const READ: [&str; 5] = [SCRIPT_PATH, ORDER_PATH, BOOT_DISK_PATH, HOSTID_PATH, CACHE_PATH];

/// What an initramfs holds, later archives on top of earlier ones.
#[derive(Debug, Default)]
pub struct Contents {
    /// Regular files by their path without a leading slash, with the content of some.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Directories, links and devices.
    pub others: BTreeSet<String>,
}

impl Contents {
    /// Reads all archives of an initramfs.
    pub fn read(bytes: &[u8]) -> Result<Self, cpio::CpioError> {
        let mut contents = Self::default();
        cpio::read_initramfs(bytes, &mut |entry| {
            let path = String::from_utf8_lossy(&entry.path).into_owned();
            let path = path.strip_prefix("./").unwrap_or(&path).trim_matches('/').to_owned();
            if entry.is_file() {
                let mut data = Vec::new();
                if READ.contains(&&*path) {
                    entry.data.read_to_end(&mut data)?;
                }
                contents.others.remove(&path);
                contents.files.insert(path, data);
            } else {
                contents.files.remove(&path);
                contents.others.insert(path);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(contents)
    }
}

/// One file to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addition {
    /// Its path without a leading slash.
    pub path: String,
    /// Permission bits.
    pub mode: u16,
    /// Its bytes; none for a file that is to lose its content.
    pub data: AdditionData,
}

/// The bytes of an [`Addition`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdditionData {
    /// These.
    Bytes(Vec<u8>),
    /// Those of a file of the tree.
    File(InodeId),
}

/// The module a file name stands for: `xen-blkfront.ko.xz` → `xen_blkfront`.
fn module_name(path: &str) -> Option<String> {
    let name = path.rsplit('/').next()?;
    let name =
        [".ko", ".ko.xz", ".ko.zst", ".ko.gz"].iter().find_map(|end| name.strip_suffix(end))?;
    Some(name.replace('-', "_"))
}

/// Modules below `modules/`, of the tree or in the initramfs, for one kernel.
fn modules_in_tree(tree: &Tree, directory: InodeId) -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    let mut todo = vec![directory];
    while let Some(id) = todo.pop() {
        for (name, child) in tree.directory(id).into_iter().flat_map(|d| d.iter()) {
            // Links such as `build` lead to headers.
            if tree.directory(child).is_some() {
                todo.push(child);
            } else if let Some(module) = module_name(&String::from_utf8_lossy(name)) {
                modules.insert(module);
            }
        }
    }
    modules
}

/// Checks the initramfs of `kernel`. `builtin` is the text of its `modules.builtin`. Returns
/// warnings.
pub fn check(
    tree: &Tree,
    kernel: &Kernel,
    contents: &Contents,
    builtin: &str,
    problems: &mut Vec<Problem>,
) -> Vec<String> {
    let version = &kernel.version;
    let path = format!("/boot/initrd.img-{version}");
    let missing =
        |what: &str, hint: String| Problem::Missing { path: format!("{path}: {what}"), hint };
    let builtin: BTreeSet<_> = builtin.lines().filter_map(module_name).collect();
    // An early archive says usr/lib/modules, one of an unmerged tree lib/modules.
    let here = format!("lib/modules/{version}/");
    let inside: BTreeSet<_> = contents
        .files
        .keys()
        .filter(|path| path.strip_prefix("usr/").unwrap_or(path).starts_with(&here))
        .filter_map(|path| module_name(path))
        .collect();
    let has = |driver: &str| {
        let driver = driver.replace('-', "_");
        inside.contains(&driver) || builtin.contains(&driver)
    };

    let in_tree = modules_in_tree(tree, kernel.modules);
    if !in_tree.contains("zfs") && !builtin.contains("zfs") {
        problems.push(Problem::NoZfsModule { version: version.clone() });
    } else {
        for module in ["zfs", "spl"] {
            // OpenZFS before 2.2 has more modules than these two; they depend on each other.
            if in_tree.contains(module) && !has(module) {
                problems.push(missing(
                    &format!("{module}.ko for {version}"),
                    format!("install zfs-initramfs and run update-initramfs -u -k {version}"),
                ));
            }
        }
    }
    let has_file = |names: &[&str]| names.iter().any(|name| contents.files.contains_key(*name));
    if !has_file(&["scripts/zfs"]) || !has_file(&["usr/sbin/zpool", "sbin/zpool"]) {
        problems.push(missing(
            "scripts/zfs and zpool",
            format!("install zfs-initramfs and run update-initramfs -u -k {version}"),
        ));
    }
    let drivers: Vec<_> = REQUIRED_DRIVERS.into_iter().filter(|driver| !has(driver)).collect();
    if !drivers.is_empty() {
        problems.push(Problem::MissingDrivers {
            path: path.clone(),
            version: version.clone(),
            drivers,
        });
    }
    let mut warnings = Vec::new();
    for driver in OPTIONAL_DRIVERS.into_iter().filter(|driver| !has(driver)) {
        warnings.push(format!("{path} lacks the optional driver {driver}"));
    }
    warnings
}

/// What has to be appended to an initramfs so that it behaves like those made with our hook; empty
/// when it has all of it already. Adds to `warnings` what cannot be had.
pub fn additions(
    tree: &Tree,
    kernel: &Kernel,
    contents: &Contents,
    builtin: &str,
    warnings: &mut Vec<String>,
) -> Vec<Addition> {
    let mut additions = Vec::new();
    let mut add = |path: &str, mode, bytes: &[u8]| {
        if contents.files.get(path).map(Vec::as_slice) != Some(bytes) {
            let data = AdditionData::Bytes(bytes.to_vec());
            additions.push(Addition { path: path.into(), mode, data });
        }
    };
    add(SCRIPT_PATH, 0o755, INITRAMFS_SCRIPT.as_bytes());
    add(BOOT_DISK_PATH, 0o644, BOOT_DISK.as_bytes());
    let order = contents.files.get(ORDER_PATH).map(Vec::as_slice).unwrap_or_default();
    add(ORDER_PATH, 0o644, &order_with_script(order));
    // Truncated, which is as good as gone: neither the module, zpool nor scripts/zfs take an empty
    // one for anything. The pool has no host id, and the cache would name the build's devices.
    for path in [HOSTID_PATH, CACHE_PATH] {
        if contents.files.contains_key(path) {
            add(path, 0o644, b"");
        }
    }
    let is_efivarfs = |path: &str| module_name(path).as_deref() == Some("efivarfs");
    if !builtin.lines().any(is_efivarfs) && !contents.files.keys().any(|path| is_efivarfs(path)) {
        let directory = format!("usr/lib/modules/{}/", kernel.version);
        let found = ["", ".xz", ".zst", ".gz"].iter().find_map(|end| {
            let path = format!("{directory}{EFIVARFS}{end}");
            let id = tree.resolve(&path).ok()?;
            matches!(tree.inode(id).kind, Kind::File(_)).then_some((path, id))
        });
        match found {
            Some((path, id)) => {
                additions.push(Addition { path, mode: 0o644, data: AdditionData::File(id) });
            }
            None => warnings.push(format!(
                "kernel {} has no efivarfs module: the pool is imported by its name, from whichever \
                 disk has one",
                kernel.version
            )),
        }
    }
    additions
}

/// The list of scripts initramfs-tools runs, with ours last.
fn order_with_script(order: &[u8]) -> Vec<u8> {
    let ours = format!("/{SCRIPT_PATH} \"$@\"\n[ -e /conf/param.conf ] && . /conf/param.conf\n");
    let mut order = order.to_vec();
    let command = format!("/{SCRIPT_PATH} ");
    if order.split(|&b| b == b'\n').any(|line| line.starts_with(command.as_bytes())) {
        return order;
    }
    if order.last().is_some_and(|&b| b != b'\n') {
        order.push(b'\n');
    }
    order.extend_from_slice(ours.as_bytes());
    order
}

/// Directories the files need and the initramfs lacks, parents before what is in them.
fn missing_directories<'a>(
    paths: impl Iterator<Item = &'a str>,
    contents: &Contents,
) -> BTreeSet<&'a str> {
    let parents = |path: &'a str| path.match_indices('/').map(move |(end, _)| &path[..end]);
    paths.flat_map(parents).filter(|path| !contents.others.contains(*path)).collect()
}

/// Appends an archive with `files` (path, permissions, bytes) to an initramfs.
pub fn append(
    initramfs: &mut Vec<u8>,
    contents: &Contents,
    files: &[(String, u16, Vec<u8>)],
) -> std::io::Result<()> {
    // Zeros end what is there for every decompressor, and align for whatever reads blocks.
    let padded = (initramfs.len() + 4).next_multiple_of(512);
    initramfs.resize(padded, 0);
    let mut archive = cpio::Writer::new(&mut *initramfs);
    for directory in missing_directories(files.iter().map(|(path, ..)| &**path), contents) {
        archive.directory(directory, 0o755)?;
    }
    for (path, mode, data) in files {
        archive.file(path, *mode, data)?;
    }
    archive.finish()?;
    let padded = initramfs.len().next_multiple_of(512);
    initramfs.resize(padded, 0);
    Ok(())
}
