//! Fletcher's checksums over 64-bit and 32-bit words, in both byte orders.
//!
//! Source: OpenZFS `module/zcommon/zfs_fletcher.c`. Fletcher-4 is summed in four lanes that the
//! compiler turns into vectors; the lanes' sums are combined at the end (word k = 4i + j of lane j
//! counts t = 4m - j times where its lane counts it m times; the binomials of t expand to the
//! factors below). Bytes after the last whole word do not count; blocks have none.

use super::ByteOrder;

/// Fletcher-4 of little-endian words.
pub(crate) fn fletcher4(data: &[u8]) -> [u64; 4] {
    fletcher4_more([0; 4], data, ByteOrder::Little)
}

/// Goes on with fletcher-4 from `state`; every piece but the last must be whole words.
pub(crate) fn fletcher4_more(state: [u64; 4], data: &[u8], order: ByteOrder) -> [u64; 4] {
    match order {
        ByteOrder::Little => four_lanes(state, data, u32::from_le_bytes),
        ByteOrder::Big => four_lanes(state, data, u32::from_be_bytes),
    }
}

/// How many groups are summed before the lanes are combined; any number gives the same result.
const GROUPS: usize = 1 << 14;

#[inline(always)]
fn four_lanes(mut state: [u64; 4], data: &[u8], word: impl Fn([u8; 4]) -> u32) -> [u64; 4] {
    let (groups, rest) = data.as_chunks::<16>();
    for batch in groups.chunks(GROUPS) {
        let (mut a, mut b, mut c, mut d) = ([0u64; 4], [0u64; 4], [0u64; 4], [0u64; 4]);
        for group in batch {
            for (lane, bytes) in group.as_chunks::<4>().0.iter().enumerate() {
                a[lane] = a[lane].wrapping_add(u64::from(word(*bytes)));
                b[lane] = b[lane].wrapping_add(a[lane]);
                c[lane] = c[lane].wrapping_add(b[lane]);
                d[lane] = d[lane].wrapping_add(c[lane]);
            }
        }
        let mut sum = [0u64; 4];
        let lanes = (0u64..).zip(a).zip(b).zip(c).zip(d);
        for ((((j, a), b), c), d) in lanes {
            // Binomials of j that the a-lanes are taken with: j, j choose 2, j choose 3.
            let (two, three) = (j * j.saturating_sub(1) / 2, u64::from(j == 3));
            let parts = [
                a,
                b.wrapping_mul(4).wrapping_sub(j.wrapping_mul(a)),
                c.wrapping_mul(16)
                    .wrapping_sub(b.wrapping_mul(6 + 4 * j))
                    .wrapping_add(a.wrapping_mul(two)),
                d.wrapping_mul(64)
                    .wrapping_sub(c.wrapping_mul(48 + 16 * j))
                    .wrapping_add(b.wrapping_mul(4 + 4 * j + 2 * j * j))
                    .wrapping_sub(a.wrapping_mul(three)),
            ];
            for (sum, part) in sum.iter_mut().zip(parts) {
                *sum = sum.wrapping_add(part);
            }
        }
        state = joined(state, sum, 4 * batch.len() as u64);
    }
    let [mut a, mut b, mut c, mut d] = state;
    for bytes in rest.as_chunks::<4>().0 {
        a = a.wrapping_add(u64::from(word(*bytes)));
        b = b.wrapping_add(a);
        c = c.wrapping_add(b);
        d = d.wrapping_add(c);
    }
    [a, b, c, d]
}

/// The checksum of what gave `first` followed by `words` words that alone give `second`.
fn joined(first: [u64; 4], second: [u64; 4], words: u64) -> [u64; 4] {
    let n = u128::from(words);
    // n, n+1 choose 2, n+2 choose 3; they fit, as a batch has at most 2^16 words.
    let (two, three) = ((n * (n + 1) / 2) as u64, (n * (n + 1) * (n + 2) / 6) as u64);
    let [a, b, c, d] = first;
    let plus = |at: usize, terms: [u64; 4]| {
        terms.iter().fold(second[at], |sum, term| sum.wrapping_add(*term))
    };
    [
        plus(0, [a, 0, 0, 0]),
        plus(1, [b, a.wrapping_mul(words), 0, 0]),
        plus(2, [c, b.wrapping_mul(words), a.wrapping_mul(two), 0]),
        plus(3, [d, c.wrapping_mul(words), b.wrapping_mul(two), a.wrapping_mul(three)]),
    ]
}

/// Goes on with fletcher-2 from `state`; every piece but the last must be whole pairs of words.
pub(crate) fn fletcher2_more(state: [u64; 4], data: &[u8], order: ByteOrder) -> [u64; 4] {
    let [mut a0, mut a1, mut b0, mut b1] = state;
    for pair in data.as_chunks::<16>().0 {
        let [first, second] = [0, 8].map(|at| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&pair[at..at + 8]);
            order.u64(bytes)
        });
        a0 = a0.wrapping_add(first);
        a1 = a1.wrapping_add(second);
        b0 = b0.wrapping_add(a0);
        b1 = b1.wrapping_add(a1);
    }
    [a0, a1, b0, b1]
}
