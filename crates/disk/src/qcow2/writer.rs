//! Writes an image front to back: room for the header, data with each L2 table behind its data,
//! L1 table, refcounts. The header comes last, so that an unfinished image is not one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use blk::ReadAt;
use thiserror::Error;
use zerocopy::IntoBytes;
use zerocopy::big_endian::{U16, U64};

use super::format::{
    BLOCKS_IN_TABLE_CLUSTER, CLUSTER, CLUSTER_BITS, COPIED, HEADER_LENGTH, Header, L2_COVERS,
    L2_ENTRIES, MAGIC, MAX_L1_ENTRIES, REFCOUNT_ORDER, REFCOUNTS_IN_BLOCK, SECTOR, VERSION,
};
use crate::sparse::{self, SourceError};

/// Why an image was not written. What is in the output then has no header.
#[derive(Debug, Error)]
pub enum Qcow2Error {
    /// No qcow2 image has this size.
    #[error(
        "a disk of {size} bytes cannot be a qcow2 image; its size must be a multiple of {SECTOR} \
         and at most {}",
        MAX_L1_ENTRIES * L2_COVERS
    )]
    Size {
        /// The source's size in bytes.
        size: u64,
    },
    /// The source failed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The output failed.
    #[error("writing the qcow2 image at offset {offset}")]
    Output {
        /// Byte offset in the output.
        offset: u64,
        /// The failure.
        source: io::Error,
    },
}

/// Writes `source` as a qcow2 image into the regular file `out`, whose old content goes. Clusters
/// that are holes or all zero are not stored. `progress` is told how many bytes of the source are
/// done.
pub fn write(
    source: &dyn ReadAt,
    out: &File,
    progress: &mut dyn FnMut(u64),
) -> Result<(), Qcow2Error> {
    let size = source.size().map_err(|source| SourceError { offset: 0, source })?;
    let l1_entries = size.div_ceil(L2_COVERS);
    if !size.is_multiple_of(SECTOR) || l1_entries > MAX_L1_ENTRIES {
        return Err(Qcow2Error::Size { size });
    }
    out.set_len(0).map_err(|source| Qcow2Error::Output { offset: 0, source })?;
    let mut image = Image { out, end: HostOffset(CLUSTER as u64) };
    let mut map = Map::new(l1_entries as usize);
    sparse::copy(source, CLUSTER, progress, |offset, bytes| map.add(&mut image, offset, bytes))?;
    let l1 = map.finish(&mut image)?;
    let l1_table_offset = image.append(l1.as_bytes())?;
    let (refcount_table_offset, refcount_table_clusters) = refcounts(&mut image)?;
    let header = Header {
        magic: MAGIC.into(),
        version: VERSION.into(),
        backing_file_offset: 0.into(),
        backing_file_size: 0.into(),
        cluster_bits: CLUSTER_BITS.into(),
        size: size.into(),
        crypt_method: 0.into(),
        l1_size: (l1.len() as u32).into(),
        l1_table_offset: l1_table_offset.0.into(),
        refcount_table_offset: refcount_table_offset.0.into(),
        refcount_table_clusters: refcount_table_clusters.into(),
        nb_snapshots: 0.into(),
        snapshots_offset: 0.into(),
        incompatible_features: 0.into(),
        compatible_features: 0.into(),
        autoclear_features: 0.into(),
        refcount_order: REFCOUNT_ORDER.into(),
        header_length: HEADER_LENGTH.into(),
    };
    let HostOffset(length) = image.end;
    out.set_len(length).map_err(|source| Qcow2Error::Output { offset: length, source })?;
    image.put(header.as_bytes(), HostOffset(0))
}

/// A byte offset in the image file; those of the guest's disk are plain numbers here.
#[derive(Debug, Clone, Copy)]
struct HostOffset(u64);

/// The output: clusters are only ever added at its end.
struct Image<'a> {
    out: &'a File,
    end: HostOffset,
}

