//! Images made by `qemu-img` in every variant, read by us.
#![allow(missing_docs, clippy::unwrap_used)]

mod judges;

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use blk::{Memory, ReadAt};
use disk::image::{self, Alone, Format, OpenError};
use disk::vhdx::format as vhdx;
use disk::{Guid, image::Opened};
use judges::{passes, tool};
use zerocopy::{FromBytes, IntoBytes};

const MIB: u64 = 1 << 20;

/// Bytes that do not compress.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

/// A disk with everything: noise, text, zeros, holes, data at both ends and an odd tail.
fn disk_file(directory: &Path) -> (PathBuf, Vec<u8>) {
    let mut bytes = vec![0; (37 * MIB + 512) as usize];
    let mut put = |at: usize, data: &[u8]| bytes[at..at + data.len()].copy_from_slice(data);
    put(0, &noise(70_000, 1));
    put(3 << 20, &b"All work and no play makes Jack a dull boy. ".repeat(20_000));
    put((5 << 20) + 300, &noise(1_000_000, 2));
    put((16 << 20) - 5000, &b"across ".repeat(3000));
    put((30 << 20) + 512, &noise(512, 3));
    put((37 << 20) - 100, &noise(612, 4));
    let path = directory.join("disk.raw");
    let file = File::create_new(&path).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    for (index, part) in bytes.chunks(4096).enumerate() {
        if part.iter().any(|&byte| byte != 0) {
            file.write_all_at(part, index as u64 * 4096).unwrap();
        }
    }
    (path, bytes)
}

/// All data of a disk, from its own map: what is not in a run must be zeros.
#[track_caller]
fn content(disk: &dyn ReadAt) -> Vec<u8> {
    let size = disk.size().unwrap();
    let mut bytes = vec![0; size as usize];
    let mut at = 0;
    while let Some(run) = disk.next_data(at).unwrap() {
        assert!(run.start >= at && run.end > run.start && run.end <= size, "{run:?} after {at}");
        disk.read_exact_at(&mut bytes[run.start as usize..run.end as usize], run.start).unwrap();
        at = run.end;
    }
    bytes
}

/// Compares a disk with what it should hold; a longer one must end in zeros. Reads at odd places too.
#[track_caller]
fn compare(disk: &dyn ReadAt, expected: &[u8], what: &str) {
    let bytes = content(disk);
    assert!(bytes.len() >= expected.len(), "{what}: {} bytes", bytes.len());
    let (same, tail) = bytes.split_at(expected.len());
    let differs = same.iter().zip(expected).position(|(a, b)| a != b);
    assert_eq!(differs, None, "{what}");
    assert!(tail.iter().all(|&byte| byte == 0), "{what}: tail");
    for seed in 0..40 {
        let at = (seed * 7_654_321_u64) % (expected.len() as u64 - 100_000);
        let mut part = vec![1; 1 + (seed as usize * 2477) % 99_999];
        disk.read_exact_at(&mut part, at).unwrap();
        let (at, length) = (at as usize, part.len());
        assert!(part == expected[at..at + length], "{what}: {length} bytes at {at}");
    }
    let mut byte = [0];
    assert!(disk.read_exact_at(&mut byte, bytes.len() as u64).is_err(), "{what}: behind the end");
}

fn qemu_img(args: &[&str]) -> Command {
    let mut command = tool("qemu-img").unwrap();
    command.args(args);
    command
}

fn open(path: &Path) -> Result<Opened, OpenError> {
    image::open_path(path, None, &[])
}

