//! A raw image that does not become a file: on a block device, or into a pipe.

use std::fs::{self, File};
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use ::image::Source;
use ::image::verify::verify;
use anyhow::Context;
use blk::{ReadAt, Window, WriteBehind};
use disk::export::{ImageWriter, PIECE, Piece, Stream, WriteError, Written, is_zero};
use disk::gpt::SECTOR;
use disk::image::OpenedFile;
use rustix::fs::{FallocateFlags, OFlags, fallocate, major, minor};
use serde_json::json;

use super::outputs::Published;
use super::source::open_alone;
use crate::failure::Refused;
use crate::formats::Settings;
use crate::ui::Ui;

/// Bytes at both ends of a device in which partition tables and labels lie.
const ENDS: u64 = 1 << 20;

/// See the module.
#[derive(Debug)]
pub enum Sink {
    /// Standard output.
    Stream,
    /// A block device that nobody else uses.
    Device {
        /// Open for us alone.
        file: File,
        /// Its name.
        path: PathBuf,
        /// Its bytes.
        size: u64,
    },
}

impl Sink {
    /// Whether `output` is no directory, but a device or standard output.
    pub fn is_meant(output: &Path) -> bool {
        let is_device = |there: fs::Metadata| there.file_type().is_block_device();
        output.as_os_str() == "-" || fs::metadata(output).is_ok_and(is_device)
    }

    /// The sink that `output` names. A device that is in use is refused, and one with something on it
    /// unless `force`.
    pub fn open(output: &Path, sources: &[OpenedFile], force: bool) -> anyhow::Result<Self> {
        if output.as_os_str() == "-" {
            if std::io::stdout().is_terminal() {
                return Err(
                    Refused("standard output is a terminal; pipe it somewhere".into()).into()
                );
            }
            return Ok(Self::Stream);
        }
        let there =
            fs::metadata(output).with_context(|| format!("cannot open {}", output.display()))?;
        let path = output.to_owned();
        let same = |OpenedFile { metadata, .. }: &OpenedFile| {
            metadata.file_type().is_block_device() && metadata.rdev() == there.rdev()
        };
        if sources.iter().any(same) {
            let what = "is the source or a part of it";
            return Err(Refused(format!("{} {what}", path.display())).into());
        }
        let sector = logical_sector(Path::new("/sys/dev/block"), there.rdev());
        if let Some(bytes) = sector.filter(|bytes| *bytes != SECTOR) {
            return Err(Refused(format!(
                "{} has logical sectors of {bytes} bytes: the partition table of a disk with {SECTOR} would not be \
                 found on it. Nothing was written",
                path.display()
            ))
            .into());
        }
        let file = open_alone(&path, OFlags::RDWR, "Nothing was written")?;
        let size = ReadAt::size(&file).with_context(|| path.display().to_string())?;
        if !force && !is_empty(&file, size).with_context(|| path.display().to_string())? {
            return Err(Refused(format!(
                "{} is not empty: there is something in its first or last MiB; --force overwrites it. Nothing \
                 was written",
                path.display()
            ))
            .into());
        }
        Ok(Self::Device { file, path, size })
    }

    /// Whether what is written cannot be read again.
    pub fn is_stream(&self) -> bool {
        matches!(self, Self::Stream)
    }

    /// A writer for a disk of `size` bytes.
    pub fn writer(&self, size: u64) -> anyhow::Result<Box<dyn ImageWriter>> {
        Ok(match self {
            Self::Stream => {
                let out = std::io::stdout().as_fd().try_clone_to_owned()?;
                Box::new(Stream::new(File::from(out), size))
            }
            Self::Device { file, path, size: room } => {
                if *room < size {
                    return Err(Refused(format!(
                        "{} has {room} bytes, the disk {size}: it does not fit. Nothing was written",
                        path.display()
                    ))
                    .into());
                }
                Box::new(Device::new(file.try_clone()?, size, *room)?)
            }
        })
    }

    /// Compares a device with the source.
    pub fn verify(
        &self,
        source: &Source<'_>,
        settings: &Settings,
        ui: &mut Ui,
    ) -> anyhow::Result<()> {
        let Self::Device { file, .. } = self else { return Ok(()) };
        let window = Window::new(file, 0..settings.size)?;
        verify(source, &settings.runs, &window, &mut ui.totals()).context("verifying the device")
    }

    /// What is told at the end.
    pub fn finish(self, written: &[Written]) -> anyhow::Result<Vec<Published>> {
        let Self::Device { file, path, .. } = self else { return Ok(Vec::new()) };
        file.sync_all().with_context(|| format!("cannot write {}", path.display()))?;
        let length = written.first().map(|written| written.length);
        let value = json!({"event": "image", "format": "raw", "path": path, "length": length});
        Ok(vec![Published { text: path.display().to_string(), value }])
    }
}

/// Bytes of the sectors in which the block device `number` is addressed, from what the kernel tells in `devices`
/// (`/sys/dev/block`). A partition has those of the disk it is in.
fn logical_sector(devices: &Path, number: u64) -> Option<u64> {
    let device =
        devices.join(format!("{}:{}", major(number), minor(number))).canonicalize().ok()?;
    [Some(&*device), device.parent()].into_iter().flatten().find_map(|device| {
        let text = fs::read_to_string(device.join("queue/logical_block_size")).ok()?;
        text.trim().parse().ok()
    })
}

