//! Which bytes repeat earlier ones: a piece becomes steps of literals and matches.

use disk::export::PIECE;

use super::counts::Counts;
use super::symbols::{LONGEST, distance, length};

/// Bytes of a part, which has one set of codes: content changes from block to block of a file system.
pub(super) const PART: usize = 8192;
/// The bytes of a piece, and some behind them that are read but never count.
const ROOM: usize = PIECE + 8;
/// Bytes that are looked up first.
const WORD: usize = 4;
/// The shortest match, for which a byte less is looked up, and only near by: far ones are no gain.
const SHORTEST: usize = 3;
const NEAR: usize = 1024;
/// Places that are remembered for those.
const SHORT_PLACES: usize = 2048;
/// Matches from here on are taken without a look at the next byte.
const ENOUGH: usize = 32;
/// Spreads words over places.
const HASH: u32 = 0x9e37_79b1;
/// In parts that look random only each such byte is looked up.
const STRIDE: usize = 8;
/// After so many bytes without a match one is skipped before the next is looked up, after twice as many
/// two, up to the most. A match is followed back over what was skipped.
const PATIENCE: usize = 64;
const MOST_SKIPPED: usize = 3;

/// Literals, and the match behind them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// How many bytes are literals.
    pub literals: u32,
    /// How many bytes after those repeat earlier ones; 0: none.
    pub length: u16,
    /// How far back those lie.
    pub distance: u16,
}

/// Some of the steps.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// Symbols of its steps.
    pub counts: Counts,
    /// Its steps end here.
    pub steps: usize,
    /// Its bytes end here.
    pub bytes: usize,
    random: bool,
}

/// A piece and its steps.
#[derive(Debug)]
pub(super) struct Parsed {
    text: Box<[u8; ROOM]>,
    length: usize,
    /// All steps.
    pub steps: Vec<Step>,
    /// What lies together.
    pub parts: Vec<Part>,
}

impl Parsed {
    pub fn new() -> Self {
        Self { text: Box::new([0; ROOM]), length: 0, steps: Vec::new(), parts: Vec::new() }
    }

    /// The piece.
    pub fn bytes(&self) -> &[u8] {
        &self.text[..self.length]
    }

    /// Takes a piece of at most [`PIECE`] bytes; tells whether something may be won.
    pub fn start(&mut self, bytes: &[u8]) -> bool {
        self.length = bytes.len().min(PIECE);
        let (text, rest) = self.text.split_at_mut(self.length);
        text.copy_from_slice(&bytes[..self.length]);
        rest.fill(0);
        self.parts.resize_with(self.length.div_ceil(PART), Part::default);
        for (part, bytes) in self.parts.iter_mut().zip(bytes.chunks(PART)) {
            part.random = random(part.counts.start(bytes), bytes.len());
        }
        let mut sums = [0_u64; 256];
        for part in &self.parts {
            for (sum, count) in sums.iter_mut().zip(part.counts.literals()) {
                *sum += u64::from(count);
            }
        }
        !random(sums.iter().map(|count| count * count).sum(), self.length)
    }
}

/// Whether byte values whose counts have this sum of squares are as evenly spread as those of random
/// bytes, so that codes win nothing. Repetitions would show as unevenness.
fn random(squares: u64, length: usize) -> bool {
    // Of n random bytes the expected sum of squares is n²/256 + n·255/256, with a deviation of
    // about n·√(2/256) = n/11.3; eight deviations above that, something is not even.
    let n = length as u64;
    squares < n * n / 256 + n + n * 8 / 11
}

#[derive(Debug, Clone, Copy, Default)]
struct Match {
    length: usize,
    distance: usize,
}

impl Match {
    /// Whether to take this one, a byte later, rather than `other`: what is longer is worth more than
    /// what is near.
    fn beats(self, other: Self) -> bool {
        if self.length < SHORTEST {
            return false;
        }
        let far = |distance: usize| i64::from(distance.max(1).ilog2());
        4 * (self.length as i64 - other.length as i64) + far(other.distance) - far(self.distance)
            > 2
    }
}

/// Finds matches at most `WINDOW` bytes back: remembers the last two places of each hash of
/// four bytes, and the last one of each of three.
#[derive(Debug)]
pub(super) struct Finder<const WINDOW: usize, const BUCKETS: usize, const SHORT: bool> {
    buckets: Box<[u32; BUCKETS]>,
    short: Box<[u16; SHORT_PLACES]>,
}

impl<const WINDOW: usize, const BUCKETS: usize, const SHORT: bool> Finder<WINDOW, BUCKETS, SHORT> {
    pub fn new() -> Self {
        Self { buckets: Box::new([0; BUCKETS]), short: Box::new([0; SHORT_PLACES]) }
    }

