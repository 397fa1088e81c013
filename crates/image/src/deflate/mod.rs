//! Deflate (RFC 1951) for pieces, without a header.
//!
//! A piece is parsed into literals and matches ([`matches`]), its parts are grouped into blocks with
//! their own codes ([`blocks`]). Most of what is exported are blocks that a file system has
//! compressed already: few matches, but literals of uneven frequency that change from block to block.

mod blocks;
mod counts;
mod huffman;
mod matches;
mod symbols;

use disk::export::PIECE;

use matches::{Finder, Parsed};

/// How far back deflate may point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// 4 KiB: what qcow2 demands.
    Small,
    /// 32 KiB: what all other formats take; their images become about 2 % smaller.
    Large,
}

#[derive(Debug)]
enum AnyFinder {
    Small(Finder<4096, 4096, true>),
    Large(Finder<32768, 8192, false>),
}

/// Compresses pieces, one after the other; the same piece always gives the same bits.
#[derive(Debug)]
pub(crate) struct Deflater {
    finder: AnyFinder,
    parsed: Parsed,
}

impl Deflater {
    pub(crate) fn new(window: Window) -> Self {
        let finder = match window {
            Window::Small => AnyFinder::Small(Finder::new()),
            Window::Large => AnyFinder::Large(Finder::new()),
        };
        Self { finder, parsed: Parsed::new() }
    }

    /// Appends `bytes`, a piece at most, as deflate to `out` if that is shorter than they are; tells
    /// whether it did.
    pub(crate) fn deflate(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> bool {
        if bytes.len() > PIECE || !self.parsed.start(bytes) {
            return false;
        }
        match &mut self.finder {
            AnyFinder::Small(finder) => finder.parse(&mut self.parsed),
            AnyFinder::Large(finder) => finder.parse(&mut self.parsed),
        }
        blocks::write(&self.parsed, out)
    }
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

    const WINDOWS: [(Window, u8); 2] = [(Window::Small, 12), (Window::Large, 15)];

    struct Random(u64);

    impl Random {
        fn next(&mut self) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 24) as usize
        }

        fn below(&mut self, limit: usize) -> usize {
            self.next() % limit
        }

