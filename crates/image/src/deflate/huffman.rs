//! Prefix codes: how long the code of each symbol is, and its bits (RFC 1951, 3.2.2).

/// Symbols of the largest alphabet.
const MOST: usize = 288;

/// Gives each symbol that occurs the length of its code, at most `limit` bits; the others get 0.
/// `counts` tells how often each occurs. At least two symbols have codes, as decoders expect of a
/// complete code.
pub(super) fn lengths(counts: &[u32], limit: usize, out: &mut [u8]) {
    out.fill(0);
    let mut sorted = [0_u64; MOST];
    let mut used = 0;
    for (symbol, &count) in counts.iter().enumerate().take(MOST) {
        if count > 0 {
            sorted[used] = u64::from(count) << 16 | symbol as u64;
            used += 1;
        }
    }
    if used < 2 {
        let only = if used == 1 { (sorted[0] & 0xffff) as usize } else { 0 };
        for symbol in [only, usize::from(only == 0)] {
            if let Some(length) = out.get_mut(symbol) {
                *length = 1;
            }
        }
        return;
    }
    let sorted = &mut sorted[..used];
    sorted.sort_unstable();
    let mut weights = [0_u32; MOST];
    for (weight, &key) in weights.iter_mut().zip(&*sorted) {
        *weight = (key >> 16) as u32;
    }
    let mut of_length = leaves(&mut weights[..used], limit);
    // The rarest symbols have the longest codes.
    let mut length = limit;
    for key in sorted {
        while of_length[length] == 0 && length > 1 {
            length -= 1;
        }
        of_length[length] = of_length[length].saturating_sub(1);
        if let Some(out) = out.get_mut((*key & 0xffff) as usize) {
            *out = length as u8;
        }
    }
}

/// How many codes of each length the best code of at most `limit` bits has, for ascending weights:
/// in place, after Moffat and Katajainen.
fn leaves(a: &mut [u32], limit: usize) -> [u32; 16] {
    let n = a.len();
    // Parents: each entry that was joined tells where.
    a[0] += a[1];
    let (mut root, mut leaf) = (0, 2);
    for next in 1..n - 1 {
        if leaf >= n || a[root] < a[leaf] {
            a[next] = a[root];
            a[root] = next as u32;
            root += 1;
        } else {
            a[next] = a[leaf];
            leaf += 1;
        }
        if leaf >= n || (root < next && a[root] < a[leaf]) {
            a[next] += a[root];
            a[root] = next as u32;
            root += 1;
        } else {
            a[next] += a[leaf];
            leaf += 1;
        }
    }
    // Depths of the inner nodes.
    a[n - 2] = 0;
    for next in (0..n - 2).rev() {
        a[next] = a[a[next] as usize] + 1;
    }
    // Leaves of each depth: what the inner nodes of the depth above leave free.
    let mut of_length = [0_u32; 16];
    let (mut free, mut depth, mut root) = (1_u32, 0_u32, n - 1);
    while free > 0 {
        let mut inner = 0;
        while root > 0 && a[root - 1] == depth {
            inner += 1;
            root -= 1;
        }
        of_length[(depth as usize).min(limit)] += free - inner;
        free = inner * 2;
        depth += 1;
    }
    // Codes that were cut need more room than there is: shorter ones become longer.
    let mut room: u32 = (1..=limit).map(|length| of_length[length] << (limit - length)).sum();
    while room > 1 << limit {
        let Some(shorter) = (1..limit).rev().find(|&length| of_length[length] > 0) else { break };
        of_length[limit] -= 1;
        of_length[shorter] -= 1;
        of_length[shorter + 1] += 2;
        room -= 1;
    }
    of_length
}

/// The bits of each symbol's code in the order in which deflate sends them, with its length above
/// bit 16.
pub(super) fn codes(lengths: &[u8], out: &mut [u32]) {
    let mut of_length = [0_u32; 16];
    for &length in lengths {
        of_length[usize::from(length & 15)] += 1;
    }
    of_length[0] = 0;
    let (mut next, mut code) = ([0_u32; 16], 0);
    for (next, shorter) in next.iter_mut().skip(1).zip(of_length) {
        code = (code + shorter) << 1;
        *next = code;
    }
    for (out, &length) in out.iter_mut().zip(lengths) {
        if length == 0 {
            *out = 0;
            continue;
        }
        let code = &mut next[usize::from(length & 15)];
        let reversed = (*code as u16).reverse_bits() >> (16 - u32::from(length));
        *out = u32::from(reversed) | u32::from(length) << 16;
        *code += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(counts: &[u32], limit: usize) -> Vec<u8> {
        let mut out = vec![0; counts.len()];
        lengths(counts, limit, &mut out);
        let room: u32 = out
            .iter()
            .filter(|&&length| length > 0)
            .map(|&length| 1 << (limit - usize::from(length)))
            .sum();
        assert_eq!(room, 1 << limit, "{counts:?} gave {out:?}");
        out
    }

    #[test]
    fn codes_are_complete_and_as_short_as_they_can_be() {
        assert_eq!(of(&[1, 1], 15), [1, 1]);
        assert_eq!(of(&[8, 4, 2, 1, 1], 15), [1, 2, 3, 4, 4]);
        assert_eq!(of(&[1, 1, 1, 1], 15), [2, 2, 2, 2]);
        assert_eq!(of(&[0, 5, 0], 15), [1, 1, 0]);
        assert_eq!(of(&[5, 0, 0], 15), [1, 1, 0]);
        assert_eq!(of(&[0, 0, 0], 15), [1, 1, 0]);
    }

    #[test]
    fn codes_keep_to_their_limit() {
        // Fibonacci numbers make the longest codes.
        let mut counts = vec![1, 1];
        while counts.len() < 30 {
            counts.push(counts[counts.len() - 1] + counts[counts.len() - 2]);
        }
        for limit in [5, 7, 14, 15] {
            let lengths = of(&counts, limit);
            assert!(lengths.iter().all(|&length| usize::from(length) <= limit));
            assert!(lengths.is_sorted_by(|a, b| a >= b));
        }
        of(&[1; 288], 14);
        of(&[1; 19], 7);
    }

    #[test]
    fn codes_are_those_of_the_specification() {
        // RFC 1951, 3.2.2: lengths (3, 3, 3, 3, 3, 2, 4, 4).
        let mut out = [0; 8];
        codes(&[3, 3, 3, 3, 3, 2, 4, 4], &mut out);
        let expected = [0b010, 0b011, 0b100, 0b101, 0b110, 0b00, 0b1110, 0b1111];
        for ((&out, expected), length) in out.iter().zip(expected).zip([3, 3, 3, 3, 3, 2, 4, 4]) {
            assert_eq!(out >> 16, length);
            assert_eq!((out as u16).reverse_bits() >> (16 - length), expected);
        }
    }
}
