//! Pools made by a real kernel, whole or damaged.
#![allow(dead_code)]

mod images;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use blk::{ReadAt, WriteAt};
use zfs::read::{Device, Pool};

pub use images::fixtures;

pub fn device(fixtures: &Path, image: &str) -> Device {
    Device { name: image.to_owned(), data: Arc::new(images::partition(fixtures, image)) }
}

/// The devices of a pool.
pub fn devices(images: &[&str]) -> Option<Vec<Device>> {
    let fixtures = fixtures()?;
    Some(images.iter().map(|image| device(&fixtures, image)).collect())
}

pub fn open(images: &[&str]) -> Option<Pool> {
    Some(Pool::open(&devices(images)?).unwrap())
}

/// Copies what a device has to a sparse file.
pub fn copy(fixtures: &Path, image: &str, to: &Path) -> io::Result<()> {
    let (device, file) = (images::partition(fixtures, image), File::create(to)?);
    let size = device.size()?;
    file.set_len(size)?;
    let (mut at, mut buffer) = (0, vec![0; 1 << 20]);
    while let Some(run) = device.next_data(at)? {
        let length = (run.end - run.start).min(buffer.len() as u64);
        device.read_exact_at(&mut buffer[..length as usize], run.start)?;
        file.write_all_at(&buffer[..length as usize], run.start)?;
        at = run.start + length;
    }
    Ok(())
}

/// A device of which one byte is another.
pub struct Damaged {
    pub inner: Arc<dyn ReadAt>,
    pub at: u64,
}

impl ReadAt for Damaged {
    fn size(&self) -> io::Result<u64> {
        self.inner.size()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_exact_at(buf, offset)?;
        let range: Range<u64> = offset..offset + buf.len() as u64;
        if range.contains(&self.at) {
            buf[(self.at - offset) as usize] ^= 0x55;
        }
        Ok(())
    }
}