/// Every variant: format, options, what the image is.
fn variants() -> Vec<(&'static str, String, bool, Format)> {
    let mut all = Vec::new();
    let mut add = |format, options: &str, compressed, read_as| {
        all.push((format, options.to_owned(), compressed, read_as));
    };
    for compat in ["0.10", "1.1"] {
        for cluster in ["512", "4096", "65536", "2097152"] {
            for compressed in [false, true] {
                let options = format!("compat={compat},cluster_size={cluster}");
                add("qcow2", &options, compressed, Format::Qcow2);
            }
        }
    }
    for bits in [1, 2, 4, 8, 32, 64] {
        // Compressed clusters are counted above one, which one bit cannot.
        add("qcow2", &format!("refcount_bits={bits}"), bits > 2, Format::Qcow2);
    }
    add("qcow2", "compression_type=zstd", true, Format::Qcow2);
    add("qcow2", "compression_type=zstd,cluster_size=2M", true, Format::Qcow2);
    add("qcow2", "lazy_refcounts=on", false, Format::Qcow2);
    for cluster in ["16k", "64k", "2M"] {
        for compressed in [false, true] {
            let options = format!("extended_l2=on,cluster_size={cluster}");
            add("qcow2", &options, compressed, Format::Qcow2);
        }
    }
    add("qcow2", "preallocation=metadata", false, Format::Qcow2);
    for subformat in ["fixed", "dynamic"] {
        for force in ["on", "off"] {
            let options = format!("subformat={subformat},force_size={force}");
            add("vpc", &options, false, Format::Vhd);
        }
    }
    for options in ["subformat=dynamic", "subformat=fixed", "block_size=1M", "block_size=256M"] {
        add("vhdx", options, false, Format::Vhdx);
    }
    for subformat in [
        "monolithicSparse",
        "monolithicFlat",
        "twoGbMaxExtentSparse",
        "twoGbMaxExtentFlat",
        "streamOptimized",
    ] {
        add("vmdk", &format!("subformat={subformat}"), false, Format::Vmdk);
    }
    add("vmdk", "subformat=monolithicSparse,zeroed_grain=on", false, Format::Vmdk);
    add("raw", "", false, Format::Raw);
    all
}

#[test]
fn every_variant_of_qemu_img() {
    if tool("qemu-img").is_none() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (raw, expected) = disk_file(directory.path());
    for (number, (format, options, compressed, read_as)) in variants().into_iter().enumerate() {
        let what = format!("{format} {options} compressed: {compressed}");
        let folder = directory.path().join(number.to_string());
        fs::create_dir(&folder).unwrap();
        let path = folder.join("image");
        let mut convert = qemu_img(&["convert", "-f", "raw", "-O", format]);
        if compressed {
            convert.arg("-c");
        }
        if !options.is_empty() {
            convert.args(["-o", &options]);
        }
        passes(convert.arg(&raw).arg(&path));
        let opened = open(&path).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(opened.format, read_as, "{what}");
        let info = passes(qemu_img(&["info", "--output=json", "-f", format]).arg(&path));
        let size = opened.disk.size().unwrap();
        assert!(info.contains(&format!("\"virtual-size\": {size},")), "{what}: {size} {info}");
        compare(&*opened.disk, &expected, &what);
        fs::remove_dir_all(&folder).unwrap();
    }
}

#[test]
fn a_chain_of_overlays() {
    if tool("qemu-img").is_none() || tool("qemu-io").is_none() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (raw, mut expected) = disk_file(directory.path());
    for extended in ["off", "on"] {
        let (middle, top) = (directory.path().join("middle"), directory.path().join("top"));
        let options = format!("extended_l2={extended}");
        for (image, below, format, size) in
            [(&middle, &raw, "raw", "38M"), (&top, &middle, "qcow2", "39M")]
        {
            passes(
                qemu_img(&["create", "-q", "-f", "qcow2", "-o", &options, "-F", format, "-b"])
                    .arg(below)
                    .arg(image)
                    .arg(size),
            );
        }
        let write = |image: &Path, command: &str| {
            passes(tool("qemu-io").unwrap().args(["-f", "qcow2", "-c", command]).arg(image));
        };
        write(&middle, "write -P 17 3k 100k");
        write(&middle, "write -P 18 20M 5k");
        write(&top, "write -P 19 50k 2k");
        write(&top, "write -z 3M 512k");
        write(&top, "write -z 20M 2k");
        expected.resize((39 * MIB) as usize, 0);
        for (byte, at, length) in [
            (17, 3 << 10, 100 << 10),
            (18, 20 << 20, 5 << 10),
            (19, 50 << 10, 2 << 10),
            (0, 3 << 20, 512 << 10),
            (0, 20 << 20, 2 << 10),
        ] {
            expected[at..at + length].fill(byte);
        }
        let chain = [middle.clone(), raw.clone()];
        let opened = image::open_path(&top, None, &chain).unwrap();
        compare(&*opened.disk, &expected, "chain");
        // The image in the middle lacks one.
        let error = image::open_path(&top, None, &chain[..1]).unwrap_err();
        assert!(error.to_string().contains("middle"), "{error}");
        let error = std::error::Error::source(&error).unwrap().to_string();
        assert!(error.contains("--backing") && error.contains("disk.raw"), "{error}");
        fs::remove_file(&middle).unwrap();
        fs::remove_file(&top).unwrap();
    }
}

