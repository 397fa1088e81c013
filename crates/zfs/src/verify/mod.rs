//! Proves a pool sound, offline: every copy of every block against its checksum, what is used
//! against the space maps, and what `zdb` does not look at: links, sizes, parents, accounting.
//!
//! ```text
//! walk   every block pointer of every object set once ─► scrub on all processors, totals, ranges
//! space  ranges of blocks  ◄─ compare ─►  space maps         leaks, double allocations
//! files  every file system: names ◄─► inodes ◄─► accounting
//! names  what is damaged: all links of its files
//! ```
//!
//! A block that several snapshots share is visited where it is oldest; if it is damaged, its files are
//! named wherever the block is: of a block of dnodes, all that had theirs in it. Nothing is written and no
//! memory is taken for contents.

mod files;
mod freed;
#[cfg(test)]
mod hostile;
mod names;
mod space;
#[cfg(any(test, feature = "surgeon"))]
pub mod surgeon;
#[cfg(test)]
pub(crate) mod tests;
mod walk;

use std::collections::BTreeMap;
use std::fmt;

use crate::read::{Pool, ReadError};

/// Most problems that are told one by one.
const MAX_PROBLEMS: usize = 10_000;

/// Blocks of one kind. Sizes are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// How many.
    pub count: u64,
    /// Their content.
    pub lsize: u64,
    /// As it is stored, one copy.
    pub psize: u64,
    /// Space allocated, all copies.
    pub asize: u64,
}

impl Totals {
    pub(crate) fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.lsize += other.lsize;
        self.psize += other.psize;
        self.asize += other.asize;
    }
}

/// What kind of thing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProblemKind {
    /// A top-level vdev lacks more devices than it can do without: what lies there is lost.
    Vdev,
    /// A device is absent, or one of its labels is damaged.
    Device,
    /// No copy of a block is good: its content is lost.
    LostBlock,
    /// A copy of a block is bad; others are good.
    BadCopy,
    /// Something was read that contradicts itself.
    Structure,
    /// Space is allocated and nothing uses it.
    Leak,
    /// Space is used and not allocated.
    Unallocated,
    /// Space is used twice.
    DoubleAllocation,
    /// Fill counts, `dn_used`, or space by owner are wrong.
    Accounting,
    /// Links, sizes, parents or names of files are wrong.
    File,
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vdev => "vdev",
            Self::Device => "device",
            Self::LostBlock => "lost block",
            Self::BadCopy => "bad copy",
            Self::Structure => "structure",
            Self::Leak => "leak",
            Self::Unallocated => "not allocated",
            Self::DoubleAllocation => "double allocation",
            Self::Accounting => "accounting",
            Self::File => "file",
        })
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// What kind of thing.
    pub kind: ProblemKind,
    /// What exactly.
    pub what: String,
    /// The files it concerns, by all their links: `DATASET:/PATH`. Where there is no name `DATASET: object N`
    /// or `DATASET: N of the objects FIRST to LAST`, and `DATASET` for what is of all of it.
    pub files: Vec<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.what)?;
        if !self.files.is_empty() {
            write!(f, " ({})", self.files.join(", "))?;
        }
        Ok(())
    }
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Blocks by kind of object, as `zdb -bb` calls them.
    pub blocks: BTreeMap<String, Totals>,
    /// All blocks.
    pub total: Totals,
    /// Bytes that the space maps call allocated.
    pub allocated: u64,
    /// Inodes that were looked at, in all file systems and snapshots.
    pub inodes: u64,
    /// What is wrong, sorted.
    pub problems: Vec<Problem>,
    /// How many problems more there are than are told.
    pub untold: u64,
    /// File systems whose files were not looked at, for want of a key or as they are half received; the
    /// notes name them.
    pub unseen: u64,
    /// What could not be checked, and why.
    pub notes: Vec<String>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    pub(crate) fn problem(&mut self, kind: ProblemKind, what: String, files: Vec<String>) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Problem { kind, what, files });
        } else {
            self.untold += 1;
        }
    }
}

/// Verifies everything in a pool. An error means that the pool could not be looked at; whatever is
/// wrong in it is in the report.
pub fn verify(pool: &Pool) -> Result<Report, ReadError> {
    let mut report = Report::default();
    // First, as all else may follow from it.
    let losses = pool.losses();
    for what in &losses {
        report.problem(ProblemKind::Vdev, what.clone(), Vec::new());
    }
    let cause = |error: ReadError| match losses.first() {
        Some(loss) => ReadError::Devices { pool: pool.name.clone(), problem: loss.clone() },
        None => error,
    };
    for what in &pool.damage {
        report.problem(ProblemKind::Device, what.clone(), Vec::new());
    }
    let datasets = pool.datasets().map_err(cause)?;
    for what in &datasets.errors {
        report.problem(ProblemKind::Structure, what.to_string(), Vec::new());
    }
    // What cannot be read of them is told by the walk.
    let logs = crate::space::intent_logs(pool).unwrap_or_default();
    for dataset in datasets.datasets.iter().filter(|dataset| !dataset.is_snapshot) {
        let unreplayed = logs.logs.get(&dataset.object).map_or(0, |log| log.unreplayed);
        if unreplayed > 0 {
            let what = "records of its intent log were not replayed";
            report.notes.push(format!("{}: {unreplayed} {what}", dataset.name));
        }
    }
    for member in &pool.members {
        let device = member.device.as_ref().unwrap_or(&member.path);
        let Some(txgs) = pool.missing.get(device) else { continue };
        let txgs: Vec<String> =
            txgs.iter().map(|txgs| format!("{} to {}", txgs.start, txgs.end - 1)).take(8).collect();
        let txgs = txgs.join(", ");
        report.notes.push(format!("{device} may lack blocks of transaction groups {txgs}"));
    }
    let walked = walk::run(pool, &datasets, &mut report).map_err(cause)?;
    space::check(pool, &datasets, walked, &logs, &mut report);
    files::check(pool, &datasets, &mut report);
    report.problems.sort();
    report.problems.dedup();
    Ok(report)
}
