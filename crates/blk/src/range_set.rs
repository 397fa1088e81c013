//! A set of bytes, kept as sorted ranges that neither overlap nor touch.

use alloc::collections::BTreeMap;
use core::ops::Range;

/// A set of byte offsets as few ranges as possible: what is used, what is free, what was visited.
///
/// Ranges that touch are joined, so two sets of the same bytes are equal. Empty ranges (and ranges
/// that end before they start) hold nothing and change nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RangeSet {
    /// Start to end.
    ranges: BTreeMap<u64, u64>,
}

impl RangeSet {
    /// The empty set.
    pub fn new() -> RangeSet {
        RangeSet::default()
    }

    /// Adds the bytes of `range`.
    pub fn insert(&mut self, range: Range<u64>) {
        let Range { mut start, mut end } = range;
        if start >= end {
            return;
        }
        if let Some((&s, &e)) = self.ranges.range(..=start).next_back()
            && e >= start
        {
            if e >= end {
                return;
            }
            start = s;
        }
        while let Some((&s, &e)) = self.ranges.range(start..=end).next_back() {
            end = end.max(e);
            if s == start {
                break;
            }
            self.ranges.remove(&s);
        }
        self.ranges.insert(start, end);
    }

    /// Takes the bytes of `range` away.
    pub fn remove(&mut self, range: Range<u64>) {
        let Range { start, end } = range;
        if start >= end {
            return;
        }
        if let Some((_, e)) = self.ranges.range_mut(..start).next_back()
            && *e > start
        {
            let old = core::mem::replace(e, start);
            if old > end {
                self.ranges.insert(end, old);
                return;
            }
        }
        while let Some((&s, &e)) = self.ranges.range(start..end).next() {
            self.ranges.remove(&s);
            if e > end {
                self.ranges.insert(end, e);
                return;
            }
        }
    }

    /// Whether the byte at `offset` is in the set.
    pub fn contains(&self, offset: u64) -> bool {
        self.before_or_at(offset).is_some_and(|r| r.end > offset)
    }

    /// Whether all bytes of `range` are in the set (an empty range always is).
    pub fn covers(&self, range: Range<u64>) -> bool {
        range.is_empty() || self.before_or_at(range.start).is_some_and(|r| r.end >= range.end)
    }

    /// Whether any byte of `range` is in the set.
    pub fn overlaps(&self, range: Range<u64>) -> bool {
        self.overlapping(range).next().is_some()
    }

    /// The parts of the set inside `range`, in order, clipped to it.
    pub fn overlapping(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let Range { start, end } = range;
        let end = end.max(start);
        let head = self.before_or_at(start).filter(|r| r.end > start && end > start);
        // What starts at `start` itself is the head already.
        let rest = start.saturating_add(1).min(end)..end;
        head.into_iter()
            .chain(self.ranges.range(rest).map(|(&s, &e)| s..e))
            .map(move |r| r.start.max(start)..r.end.min(end))
    }

    /// The bytes of `within` that are not in the set.
    pub fn complement(&self, within: Range<u64>) -> RangeSet {
        let mut gaps = RangeSet::new();
        let mut at = within.start;
        for used in self.overlapping(within.clone()) {
            gaps.insert(at..used.start);
            at = used.end;
        }
        gaps.insert(at..within.end);
        gaps
    }

    /// Adds all bytes of `other`.
    pub fn union(&mut self, other: &RangeSet) {
        self.extend(other.iter());
    }

    /// Takes all bytes of `other` away.
    pub fn subtract(&mut self, other: &RangeSet) {
        for range in other.iter() {
            self.remove(range);
        }
    }

    /// The bytes that are in both sets.
    pub fn intersection(&self, other: &RangeSet) -> RangeSet {
        other.iter().flat_map(|range| self.overlapping(range)).collect()
    }

    /// The ranges, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Range<u64>> + '_ {
        self.ranges.iter().map(|(&start, &end)| start..end)
    }

    /// How many ranges there are.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many bytes are in the set.
    pub fn bytes(&self) -> u64 {
        self.ranges.iter().map(|(start, end)| end - start).sum()
    }

    fn before_or_at(&self, offset: u64) -> Option<Range<u64>> {
        self.ranges.range(..=offset).next_back().map(|(&start, &end)| start..end)
    }
}

impl Extend<Range<u64>> for RangeSet {
    fn extend<T: IntoIterator<Item = Range<u64>>>(&mut self, ranges: T) {
        for range in ranges {
            self.insert(range);
        }
    }
}

