//! The log: changes to the file's metadata that were promised but perhaps not made. They are laid
//! over the file; the file stays as it is.

use std::collections::BTreeMap;

use blk::RangeSet;
use zerocopy::{FromBytes, IntoBytes};

use super::format::{
    ALIGNMENT, DATA_SECTOR_SIGNATURE, DATA_SIGNATURE, DESCRIPTORS_IN_FIRST_SECTOR,
    DESCRIPTORS_IN_SECTOR, DataSector, Descriptor, Header, LOG_SECTOR, LOG_SIGNATURE, LogEntry,
    MAX_DISK_SIZE, ZERO_SIGNATURE, crc32c,
};
use crate::image::{Host, OpenError};
use crate::{Guid, sums_agree};

/// Logs are 1 MiB; larger ones than this are not read.
const MAX_LOG: u32 = 64 << 20;
/// How many times its length may be summed until a log is judged. The entries of a real one do not
/// overlap: those in force are summed three times, those that an older lap left behind once.
const MAX_LAPS: u64 = 16;
/// The longest file a log may promise: the largest disk, and far more than its tables need.
const MAX_FILE: u64 = 2 * MAX_DISK_SIZE;
const SECTOR: u64 = LOG_SECTOR as u64;

/// What the log changes.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    sectors: BTreeMap<u64, Box<[u8]>>,
    zeros: RangeSet,
    /// The file must be at least so long.
    pub(super) file_size: u64,
}

impl Overlay {
    /// Reads the log that the header names.
    pub(super) fn read(host: &Host, header: &Header, at: u64) -> Result<Self, OpenError> {
        let mut overlay = Self::default();
        if header.log_guid.is_nil() {
            return Ok(overlay);
        }
        let (offset, length) = (header.log_offset.get(), header.log_length.get());
        host.require(
            header.log_version.get() == 0,
            at + 64,
            "the log's version",
            header.log_version.get().into(),
            "only 0 is known",
        )?;
        host.require(
            (1..=MAX_LOG).contains(&length) && u64::from(length).is_multiple_of(ALIGNMENT),
            at + 68,
            "the log's length",
            length.into(),
            "it must be whole MiB, at most 64",
        )?;
        let bytes = host.bytes(offset, length.into(), "the log")?;
        let mut log = Log { bytes, guid: header.log_guid, left: u64::from(length) * MAX_LAPS };
        let entries = log.active();
        if log.left == 0 {
            let expected = "its entries overlap, which no writer's do";
            return Err(host.field(offset, "the log", offset, expected.into()));
        }
        let Some(entries) = entries else {
            return Err(host.field(
                offset,
                "the log",
                offset,
                "it should be replayed, but has no complete sequence of entries".into(),
            ));
        };
        for entry in &entries {
            overlay.apply(entry);
        }
        if let Some(last) = entries.last() {
            let promised = last.file_size;
            host.require(
                promised <= MAX_FILE,
                offset,
                "the file's length in the log",
                promised,
                "no VHDX is longer than 128 TiB",
            )?;
            overlay.file_size = promised;
        }
        Ok(overlay)
    }

    fn apply(&mut self, entry: &Entry) {
        for change in &entry.changes {
            match change {
                Change::Data(offset, bytes) => {
                    self.sectors.insert(*offset, bytes.clone());
                }
                Change::Zeros(offset, length) => {
                    let end = offset.saturating_add(*length);
                    let covered: Vec<u64> =
                        self.sectors.range(*offset..end).map(|(at, _)| *at).collect();
                    for at in covered {
                        self.sectors.remove(&at);
                    }
                    self.zeros.insert(*offset..end);
                }
            }
        }
    }

    /// Changes `buf`, which was read at `offset`, to what it will be after the replay.
    pub(super) fn over(&self, buf: &mut [u8], offset: u64) {
        let end = offset.saturating_add(buf.len() as u64);
        for zeros in self.zeros.overlapping(offset..end) {
            buf[(zeros.start - offset) as usize..(zeros.end - offset) as usize].fill(0);
        }
        // Sectors start on multiples of 4096.
        for (&at, bytes) in self.sectors.range(offset / SECTOR * SECTOR..end) {
            let (from, to) = (at.max(offset), at.saturating_add(SECTOR).min(end));
            if from < to {
                buf[(from - offset) as usize..(to - offset) as usize]
                    .copy_from_slice(&bytes[(from - at) as usize..(to - at) as usize]);
            }
        }
    }
}

enum Change {
    Data(u64, Box<[u8]>),
    Zeros(u64, u64),
}

struct Entry {
    sequence: u64,
    tail: u64,
    length: u64,
    file_size: u64,
    changes: Vec<Change>,
}

struct Log {
    bytes: Vec<u8>,
    guid: Guid,
    /// Bytes that may still be summed; 0: they were too many.
    left: u64,
}

