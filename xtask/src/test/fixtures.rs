//! Pools that a kernel made, beside the checkout: zdb shows every object as we do.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::inputs::Inputs;
use super::{objects, ours};
use crate::checkout;
use crate::judge_pool::zdb;
use crate::run::Run;
use crate::steps::Verdict;

/// Each pool's disks.
const POOLS: &[(&str, &[&str])] = &[
    ("dev21", &["dev21"]),
    ("dev23", &["dev23"]),
    ("devmir", &["devmir-a", "devmir-b"]),
    ("devrz", &["devrz-a", "devrz-b", "devrz-c"]),
];

/// See the module; the pools have features that 2.1 does not know. Encrypted ones zdb cannot show.
pub fn compare(inputs: &Inputs) -> Result<Verdict> {
    let fixtures = checkout::root().join("../shared/fixtures/pools");
    if !fixtures.exists() {
        println!("    {} is not there", fixtures.display());
        return Ok(Verdict::Skipped);
    }
    let user_land = inputs.user_lands()?.last().context("no OpenZFS")?;
    for (pool, names) in POOLS {
        let directory = inputs.scratch().join(format!("fixture-{pool}"));
        checkout::fresh(&directory)?;
        let unpack = |name: &&str| {
            let disk = directory.join(name);
            partition(&fixtures.join(format!("{name}.img.zst")), &disk).map(|()| disk)
        };
        let disks: Vec<PathBuf> = names.iter().map(unpack).collect::<Result<_>>()?;
        let theirs = zdb(user_land, &directory, "-Pddddd", pool)?;
        let count = objects::compare(&ours::dump(inputs.program()?, &disks)?, &theirs)
            .with_context(|| (*pool).to_owned())?;
        println!("    {pool}: {count} objects are the same");
        fs::remove_dir_all(&directory)?;
    }
    Ok(Verdict::Passed)
}

/// Unpacks what is in the partition of a disk, which zdb wants as a file of its own.
fn partition(packed: &Path, to: &Path) -> Result<()> {
    let whole = to.with_extension("disk");
    Run::new("zstd").args(["-q", "-d", "--sparse"]).arg(packed).arg("-o").arg(&whole).text()?;
    let table = disk::gpt::read(&File::open(&whole)?)?;
    let (_, partition) = table.table.partitions.iter().next().context("no partition")?;
    let bytes = partition.bytes();
    Run::new("dd")
        .args(["bs=1M", "iflag=skip_bytes,count_bytes", "conv=sparse", "status=none"])
        .args([format!("skip={}", bytes.start), format!("count={}", bytes.end - bytes.start)])
        .args([format!("if={}", whole.display()), format!("of={}", to.display())])
        .text()?;
    Ok(fs::remove_file(&whole)?)
}
