//! Compares what blocks take with what the space maps call allocated.

use std::collections::BTreeMap;

use blk::RangeSet;

use super::walk::{Taken, Walked};
use super::{ProblemKind, Report};
use crate::read::{Pool, PoolState};
use crate::space;

/// Ranges that are told one by one.
const MAX_TOLD: usize = 100;

/// Features whose blocks are held by something that is not walked.
const HOLDERS: [(&str, &str); 4] = [
    ("com.delphix:zpool_checkpoint", "a checkpoint holds blocks"),
    ("com.delphix:async_destroy", "a dataset is being destroyed"),
    ("com.delphix:device_removal", "a vdev was removed"),
    ("com.delphix:livelist", "clones have lists of what is to be freed"),
];

pub(super) fn check(pool: &Pool, walked: Walked, report: &mut Report) {
    let cloning = pool.feature_is_active("com.fudosecurity:block_cloning");
    let mut used: BTreeMap<u64, RangeSet> = BTreeMap::new();
    for (vdev, ranges) in by_vdev(pool, walked.taken) {
        used.insert(vdev, join(vdev, ranges, cloning, report));
    }
    let spaces = match space::allocated(pool) {
        Ok(spaces) => spaces,
        Err(error) => {
            let what = format!("the space maps: {error}");
            report.problem(ProblemKind::Structure, what, Vec::new());
            return;
        }
    };
    // Blocks of intent logs may be allocated or not yet, and take part in no tree.
    let mut logs: BTreeMap<u64, RangeSet> = BTreeMap::new();
    if let Ok(found) = space::intent_logs(pool) {
        for (vdev, offset, length) in found.ranges {
            logs.entry(vdev).or_default().insert(offset..offset.saturating_add(length));
        }
    }
    let holder = HOLDERS.iter().find(|(feature, _)| pool.feature_is_active(feature));
    if let Some((_, why)) = holder {
        report.notes.push(format!("leaks were not looked for: {why}"));
    }
    for (vdev, space) in (0u64..).zip(&spaces) {
        report.allocated += space.allocated.bytes();
        let used = used.remove(&vdev).unwrap_or_default();
        let logs = logs.remove(&vdev).unwrap_or_default();
        let mut missing = used.clone();
        missing.subtract(&space.allocated);
        tell(vdev, &missing, ProblemKind::Unallocated, "is used and not allocated", report);
        if holder.is_none() {
            let mut leaked = space.allocated.clone();
            leaked.subtract(&used);
            leaked.subtract(&logs);
            tell(vdev, &leaked, ProblemKind::Leak, "is allocated and not used", report);
        }
    }
    if pool.state != PoolState::Exported && !report.problems.is_empty() {
        report.notes.push("the pool was not exported".to_owned());
    }
}

fn tell(vdev: u64, ranges: &RangeSet, kind: ProblemKind, what: &str, report: &mut Report) {
    for range in ranges.iter().take(MAX_TOLD) {
        let length = range.end - range.start;
        let text = format!("{length:#x} bytes at {:#x} of vdev {vdev}: space {what}", range.start);
        report.problem(kind, text, Vec::new());
    }
    report.untold += ranges.len().saturating_sub(MAX_TOLD) as u64;
}

/// What is taken of each vdev. Removed ones lead to where their blocks are now.
fn by_vdev(pool: &Pool, taken: Vec<Taken>) -> BTreeMap<u64, Vec<(u64, u64, bool)>> {
    let mut found: BTreeMap<u64, Vec<(u64, u64, bool)>> = BTreeMap::new();
    for (vdev, offset, length, shared) in taken {
        match pool.blocks.vdevs.moved(vdev, offset, length) {
            None => found.entry(vdev).or_default().push((offset, length, shared)),
            Some(pieces) => {
                for (vdev, offset, length) in pieces {
                    found.entry(vdev).or_default().push((offset, length, shared));
                }
            }
        }
    }
    found
}

/// The ranges as a set; what is taken twice is told, unless blocks may share it.
fn join(
    vdev: u64,
    mut ranges: Vec<(u64, u64, bool)>,
    cloning: bool,
    report: &mut Report,
) -> RangeSet {
    ranges.sort_unstable();
    let mut used = RangeSet::new();
    let (mut start, mut end) = (0, 0);
    let mut last = None;
    for (offset, length, shared) in ranges {
        let sharing = last == Some((offset, length)) && (shared || cloning);
        if offset < end && !sharing {
            let length = end.min(offset.saturating_add(length)) - offset;
            let what = format!("{length:#x} bytes at {offset:#x} of vdev {vdev} are used twice");
            report.problem(ProblemKind::DoubleAllocation, what, Vec::new());
        }
        last = Some((offset, length));
        if offset > end {
            used.insert(start..end);
            start = offset;
        }
        end = end.max(offset.saturating_add(length));
    }
    used.insert(start..end);
    used
}