        fn noise(&mut self, length: usize) -> Vec<u8> {
            (0..length).map(|_| self.next() as u8).collect()
        }
    }

    fn noise(length: usize) -> Vec<u8> {
        Random(88_172_645_463_325_252).noise(length)
    }

    /// The bits that zlib's inflate takes for `piece`, with a window no larger than allowed.
    fn deflate(deflater: &mut Deflater, window_bits: u8, piece: &[u8]) -> Option<Vec<u8>> {
        let mut out = vec![1, 2, 3];
        let done = deflater.deflate(piece, &mut out);
        assert_eq!(out[..3], [1, 2, 3]);
        let out = out.split_off(3);
        if !done {
            assert!(out.is_empty());
            return None;
        }
        assert!(out.len() < piece.len());
        // Pieces of 512 bytes, so that the decoder really has no more than its window.
        let mut inflate = flate2::Decompress::new_with_window_bits(false, window_bits);
        let mut back = Vec::new();
        loop {
            let mut some = [0; 512];
            let (taken, given) = (inflate.total_in() as usize, inflate.total_out() as usize);
            let status =
                inflate.decompress(&out[taken..], &mut some, flate2::FlushDecompress::None);
            let status = status.unwrap();
            back.extend_from_slice(&some[..inflate.total_out() as usize - given]);
            if status == flate2::Status::StreamEnd {
                break;
            }
            assert!(back.len() <= piece.len() && inflate.total_out() as usize > given);
        }
        assert!(back == piece);
        assert_eq!(inflate.total_in() as usize, out.len());
        Some(out)
    }

    #[test]
    fn a_probe_finds_what_cannot_shrink() {
        let deflater = &mut Deflater::new(Window::Small);
        assert_eq!(deflate(deflater, 12, &noise(PIECE)), None);
        assert_eq!(deflate(deflater, 12, &[]), None);
        assert_eq!(deflate(deflater, 12, &[0; PIECE + 1]), None);
        assert!(deflate(deflater, 12, &b"text".repeat(PIECE / 4)).is_some());
        assert!(zero_piece().len() < 200);
    }

    #[test]
    fn windows_are_as_large_as_they_may_be() {
        // What repeats after 20 KiB is found only in the large window.
        let far = noise(20 << 10).repeat(4)[..PIECE].to_vec();
        let length =
            |(window, bits)| deflate(&mut Deflater::new(window), bits, &far).map(|out| out.len());
        assert!(length(WINDOWS[1]).unwrap() < 30 << 10);
        assert!(length(WINDOWS[0]).is_none_or(|length| length > 50 << 10));
        // What repeats after exactly one window is found.
        for ((window, bits), size) in WINDOWS.into_iter().zip([4096, 32768]) {
            let repeated = noise(size).repeat(2);
            let length = |piece: &[u8]| {
                deflate(&mut Deflater::new(window), bits, piece).map(|out| out.len())
            };
            let found = length(&repeated).unwrap();
            assert!(found < size + size / 8, "{found} of {size}");
            let mut farther = noise(size + 1).repeat(2);
            farther.extend([0; 64]);
            assert!(length(&farther).is_none_or(|length| length > size * 3 / 2));
        }
    }

    #[test]
    fn every_length_and_the_hardest_codes() {
        for (window, bits) in WINDOWS {
            let deflater = &mut Deflater::new(window);
            for length in 0..600 {
                deflate(deflater, bits, &vec![b'a'; length]);
                deflate(deflater, bits, &b"abcabcdabcde".repeat(50)[..length]);
                deflate(deflater, bits, &noise(PIECE)[..length]);
            }
            // Counts like Fibonacci's numbers, in an order without matches: the longest codes.
            let (mut piece, mut one, mut two) = (Vec::new(), 1, 1);
            for value in 0..24 {
                piece.extend(vec![value * 10; one]);
                (one, two) = (two, one + two);
                if piece.len() + one > PIECE {
                    break;
                }
            }
            let mut random = Random(3);
            for at in (1..piece.len()).rev() {
                let other = random.below(at + 1);
                piece.swap(at, other);
            }
            let shuffled = deflate(deflater, bits, &piece).unwrap().len();
            assert!(shuffled < piece.len() * 2 / 5);
            // One literal, one distance; two literals.
            assert!(deflate(deflater, bits, &[7; PIECE]).unwrap().len() < 150);
            let two: Vec<u8> = (0..PIECE).map(|_| (random.next() & 1) as u8).collect();
            assert!(deflate(deflater, bits, &two).unwrap().len() < PIECE / 4);
        }
    }

    #[test]
    fn noise_beside_zeros_is_stored() {
        let mut random = Random(5);
        for (window, bits) in WINDOWS {
            let deflater = &mut Deflater::new(window);
            let mut piece = vec![0; PIECE];
            for part in [1, 2, 3, 7, 15] {
                piece[part * 4096..][..4096].copy_from_slice(&random.noise(4096));
            }
            let length = deflate(deflater, bits, &piece).unwrap().len();
            assert!(length < 5 * 4096 + 300, "{length}");
            let mut piece = random.noise(PIECE);
            piece[..2048].fill(0);
            assert!(deflate(deflater, bits, &piece).unwrap().len() < PIECE - 1900);
        }
    }

    #[test]
    fn whatever_comes_back_is_what_went_in() {
        for seed in 1..60 {
            let mut random = Random(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
            let (length, kinds) = (1 + random.below(PIECE), 1 + random.below(8));
            let alphabet = 1 << random.below(9);
            let mut piece = Vec::new();
            while piece.len() < length {
                let most = 1 << random.below(13);
                let count = 1 + random.below(most);
                match random.below(kinds) {
                    0 => piece.extend((0..count).map(|_| random.below(alphabet) as u8)),
                    1 => piece.extend(vec![random.below(alphabet) as u8; count]),
                    2 => piece.extend(random.noise(count)),
                    // Repeats, in every distance and over the borders of parts.
                    _ if !piece.is_empty() => {
                        let farthest = piece.len().min(1 << random.below(17));
                        let distance = 1 + random.below(farthest);
                        for _ in 0..count.min(600) {
                            piece.push(piece[piece.len() - distance]);
                        }
                    }
                    _ => piece.push(0),
                }
            }
            piece.truncate(length);
            for (window, bits) in WINDOWS {
                let fresh = deflate(&mut Deflater::new(window), bits, &piece);
                let mut used = Deflater::new(window);
                deflate(&mut used, bits, &noise(PIECE)[..30000]);
                deflate(&mut used, bits, &b"else ".repeat(9000));
                assert_eq!(deflate(&mut used, bits, &piece), fresh, "seed {seed}");
            }
        }
    }
}
