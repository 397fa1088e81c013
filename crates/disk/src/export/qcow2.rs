//! qcow2 version 3 with compressed clusters.
//!
//! Clusters of the file are handed out in regions: compressed clusters are packed byte by byte into
//! one, others fill another, so that both are written in large writes. What a region did not need
//! is used for the tables at the end.
//!
//! What comes twice is stored once, as with QEMU's internal snapshots: both entries name the same bytes, which
//! their refcount says, and a guest that writes gets its own. A machine's kernel and initramfs lie on its ESP
//! and in its pool; the writers of both let large content begin at multiples of [`PIECE`].

use std::collections::HashMap;
use std::fs::File;

use zerocopy::IntoBytes;
use zerocopy::big_endian::{U16, U64};

use super::{ImageWriter, Output, PIECE, Piece, WriteError, Written, whole_sectors};
use crate::qcow2::format::{
    BLOCKS_IN_TABLE_CLUSTER, CLUSTER, CLUSTER_BITS, COMPRESSED, COMPRESSION_ZSTD, COPIED,
    HEADER_LENGTH, Header, INCOMPATIBLE_COMPRESSION, L2_COVERS, L2_ENTRIES, MAGIC, MAX_L1_ENTRIES,
    OFFSET_MASK, REFCOUNT_ORDER, REFCOUNTS_IN_BLOCK, SECTOR, VERSION,
};

/// Clusters of a region, at most.
const REGION: u64 = 16;
/// Stored pieces that are remembered, at most: 64 GiB in 64 MiB of memory.
const REMEMBERED: usize = 1 << 20;
/// Users of a cluster of the file, beyond which no more share it: more compressed pieces may still come into it.
const USERS: u16 = u16::MAX / 2;
/// Where the size starts in the entry of a compressed cluster.
const SIZE_SHIFT: u32 = 62 - (CLUSTER_BITS - 8);

const _: () = assert!(CLUSTER == PIECE);

/// How clusters are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Every QEMU reads it; the same bits serve other formats.
    Deflate,
    /// QEMU since 5.1, at this level.
    Zstd(i32),
}

/// Writes a qcow2 image.
#[derive(Debug)]
pub struct Qcow2 {
    output: Output,
    size: u64,
    compression: Compression,
    /// Clusters of the file that are handed out.
    end: u64,
    refcounts: Vec<u16>,
    packed: Region,
    plain: Region,
    free: Vec<u64>,
    l1: Vec<U64>,
    l2: Vec<U64>,
    table: Option<usize>,
    /// The last stored piece with this Adler-32.
    stored: HashMap<u32, Stored>,
    /// What a stored piece is compared in.
    compared: Vec<u8>,
}

/// Where the bytes of a piece are.
#[derive(Debug, Clone, Copy)]
struct Stored {
    /// Byte offset in the file.
    offset: u64,
    /// Bytes there.
    length: u32,
    /// Where the piece lies on the guest's disk, if its entry still says that nobody shares it.
    alone: Option<u64>,
}

/// Clusters that are filled together.
#[derive(Debug, Default)]
struct Region {
    /// Byte offset in the file.
    start: u64,
    /// Bytes it may hold.
    room: usize,
    bytes: Vec<u8>,
}

impl Qcow2 {
    /// Starts an image of a disk of `size` bytes.
    pub fn new(file: File, size: u64, compression: Compression) -> Result<Self, WriteError> {
        whole_sectors("qcow2", size)?;
        let l1_entries = size.div_ceil(L2_COVERS);
        if l1_entries > MAX_L1_ENTRIES {
            return Err(WriteError::Size { format: "qcow2", size, why: "2 PiB are the most" });
        }
        Ok(Self {
            output: Output::new(file, "qcow2")?.keeping(),
            size,
            compression,
            end: 1,
            refcounts: vec![1],
            packed: Region::default(),
            plain: Region::default(),
            free: Vec::new(),
            l1: vec![0.into(); l1_entries as usize],
            l2: vec![0.into(); L2_ENTRIES],
            table: None,
            stored: HashMap::new(),
            compared: Vec::new(),
        })
    }

