//! Blocks of intent logs, and those that their records point to.
//!
//! They are allocated as they are written, but the space maps learn of them with their transaction
//! group only: after a crash a pool has intent log blocks that its space maps hold for free.
//!
//! Source: OpenZFS `include/sys/zil.h`, `module/zfs/zil.c` (`zil_parse`, `zil_read_log_block`).

use crate::blkptr::{BLKPTR_SIZE, BlockPointer, Dva};
use crate::codec::{ByteOrder, Checksum, Checksums};
use crate::dnode::object_type;
use crate::read::{Objset, Pool, ReadError};

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
    /// How many blocks their chains have.
    pub blocks: usize,
    /// Allocations: top-level vdev, byte offset in its space, length.
    pub ranges: Vec<(u64, u64, u64)>,
    /// Why there may be more.
    pub problems: Vec<String>,
}

/// Follows the intent logs of all datasets.
pub fn intent_logs(pool: &Pool) -> Result<IntentLogs, ReadError> {
    let mut logs = IntentLogs::default();
    let mos = pool.mos()?;
    let checksums = &pool.blocks.checksums;
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
            Ok(objset) if objset.intent_log.is_hole() => {}
            Ok(objset) => {
                logs.datasets += 1;
                logs.follow(pool, checksums, objset.intent_log);
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

    fn follow(&mut self, pool: &Pool, checksums: &Checksums, first: BlockPointer) {
        let mut bp = first;
        for _ in 0..MAX_BLOCKS {
            self.add(pool, &bp, 0);
            self.blocks += 1;
            // The log ends with the first block that is not what the one before announced.
            let Some((block, order, used)) = read_block(pool, checksums, &bp) else { return };
            self.records(pool, &block, order, used);
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

    /// The blocks that the records of a log block point to.
    fn records(
        &mut self,
        pool: &Pool,
        block: &[u8],
        order: ByteOrder,
        used: std::ops::Range<usize>,
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
    checksums: &Checksums,
    bp: &BlockPointer,
) -> Option<(Vec<u8>, ByteOrder, std::ops::Range<usize>)> {
    let checksum = Checksum::from_number(bp.checksum_type()).ok()?;
    if !matches!(checksum, Checksum::Zilog | Checksum::Zilog2) {
        return None;
    }
    let mut order = ByteOrder::Little;
    let mut judge = |data: &[u8]| match checksums.verify_in_block(
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
