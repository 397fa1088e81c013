//! The plan of a machine: the tree made bootable, cut into datasets, laid out on a disk.

use std::collections::HashSet;

use boot::Esp;
use bootenv::layout::Layout;
use disk::Guid;
use disk::layout::{DiskLayout, PartitionGuids};
use rootfs::{firstboot, identity};
use sha2::{Digest as _, Sha256};
use tree::{Blobs, InodeId, Kind, LayeredBlobs, MemoryBlobs, Metadata, Timestamp, Tree};

use crate::{PlanError, sizes};

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Name of the pool.
    pub pool: String,
    /// Name of the boot environment.
    pub boot_environment: String,
    /// How content is stored where its dataset has `lz4`.
    pub denser: Option<zfs::Compression>,
    /// Changes to the dataset layout.
    pub overrides: Vec<bootenv::layout::Override>,
    /// More datasets.
    pub additional: Vec<bootenv::layout::Additional>,
    /// Kernel arguments after root and consoles.
    pub kernel_arguments: Vec<String>,
    /// Takes out what belongs to one machine ([`identity`]). Not where the tree was personalised: its root was
    /// cleaned before, and what is there now was told.
    pub clean: bool,
    /// Units that are not to be started by themselves, ours among them.
    pub disabled: Vec<String>,
    /// Name of the machine; `None` leaves it to the network.
    pub host_name: Option<String>,
    /// Size of the disk in bytes; `None` lets the tree decide.
    pub disk_size: Option<u64>,
    /// Size of the ESP in bytes.
    pub esp_size: u64,
    /// Time of everything that has no time of its own, in seconds since 1970; `None` takes the
    /// newest time in the tree.
    pub timestamp: Option<i64>,
    /// Identifiers are drawn from the tree, these options, and this.
    pub seed: String,
}

/// Name of the snapshot that every dataset gets.
pub(crate) const SNAPSHOT: &str = "install";

/// A machine, planned down to its partitions.
#[derive(Debug)]
pub struct Plan {
    pub(crate) tree: Tree,
    pub(crate) generated: MemoryBlobs,
    pub(crate) esp: Esp,
    pub(crate) layout: Layout,
    pub(crate) disk_size: u64,
    pub(crate) disk: DiskLayout,
    pub(crate) timestamp: i64,
    pub(crate) seed: [u8; 32],
    pub(crate) data_bytes: u64,
    denser: Option<zfs::Compression>,
    pub(crate) changes: identity::Report,
}

impl Plan {
    /// Plans the machine whose root is `tree`; `blobs` has the tree's content.
    pub fn new(mut tree: Tree, blobs: &dyn Blobs, options: &Options) -> Result<Self, PlanError> {
        let timestamp = options.timestamp.unwrap_or_else(|| newest(&tree));
        let time = Timestamp { seconds: timestamp, nanoseconds: 0 };
        let layout = layout(options)?;

        let mut generated = MemoryBlobs::default();
        let changes = match options.clean {
            true => identity::clean(&mut tree, &mut generated, &[], time)?,
            false => identity::Report::new(),
        };
        let first_boot = firstboot::Options {
            host_name: options.host_name.clone(),
            network_dhcp: true,
            disabled: options.disabled.clone(),
        };
        firstboot::install(&mut tree, blobs, &mut generated, &first_boot, time)?;
        make_mountpoints(&mut tree, &layout, time)?;
        // Last, because it copies kernels and initramfs as they are now.
        let all = LayeredBlobs { upper: generated.clone(), lower: blobs };
        let boot_options = boot::Options {
            dataset: layout.boot_environment.clone(),
            pool: options.pool.clone(),
            be: options.boot_environment.clone(),
            kernel_arguments: options.kernel_arguments.clone(),
            timestamp,
        };
        let esp = boot::prepare(&mut tree, &all, &mut generated, &boot_options)?;
        // FAT32 has a least size of its own.
        let need = esp.bytes.max(disk::fat::MIN_SIZE);
        if need + esp.update_bytes > options.esp_size {
            return Err(PlanError::EspTooSmall {
                size: options.esp_size,
                need,
                update: esp.update_bytes,
            });
        }

        let data_bytes = tree.data_bytes();
        let default_size = sizes::default_disk(data_bytes, options.esp_size);
        let disk_size = options.disk_size.unwrap_or(default_size);
        let disk = DiskLayout::new(disk_size, options.esp_size)?;
        if sizes::hopeless(data_bytes, disk.pool.end - disk.pool.start) {
            return Err(PlanError::DiskTooSmall {
                size: disk_size,
                data: data_bytes,
                need: default_size,
            });
        }
        let seed = seed(&tree, &layout, disk_size, options);
        let plan = Self {
            tree,
            generated,
            esp,
            layout,
            disk_size,
            disk,
            timestamp,
            seed,
            data_bytes,
            denser: options.denser,
            changes,
        };
        zfs::check_pool(&plan.pool())?;
        Ok(plan)
    }

