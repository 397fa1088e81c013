//! The fuzz targets, built by the stable compiler: what cargo-fuzz asks of a nightly one is the sanitizers, and
//! code without `unsafe` has little use for them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::checkout;
use crate::run::Run;

/// Coverage is counted where branches go and what is compared; overflow is a bug; no sum stops the fuzzer.
const FLAGS: &str = "--cfg fuzzing -C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=4 \
                     -C llvm-args=-sanitizer-coverage-inline-8bit-counters \
                     -C llvm-args=-sanitizer-coverage-pc-table \
                     -C llvm-args=-sanitizer-coverage-trace-compares \
                     -C debug-assertions=on -C overflow-checks=on";

/// What an input may take.
const LIMITS: [&str; 4] =
    ["-timeout=10", "-rss_limit_mb=2048", "-max_len=1048576", "-print_final_stats=1"];

/// Runs each of `targets`, or all, for `seconds`; what they find stays in `fuzz/artifacts`.
pub fn fuzz(targets: &[String], seconds: u64) -> Result<()> {
    let directory = checkout::root().join("fuzz");
    let known = names(&directory.join("fuzz_targets"))?;
    if let Some(name) = targets.iter().find(|name| !known.contains(name)) {
        bail!("there is no target {name}; there are {}", known.join(", "));
    }
    let target = checkout::target().join("fuzz");
    // Flags are not for build scripts: they have no libFuzzer. Naming the platform keeps them apart.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    Run::new(checkout::cargo())
        .args(["build", "--quiet", "--release", "--locked", "--bins", "--examples"])
        .args(["--target", &platform])
        .env("RUSTFLAGS", FLAGS)
        .env("CARGO_TARGET_DIR", &target)
        .directory(&directory)
        .limit(Duration::from_secs(3600))
        .text()?;
    let programs = target.join(platform).join("release");
    Run::new(programs.join("examples/seeds")).text()?;
    let mut failed = Vec::new();
    for name in known.iter().filter(|name| targets.is_empty() || targets.contains(name)) {
        println!("==> {name}");
        let corpus = directory.join("corpus").join(name);
        let artifacts = directory.join("artifacts").join(name);
        fs::create_dir_all(&corpus)?;
        fs::create_dir_all(&artifacts)?;
        let output = Run::new(programs.join(name))
            .args(LIMITS)
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .arg(&corpus)
            .limit(Duration::from_secs(seconds + 600))
            .output()?;
        match output.status.success() {
            true => println!("    {}", executions(&output.text)),
            false => {
                println!("{}", output.text);
                failed.push(name.as_str());
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("found something: {}", failed.join(", ")) }
}

/// The targets there are, in order.
fn names(directory: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.extend(entry?.path().file_stem().and_then(|name| name.to_str()).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// What libFuzzer tells last about its work.
fn executions(text: &str) -> &str {
    text.lines().rfind(|line| line.starts_with("Done ")).unwrap_or("ended without a word")
}
