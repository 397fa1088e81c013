//! Carries a plan out on a disk image, in user space.

use std::io::{self, Write};
use std::sync::Arc;

use blk::{ReadAt, Window, WriteAt};
use disk::{fat, gpt};
use thiserror::Error;
use tree::{Blobs, LayeredBlobs};
use zfs::read::{Device, Pool};
use zfs::send::{SendError, send_pool};

use crate::Plan;
use crate::machine::SNAPSHOT;

/// Why a disk image could not be written. What is in it then is of no use.
#[derive(Debug, Error)]
pub enum ImageError {
    /// The partition table.
    #[error(transparent)]
    Gpt(#[from] gpt::WriteError),
    /// The ESP.
    #[error("writing the ESP")]
    Esp(#[from] fat::FatError),
    /// The pool.
    #[error("writing the pool")]
    Pool(#[from] zfs::WriteError),
    /// The stream of the pool.
    #[error("writing the stream")]
    Stream(#[from] SendError),
    /// The image file.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Writes the planned machine onto `disk`, whose size must be the plan's and which must read as
/// zeros. The partition table comes last: a disk without one is not a half-made machine. Blocks of files
/// that are `packed` are taken from there. `progress` is told the bytes of files read since it was last called.
pub fn write(
    plan: &Plan,
    blobs: &dyn Blobs,
    packed: Option<&zfs::Packed>,
    disk: &dyn WriteAt,
    progress: &mut dyn FnMut(u64),
) -> Result<zfs::Summary, ImageError> {
    let blobs = LayeredBlobs { upper: &plan.generated, lower: blobs };
    let pool = Window::new(disk, plan.disk.pool.clone())?;
    let content = zfs::Pool { packed, ..plan.pool() };
    let summary = zfs::write_pool(pool, &content, &blobs, progress)?;
    let esp = Window::new(disk, plan.disk.esp.clone())?;
    let volume = plan.derived("ESP volume");
    let options = fat::Options {
        volume_id: u32::from_le_bytes([volume[0], volume[1], volume[2], volume[3]]),
        label: "ESP",
        timestamp: plan.timestamp,
        hidden_sectors: (plan.disk.esp.start / gpt::SECTOR) as u32,
    };
    fat::write(&esp, &plan.esp.tree, &blobs, &options)?;
    let table = plan.disk.to_table(plan.guid("disk"), &plan.partition_guids());
    gpt::write(&disk, &table)?;
    Ok(summary)
}

/// Sends all datasets of the pool on `disk`, which [`write`] wrote, as one stream (`zfs send -R`) up to
/// their snapshots of the build, and tells its length. `out` should be buffered.
pub fn send(plan: &Plan, disk: impl ReadAt + 'static, out: impl Write) -> Result<u64, ImageError> {
    let data = Arc::new(Window::new(disk, plan.disk.pool.clone())?);
    let device = Device { name: "the new disk".to_owned(), data };
    let pool = Pool::open(&[device]).map_err(SendError::from)?;
    Ok(send_pool(&pool, SNAPSHOT, out)?)
}
