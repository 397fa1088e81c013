//! Bare pools: OpenZFS in user land and in a real kernel judges what the pool writer wrote.

use std::fs;

use anyhow::{Context, Result};

use super::histories;
use super::inputs::{Case, Inputs};
use crate::openzfs::UserLand;
use crate::steps::Verdict;
use crate::{judge_pool, openzfs, vm};

/// By how much the disk grows under the kernel.
const GROWTH: u64 = 2 << 30;

pub fn judge(inputs: &Inputs) -> Result<Verdict> {
    let (scratch, kldload) = (inputs.scratch(), inputs.program()?);
    with_each(inputs, |user_land| {
        let directory = scratch.join(format!("judge-{}", user_land.version));
        fs::create_dir_all(&directory)?;
        judge_pool::judge_the_judge(user_land, kldload, &directory)?;
        Ok(fs::remove_dir_all(&directory)?)
    })
}

pub fn tree(inputs: &Inputs) -> Result<Verdict> {
    inputs.debian()?;
    Ok(Verdict::Passed)
}

pub fn torture(inputs: &Inputs) -> Result<Verdict> {
    user_land(inputs, inputs.torture_pool()?)
}

pub fn histories(inputs: &Inputs) -> Result<Verdict> {
    let histories = histories::Histories::write(inputs)?;
    with_each(inputs, |user_land| histories.judge(user_land))
}

/// `zdb` of the newest OpenZFS over every pool that the others judge.
pub fn newest(inputs: &Inputs) -> Result<Verdict> {
    let user_land = openzfs::newest()?;
    for case in [inputs.torture_pool()?, inputs.debian_pool()?] {
        judge_pool::judge_as_it_is(&user_land, &case.image, case.pool).context(case.pool)?;
        println!("    {}: no leaks, nothing damaged", case.pool);
    }
    histories::Histories::write(inputs)?.judge_as_they_are(&user_land)?;
    Ok(Verdict::Passed)
}

pub fn kernel_histories(inputs: &Inputs) -> Result<Verdict> {
    histories::Histories::write(inputs)?.judge_in_kernel(inputs)?;
    Ok(Verdict::Passed)
}

pub fn debian(inputs: &Inputs) -> Result<Verdict> {
    user_land(inputs, inputs.debian_pool()?)
}

fn user_land(inputs: &Inputs, case: &Case) -> Result<Verdict> {
    with_each(inputs, |user_land| judge_pool::judge(user_land, &case.image, case.pool))
}

/// Both releases at the same time: each leaves a processor idle while it waits for its groups of writes.
pub(super) fn with_each(
    inputs: &Inputs,
    work: impl Fn(&UserLand) -> Result<()> + Sync,
) -> Result<Verdict> {
    let user_lands = inputs.user_lands()?;
    std::thread::scope(|scope| {
        let judges: Vec<_> = user_lands
            .iter()
            .map(|user_land| (user_land, scope.spawn(|| work(user_land))))
            .collect();
        for (user_land, judge) in judges {
            let verdict = judge.join().map_err(|_| anyhow::anyhow!("the judge's thread failed"))?;
            verdict.with_context(|| format!("OpenZFS {}", user_land.version))?;
        }
        Ok(Verdict::Passed)
    })
}

pub fn kernel_judge(inputs: &Inputs) -> Result<Verdict> {
    inputs.kernel()?.judge(vm::Case::Itself, 60)?;
    Ok(Verdict::Passed)
}

pub fn kernel_torture(inputs: &Inputs) -> Result<Verdict> {
    kernel(inputs, inputs.torture_pool()?)
}

pub fn kernel_debian(inputs: &Inputs) -> Result<Verdict> {
    kernel(inputs, inputs.debian_pool()?)
}

fn kernel(inputs: &Inputs, case: &Case) -> Result<Verdict> {
    let Case { pool, image, manifest, sums } = case;
    let case = vm::Case::Pool { image, partition: None, pool, manifest, sums, growth: GROWTH };
    inputs.kernel()?.judge(case, 120)?;
    Ok(Verdict::Passed)
}
