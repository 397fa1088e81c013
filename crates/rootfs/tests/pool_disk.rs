//! `pool-disk.sh` with the output of OpenZFS 2.3, which `zpool list -Hv -o name` fills with columns
//! nobody asked for.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../disk/tests/judges/mod.rs"]
mod judges;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use judges::{passes, tool};

fn program(directory: &Path, name: &str, body: &str) {
    let path = directory.join(name);
    fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// What the functions find on a machine whose vdevs `zpool list` lists so.
fn found(file_system: &str, vdevs: &str, guids: &str) -> Option<String> {
    let root = tempfile::tempdir().unwrap();
    let block = root.path().join("sys/class/block");
    let devices = root.path().join("sys/devices");
    fs::create_dir_all(&block).unwrap();
    let device = devices.join("nvme0n1/nvme0n1p3");
    fs::create_dir_all(&device).unwrap();
    fs::write(device.join("partition"), "3\n").unwrap();
    symlink(device, block.join("nvme0n1p3")).unwrap();
    let line = |text: &str| format!("printf '%b' '{text}'");
    program(
        root.path(),
        "findmnt",
        &format!("case $* in *FSTYPE*) echo {file_system} ;; *) echo rpool/ROOT/debian ;; esac"),
    );
    let pool = "rpool\\n";
    program(
        root.path(),
        "zpool",
        &format!(
            "case $2 in -HvP) {} ;; -Hvg) {} ;; *) exit 2 ;; esac",
            line(&format!("{pool}{vdevs}")),
            line(&format!("{pool}{guids}"))
        ),
    );
    let script = format!(
        ". {}/files/pool-disk.sh; find_pool_disk && echo $pool $vdev $vdev_path $number $disk || :",
        env!("CARGO_MANIFEST_DIR")
    );
    let path = format!("{}:/usr/bin:/bin", root.path().display());
    let mut dash = tool("dash")?;
    dash.args(["-euc", &script]).env("PATH", path).env("sysfs", root.path().join("sys"));
    Some(passes(&mut dash).trim_end().to_owned())
}

#[test]
fn one_partition() {
    let columns = "7.00G\\t553M\\t5.96G\\t-\\t-\\t0%\\t8.31%\\t-\\tONLINE";
    let vdevs = format!("\\t/dev/nvme0n1p3\\t{columns}\\n");
    let guids = format!("\\t1234567\\t{columns}\\n");
    if let Some(said) = found("zfs", &vdevs, &guids) {
        assert_eq!(said, "rpool 1234567 /dev/nvme0n1p3 3 /dev/nvme0n1");
    }
    // OpenZFS 2.1 prints fewer columns, a file without any is as good.
    if let Some(said) = found("zfs", "\\t/dev/nvme0n1p3\\n", "\\t1234567\\n") {
        assert_eq!(said, "rpool 1234567 /dev/nvme0n1p3 3 /dev/nvme0n1");
    }
}

#[test]
fn anything_else() {
    for (file_system, vdevs, message) in [
        ("ext4", "\\t/dev/nvme0n1p3\\n", "the root file system is not ZFS"),
        ("zfs", "\\t/dev/sdx\\t1G\\n", "pool rpool is on /dev/sdx, which is no partition"),
        ("zfs", "\\tmirror-0\\t1G\\n\\t/dev/sda3\\n\\t/dev/sdb3\\n", "has more than one device"),
        ("zfs", "\\t/dev/nvme0n1p3\\nlogs\\n\\t/dev/sdb1\\n", "has more than one device"),
        ("zfs", "\\t/tmp/file\\t1G\\n", "pool rpool is not on a disk: /tmp/file"),
        ("zfs", "", "pool rpool is not on a disk: "),
    ] {
        if let Some(said) = found(file_system, vdevs, "\\t1\\n") {
            assert!(said.contains(message.trim_end()), "{vdevs}: {said}");
        }
    }
}
