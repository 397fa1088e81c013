//! What happens to a dataset on a running machine: files, snapshots, rollback, clone, send.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::run;

/// Bytes of a dataset that is too large to be received.
const LARGE: u64 = 64 << 20;

/// Uses `dataset`, mounted at `place`, and leaves it as it was but for a snapshot that was rolled back to.
pub fn use_dataset(dataset: &str, place: &Path) -> Result<String> {
    let snapshot = format!("{dataset}@judge");
    run("zfs", &["snapshot", &snapshot])?;
    let listing = names(place)?;
    write(place)?;
    run("zfs", &["set", "compression=gzip-1", "org.kldload:judge=here", dataset])?;
    let clone = format!("{}/judge-clone", dataset.split('/').next().unwrap_or(dataset));
    run("zfs", &["clone", "-o", "canmount=noauto", &snapshot, &clone])?;
    run("zfs", &["destroy", &clone])?;
    send(&snapshot, &clone)?;
    run("zfs", &["rollback", &snapshot])?;
    if names(place)? != listing {
        bail!("after a rollback the directory {} is another", place.display());
    }
    run("zfs", &["destroy", &snapshot])?;
    run("zfs", &["inherit", "org.kldload:judge", dataset])?;
    Ok(String::new())
}

fn names(place: &Path) -> Result<Vec<std::ffi::OsString>> {
    let mut names =
        fs::read_dir(place)?.map(|entry| Ok(entry?.file_name())).collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

fn write(place: &Path) -> Result<()> {
    let directory = place.join("judge");
    fs::create_dir(&directory)?;
    for number in 0..300 {
        fs::write(
            directory.join(format!("file {number}")),
            format!("content {number}\n").repeat(number),
        )?;
    }
    let file = directory.join("large");
    let mut large = fs::File::create(&file)?;
    for number in 0..4096_u32 {
        large.write_all(&number.wrapping_mul(2_654_435_761).to_le_bytes().repeat(128))?;
    }
    large.sync_all()?;
    fs::hard_link(&file, directory.join("link"))?;
    symlink("large", directory.join("symlink"))?;
    if fs::metadata(&file)?.nlink() != 2 {
        bail!("a new hard link is not counted");
    }
    rustix::fs::setxattr(&file, "user.judge", &[b'x'; 2000], rustix::fs::XattrFlags::empty())?;
    for number in (0..300).step_by(2) {
        fs::remove_file(directory.join(format!("file {number}")))?;
    }
    fs::rename(&file, place.join("judge moved"))?;
    rustix::fs::sync();
    Ok(())
}

/// `zfs send -c SNAPSHOT | zfs receive TARGET`: blocks as they are stored. A large dataset is only sent: to
/// receive tens of thousands of files takes minutes in a machine without hardware virtualisation.
fn send(snapshot: &str, target: &str) -> Result<()> {
    let size = run("zfs", &["get", "-H", "-p", "-o", "value", "referenced", snapshot])?;
    let large = size.trim().parse::<u64>().with_context(|| size.clone())? > LARGE;
    let output = if large { Stdio::null() } else { Stdio::piped() };
    let mut send = Command::new("zfs")
        .args(["send", "-p", "-c", snapshot])
        .env("PATH", "/usr/sbin:/usr/bin")
        .stdout(output)
        .spawn()?;
    if let Some(stream) = send.stdout.take() {
        let received = Command::new("zfs")
            .args(["receive", "-u", "-o", "canmount=noauto", target])
            .env("PATH", "/usr/sbin:/usr/bin")
            .stdin(stream)
            .output()?;
        if !received.status.success() {
            bail!("zfs receive: {}", String::from_utf8_lossy(&received.stderr));
        }
        run("zfs", &["destroy", "-r", target])?;
    }
    let sent = send.wait()?;
    if !sent.success() {
        bail!("zfs send {snapshot}: {sent}");
    }
    Ok(())
}
