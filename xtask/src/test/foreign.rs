//! Pools that OpenZFS's own tests have and make: of every version since the first, and what `ztest` leaves.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::inputs::Inputs;
use super::ours;
use crate::judge_pool::no_leaks;
use crate::openzfs::UserLand;
use crate::run::{Run, end_of};
use crate::steps::Verdict;

/// Where old pools lie among OpenZFS's tests.
const OLD: [&str; 2] = ["cli_root/zpool_upgrade/blockfiles", "cli_root/zpool_import/blockfiles"];
/// What is damaged: half of a mirror has nothing but its first two labels.
const DAMAGED: &str = "zfs-broken-mirror";
/// A version that nobody knows.
const UNKNOWN: &str = "zfs-pool-v999";
/// Pools with encrypted datasets, all with this passphrase.
const ENCRYPTED: [&str; 2] = ["cryptv0", "missing_ivset"];
const PASSPHRASE: &str = "password";

/// Verifies each old pool, and asks zdb.
pub fn old_pools(inputs: &Inputs) -> Result<Verdict> {
    let user_land = inputs.user_lands()?.last().context("no OpenZFS")?;
    let pools = old(&user_land.functional_tests())?;
    ensure!(pools.len() > 30, "of OpenZFS's old pools there are only {:?}", pools.keys());
    for (name, packed) in &pools {
        let directory = inputs.scratch().join(format!("old-{name}"));
        crate::checkout::fresh(&directory)?;
        let disks = packed.iter().map(|packed| unpack(packed, &directory));
        let disks = disks.collect::<Result<Vec<_>>>()?;
        judge_old(inputs, user_land, name, &directory, &disks).with_context(|| name.clone())?;
        fs::remove_dir_all(&directory)?;
    }
    println!("    {} pools are as zdb sees them", pools.len());
    Ok(Verdict::Passed)
}

fn judge_old(
    inputs: &Inputs,
    user_land: &UserLand,
    name: &str,
    directory: &Path,
    disks: &[PathBuf],
) -> Result<()> {
    if name == UNKNOWN {
        let refused = inputs.kldload()?.arg("verify").args(disks).output()?;
        let told = refused.status.code() == Some(3) && refused.text.contains("has version 999");
        ensure!(told, "{}", refused.text);
        return Ok(());
    }
    let found = if ENCRYPTED.contains(&name) {
        let file = directory.with_extension("passphrase");
        fs::write(&file, PASSPHRASE)?;
        let file = file.to_str().context("a path that is no text")?;
        ours::verify(inputs.program()?, disks, &["--passphrase-file", file])?
    } else {
        ours::verify(inputs.program()?, disks, &[])?
    };
    let pool = found.report["pool"].as_str().context("a pool without a name")?;
    no_leaks(user_land, directory, pool)?;
    let damaged = found.problems();
    match name == DAMAGED {
        true => ensure!(!damaged.is_empty(), "nothing is said to be damaged"),
        false => ensure!(damaged.is_empty(), "{damaged:#?}"),
    }
    Ok(())
}

/// The packed disks of each old pool.
fn old(tests: &Path) -> Result<BTreeMap<String, Vec<PathBuf>>> {
    let mut pools: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for directory in OLD.map(|directory| tests.join(directory)) {
        for entry in fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Some(name) = name.strip_suffix(".dat.bz2") else { continue };
            pools.entry(pool_of(name).to_owned()).or_default().push(path);
        }
    }
    pools.values_mut().for_each(|disks| disks.sort());
    Ok(pools)
}

/// The pool of a disk: disks of several have a number behind the name, which others have of their version.
fn pool_of(disk: &str) -> &str {
    let shapes = ["mirror", "raidz", "raidz2", "stripe", "hotspare"];
    match disk.strip_suffix(['1', '2', '3']) {
        Some(pool) if shapes.iter().any(|shape| pool.ends_with(shape)) => pool,
        _ => disk,
    }
}

