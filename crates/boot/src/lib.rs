//! From a root tree to one that boots: kernels, initramfs, boot entries and the ESP.
//!
//! [`prepare`] checks a tree, adds the few files of ours a booting machine keeps, and makes the tree
//! of the ESP. Kernel and initramfs stay in the boot environment's `/boot`, where a ZFSBootMenu finds
//! them; the ESP holds copies named by their digest, which boot environments share, and one entry
//! per boot environment and kernel for systemd-boot. On the running machine `files/esp-sync` keeps
//! that right, run by kernel and initramfs hooks of stock packages.
//!
//! Nothing here runs a program, and nothing is changed when the tree has a problem. Specs: the UAPI
//! group's Boot Loader Specification, the kernel's initramfs buffer format, initramfs-tools(7).
#![forbid(unsafe_code)]

mod entry;
mod esp;
mod initramfs;
mod kernel;
mod machine;
mod problem;

use std::io::Read;

use tree::{Blobs, File, InodeId, Kind, MemoryBlobs, Timestamp, Tree};

pub use esp::Esp;
pub use initramfs::{OPTIONAL_DRIVERS, REQUIRED_DRIVERS};
pub use kernel::{Flavour, Kernel, preference};
pub use machine::own_files;
pub use problem::{Problem, Problems};

use machine::Installer;

/// What decides the boot entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The boot environment's dataset: `rpool/ROOT/debian`.
    pub dataset: String,
    /// Its pool: `rpool`.
    pub pool: String,
    /// The boot environment: `debian`, the dataset's last part. Also the entry token.
    pub be: String,
    /// Kernel arguments after the root and the consoles, one each.
    pub kernel_arguments: Vec<String>,
    /// Modification time of every generated file, seconds since 1970.
    pub timestamp: i64,
}

/// A kernel with its boot entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootableKernel {
    /// As `uname -r` says it.
    pub version: String,
    /// File name of its entry in `/loader/entries`.
    pub entry: String,
    /// Length of the kernel in bytes.
    pub linux_size: u64,
    /// Length of the initramfs in bytes, with what was appended.
    pub initrd_size: u64,
    /// What was appended to the initramfs, by path; empty if it had all of it.
    pub appended: Vec<String>,
}

const SYSTEMD_BOOT: &str = "usr/lib/systemd/boot/efi/systemd-bootx64.efi";
const INITRAMFS_LIMIT: u64 = 1 << 30;

/// Makes `tree` boot from `options.dataset` and returns the tree of its ESP. New bytes go to
/// `generated`; the ESP's files are in `blobs` or `generated`.
///
/// Fails with everything that is wrong, and then leaves `tree` as it was.
pub fn prepare(
    tree: &mut Tree,
    blobs: &dyn Blobs,
    generated: &mut MemoryBlobs,
    options: &Options,
) -> Result<Esp, Problems> {
    let mut problems = Vec::new();
    check_options(options, &mut problems);
    let title = title(tree, blobs, &mut problems);
    let loader = loader(tree, &mut problems);

    let mut warnings = Vec::new();
    let mut kernels = Vec::new();
    for kernel in kernel::find(tree, &mut problems) {
        match extended_initramfs(tree, blobs, &kernel, &mut problems, &mut warnings) {
            Ok(initramfs) => kernels.push((kernel, initramfs)),
            Err(problem) => problems.push(problem),
        }
    }
    let (Some(title), Some(loader), true) = (title, loader, problems.is_empty()) else {
        return Err(Problems(problems));
    };

    let line = entry::options(&options.dataset, &options.kernel_arguments);
    let mtime = Timestamp { seconds: options.timestamp, nanoseconds: 0 };
    let mut new_tree = tree.clone();
    let mut installer = Installer { tree: &mut new_tree, generated, mtime };
    machine::install(&mut installer, &options.be, &line)?;
    for (kernel, initramfs) in &kernels {
        if let Some(bytes) = &initramfs.extended {
            let blob = installer.generated.insert(&**bytes);
            let file = Kind::File(File::dense(bytes.len() as u64, blob));
            let path = format!("boot/initrd.img-{}", kernel.version);
            let result = installer.tree.set_kind(kernel.initramfs, file);
            result.map_err(|source| Problem::Tree { path, source })?;
        }
    }

    let mut esp = esp::Builder::new(&new_tree, blobs, generated, mtime);
    esp.loader(loader, &options.be)?;
    let mut bootable = Vec::new();
    for (kernel, initramfs) in kernels {
        let linux = esp.content("linux", kernel.image)?;
        let initrd = esp.content("initrd", kernel.initramfs)?;
        let entry = entry::Entry {
            token: options.be.clone(),
            version: kernel.version.clone(),
            title: title.clone(),
            linux: linux.name,
            initrd: initrd.name,
            options: line.clone(),
        };
        esp.entry(&entry)?;
        bootable.push(BootableKernel {
            version: kernel.version,
            entry: entry.file_name(),
            linux_size: linux.size,
            initrd_size: initrd.size,
            appended: initramfs.appended,
        });
    }
    let esp = esp.finish(bootable, warnings);
    *tree = new_tree;
    Ok(esp)
}

