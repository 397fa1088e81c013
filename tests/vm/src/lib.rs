//! What the judge in a machine and the side that starts it both know: sums of file contents.
//!
//! SHA-256 takes minutes for a Debian in a machine without hardware virtualisation. The other side reads every
//! blob anyway, under its SHA-256, and says what this much cheaper sum of it is.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::fmt::Write;
use std::io::{self, Read};

use tree::{Blobs, Digest, Kind, Tree};

/// A running sum of 64 bits that every single changed bit changes.
#[derive(Debug, Default, Clone)]
pub struct Sum {
    state: u64,
    length: u64,
    /// The end of what was added, less than a word.
    rest: Vec<u8>,
}

impl Sum {
    /// Adds bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.length += bytes.len() as u64;
        if !self.rest.is_empty() {
            let wanted = (8 - self.rest.len()).min(bytes.len());
            self.rest.extend_from_slice(&bytes[..wanted]);
            bytes = &bytes[wanted..];
            if self.rest.len() < 8 {
                return;
            }
            let rest = std::mem::take(&mut self.rest);
            self.words(&rest);
        }
        let (words, rest) = bytes.split_at(bytes.len() / 8 * 8);
        self.words(words);
        self.rest.extend_from_slice(rest);
    }

    fn words(&mut self, bytes: &[u8]) {
        let (words, _) = bytes.as_chunks::<8>();
        for word in words {
            // Each step can be undone, so nothing that was different becomes equal again by itself.
            self.state = (self.state.rotate_left(23) ^ u64::from_le_bytes(*word))
                .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    /// The sum of everything added.
    #[must_use]
    pub fn finish(mut self) -> u64 {
        let mut last = [0; 8];
        last[..self.rest.len()].copy_from_slice(&self.rest);
        self.words(&last);
        self.words(&self.length.to_le_bytes());
        self.state
    }
}

/// The sums of many blobs, by the blobs' names.
#[derive(Debug, Default, Clone)]
pub struct Sums(pub HashMap<Digest, u64>);

impl Sums {
    /// Reads all files of `tree`.
    pub fn of(tree: &Tree, blobs: &dyn Blobs) -> io::Result<Self> {
        let mut sums = Self::default();
        let mut buffer = vec![0; 1 << 20];
        for entry in tree.walk() {
            let Kind::File(file) = &entry.inode.kind else { continue };
            if sums.0.contains_key(&file.blob) {
                continue;
            }
            let (mut content, mut sum) = (blobs.open(&file.blob)?, Sum::default());
            loop {
                match content.read(&mut buffer)? {
                    0 => break,
                    count => sum.update(&buffer[..count]),
                }
            }
            sums.0.insert(file.blob, sum.finish());
        }
        Ok(sums)
    }

    /// One line for each blob.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut lines: Vec<_> = self.0.iter().collect();
        lines.sort();
        lines.iter().fold(String::new(), |mut text, (blob, sum)| {
            // Writing into a string cannot fail.
            let _ = writeln!(text, "{blob} {sum:016x}");
            text
        })
    }

    /// Reads what [`Sums::to_text`] wrote; the error is the line that is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let line = |line: &str| {
            let (blob, sum) = line.split_once(' ')?;
            Some((blob.parse().ok()?, u64::from_str_radix(sum, 16).ok()?))
        };
        text.lines()
            .map(|text| line(text).ok_or_else(|| text.to_owned()))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(bytes: &[u8]) -> u64 {
        let mut sum = Sum::default();
        sum.update(bytes);
        sum.finish()
    }

    #[test]
    fn pieces_do_not_matter_and_each_bit_does() {
        let bytes: Vec<u8> = (0..1000_u32).map(|number| (number * 7) as u8).collect();
        for size in [1, 3, 7, 8, 9, 64, 999] {
            let mut pieces = Sum::default();
            bytes.chunks(size).for_each(|piece| pieces.update(piece));
            assert_eq!(pieces.finish(), sum(&bytes), "pieces of {size}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut other = bytes.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(sum(&other), sum(&bytes), "bit {bit}");
        }
        assert_ne!(sum(b""), sum(b"\0"));
    }

    #[test]
    fn text_round_trip() {
        let sums = Sums(HashMap::from([(Digest::of(b"a"), 1), (Digest::of(b"b"), u64::MAX)]));
        assert_eq!(Sums::parse(&sums.to_text()).unwrap().0, sums.0);
        assert!(Sums::parse("x").is_err());
    }
}
