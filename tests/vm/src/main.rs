//! The first process of a test machine: a real kernel with OpenZFS judges a pool on an attached disk.
//!
//! `/judge` in the initramfs says what to do:
//! - `modules`: paths of kernel modules, in the order in which they are loaded;
//! - `verb`: `pool DEVICE POOL` judges a pool against the tree in `manifest`, whose contents are in `sums`; `pool-grown` also expands it to
//!   the whole device; `histories` judges pools with snapshots and clones, and streams of them; `self` makes a
//!   pool, damages it, and wants to see the damage found.
//!
//! Every finding is a line on the console; `judge: end N ok, N failed` is the last before power off.
#![forbid(unsafe_code)]

mod accounting;
mod compare;
mod histories;
mod in_use;
mod pool;
mod received;
mod report;
mod self_test;

use std::ffi::CStr;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};
use rustix::mount::{MountFlags, mount};

use crate::report::Report;

fn main() {
    let mut report = Report::new();
    if let Err(error) = judge(&mut report) {
        report.failed("judgement", &format!("{error:#}"));
    }
    report.end();
    rustix::fs::sync();
    // As the first process there is nobody to return to.
    if let Err(error) = rustix::system::reboot(rustix::system::RebootCommand::PowerOff) {
        println!("judge: cannot power off: {error}");
    }
    loop {
        std::thread::park();
    }
}

fn judge(report: &mut Report) -> Result<()> {
    file_systems()?;
    report.step("modules", modules)?;
    let verb = fs::read_to_string("/judge/verb").context("/judge/verb")?;
    match verb.split_whitespace().collect::<Vec<_>>()[..] {
        ["pool", device, name] => pool::judge(report, device, name, false),
        ["pool-grown", device, name] => pool::judge(report, device, name, true),
        ["histories"] => histories::judge(report),
        ["self"] => self_test::judge(report),
        _ => bail!("{verb:?} is not a verb"),
    }
}

fn file_systems() -> Result<()> {
    let none: Option<&CStr> = None;
    for (kind, place) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("tmpfs", "/tmp"),
        ("tmpfs", "/run"),
    ] {
        mount(kind, place, kind, MountFlags::empty(), none).with_context(|| place.to_owned())?;
    }
    // A kernel that hangs is worth less than one that says so.
    fs::write("/proc/sys/kernel/panic", "0").context("panic")?;
    Ok(())
}

fn modules() -> Result<String> {
    let list = fs::read_to_string("/judge/modules").context("/judge/modules")?;
    for path in list.lines() {
        let image = fs::read(path).with_context(|| path.to_owned())?;
        match rustix::system::init_module(&image, c"") {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => bail!("{path}: {error}"),
        }
    }
    let version = fs::read_to_string("/sys/module/zfs/version").context("zfs.ko")?;
    Ok(format!("zfs {}", version.trim()))
}

/// Runs a program and returns what it wrote; another exit status than 0 is an error with its words.
fn run(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(args)
        .env("PATH", "/usr/sbin:/usr/bin")
        .output()
        .with_context(|| program.to_owned())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let words = String::from_utf8_lossy(&output.stderr);
    bail!("{program} {}: {}: {}{text}", args.join(" "), output.status, words.trim())
}
