//! Visits every block once and judges all its copies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use blk::RangeSet;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::names::{self, Part};
use super::{MAX_PROBLEMS, ProblemKind, Report, Totals, freed};
use crate::blkptr::{BLKPTR_SIZE, BlockPointer};
use crate::crypt::verify_indirect;
use crate::dnode::DNODE_SIZE;
use crate::dnode::object_type::{DNODE, OBJSET};
use crate::read::walking::{Room, block_text, is_encrypted, least_bytes};
use crate::read::{
    CopyFault, CopyProblem, Dataset, Datasets, Object, Objset, Pool, ReadError, object_type,
};

/// Blocks that one worker hands to others at once.
const BATCH: usize = 16;
/// Tasks that wait at most.
const QUEUE: usize = 64;
/// In place of a block's number: the spill block.
const SPILL: u64 = u64::MAX;
/// Length of an object set that has no accounting, in bytes.
const OLD_OBJSET: u64 = 1024;
/// The objects from this number on hold accounting, and are of no file.
const ACCOUNTING: u64 = u64::MAX - 2;

/// Space that a block takes: vdev, offset, length, and with whom it may be shared.
pub(super) type Taken = (u64, u64, u64, Sharing);

/// What tells whether blocks that lie in the same place are the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sharing {
    /// No other may lie there.
    Alone,
    /// Others that were deduplicated.
    Deduplicated,
    /// Clones: allocated in the same transaction group, of the same checksum. Both are folded; the
    /// lists of what was freed keep no checksum, which is 0 then.
    Cloned(u32, u16),
}

impl Sharing {
    fn of(bp: &BlockPointer, cloning: bool) -> Self {
        match (bp.is_dedup(), cloning) {
            (true, _) => Self::Deduplicated,
            (false, false) => Self::Alone,
            (false, true) => {
                let sum = bp.checksum().iter().fold(0, |sum: u64, word| sum.rotate_left(7) ^ word);
                Self::Cloned(bp.physical_birth() as u32, (sum ^ sum >> 16 ^ sum >> 32) as u16)
            }
        }
    }

    /// Whether both may be of one block.
    pub(super) fn is_with(self, other: Self) -> bool {
        match (self, other) {
            (Self::Deduplicated, Self::Deduplicated) => true,
            (Self::Cloned(birth, sum), Self::Cloned(other, sum_of_other)) => {
                birth == other && (sum == sum_of_other || sum == 0 || sum_of_other == 0)
            }
            _ => false,
        }
    }
}

/// Space of vdevs by their number.
pub(super) type Ranges = BTreeMap<u64, RangeSet>;

/// A block that takes some of the space that was searched for.
pub(super) struct Owner {
    /// What it takes.
    pub taken: Vec<Taken>,
    /// The files it belongs to.
    pub files: Vec<String>,
}

/// What the walk found besides problems.
#[derive(Debug, Default)]
pub(super) struct Walked {
    pub taken: Vec<Taken>,
    /// Parts of the tree could not be read: what they take is not known.
    pub incomplete: bool,
}

/// An object set that is walked: blocks born after `since` are its own.
struct Scan<'p> {
    objset: Objset<'p>,
    since: u64,
    dataset: Option<&'p Dataset>,
}

/// Where a block was found: scan, object, and its number among those of its level.
type Place = (usize, u64, u64);

impl Scan<'_> {
    /// Whether a block that was found in another scan is in the same place of this one too.
    fn shares(&self, bp: &BlockPointer, (_, object, block): Place) -> bool {
        if self.dataset.is_none() || self.since < bp.allocation_birth() {
            return false;
        }
        if bp.object_type() == OBJSET {
            return self.objset.pointer == *bp;
        }
        let object = match object {
            0 => Some(self.objset.meta_object()),
            ACCOUNTING.. => self.objset.accounting_objects().find(|it| it.number == object),
            _ => self.objset.object(object).ok(),
        };
        object.is_some_and(|object| match block {
            SPILL => object.dnode.spill == Some(*bp),
            _ => object.pointer_at(bp.level(), block).is_ok_and(|same| same == *bp),
        })
    }

    /// What it means for the dataset that something is wrong with a block: of dnodes that are lost, all
    /// their objects are.
    fn part(&self, bp: &BlockPointer, (_, object, block): Place, lost: bool) -> Part {
        if object != 0 {
            return part_of(object);
        }
        if bp.object_type() != DNODE || !lost {
            return Part::Whole;
        }
        let meta = &self.objset.meta;
        let dnodes = u64::from(meta.block_size) / DNODE_SIZE as u64;
        let shift = u32::from(bp.level()) * meta.pointers_shift();
        let first = block.checked_shl(shift).unwrap_or(0);
        let last = first.saturating_add(1_u64.checked_shl(shift).unwrap_or(0).saturating_sub(1));
        let last = last.min(meta.max_block).saturating_add(1).saturating_mul(dnodes) - 1;
        let first = first.saturating_mul(dnodes).min(last);
        Part::Objects(first, last, fill(bp))
    }
}