impl FromIterator<Range<u64>> for RangeSet {
    fn from_iter<T: IntoIterator<Item = Range<u64>>>(ranges: T) -> RangeSet {
        let mut set = RangeSet::new();
        set.extend(ranges);
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(ranges: &[(u64, u64)]) -> RangeSet {
        ranges.iter().map(|&(s, e)| s..e).collect()
    }

    #[test]
    fn joins_what_touches_and_splits_what_is_cut() {
        let mut s = set(&[(10, 20), (30, 40), (20, 30)]);
        assert_eq!(s, set(&[(10, 40)]));
        s.remove(15..25);
        assert_eq!(s, set(&[(10, 15), (25, 40)]));
        s.remove(0..u64::MAX);
        assert!(s.is_empty());
    }

    #[test]
    fn reaches_the_last_offset() {
        let mut s = RangeSet::new();
        s.insert(0..u64::MAX);
        assert_eq!(s.bytes(), u64::MAX);
        assert!(s.covers(5..u64::MAX));
        assert!(s.complement(0..u64::MAX).is_empty());
        assert_eq!(s.overlapping(u64::MAX - 1..u64::MAX).count(), 1);
        assert_eq!(s.overlapping(u64::MAX..u64::MAX).count(), 0);
    }

    #[test]
    #[allow(clippy::reversed_empty_ranges)]
    fn nothing_is_nothing() {
        let mut s = set(&[(5, 5), (9, 3)]);
        s.remove(4..4);
        assert!(s.is_empty() && s.covers(7..7) && !s.overlaps(0..9));
        let s = set(&[(0, 10)]);
        assert!(!s.overlaps(5..5));
        assert_eq!(s.overlapping(7..3).count(), 0);
    }

    const BYTES: usize = 64;

    /// A model that cannot be wrong: one flag a byte.
    fn model(ops: &[(bool, u64, u64)]) -> (RangeSet, [bool; BYTES]) {
        let (mut set, mut flags) = (RangeSet::new(), [false; BYTES]);
        for &(add, start, len) in ops {
            let range = start..(start + len).min(BYTES as u64);
            flags[range.start as usize..range.end as usize].fill(add);
            if add { set.insert(range) } else { set.remove(range) }
        }
        (set, flags)
    }

    fn ops() -> impl Strategy<Value = Vec<(bool, u64, u64)>> {
        prop::collection::vec((any::<bool>(), 0..BYTES as u64, 0..20u64), 0..40)
    }

    fn bits(set: &RangeSet) -> [bool; BYTES] {
        let mut flags = [false; BYTES];
        set.iter().for_each(|r| flags[r.start as usize..r.end as usize].fill(true));
        flags
    }

    proptest! {
        #[test]
        fn agrees_with_one_flag_a_byte(a in ops(), b in ops(), from in 0..BYTES as u64, len in 0..30u64) {
            let (sa, fa) = model(&a);
            let (sb, fb) = model(&b);
            prop_assert_eq!(bits(&sa), fa);
            // Sorted, not empty, not touching.
            let ranges: Vec<_> = sa.iter().collect();
            prop_assert!(ranges.iter().all(|r| r.start < r.end));
            prop_assert!(ranges.windows(2).all(|w| w[0].end < w[1].start));
            prop_assert_eq!(sa.bytes(), fa.iter().filter(|f| **f).count() as u64);

            let within = from..(from + len).min(BYTES as u64);
            let part = &fa[within.start as usize..within.end as usize];
            prop_assert_eq!(sa.covers(within.clone()), part.iter().all(|f| *f));
            prop_assert_eq!(sa.overlaps(within.clone()), part.iter().any(|f| *f));
            prop_assert_eq!(sa.contains(from), fa[from as usize]);
            let inside: RangeSet = sa.overlapping(within.clone()).collect();
            prop_assert_eq!(inside.bytes() as usize, part.iter().filter(|f| **f).count());
            let mut all = sa.complement(within.clone());
            prop_assert!(!all.iter().any(|r| sa.overlaps(r)));
            all.union(&inside);
            prop_assert_eq!(all, std::iter::once(within).collect::<RangeSet>());

            let mut union = sa.clone();
            union.union(&sb);
            let mut difference = sa.clone();
            difference.subtract(&sb);
            for i in 0..BYTES {
                prop_assert_eq!(bits(&union)[i], fa[i] || fb[i]);
                prop_assert_eq!(bits(&difference)[i], fa[i] && !fb[i]);
                prop_assert_eq!(bits(&sa.intersection(&sb))[i], fa[i] && fb[i]);
            }
        }
    }
}
