//! `cargo xtask bench export`: one disk as images, by us and by the lines of `qemu-img` that we replace.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use blk::ReadAt;
use disk::export::{ImageWriter, Piece, WriteError, Written};
use image::{Options, Source, Space, Window};

use crate::bench::{RUNS, median, timed, usual};
use crate::checkout::{fresh, kldload, target};
use crate::run::Run;

/// The formats of the seeds' exporter with its lines. The appliance converts to VMDK a second time.
const PEER: [(&str, &[&str]); 4] = [
    ("qcow2", &["convert", "-c", "-f", "raw", "-O", "qcow2"]),
    ("raw", &["convert", "-f", "raw", "-O", "raw"]),
    ("vhd", &["convert", "-f", "raw", "-O", "vpc", "-o", "subformat=fixed"]),
    ("vmdk", &["convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized"]),
];

/// Ours: what is asked for, and which of the peer's does the same.
const OURS: [(&str, &[&str]); 4] = [
    ("all", &["all"]),
    ("the seeds' five", &["qcow2", "raw", "vhd", "vmdk", "ova"]),
    ("qcow2", &["qcow2"]),
    ("vmdk", &["vmdk"]),
];

/// Times exports of an 8 GiB disk made of `tree`, page cache warm, the median of some runs each: where memory is
/// given to a virtual machine only when it is used, the first one waits for it.
pub fn export(tree: &Path) -> Result<()> {
    let kldload = kldload()?;
    let work = tempfile::Builder::new().prefix("bench-").tempdir_in(target())?;
    let out = work.path().join("out");
    let build = Run::new(&kldload).args(["build", "--name", "image", "-f", "raw"]);
    build.args(["--disk-size", "8G", "--tree"]).arg(tree).arg("-o").arg(&out).text()?;
    let raw = out.join("image.raw");
    let (mut sequence, mut peers) = (0.0, Vec::new());
    for (name, line) in PEER {
        let image = work.path().join(name);
        let convert = Run::new("qemu-img").args(line).arg(&raw).arg(&image);
        let seconds = usual(|| convert.text().map(drop))?;
        sequence += if name == "vmdk" { 2.0 * seconds } else { seconds };
        let length = fs::metadata(&image)?.len();
        println!("qemu-img {name:<16} {seconds:7.2} s {:9.1} MB", length as f64 / 1e6);
        peers.push((name, seconds, length));
        fs::remove_file(&image)?;
    }
    println!("qemu-img, the seeds' five {sequence:7.2} s");
    let limit = usual(|| deflate_alone(&raw))?;
    println!("one deflate pass over what is in use, nothing written {limit:7.2} s");
    for (name, formats) in OURS {
        let images = work.path().join("ours");
        let export = Run::new(&kldload).arg("export").arg(&raw).args(formats);
        let export = export.args(["--name", "image", "-o"]).arg(&images);
        let seconds = (0..RUNS).map(|_| {
            fresh(&images)?;
            timed(|| export.text().map(drop))
        });
        let seconds = median(seconds.collect::<Result<_>>()?);
        let peer = peers.iter().find(|(peer, ..)| *peer == name).map_or(sequence, |peer| peer.1);
        println!("kldload export {name:<16} {seconds:7.2} s, {:.1} times faster", peer / seconds);
        for &(name, _, length) in &peers {
            let Ok(ours) = fs::metadata(images.join(format!("image.{name}"))) else { continue };
            let percent = (ours.len() as f64 / length as f64 - 1.0) * 100.0;
            println!("    {name:<6} {:9.1} MB ({percent:+.1} %)", ours.len() as f64 / 1e6);
        }
    }
    fs::remove_file(&raw)?;
    holes(&kldload, work.path())
}

/// The limit of everything that compresses.
fn deflate_alone(raw: &Path) -> Result<()> {
    let disk: Arc<dyn ReadAt> = Arc::new(File::open(raw)?);
    let space = Space::find(&disk)?;
    let source = Source::new(&*disk, Some(&space.used), false)?;
    let jobs = std::thread::available_parallelism()?.get();
    let options = Options { jobs, deflate: Some(Window::Small), crc: false, leaves: false };
    image::export(&source, &source.runs()?, vec![Box::new(Nothing)], options, &mut |_| ())?;
    Ok(())
}

/// Takes pieces and writes nothing.
struct Nothing;

impl ImageWriter for Nothing {
    fn piece(&mut self, _: &Piece<'_>) -> Result<(), WriteError> {
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Written, WriteError> {
        Ok(Written::new(0))
    }
}

/// The same GiB of data in a small disk and in a large one: holes should cost nothing.
fn holes(kldload: &Path, work: &Path) -> Result<()> {
    let disk = work.join("sparse");
    for (name, size) in [("10 GiB", 10_u64 << 30), ("1 TiB", 1 << 40)] {
        sparse(&disk, size)?;
        for format in ["qcow2", "raw"] {
            let images = work.join("ours");
            fresh(&images)?;
            let export = Run::new(kldload).arg("export").arg(&disk).arg(format);
            let export = export.args(["--name", "image", "-o"]).arg(&images);
            let seconds = timed(|| export.text().map(drop))?;
            println!("kldload export {format:<5} 1 GiB of data in {name:<6} {seconds:7.2} s");
        }
    }
    Ok(())
}

/// A disk of `size` bytes with half a GiB that can be compressed at either end.
fn sparse(path: &Path, size: u64) -> Result<()> {
    const HALF: u64 = 512 << 20;
    const BLOCK: usize = 1 << 20;
    let file = File::create(path)?;
    file.set_len(size)?;
    let (mut state, mut block) = (1_u64, Vec::with_capacity(BLOCK));
    for start in [0, size - HALF] {
        for at in (start..start + HALF).step_by(BLOCK) {
            block.clear();
            while block.len() < BLOCK {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                block.extend_from_slice(&(state & 0x3f3f_3f3f_3f3f_3f3f).to_le_bytes());
            }
            file.write_all_at(&block, at)?;
        }
    }
    // What waits for the disk now would be part of what is measured next.
    file.sync_all()?;
    Ok(())
}
