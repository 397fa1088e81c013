//! Where the columns of a block lie.

use core::ops::Range;

use super::RaidzError;
use crate::prelude::*;

/// Most disks of a vdev (`VDEV_RAIDZ_MAXCHILDREN` is 255).
const MAX_CHILDREN: usize = 255;
/// Largest block, and room for its rounding.
const MAX_LENGTH: u64 = (16 << 20) + (64 << 10);
/// Bit of the offset by which raidz1 swaps its first two columns.
const SWAP: u64 = 1 << 20;

/// The shape of a RAID-Z vdev.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    children: u64,
    parity: u64,
    ashift: u32,
}

/// A disk's part of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Number of the disk.
    pub child: usize,
    /// Byte offset in the disk's allocatable space (add 4 MiB for the offset on the device).
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
}

/// The columns of one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    /// Parity first, data after; no column is empty, the first is the longest.
    pub columns: Vec<Column>,
    /// How many of them are parity.
    pub parity: usize,
    /// Bytes of all data columns: the block's length rounded up to sectors.
    pub data_length: u64,
}

impl Geometry {
    /// A vdev of `children` disks with `parity` columns of parity and sectors of `1 << ashift`.
    pub fn new(children: usize, parity: u64, ashift: u32) -> Result<Self, RaidzError> {
        let wide = (parity as usize).checked_add(1).is_some_and(|least| children >= least);
        if !(1..=3).contains(&parity)
            || !wide
            || children > MAX_CHILDREN
            || !(9..=16).contains(&ashift)
        {
            return Err(RaidzError::Shape { children, parity, ashift });
        }
        Ok(Self { children: children as u64, parity, ashift })
    }

    /// Number of disks.
    pub fn children(&self) -> usize {
        self.children as usize
    }

    /// What a block of `psize` bytes takes of the vdev's space, parity and padding included.
    pub fn asize(&self, psize: u64) -> u64 {
        let sectors = psize.div_ceil(1 << self.ashift).max(1);
        let rows = sectors.div_ceil(self.children - self.parity);
        let all = sectors.saturating_add(self.parity.saturating_mul(rows));
        all.checked_next_multiple_of(self.parity + 1)
            .and_then(|all| all.checked_mul(1 << self.ashift))
            .unwrap_or(u64::MAX)
    }

    /// The columns of the block of `length` bytes at `offset` of the vdev's space.
    pub fn map(&self, offset: u64, length: u64) -> Result<Map, RaidzError> {
        let sector = 1u64 << self.ashift;
        let sane = length > 0
            && length <= MAX_LENGTH
            && offset.is_multiple_of(sector)
            && offset.checked_add(2 * self.asize(length)).is_some();
        if !sane {
            return Err(RaidzError::Place { offset, length });
        }
        let (first, sectors) = (offset / sector, length.div_ceil(sector));
        // Whole rows, and the sectors of the last one if it is not whole.
        let data_columns = self.children - self.parity;
        let (rows, rest) = (sectors / data_columns, sectors % data_columns);
        let longer = if rest == 0 { 0 } else { rest + self.parity };
        let count = if rows == 0 { longer } else { self.children };
        let mut columns: Vec<Column> = (0..count)
            .map(|column| {
                let place = first % self.children + column;
                let row = first / self.children + place / self.children;
                Column {
                    child: (place % self.children) as usize,
                    offset: row * sector,
                    length: (rows + u64::from(column < longer)) * sector,
                }
            })
            .collect();
        // Part of the format for ever: raidz1 changes its parity disk every MiB.
        if self.parity == 1
            && offset & SWAP != 0
            && let [first, second, ..] = &mut *columns
        {
            core::mem::swap(&mut first.child, &mut second.child);
            core::mem::swap(&mut first.offset, &mut second.offset);
        }
        Ok(Map { columns, parity: self.parity as usize, data_length: sectors * sector })
    }

    /// The bytes of each disk's allocatable space that `range` of the vdev's space covers, in the
    /// order of the disks. Sectors that are covered in part count as covered.
    pub fn children_ranges(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> + use<> {
        let (children, ashift) = (self.children, self.ashift);
        let first = range.start >> ashift;
        let end = range.end.div_ceil(1 << ashift).max(first);
        (0..children).map(move |child| {
            // Sectors of this disk below `n`, of all that are numbered in turn.
            let below = |n: u64| n.saturating_sub(child).div_ceil(children) << ashift;
            below(first)..below(end)
        })
    }
}
