//! How often symbols occur, and how many bits they need together.

use super::symbols::{DISTANCES, LITERALS};

/// Room for literals, lengths and the end, in whole vectors.
const LITERAL_ROOM: usize = 288;
/// Room for everything.
const ROOM: usize = LITERAL_ROOM + 32;
/// Numbers that are computed side by side.
const LANES: usize = 8;

/// Bits of a block's head, and of each symbol in it, about.
const HEAD: f32 = 150.0;
const HEAD_OF_SYMBOL: f32 = 3.0;

/// Counts of a part of a piece, or of a block.
#[derive(Debug, Clone)]
pub(super) struct Counts([i32; ROOM]);

impl Default for Counts {
    fn default() -> Self {
        Self([0; ROOM])
    }
}

impl Counts {
    /// Counts literals anew, and no matches; tells the sum of the squares of all counts.
    pub fn start(&mut self, bytes: &[u8]) -> u64 {
        self.0.fill(0);
        // The same byte may come often: neighbours are counted apart.
        let mut lanes = [[0_u32; 256]; 4];
        let (fours, rest) = bytes.as_chunks::<4>();
        for four in fours {
            for (lane, &byte) in lanes.iter_mut().zip(four) {
                lane[usize::from(byte)] += 1;
            }
        }
        for &byte in rest {
            lanes[0][usize::from(byte)] += 1;
        }
        let mut squares = 0;
        for (value, count) in self.0.iter_mut().take(256).enumerate() {
            let sum: u32 = lanes.iter().map(|lane| lane[value]).sum();
            *count = sum as i32;
            squares += u64::from(sum) * u64::from(sum);
        }
        squares
    }

    /// These bytes are no literals.
    #[inline]
    pub fn covered(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0[usize::from(byte)] -= 1;
        }
    }

    /// All of the `count` bytes are `byte` and no literals.
    #[inline]
    pub fn covered_run(&mut self, byte: u8, count: usize) {
        self.0[usize::from(byte)] -= count as i32;
    }

    /// A match.
    #[inline]
    pub fn matched(&mut self, length: usize, distance: usize) {
        self.0[length.min(LITERALS - 1)] += 1;
        self.0[LITERAL_ROOM + distance % 32] += 1;
    }

    /// Those of both.
    pub fn sum(&self, other: &Self, out: &mut Self) {
        for ((out, one), two) in out.0.iter_mut().zip(&self.0).zip(&other.0) {
            *out = one + two;
        }
    }

    /// Literals, lengths and the end.
    pub fn literals(&self) -> impl Iterator<Item = u32> {
        self.0.iter().take(LITERALS).map(|&count| count as u32)
    }

    /// Distances.
    pub fn distances(&self) -> impl Iterator<Item = u32> {
        self.0.iter().skip(LITERAL_ROOM).take(DISTANCES).map(|&count| count as u32)
    }

    /// Bits of a block of these symbols, about: their entropy and a head. Bits that follow symbols are
    /// not counted, they are the same in every block.
    pub fn cost(&self) -> f32 {
        let (literals, distances) = self.0.split_at(LITERAL_ROOM);
        let (all, each, used) = entropy(literals);
        let (all_distances, each_distance, used_distances) = entropy(distances);
        let symbols = weigh(all) - each + weigh(all_distances) - each_distance;
        symbols + HEAD + HEAD_OF_SYMBOL * (used + used_distances)
    }
}

/// The sum of counts, that of each count times its logarithm, and how many are not 0.
fn entropy(counts: &[i32]) -> (f32, f32, f32) {
    let (mut sums, mut weights, mut used) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
    for lanes in counts.as_chunks::<LANES>().0 {
        for (index, &count) in lanes.iter().enumerate() {
            let count = count as f32;
            sums[index] += count;
            weights[index] += weigh(count);
            used[index] += if count > 0.0 { 1.0 } else { 0.0 };
        }
    }
    (sums.iter().sum(), weights.iter().sum(), used.iter().sum())
}

/// A count times its logarithm to base 2, which is right to about 0.01; 0 for 0.
#[inline]
fn weigh(count: f32) -> f32 {
    let bits = count.to_bits();
    let exponent = (bits >> 23) as i32 - 127;
    let mantissa = f32::from_bits(bits & 0x007f_ffff | 0x3f80_0000);
    count * ((2.0 - mantissa / 3.0) * mantissa - 5.0 / 3.0 + exponent as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_about_right() {
        assert_eq!(weigh(0.0), 0.0);
        for count in 1..5000 {
            let count = count as f32;
            let error = weigh(count) / count - count.log2();
            assert!(error.abs() < 0.01, "{count}: {error}");
        }
    }
}