fn unpack(packed: &Path, directory: &Path) -> Result<PathBuf> {
    let to = directory.join(packed.file_name().context("a file without a name")?);
    fs::copy(packed, &to)?;
    Run::new("bzip2").arg("-d").arg(&to).text()?;
    let to = to.with_extension("");
    // It is 64 MiB of zeros.
    Run::new("fallocate").arg("-d").arg(&to).text()?;
    Ok(to)
}

/// Lets `ztest` of each release use a pool until its time is over, and judges what is left of it.
pub fn ztest(inputs: &Inputs) -> Result<Verdict> {
    for user_land in inputs.user_lands()? {
        let directory = inputs.scratch().join(format!("ztest-{}", user_land.version));
        let disks = run_ztest(user_land, &directory, "raidz", 8)?;
        judge_ztest(inputs, user_land, &directory, &disks).with_context(|| {
            format!("OpenZFS {}: the disks are in {}", user_land.version, directory.display())
        })?;
        fs::remove_dir_all(&directory)?;
        // A feature that changes how a pool is read, and that we do not know.
        let disks = run_ztest(user_land, &directory, "draid", 2)?;
        let refused = inputs.kldload()?.arg("verify").args(&disks).output()?;
        let told = refused.status.code() == Some(3) && refused.text.contains("org.openzfs:draid");
        ensure!(told, "of dRAID it is said: {}", refused.text);
        fs::remove_dir_all(&directory)?;
    }
    Ok(Verdict::Passed)
}

/// Runs it for some seconds with vdevs of a kind; tells the disks, which stay whatever became of it.
fn run_ztest(
    user_land: &UserLand,
    directory: &Path,
    kind: &str,
    seconds: u32,
) -> Result<Vec<PathBuf>> {
    crate::checkout::fresh(directory)?;
    let seconds = seconds.to_string();
    let said = user_land
        .ztest()
        .args(["-K", kind, "-T", &seconds, "-P", &seconds, "-f"])
        .arg(directory)
        .directory(directory)
        .limit(Duration::from_secs(300))
        .output()?;
    if !said.status.success() {
        println!(
            "    ztest of {} ended with {}: {}",
            user_land.version,
            said.status,
            end_of(&said.text)
        );
    }
    let mut disks = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("ztest.") {
            disks.push(path);
        }
    }
    disks.sort();
    Ok(disks)
}

fn judge_ztest(
    inputs: &Inputs,
    user_land: &UserLand,
    directory: &Path,
    disks: &[PathBuf],
) -> Result<()> {
    let theirs = no_leaks(user_land, directory, "ztest");
    let ours = ours::verify(inputs.program()?, disks, &[])?;
    let blocks = &ours.report["total"]["blocks"];
    println!("    OpenZFS {}: {} disks, {blocks} blocks", user_land.version, disks.len());
    match theirs {
        Ok(()) if ours.is_sound() => Ok(()),
        Ok(()) => bail!("zdb finds nothing, verify {:#?}", ours.problems()),
        Err(_) if !ours.is_sound() => Ok(()),
        Err(error) => Err(error.context("verify finds nothing, but zdb")),
    }
}

#[cfg(test)]
mod tests {
    use super::pool_of;

    #[test]
    fn disks_of_several() {
        for (disk, pool) in [
            ("zfs-pool-v1", "zfs-pool-v1"),
            ("zfs-pool-v15", "zfs-pool-v15"),
            ("zfs-pool-v1mirror3", "zfs-pool-v1mirror"),
            ("zfs-pool-v3raidz3", "zfs-pool-v3raidz"),
            ("zfs-pool-v3raidz23", "zfs-pool-v3raidz2"),
            ("zfs-pool-vBROKEN", "zfs-pool-vBROKEN"),
        ] {
            assert_eq!(pool_of(disk), pool);
        }
    }
}
