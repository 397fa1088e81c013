//! The crate without the standard library: a program of `core` and `alloc` (`tests/bare`) links, and reads
//! what a kernel listed of its own pools.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{copy, fixtures};

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The program, built by itself: beside other packages its dependencies would have `std`.
fn program() -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--profile", "bare", "-p", "bare", "--features", "bare"])
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(checkout())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let (_, after) = text.split_once("\"executable\":\"").unwrap();
    after.split_once('"').unwrap().0.into()
}

/// The lines `SHA256  ./PATH` of the root dataset in a fixture's manifest.
fn manifest(fixtures: &Path, pool: &str) -> BTreeSet<String> {
    let file = File::open(fixtures.join(format!("{pool}.manifest.zst"))).unwrap();
    let text = String::from_utf8(zstd::stream::decode_all(file).unwrap()).unwrap();
    let title = format!("## {pool}/ROOT/default content\n");
    let (_, content) = text.split_once(&title).unwrap();
    content.lines().take_while(|line| !line.starts_with("## ")).map(str::to_owned).collect()
}

#[test]
fn pools_of_a_kernel_are_read() {
    let program = program();
    let Some(fixtures) = fixtures() else { return };
    // Between them: lz4, zstd, gzip, embedded blocks; fletcher-4 and SHA-256; a mirror and a raidz1 without
    // one of its disks.
    let pools: [(&str, &[&str]); 4] = [
        ("dev21", &["dev21"]),
        ("dev23", &["dev23"]),
        ("devmir", &["devmir-b"]),
        ("devrz", &["devrz-a", "devrz-c"]),
    ];
    for (pool, images) in pools {
        let directory = tempfile::tempdir().unwrap();
        let disks: Vec<PathBuf> = images.iter().map(|name| directory.path().join(name)).collect();
        for (disk, image) in disks.iter().zip(images) {
            copy(&fixtures, image, disk).unwrap();
        }
        let output = Command::new(&program).args(&disks).output().unwrap();
        assert!(output.status.success(), "{pool}: {}", String::from_utf8_lossy(&output.stderr));
        let found = String::from_utf8(output.stdout).unwrap();
        let mounts = [("ROOT/default", ""), ("home", "home/"), ("srv", "srv/")];
        let mut lines = BTreeSet::new();
        for line in found.lines() {
            let (dataset, line) = line.split_once('\t').unwrap();
            let below = dataset.strip_prefix(pool).unwrap().trim_start_matches('/');
            if let Some((_, prefix)) = mounts.iter().find(|(name, _)| *name == below) {
                lines.insert(line.replacen("  ./", &format!("  ./{prefix}"), 1));
            }
        }
        let expected = manifest(&fixtures, pool);
        let differing: Vec<_> = lines.symmetric_difference(&expected).take(5).collect();
        assert!(differing.is_empty(), "{pool}: {differing:#?}");
        assert!(lines.len() > 1000, "{pool}: {} files", lines.len());
    }
}

#[test]
fn what_is_no_pool_is_an_error() -> io::Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    file.as_file().set_len(64 << 20)?;
    let output = Command::new(program()).arg(file.path()).output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && text.contains("no ZFS label"), "{text}");
    Ok(())
}
