//! Deflate for pieces, without a header.

use disk::export::PIECE;
use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Status};

/// zlib-rs's level: what is lost to qemu-img's level 6 is told in docs/figures.md.
const LEVEL: i32 = 2;
/// Blocks of 16384 symbols: smaller ones are slower and not smaller.
const MEMORY_LEVEL: i32 = 8;

/// How far back deflate may point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// 4 KiB: what qcow2 demands.
    Small,
    /// 32 KiB: what all other formats take; their images become about 2 % smaller.
    Large,
}

/// Compresses pieces, one after the other.
pub(crate) struct Deflater {
    stream: Deflate,
}

impl Deflater {
    pub(crate) fn new(window: Window) -> Self {
        let window_bits = match window {
            Window::Small => 12,
            Window::Large => 15,
        };
        let config = DeflateConfig {
            level: LEVEL,
            // Negative: no zlib header.
            window_bits: -window_bits,
            mem_level: MEMORY_LEVEL,
            ..DeflateConfig::default()
        };
        Self { stream: Deflate::new_with_config(config) }
    }

    /// Appends `bytes` as deflate to `out` if that is shorter than they are; tells whether it did.
    pub(crate) fn deflate(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> bool {
        if looks_random(bytes) {
            return false;
        }
        let start = out.len();
        out.resize(start + bytes.len() - 1, 0);
        self.stream.reset();
        let result = self.stream.compress(bytes, &mut out[start..], DeflateFlush::Finish);
        let done = matches!(result, Ok(Status::StreamEnd));
        out.truncate(if done { start + self.stream.total_out() as usize } else { start });
        done
    }
}

/// Whether the values of `bytes` are as evenly spread as those of random bytes, so that Huffman
/// codes win nothing. Repetitions would show as unevenness.
fn looks_random(bytes: &[u8]) -> bool {
    let mut counts = [[0_u32; 256]; 4];
    for four in bytes.as_chunks::<4>().0 {
        for (counts, &byte) in counts.iter_mut().zip(four) {
            counts[usize::from(byte)] += 1;
        }
    }
    let squares: u64 = (0..256)
        .map(|value| u64::from(counts.iter().map(|counts| counts[value]).sum::<u32>()).pow(2))
        .sum();
    // Of n random bytes the expected sum of squares is n²/256 + n·255/256, with a deviation of
    // about n·√(2/256) = n/11.3; eight deviations above that, something is not even.
    let n = bytes.len() as u64;
    squares < n * n / 256 + n + n * 8 / 11
}

/// A piece of zeros as deflate.
pub(crate) fn zero_piece() -> Vec<u8> {
    let mut out = Vec::new();
    Deflater::new(Window::Small).deflate(&[0; PIECE], &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 88_172_645_463_325_252_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn a_probe_finds_what_cannot_shrink() {
        let random = noise(PIECE);
        assert!(looks_random(&random));
        let mut out = vec![1, 2, 3];
        assert!(!Deflater::new(Window::Small).deflate(&random, &mut out));
        assert_eq!(out, [1, 2, 3]);
        // Twice the same is worth the work.
        let twice = noise(PIECE / 2).repeat(2);
        assert!(!looks_random(&twice));
        assert!(!looks_random(&b"text".repeat(PIECE / 4)));
    }

    #[test]
    fn the_window_is_4_kib_and_the_bits_are_right() {
        let mut deflater = Deflater::new(Window::Small);
        let piece: Vec<u8> = (0..PIECE).map(|at| (at * at / 977) as u8 & 63).collect();
        let mut out = Vec::new();
        for _ in 0..2 {
            out.clear();
            assert!(deflater.deflate(&piece, &mut out));
            let mut inflate = flate2::Decompress::new_with_window_bits(false, 12);
            let mut back = vec![0; PIECE];
            inflate.decompress(&out, &mut back, flate2::FlushDecompress::Finish).unwrap();
            assert!(back == piece);
        }
        assert!(zero_piece().len() < 200);
        // What repeats after 20 KiB is found only in the large window.
        let far = noise(20 << 10).repeat(4)[..PIECE].to_vec();
        let length = |window| {
            let mut out = Vec::new();
            Deflater::new(window).deflate(&far, &mut out).then_some(out.len())
        };
        assert!(length(Window::Large).unwrap() < 30 << 10);
        assert!(length(Window::Small).is_none_or(|length| length > 50 << 10));
    }
}
