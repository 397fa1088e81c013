//! `kldload export` of disks that other programs made: their images of every kind, a disk with ext4, one that
//! is damaged, one that changes.
#![allow(clippy::unwrap_used)]

mod exporting;

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use exporting::{begun, errors, export};
use tempfile::TempDir;

/// A program of another project; a missing one is told, loudly, and fails in CI.
fn tool(path: &str) -> Option<Command> {
    if Path::new(path).is_file() {
        return Some(Command::new(path));
    }
    assert!(std::env::var_os("CI").is_none(), "{path} must be there in CI");
    eprintln!("\n***** SKIPPED: {path} is not installed and judged NOTHING *****\n");
    None
}

fn passes(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", errors(&output));
}

fn qemu_img(args: &[&str], paths: &[&Path]) {
    passes(Command::new("/usr/bin/qemu-img").args(args).args(paths));
}

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// A sparse disk of `size` bytes with noise, text, and data at its end and at `places`.
fn disk(directory: &Path, size: u64, places: &[u64]) -> PathBuf {
    let path = directory.join("disk.raw");
    let file = File::create_new(&path).unwrap();
    file.set_len(size).unwrap();
    file.write_all_at(&noise(70_000, 1), 0).unwrap();
    file.write_all_at(&b"kldload ".repeat(50_000), 3 << 20).unwrap();
    file.write_all_at(&noise(30_000, 2), size - 30_000).unwrap();
    for &place in places {
        file.write_all_at(&noise(200_000, place), place).unwrap();
    }
    path
}

/// What `qemu-img` can write: format, options, whether it compresses.
const VARIANTS: [(&str, &str, bool); 31] = [
    ("qcow2", "compat=0.10,cluster_size=512", false),
    ("qcow2", "compat=0.10,cluster_size=512", true),
    ("qcow2", "compat=0.10,cluster_size=2M", true),
    ("qcow2", "compat=1.1,cluster_size=512", true),
    ("qcow2", "compat=1.1,cluster_size=4k", false),
    ("qcow2", "compat=1.1,cluster_size=64k", true),
    ("qcow2", "compat=1.1,cluster_size=2M", false),
    ("qcow2", "compat=1.1,cluster_size=2M", true),
    ("qcow2", "refcount_bits=1", false),
    ("qcow2", "refcount_bits=2", false),
    ("qcow2", "refcount_bits=4", true),
    ("qcow2", "refcount_bits=8", true),
    ("qcow2", "refcount_bits=32", true),
    ("qcow2", "refcount_bits=64", true),
    ("qcow2", "compression_type=zstd", true),
    ("qcow2", "extended_l2=on,cluster_size=16k", true),
    ("qcow2", "extended_l2=on,cluster_size=64k", false),
    ("qcow2", "extended_l2=on,cluster_size=2M", true),
    ("qcow2", "preallocation=metadata,lazy_refcounts=on", false),
    ("vpc", "subformat=fixed,force_size=on", false),
    ("vpc", "subformat=dynamic,force_size=on", false),
    ("vpc", "subformat=dynamic,force_size=off", false),
    ("vhdx", "subformat=dynamic", false),
    ("vhdx", "subformat=fixed,block_size=1M", false),
    ("vhdx", "subformat=dynamic,block_size=256M", false),
    ("vmdk", "subformat=monolithicSparse", false),
    ("vmdk", "subformat=monolithicFlat", false),
    ("vmdk", "subformat=twoGbMaxExtentSparse", false),
    ("vmdk", "subformat=twoGbMaxExtentFlat", false),
    ("vmdk", "subformat=streamOptimized", false),
    ("vmdk", "subformat=monolithicSparse,zeroed_grain=on", false),
];

