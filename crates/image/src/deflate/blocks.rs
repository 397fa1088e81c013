//! Blocks of deflate: parts of a piece that share their codes.

use std::ops::Range;

use super::counts::Counts;
use super::huffman::{codes, lengths};
use super::matches::{Parsed, Part, Step};
use super::symbols::{DISTANCES, END, LITERALS, distance, length};

/// The longest code: four of them fit into a word beside seven bits.
const LITERAL_LIMIT: usize = 14;
const DISTANCE_LIMIT: usize = 15;
const LENGTH_LIMIT: usize = 7;
/// Bytes of a stored block, at most.
const STORED: usize = 0xffff;
/// In which order a head has the lengths of the codes of lengths.
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// Neighbouring parts with what they cost as a block.
#[derive(Debug)]
struct Group {
    counts: Counts,
    cost: f32,
    /// Parts before its end.
    end: usize,
    /// What is won if the next group joins.
    gain: f32,
}

/// Where blocks end, in parts: neighbours join as long as their own codes are not worth their heads.
fn split(parts: &[Part]) -> Vec<(usize, Counts)> {
    let mut groups: Vec<Group> = parts
        .iter()
        .enumerate()
        .map(|(index, part)| Group {
            counts: part.counts.clone(),
            cost: part.counts.cost(),
            end: index + 1,
            gain: 0.0,
        })
        .collect();
    let mut sum = Counts::default();
    let mut gain = |groups: &mut [Group], index: usize| {
        let Some([one, two]) = groups.get_mut(index..index + 2) else { return };
        one.counts.sum(&two.counts, &mut sum);
        one.gain = one.cost + two.cost - sum.cost();
    };
    for index in 0..groups.len() {
        gain(&mut groups, index);
    }
    while groups.len() > 1 {
        let gains = groups[..groups.len() - 1].iter().map(|group| group.gain);
        let Some((index, most)) = gains.enumerate().max_by(|a, b| a.1.total_cmp(&b.1)) else {
            break;
        };
        if most <= 0.0 {
            break;
        }
        let joined = groups.remove(index + 1);
        let group = &mut groups[index];
        let mut counts = Counts::default();
        group.counts.sum(&joined.counts, &mut counts);
        (group.counts, group.end) = (counts, joined.end);
        group.cost += joined.cost - most;
        group.gain = 0.0;
        gain(&mut groups, index);
        if let Some(before) = index.checked_sub(1) {
            gain(&mut groups, before);
        }
    }
    groups.into_iter().map(|group| (group.end, group.counts)).collect()
}

/// Bits in the order of deflate.
#[derive(Debug)]
struct Bits<'a> {
    out: &'a mut [u8],
    at: usize,
    word: u64,
    count: u32,
}

impl Bits<'_> {
    /// Adds bits; 64 with those that are not written yet, at most.
    #[inline(always)]
    fn add(&mut self, bits: u32, count: u32) {
        self.word |= u64::from(bits) << self.count;
        self.count += count;
    }

    /// Writes all but seven bits.
    #[inline(always)]
    fn flush(&mut self) {
        let room = self.out.get_mut(self.at..).and_then(<[u8]>::first_chunk_mut);
        if let Some(room) = room {
            *room = self.word.to_le_bytes();
        }
        self.at += (self.count / 8) as usize;
        self.word >>= self.count & !7 & 63;
        self.count &= 7;
    }

    /// Zeros up to a byte.
    fn align(&mut self) {
        self.count = self.count.next_multiple_of(8);
        self.flush();
    }
}

/// The head of a block: its codes, as deflate writes them.
#[derive(Debug)]
struct Head {
    literals: usize,
    distances: usize,
    order: usize,
    lengths: [u8; 19],
    /// Symbols, how many bits follow, and those.
    items: Vec<(u8, u8, u8)>,
    bits: usize,
}