    /// Clusters of the next region: few in a small file, which would be left with the rest.
    fn region(&self) -> u64 {
        (self.end / 8).clamp(1, REGION)
    }

    fn hand_out(&mut self, clusters: u64) -> u64 {
        let start = self.end;
        self.end += clusters;
        self.refcounts.resize(self.end as usize, 0);
        start * CLUSTER as u64
    }

    fn count(&mut self, offset: u64, length: usize) {
        let (first, last) = (offset, offset + length.max(1) as u64 - 1);
        for cluster in first / CLUSTER as u64..=last / CLUSTER as u64 {
            if let Some(count) = self.refcounts.get_mut(cluster as usize) {
                *count += 1;
            }
        }
    }

    /// Stores bytes in one of the regions and tells where.
    fn store(&mut self, bytes: &[u8], packed: bool) -> Result<u64, WriteError> {
        let region = if packed { &self.packed } else { &self.plain };
        if region.bytes.len() + bytes.len() > region.room {
            let more = self.region();
            let mut new = Region::default();
            let old = if packed { &mut self.packed } else { &mut self.plain };
            let at_end = old.start + old.room as u64 == self.end * CLUSTER as u64;
            if packed && old.room > 0 && at_end {
                // The next region follows directly: the bytes may lie across the border.
                let whole = old.bytes.len() / CLUSTER * CLUSTER;
                self.output.put(&old.bytes[..whole], old.start)?;
                new.start = old.start + whole as u64;
                new.bytes.extend_from_slice(&old.bytes[whole..]);
                new.room = old.room - whole + more as usize * CLUSTER;
                self.hand_out(more);
            } else {
                self.close(packed)?;
                new.start = self.hand_out(more);
                new.room = more as usize * CLUSTER;
            }
            if packed {
                self.packed = new;
            } else {
                self.plain = new;
            }
        }
        let region = if packed { &mut self.packed } else { &mut self.plain };
        let offset = region.start + region.bytes.len() as u64;
        region.bytes.extend_from_slice(bytes);
        self.count(offset, bytes.len());
        Ok(offset)
    }

    /// Where the same bytes are already, which count as used once more from now on. Adler-32 only points to
    /// what is then compared.
    fn share(&mut self, adler: u32, bytes: &[u8]) -> Result<Option<u64>, WriteError> {
        let Some(&Stored { offset, length, alone }) = self.stored.get(&adler) else {
            return Ok(None);
        };
        let clusters = offset / CLUSTER as u64..=(offset + u64::from(length) - 1) / CLUSTER as u64;
        let full = |cluster| self.refcounts.get(cluster as usize).is_none_or(|&n| n >= USERS);
        if length as usize != bytes.len() || clusters.into_iter().any(full) {
            return Ok(None);
        }
        self.read_back(offset, length as usize)?;
        if self.compared != bytes {
            return Ok(None);
        }
        if let Some(first) = alone {
            self.mark_shared(first, offset)?;
            self.stored.insert(adler, Stored { offset, length, alone: None });
        }
        self.count(offset, bytes.len());
        Ok(Some(offset))
    }

    /// Reads stored bytes into `compared`: the end of each region is not in the file yet.
    fn read_back(&mut self, offset: u64, length: usize) -> Result<(), WriteError> {
        self.compared.clear();
        self.compared.resize(length, 0);
        let region = [&self.packed, &self.plain].into_iter().find(|region| {
            region.start < offset + length as u64
                && offset < region.start + region.bytes.len() as u64
        });
        let (written, rest) = match region {
            Some(region) => {
                let written = region.start.saturating_sub(offset) as usize;
                let from = offset.saturating_sub(region.start) as usize;
                (written, &region.bytes[from..from + length - written])
            }
            None => (length, [].as_slice()),
        };
        self.compared[written..].copy_from_slice(rest);
        self.output.read_back(&mut self.compared[..written], offset)
    }

