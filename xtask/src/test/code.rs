//! The code itself: format, lints, tests beside it.

use std::time::Duration;

use anyhow::{Result, bail};

use super::inputs::Inputs;
use crate::checkout;
use crate::run::{self, Output, Run};
use crate::steps::Verdict;

fn cargo(args: &[&str]) -> Run {
    Run::new(checkout::cargo())
        .args(args)
        .directory(&checkout::root())
        .limit(Duration::from_secs(1800))
}

pub fn fmt(_: &Inputs) -> Result<Verdict> {
    cargo(&["fmt", "--all", "--check"]).text()?;
    Ok(Verdict::Passed)
}

pub fn clippy(_: &Inputs) -> Result<Verdict> {
    let lints =
        ["clippy", "--workspace", "--all-targets", "--locked", "--quiet", "--", "-D", "warnings"];
    cargo(&lints).text()?;
    // A package without `std` compiles only by itself.
    let bare = ["clippy", "--profile", "bare", "-p", "bare", "--features", "bare"];
    cargo(&bare).args(["--locked", "--quiet", "--", "-D", "warnings"]).text()?;
    Ok(Verdict::Passed)
}

/// The crate that others may take, with those that it needs.
pub fn published(_: &Inputs) -> Result<Verdict> {
    let crates = ["-p", "tree", "-p", "blk", "-p", "zfs"];
    let package = ["package", "--no-verify", "--locked", "--allow-dirty", "--quiet"];
    cargo(&package).args(crates).text()?;
    let document = ["doc", "--no-deps", "--locked", "--quiet"];
    cargo(&document).args(crates).env("RUSTDOCFLAGS", "-D warnings").text()?;
    Ok(Verdict::Passed)
}

pub fn unit(inputs: &Inputs) -> Result<Verdict> {
    let tests = cargo(&["test", "--workspace", "--locked", "--release", "--no-fail-fast"])
        .env("KLDLOAD_DEBIAN_TAR", inputs.debian()?);
    let Output { status, text } = tests.output()?;
    if !status.success() {
        // With all tests run, what the failed ones said is far from the end.
        let failed = text.split("\nfailures:\n").skip(1).step_by(2).map(run::end_of);
        bail!("{tests}: {status}\n{}\n{}", failed.collect::<String>(), run::end_of(&text));
    }
    let passed: usize = text
        .lines()
        .filter_map(|line| {
            line.strip_prefix("test result: ok. ")?.split(' ').next()?.parse::<usize>().ok()
        })
        .sum();
    for line in text.lines().filter(|line| line.contains("SKIPPED")) {
        println!("    {line}");
    }
    println!("    {passed} tests");
    Ok(Verdict::Passed)
}

pub fn releases(_: &Inputs) -> Result<Verdict> {
    let test = ["test", "--release", "--locked", "-p", "pkg", "--test", "apt"];
    let output = ["--", "--ignored", "--nocapture"];
    let text = cargo(&test).args(output).text()?;
    let compared: Vec<&str> = text.lines().filter(|line| line.contains("packages")).collect();
    for line in &compared {
        println!("    {line}");
    }
    if compared.is_empty() || text.contains("skipped: ") {
        bail!("apt was not asked everything:\n{}", run::end_of(&text));
    }
    Ok(Verdict::Passed)
}