    /// Size of the disk in bytes.
    pub fn disk_size(&self) -> u64 {
        self.disk_size
    }

    /// The tree as the pool will hold it: without what belongs to one machine, with what boots it.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Bytes of files that go into the pool.
    pub fn data_bytes(&self) -> u64 {
        self.data_bytes
    }

    /// The pool to be written.
    pub(crate) fn pool(&self) -> zfs::Pool<'_> {
        let mounts: HashSet<InodeId> =
            self.layout.datasets.iter().filter_map(|dataset| self.mountpoint(dataset)).collect();
        let datasets = self.layout.datasets.iter().map(|dataset| {
            let content = self.mountpoint(dataset).map(|root| {
                let mut mounts = mounts.clone();
                mounts.remove(&root);
                zfs::Content { tree: &self.tree, root, mounts }
            });
            zfs::Dataset {
                name: dataset.name.clone(),
                properties: dataset.properties.clone(),
                content,
                snapshot: Some(SNAPSHOT.to_owned()),
                ..zfs::Dataset::default()
            }
        });
        zfs::Pool {
            name: self.layout.pool.clone(),
            seed: self.derived("pool"),
            timestamp: self.timestamp.max(0) as u64,
            features: zfs::FeatureSet::OpenZfs21Linux,
            large_dnodes: false,
            denser: self.denser,
            packed: None,
            autotrim: self.layout.pool_properties.iter().any(|p| p.0 == "autotrim" && p.1 == "on"),
            bootfs: Some(self.layout.boot_environment.clone()),
            history: format!("kldload build {}", self.layout.pool),
            datasets: datasets.collect(),
        }
    }

    fn mountpoint(&self, dataset: &bootenv::layout::Dataset) -> Option<InodeId> {
        self.tree.get(dataset.mountpoint.as_deref()?)
    }

    /// 32 bytes for `purpose`.
    pub(crate) fn derived(&self, purpose: &str) -> [u8; 32] {
        Sha256::new().chain_update(self.seed).chain_update(purpose).finalize().into()
    }

    pub(crate) fn guid(&self, purpose: &str) -> Guid {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.derived(purpose)[..16]);
        Guid::v4(bytes)
    }

    pub(crate) fn partition_guids(&self) -> PartitionGuids {
        PartitionGuids {
            bios: self.guid("BIOS boot partition"),
            esp: self.guid("ESP"),
            pool: self.guid("pool partition"),
        }
    }
}

/// The layout that is asked for.
pub(crate) fn layout(options: &Options) -> Result<Layout, bootenv::layout::LayoutError> {
    let changes = bootenv::layout::Options {
        command_line: options.kernel_arguments.join(" "),
        overrides: options.overrides.clone(),
        additional: options.additional.clone(),
        ..bootenv::layout::Options::default()
    };
    Layout::new(&options.pool, &options.boot_environment, &changes)
}

fn newest(tree: &Tree) -> i64 {
    tree.walk().map(|entry| entry.inode.metadata.mtime.seconds).max().unwrap_or(0).max(0)
}

/// Every dataset's mount point must be a directory of the tree; missing ones are made.
fn make_mountpoints(tree: &mut Tree, layout: &Layout, time: Timestamp) -> Result<(), PlanError> {
    let metadata = Metadata { mode: 0o755, mtime: time, ..Metadata::default() };
    for dataset in &layout.datasets {
        let Some(path) = &dataset.mountpoint else { continue };
        let bad = |found| PlanError::Mountpoint {
            dataset: dataset.name.clone(),
            path: path.clone(),
            found,
        };
        // Component by component: a link on the way would lead the files somewhere else.
        let mut at = String::new();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            at = format!("{at}/{name}");
            if let Some(id) = tree.get(&at) {
                match &tree.inode(id).kind {
                    Kind::Directory(_) => {}
                    Kind::Symlink(_) => return Err(bad("a symbolic link, or below one,")),
                    _ => return Err(bad("a file, or below one,")),
                }
            }
        }
        tree.make_directories(path, &metadata).map_err(|_| bad("no possible path"))?;
    }
    Ok(())
}

/// What identifiers are drawn from: everything that makes this machine another than the next.
fn seed(tree: &Tree, layout: &Layout, disk_size: u64, options: &Options) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(tree::manifest::digest(tree).0);
    hash.update(format!("{layout:?} {disk_size} {} ", options.esp_size));
    hash.update(&options.seed);
    hash.finalize().into()
}