    /// Takes back that the cluster at `offset`, which the entry of the guest's `piece` names, has one user.
    fn mark_shared(&mut self, piece: u64, offset: u64) -> Result<(), WriteError> {
        let (table, index) = slot(piece);
        if self.table == Some(table) {
            if let Some(entry) = self.l2.get_mut(index) {
                *entry = offset.into();
            }
            return Ok(());
        }
        let table = self.l1.get(table).map_or(0, |entry| entry.get() & OFFSET_MASK);
        self.output.put(&offset.to_be_bytes(), table + index as u64 * 8)
    }

    /// Writes a region; whole clusters that it did not need are free.
    fn close(&mut self, packed: bool) -> Result<(), WriteError> {
        let region = std::mem::take(if packed { &mut self.packed } else { &mut self.plain });
        if region.bytes.is_empty() {
            return Ok(());
        }
        self.output.put(&region.bytes, region.start)?;
        let used = region.bytes.len().next_multiple_of(CLUSTER);
        let unused = (used..region.room).step_by(CLUSTER);
        self.free.extend(unused.map(|at| region.start + at as u64));
        // The first ones are used first, so that the file can end early.
        self.free.sort_unstable_by(|a, b| b.cmp(a));
        Ok(())
    }

    /// Stores a table, whose clusters need not be neighbours only if it is one.
    fn metadata(&mut self, bytes: &[u8]) -> Result<u64, WriteError> {
        let clusters = bytes.len().div_ceil(CLUSTER) as u64;
        let offset = match self.free.pop() {
            Some(offset) if clusters == 1 => offset,
            other => {
                self.free.extend(other);
                self.hand_out(clusters)
            }
        };
        self.output.put(bytes, offset)?;
        self.count(offset, bytes.len());
        Ok(offset)
    }

    fn close_table(&mut self) -> Result<(), WriteError> {
        if let Some(table) = self.table.take() {
            let l2 = std::mem::take(&mut self.l2);
            let offset = self.metadata(l2.as_bytes())?;
            self.l2 = l2;
            self.l2.fill(0.into());
            if let Some(entry) = self.l1.get_mut(table) {
                *entry = (offset | COPIED).into();
            }
        }
        Ok(())
    }

    /// The offset and clusters of the refcount table.
    fn write_refcounts(&mut self) -> Result<(u64, u32), WriteError> {
        // What is free at the end of the file is cut off; the rest stays counted as free.
        while let Some(last) = self.end.checked_sub(1)
            && self.refcounts.get(last as usize) == Some(&0)
        {
            self.end = last;
            self.refcounts.truncate(last as usize);
        }
        let (blocks, table) = refcount_clusters(self.end);
        let first = self.hand_out(blocks + table);
        self.count(first, (blocks + table) as usize * CLUSTER);
        let mut names: Vec<U64> = Vec::new();
        let mut at = first;
        for counts in self.refcounts.chunks(REFCOUNTS_IN_BLOCK as usize) {
            let block: Vec<U16> = counts.iter().map(|&count| count.into()).collect();
            self.output.put(block.as_bytes(), at)?;
            names.push(at.into());
            at += CLUSTER as u64;
        }
        self.output.put(names.as_bytes(), at)?;
        Ok((at, table as u32))
    }
}

/// The L2 table of a guest's cluster, and its entry there.
fn slot(offset: u64) -> (usize, usize) {
    ((offset / L2_COVERS) as usize, (offset % L2_COVERS) as usize / CLUSTER)
}

/// How many refcount blocks, and clusters of the table that names them, count `clusters` others and
/// themselves.
fn refcount_clusters(clusters: u64) -> (u64, u64) {
    let (mut blocks, mut table) = (0, 0);
    loop {
        let needed = (clusters + blocks + table).div_ceil(REFCOUNTS_IN_BLOCK);
        let needed_table = needed.div_ceil(BLOCKS_IN_TABLE_CLUSTER);
        if (needed, needed_table) == (blocks, table) {
            return (blocks, table);
        }
        (blocks, table) = (needed, needed_table);
    }
}

