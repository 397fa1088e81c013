//! Heads of tar members as OVA (ustar) and Google's import (old GNU, sparse) want them.

use std::io::{self, Read};
use std::ops::Range;

/// Bytes of a record.
pub(super) const RECORD: usize = 512;
/// The largest size that eleven octal digits tell.
pub(super) const MAX_OCTAL: u64 = (1 << 33) - 1;

/// A ustar head of a file. One that is larger than [`MAX_OCTAL`] tells its size as GNU does, for those
/// who do not read what [`pax_size`] says before it.
pub(super) fn ustar(name: &str, size: u64) -> [u8; RECORD] {
    head(name, size, b'0')
}

/// An extended head (POSIX.1-2001, pax) that tells the size of the file that follows: two records.
pub(super) fn pax_size(name: &str, size: u64) -> Vec<u8> {
    // The length counts itself: "NN size=SIZE\n" has two digits for every size.
    let value = format!(" size={size}\n");
    let record = format!("{}{value}", value.len() + 2);
    let mut heads = head(&format!("PaxHeaders/{name}"), record.len() as u64, b'x').to_vec();
    heads.extend_from_slice(record.as_bytes());
    heads.resize(2 * RECORD, 0);
    heads
}

fn head(name: &str, size: u64, kind: u8) -> [u8; RECORD] {
    let mut head = common(name, size, kind);
    head[257..265].copy_from_slice(b"ustar\x0000");
    sum(&mut head);
    head
}

/// Name, size and kind of the file that a head describes; `None` if it is no head.
pub(super) fn member(head: &[u8; RECORD]) -> Option<(&[u8], u64, u8)> {
    let name = head.get(..100)?.split(|&byte| byte == 0).next()?;
    let size = value(head.get(124..136)?)?;
    let kind = *head.get(156)?;
    (!name.is_empty()).then_some((name, size, kind))
}

/// What [`number`] wrote.
fn value(field: &[u8]) -> Option<u64> {
    match field.split_first()? {
        (0x80, rest) => {
            let (high, low) = rest.split_at_checked(3)?;
            let low: [u8; 8] = low.try_into().ok()?;
            (high == [0; 3]).then(|| u64::from_be_bytes(low))
        }
        _ => {
            let digits = field.split(|&byte| byte == 0 || byte == b' ').next()?;
            u64::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
        }
    }
}

/// A sparse file in a tar archive of old GNU format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SparseFile {
    /// Its name.
    pub name: Vec<u8>,
    /// Where its data lies; all of it follows the heads.
    pub runs: Vec<Range<u64>>,
    /// Its bytes with the holes.
    pub size: u64,
}

impl SparseFile {
    /// Reads the heads at the start of an archive; `None` if they are not those of a sparse file, or tell
    /// more than about `most` runs.
    pub fn read(archive: &mut dyn Read, most: usize) -> io::Result<Option<Self>> {
        let mut head = [0; RECORD];
        archive.read_exact(&mut head)?;
        let mut summed = head;
        sum(&mut summed);
        let Some((name, stored, b'S')) = member(&head).filter(|_| summed == head) else {
            return Ok(None);
        };
        let Some(size) = value(&head[483..495]) else { return Ok(None) };
        let mut file = Self { name: name.to_vec(), runs: Vec::new(), size };
        let mut sound = file.add(&head[386..482]);
        let mut more = head[482] != 0;
        while more && sound && file.runs.len() <= most {
            let mut record = [0; RECORD];
            archive.read_exact(&mut record)?;
            sound = file.add(&record[..504]);
            more = record[504] != 0;
        }
        let data: u64 = file.runs.iter().map(|run| run.end - run.start).sum();
        let inside = file.runs.last().is_none_or(|run| run.end <= size);
        Ok((sound && inside && data == stored).then_some(file))
    }

    /// Adds the runs of a record, up to the first entry without any; `false` if they do not ascend.
    fn add(&mut self, entries: &[u8]) -> bool {
        for entry in entries.chunks_exact(24).take_while(|entry| entry[0] != 0) {
            let (start, length) = entry.split_at(12);
            let run = value(start).zip(value(length));
            let Some((start, end)) =
                run.and_then(|(start, length)| Some((start, start.checked_add(length)?)))
            else {
                return false;
            };
            if self.runs.last().is_some_and(|last| last.end > start) {
                return false;
            }
            // An empty one tells only where the file ends.
            if end > start {
                self.runs.push(start..end);
            }
        }
        true
    }
}