    /// Makes the steps of a piece.
    pub fn parse(&mut self, parsed: &mut Parsed) {
        let Parsed { text, length: all, steps, parts } = parsed;
        let (text, all): (&[u8; ROOM], usize) = (text, *all);
        self.buckets.fill(0);
        self.short.fill(0);
        steps.clear();
        let words_end = all.saturating_sub(WORD - 1);
        // What lies before this has its step.
        let mut done = 0;
        for (index, part) in parts.iter_mut().enumerate() {
            let (start, end) = (index * PART, (index * PART + PART).min(all));
            // A match of the part before may reach into this one.
            if done > start {
                part.counts.covered(&text[start..done.min(end)]);
            }
            let limit = end.min(words_end);
            let mut at = done;
            while at < limit {
                let mut best = self.search(text, at, all);
                if best.length == 0 {
                    at = match part.random {
                        true => (at / STRIDE + 1) * STRIDE,
                        false => at + 1 + ((at - done) / PATIENCE).min(MOST_SKIPPED),
                    };
                    continue;
                }
                let mut unseen = at + 1;
                while best.length < ENOUGH && unseen < limit {
                    let next = self.search(text, unseen, all);
                    unseen += 1;
                    if !next.beats(best) {
                        break;
                    }
                    (at, best) = (unseen - 1, next);
                }
                while at > done
                    && at > best.distance
                    && text[at - 1] == text[at - 1 - best.distance]
                {
                    at -= 1;
                    best.length = LONGEST.min(best.length + 1);
                }
                let next = at + best.length;
                let covered = &text[at..next.min(end)];
                match covered {
                    [first, ..] if best.distance == 1 => {
                        part.counts.covered_run(*first, covered.len());
                    }
                    _ => part.counts.covered(covered),
                }
                part.counts.matched(length(best.length).number, distance(best.distance).number);
                steps.push(Step {
                    literals: (at - done) as u32,
                    length: best.length as u16,
                    distance: best.distance as u16,
                });
                for at in unseen..next.min(words_end) {
                    self.insert(text, at);
                }
                (at, done) = (next, next);
            }
            if done < end {
                steps.push(Step { literals: (end - done) as u32, length: 0, distance: 0 });
                done = end;
            }
            (part.steps, part.bytes) = (steps.len(), done);
        }
    }

    fn bucket(&mut self, word: u32) -> &mut u32 {
        let slot = word.wrapping_mul(HASH) >> (32 - BUCKETS.ilog2());
        &mut self.buckets[slot as usize % BUCKETS]
    }

    fn short(&mut self, word: u32) -> &mut u16 {
        let slot = (word << 8).wrapping_mul(HASH) >> (32 - SHORT_PLACES.ilog2());
        &mut self.short[slot as usize % SHORT_PLACES]
    }

    #[inline]
    fn insert(&mut self, text: &[u8; ROOM], at: usize) {
        let word = word(text, at as u16);
        let bucket = self.bucket(word);
        *bucket = *bucket << 16 | at as u32;
        if SHORT {
            *self.short(word) = at as u16;
        }
    }

    /// The longest match for the bytes from `at` on, and remembers those. Its length is 0 if there is
    /// none.
    #[inline(always)]
    fn search(&mut self, text: &[u8; ROOM], at: usize, end: usize) -> Match {
        let wanted = word(text, at as u16);
        let bucket = self.bucket(wanted);
        let places = *bucket;
        *bucket = places << 16 | at as u32;
        let places = [places as u16, (places >> 16) as u16];
        let differ = places.map(|place| word(text, place) ^ wanted);
        let short = if SHORT { std::mem::replace(self.short(wanted), at as u16) } else { 0 };
        // One branch that is hardly ever taken, not two that are hard to foresee.
        if differ[0].min(differ[1]) == 0 {
            let best = Self::longest(text, at, end, places);
            if best.length > 0 {
                return best;
            }
        }
        if SHORT && (word(text, short) ^ wanted) << 8 == 0 {
            let distance = at.wrapping_sub(usize::from(short));
            if distance.wrapping_sub(1) < NEAR {
                return Match { length: SHORTEST, distance };
            }
        }
        Match::default()
    }

    fn longest(text: &[u8; ROOM], at: usize, end: usize, places: [u16; 2]) -> Match {
        let most = (end - at).min(LONGEST);
        let here = &text[at..at + most];
        let mut best = Match { length: WORD - 1, distance: 0 };
        for place in places {
            let place = usize::from(place);
            let distance = at.wrapping_sub(place);
            if distance.wrapping_sub(1) >= WINDOW {
                continue;
            }
            let length = common(here, &text[place..place + most]);
            if length > best.length {
                best = Match { length, distance };
            }
        }
        if best.distance == 0 { Match::default() } else { best }
    }
}

/// The four bytes at a place.
#[inline(always)]
fn word(text: &[u8; ROOM], at: u16) -> u32 {
    let at = usize::from(at);
    u32::from_le_bytes([text[at], text[at + 1], text[at + 2], text[at + 3]])
}

/// How many bytes at the start of both are the same.
fn common(one: &[u8], two: &[u8]) -> usize {
    let (eights, rest) = one.as_chunks::<8>();
    let (others, other_rest) = two.as_chunks::<8>();
    for (index, (eight, other)) in eights.iter().zip(others).enumerate() {
        let different = u64::from_le_bytes(*eight) ^ u64::from_le_bytes(*other);
        if different != 0 {
            return index * 8 + different.trailing_zeros() as usize / 8;
        }
    }
    let same = rest.iter().zip(other_rest).take_while(|(one, two)| one == two).count();
    eights.len() * 8 + same
}
