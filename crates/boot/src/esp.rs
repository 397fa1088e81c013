//! The tree of the EFI system partition.

use tree::{Blobs, Digest, File, InodeId, Kind, LayeredBlobs, MemoryBlobs, Timestamp, Tree};

use crate::entry::{Entry, loader_conf};
use crate::machine::{Installer, empty_tree};
use crate::{BootableKernel, Problem};

/// What the ESP holds, and what was found on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Esp {
    /// Its directories and files; owners and permissions have no meaning on FAT.
    pub tree: Tree,
    /// Bytes it takes in clusters of at most 32 KiB, directories included.
    pub bytes: u64,
    /// Bytes an update of one kernel needs besides, because the old content stays until the new
    /// is complete.
    pub update_bytes: u64,
    /// The kernels, the one that starts first.
    pub kernels: Vec<BootableKernel>,
    /// What is missing without stopping the boot, a sentence each.
    pub warnings: Vec<String>,
}

const CLUSTER: u64 = 32 << 10;

/// A file in `/kldload`.
pub(crate) struct Content {
    /// `linux-` or `initrd-` and the first half of its digest.
    pub name: String,
    pub size: u64,
}

/// Collects the files of an ESP.
pub(crate) struct Builder<'a> {
    root: &'a Tree,
    blobs: &'a dyn Blobs,
    generated: &'a mut MemoryBlobs,
    mtime: Timestamp,
    tree: Tree,
}

impl<'a> Builder<'a> {
    /// `root` is the boot environment the files come from.
    pub fn new(
        root: &'a Tree,
        blobs: &'a dyn Blobs,
        generated: &'a mut MemoryBlobs,
        mtime: Timestamp,
    ) -> Self {
        Self { root, blobs, generated, mtime, tree: empty_tree(mtime) }
    }

    fn installer(&mut self) -> Installer<'_> {
        Installer { tree: &mut self.tree, generated: self.generated, mtime: self.mtime }
    }

    /// A regular file of the root as FAT can hold it, without holes.
    fn dense(&mut self, id: InodeId) -> Result<File, Problem> {
        if let Kind::File(file) = &self.root.inode(id).kind
            && file.extents.is_none()
        {
            return Ok(file.clone());
        }
        let blobs = LayeredBlobs { upper: &*self.generated, lower: self.blobs };
        let bytes = crate::read(self.root, &blobs, id, "boot", u64::from(u32::MAX))?;
        let size = bytes.len() as u64;
        Ok(File::dense(size, self.generated.insert(bytes)))
    }

    /// The boot loader where the firmware and where systemd's tools look, and its configuration.
    pub fn loader(&mut self, id: InodeId, token: &str) -> Result<(), Problem> {
        let file = self.dense(id)?;
        let mut installer = self.installer();
        installer.file("EFI/systemd/systemd-bootx64.efi", 0o644, file.clone())?;
        installer.file("EFI/BOOT/BOOTX64.EFI", 0o644, file)?;
        installer.bytes("loader/loader.conf", 0o644, loader_conf(token).as_bytes())
    }

    /// A kernel or initramfs under the name of its digest.
    pub fn content(&mut self, kind: &str, id: InodeId) -> Result<Content, Problem> {
        let file = self.dense(id)?;
        let name = content_name(kind, &file.blob);
        let size = file.size;
        self.installer().file(&format!("kldload/{name}"), 0o644, file)?;
        Ok(Content { name, size })
    }

    pub fn entry(&mut self, entry: &Entry) -> Result<(), Problem> {
        let path = format!("loader/entries/{}", entry.file_name());
        self.installer().bytes(&path, 0o644, entry.text().as_bytes())
    }

    pub fn finish(self, kernels: Vec<BootableKernel>, warnings: Vec<String>) -> Esp {
        let size = |size: u64| size.div_ceil(CLUSTER) * CLUSTER;
        let bytes = self
            .tree
            .walk()
            .map(|entry| match &entry.inode.kind {
                Kind::File(file) => size(file.size),
                _ => CLUSTER,
            })
            .sum();
        let update_bytes =
            kernels.iter().map(|k| size(k.linux_size) + size(k.initrd_size)).max().unwrap_or(0);
        Esp { tree: self.tree, bytes, update_bytes, kernels, warnings }
    }
}

/// 128 bits of the digest are enough to tell contents apart, and keep kernel arguments short.
fn content_name(kind: &str, digest: &Digest) -> String {
    let mut name = format!("{kind}-{digest}");
    name.truncate(kind.len() + 1 + 32);
    name
}
