//! The files of ours that a booting machine keeps: import, mount and kernel hooks.

use tree::{File, Inode, Kind, MemoryBlobs, Metadata, Timestamp, Tree, TreeError};

use crate::Problem;

/// Functions that tell which disk the machine was booted from.
pub const BOOT_DISK: &str = include_str!("../files/boot-disk");
/// The script that imports the pool, as it runs inside the initramfs.
pub const INITRAMFS_SCRIPT: &str = include_str!("../files/initramfs-script");
/// The program that keeps the ESP right.
pub const ESP_SYNC: &str = include_str!("../files/esp-sync");

const KERNEL_HOOK: &str = include_str!("../files/kernel-hook");

/// Path, permission bits, content.
const FILES: [(&str, u16, &str); 10] = [
    ("usr/lib/kldload/boot-disk", 0o644, BOOT_DISK),
    ("usr/lib/kldload/esp-sync", 0o755, ESP_SYNC),
    ("usr/share/initramfs-tools/hooks/kldload", 0o755, include_str!("../files/initramfs-hook")),
    ("usr/share/initramfs-tools/scripts/local-top/kldload", 0o755, INITRAMFS_SCRIPT),
    (
        "usr/lib/systemd/system-generators/kldload-esp",
        0o755,
        include_str!("../files/esp-generator"),
    ),
    ("usr/lib/kernel/install.d/90-kldload.install", 0o755, include_str!("../files/kernel-install")),
    ("etc/kernel/install.conf", 0o644, include_str!("../files/install.conf")),
    // After dkms and initramfs-tools, whose results they copy.
    ("etc/kernel/postinst.d/zz-kldload", 0o755, KERNEL_HOOK),
    ("etc/kernel/postrm.d/zz-kldload", 0o755, KERNEL_HOOK),
    ("etc/initramfs/post-update.d/kldload", 0o755, KERNEL_HOOK),
];

/// What is written for the boot environment, and what no image has.
const CMDLINE: &str = "etc/kernel/cmdline";
const ENTRY_TOKEN: &str = "etc/kernel/entry-token";
const NOT_IN_IMAGES: [(&str, &str); 2] = [("etc", "hostid"), ("etc/zfs", "zpool.cache")];

/// Paths of a root, without a slash in front, that are decided here: no other file stays there.
pub fn own_files() -> impl Iterator<Item = String> {
    let files = FILES.iter().map(|(path, ..)| (*path).to_owned());
    let none = NOT_IN_IMAGES.iter().map(|(directory, name)| format!("{directory}/{name}"));
    files.chain([CMDLINE, ENTRY_TOKEN].map(str::to_owned)).chain(none)
}

/// Puts files into a tree; what they replace is gone.
#[derive(Debug)]
pub(crate) struct Installer<'a> {
    pub tree: &'a mut Tree,
    pub generated: &'a mut MemoryBlobs,
    pub mtime: Timestamp,
}

impl Installer<'_> {
    fn metadata(&self, mode: u16) -> Metadata {
        Metadata { mode, mtime: self.mtime, ..Metadata::default() }
    }

    pub fn directory(&mut self, path: &str) -> Result<(), Problem> {
        let metadata = self.metadata(0o755);
        match self.tree.make_directories(path, &metadata) {
            Ok(_) => Ok(()),
            Err(source) => Err(Problem::Tree { path: path.into(), source }),
        }
    }

    pub fn bytes(&mut self, path: &str, mode: u16, bytes: &[u8]) -> Result<(), Problem> {
        let blob = self.generated.insert(bytes);
        self.file(path, mode, File::dense(bytes.len() as u64, blob))
    }

    pub fn file(&mut self, path: &str, mode: u16, file: File) -> Result<(), Problem> {
        let inode = Inode { metadata: self.metadata(mode), kind: Kind::File(file) };
        let directory = self.metadata(0o755);
        put(self.tree, path, inode, &directory)
            .map_err(|source| Problem::Tree { path: path.into(), source })
    }
}

fn put(tree: &mut Tree, path: &str, inode: Inode, directory: &Metadata) -> Result<(), TreeError> {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let parent = tree.make_directories(parent, directory)?;
    match tree.directory(parent).and_then(|parent| parent.get(name.as_bytes())) {
        Some(old) if tree.directory(old).is_some() => {
            return Err(TreeError::DirectoryLink(path.into()));
        }
        Some(_) => tree.remove(parent, name.as_bytes())?,
        None => {}
    }
    tree.insert(parent, name.as_bytes(), inode).map(drop)
}

/// An empty tree as a FAT file system has it.
pub(crate) fn empty_tree(mtime: Timestamp) -> Tree {
    Tree::new(Metadata { mode: 0o755, mtime, ..Metadata::default() })
}

/// Puts our files into the root, with the kernel arguments and the entry token of the boot
/// environment, and takes out what must not be in an image: `/etc/hostid` and the pool cache.
pub(crate) fn install(
    installer: &mut Installer<'_>,
    token: &str,
    options: &str,
) -> Result<(), Problem> {
    for (path, mode, content) in FILES {
        installer.bytes(path, mode, content.as_bytes())?;
    }
    installer.bytes(CMDLINE, 0o644, format!("{options}\n").as_bytes())?;
    installer.bytes(ENTRY_TOKEN, 0o644, format!("{token}\n").as_bytes())?;
    installer.directory("efi")?;
    for (directory, name) in NOT_IN_IMAGES {
        let Ok(parent) = installer.tree.resolve(directory) else { continue };
        match installer.tree.remove(parent, name.as_bytes()) {
            Ok(()) | Err(TreeError::NotFound(_)) => {}
            Err(source) => {
                return Err(Problem::Tree { path: format!("{directory}/{name}"), source });
            }
        }
    }
    Ok(())
}
