//! The disks of pools made by a real kernel. They lie beside the checkout, in
//! `../shared/fixtures/pools`; without them nothing is tested.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use blk::{ReadAt, Window};

pub fn fixtures() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/pools");
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: {} is not here", path.display());
    None
}

/// The first partition of an image.
pub fn partition(fixtures: &Path, image: &str) -> Window<File> {
    let file = unpacked(&fixtures.join(format!("{image}.img.zst")));
    let mut entry = [0; 128];
    ReadAt::read_exact_at(&file, &mut entry, 1024).unwrap();
    let word = |at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().unwrap());
    Window::new(file, word(32) * 512..(word(40) + 1) * 512).unwrap()
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
