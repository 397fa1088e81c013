//! A plan in words and as data.

use std::fmt;

use bootenv::layout::Layout;
use disk::layout::DiskLayout;
use serde::Serialize;

use crate::Plan;

/// How many attributes that cannot be read are named.
const SHOWN: usize = 10;

/// What a plan will do, for people (`Display`) and programs (`Serialize`). Sizes are in bytes.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Size of the disk.
    pub disk_size: u64,
    /// Where each partition starts and how long it is.
    pub partitions: Vec<PartitionReport>,
    /// Name of the pool.
    pub pool: String,
    /// Dataset that boots.
    pub boot_environment: String,
    /// All datasets with their local properties.
    pub datasets: Vec<DatasetReport>,
    /// Versions of the kernels, the default first.
    pub kernels: Vec<String>,
    /// Bytes of files.
    pub files: u64,
    /// What was taken out of the tree, and why.
    pub removed: Vec<String>,
    /// What is missing without stopping the boot, and what the machine will not be able to read.
    pub warnings: Vec<String>,
}

/// A partition.
#[derive(Debug, Clone, Serialize)]
pub struct PartitionReport {
    /// Its name.
    pub name: &'static str,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

/// A dataset.
#[derive(Debug, Clone, Serialize)]
pub struct DatasetReport {
    /// Full name.
    pub name: String,
    /// Path of the tree that it takes.
    pub mountpoint: Option<String>,
    /// Local properties.
    pub properties: Vec<(String, String)>,
}

pub(crate) fn partitions(disk: &DiskLayout) -> Vec<PartitionReport> {
    let partition = |name, range: &std::ops::Range<u64>| PartitionReport {
        name,
        offset: range.start,
        size: range.end - range.start,
    };
    vec![partition("bios", &disk.bios), partition("esp", &disk.esp), partition("pool", &disk.pool)]
}

pub(crate) fn datasets(layout: &Layout) -> Vec<DatasetReport> {
    let report = |dataset: &bootenv::layout::Dataset| DatasetReport {
        name: dataset.name.clone(),
        mountpoint: dataset.mountpoint.clone(),
        properties: dataset.properties.clone(),
    };
    layout.datasets.iter().map(report).collect()
}

impl Plan {
    /// The plan in words and as data.
    pub fn report(&self) -> Report {
        Report {
            disk_size: self.disk_size,
            partitions: partitions(&self.disk),
            pool: self.layout.pool.clone(),
            boot_environment: self.layout.boot_environment.clone(),
            datasets: datasets(&self.layout),
            kernels: self.esp.kernels.iter().map(|kernel| kernel.version.clone()).collect(),
            files: self.data_bytes,
            removed: self
                .changes
                .iter()
                .map(|change| format!("{}: {}", change.path, change.reason))
                .collect(),
            warnings: self.warnings(),
        }
    }
}

impl Plan {
    fn warnings(&self) -> Vec<String> {
        let unreadable = zfs::unreadable_xattrs(&self.tree);
        let hidden = unreadable.len().saturating_sub(SHOWN);
        let more = (hidden > 0).then(|| format!("... and {hidden} more attributes like these"));
        let shown = unreadable.iter().take(SHOWN).map(ToString::to_string);
        self.esp.warnings.iter().cloned().chain(shown).chain(more).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes >> 20;
        writeln!(f, "disk         {} MiB", mib(self.disk_size))?;
        for partition in &self.partitions {
            writeln!(
                f,
                "  {:<10} {} MiB at {} MiB",
                partition.name,
                mib(partition.size),
                mib(partition.offset)
            )?;
        }
        writeln!(f, "pool         {}, boots from {}", self.pool, self.boot_environment)?;
        for dataset in &self.datasets {
            let place = dataset.mountpoint.as_deref().unwrap_or("-");
            writeln!(f, "  {:<24} {place}", dataset.name)?;
        }
        writeln!(f, "kernels      {}", self.kernels.join(", "))?;
        writeln!(f, "files        {} MiB", mib(self.files))?;
        for removed in &self.removed {
            writeln!(f, "left out     {removed}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning      {warning}")?;
        }
        Ok(())
    }
}