impl Head {
    fn new(literal_lengths: &[u8], distance_lengths: &[u8]) -> Self {
        let used = |lengths: &[u8], least: usize| {
            lengths.iter().rposition(|&length| length > 0).map_or(least, |last| least.max(last + 1))
        };
        let (literals, distances) = (used(literal_lengths, 257), used(distance_lengths, 1));
        let all = [&literal_lengths[..literals], &distance_lengths[..distances]].concat();
        let mut items = Vec::with_capacity(all.len());
        for run in all.chunk_by(|a, b| a == b) {
            let (mut left, value) = (run.len(), run[0]);
            if value > 0 {
                items.push((value, 0, 0));
                left -= 1;
            }
            while left > 0 {
                let (item, count) = match (value, left) {
                    (0, 11..) => ((18, 7, left.min(138) as u8 - 11), left.min(138)),
                    (0, 3..) => ((17, 3, left as u8 - 3), left),
                    (1.., 3..) => ((16, 2, left.min(6) as u8 - 3), left.min(6)),
                    _ => ((value, 0, 0), 1),
                };
                items.push(item);
                left -= count;
            }
        }
        let mut counts = [0; 19];
        for &(symbol, ..) in &items {
            counts[usize::from(symbol)] += 1;
        }
        let mut of_lengths = [0; 19];
        lengths(&counts, LENGTH_LIMIT, &mut of_lengths);
        let order = ORDER
            .iter()
            .rposition(|&symbol| of_lengths[symbol] > 0)
            .map_or(4, |last| 4.max(last + 1));
        let bits = 14
            + order * 3
            + items
                .iter()
                .map(|&(symbol, more, _)| usize::from(of_lengths[usize::from(symbol)] + more))
                .sum::<usize>();
        Self { literals, distances, order, lengths: of_lengths, items, bits }
    }

    fn write(&self, bits: &mut Bits<'_>) {
        bits.add((self.literals - 257) as u32, 5);
        bits.add((self.distances - 1) as u32, 5);
        bits.add((self.order - 4) as u32, 4);
        bits.flush();
        for &symbol in &ORDER[..self.order] {
            bits.add(self.lengths[symbol].into(), 3);
            bits.flush();
        }
        let mut of_lengths = [0; 19];
        codes(&self.lengths, &mut of_lengths);
        for &(symbol, more, value) in &self.items {
            let code = of_lengths[usize::from(symbol)];
            bits.add(code & 0xffff, code >> 16);
            bits.add(value.into(), more.into());
            bits.flush();
        }
    }
}

/// A block that is decided.
#[derive(Debug)]
struct Block {
    steps: Range<usize>,
    bytes: Range<usize>,
    /// Nothing: the bytes are stored as they are.
    codes: Option<Codes>,
}

#[derive(Debug)]
struct Codes {
    literals: [u8; LITERALS],
    distances: [u8; DISTANCES],
    head: Head,
}

impl Codes {
    /// The best codes for these counts, and how many bits the block has behind its kind.
    fn new(counts: &Counts) -> (Self, usize) {
        let (mut literals, mut distances) = ([0; LITERALS], [0; DISTANCES]);
        let (mut of_literals, mut of_distances) = ([0; LITERALS], [0; DISTANCES]);
        of_literals.iter_mut().zip(counts.literals()).for_each(|(out, count)| *out = count);
        of_distances.iter_mut().zip(counts.distances()).for_each(|(out, count)| *out = count);
        of_literals[END] = 1;
        lengths(&of_literals, LITERAL_LIMIT, &mut literals);
        lengths(&of_distances, DISTANCE_LIMIT, &mut distances);
        let head = Head::new(&literals, &distances);
        let mut bits = head.bits;
        for (symbol, (&count, &length)) in of_literals.iter().zip(&literals).enumerate() {
            let more = if (265..285).contains(&symbol) { (symbol - 261) / 4 } else { 0 };
            bits += count as usize * (usize::from(length) + more);
        }
        for (symbol, (&count, &length)) in of_distances.iter().zip(&distances).enumerate() {
            let more = (symbol / 2).saturating_sub(1);
            bits += count as usize * (usize::from(length) + more);
        }
        (Self { literals, distances, head }, bits)
    }

