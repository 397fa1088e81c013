//! Edon-R-512 in the form that ZFS uses (the tweaked one of 2009), and its keying with a salt.
//!
//! Source: Gligoroski et al., "Cryptographic hash function EDON-R" and the tweak to it; OpenZFS
//! `module/icp/algs/edonr/edonr.c`, `module/zfs/edonr_zfs.c`. No crate has this variant.

const BLOCK: usize = 128;
const K: u64 = 0xaaaa_aaaa_aaaa_aaaa;

type Half = [u64; 8];

/// The state after whole blocks.
#[derive(Debug, Clone)]
pub(crate) struct Edonr512 {
    low: Half,
    high: Half,
    /// Bytes hashed so far.
    length: u64,
}

impl Edonr512 {
    pub(crate) fn new() -> Self {
        // The double pipe begins with the bytes 0x80, 0x81, ... 0xff, big-endian in each word.
        let word = |n: u64| 0x8081_8283_8485_8687 + 0x0808_0808_0808_0808 * n;
        let (mut low, mut high) = ([0; 8], [0; 8]);
        for (n, slot) in (0..).zip(low.iter_mut().chain(&mut high)) {
            *slot = word(n);
        }
        Self { low, high, length: 0 }
    }

    /// The state that a pool's salt gives: one block of H(salt) and H(H(salt)).
    pub(crate) fn salted(salt: &[u8; 32]) -> Self {
        let first = Self::new().digest(salt);
        let second = Self::new().digest(&first);
        let mut block = [0; BLOCK];
        block[..64].copy_from_slice(&first);
        block[64..].copy_from_slice(&second);
        let mut state = Self::new();
        state.compress(&block);
        state.length = BLOCK as u64;
        state
    }

    /// The digest of what was hashed so far followed by `data`.
    pub(crate) fn digest(&self, data: &[u8]) -> [u8; 64] {
        let mut state = self.clone();
        let (blocks, rest) = data.as_chunks::<BLOCK>();
        for block in blocks {
            state.compress(block);
        }
        let bits = (self.length + data.len() as u64).wrapping_mul(8);
        // The end: one bit, zeros, and the length in the last eight bytes of the last block.
        let mut last = [0; 2 * BLOCK];
        last[..rest.len()].copy_from_slice(rest);
        last[rest.len()] = 0x80;
        let end = if rest.len() < BLOCK - 8 { BLOCK } else { 2 * BLOCK };
        last[end - 8..end].copy_from_slice(&bits.to_le_bytes());
        for block in last[..end].as_chunks::<BLOCK>().0 {
            state.compress(block);
        }
        let mut digest = [0; 64];
        for (bytes, word) in digest.as_chunks_mut::<8>().0.iter_mut().zip(state.high) {
            *bytes = word.to_le_bytes();
        }
        digest
    }

    fn compress(&mut self, block: &[u8; BLOCK]) {
        let (mut low, mut high) = ([0; 8], [0; 8]);
        let words = block.as_chunks::<8>().0;
        for (word, bytes) in low.iter_mut().chain(&mut high).zip(words) {
            *word = u64::from_le_bytes(*bytes);
        }
        let reversed = |half: &Half| {
            let mut half = *half;
            half.reverse();
            half
        };
        // Four rows of quasigroup operations, each over the pair (p, q).
        let p = quasigroup(&reversed(&high), &low);
        let q = quasigroup(&p, &high);
        let p = quasigroup(&self.high, &p);
        let q = quasigroup(&p, &q);
        let p = quasigroup(&p, &self.low);
        let q = quasigroup(&q, &p);
        let p = quasigroup(&reversed(&low), &p);
        let q = quasigroup(&p, &q);
        for (slot, (word, p)) in self.low.iter_mut().zip(high.iter().zip(p)) {
            *slot ^= word ^ p;
        }
        for (slot, (word, q)) in self.high.iter_mut().zip(low.iter().zip(q)) {
            *slot ^= word ^ q;
        }
    }
}

/// The quasigroup operation on two halves.
#[inline(always)]
fn quasigroup(x: &Half, y: &Half) -> Half {
    let sum = |words: [u64; 5]| words.iter().fold(0u64, |sum, word| sum.wrapping_add(*word));
    let [x0, x1, x2, x3, x4, x5, x6, x7] = *x;
    let s = [
        sum([x0, x1, x2, x4, x7]).wrapping_add(K),
        sum([x0, x1, x3, x4, x7]).rotate_left(5),
        sum([x0, x1, x4, x6, x7]).rotate_left(15),
        sum([x2, x3, x5, x6, x7]).rotate_left(22),
        sum([x1, x2, x3, x5, x6]).rotate_left(31),
        sum([x0, x2, x3, x4, x5]).rotate_left(40),
        sum([x0, x1, x5, x6, x7]).rotate_left(50),
        sum([x2, x3, x4, x5, x6]).rotate_left(59),
    ];
    let [y0, y1, y2, y3, y4, y5, y6, y7] = *y;
    let t = [
        sum([y0, y1, y2, y5, y7]).wrapping_add(!K),
        sum([y0, y1, y3, y4, y6]).rotate_left(10),
        sum([y0, y1, y2, y3, y5]).rotate_left(19),
        sum([y2, y3, y4, y6, y7]).rotate_left(29),
        sum([y0, y1, y3, y4, y5]).rotate_left(36),
        sum([y2, y4, y5, y6, y7]).rotate_left(44),
        sum([y1, y2, y5, y6, y7]).rotate_left(48),
        sum([y0, y3, y4, y6, y7]).rotate_left(55),
    ];
    [
        (s[0] ^ s[1] ^ s[4]).wrapping_add(t[0] ^ t[1] ^ t[5]),
        (s[0] ^ s[4] ^ s[7]).wrapping_add(t[2] ^ t[6] ^ t[7]),
        (s[1] ^ s[6] ^ s[7]).wrapping_add(t[0] ^ t[1] ^ t[3]),
        (s[2] ^ s[3] ^ s[4]).wrapping_add(t[0] ^ t[3] ^ t[4]),
        (s[0] ^ s[1] ^ s[7]).wrapping_add(t[1] ^ t[2] ^ t[5]),
        (s[3] ^ s[5] ^ s[6]).wrapping_add(t[3] ^ t[4] ^ t[6]),
        (s[2] ^ s[5] ^ s[6]).wrapping_add(t[2] ^ t[5] ^ t[7]),
        (s[2] ^ s[3] ^ s[5]).wrapping_add(t[4] ^ t[6] ^ t[7]),
    ]
}
