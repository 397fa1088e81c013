use std::io::Write;
use std::process::{Command, Stdio};

use super::super::Writer;
use super::*;

fn archive(names: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    writer.directory("d", 0o755).unwrap();
    for (name, data) in names {
        writer.file(name, 0o640, data).unwrap();
    }
    writer.symlink("l", "target").unwrap();
    writer.finish().unwrap()
}

fn read(image: &[u8]) -> Result<Vec<(String, Vec<u8>)>, CpioError> {
    let mut all = Vec::new();
    read_initramfs(image, &mut |entry| {
        let mut data = Vec::new();
        entry.data.read_to_end(&mut data)?;
        all.push((String::from_utf8(entry.path.clone()).unwrap(), data));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(all)
}

fn names(image: &[u8]) -> Vec<String> {
    read(image).unwrap().into_iter().map(|(name, _)| name).collect()
}

/// What a compression program makes of `data`.
fn filtered(command: &[&str], data: &[u8]) -> Vec<u8> {
    let mut child = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let data = data.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&data));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    output.stdout
}

fn lz4_legacy(data: &[u8]) -> Vec<u8> {
    let mut out = vec![0x02, 0x21, 0x4c, 0x18];
    for block in data.chunks(8 << 20) {
        let compressed = lz4_flex::block::compress(block);
        out.extend_from_slice(&(compressed.len() as u32).to_le_bytes());
        out.extend_from_slice(&compressed);
    }
    out
}

#[test]
fn archives_follow_each_other_plain_and_compressed() {
    let first = archive(&[("a", b"microcode")]);
    let second = archive(&[("b", &[7; 100_000]), ("c", b"")]);
    let inner = [second.clone(), vec![0; 40], first.clone()].concat();
    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&inner).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = zstd::encode_all(&inner[..], 3).unwrap();
    let xz = filtered(&["xz", "--check=crc32"], &inner);
    let bzip2 = filtered(&["bzip2"], &inner);
    for compressed in [gzip, zstd, xz, bzip2, lz4_legacy(&inner)] {
        let image = [&first[..], &[0; 512], &compressed, &[0; 7], &compressed, &[0; 5]].concat();
        let inner = ["d", "b", "c", "l", "d", "a", "l"];
        assert_eq!(names(&image), [&["d", "a", "l"][..], &inner, &inner].concat());
    }
    // A plain archive may follow a compressed one at the next multiple of four.
    let mut image = lz4_legacy(&inner);
    image.resize(image.len().next_multiple_of(4), 0);
    image.extend_from_slice(&first);
    assert_eq!(names(&image).len(), 10);
}

#[test]
fn data_and_early_stop() {
    let image = archive(&[("x", b"hello"), ("y", b"world!")]);
    let all = read(&image).unwrap();
    assert_eq!(all[1], ("x".to_owned(), b"hello".to_vec()));
    assert_eq!(all[3], ("l".to_owned(), b"target".to_vec()));
    let mut seen = 0;
    read_initramfs(&image[..], &mut |entry| {
        seen += 1;
        Ok(if entry.path == b"x" { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })
    .unwrap();
    assert_eq!(seen, 2);
}

#[test]
fn every_truncation_is_an_error() {
    let image = archive(&[("x", b"hello")]);
    for length in 1..image.len() {
        let error = read(&image[..length]).unwrap_err();
        let truncated = match &error {
            CpioError::Truncated { .. } => true,
            // The visitor meets the end first.
            CpioError::Io(error) => error.kind() == io::ErrorKind::UnexpectedEof,
            _ => false,
        };
        assert!(truncated, "{length}: {error}");
    }
    let compressed = zstd::encode_all(&image[..], 3).unwrap();
    for length in 6..compressed.len() {
        read(&compressed[..length]).unwrap_err();
    }
}

#[test]
fn nonsense_is_named() {
    let junk = |image: &[u8]| read(image).unwrap_err().to_string();
    assert_eq!(
        junk(b"\0\0what"),
        "at byte 2: neither a cpio archive (newc) nor one compressed by gzip, xz, zstd, bzip2 or lz4"
    );
    assert_eq!(junk(&[b'0'; 110]), "at byte 0: this is not a header of a cpio archive (newc)");
    let mut image = archive(&[("x", b"hello")]);
    image[94..102].copy_from_slice(b"ffffffff");
    assert_eq!(junk(&image), "at byte 0: the name of 4294967295 bytes is not possible");
    let compressed = zstd::encode_all(&b"0000what"[..], 3).unwrap();
    let error = junk(&[&[0; 8][..], &compressed].concat());
    assert!(error.starts_with("at byte 8 of the archive compressed at byte 8: "), "{error}");
}

#[test]
fn sums_are_checked() {
    let mut image = archive(&[("x", b"abc")]);
    let at = 110 + 2;
    assert_eq!(image[at..at + 6], *b"070701");
    image[at..at + 6].copy_from_slice(b"070702");
    let error = read(&image).unwrap_err().to_string();
    assert_eq!(error, "at byte 112: the checksum of \"x\" is wrong");
    let sum: u32 = b"abc".iter().map(|&byte| u32::from(byte)).sum();
    image[at + 102..at + 110].copy_from_slice(format!("{sum:08x}").as_bytes());
    assert_eq!(names(&image), ["d", "x", "l"]);
}