fn part_of(object: u64) -> Part {
    match object {
        0 | ACCOUNTING.. => Part::Whole,
        _ => Part::Object(object),
    }
}

enum Task {
    /// A block of dnodes and all objects in it.
    Dnodes { scan: usize, block: u64, bp: BlockPointer },
    /// Data blocks of an object.
    Scrub { scan: usize, object: u64, list: Vec<(u64, BlockPointer)> },
}

/// A block with something wrong.
struct Damage {
    kind: ProblemKind,
    what: String,
    place: Place,
    bp: BlockPointer,
}

/// A block, and where it was found.
struct Held {
    place: Place,
    bp: BlockPointer,
    taken: Vec<Taken>,
}

/// A problem, and the scan and object it concerns.
type Noted = (ProblemKind, String, Option<(usize, u64)>);

#[derive(Default)]
struct Found {
    totals: BTreeMap<String, Totals>,
    by_type: BTreeMap<u8, Totals>,
    taken: Vec<Taken>,
    damage: Vec<Damage>,
    problems: Vec<Noted>,
    /// How many problems more there are.
    untold: u64,
    /// Something could not be read.
    incomplete: bool,
    held: Vec<Held>,
}

struct Worker<'a, 'p> {
    pool: &'p Pool,
    scans: &'a [Scan<'p>],
    /// Nothing is judged, only who takes some of this is found.
    search: Option<&'a Ranges>,
    /// Whether there may be clones of blocks.
    cloning: bool,
    /// For the indirect blocks and blocks of dnodes of the object.
    left: Room,
    /// The same of all objects together, of the blocks that each scan has for itself.
    left_of_all: &'a AtomicU64,
    queue: &'a Sender<Task>,
    pending: &'a AtomicUsize,
    found: Found,
}

/// What lies below a pointer, itself included.
#[derive(Default, Clone, Copy)]
struct Below {
    /// What its blocks are charged.
    used: u64,
    fill: u64,
    /// Whether something could not be read, or was passed over as another's.
    incomplete: bool,
}

impl Below {
    /// Adds what is below another pointer; counts may be anything.
    fn add(&mut self, other: Self) {
        self.used = self.used.saturating_add(other.used);
        self.fill = self.fill.saturating_add(other.fill);
        self.incomplete |= other.incomplete;
    }
}

fn asize(bp: &BlockPointer) -> u64 {
    bp.copies(is_encrypted(bp)).map(|dva| dva.asize()).sum()
}

fn fill(bp: &BlockPointer) -> u64 {
    if is_encrypted(bp) { bp.fill() & 0xffff_ffff } else { bp.fill() }
}

/// Judges every block of the pool.
pub(super) fn run<'p>(
    pool: &'p Pool,
    datasets: &'p Datasets,
    report: &mut Report,
) -> Result<Walked, ReadError> {
    let scans = scans(pool, datasets, report)?;
    let found = walk(pool, &scans, None);
    let mut walked = summarise(pool, &scans, found, report);
    let known = datasets.datasets.iter().filter(|dataset| dataset.has_content()).count();
    walked.incomplete |= scans.len() <= known || !datasets.errors.is_empty();
    Ok(walked)
}

