//! Reading a block and reconstructing what of it is absent or wrong.

use core::ops::Range;

use super::field::{add_multiple, invert, power};
use super::{Column, Map};
use crate::prelude::*;

/// How many combinations of wrong columns are tried at most.
const MAX_TRIES: usize = 20_000;
/// How many bytes of blocks are computed for that at most: what blocks of 16 MiB on twenty disks with
/// three of parity need.
const MAX_WORK: u64 = 32 << 30;

/// A column that was not as it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnFault {
    /// Which.
    pub column: Column,
    /// Whether it could be read at all.
    pub readable: bool,
}

/// What came of reading a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The block, rounded up to sectors, if it could be read or reconstructed.
    pub data: Option<Vec<u8>>,
    /// Columns that could not be read or held something else than they must. Of parity this is
    /// known only where parity was read.
    pub faults: Vec<ColumnFault>,
}

struct Stripe<'m> {
    map: &'m Map,
    data: Vec<u8>,
    /// Where in `data` each data column is.
    places: Vec<Range<usize>>,
    parity: Vec<Option<Vec<u8>>>,
}

/// Reads a block. `fetch` fills a buffer with a column and tells whether it could; `judge` tells
/// whether a block is the right one (it gets the bytes of all data columns, so it must look only at
/// the block's own length). Parity is read if it is needed, or if `thorough`.
pub fn read(
    map: &Map,
    thorough: bool,
    fetch: &mut dyn FnMut(&Column, &mut [u8]) -> bool,
    judge: &mut dyn FnMut(&[u8]) -> bool,
) -> Outcome {
    let (parity_columns, data_columns) =
        map.columns.split_at_checked(map.parity).unwrap_or((&map.columns, &[]));
    let mut stripe = Stripe {
        map,
        data: vec![0; map.data_length as usize],
        places: Vec::with_capacity(data_columns.len()),
        parity: vec![None; parity_columns.len()],
    };
    let mut absent = Vec::new();
    let mut at = 0usize;
    for (index, column) in data_columns.iter().enumerate() {
        let place = at..at.saturating_add(column.length as usize);
        at = place.end;
        let Some(bytes) = stripe.data.get_mut(place.clone()) else {
            return Outcome { data: None, faults: Vec::new() };
        };
        if !fetch(column, bytes) {
            bytes.fill(0);
            absent.push(index);
        }
        stripe.places.push(place);
    }
    let right = absent.is_empty() && judge(&stripe.data);
    if right && !thorough {
        return Outcome { data: Some(stripe.data), faults: Vec::new() };
    }
    let mut faults: Vec<ColumnFault> = absent
        .iter()
        .filter_map(|&index| data_columns.get(index))
        .map(|column| ColumnFault { column: *column, readable: false })
        .collect();
    for (slot, column) in stripe.parity.iter_mut().zip(parity_columns) {
        let mut bytes = vec![0; column.length as usize];
        if fetch(column, &mut bytes) {
            *slot = Some(bytes);
        } else {
            faults.push(ColumnFault { column: *column, readable: false });
        }
    }
    let wrong = if right { Some(Vec::new()) } else { stripe.solve(&absent, judge) };
    let Some(wrong) = wrong else { return Outcome { data: None, faults } };
    let wrong = wrong.iter().filter(|index| !absent.contains(index));
    let mut bad: Vec<Column> = wrong.filter_map(|&at| data_columns.get(at)).copied().collect();
    for (row, column) in parity_columns.iter().enumerate() {
        if let Some(Some(have)) = stripe.parity.get(row)
            && *have != stripe.parity_of(row)
        {
            bad.push(*column);
        }
    }
    faults.extend(bad.into_iter().map(|column| ColumnFault { column, readable: true }));
    Outcome { data: Some(stripe.data), faults }
}

