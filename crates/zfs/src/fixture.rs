//! Pools made by a real kernel, for the tests of this crate's inner parts.
//!
//! They lie beside the checkout, in `../shared/fixtures/pools`; without them nothing is tested.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use blk::{ReadAt, Window};

use crate::read::{Device, Pool};

/// The devices of a pool, from its images.
pub(crate) fn devices(images: &[&str]) -> Option<Vec<Device>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/pools");
    if !path.is_dir() {
        eprintln!("skipped: {} is not here", path.display());
        return None;
    }
    let device = |image: &&str| Device {
        name: image.to_string(),
        data: Arc::new(partition(unpacked(&path.join(format!("{image}.img.zst"))))),
    };
    Some(images.iter().map(device).collect())
}

/// The pool on images.
pub(crate) fn pool(images: &[&str]) -> Option<Pool> {
    Some(Pool::open(&devices(images)?).unwrap())
}

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

/// The first partition.
fn partition(file: File) -> Window<File> {
    let mut entry = [0; 128];
    file.read_exact_at(&mut entry, 1024).unwrap();
    let word = |at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().unwrap());
    Window::new(file, word(32) * 512..(word(40) + 1) * 512).unwrap()
}