/// The blocks that take some of `ranges`.
pub(super) fn owners(
    pool: &Pool,
    datasets: &Datasets,
    ranges: &Ranges,
) -> Result<Vec<Owner>, ReadError> {
    // Told before.
    let scans = scans(pool, datasets, &mut Report::default())?;
    let held = walk(pool, &scans, Some(ranges)).into_iter().flat_map(|found| found.held);
    let held: Vec<_> =
        held.map(|held| (parts(&scans, &held.bp, held.place, true), held.taken)).collect();
    let named = Named::new(pool, &scans, held.iter().flat_map(|(parts, _)| parts));
    let owner = |(parts, taken): (Vec<_>, _)| Owner { files: named.files(&parts), taken };
    Ok(held.into_iter().map(owner).collect())
}

fn scans<'p>(
    pool: &'p Pool,
    datasets: &'p Datasets,
    report: &mut Report,
) -> Result<Vec<Scan<'p>>, ReadError> {
    let mut scans = vec![Scan { objset: pool.mos()?, since: 0, dataset: None }];
    for dataset in datasets.datasets.iter().filter(|dataset| dataset.has_content()) {
        let objset = pool.objset(dataset).or_else(|error| {
            match error {
                // The wrong key is no damage.
                ReadError::Keys { .. } => report.notes.push(error.to_string()),
                _ => {
                    let file = vec![dataset.name.clone()];
                    report.problem(ProblemKind::LostBlock, error.to_string(), file);
                }
            }
            // Checksums are judged without keys.
            pool.objset_without_keys(dataset)
        });
        if let Ok(objset) = objset {
            let since = dataset.previous_txg;
            scans.push(Scan { objset, since, dataset: Some(dataset) });
        }
    }
    Ok(scans)
}

