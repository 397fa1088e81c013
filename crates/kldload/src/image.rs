//! The devices of a pool in image files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use blk::{ReadAt, Window};
use clap::Args;
use thiserror::Error;
use zfs::crypt::Secret;
use zfs::read::{Device, Pool, ReadError, Role, probe};

use crate::commands::usage;

/// Why an image is not used.
#[derive(Debug, Error)]
pub enum ImageProblem {
    /// Neither the disk nor one of its partitions has a label.
    #[error("{}: no pool: neither the disk nor one of its partitions has a ZFS label", _0.display())]
    NoPool(PathBuf),
    /// A table of partitions is there, but none can be found by it.
    #[error("{}: no pool can be found: the GPT is damaged (primary copy: {}; backup copy: {})",
            path.display(), table.primary, table.backup)]
    NoTable {
        /// The image.
        path: PathBuf,
        /// What is wrong with the table.
        table: disk::gpt::ReadError,
    },
    /// A table of partitions is there that is not read.
    #[error("{}: no pool can be found: there is {table}, which is not read: name the partition with the pool, or \
             a file into which dd copied it, instead of the disk", path.display())]
    OtherTable {
        /// The image.
        path: PathBuf,
        /// The table.
        table: disk::gpt::OtherTable,
    },
    /// Several pools on one disk.
    #[error("{}: several pools: {}; only one can be read", path.display(), pools.join(", "))]
    SeveralPools {
        /// The image.
        path: PathBuf,
        /// Their names.
        pools: Vec<String>,
    },
}

/// What images hold.
#[derive(Default)]
struct Opened {
    devices: Vec<Device>,
    /// All files that are read.
    files: Vec<PathBuf>,
    warnings: Vec<String>,
}

/// Opens an image of any format, or a block device. Its vdevs are the disk itself or those of its partitions
/// that have a label.
fn open_image(path: &Path, all: &mut Opened) -> anyhow::Result<()> {
    let opened =
        disk::image::open_path(path, None, &[]).with_context(|| path.display().to_string())?;
    all.files.extend(opened.files.into_iter().map(|file| file.path));
    let disk: Arc<dyn ReadAt> = Arc::from(opened.disk);
    let name = path.display().to_string();
    let mut found: Vec<(Device, Role)> = Vec::new();
    let table = disk::gpt::read(&*disk);
    if let Ok(table) = &table {
        if table.missing > 0 {
            let missing = table.missing.saturating_mul(disk::gpt::SECTOR);
            let told = format!("{name} was cut off: its GPT counts on {missing} bytes more");
            all.warnings.push(told);
        }
        for (number, partition) in &table.table.partitions {
            // What is left of an image that was cut off: the pool tells that its end is missing.
            let bytes = partition.bytes();
            let there = bytes.start..bytes.end.min(disk.size()?);
            let Ok(data) = Window::new(disk.clone(), there) else { continue };
            if let Some(role) = probe(&data) {
                let name = format!("{name} partition {number}");
                found.push((Device { name, data: Arc::new(data) }, role));
            }
        }
    }
    if found.is_empty() {
        use disk::gpt::CopyError::{Io, Signature};
        let role = probe(&*disk).ok_or_else(|| match table {
            Err(table)
                if [&table.primary, &table.backup]
                    .iter()
                    .any(|copy| !matches!(copy, Io { .. } | Signature { .. })) =>
            {
                ImageProblem::NoTable { path: path.to_owned(), table }
            }
            _ => match disk::gpt::other_table(&*disk) {
                Some(table) => ImageProblem::OtherTable { path: path.to_owned(), table },
                None => ImageProblem::NoPool(path.to_owned()),
            },
        })?;
        found.push((Device { name, data: disk }, role));
    }
    let pool_of = |(_, role): &(Device, Role)| match role {
        Role::Member(name, guid) => Some((name.clone(), *guid)),
        Role::Auxiliary => None,
    };
    let mut pools: Vec<_> = found.iter().filter_map(pool_of).collect();
    pools.sort_unstable_by_key(|(_, guid)| *guid);
    pools.dedup_by_key(|(_, guid)| *guid);
    if pools.len() > 1 {
        let pools = pools.into_iter().map(|(name, _)| name).collect();
        return Err(ImageProblem::SeveralPools { path: path.to_owned(), pools }.into());
    }
    all.devices.extend(found.into_iter().map(|(device, _)| device));
    Ok(())
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

/// Refuses keys of which none opens anything: whoever gave them would believe what is encrypted to be
/// looked at.
fn refuse_useless_keys(pool: &Pool) -> Result<(), ReadError> {
    let datasets = pool.datasets()?;
    let mut failure = None;
    for dataset in datasets.datasets.iter().filter(|dataset| dataset.encrypted) {
        match pool.objset(dataset) {
            Err(error @ ReadError::Keys { .. }) => failure = Some(error),
            _ => return Ok(()),
        }
    }
    failure.map_or(Ok(()), Err)
}

/// Opens the pool whose disks the images are.
pub fn open_pool(images: &[PathBuf], keys: &KeyArgs) -> anyhow::Result<Pool> {
    Ok(open_pool_files(images, keys)?.0)
}

/// As [`open_pool`]; tells also which files are read.
pub fn open_pool_files(images: &[PathBuf], keys: &KeyArgs) -> anyhow::Result<(Pool, Vec<PathBuf>)> {
    let secrets = keys.secrets()?;
    let mut all = Opened::default();
    for (at, image) in images.iter().enumerate() {
        if images.iter().take(at).any(|other| other == image) {
            usage(format_args!("{} is given twice", image.display()));
        }
        open_image(image, &mut all)?;
    }
    let mut pool = Pool::open(&all.devices)?;
    pool.warnings.extend(all.warnings);
    if !secrets.is_empty() {
        pool.set_secrets(secrets);
        refuse_useless_keys(&pool)?;
    }
    Ok((pool, all.files))
}