#[test]
fn every_kind_of_image_is_a_source() {
    if tool("/usr/bin/qemu-img").is_none() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let raw = disk(directory.path(), (37 << 20) + 512, &[(5 << 20) + 300, 30 << 20]);
    for (format, options, compressed) in VARIANTS {
        let folder = directory.path().join("variant");
        fs::create_dir(&folder).unwrap();
        let image = folder.join("image");
        let mut args = vec!["convert", "-f", "raw", "-O", format, "-o", options];
        args.extend(compressed.then_some("-c"));
        qemu_img(&args, &[&raw, &image]);
        let output =
            export(&folder, &["image", "raw", "qcow2", "vmdk", "--name", "ours", "--verify"]);
        assert!(output.status.success(), "{format} {options}: {}", errors(&output));
        for format in ["raw", "qcow2", "vmdk"] {
            let ours = folder.join(format!("ours.{format}"));
            qemu_img(&["compare", "-f", "raw", "-F", format], &[&raw, &ours]);
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}

/// Disks above 2 GiB are several files, whose borders must not show.
#[test]
fn a_disk_in_several_extents() {
    if tool("/usr/bin/qemu-img").is_none() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let raw = disk(directory.path(), (5 << 30) + 512, &[(2 << 30) - 100_000, (4 << 30) - 70_000]);
    for kind in ["Sparse", "Flat"] {
        let folder = directory.path().join(kind);
        fs::create_dir(&folder).unwrap();
        let image = folder.join("image.vmdk");
        let options = format!("subformat=twoGbMaxExtent{kind}");
        qemu_img(&["convert", "-f", "raw", "-O", "vmdk", "-o", &options], &[&raw, &image]);
        assert!(fs::read_dir(&folder).unwrap().count() == 4, "a descriptor and three extents");
        let output = export(&folder, &["image.vmdk", "qcow2", "--name", "ours", "--verify"]);
        assert!(output.status.success(), "{kind}: {}", errors(&output));
        qemu_img(&["compare", "-f", "raw", "-F", "qcow2"], &[&raw, &folder.join("ours.qcow2")]);
    }
}

/// What is not understood is copied bit for bit, what a file system calls free as well.
#[test]
fn a_disk_with_ext4() {
    let (Some(mut sgdisk), Some(mut mkfs), Some(mut fsck), Some(_)) = (
        tool("/usr/sbin/sgdisk"),
        tool("/usr/sbin/mke2fs"),
        tool("/usr/sbin/e2fsck"),
        tool("/usr/bin/qemu-img"),
    ) else {
        return;
    };
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let (raw, files) = (path.join("disk.raw"), path.join("files"));
    fs::create_dir_all(files.join("sub")).unwrap();
    fs::write(files.join("noise"), noise(5 << 20, 1)).unwrap();
    fs::write(files.join("sub/text"), b"kldload ".repeat(100_000)).unwrap();
    let file = File::create(&raw).unwrap();
    file.set_len(64 << 20).unwrap();
    passes(sgdisk.args(["-n", "1:2048:+48M", "-t", "1:8300"]).arg(&raw));
    // Left by somebody else, in what is free now.
    file.write_all_at(&noise(1 << 20, 3), 40 << 20).unwrap();
    let options = ["-q", "-t", "ext4", "-E", "offset=1048576,nodiscard", "-d"];
    passes(mkfs.args(options).arg(&files).arg(&raw).arg("48M"));
    let output = export(path, &["disk.raw", "all", "vhd-dynamic", "--name", "both"]);
    assert_eq!(output.status.code(), Some(2), "{}", errors(&output));
    for formats in [&["all", "--name", "ours"][..], &["vhd-dynamic", "--name", "dynamic"]] {
        let output = export(path, &[&["disk.raw", "--verify"], formats].concat());
        assert!(output.status.success(), "{}", errors(&output));
    }
    for (image, format) in [
        ("ours.qcow2", "qcow2"),
        ("ours.raw", "raw"),
        ("ours.vhd", "vpc"),
        ("dynamic.vhd", "vpc"),
        ("ours.vhdx", "vhdx"),
        ("ours.vmdk", "vmdk"),
    ] {
        qemu_img(&["compare", "-f", "raw", "-F", format], &[&raw, &path.join(image)]);
    }
    passes(fsck.arg("-fn").arg(format!("{}?offset=1048576", path.join("ours.raw").display())));
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(path.join("ours.json")).unwrap()).unwrap();
    assert!(manifest["free_space"][0].as_str().unwrap().contains("kept whole"), "{manifest}");
}

/// A grain that is damaged is one clear error, or zeros and a list.
#[test]
fn what_cannot_be_read_is_zeros_if_that_is_wanted() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let raw = disk(path, 8 << 20, &[]);
    assert!(export(path, &["disk.raw", "vmdk", "--name", "bad"]).status.success());
    let bad = OpenOptions::new().write(true).open(path.join("bad.vmdk")).unwrap();
    // Behind the marker and the zlib header of the first grain: no such kind of block.
    bad.write_all_at(&[0xff], 128 * 512 + 14).unwrap();
    let output = export(path, &["bad.vmdk", "raw", "--name", "stops"]);
    assert_eq!(output.status.code(), Some(3), "{}", errors(&output));
    assert!(errors(&output).contains("--skip-bad"), "{}", errors(&output));
    let output = export(path, &["bad.vmdk", "raw", "--name", "out", "--skip-bad", "--verify"]);
    assert_eq!(output.status.code(), Some(5), "{}", errors(&output));
    let told = "zeros instead of bytes 0 to 65536";
    assert!(errors(&output).contains(told), "{}", errors(&output));
    let (mut expected, out) = (fs::read(raw).unwrap(), fs::read(path.join("out.raw")).unwrap());
    expected[..65536].fill(0);
    assert!(out == expected);
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(path.join("out.json")).unwrap()).unwrap();
    let bad = &manifest["bad"];
    assert_eq!(bad.as_array().unwrap().len(), 1, "{manifest}");
    assert!(bad[0]["start"] == 0 && bad[0]["end"] == 65536, "{manifest}");
}