#[test]
fn what_is_refused_says_why() {
    if tool("qemu-img").is_none() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let external = format!("data_file={}", path("data").display());
    passes(qemu_img(&["create", "-q", "-f", "qcow2", "-o", &external]).arg(path("a")).arg("1M"));
    let error = open(&path("a")).unwrap_err().to_string();
    assert!(error.contains("another file"), "{error}");

    passes(qemu_img(&["create", "-q", "-f", "vmdk"]).arg(path("b")).arg("1M"));
    passes(
        qemu_img(&["create", "-q", "-f", "vmdk", "-F", "vmdk", "-b"]).args([path("b"), path("c")]),
    );
    let error = open(&path("c")).unwrap_err().to_string();
    assert!(error.contains("overlay"), "{error}");

    fs::write(path("d"), "# Disk DescriptorFile\nRW 8 FLAT \"../b\" 0\n").unwrap();
    assert!(matches!(open(&path("d")), Err(OpenError::Companion { .. })));
    fs::write(path("e"), "# Disk DescriptorFile\nRW 8 FLAT \"b\" 99999\n").unwrap();
    assert!(matches!(open(&path("e")), Err(OpenError::Companion { .. })));
}

/// A log entry that changes the file at `data` and clears `zeros`.
fn log_entry(
    guid: Guid,
    sequence: u64,
    tail: u32,
    size: u64,
    data: (u64, &[u8]),
    zeros: Range<u64>,
) -> Vec<u8> {
    let mut bytes = vec![0; 3 * vhdx::LOG_SECTOR];
    let descriptor = |signature, trailing, leading, offset: u64| vhdx::Descriptor {
        signature,
        trailing_bytes: trailing,
        leading_bytes: leading,
        file_offset: offset.into(),
        sequence_number: sequence.into(),
    };
    let entry = vhdx::LogEntry {
        signature: vhdx::LOG_SIGNATURE,
        checksum: 0.into(),
        entry_length: (2 * vhdx::LOG_SECTOR as u32).into(),
        tail: tail.into(),
        sequence_number: sequence.into(),
        descriptor_count: 2.into(),
        reserved: 0.into(),
        log_guid: guid,
        flushed_file_offset: size.into(),
        last_file_offset: size.into(),
    };
    bytes.truncate(2 * vhdx::LOG_SECTOR);
    bytes[..64].copy_from_slice(entry.as_bytes());
    let sector = data.1;
    let first = descriptor(
        vhdx::DATA_SIGNATURE,
        sector[4092..].try_into().unwrap(),
        sector[..8].try_into().unwrap(),
        data.0,
    );
    let second = descriptor(
        vhdx::ZERO_SIGNATURE,
        [0; 4],
        (zeros.end - zeros.start).to_le_bytes(),
        zeros.start,
    );
    bytes[64..96].copy_from_slice(first.as_bytes());
    bytes[96..128].copy_from_slice(second.as_bytes());
    let (head, body) = bytes[4096..].split_at_mut(8);
    head[..4].copy_from_slice(&vhdx::DATA_SECTOR_SIGNATURE);
    head[4..].copy_from_slice(&((sequence >> 32) as u32).to_le_bytes());
    body[..4084].copy_from_slice(&sector[8..4092]);
    body[4084..].copy_from_slice(&(sequence as u32).to_le_bytes());
    let crc = vhdx::crc32c(&bytes, 4);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    bytes
}