    fn write(&self, steps: &[Step], bytes: &[u8], bits: &mut Bits<'_>) {
        self.head.write(bits);
        let (mut literals, mut distances) = ([0; 288], [0; 32]);
        codes(&self.literals, &mut literals);
        codes(&self.distances, &mut distances);
        let literal = |bits: &mut Bits<'_>, byte: u8| {
            let code = literals[usize::from(byte)];
            bits.add(code & 0xffff, code >> 16);
        };
        let mut rest = bytes;
        for step in steps {
            let (now, behind) = rest.split_at(rest.len().min(step.literals as usize));
            let (fours, few) = now.as_chunks::<4>();
            for four in fours {
                four.iter().for_each(|&byte| literal(bits, byte));
                bits.flush();
            }
            few.iter().for_each(|&byte| literal(bits, byte));
            bits.flush();
            rest = behind;
            if step.length == 0 {
                continue;
            }
            rest = rest.get(usize::from(step.length)..).unwrap_or_default();
            let symbol = length(step.length.into());
            let code = literals[symbol.number % 288];
            bits.add(code & 0xffff, code >> 16);
            bits.add(symbol.bits, symbol.more);
            let symbol = distance(step.distance.into());
            let code = distances[symbol.number % 32];
            bits.add(code & 0xffff, code >> 16);
            bits.add(symbol.bits, symbol.more);
            bits.flush();
        }
        let code = literals[END];
        bits.add(code & 0xffff, code >> 16);
        bits.flush();
    }
}

/// Appends a parsed piece as deflate to `out` if that is shorter than its bytes; tells whether it did.
pub(super) fn write(parsed: &Parsed, out: &mut Vec<u8>) -> bool {
    let mut blocks = Vec::new();
    let (mut steps, mut bytes, mut size) = (0, 0, 0_usize);
    for (end, counts) in split(&parsed.parts) {
        let Some(last) = end.checked_sub(1).and_then(|last| parsed.parts.get(last)) else {
            continue;
        };
        let mut block = Block { steps: steps..last.steps, bytes: bytes..last.bytes, codes: None };
        (steps, bytes) = (last.steps, last.bytes);
        let (codes, coded) = Codes::new(&counts);
        let stored = (size + 3).next_multiple_of(8) + 32 + block.bytes.len() * 8;
        if block.bytes.len() <= STORED && stored < size + 3 + coded {
            size = stored;
        } else {
            block.codes = Some(codes);
            size += 3 + coded;
        }
        blocks.push(block);
    }
    let length = size.div_ceil(8);
    let text = parsed.bytes();
    if length >= text.len() {
        return false;
    }
    let start = out.len();
    // A word more, since whole words are written.
    out.resize(start + length + 8, 0);
    let mut bits = Bits { out: &mut out[start..], at: 0, word: 0, count: 0 };
    let mut left = blocks.len();
    for block in &blocks {
        left -= 1;
        let (steps, bytes) = (&parsed.steps[block.steps.clone()], &text[block.bytes.clone()]);
        bits.add(u32::from(left == 0), 1);
        bits.add(if block.codes.is_some() { 2 } else { 0 }, 2);
        if let Some(codes) = &block.codes {
            codes.write(steps, bytes, &mut bits);
            continue;
        }
        bits.align();
        let length = bytes.len() as u16;
        bits.add(length.into(), 16);
        bits.add((!length).into(), 16);
        bits.flush();
        if let Some(room) = bits.out.get_mut(bits.at..bits.at + bytes.len()) {
            room.copy_from_slice(bytes);
        }
        bits.at += bytes.len();
    }
    bits.align();
    debug_assert_eq!(bits.at, length);
    out.truncate(start + length);
    true
}