/// An image from elsewhere could name any file of this machine.
#[test]
fn what_an_image_names_is_not_followed() {
    let directory = TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("flat.vmdk"), "# Disk DescriptorFile\nRW 1 FLAT \"/etc/passwd\" 0\n").unwrap();
    let mut cases = vec![("flat.vmdk", "/etc/passwd")];
    if tool("/usr/bin/qemu-img").is_some() {
        qemu_img(
            &["create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd"],
            &[&at("over.qcow2"), Path::new("1M")],
        );
        let data = format!("data_file={}", at("data").display());
        qemu_img(
            &["create", "-q", "-f", "qcow2", "-o", &data],
            &[&at("outside.qcow2"), Path::new("1M")],
        );
        let over = "is an overlay over \"/etc/passwd\"; kldload export --backing";
        cases.extend([("over.qcow2", over), ("outside.qcow2", "has its data in another file")]);
    }
    for (image, told) in cases {
        for (command, code) in [("boot", Some(4)), ("inspect", None)] {
            let mut kldload = Command::new(env!("CARGO_BIN_EXE_kldload"));
            let output = kldload.arg(command).arg(at(image)).output().unwrap();
            let said = errors(&output);
            assert!(code.is_none_or(|code| output.status.code() == Some(code)), "{image}: {said}");
            assert!(said.contains(told) && said.contains(image), "{command} {image}: {said}");
        }
    }
}

/// Whoever asks for images that are verified gets none of a disk that does not hold still.
#[test]
fn a_source_that_changes_is_noticed() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let raw = disk(path, 160 << 20, &[]);
    let source = OpenOptions::new().write(true).open(&raw).unwrap();
    source.write_all_at(&noise(128 << 20, 7), 16 << 20).unwrap();
    let args = ["disk.raw", "qcow2", "raw", "vmdk", "vhdx", "-o", "out", "--verify"];
    let (child, events) = begun(path, &args, "verifying");
    let at = 140 << 20;
    source.write_all_at(&[0; 512], at).unwrap();
    events.for_each(drop);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", errors(&output));
    let told = format!("differs from the source at offset {at}");
    assert!(errors(&output).contains(&told), "{}", errors(&output));
    assert!(!path.join("out").exists());
}
