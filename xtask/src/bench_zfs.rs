//! `cargo xtask bench zfs`: reading, verifying, writing and sending pools beside zdb and tar, in one run.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::bench::{RUNS, median, stage_seconds, timed, usual};
use crate::checkout::{kldload, target};
use crate::openzfs;
use crate::run::Run;

/// Times everything on one pool of `tree`.
pub fn zfs(tree: &Path) -> Result<()> {
    let kldload = kldload()?;
    let user_lands = openzfs::user_lands()?;
    let user_land = user_lands.last().context("OpenZFS")?;
    let work = tempfile::Builder::new().prefix("bench-zfs-").tempdir_in(target())?;
    let size = fs::metadata(tree).with_context(|| tree.display().to_string())?.len() as f64 / 1e6;
    std::io::copy(&mut fs::File::open(tree)?, &mut std::io::sink())?;
    println!("input                              {size:9.1} MB of tar");

    let directory = work.path().join("pool");
    fs::create_dir_all(&directory)?;
    let image = directory.join("pool.img");
    let write = |compression: &str, image: &Path, size: &str| {
        Run::new(&kldload)
            .args(["pool", "--json", "--size", size, "--property"])
            .arg(format!("compression={compression}"))
            .arg("--tree")
            .arg(tree)
            .arg("-o")
            .arg(image)
            .text()
    };
    for compression in ["zstd-3", "lz4"] {
        let mut rates = Vec::new();
        for _ in 0..RUNS {
            let events = write(compression, &image, "8G")?;
            rates.push(size / stage_seconds(&events, "writing pool")?);
        }
        println!("writer, {compression:<6}                     {:9.0} MB/s of tar", median(rates));
    }

    let ours = || Run::new(&kldload);
    let verify = usual(|| ours().arg("verify").arg(&image).text().map(drop))?;
    // Too slow to be done three times.
    let zdb = timed(|| {
        let zdb = user_land.zdb().args(["-e", "-p"]).arg(&directory);
        zdb.args(["-bcc", "tank"]).text().map(drop)
    })?;
    println!("verify                             {verify:9.2} s");
    println!("zdb -bcc                           {zdb:9.2} s, {:.1} times as long", zdb / verify);

    let source = format!("{}:tank/fs@install/", image.display());
    // In turn, and the least of each: a virtual machine may have to wait for its memory. Nothing is
    // removed in between: for five minutes ext4 looks at each inode that was, before it gives one out, and
    // everything takes up to six times as long.
    let (mut copy, mut tar) = (f64::MAX, f64::MAX);
    for round in 0..2 * RUNS {
        let copied = work.path().join(format!("copied-{round}"));
        copy =
            copy.min(timed(|| ours().args(["cp", "-r", &source]).arg(&copied).text().map(drop))?);
        let unpacked = work.path().join(format!("unpacked-{round}"));
        fs::create_dir(&unpacked)?;
        let run = Run::new("tar").args(["--xattrs", "--xattrs-include=*", "-xf"]).arg(tree);
        tar = tar.min(timed(|| run.directory(&unpacked).text().map(drop))?);
    }
    println!("cp -r to a directory, least of {:<3} {copy:9.2} s", 2 * RUNS);
    println!("tar x, least of {:<3}                {tar:9.2} s", 2 * RUNS);
    let archive = work.path().join("copied.tar");
    let to_tar = usual(|| {
        if archive.exists() {
            fs::remove_file(&archive)?;
        }
        ours().args(["cp", "-r", &source]).arg(&archive).text().map(drop)
    })?;
    println!("cp -r to .tar                      {:9.0} MB/s of tar", size / to_tar);
    let stream = work.path().join("stream");
    let send = usual(|| {
        let snapshot = format!("{}:tank/fs@install", image.display());
        ours().args(["send", &snapshot, "-o"]).arg(&stream).text().map(drop)
    })?;
    let sent = fs::metadata(&stream)?.len() as f64 / 1e6;
    println!(
        "send                               {:9.0} MB/s of stream, {:.0} of tar",
        sent / send,
        size / send
    );

    let large = work.path().join("large.img");
    write("lz4", &large, "1024G")?;
    let inspect = usual(|| ours().arg("inspect").arg(&large).text().map(drop))?;
    println!("inspect of a pool of 1 TiB         {inspect:9.2} s");
    Ok(())
}