impl ImageWriter for Qcow2 {
    fn piece(&mut self, piece: &Piece<'_>) -> Result<(), WriteError> {
        let (table, index) = slot(piece.offset);
        if self.table != Some(table) {
            self.close_table()?;
            self.table = Some(table);
        }
        let zstd = match self.compression {
            Compression::Deflate => None,
            Compression::Zstd(level) => zstd::bulk::compress(piece.bytes, level).ok(),
        };
        let packed = match self.compression {
            Compression::Deflate => piece.deflated,
            Compression::Zstd(_) => zstd.as_deref(),
        };
        let (bytes, packed) = match packed.filter(|packed| packed.len() < CLUSTER) {
            Some(packed) => (packed, true),
            None => (piece.bytes, false),
        };
        let shared = self.share(piece.adler, bytes)?;
        let offset = match shared {
            Some(offset) => offset,
            None => self.store(bytes, packed)?,
        };
        let entry = match (packed, shared) {
            (true, _) => {
                let more = (offset + bytes.len() as u64 - 1) / SECTOR - offset / SECTOR;
                COMPRESSED | more << SIZE_SHIFT | offset
            }
            (false, None) => offset | COPIED,
            (false, Some(_)) => offset,
        };
        if let Some(slot) = self.l2.get_mut(index) {
            *slot = entry.into();
        }
        let known = self.stored.len() < REMEMBERED || self.stored.contains_key(&piece.adler);
        if shared.is_none() && known {
            let alone = (!packed).then_some(piece.offset);
            let stored = Stored { offset, length: bytes.len() as u32, alone };
            self.stored.insert(piece.adler, stored);
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<Written, WriteError> {
        self.close(true)?;
        self.close(false)?;
        self.close_table()?;
        let l1 = std::mem::take(&mut self.l1);
        let l1_table_offset = self.metadata(if l1.is_empty() { &[0] } else { l1.as_bytes() })?;
        let (refcount_table_offset, refcount_table_clusters) = self.write_refcounts()?;
        let (features, kind, more) = match self.compression {
            Compression::Deflate => (0, 0, 0),
            Compression::Zstd(_) => (INCOMPATIBLE_COMPRESSION, COMPRESSION_ZSTD, 8),
        };
        let header = Header {
            magic: MAGIC.into(),
            version: VERSION.into(),
            backing_file_offset: 0.into(),
            backing_file_size: 0.into(),
            cluster_bits: CLUSTER_BITS.into(),
            size: self.size.into(),
            crypt_method: 0.into(),
            l1_size: (l1.len() as u32).into(),
            l1_table_offset: l1_table_offset.into(),
            refcount_table_offset: refcount_table_offset.into(),
            refcount_table_clusters: refcount_table_clusters.into(),
            nb_snapshots: 0.into(),
            snapshots_offset: 0.into(),
            incompatible_features: features.into(),
            compatible_features: 0.into(),
            autoclear_features: 0.into(),
            refcount_order: REFCOUNT_ORDER.into(),
            header_length: (HEADER_LENGTH + more).into(),
        };
        let length = self.end * CLUSTER as u64;
        self.output.set_length(length)?;
        let mut start = header.as_bytes().to_vec();
        start.extend_from_slice(&[kind, 0, 0, 0, 0, 0, 0, 0]);
        self.output.put(&start, 0)?;
        Ok(Written::new(length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refcounts_count_themselves() {
        const BLOCK: u64 = REFCOUNTS_IN_BLOCK;
        assert_eq!(refcount_clusters(1), (1, 1));
        assert_eq!(refcount_clusters(BLOCK - 2), (1, 1));
        // One cluster more needs a second block, which must be counted too.
        assert_eq!(refcount_clusters(BLOCK - 1), (2, 1));
        assert_eq!(refcount_clusters(2 * BLOCK - 3), (2, 1));
        assert_eq!(refcount_clusters(2 * BLOCK - 2), (3, 1));
        let full = BLOCKS_IN_TABLE_CLUSTER;
        assert_eq!(refcount_clusters(full * BLOCK - full - 1), (full, 1));
        assert_eq!(refcount_clusters(full * BLOCK - full), (full + 1, 2));
    }
}
