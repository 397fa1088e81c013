use proptest::prelude::*;

use super::field::{multiply, power};
use super::*;

const SECTOR: u64 = 512;

/// Disks in memory, by sector.
struct Disks(Vec<Vec<u8>>);

impl Disks {
    fn new(children: usize) -> Self {
        Self(vec![vec![0xee; 1 << 16]; children])
    }

    /// Writes a block as the definition says it: byte by byte, with running parities.
    fn write(&mut self, map: &Map, data: &[u8]) {
        let (parity, columns) = map.columns.split_at(map.parity);
        let mut at = 0;
        let mut sums = vec![vec![0u8; parity[0].length as usize]; map.parity];
        for column in columns {
            let bytes = &data[at..at + column.length as usize];
            at += bytes.len();
            for (row, sum) in sums.iter_mut().enumerate() {
                for (n, slot) in sum.iter_mut().enumerate() {
                    *slot = multiply(*slot, power(row)) ^ bytes.get(n).copied().unwrap_or(0);
                }
            }
            self.put(column, bytes);
        }
        for (column, sum) in parity.iter().zip(&sums) {
            self.put(column, sum);
        }
    }

    fn put(&mut self, column: &Column, bytes: &[u8]) {
        let start = column.offset as usize;
        self.0[column.child][start..start + bytes.len()].copy_from_slice(bytes);
    }

    fn get(&self, column: &Column, buffer: &mut [u8]) {
        let start = column.offset as usize;
        buffer.copy_from_slice(&self.0[column.child][start..start + buffer.len()]);
    }
}

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
            (state >> 56) as u8
        })
        .collect()
}

#[test]
fn the_map_is_that_of_the_kernel() {
    // Five disks, raidz1: 7 sectors are two rows, 4 + 3, and parity for each.
    let geometry = Geometry::new(5, 1, 9).unwrap();
    let map = geometry.map(3 * SECTOR, 7 * SECTOR).unwrap();
    let have: Vec<_> =
        map.columns.iter().map(|c| (c.child, c.offset / SECTOR, c.length / SECTOR)).collect();
    assert_eq!(have, [(3, 0, 2), (4, 0, 2), (0, 1, 2), (1, 1, 2), (2, 1, 1)]);
    assert_eq!(geometry.asize(7 * SECTOR), 10 * SECTOR);
    // One sector: parity and data; in odd MiB they change places.
    let at = |offset: u64| {
        let map = geometry.map(offset, SECTOR).unwrap();
        map.columns.iter().map(|column| column.child).collect::<Vec<_>>()
    };
    assert_eq!(at(0), [0, 1]);
    assert_eq!(at(1 << 20), [4, 3]);
    // raidz2 rounds to multiples of three sectors.
    let geometry = Geometry::new(6, 2, 12).unwrap();
    assert_eq!(geometry.asize(4096), 3 << 12);
    assert_eq!(geometry.asize(5 << 12), 9 << 12);
    assert_eq!(geometry.asize(512), 3 << 12);
    for (children, parity, ashift) in
        [(1, 1, 9), (3, 3, 9), (3, 0, 9), (3, 4, 9), (256, 1, 9), (3, 1, 8)]
    {
        assert!(Geometry::new(children, parity, ashift).is_err());
    }
    for (offset, length) in [(0, 0), (1, 512), (u64::MAX - 511, 512), (0, 1 << 30), (0, u64::MAX)] {
        assert!(geometry.map(offset, length).is_err(), "{offset} {length}");
    }
}

#[test]
fn ranges_of_disks_are_those_of_the_map() {
    for (children, parity) in [(3, 1), (5, 2), (7, 3)] {
        let geometry = Geometry::new(children, parity, 9).unwrap();
        for start in 0..20u64 {
            for sectors in 1..30u64 {
                let map = geometry.map(start * SECTOR, sectors * SECTOR).unwrap();
                let end = start * SECTOR + geometry.asize(sectors * SECTOR);
                let ranges: Vec<_> = geometry.children_ranges(start * SECTOR..end).collect();
                for column in &map.columns {
                    let range = &ranges[column.child];
                    assert!(range.start <= column.offset);
                    assert!(range.end >= column.offset + column.length);
                }
                let bytes: u64 = ranges.iter().map(|range| range.end - range.start).sum();
                assert_eq!(bytes, end - start * SECTOR);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn up_to_parity_columns_may_be_absent_or_wrong(
        parity in 1u64..=3,
        more in 1usize..6,
        start in 0u64..40,
        sectors in 1u64..24,
        seed in any::<u64>(),
        picks in proptest::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..4),
    ) {
        let children = parity as usize + more;
        let geometry = Geometry::new(children, parity, 9).unwrap();
        let map = geometry.map(start * SECTOR, sectors * SECTOR).unwrap();
        let data = noise((sectors * SECTOR) as usize, seed);
        let mut disks = Disks::new(children);
        disks.write(&map, &data);

        let mut bad: Vec<(usize, bool)> = Vec::new();
        for (pick, gone) in picks {
            let child = map.columns[pick.index(map.columns.len())].child;
            if !bad.iter().any(|(have, _)| *have == child) {
                bad.push((child, gone));
            }
        }
        for (child, gone) in &bad {
            if !gone {
                let column = map.columns.iter().find(|column| column.child == *child).unwrap();
                let wrong = noise(column.length as usize, seed ^ 0x5555);
                disks.put(column, &wrong);
            }
        }
        let outcome = read(
            &map,
            true,
            &mut |column, buffer| {
                disks.get(column, buffer);
                !bad.contains(&(column.child, true))
            },
            &mut |block| block == data,
        );
        if bad.len() <= parity as usize {
            prop_assert_eq!(outcome.data.as_ref(), Some(&data));
            let mut found: Vec<_> = outcome
                .faults
                .iter()
                .map(|fault| (fault.column.child, !fault.readable))
                .collect();
            found.sort_unstable();
            bad.sort_unstable();
            prop_assert_eq!(found, bad);
        } else {
            prop_assert!(outcome.data.is_none_or(|have| have == data));
        }
    }
}
