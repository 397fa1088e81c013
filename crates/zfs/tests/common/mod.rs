//! Pools made by a real kernel. They lie beside the checkout, in `../shared/fixtures/pools`; without
//! them nothing is tested.
#![allow(dead_code)]

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blk::{ReadAt, Window};
use zfs::read::{Device, Pool};

pub fn fixtures() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/pools");
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: {} is not here", path.display());
    None
}

/// The image, unpacked to a sparse file that has no name.
fn unpacked(path: &Path) -> File {
    let mut file = tempfile::tempfile().unwrap();
    let mut input = zstd::stream::read::Decoder::new(File::open(path).unwrap()).unwrap();
    let mut buffer = vec![0; 1 << 16];
    let mut size = 0;
    loop {
        let read = input.read(&mut buffer).unwrap();
        if read == 0 {
            break;
        }
        if buffer[..read].iter().any(|&byte| byte != 0) {
            file.seek(SeekFrom::Start(size)).unwrap();
            file.write_all(&buffer[..read]).unwrap();
        }
        size += read as u64;
    }
    file.set_len(size).unwrap();
    file
}

/// The first partition of an image.
fn partition(file: File) -> Window<File> {
    let mut entry = [0; 128];
    ReadAt::read_exact_at(&file, &mut entry, 1024).unwrap();
    let word = |at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().unwrap());
    Window::new(file, word(32) * 512..(word(40) + 1) * 512).unwrap()
}

pub fn device(fixtures: &Path, image: &str) -> Device {
    let file = unpacked(&fixtures.join(format!("{image}.img.zst")));
    Device { name: image.to_owned(), data: Arc::new(partition(file)) }
}

pub fn open(images: &[&str]) -> Option<Pool> {
    let fixtures = fixtures()?;
    let devices: Vec<_> = images.iter().map(|image| device(&fixtures, image)).collect();
    Some(Pool::open(&devices).unwrap())
}

/// The devices of a pool.
pub fn devices(images: &[&str]) -> Option<Vec<Device>> {
    let fixtures = fixtures()?;
    Some(images.iter().map(|image| device(&fixtures, image)).collect())
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