#[test]
fn the_log_of_a_vhdx_is_laid_over_the_file() {
    if tool("qemu-img").is_none() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (raw, expected) = disk_file(directory.path());
    let path = directory.path().join("image.vhdx");
    passes(qemu_img(&["convert", "-O", "vhdx", "-o", "block_size=1M"]).args([&raw, &path]));
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let size = file.metadata().unwrap().len();
    // The last block but one of the file is guest data to its end; two entries change it, the second
    // across the end of the log, so that it must be read around the corner.
    let end = size - MIB;
    let guid = Guid::v4([7; 16]);
    let mut header = vhdx::HEADER_OFFSETS
        .map(|offset| {
            let mut bytes = [0; vhdx::HEADER_SIZE];
            FileExt::read_exact_at(&file, &mut bytes, offset).unwrap();
            (offset, vhdx::Header::read_from_bytes(&bytes).unwrap())
        })
        .into_iter()
        .max_by_key(|(_, header)| header.sequence_number.get())
        .unwrap();
    header.1.log_guid = guid;
    header.1.checksum = vhdx::crc32c(header.1.as_bytes(), 4).into();
    file.write_all_at(header.1.as_bytes(), header.0).unwrap();
    let (log, length) = (header.1.log_offset.get(), u64::from(header.1.log_length.get()));
    let sector = noise(4096, 99);
    let target = end - 4096;
    let tail = (length - 12288) as u32;
    let first = log_entry(guid, 5, tail, size, (target, &noise(4096, 5)), end - 16384..end - 8192);
    let second = log_entry(guid, 6, tail, size, (target, &sector), end - 8192..end - 4096);
    file.write_all_at(&first, log + u64::from(tail)).unwrap();
    let (front, back) = second.split_at(4096);
    file.write_all_at(front, log + length - 4096).unwrap();
    file.write_all_at(back, log).unwrap();
    // Older than both, and so without effect.
    let old = log_entry(guid, 2, 65536, size, (target, &noise(4096, 6)), 0..0);
    file.write_all_at(&old, log + 65536).unwrap();
    drop(file);

    let ours = content(&*open(&path).unwrap().disk);
    assert!(ours != expected);
    // QEMU replays the log into the file; then both must agree.
    passes(qemu_img(&["check", "-q", "-r", "all", "-f", "vhdx"]).arg(&path));
    let replayed = directory.path().join("replayed.raw");
    passes(qemu_img(&["convert", "-f", "vhdx", "-O", "raw"]).args([&path, &replayed]));
    assert!(ours == fs::read(replayed).unwrap(), "the replay differs");
}

/// Blocks may be 256 MiB: with one that begins in the file not all of it is there.
#[test]
fn a_block_of_a_vhdx_lies_in_the_file_to_its_end() {
    if tool("qemu-img").is_none() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (raw, image) = (directory.path().join("raw"), directory.path().join("image"));
    let expected = noise(6 << 20, 8);
    fs::write(&raw, &expected).unwrap();
    let convert = ["convert", "-f", "raw", "-O", "vhdx", "-o", "block_size=256M"];
    passes(qemu_img(&convert).args([&raw, &image]));
    let file = File::options().write(true).open(&image).unwrap();
    // The block is no longer than the disk.
    let disk = open(&image).unwrap().disk;
    assert!(content(&*disk) == expected);
    let at = (0..file.metadata().unwrap().len())
        .step_by(MIB as usize)
        .find(|&at| {
            let mut start = [0; 512];
            FileExt::read_exact_at(&File::open(&image).unwrap(), &mut start, at).is_ok()
                && start == expected[..512]
        })
        .unwrap();
    file.set_len(at + (6 << 20)).unwrap();
    assert!(content(&*open(&image).unwrap().disk) == expected);
    file.set_len(at + (5 << 20)).unwrap();
    let disk = open(&image).unwrap().disk;
    let error = disk.read_exact_at(&mut [0; 512], 0).unwrap_err().to_string();
    let told = format!("is {at:#x}; its 6291456 bytes do not lie in the file's {}", at + (5 << 20));
    assert!(error.contains(&told), "{error}");
}