fn walk(pool: &Pool, scans: &[Scan<'_>], search: Option<&Ranges>) -> Vec<Found> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let (sender, receiver) = bounded(QUEUE);
    let (pending, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let left_of_all = AtomicU64::new(pool.blocks.most_bytes);
    let all: Mutex<Vec<Found>> = Mutex::default();
    let worker = || Worker {
        pool,
        scans,
        search,
        left: Room::default(),
        left_of_all: &left_of_all,
        cloning: pool.feature_is_active("com.fudosecurity:block_cloning"),
        queue: &sender,
        pending: &pending,
        found: Found::default(),
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let worker = worker();
            let (receiver, done, all) = (receiver.clone(), &done, &all);
            scope.spawn(move || {
                let found = worker.work(&receiver, done);
                all.lock().unwrap_or_else(PoisonError::into_inner).push(found);
            });
        }
        let mut walker = worker();
        for index in 0..scans.len() {
            walker.objset(index);
        }
        walker.free_lists();
        all.lock().unwrap_or_else(PoisonError::into_inner).push(walker.found);
        done.store(true, Ordering::SeqCst);
    });
    all.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn summarise(pool: &Pool, scans: &[Scan<'_>], found: Vec<Found>, report: &mut Report) -> Walked {
    let mut walked = Walked::default();
    let mut told = Vec::new();
    for part in found {
        for (kind, totals) in part.by_type {
            report.total.add(&totals);
            report.blocks.entry(object_type::name(kind)).or_default().add(&totals);
        }
        for (name, totals) in part.totals {
            report.total.add(&totals);
            report.blocks.entry(name).or_default().add(&totals);
        }
        walked.taken.extend(part.taken);
        walked.incomplete |= part.incomplete;
        report.untold += part.untold;
        for (kind, what, place) in part.problems {
            let part = place.map(|(scan, object)| (scan, part_of(object)));
            told.push((kind, what, Vec::from_iter(part)));
        }
        for Damage { kind, what, place, bp } in part.damage {
            told.push((kind, what, parts(scans, &bp, place, kind == ProblemKind::LostBlock)));
        }
    }
    let named = Named::new(pool, scans, told.iter().flat_map(|(.., parts)| parts));
    for (kind, what, parts) in told {
        report.problem(kind, what, named.files(&parts));
    }
    walked
}

/// What a block belongs to: where it was found, and in all later snapshots, clones and heads that have
/// it too.
fn parts(scans: &[Scan<'_>], bp: &BlockPointer, place: Place, lost: bool) -> Vec<(usize, Part)> {
    let has = |at: usize, scan: &Scan<'_>| at == place.0 || scan.shares(bp, place);
    let scans = scans.iter().enumerate().filter(|(at, scan)| has(*at, scan));
    scans.map(|(at, scan)| (at, scan.part(bp, place, lost))).collect()
}

/// The names of parts of scans.
struct Named(BTreeMap<usize, names::Names>);

impl Named {
    fn new<'a>(
        pool: &Pool,
        scans: &[Scan<'_>],
        parts: impl Iterator<Item = &'a (usize, Part)>,
    ) -> Self {
        let mut wanted: BTreeMap<usize, BTreeSet<Part>> = BTreeMap::new();
        for (scan, part) in parts {
            wanted.entry(*scan).or_default().insert(*part);
        }
        let names = |(at, parts): (usize, BTreeSet<Part>)| {
            let names = match scans.get(at)?.dataset {
                Some(dataset) => names::of_dataset(pool, dataset, &parts),
                None => parts.iter().map(|part| (*part, vec![part.of("the MOS")])).collect(),
            };
            Some((at, names))
        };
        Self(wanted.into_iter().filter_map(names).collect())
    }

    fn files(&self, parts: &[(usize, Part)]) -> Vec<String> {
        let names = |(scan, part): &(usize, Part)| self.0.get(scan)?.get(part);
        parts.iter().filter_map(names).flatten().cloned().collect()
    }
}

impl<'p> Worker<'_, 'p> {
    fn work(mut self, queue: &Receiver<Task>, done: &AtomicBool) -> Found {
        loop {
            match queue.recv_timeout(Duration::from_millis(5)) {
                Ok(task) => {
                    self.task(task);
                    self.pending.fetch_sub(1, Ordering::SeqCst);
                }
                Err(RecvTimeoutError::Disconnected) => return self.found,
                Err(RecvTimeoutError::Timeout) => {
                    let idle = self.pending.load(Ordering::SeqCst) == 0;
                    if idle && done.load(Ordering::SeqCst) {
                        return self.found;
                    }
                }
            }
        }
    }

    fn task(&mut self, task: Task) {
        match task {
            Task::Dnodes { scan, block, bp } => self.dnodes(scan, block, &bp),
            Task::Scrub { scan, object, list } => {
                for (block, bp) in list {
                    self.scrub(scan, object, block, &bp);
                }
            }
        }
    }

    fn problem(&mut self, kind: ProblemKind, what: String, place: Option<(usize, u64)>) {
        match self.found.problems.len() < MAX_PROBLEMS {
            true => self.found.problems.push((kind, what, place)),
            false => self.found.untold += 1,
        }
    }

    fn damage(&mut self, kind: ProblemKind, what: String, place: Place, bp: &BlockPointer) {
        match self.found.damage.len() < MAX_PROBLEMS {
            true => self.found.damage.push(Damage { kind, what, place, bp: *bp }),
            false => self.found.untold += 1,
        }
    }

    /// Notes that what is below a block, or in it, is not known.
    fn unread(&mut self, error: &ReadError, place: Place, bp: &BlockPointer) {
        self.found.incomplete = true;
        // Where no copy is good this was told when they were judged, as is a wrong MAC.
        if !matches!(error, ReadError::Block(_)) && !bp.uses_crypt() {
            self.damage(ProblemKind::LostBlock, error.to_string(), place, bp);
        }
    }

    /// Walks an object set down to its blocks of dnodes, which the workers take.
    fn objset(&mut self, index: usize) {
        let Some(scan) = self.scans.get(index) else { return };
        let (objset, since) = (&scan.objset, scan.since);
        let bp = objset.pointer;
        if bp.allocation_birth() <= since {
            return;
        }
        self.visit(index, 0, 0, &bp);
        let meta = objset.meta_object();
        let mut below = Below::default();
        self.left = self.pool.blocks.room();
        for (at, bp) in meta.dnode.pointers.iter().enumerate() {
            self.join(&mut below, index, &meta, (meta.dnode.levels - 1, at as u64), bp);
        }
        self.check_object(index, &meta, below);
        // Before they had accounting (version 15), pointers to object sets counted the meta-dnode too.
        let counted = match bp.lsize() {
            OLD_OBJSET if fill(&bp) == below.fill + 1 => below.fill,
            _ => fill(&bp),
        };
        if !below.incomplete && below.fill != counted {
            let what = format!(
                "the pointer to the object set of {} counts {} objects, there are {}",
                objset.name(),
                fill(&bp),
                below.fill
            );
            self.problem(ProblemKind::Accounting, what, None);
        }
        for object in objset.accounting_objects() {
            self.object(index, &object);
        }
    }

    /// Counts a block and judges its copies.
    fn visit(&mut self, scan: usize, object: u64, block: u64, bp: &BlockPointer) {
        self.count(bp);
        self.scrub(scan, object, block, bp);
    }

    fn count(&mut self, bp: &BlockPointer) {
        let totals = totals(bp);
        self.found.by_type.entry(bp.object_type()).or_default().add(&totals);
    }

    fn charged(&self, bp: &BlockPointer) -> u64 {
        let copies = bp.copies(is_encrypted(bp));
        copies.map(|dva| self.pool.charged(dva.vdev(), dva.asize())).sum()
    }

    /// Notes what a block takes.
    fn allocate(&mut self, bp: &BlockPointer) {
        self.allocate_parts(bp, Sharing::of(bp, self.cloning), 0);
    }

    /// The same for a block or a part of one, which is shared with it.
    fn allocate_parts(&mut self, bp: &BlockPointer, sharing: Sharing, depth: usize) {
        for dva in bp.copies(is_encrypted(bp)) {
            // The address of a gang block counts its parts too; the header takes this much.
            let length = match dva.is_gang() {
                true => self.pool.smallest_allocation(dva.vdev()),
                false => dva.asize(),
            };
            self.found.taken.push((dva.vdev(), dva.offset(), length, sharing));
        }
        if depth > 12 {
            return;
        }
        let mut headers = bp.copies(is_encrypted(bp)).filter(|dva| dva.is_gang()).peekable();
        if headers.peek().is_none() {
            return;
        }
        // The copies of a header are the same.
        let parts = headers.find_map(|dva| self.pool.blocks.gang_parts(bp, dva, &mut Vec::new()));
        self.found.incomplete |= parts.is_none();
        for part in parts.unwrap_or_default() {
            self.allocate_parts(&part, sharing, depth + 1);
        }
    }

    /// Whether there can be this block too, which no other object shares; counts it.
    fn has_room(&mut self, bp: &BlockPointer, own: bool) -> bool {
        let less = |left: u64| left.checked_sub(least_bytes(bp));
        self.left.take(bp)
            && (!own
                || self
                    .left_of_all
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
                    .is_ok())
    }

    fn scrub(&mut self, scan: usize, object: u64, block: u64, bp: &BlockPointer) {
        if bp.is_embedded() {
            return;
        }
        if let Some(search) = self.search {
            let before = self.found.taken.len();
            self.allocate(bp);
            let taken = self.found.taken.split_off(before);
            if taken.iter().any(|taken| self.is_searched(search, taken)) {
                self.found.held.push(Held { place: (scan, object, block), bp: *bp, taken });
            }
            return;
        }
        self.allocate(bp);
        let (mut faults, lost) = self.pool.blocks.scrub(bp);
        // Told once for each device; and what a disk was not there for it need not have.
        let (missing, birth) = (&self.pool.missing, bp.physical_birth());
        let expected = |fault: &CopyFault| {
            let missing = missing.get(&fault.device);
            missing.is_some_and(|txgs| txgs.contains(birth))
        };
        faults.retain(|fault| lost || (fault.problem != CopyProblem::Absent && !expected(fault)));
        if !lost {
            self.check_mac((scan, object, block), bp);
        }
        if !faults.is_empty() {
            let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
            let kind = if lost { ProblemKind::LostBlock } else { ProblemKind::BadCopy };
            let what = format!("{}: {}", block_text(bp), faults.join("; "));
            self.damage(kind, what, (scan, object, block), bp);
        }
    }

    fn is_searched(&self, search: &Ranges, (vdev, offset, length, _): &Taken) -> bool {
        let has = |vdev: &u64, offset: u64, length: u64| {
            let ranges = search.get(vdev);
            ranges.is_some_and(|ranges| ranges.overlaps(offset..offset.saturating_add(length)))
        };
        match self.pool.blocks.vdevs.moved(*vdev, *offset, *length) {
            None => has(vdev, *offset, *length),
            Some(pieces) => pieces.iter().any(|(vdev, offset, length)| has(vdev, *offset, *length)),
        }
    }

    /// The MAC of a block of an encrypted dataset whose keys are known.
    fn check_mac(&mut self, place: Place, bp: &BlockPointer) {
        let keys = self.scans.get(place.0).and_then(|scan| scan.objset.source.keys.as_deref());
        let Some(keys) = keys.filter(|_| bp.uses_crypt() && bp.level() == 0) else { return };
        let Ok(mut raw) = self.pool.blocks.raw(bp) else { return };
        if let Err(error) = keys.open(bp.words(), &mut raw) {
            let what = format!("{}: {error}", block_text(bp));
            self.damage(ProblemKind::LostBlock, what, place, bp);
        }
    }

    /// Adds what is below one pointer of an object to `sum`.
    fn join(
        &mut self,
        sum: &mut Below,
        scan: usize,
        object: &Object<'p>,
        place: (u8, u64),
        bp: &BlockPointer,
    ) {
        let mut batch = Vec::new();
        let below = self.subtree(scan, object, place, bp, &mut batch);
        self.hand_over(scan, object.number, batch);
        sum.add(below);
    }

    /// Gives data blocks to whoever has time, or judges them here.
    fn hand_over(&mut self, scan: usize, object: u64, list: Vec<(u64, BlockPointer)>) {
        if list.is_empty() {
            return;
        }
        self.pending.fetch_add(1, Ordering::SeqCst);
        if let Err(back) = self.queue.try_send(Task::Scrub { scan, object, list }) {
            self.task(back.into_inner());
            self.pending.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Walks a pointer of an object. Of blocks that belong to an older snapshot only the sizes are
    /// taken; of dnodes that is not needed, as their objects were looked at there.
    fn subtree(
        &mut self,
        scan: usize,
        object: &Object<'p>,
        (level, number): (u8, u64),
        bp: &BlockPointer,
        batch: &mut Vec<(u64, BlockPointer)>,
    ) -> Below {
        if bp.is_hole() {
            return Below::default();
        }
        let since = self.scans.get(scan).map_or(0, |scan| scan.since);
        let (own, is_meta) = (bp.allocation_birth() > since, object.number == 0);
        let mut below = Below { used: self.charged(bp), fill: fill(bp), incomplete: false };
        if bp.level() != level {
            let what = format!("{}: level {level} was expected", block_text(bp));
            self.problem(ProblemKind::Structure, what, Some((scan, object.number)));
            self.found.incomplete = true;
            return Below { incomplete: true, ..below };
        }
        // Data may be shared by clones, but no block of these two kinds is.
        if (level > 0 || is_meta) && !self.has_room(bp, own) {
            if !self.left.is_empty() {
                let what = object.has_too_many_blocks().to_string();
                self.problem(ProblemKind::Structure, what, Some((scan, object.number)));
            }
            self.left = Room::default();
            self.found.incomplete = true;
            return Below { incomplete: true, ..below };
        }
        if level == 0 {
            match (own, is_meta) {
                (true, true) => {
                    self.pending.fetch_add(1, Ordering::SeqCst);
                    let task = Task::Dnodes { scan, block: number, bp: *bp };
                    if self.queue.send(task).is_err() {
                        self.pending.fetch_sub(1, Ordering::SeqCst);
                    }
                }
                (true, false) => {
                    self.count(bp);
                    if !bp.is_embedded() {
                        batch.push((number, *bp));
                    }
                    if batch.len() >= BATCH {
                        let full = std::mem::take(batch);
                        self.hand_over(scan, object.number, full);
                    }
                }
                (false, _) => {}
            }
            if !is_meta && below.fill != 1 {
                let what = format!("{} has fill count {}, not 1", block_text(bp), below.fill);
                self.problem(ProblemKind::Accounting, what, Some((scan, object.number)));
            }
            return below;
        }
        if own {
            self.visit(scan, object.number, number, bp);
        } else if is_meta {
            below.incomplete = true;
            return below;
        }
        let block = match object.source.read(bp) {
            Ok(block) => block,
            Err(error) => {
                if own {
                    self.unread(&error, (scan, object.number, number), bp);
                }
                below.incomplete = true;
                return below;
            }
        };
        if own
            && bp.uses_crypt()
            && !bp.is_big_endian()
            && let Err(error) = verify_indirect(bp.words(), &block)
        {
            let what = format!("{}: {error}", block_text(bp));
            self.problem(ProblemKind::Structure, what, Some((scan, object.number)));
        }
        let first = number.saturating_mul(1 << object.dnode.pointers_shift());
        let mut filled = Below::default();
        for (at, bytes) in (0u64..).zip(block.chunks_exact(BLKPTR_SIZE)) {
            let Some(child) = BlockPointer::from_bytes(bytes) else { continue };
            let place = (level - 1, first.saturating_add(at));
            let child = self.subtree(scan, object, place, &child, batch);
            filled.add(child);
        }
        if filled.fill != below.fill {
            let what = format!(
                "{} has fill count {}, what is below counts {}",
                block_text(bp),
                below.fill,
                filled.fill
            );
            self.problem(ProblemKind::Accounting, what, Some((scan, object.number)));
        }
        filled.add(Below { fill: 0, ..below });
        Below { fill: below.fill, ..filled }
    }

    /// A block of dnodes: its copies, and all objects in it.
    fn dnodes(&mut self, index: usize, number: u64, bp: &BlockPointer) {
        self.visit(index, 0, number, bp);
        let Some(scan) = self.scans.get(index) else { return };
        let meta = scan.objset.meta_object();
        let block = match meta.source.read(bp) {
            Ok(block) => block,
            Err(error) => return self.unread(&error, (index, 0, number), bp),
        };
        let per_block = u64::from(meta.dnode.block_size) / DNODE_SIZE as u64;
        let mut count = 0;
        for (number, object) in scan.objset.in_block(number.saturating_mul(per_block), &block) {
            count += 1;
            match object {
                Ok(object) => self.object(index, &object),
                Err(error) => {
                    self.found.incomplete = true;
                    let place = Some((index, number));
                    self.problem(ProblemKind::Structure, error.to_string(), place);
                }
            }
        }
        if count != fill(bp) {
            let what = format!("{} counts {} dnodes, there are {count}", block_text(bp), fill(bp));
            self.problem(ProblemKind::Accounting, what, None);
        }
    }

    fn object(&mut self, scan: usize, object: &Object<'p>) {
        let mut below = Below::default();
        self.left = self.pool.blocks.room();
        for (at, bp) in object.dnode.pointers.iter().enumerate() {
            self.join(&mut below, scan, object, (object.dnode.levels - 1, at as u64), bp);
        }
        if let Some(spill) = &object.dnode.spill {
            let mut batch = Vec::new();
            let spilled = self.subtree(scan, object, (0, SPILL), spill, &mut batch);
            self.hand_over(scan, object.number, batch);
            below.used = below.used.saturating_add(spilled.used);
        }
        self.check_object(scan, object, below);
    }

    fn check_object(&mut self, scan: usize, object: &Object<'p>, below: Below) {
        if !below.incomplete && below.used != object.dnode.used {
            let what = format!(
                "{} says that its blocks take {} bytes; they take {}",
                object.describe(),
                object.dnode.used,
                below.used
            );
            self.problem(ProblemKind::Accounting, what, Some((scan, object.number)));
        }
    }

    /// Blocks that are freed but still allocated.
    fn free_lists(&mut self) {
        let Some(Scan { objset: mos, .. }) = self.scans.first() else { return };
        let problems = freed::each(self.pool, mos, &mut |bp| {
            let totals = totals(bp);
            self.found.totals.entry("deferred free".to_owned()).or_default().add(&totals);
            self.allocate(bp);
        });
        for error in problems {
            self.found.incomplete = true;
            self.problem(ProblemKind::Structure, error.to_string(), None);
        }
    }
}

/// As zdb counts: what a block pointer holds itself has no physical size.
fn totals(bp: &BlockPointer) -> Totals {
    let psize = if bp.is_embedded() { 0 } else { bp.psize() };
    Totals { count: 1, lsize: bp.lsize(), psize, asize: asize(bp) }
}
