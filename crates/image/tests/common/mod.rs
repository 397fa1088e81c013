//! Disks, what writes their images, and tools that judge them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use disk::export::{
    Compression, DynamicVhd, FixedVhd, Gcp, Identity, ImageWriter, Ova, Qcow2, Raw, Vhdx, Vmdk, ova,
};
use image::export::zeros;
use image::{Options, Source, Window};

pub const OPTIONS: Options =
    Options { jobs: 2, deflate: Some(Window::Small), crc: true, leaves: true };

pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// A sparse file with parts at offsets.
pub fn disk(path: &Path, size: u64, parts: &[(u64, Vec<u8>)]) -> File {
    let file = File::options().read(true).write(true).create_new(true).open(path).unwrap();
    file.set_len(size).unwrap();
    for (offset, bytes) in parts {
        FileExt::write_all_at(&file, bytes, *offset).unwrap();
    }
    file
}

pub fn writer(kind: &str, file: File, source: &Source<'_>) -> Box<dyn ImageWriter> {
    let (size, identity) = (source.size(), Identity([7; 32]));
    match kind {
        "qcow2" => Box::new(Qcow2::new(file, size, Compression::Deflate).unwrap()),
        "zstd" => Box::new(Qcow2::new(file, size, Compression::Zstd(3)).unwrap()),
        "raw" => Box::new(Raw::new(file, size).unwrap().with_verity()),
        "vhd" => Box::new(FixedVhd::new(file, size, identity).unwrap().with_verity()),
        "dynamic" => Box::new(DynamicVhd::new(file, size, identity).unwrap()),
        "vhdx" => Box::new(Vhdx::new(file, size, identity).unwrap()),
        "vmdk" => Box::new(Vmdk::new(file, size, "disk.vmdk", &identity).unwrap()),
        "ova" => Box::new(Ova::new(file, size, size, ova::Machine::default(), &identity).unwrap()),
        // The disk might have grown beyond 8 GiB.
        "large ova" => {
            Box::new(Ova::new(file, size, 9 << 30, ova::Machine::default(), &identity).unwrap())
        }
        _ => Box::new(Gcp::new(file, size, source.runs().unwrap(), &zeros()).unwrap()),
    }
}

/// A tool that judges; a missing one is told, loudly, and fails in CI.
pub fn tool(name: &str) -> Option<Command> {
    let found = Path::new("/usr/bin").join(name);
    if found.is_file() {
        return Some(Command::new(found));
    }
    assert!(std::env::var_os("CI").is_none(), "{name} must judge in CI");
    eprintln!("\n***** SKIPPED: {name} is not installed and judged NOTHING *****\n");
    None
}

pub fn passes(command: &mut Command) -> String {
    let output = command.env("LC_ALL", "C").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    said
}
