//! Why there is no plan.

use thiserror::Error;

/// Why a machine cannot be planned as asked. Nothing was written.
#[derive(Debug, Error)]
pub enum PlanError {
    /// The dataset layout.
    #[error(transparent)]
    Layout(#[from] bootenv::layout::LayoutError),
    /// The tree cannot be cleaned or completed.
    #[error(transparent)]
    Rootfs(#[from] rootfs::RootfsError),
    /// The tree does not boot.
    #[error(transparent)]
    Boot(#[from] boot::Problems),
    /// The pool writer cannot write the pool: a name or a property.
    #[error(transparent)]
    Pool(#[from] zfs::WriteError),
    /// A dataset's mount point is something else in the tree.
    #[error(
        "dataset {dataset} is to be mounted at {path}, which is {found} in the tree; \
         make it a directory there or leave the dataset out"
    )]
    Mountpoint {
        /// The dataset.
        dataset: String,
        /// Its mount point.
        path: String,
        /// What is there.
        found: &'static str,
    },
    /// The files that boot do not fit.
    #[error(
        "the ESP of {size} bytes is too small: it takes {need} bytes, and {update} more while a \
         kernel is updated; ask for a larger one with --esp-size"
    )]
    EspTooSmall {
        /// Bytes of the ESP.
        size: u64,
        /// Bytes that go onto it.
        need: u64,
        /// Bytes an update of a kernel needs besides.
        update: u64,
    },
    /// The disk's size or that of its partitions.
    #[error(transparent)]
    Disk(#[from] disk::layout::LayoutError),
    /// The tree cannot fit whatever compression does, or hardly.
    #[error(
        "a disk of {size} bytes is too small for {data} bytes of files: ask for at least {need} \
         with --disk-size"
    )]
    DiskTooSmall {
        /// Bytes of the disk.
        size: u64,
        /// Bytes of files.
        data: u64,
        /// Bytes that suffice.
        need: u64,
    },
}