impl Image<'_> {
    fn put(&self, bytes: &[u8], HostOffset(offset): HostOffset) -> Result<(), Qcow2Error> {
        let fail = |source| Qcow2Error::Output { offset, source };
        self.out.write_all_at(bytes, offset).map_err(fail)
    }

    /// Adds as many clusters as `bytes` need, the rest of the last one zero, and tells where.
    fn append(&mut self, bytes: &[u8]) -> Result<HostOffset, Qcow2Error> {
        let offset = self.end;
        self.put(bytes, offset)?;
        self.end.0 += bytes.len().next_multiple_of(CLUSTER) as u64;
        Ok(offset)
    }
}

/// Where guest clusters lie: all of L1, and the L2 table that is being filled.
struct Map {
    l1: Vec<U64>,
    l2: Vec<U64>,
    current: Option<usize>,
}

impl Map {
    fn new(l1_entries: usize) -> Self {
        Self { l1: vec![0.into(); l1_entries], l2: vec![0.into(); L2_ENTRIES], current: None }
    }

    /// Stores the clusters of `bytes`, which lie at `offset` of the guest. Offsets ascend.
    fn add(&mut self, image: &mut Image, offset: u64, bytes: &[u8]) -> Result<(), Qcow2Error> {
        let mut guest = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let table = (guest / L2_COVERS) as usize;
            if self.current != Some(table) {
                self.close(image)?;
                self.current = Some(table);
            }
            let in_table = L2_COVERS - guest % L2_COVERS;
            let (now, later) = rest.split_at(rest.len().min(in_table as usize));
            let HostOffset(host) = image.append(now)?;
            let first = (guest % L2_COVERS) as usize / CLUSTER;
            let clusters = now.len().div_ceil(CLUSTER);
            let hosts = (host..).step_by(CLUSTER);
            for (entry, host) in self.l2[first..first + clusters].iter_mut().zip(hosts) {
                *entry = (host | COPIED).into();
            }
            guest += now.len() as u64;
            rest = later;
        }
        Ok(())
    }

    fn close(&mut self, image: &mut Image) -> Result<(), Qcow2Error> {
        if let Some(table) = self.current.take() {
            let HostOffset(offset) = image.append(self.l2.as_bytes())?;
            self.l1[table] = (offset | COPIED).into();
            self.l2.fill(0.into());
        }
        Ok(())
    }

    fn finish(mut self, image: &mut Image) -> Result<Vec<U64>, Qcow2Error> {
        self.close(image)?;
        Ok(self.l1)
    }
}

/// Adds refcount blocks and their table, and tells the table's offset and size in clusters. Every
/// cluster of the file is used once, those added here as well.
fn refcounts(image: &mut Image) -> Result<(HostOffset, u32), Qcow2Error> {
    let used = image.end.0 / CLUSTER as u64;
    let (blocks, table) = refcount_clusters(used);
    let mut left = used + blocks + table;
    let mut names: Vec<U64> = Vec::new();
    for _ in 0..blocks {
        let in_block = left.min(REFCOUNTS_IN_BLOCK);
        let mut block = vec![U16::new(0); REFCOUNTS_IN_BLOCK as usize];
        block[..in_block as usize].fill(1.into());
        left -= in_block;
        names.push(image.append(block.as_bytes())?.0.into());
    }
    let offset = image.append(names.as_bytes())?;
    Ok((offset, table as u32))
}

/// Clusters for refcount blocks and for their table, behind `used` clusters: as few as count all
/// of these and themselves.
fn refcount_clusters(used: u64) -> (u64, u64) {
    let (mut blocks, mut table) = (0, 0);
    loop {
        let needed = (used + blocks + table).div_ceil(REFCOUNTS_IN_BLOCK);
        let needed_table = needed.div_ceil(BLOCKS_IN_TABLE_CLUSTER);
        if (needed, needed_table) == (blocks, table) {
            return (blocks, table);
        }
        (blocks, table) = (needed, needed_table);
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