impl Log {
    /// The newest complete sequence of entries (MS-VHDX 2.3.3).
    fn active(&mut self) -> Option<Vec<Entry>> {
        let size = self.bytes.len() as u64;
        let mut best: Option<(u64, u64, u64, u64)> = None;
        let mut start = 0;
        while start < size {
            let mut head = start;
            let mut last: Option<Entry> = None;
            let mut walked = 0;
            while walked < size
                && let Some(entry) = self.entry(head)
                && last
                    .as_ref()
                    .is_none_or(|last| last.sequence.checked_add(1) == Some(entry.sequence))
            {
                walked += entry.length;
                head = (head + entry.length) % size;
                last = Some(entry);
            }
            let Some(last) = last else {
                start += SECTOR;
                continue;
            };
            // Its tail must be an entry of this very sequence.
            let before = (last.tail + size - start) % size;
            let newer = best.is_none_or(|(sequence, ..)| last.sequence > sequence);
            if newer && before < walked {
                best = Some((last.sequence, last.tail, head, walked - before));
            }
            start += walked;
        }
        let (sequence, tail, _, length) = best?;
        let (mut at, mut walked, mut entries) = (tail, 0, Vec::new());
        while walked < length {
            let entry = self.entry(at)?;
            walked += entry.length;
            at = (at + entry.length) % size;
            entries.push(entry);
        }
        let complete = walked == length && entries.last().is_some_and(|e| e.sequence == sequence);
        complete.then_some(entries)
    }

    /// `length` bytes at `at`, which may go on at the start of the log.
    fn ring(&self, at: u64, length: u64) -> Vec<u8> {
        let start = at as usize;
        let first = (length as usize).min(self.bytes.len() - start);
        let mut bytes = self.bytes[start..start + first].to_vec();
        bytes.extend_from_slice(&self.bytes[..length as usize - first]);
        bytes
    }

    /// The entry at `at`, if there is a sound one.
    fn entry(&mut self, at: u64) -> Option<Entry> {
        let size = self.bytes.len() as u64;
        let (head, _) = LogEntry::read_from_prefix(self.bytes.get(at as usize..)?).ok()?;
        let length = u64::from(head.entry_length.get());
        let sound = head.signature == LOG_SIGNATURE
            && head.log_guid == self.guid
            && length >= SECTOR
            && length.is_multiple_of(SECTOR)
            && length <= size
            && u64::from(head.tail.get()) < size
            && u64::from(head.tail.get()).is_multiple_of(SECTOR)
            && head.sequence_number.get() > 0;
        if !sound {
            return None;
        }
        self.left = self.left.saturating_sub(length);
        if self.left == 0 {
            return None;
        }
        let bytes = self.ring(at, length);
        if !sums_agree(head.checksum.get(), crc32c(&bytes, 4)) {
            return None;
        }
        let sequence = head.sequence_number.get();
        let changes = changes(&bytes, head.descriptor_count.get(), sequence)?;
        Some(Entry {
            sequence,
            tail: head.tail.get().into(),
            length,
            file_size: head.last_file_offset.get(),
            changes,
        })
    }
}

/// The changes of an entry, `None` if they do not fit together.
fn changes(bytes: &[u8], count: u32, sequence: u64) -> Option<Vec<Change>> {
    let count = count as usize;
    let more = count.saturating_sub(DESCRIPTORS_IN_FIRST_SECTOR);
    let sectors = 1 + more.div_ceil(DESCRIPTORS_IN_SECTOR);
    let descriptors = bytes.get(size_of::<LogEntry>()..sectors.checked_mul(LOG_SECTOR)?)?;
    let mut data = bytes.get(sectors * LOG_SECTOR..)?.chunks_exact(LOG_SECTOR);
    let mut changes = Vec::new();
    for bytes in descriptors.chunks_exact(size_of::<Descriptor>()).take(count) {
        let descriptor = Descriptor::read_from_bytes(bytes).ok()?;
        let offset = descriptor.file_offset.get();
        if descriptor.sequence_number.get() != sequence || !offset.is_multiple_of(SECTOR) {
            return None;
        }
        match descriptor.signature {
            ZERO_SIGNATURE => {
                let length = u64::from_le_bytes(descriptor.leading_bytes);
                changes.push(Change::Zeros(offset, length));
            }
            DATA_SIGNATURE => {
                let sector = DataSector::read_from_bytes(data.next()?).ok()?;
                let number = u64::from(sector.sequence_high.get()) << 32
                    | u64::from(sector.sequence_low.get());
                if sector.signature != DATA_SECTOR_SIGNATURE || number != sequence {
                    return None;
                }
                let mut whole = sector.as_bytes().to_vec();
                whole[..8].copy_from_slice(&descriptor.leading_bytes);
                whole[LOG_SECTOR - 4..].copy_from_slice(&descriptor.trailing_bytes);
                changes.push(Change::Data(offset, whole.into_boxed_slice()));
            }
            _ => return None,
        }
    }
    Some(changes)
}
