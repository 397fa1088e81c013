//! Blocks of intent logs, and those that their records point to.
//!
//! They are allocated as they are written, but the space maps learn of them with their transaction
//! group only: after a crash a pool has intent log blocks that its space maps hold for free.
//!
//! Source: OpenZFS `include/sys/zil.h`, `module/zfs/zil.c` (`zil_parse`, `zil_read_log_block`).

use alloc::collections::BTreeMap;

use crate::blkptr::{BLKPTR_SIZE, BlockPointer, Dva};
use crate::codec::{ByteOrder, Checksum};
use crate::dnode::object_type;
use crate::prelude::*;
use crate::read::{Dataset, IntentLogHeader, Objset, Pool, ReadError};

/// Length of `zil_chain_t`.
const CHAIN_SIZE: usize = 184;
/// In it: the next block, and how much of the block is used.
const NEXT_AT: usize = 8;
const USED_AT: usize = 136;
/// Length of the header of records.
const RECORD_SIZE: usize = 32;
const TX_WRITE: u64 = 9;
const WRITE_POINTER_AT: usize = 64;
const TX_CLONE_RANGE: u64 = 24;
const CLONE_COUNT_AT: usize = 64;
const CLONE_POINTERS_AT: usize = 72;
/// The bit of a record's type for lookups without regard to case.
const TX_CI: u64 = 1 << 63;
/// Most blocks of one log that are followed.
const MAX_BLOCKS: usize = 1 << 20;
/// How deep gang blocks may nest.
const MAX_GANG_DEPTH: usize = 12;
/// `dsl_dataset_phys_t.ds_bp`.
const DATASET_POINTER_AT: usize = 128;

/// What the intent logs of a pool occupy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IntentLogs {
    /// How many datasets have a log that is not empty.
    pub datasets: usize,
    /// They, by the object of their dataset in the MOS; what a snapshot says of one is of no account.
    pub logs: BTreeMap<u64, IntentLog>,
    /// How many blocks their chains have.
    pub blocks: usize,
    /// Allocations: top-level vdev, byte offset in its space, length.
    pub ranges: Vec<(u64, u64, u64)>,
    /// Why there may be more.
    pub problems: Vec<String>,
}

/// The intent log of one dataset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IntentLog {
    /// Transaction group in which an import claimed it for replay, 0 if none did since it was begun.
    pub claim_txg: u64,
    /// How many records it has.
    pub records: u64,
    /// How many of them are in no transaction group that was synced: what mounting would replay.
    pub unreplayed: u64,
}

/// The intent log of a dataset, `None` if it has none. What a snapshot says of one is of no account.
pub fn intent_log(pool: &Pool, dataset: &Dataset) -> Result<Option<IntentLog>, ReadError> {
    if dataset.is_snapshot || !dataset.has_content() {
        return Ok(None);
    }
    let objset = pool.objset_without_keys(dataset)?;
    let followed = || IntentLogs::default().follow(pool, &objset.intent_log);
    Ok(objset.has_intent_log.then(followed))
}

/// Follows the intent logs of all datasets.
pub fn intent_logs(pool: &Pool) -> Result<IntentLogs, ReadError> {
    let mut logs = IntentLogs::default();
    let mos = pool.mos()?;
    for object in mos.objects() {
        let object = match object {
            Ok(object) => object,
            Err(error) => {
                logs.problems.push(error.to_string());
                continue;
            }
        };
        if object.dnode.bonus_type != object_type::DSL_DATASET {
            continue;
        }
        let pointer = object.dnode.bonus.get(DATASET_POINTER_AT..);
        let Some(bp) = pointer.and_then(BlockPointer::from_bytes).filter(|bp| !bp.is_hole()) else {
            continue;
        };
        let name = format!("dataset object {}", object.number);
        match Objset::open(&pool.blocks, name.into(), &bp) {
            Ok(objset) if !objset.has_intent_log => {}
            Ok(objset) => {
                logs.datasets += 1;
                let log = logs.follow(pool, &objset.intent_log);
                logs.logs.insert(object.number, log);
            }
            Err(error) => logs.problems.push(error.to_string()),
        }
    }
    logs.ranges.sort_unstable();
    logs.ranges.dedup();
    Ok(logs)
}

fn word(bytes: &[u8], at: usize, order: ByteOrder) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|word| order.u64(*word))
}

fn pointer(bytes: &[u8], at: usize, order: ByteOrder) -> Option<BlockPointer> {
    let bytes = bytes.get(at..at.checked_add(BLKPTR_SIZE)?)?;
    let mut words = [0; 16];
    for (slot, word) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *slot = order.u64(*word);
    }
    Some(BlockPointer::from_words(words))
}

