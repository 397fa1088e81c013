//! qcow2 images with clusters that several places share: our reader and `qemu-img` judge.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::fs::{self, File};
use std::path::Path;

use common::{OPTIONS, disk, noise, passes, tool, writer};
use disk::export::{Compression, ImageWriter, PIECE, Piece, Qcow2};
use image::verify::verify;
use image::{Source, export};

fn read_write(path: &Path) -> File {
    File::options().read(true).write(true).create(true).truncate(true).open(path).unwrap()
}

/// Content that does not compress, content that does, and, on one disk, each of them at places that share a table
/// and that do not.
#[test]
fn qcow2_stores_equal_pieces_once() {
    const FAR: u64 = 1 << 30;
    let directory = tempfile::tempdir().unwrap();
    let (path, raw) = (directory.path().join("disk.qcow2"), directory.path().join("disk.raw"));
    let hard = noise(8 << 20, 1);
    let soft: Vec<u8> = noise(2 << 20, 2).into_iter().flat_map(|byte| [byte, byte & 1]).collect();
    let parts: Vec<(u64, Vec<u8>)> = [1 << 20, 40 << 20, FAR, FAR + (40 << 20)]
        .into_iter()
        .flat_map(|at| [(at, hard.clone()), (at + (16 << 20), soft.clone())])
        .collect();
    let file = disk(&raw, 2 << 30, &parts);
    let source = Source::new(&file, None, false).unwrap();
    for kind in ["qcow2", "zstd"] {
        let image = writer(kind, read_write(&path), &source);
        let runs = source.runs().unwrap();
        export(&source, &runs, vec![image], OPTIONS, &mut |_| ()).unwrap();
        let length = fs::metadata(&path).unwrap().len();
        let once = (hard.len() + soft.len()) as u64;
        assert!(length < once + (4 << 20), "{length} bytes for {once}");
        let opened = disk::image::open_path(&path, None, &[]).unwrap();
        verify(&source, &runs, &*opened.disk, &mut |_| ()).unwrap();

        let qemu_img = |arguments: &[&str]| passes(tool("qemu-img").unwrap().args(arguments));
        if tool("qemu-img").is_none() {
            return;
        }
        let (path, raw) = (path.to_str().unwrap(), raw.to_str().unwrap());
        let check = || {
            let said = qemu_img(&["check", "-f", "qcow2", path]);
            assert!(said.contains("No errors were found"), "{kind}: {said}");
        };
        check();
        qemu_img(&["compare", "-f", "raw", "-F", "qcow2", raw, path]);
        // A guest that writes into one of them writes into nothing else.
        let writes = ["1M", "17M", "1064M"].map(|at| format!("write -P 9 {at} 4k"));
        for file in [("qcow2", path), ("raw", raw)] {
            let mut qemu_io = tool("qemu-io").unwrap();
            let writes = writes.iter().flat_map(|write| ["-c", write]);
            passes(qemu_io.args(["-f", file.0]).args(writes).arg(file.1));
        }
        check();
        qemu_img(&["compare", "-f", "raw", "-F", "qcow2", raw, path]);
    }
}

#[test]
fn qcow2_counts_no_more_users_than_it_can() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.qcow2");
    let (pieces, bytes) = (70_000, noise(PIECE, 1));
    let size = pieces * PIECE as u64;
    for deflated in [None, Some(&noise(1000, 2)[..])] {
        let file = read_write(&path);
        let mut image = Box::new(Qcow2::new(file, size, Compression::Deflate).unwrap());
        for number in 0..pieces {
            let offset = number * PIECE as u64;
            let piece = Piece { offset, bytes: &bytes, deflated, adler: 1, crc: 0, leaves: &[] };
            image.piece(&piece).unwrap();
        }
        image.finish().unwrap();
        assert!(fs::metadata(&path).unwrap().len() < 2 << 20);
        if let Some(mut check) = tool("qemu-img") {
            let said = passes(check.args(["check", "-f", "qcow2"]).arg(&path));
            assert!(said.contains("No errors were found"), "{said}");
        }
    }
}