/// Opens and reads whatever `bytes` are. Errors are fine.
fn survive(bytes: Vec<u8>, format: Format) {
    let Ok(opened) = image::open(Box::new(Memory::from(bytes)), Some(format), &Alone) else {
        return;
    };
    let (mut at, mut buf) = (0, vec![0; 70_000]);
    for _ in 0..50 {
        let Ok(Some(run)) = opened.disk.next_data(at) else { break };
        let length = (run.end - run.start).min(buf.len() as u64) as usize;
        // Damage is an error; here it must only not be a panic.
        let _ = opened.disk.read_exact_at(&mut buf[..length], run.start);
        at = run.end;
    }
}

#[test]
fn a_format_that_is_told_is_looked_for() {
    for format in [Format::Qcow2, Format::Vhd, Format::Vhdx, Format::Vmdk] {
        let mut bytes = vec![0; 1 << 20];
        // As in a qcow2 of version 3 with clusters of 64 KiB, without its magic.
        bytes[7] = 3;
        bytes[23] = 16;
        bytes[103] = 104;
        let opened = image::open(Box::new(Memory::from(bytes)), Some(format), &Alone);
        let told = matches!(opened, Err(OpenError::Unsupported { .. } | OpenError::Field { .. }));
        assert!(told, "{format}: {opened:?}");
    }
}

#[test]
fn damage_is_an_error() {
    if tool("qemu-img").is_none() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let raw = directory.path().join("small.raw");
    let mut bytes = vec![0; 3 << 20];
    bytes[100_000..200_000].copy_from_slice(&noise(100_000, 1));
    bytes[2 << 20..(2 << 20) + 300_000].fill(7);
    fs::write(&raw, bytes).unwrap();
    let image = directory.path().join("image");
    for (format, options, compress, read_as) in [
        ("qcow2", "cluster_size=4096", false, Format::Qcow2),
        ("qcow2", "cluster_size=64k", true, Format::Qcow2),
        ("qcow2", "extended_l2=on,compression_type=zstd", true, Format::Qcow2),
        ("vpc", "subformat=dynamic", false, Format::Vhd),
        ("vpc", "subformat=fixed", false, Format::Vhd),
        ("vhdx", "block_size=1M", false, Format::Vhdx),
        ("vmdk", "subformat=monolithicSparse", false, Format::Vmdk),
        ("vmdk", "subformat=streamOptimized", false, Format::Vmdk),
    ] {
        let mut convert = qemu_img(&["convert", "-f", "raw", "-O", format, "-o", options]);
        if compress {
            convert.arg("-c");
        }
        passes(convert.args([&raw, &image]));
        let sound = fs::read(&image).unwrap();
        // What is not zero is structure or data; most of a VHDX is neither.
        let places: Vec<usize> = (0..sound.len()).filter(|&at| sound[at] != 0).take(4000).collect();
        let mut random = noise(30_000, 77).into_iter().cycle();
        let mut number =
            || (0..4).fold(0_usize, |n, _| n << 8 | usize::from(random.next().unwrap()));
        for _ in 0..400 {
            let mut bytes = sound.clone();
            for _ in 0..1 + number() % 4 {
                let at = (places[number() % places.len()] + number() % 8).min(bytes.len() - 1);
                bytes[at] = number() as u8;
            }
            survive(bytes, read_as);
        }
        for _ in 0..40 {
            survive(sound[..number() % sound.len()].to_vec(), read_as);
        }
        fs::remove_file(&image).unwrap();
    }
}