impl IntentLogs {
    fn add(&mut self, pool: &Pool, bp: &BlockPointer, depth: usize) {
        // Encrypted log blocks keep salt and vector in the third address; a length of nonsense
        // there only makes more used.
        for dva in bp.copies(bp.uses_crypt()) {
            self.ranges.push((dva.vdev(), dva.offset(), dva.asize()));
        }
        // The copies of a header are the same.
        let mut headers = bp.copies(bp.uses_crypt()).filter(Dva::is_gang).peekable();
        let Some(first) = headers.peek().copied() else { return };
        let read = |dva| pool.blocks.gang_parts(bp, dva, &mut Vec::new());
        match headers.find_map(read).filter(|_| depth < MAX_GANG_DEPTH) {
            Some(parts) => parts.iter().for_each(|part| self.add(pool, part, depth + 1)),
            None => self.problems.push(format!("the gang header at {first} cannot be read")),
        }
    }

    fn follow(&mut self, pool: &Pool, header: &IntentLogHeader) -> IntentLog {
        let mut log = IntentLog { claim_txg: header.claim_txg, ..IntentLog::default() };
        // What an import would claim is newer than the uberblock it finds (`spa_min_claim_txg`).
        let unsynced = match header.claim_txg {
            0 => pool.uberblock.txg.saturating_add(1),
            txg => txg,
        };
        let mut note = |txg: u64, sequence: u64| {
            log.records += 1;
            log.unreplayed += u64::from(txg >= unsynced && sequence > header.replayed);
        };
        self.follow_chain(pool, header.first, &mut note);
        log
    }

    /// Follows a chain of blocks, and gives transaction group and sequence number of each record to
    /// `note`.
    fn follow_chain(&mut self, pool: &Pool, first: BlockPointer, note: &mut dyn FnMut(u64, u64)) {
        let mut bp = first;
        for _ in 0..MAX_BLOCKS {
            self.add(pool, &bp, 0);
            self.blocks += 1;
            // The log ends with the first block that is not what the one before announced.
            let Some((block, order, used)) = read_block(pool, &bp) else { return };
            self.records(pool, &block, order, used, note);
            let at = if is_new(&bp) { 0 } else { block.len().saturating_sub(CHAIN_SIZE) };
            let Some(next) = pointer(&block, at + NEXT_AT, order) else { return };
            let [a, b, c, sequence] = bp.checksum();
            if next.is_hole() || next.checksum() != [a, b, c, sequence.wrapping_add(1)] {
                return;
            }
            bp = next;
        }
        self.problems.push(format!("an intent log has more than {MAX_BLOCKS} blocks"));
    }

    /// The records of a log block, and the blocks that they point to.
    fn records(
        &mut self,
        pool: &Pool,
        block: &[u8],
        order: ByteOrder,
        used: core::ops::Range<usize>,
        note: &mut dyn FnMut(u64, u64),
    ) {
        let mut rest = block.get(used).unwrap_or_default();
        while rest.len() >= RECORD_SIZE {
            let (kind, length) = (word(rest, 0, order), word(rest, 8, order));
            let length = length.and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
            let record = match rest.split_at_checked(length) {
                Some((record, after)) if length >= RECORD_SIZE => {
                    rest = after;
                    record
                }
                _ => return,
            };
            let [txg, sequence] = [16, 24].map(|at| word(record, at, order).unwrap_or(0));
            note(txg, sequence);
            match kind.unwrap_or(0) & !TX_CI {
                TX_WRITE => {
                    if let Some(bp) = pointer(record, WRITE_POINTER_AT, order) {
                        self.add(pool, &bp, 0);
                    }
                }
                TX_CLONE_RANGE => {
                    let count = word(record, CLONE_COUNT_AT, order).unwrap_or(0);
                    let count = count.min((record.len() / BLKPTR_SIZE) as u64) as usize;
                    for index in 0..count {
                        let at = CLONE_POINTERS_AT + index * BLKPTR_SIZE;
                        if let Some(bp) = pointer(record, at, order) {
                            self.add(pool, &bp, 0);
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

/// Whether the chain stands at the start of the block rather than at its end.
fn is_new(bp: &BlockPointer) -> bool {
    bp.checksum_type() == Checksum::Zilog2.number()
}

/// A block of a log, its byte order and where its records are; `None` if it is none.
fn read_block(
    pool: &Pool,
    bp: &BlockPointer,
) -> Option<(Vec<u8>, ByteOrder, core::ops::Range<usize>)> {
    let checksum = Checksum::from_number(bp.checksum_type()).ok()?;
    if !matches!(checksum, Checksum::Zilog | Checksum::Zilog2) {
        return None;
    }
    let mut order = ByteOrder::Little;
    let mut judge = |data: &[u8]| match pool.blocks.checksums.verify_in_block(
        checksum,
        data,
        &bp.checksum(),
        bp.uses_crypt(),
    ) {
        Ok(found) => {
            order = found;
            true
        }
        Err(_) => false,
    };
    let mut copies = bp.copies(bp.uses_crypt()).filter(|dva| !dva.is_gang());
    let mut read = |dva: Dva| pool.blocks.vdevs.read(dva, bp.psize(), &mut judge, &mut Vec::new());
    let block = copies.find_map(&mut read)?;
    let chain = if is_new(bp) { 0 } else { block.len().checked_sub(CHAIN_SIZE)? };
    let used = usize::try_from(word(&block, chain + USED_AT, order)?).ok()?;
    let records = if is_new(bp) { CHAIN_SIZE..used } else { 0..used.min(chain) };
    Some((block, order, records))
}
