//! Compares what blocks take with what the space maps call allocated.

use std::collections::BTreeMap;
use std::ops::Range;

use blk::RangeSet;

use super::walk::{self, Owner, Ranges, Sharing, Taken, Walked};
use super::{ProblemKind, Report};
use crate::read::{Datasets, Pool, PoolState};
use crate::space::{self, IntentLogs};

/// Ranges that are told one by one.
const MAX_TOLD: usize = 100;

/// Features whose blocks are held by something that is not walked.
const HOLDERS: [(&str, &str); 2] = [
    ("com.delphix:async_destroy", "a dataset is being destroyed"),
    ("com.klarasystems:fast_dedup", "its tables of deduplicated blocks may hold some"),
];

/// Space that is used and should not be, or not by so many.
struct Fault {
    kind: ProblemKind,
    vdev: u64,
    range: Range<u64>,
}

pub(super) fn check(
    pool: &Pool,
    datasets: &Datasets,
    walked: Walked,
    intent_logs: &IntentLogs,
    report: &mut Report,
) {
    let mut faults = Vec::new();
    let mut used = Ranges::new();
    for (vdev, ranges) in by_vdev(pool, walked.taken) {
        used.insert(vdev, join(vdev, ranges, &mut faults));
    }
    let spaces = match space::allocated(pool) {
        Ok(spaces) => spaces,
        Err(error) => {
            let what = format!("the space maps: {error}");
            report.problem(ProblemKind::Structure, what, Vec::new());
            Vec::new()
        }
    };
    // Blocks of intent logs may be allocated or not yet, and take part in no tree.
    let mut logs: BTreeMap<u64, RangeSet> = BTreeMap::new();
    for &(vdev, offset, length) in &intent_logs.ranges {
        logs.entry(vdev).or_default().insert(offset..offset.saturating_add(length));
    }
    let holder = HOLDERS.iter().find(|(feature, _)| pool.feature_is_active(feature));
    // Until it is done, some of its blocks have room in two places.
    let removing = pool.vdevs.iter().any(|vdev| vdev.removing).then_some("a vdev is being removed");
    let holder = holder.map(|(_, why)| *why).or(removing);
    // What is below a block that is lost looks as if nothing used it.
    let unread = walked.incomplete.then_some("parts of the tree could not be read");
    let holder = unread.or(holder);
    if let Some(why) = holder {
        report.notes.push(format!("leaks were not looked for: {why}"));
    }
    for (vdev, space) in (0u64..).zip(&spaces) {
        report.allocated += space.allocated.bytes();
        let used = used.remove(&vdev).unwrap_or_default();
        let logs = logs.remove(&vdev).unwrap_or_default();
        let mut missing = used.clone();
        missing.subtract(&space.allocated);
        let kind = ProblemKind::Unallocated;
        faults.extend(missing.iter().map(|range| Fault { kind, vdev, range }));
        if holder.is_none() {
            let mut leaked = space.allocated.clone();
            leaked.subtract(&used);
            leaked.subtract(&logs);
            leaked.subtract(&space.checkpoint);
            tell_leaks(vdev, &leaked, report);
        }
    }
    tell_faults(pool, datasets, faults, report);
    if pool.state != PoolState::Exported && !report.problems.is_empty() {
        report.notes.push("the pool was not exported".to_owned());
    }
}

fn tell_leaks(vdev: u64, ranges: &RangeSet, report: &mut Report) {
    for range in ranges.iter().take(MAX_TOLD) {
        let (length, start) = (range.end - range.start, range.start);
        let what = "space is allocated and not used";
        let text = format!("{length:#x} bytes at {start:#x} of vdev {vdev}: {what}");
        report.problem(ProblemKind::Leak, text, Vec::new());
    }
    report.untold += ranges.len().saturating_sub(MAX_TOLD) as u64;
}

/// Tells faults, and whose blocks they concern: those are looked for in another walk.
fn tell_faults(pool: &Pool, datasets: &Datasets, mut faults: Vec<Fault>, report: &mut Report) {
    report.untold += faults.len().saturating_sub(MAX_TOLD) as u64;
    faults.truncate(MAX_TOLD);
    if faults.is_empty() {
        return;
    }
    let mut ranges = Ranges::new();
    for Fault { vdev, range, .. } in &faults {
        ranges.entry(*vdev).or_default().insert(range.clone());
    }
    let owners = walk::owners(pool, datasets, &ranges).unwrap_or_else(|error| {
        report.notes.push(format!("whose blocks they are was not found: {error}"));
        Vec::new()
    });
    let mut pieces: Vec<(u64, Range<u64>, &[String])> = Vec::new();
    for Owner { taken, files } in &owners {
        for (vdev, taken) in by_vdev(pool, taken.clone()) {
            let piece = |(offset, length, _): (u64, u64, Sharing)| {
                (vdev, offset..offset.saturating_add(length), files.as_slice())
            };
            pieces.extend(taken.into_iter().map(piece));
        }
    }
    for Fault { kind, vdev, range } in faults {
        let touching = pieces.iter().filter(|(on, taken, _)| {
            *on == vdev && taken.start < range.end && range.start < taken.end
        });
        let mut files: Vec<String> =
            touching.flat_map(|(.., files)| files.iter().cloned()).collect();
        files.sort();
        files.dedup();
        let (length, start) = (range.end - range.start, range.start);
        let what = match kind {
            ProblemKind::DoubleAllocation => "space is used twice",
            _ => "space is used and not allocated",
        };
        let text = format!("{length:#x} bytes at {start:#x} of vdev {vdev}: {what}");
        report.problem(kind, text, files);
    }
}

/// What is taken of each vdev. Removed ones lead to where their blocks are now.
fn by_vdev(pool: &Pool, taken: Vec<Taken>) -> BTreeMap<u64, Vec<(u64, u64, Sharing)>> {
    let mut found: BTreeMap<u64, Vec<(u64, u64, Sharing)>> = BTreeMap::new();
    for (vdev, offset, length, sharing) in taken {
        match pool.blocks.vdevs.moved(vdev, offset, length) {
            None => found.entry(vdev).or_default().push((offset, length, sharing)),
            Some(pieces) => {
                for (vdev, offset, length) in pieces {
                    found.entry(vdev).or_default().push((offset, length, sharing));
                }
            }
        }
    }
    found
}

/// The ranges as a set; what is taken twice is told, unless blocks may share it.
fn join(vdev: u64, mut ranges: Vec<(u64, u64, Sharing)>, faults: &mut Vec<Fault>) -> RangeSet {
    ranges.sort_unstable();
    let mut used = RangeSet::new();
    let (mut start, mut end) = (0, 0);
    let mut last = None;
    for (offset, length, sharing) in ranges {
        let shared = last.is_some_and(|(at, size, before): (u64, u64, Sharing)| {
            (at, size) == (offset, length) && sharing.is_with(before)
        });
        if offset < end && !shared {
            let range = offset..end.min(offset.saturating_add(length));
            faults.push(Fault { kind: ProblemKind::DoubleAllocation, vdev, range });
        }
        last = Some((offset, length, sharing));
        if offset > end {
            used.insert(start..end);
            start = offset;
        }
        end = end.max(offset.saturating_add(length));
    }
    used.insert(start..end);
    used
}