impl Stripe<'_> {
    /// What data column `index` counts with in parity `row`: powers of 1, 2 and 4 that fall to 1
    /// for the last column.
    fn factor(&self, row: usize, index: usize) -> u8 {
        power(row * (self.places.len() - 1).saturating_sub(index))
    }

    fn parity_length(&self) -> usize {
        self.map.columns.first().map_or(0, |column| column.length as usize)
    }

    /// Parity `row` of the data as it is now.
    fn parity_of(&self, row: usize) -> Vec<u8> {
        let mut parity = vec![0; self.parity_length()];
        self.add_columns(row, &[], &mut parity);
        parity
    }

    /// Adds all data columns but those of `without`, as they count in parity `row`.
    fn add_columns(&self, row: usize, without: &[usize], sum: &mut [u8]) {
        for (index, place) in self.places.iter().enumerate() {
            if !without.contains(&index) {
                let column = self.data.get(place.clone()).unwrap_or_default();
                add_multiple(sum, column, self.factor(row, index));
            }
        }
    }

    /// Tries to make the data right, knowing that the columns `absent` are not there, and tells
    /// which columns were changed.
    fn solve(
        &mut self,
        absent: &[usize],
        judge: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Option<Vec<usize>> {
        let present: Vec<usize> = (0..self.parity.len())
            .filter(|&row| matches!(self.parity.get(row), Some(Some(_))))
            .collect();
        let others: Vec<usize> =
            (0..self.places.len()).filter(|index| !absent.contains(index)).collect();
        let original = self.data.clone();
        let most = MAX_WORK / (original.len() as u64).max(1);
        let most = MAX_TRIES.min(usize::try_from(most).unwrap_or(MAX_TRIES));
        let mut tries = 0;
        // Few wrong columns are likelier than many.
        for more in 0..=present.len().checked_sub(absent.len())? {
            let mut suspects = Combinations::new(others.len(), more);
            while let Some(chosen) = suspects.next() {
                let mut bad = absent.to_vec();
                bad.extend(chosen.iter().filter_map(|&at| others.get(at)));
                if bad.is_empty() {
                    continue;
                }
                let mut rows = Combinations::new(present.len(), bad.len());
                while let Some(chosen) = rows.next() {
                    tries += 1;
                    if tries > most {
                        return None;
                    }
                    let rows: Vec<usize> =
                        chosen.iter().filter_map(|&at| present.get(at)).copied().collect();
                    if self.reconstruct(&bad, &rows).is_some() && judge(&self.data) {
                        let changed = |index: &usize| {
                            let place = self.places.get(*index).cloned().unwrap_or_default();
                            self.data.get(place.clone()) != original.get(place)
                        };
                        return Some(bad.into_iter().filter(changed).collect());
                    }
                    self.data.copy_from_slice(&original);
                }
            }
        }
        None
    }

    /// Computes the data columns `bad` from the others and as many `rows` of parity.
    fn reconstruct(&mut self, bad: &[usize], rows: &[usize]) -> Option<()> {
        let size = bad.len();
        if size > 3 || rows.len() != size {
            return None;
        }
        let mut matrix = [[0; 3]; 3];
        for (equation, &row) in matrix.iter_mut().zip(rows) {
            for (factor, &index) in equation.iter_mut().zip(bad) {
                *factor = self.factor(row, index);
            }
        }
        let inverse = invert(matrix, size)?;
        let mut sums = Vec::with_capacity(size);
        for &row in rows {
            let mut sum = self.parity.get(row)?.clone()?;
            self.add_columns(row, bad, &mut sum);
            sums.push(sum);
        }
        for (factors, &index) in inverse.iter().zip(bad) {
            let place = self.places.get(index)?.clone();
            let column = self.data.get_mut(place)?;
            column.fill(0);
            for (sum, factor) in sums.iter().zip(factors) {
                let sum = sum.get(..column.len())?;
                add_multiple(column, sum, *factor);
            }
        }
        Some(())
    }
}

/// All ways to take `size` of `count` things, in order.
struct Combinations {
    count: usize,
    chosen: Vec<usize>,
    started: bool,
}

impl Combinations {
    fn new(count: usize, size: usize) -> Self {
        Self { count, chosen: (0..size).collect(), started: false }
    }

    fn next(&mut self) -> Option<&[usize]> {
        let size = self.chosen.len();
        if !self.started {
            self.started = true;
            return (size <= self.count).then_some(&self.chosen);
        }
        // The last one that can still move up; those behind it follow directly.
        let at = (0..size).rev().find(|&at| self.chosen[at] < self.count - (size - at))?;
        let next = self.chosen[at] + 1;
        for (offset, slot) in self.chosen[at..].iter_mut().enumerate() {
            *slot = next + offset;
        }
        Some(&self.chosen)
    }
}