fn check_options(options: &Options, problems: &mut Vec<Problem>) {
    let Options { dataset, pool, be, kernel_arguments, .. } = options;
    let mut refuse = |option, value: &String, reason| {
        problems.push(Problem::Option { option, value: value.clone(), reason });
    };
    let plain = |text: &str| {
        text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) && !text.is_empty()
    };
    if !plain(be) || be.starts_with('.') {
        refuse(
            "boot environment",
            be,
            "its name may have A-Z a-z 0-9 . _ - and starts with no dot",
        );
    }
    let below_pool = dataset.strip_prefix(pool.as_str()).and_then(|rest| rest.strip_prefix('/'));
    if !dataset.split('/').all(plain) || below_pool.is_none() {
        refuse("dataset", dataset, "not a dataset of the pool with A-Z a-z 0-9 . _ - in its names");
    } else if dataset.rsplit('/').next() != Some(be) {
        refuse("dataset", dataset, "its last part is not the name of the boot environment");
    }
    for argument in kernel_arguments {
        if argument.starts_with("root=") {
            refuse("kernel argument", argument, "the root is the boot environment's dataset");
        }
        // esp-sync splits and joins the line at blanks, and the loader reads ASCII.
        let words_only = argument.split(' ').all(|word| !word.is_empty());
        if !words_only || !argument.bytes().all(|b| (b' '..=b'~').contains(&b)) {
            refuse("kernel argument", argument, "only printable ASCII without blanks at the ends");
        }
    }
}

fn title(tree: &Tree, blobs: &dyn Blobs, problems: &mut Vec<Problem>) -> Option<String> {
    let path = "etc/os-release";
    let id = kernel::file(tree, path, problems, || "install base-files".into())?;
    match read(tree, blobs, id, path, 1 << 20) {
        Ok(text) => {
            let name = entry::pretty_name(&String::from_utf8_lossy(&text));
            Some(name.unwrap_or_else(|| "Linux".into()))
        }
        Err(problem) => {
            problems.push(problem);
            None
        }
    }
}

/// systemd-boot, the signed one if there is one.
fn loader(tree: &Tree, problems: &mut Vec<Problem>) -> Option<InodeId> {
    let signed = tree.resolve(format!("{SYSTEMD_BOOT}.signed")).ok();
    signed.filter(|&id| matches!(tree.inode(id).kind, Kind::File(_))).or_else(|| {
        kernel::file(tree, SYSTEMD_BOOT, problems, || "install systemd-boot-efi".into())
    })
}

struct Initramfs {
    /// Its new bytes, if it needed anything.
    extended: Option<Vec<u8>>,
    appended: Vec<String>,
}

/// Reads and checks the initramfs of `kernel`; what it lacks of ours is appended.
fn extended_initramfs(
    tree: &Tree,
    blobs: &dyn Blobs,
    kernel: &Kernel,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> Result<Initramfs, Problem> {
    let path = format!("boot/initrd.img-{}", kernel.version);
    let mut bytes = read(tree, blobs, kernel.initramfs, &path, INITRAMFS_LIMIT)?;
    let contents = initramfs::Contents::read(&bytes)
        .map_err(|source| Problem::Initramfs { path: format!("/{path}"), source })?;

    let builtin = format!("lib/modules/{}/modules.builtin", kernel.version);
    let builtin = match tree.resolve(&builtin) {
        Ok(id) => {
            let text = read(tree, blobs, id, &builtin, 1 << 24)?;
            String::from_utf8_lossy(&text).into_owned()
        }
        Err(_) => String::new(),
    };
    warnings.extend(initramfs::check(tree, kernel, &contents, &builtin, problems));

    let additions = initramfs::additions(tree, kernel, &contents, &builtin, warnings);
    let appended: Vec<_> = additions.iter().map(|addition| addition.path.clone()).collect();
    if appended.is_empty() {
        return Ok(Initramfs { extended: None, appended });
    }
    let mut files = Vec::new();
    for addition in additions {
        let data = match addition.data {
            initramfs::AdditionData::Bytes(bytes) => bytes,
            initramfs::AdditionData::File(id) => {
                read(tree, blobs, id, &addition.path, INITRAMFS_LIMIT)?
            }
        };
        files.push((addition.path, addition.mode, data));
    }
    initramfs::append(&mut bytes, &contents, &files)
        .map_err(|source| Problem::Io { path: format!("/{path}"), source })?;
    Ok(Initramfs { extended: Some(bytes), appended })
}

/// The bytes of a regular file, holes filled.
fn read(
    tree: &Tree,
    blobs: &dyn Blobs,
    id: InodeId,
    path: &str,
    limit: u64,
) -> Result<Vec<u8>, Problem> {
    let path = || format!("/{path}");
    let Kind::File(file) = &tree.inode(id).kind else {
        let reason = "not a regular file".into();
        return Err(Problem::Unreadable { path: path(), reason });
    };
    if file.size > limit {
        let reason = format!("{} bytes are more than the {limit} expected", file.size);
        return Err(Problem::Unreadable { path: path(), reason });
    }
    let mut data = Vec::new();
    let result =
        blobs.open(&file.blob).and_then(|blob| blob.take(limit + 1).read_to_end(&mut data));
    result.map_err(|source| Problem::Io { path: path(), source })?;
    if data.len() as u64 != file.data_size() {
        let source = std::io::Error::new(
            std::io::ErrorKind::UnexpectedEof,
            format!("{} bytes instead of {}", data.len(), file.data_size()),
        );
        return Err(Problem::Io { path: path(), source });
    }
    let Some(extents) = &file.extents else { return Ok(data) };
    let mut whole = vec![0; file.size as usize];
    let mut rest = &*data;
    for extent in extents {
        let (run, after) = rest.split_at(extent.length as usize);
        let start = extent.offset as usize;
        whole[start..start + run.len()].copy_from_slice(run);
        rest = after;
    }
    Ok(whole)
}
