//! The devices of a pool in image files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use blk::{ReadAt, Window};
use clap::Args;
use thiserror::Error;
use zfs::crypt::Secret;
use zfs::read::{Device, Pool, probe};

/// Why an image is not used.
#[derive(Debug, Error)]
pub enum ImageProblem {
    /// Neither the disk nor one of its partitions has a label.
    #[error("{}: no pool: neither the disk nor one of its partitions has a ZFS label", _0.display())]
    NoPool(PathBuf),
    /// Several pools on one disk.
    #[error("{}: several pools: {}; only one can be read", path.display(), pools.join(", "))]
    SeveralPools {
        /// The image.
        path: PathBuf,
        /// Their names.
        pools: Vec<String>,
    },
}

/// Opens an image of any format, or a block device.
fn open_disk(path: &Path) -> anyhow::Result<Arc<dyn ReadAt>> {
    let opened =
        disk::image::open_path(path, None, &[]).with_context(|| path.display().to_string())?;
    Ok(Arc::from(opened.disk))
}

/// The vdevs in an image: the disk itself or those of its partitions that have a label.
fn devices_in(path: &Path) -> anyhow::Result<Vec<Device>> {
    let disk = open_disk(path)?;
    let name = path.display().to_string();
    let mut found: Vec<(Device, (String, u64))> = Vec::new();
    if let Ok(table) = disk::gpt::read(&*disk) {
        for (number, partition) in &table.table.partitions {
            // What lies beyond the end of the disk has no label.
            let Ok(data) = Window::new(disk.clone(), partition.bytes()) else { continue };
            if let Some(pool) = probe(&data) {
                let name = format!("{name} partition {number}");
                found.push((Device { name, data: Arc::new(data) }, pool));
            }
        }
    }
    if found.is_empty() {
        let pool = probe(&*disk).ok_or_else(|| ImageProblem::NoPool(path.to_owned()))?;
        found.push((Device { name, data: disk }, pool));
    }
    let mut pools: Vec<_> = found.iter().map(|(_, pool)| pool.clone()).collect();
    pools.sort_unstable_by_key(|(_, guid)| *guid);
    pools.dedup_by_key(|(_, guid)| *guid);
    if pools.len() > 1 {
        let pools = pools.into_iter().map(|(name, _)| name).collect();
        return Err(ImageProblem::SeveralPools { path: path.to_owned(), pools }.into());
    }
    Ok(found.into_iter().map(|(device, _)| device).collect())
}

/// What opens encrypted datasets; shared by all commands that read pools.
#[derive(Debug, Args)]
pub struct KeyArgs {
    /// File with the key of encrypted datasets: 32 bytes, or 64 hexadecimal digits
    #[arg(long, value_name = "FILE")]
    key_file: Vec<PathBuf>,
    /// File with the passphrase of encrypted datasets; a line's end at its end does not count
    #[arg(long, value_name = "FILE")]
    passphrase_file: Vec<PathBuf>,
}

impl KeyArgs {
    fn secrets(&self) -> anyhow::Result<Vec<Secret>> {
        let read = |path: &PathBuf| {
            fs::read(path).with_context(|| format!("cannot read {}", path.display()))
        };
        let mut secrets = Vec::new();
        for path in &self.key_file {
            secrets.push(Secret::KeyFile(read(path)?));
        }
        for path in &self.passphrase_file {
            let mut phrase = read(path)?;
            if phrase.last() == Some(&b'\n') {
                phrase.pop();
            }
            secrets.push(Secret::Passphrase(phrase));
        }
        Ok(secrets)
    }
}

/// Opens the pool whose disks the images are.
pub fn open_pool(images: &[PathBuf], keys: &KeyArgs) -> anyhow::Result<Pool> {
    let secrets = keys.secrets()?;
    let mut devices = Vec::new();
    for image in images {
        devices.extend(devices_in(image)?);
    }
    let mut pool = Pool::open(&devices)?;
    pool.set_secrets(secrets);
    Ok(pool)
}