/// Whether both ends are zeros.
fn is_empty(file: &File, size: u64) -> std::io::Result<bool> {
    let mut bytes = vec![0; ENDS.min(size) as usize];
    for start in [0, size - bytes.len() as u64] {
        FileExt::read_exact_at(file, &mut bytes, start)?;
        if !is_zero(&bytes) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes a disk over whatever a device holds. Its first MiB comes last: until then there is no
/// partition table, and nothing that could be taken for a machine.
#[derive(Debug)]
struct Device {
    file: File,
    size: u64,
    at: u64,
    first: Vec<u8>,
    behind: WriteBehind,
}

impl Device {
    fn new(file: File, size: u64, room: u64) -> Result<Self, WriteError> {
        let first = vec![0; ENDS as usize];
        let mut device = Self { file, size, at: 0, first, behind: WriteBehind::default() };
        device.clear(0, ENDS.min(room))?;
        // What an old partition table or pool left there would be found.
        device.clear(room.saturating_sub(ENDS).max(size), room)?;
        // Ascending from here on.
        device.behind = WriteBehind::default();
        Ok(device)
    }

    fn put(&mut self, bytes: &[u8], offset: u64) -> Result<(), WriteError> {
        FileExt::write_all_at(&self.file, bytes, offset).map_err(|source| WriteError::Output {
            format: "raw",
            offset,
            source,
        })?;
        self.behind.wrote(&self.file, offset + bytes.len() as u64);
        Ok(())
    }

    /// Makes a part zeros: by telling the device, or byte by byte.
    fn clear(&mut self, start: u64, end: u64) -> Result<(), WriteError> {
        static ZEROS: [u8; PIECE] = [0; PIECE];
        if start >= end {
            return Ok(());
        }
        let flags = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
        if fallocate(&self.file, flags, start, end - start).is_ok() {
            return Ok(());
        }
        let mut at = start;
        while at < end {
            let length = (end - at).min(PIECE as u64);
            self.put(&ZEROS[..length as usize], at)?;
            at += length;
        }
        Ok(())
    }
}

impl ImageWriter for Device {
    fn piece(&mut self, piece: &Piece<'_>) -> Result<(), WriteError> {
        let bytes = piece.inside(self.size);
        let (start, end) = (piece.offset, piece.offset + bytes.len() as u64);
        if let Some(first) = self.first.get_mut(start as usize..end as usize) {
            first.copy_from_slice(bytes);
            return Ok(());
        }
        self.clear(self.at.max(ENDS), start)?;
        self.at = end;
        self.put(bytes, start)
    }

    fn finish(mut self: Box<Self>) -> Result<Written, WriteError> {
        self.clear(self.at.max(ENDS), self.size)?;
        let sync = |file: &File| {
            file.sync_all().map_err(|source| WriteError::Output {
                format: "raw",
                offset: 0,
                source,
            })
        };
        sync(&self.file)?;
        let mut first = std::mem::take(&mut self.first);
        first.truncate(self.size.min(ENDS) as usize);
        self.put(&first, 0)?;
        sync(&self.file)?;
        Ok(Written::new(self.size))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::makedev;

    use super::*;

    #[test]
    fn sectors_of_a_disk_and_of_its_partition() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir_all(at("block/sdx/queue")).unwrap();
        fs::create_dir_all(at("block/sdx/sdx1")).unwrap();
        fs::write(at("block/sdx/queue/logical_block_size"), "4096\n").unwrap();
        fs::create_dir(at("dev")).unwrap();
        for (number, device) in [("8:0", "sdx"), ("8:1", "sdx/sdx1")] {
            symlink(at("block").join(device), at("dev").join(number)).unwrap();
        }
        let sector = |minor| logical_sector(&at("dev"), makedev(8, minor));
        assert_eq!([sector(0), sector(1), sector(2)], [Some(4096), Some(4096), None]);
    }

    #[test]
    fn what_a_device_held_goes() {
        let file = tempfile::tempfile().unwrap();
        let (room, size) = (6_u64 << 20, (4 << 20) + 512);
        FileExt::write_all_at(&file, &vec![7; room as usize], 0).unwrap();
        assert!(!is_empty(&file, room).unwrap());
        let mut device = Device::new(file.try_clone().unwrap(), size, room).unwrap();
        let mut expected = vec![0; room as usize];
        for offset in [0, 960 << 10, 2 << 20, 4 << 20] {
            let mut bytes = vec![(offset >> 16) as u8 | 1; PIECE];
            if offset == 4 << 20 {
                bytes[512..].fill(0);
            }
            expected[offset..offset + PIECE].copy_from_slice(&bytes);
            let piece = Piece {
                offset: offset as u64,
                bytes: &bytes,
                deflated: None,
                adler: 0,
                crc: 0,
                leaves: &[],
            };
            device.piece(&piece).unwrap();
            // Nothing yet that could be a partition table.
            let mut start = vec![1; ENDS as usize];
            FileExt::read_exact_at(&file, &mut start, 0).unwrap();
            assert!(is_zero(&start));
        }
        Box::new(device).finish().unwrap();
        // Between the disk and the last MiB nothing is touched.
        expected[size as usize..5 << 20].fill(7);
        let mut bytes = vec![0; room as usize];
        FileExt::read_exact_at(&file, &mut bytes, 0).unwrap();
        assert!(bytes == expected);
        assert_eq!(ReadAt::size(&file).unwrap(), room);
    }
}
