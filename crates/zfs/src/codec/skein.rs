//! Skein-512 with 256 bits of digest, with and without a key.
//!
//! Source: "The Skein Hash Function Family", version 1.3. The key is hashed first, then the
//! configuration, then the message, then the output counter; each is a chain of Threefish-512
//! blocks whose tweak holds the position and the kind.

const PARITY: u64 = 0x1bd1_1bda_a9fc_1a22;
/// "SHA3", version 1.
const SCHEMA: u64 = 0x0000_0001_3341_4853;
const BLOCK: usize = 64;

const KEY: u64 = 0;
const CONFIG: u64 = 4;
const MESSAGE: u64 = 48;
const OUTPUT: u64 = 63;
const FIRST: u64 = 1 << 62;
const FINAL: u64 = 1 << 63;

/// The state that key and configuration give; hashing messages does not change it.
#[derive(Debug, Clone)]
pub(crate) struct Skein512([u64; 8]);

impl Skein512 {
    /// For digests of `digest_bits`, keyed with `key` unless it is empty.
    pub(crate) fn new(digest_bits: u64, key: &[u8]) -> Self {
        let mut chain = [0; 8];
        if !key.is_empty() {
            chain = ubi(chain, key, KEY);
        }
        let mut config = [0; 32];
        config[..8].copy_from_slice(&SCHEMA.to_le_bytes());
        config[8..16].copy_from_slice(&digest_bits.to_le_bytes());
        Self(ubi(chain, &config, CONFIG))
    }

    /// The first 64 bytes of the digest of `data`.
    pub(crate) fn digest(&self, data: &[u8]) -> [u8; 64] {
        let chain = ubi(ubi(self.0, data, MESSAGE), &[0; 8], OUTPUT);
        let mut digest = [0; 64];
        for (bytes, word) in digest.as_chunks_mut::<8>().0.iter_mut().zip(chain) {
            *bytes = word.to_le_bytes();
        }
        digest
    }
}

/// Unique block iteration: chains all of `data` as one string of kind `kind`.
fn ubi(mut chain: [u64; 8], data: &[u8], kind: u64) -> [u64; 8] {
    let whole = data.len().saturating_sub(1) / BLOCK * BLOCK;
    let (blocks, last) = data.split_at(whole);
    let mut flags = kind << 56 | FIRST;
    let mut position = 0u64;
    for block in blocks.as_chunks::<BLOCK>().0 {
        position += BLOCK as u64;
        chain = threefish(&chain, block, [position, flags]);
        flags = kind << 56;
    }
    let mut block = [0; BLOCK];
    block[..last.len()].copy_from_slice(last);
    threefish(&chain, &block, [data.len() as u64, flags | FINAL])
}

/// One block of Threefish-512 with the block fed forward.
fn threefish(key: &[u64; 8], block: &[u8; BLOCK], tweak: [u64; 2]) -> [u64; 8] {
    let mut input = [0; 8];
    for (word, bytes) in input.iter_mut().zip(block.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    let mut keys = [PARITY; 9];
    for (slot, word) in keys.iter_mut().zip(key) {
        *slot = *word;
    }
    keys[8] = key.iter().fold(PARITY, |sum, word| sum ^ word);
    let tweaks = [tweak[0], tweak[1], tweak[0] ^ tweak[1]];

    let mut v = input;
    macro_rules! mix {
        ($a:expr, $b:expr, $by:expr) => {
            v[$a] = v[$a].wrapping_add(v[$b]);
            v[$b] = v[$b].rotate_left($by) ^ v[$a];
        };
    }
    // The permutation of words between rounds is done by naming them; after four it is the identity.
    macro_rules! four_rounds {
        ($r:expr) => {
            mix!(0, 1, $r[0][0]);
            mix!(2, 3, $r[0][1]);
            mix!(4, 5, $r[0][2]);
            mix!(6, 7, $r[0][3]);
            mix!(2, 1, $r[1][0]);
            mix!(4, 7, $r[1][1]);
            mix!(6, 5, $r[1][2]);
            mix!(0, 3, $r[1][3]);
            mix!(4, 1, $r[2][0]);
            mix!(6, 3, $r[2][1]);
            mix!(0, 5, $r[2][2]);
            mix!(2, 7, $r[2][3]);
            mix!(6, 1, $r[3][0]);
            mix!(0, 7, $r[3][1]);
            mix!(2, 5, $r[3][2]);
            mix!(4, 3, $r[3][3]);
        };
    }
    const EVEN: [[u32; 4]; 4] =
        [[46, 36, 19, 37], [33, 27, 14, 42], [17, 49, 36, 39], [44, 9, 54, 56]];
    const ODD: [[u32; 4]; 4] =
        [[39, 30, 34, 24], [13, 50, 10, 17], [25, 29, 39, 43], [8, 35, 56, 22]];
    let inject = |v: &mut [u64; 8], s: usize| {
        for (i, word) in v.iter_mut().enumerate() {
            *word = word.wrapping_add(keys[(s + i) % 9]);
        }
        v[5] = v[5].wrapping_add(tweaks[s % 3]);
        v[6] = v[6].wrapping_add(tweaks[(s + 1) % 3]);
        v[7] = v[7].wrapping_add(s as u64);
    };
    for s in 0..9 {
        inject(&mut v, 2 * s);
        four_rounds!(EVEN);
        inject(&mut v, 2 * s + 1);
        four_rounds!(ODD);
    }
    inject(&mut v, 18);
    for (word, input) in v.iter_mut().zip(input) {
        *word ^= input;
    }
    v
}
