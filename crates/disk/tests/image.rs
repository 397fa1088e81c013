//! raw and qcow2 images, with `qemu-img` as judge.
#![allow(missing_docs, clippy::unwrap_used)]

mod judges;

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use blk::{Memory, ReadAt};
use disk::{qcow2, raw};
use judges::{passes, tool};
use proptest::prelude::*;

/// Both formats of `source`, judged against each other and, where given, the raw original.
fn judge(source: &dyn ReadAt, original: Option<&Path>) {
    let directory = tempfile::tempdir().unwrap();
    let (raw_path, qcow2_path) = (directory.path().join("raw"), directory.path().join("qcow2"));
    let raw_file = File::create_new(&raw_path).unwrap();
    let size = source.size().unwrap();
    let mut done = 0;
    raw::write(source, &raw_file, &mut |bytes| done = bytes).unwrap();
    assert_eq!((done, raw_file.metadata().unwrap().len()), (size, size));
    qcow2::write(source, &File::create_new(&qcow2_path).unwrap(), &mut |bytes| done = bytes)
        .unwrap();
    assert_eq!(done, size);

    let again = tempfile::tempfile().unwrap();
    qcow2::write(source, &again, &mut |_| ()).unwrap();
    let length = again.metadata().unwrap().len();
    assert_eq!(length, std::fs::metadata(&qcow2_path).unwrap().len());
    assert_eq!(length % 65536, 0);

    let Some(mut qemu_img) = tool("qemu-img") else { return };
    let said = passes(qemu_img.args(["check", "-f", "qcow2"]).arg(&qcow2_path));
    assert!(said.contains("No errors were found on the image."), "{said}");
    let Some(mut qemu_img) = tool("qemu-img") else { return };
    let said = passes(qemu_img.args(["info", "--output=json"]).arg(&qcow2_path));
    assert!(said.contains(&format!("\"virtual-size\": {size},")), "{said}");
    for other in [Some(raw_path.as_path()), original].into_iter().flatten() {
        let Some(mut qemu_img) = tool("qemu-img") else { return };
        let said = passes(
            qemu_img.args(["compare", "-f", "raw", "-F", "qcow2"]).args([other, &qcow2_path]),
        );
        assert!(said.contains("Images are identical"), "{said}");
    }
}

/// Bytes that differ from cluster to cluster.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn small_and_odd_sizes() {
    judge(&Memory::zeroed(0), None);
    judge(&Memory::zeroed(1 << 20), None);
    judge(&Memory::from(noise(512, 1)), None);
    judge(&Memory::from(noise(65536 + 512, 2)), None);
    judge(&Memory::from(noise(5 << 20, 3)), None);
}

#[test]
fn large_and_sparse() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let size = 6 << 40;
    file.as_file().set_len(size).unwrap();
    // Across the border of two L2 tables, far away, and at the very end.
    for (seed, offset) in [(1, 0), (2, (512 << 20) - 70_000), (3, 5 << 40), (4, size - 200_000)] {
        file.as_file().write_all_at(&noise(200_000, seed), offset).unwrap();
    }
    judge(file.as_file(), Some(file.path()));
}

#[test]
fn a_raw_copy_keeps_holes() {
    let mut bytes = vec![0; 64 << 20];
    bytes[33 << 20] = 1;
    let out = tempfile::tempfile().unwrap();
    out.write_all_at(&noise(1 << 20, 9), 0).unwrap();
    raw::write(&Memory::from(bytes.clone()), &out, &mut |_| ()).unwrap();
    assert!(out.metadata().unwrap().blocks() * 512 <= 1 << 20);
    let mut copied = vec![1; bytes.len()];
    ReadAt::read_exact_at(&out, &mut copied, 0).unwrap();
    assert!(copied == bytes);
}

/// A disk that claims a size and fails where it holds data.
struct Claims(u64);

impl ReadAt for Claims {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0)
    }
    fn read_exact_at(&self, _: &mut [u8], _: u64) -> io::Result<()> {
        Err(io::Error::other("bad sector"))
    }
}

#[test]
fn failures_are_errors() {
    let out = tempfile::tempfile().unwrap();
    let error = |size| qcow2::write(&Claims(size), &out, &mut |_| ()).unwrap_err();
    for size in [1000, u64::MAX, u64::MAX - 511] {
        assert!(matches!(error(size), qcow2::Qcow2Error::Size { .. }));
    }
    assert!(matches!(error(1 << 20), qcow2::Qcow2Error::Source(source) if source.offset == 0));
    assert_ne!(out.metadata().unwrap().len(), 1 << 20);

    let full = File::options().write(true).open("/dev/full").unwrap();
    let source = Memory::from(noise(1 << 20, 1));
    let error = raw::write(&source, &full, &mut |_| ()).unwrap_err();
    assert!(matches!(error, raw::RawError::Output { .. }), "{error}");
    let error = qcow2::write(&source, &full, &mut |_| ()).unwrap_err();
    assert!(matches!(error, qcow2::Qcow2Error::Output { .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_holes(runs in prop::collection::vec((0..40_u64 << 20, 1..300_000_usize), 0..8)) {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(41 << 20).unwrap();
        for (offset, length) in runs {
            file.as_file().write_all_at(&noise(length, offset), offset).unwrap();
        }
        judge(file.as_file(), Some(file.path()));
    }
}