/// The heads of a sparse file in old GNU format: `runs` of data, of a file of `real` bytes.
pub(super) fn gnu_sparse(name: &str, real: u64, runs: &[Range<u64>]) -> Vec<u8> {
    let stored: u64 = runs.iter().map(|run| run.end - run.start).sum();
    let mut head = common(name, stored, b'S');
    head[257..265].copy_from_slice(b"ustar  \0");
    // A last, empty run tells where the file ends.
    let mut runs: Vec<Range<u64>> = runs.to_vec();
    if runs.last().is_none_or(|run| run.end < real) {
        runs.push(real..real);
    }
    let entry = |run: &Range<u64>| {
        let mut bytes = [0; 24];
        bytes[..12].copy_from_slice(&number(run.start));
        bytes[12..].copy_from_slice(&number(run.end - run.start));
        bytes
    };
    let (first, rest) = runs.split_at(runs.len().min(4));
    for (index, run) in first.iter().enumerate() {
        head[386 + index * 24..410 + index * 24].copy_from_slice(&entry(run));
    }
    head[482] = u8::from(!rest.is_empty());
    head[483..495].copy_from_slice(&number(real));
    sum(&mut head);
    let mut heads = head.to_vec();
    let mut chunks = rest.chunks(21).peekable();
    while let Some(chunk) = chunks.next() {
        let mut record = [0; RECORD];
        for (index, run) in chunk.iter().enumerate() {
            record[index * 24..index * 24 + 24].copy_from_slice(&entry(run));
        }
        record[504] = u8::from(chunks.peek().is_some());
        heads.extend_from_slice(&record);
    }
    heads
}

fn common(name: &str, size: u64, kind: u8) -> [u8; RECORD] {
    let mut head = [0; RECORD];
    let name = &name.as_bytes()[..name.len().min(99)];
    head[..name.len()].copy_from_slice(name);
    head[100..108].copy_from_slice(b"0000644\0");
    head[108..116].copy_from_slice(b"0000000\0");
    head[116..124].copy_from_slice(b"0000000\0");
    head[124..136].copy_from_slice(&number(size));
    head[136..148].copy_from_slice(&number(0));
    head[156] = kind;
    head
}

/// Eleven octal digits, or GNU's binary form for what is larger.
fn number(value: u64) -> [u8; 12] {
    let mut bytes = [0; 12];
    if value <= MAX_OCTAL {
        bytes[..11].copy_from_slice(format!("{value:011o}").as_bytes());
    } else {
        bytes[0] = 0x80;
        bytes[4..].copy_from_slice(&value.to_be_bytes());
    }
    bytes
}

fn sum(head: &mut [u8; RECORD]) {
    head[148..156].fill(b' ');
    let sum: u32 = head.iter().map(|&byte| u32::from(byte)).sum();
    head[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_back() {
        for size in [0, 1, MAX_OCTAL, MAX_OCTAL + 1, u64::MAX] {
            assert_eq!(member(&ustar("disk", size)), Some((&b"disk"[..], size, b'0')));
            let pax = pax_size("disk", size);
            assert_eq!(pax.len(), 2 * RECORD);
            let length: usize =
                std::str::from_utf8(&pax[RECORD..RECORD + 2]).unwrap().parse().unwrap();
            let record = &pax[RECORD..RECORD + length];
            assert_eq!(record, format!("{length} size={size}\n").as_bytes());
        }
        assert_eq!(member(&[0; RECORD]), None);
        assert_eq!(member(&[0xff; RECORD]), None);
    }

    #[test]
    fn sparse_heads_are_read_back() {
        let gib = 1 << 30;
        for count in [0, 1, 3, 4, 5, 24, 25, 26, 100] {
            let runs: Vec<Range<u64>> =
                (0..count).map(|run| run * gib..run * gib + 65536 * (run % 3 + 1)).collect();
            let size = (count + 1) * gib;
            let heads = gnu_sparse("disk.raw", size, &runs);
            let read = |heads: &[u8]| SparseFile::read(&mut &*heads, 1000).unwrap();
            let expected = SparseFile { name: b"disk.raw".to_vec(), runs, size };
            assert_eq!(read(&heads), Some(expected), "{count}");
            let mut bad = heads.clone();
            bad[490] ^= 1;
            assert_eq!(read(&bad), None, "{count}");
        }
    }
}
