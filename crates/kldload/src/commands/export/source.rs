//! The source: nobody may be writing to it.

use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use disk::image::{Format, Opened, OpenedFile, open_file, open_path};
use rustix::fs::{Mode, OFlags, major, minor};
use rustix::io::Errno;

use crate::failure::Refused;

/// What to say of a device that is in use.
const DEVICE: &str = "Its content would change while it is read, and a snapshot of a dataset does not \
    freeze the device. Unmount it, run zpool export, or stop the virtual machine, then try again";

/// Opens the source. A device that is mounted or belongs to an imported pool is refused, and so is an
/// image that a virtual machine writes to; the same is true of the files an image needs besides.
pub fn open(path: &Path, format: Option<Format>, backing: &[PathBuf]) -> anyhow::Result<Opened> {
    let kind = fs::metadata(path).with_context(|| format!("cannot open {}", path.display()))?;
    refuse_written(path, &kind)?;
    let opened = if kind.file_type().is_block_device() {
        let file = open_alone(path, OFlags::RDONLY, DEVICE)?;
        // What a guest wrote to its disk does not make it an image.
        open_file(file, path, Some(format.unwrap_or(Format::Raw)), backing)
            .with_context(|| path.display().to_string())?
    } else {
        open_path(path, format, backing).with_context(|| path.display().to_string())?
    };
    for OpenedFile { path, metadata } in opened.files.iter().skip(1) {
        refuse_written(path, metadata)?;
        if metadata.file_type().is_block_device() {
            open_alone(path, OFlags::RDONLY, DEVICE)?;
        }
    }
    Ok(opened)
}

/// Refuses what a loop device or a virtual machine may change.
fn refuse_written(path: &Path, kind: &fs::Metadata) -> Result<(), Refused> {
    if let Some(device) = loop_device(path) {
        return Err(Refused(format!(
            "{} is the loop device {device}; detach it with losetup -d first",
            path.display()
        )));
    }
    if qemu_writes(kind) {
        return Err(Refused(format!(
            "{} is the disk of a virtual machine that runs: its content would change while it is read. Stop \
             the machine, or export a snapshot of it",
            path.display()
        )));
    }
    Ok(())
}

/// Opens a block device that nothing else uses; `hint` is what to say of one that is in use.
pub(super) fn open_alone(path: &Path, access: OFlags, hint: &str) -> anyhow::Result<File> {
    match rustix::fs::open(path, access | OFlags::EXCL | OFlags::CLOEXEC, Mode::empty()) {
        Ok(fd) => Ok(File::from(fd)),
        Err(Errno::BUSY) => Err(Refused(format!(
            "{} is in use: it, or a partition of it, is mounted, part of an imported pool, or held by a \
             device above it. {hint}",
            path.display()
        ))
        .into()),
        Err(error) => Err(error).with_context(|| format!("cannot open {}", path.display())),
    }
}

/// Whether a QEMU may write to an image: it then holds a lock on the byte that stands for that
/// (`RAW_LOCK_PERM_BASE` and `BLK_PERM_WRITE` in QEMU's `block/file-posix.c`, proc_locks(5)). File systems
/// that have another device number for stat than for locks (btrfs) hide it.
fn qemu_writes(image: &fs::Metadata) -> bool {
    const WRITES: u64 = 101;
    let (device, inode) = (image.dev(), image.ino());
    let name = format!("{:02x}:{:02x}:{inode}", major(device), minor(device));
    // "5: OFDLCK ADVISORY  READ -1 fd:00:1234 100 101"
    let Ok(locks) = fs::read_to_string("/proc/locks") else { return false };
    locks.lines().any(|lock| {
        let mut words = lock.split_whitespace().skip_while(|word| *word != "OFDLCK").skip(4);
        let here = words.next() == Some(name.as_str());
        let start = words.next().and_then(|start| start.parse().ok());
        let end = words.next().and_then(|end| match end {
            "EOF" => Some(u64::MAX),
            end => end.parse().ok(),
        });
        here && start.zip(end).is_some_and(|(start, end)| (start..=end).contains(&WRITES))
    })
}

/// The loop device whose file `path` is.
fn loop_device(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    for entry in fs::read_dir("/sys/block").ok()?.flatten() {
        let file = entry.path().join("loop/backing_file");
        let backing = fs::read_to_string(file).ok();
        if backing.is_some_and(|backing| Path::new(backing.trim_end_matches('\n')) == path) {
            return Some(format!("/dev/{}", entry.file_name().to_string_lossy()));
        }
    }
    None
}
