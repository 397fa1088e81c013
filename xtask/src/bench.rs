//! `cargo xtask bench`: ours and the peer, in one run, on the same input.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::checkout::{fresh, kldload, target};
use crate::run::Run;

/// Times each thing is measured; the median counts.
pub const RUNS: usize = 3;

/// Times a tar archive's way to a finished qcow2, and the pool writer alone.
pub fn build(tree: &Path) -> Result<()> {
    let kldload = kldload()?;
    let work = tempfile::Builder::new().prefix("bench-").tempdir_in(target())?;
    let (out, unpacked) = (work.path().join("out"), work.path().join("unpacked"));
    let size = fs::metadata(tree).with_context(|| tree.display().to_string())?.len();
    // The page cache is warm for all alike.
    std::io::copy(&mut fs::File::open(tree)?, &mut std::io::sink())?;

    let kldload_build = |format: &str| {
        Run::new(&kldload)
            .args(["build", "--json", "--name", "image", "--format", format, "--tree"])
            .arg(tree)
            .arg("--output")
            .arg(&out)
    };
    kldload_build("raw").text()?;
    let raw = out.join("image.raw");
    let peer_image = work.path().join("peer.qcow2");
    let mut ours = Vec::new();
    let mut peer_tar = Vec::new();
    let mut peer_image_times = Vec::new();
    for _ in 0..RUNS {
        ours.push(timed(|| kldload_build("qcow2").text().map(drop))?);
        fresh(&unpacked)?;
        let tar = Run::new("tar").args(["--xattrs", "--xattrs-include=*", "-xf"]).arg(tree);
        peer_tar.push(timed(|| tar.directory(&unpacked).text().map(drop))?);
        let convert = Run::new("qemu-img").args(["convert", "-c", "-O", "qcow2"]);
        peer_image_times.push(timed(|| convert.arg(&raw).arg(&peer_image).text().map(drop))?);
    }
    let (ours, peer_tar, peer_image) = (median(ours), median(peer_tar), median(peer_image_times));
    println!("input                            {:9.1} MB of tar", size as f64 / 1e6);
    println!("kldload build, tar to qcow2      {ours:9.2} s");
    println!("tar x                            {peer_tar:9.2} s");
    println!("qemu-img convert -c              {peer_image:9.2} s");
    println!("ours / peers                     {:9.2}", ours / (peer_tar + peer_image));

    for compression in ["lz4", "zstd-3"] {
        let mut rates = Vec::new();
        for _ in 0..RUNS {
            let text = Run::new(&kldload)
                .args(["pool", "--json", "--property"])
                .arg(format!("compression={compression}"))
                .arg("--tree")
                .arg(tree)
                .arg("--output")
                .arg(work.path().join("pool.img"))
                .text()?;
            rates.push(size as f64 / 1e6 / stage_seconds(&text, "writing pool")?);
        }
        println!("pool writer alone, {compression:<13} {:9.0} MB/s of input", median(rates));
    }
    Ok(())
}

/// Seconds that `action` takes.
pub fn timed(action: impl FnOnce() -> Result<()>) -> Result<f64> {
    let started = Instant::now();
    action()?;
    Ok(started.elapsed().as_secs_f64())
}

/// Seconds that a program takes, and its peak of memory in MB.
pub fn measured(run: Run) -> Result<(f64, f64)> {
    let text = run.within("/usr/bin/time", ["-f", "%e %M"]).text()?;
    let last = text.lines().last().unwrap_or_default();
    let (seconds, kilobytes) =
        last.split_once(' ').with_context(|| format!("time said {last:?}"))?;
    Ok((seconds.parse()?, kilobytes.parse::<f64>()? * 1024.0 / 1e6))
}

/// Seconds that `action` usually takes.
pub fn usual(mut action: impl FnMut() -> Result<()>) -> Result<f64> {
    Ok(median((0..RUNS).map(|_| timed(&mut action)).collect::<Result<_>>()?))
}

/// The value in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// How long a stage took, from the events of `--json`.
pub fn stage_seconds(events: &str, stage: &str) -> Result<f64> {
    events
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find(|event| event["event"] == "done" && event["name"] == stage)
        .and_then(|event| event["seconds"].as_f64())
        .with_context(|| format!("kldload told nothing of the stage {stage:?}:\n{events}"))
}
