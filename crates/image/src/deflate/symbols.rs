//! Symbols of deflate (RFC 1951, 3.2.5): which one stands for a length or a distance.

/// The symbol that ends a block.
pub(super) const END: usize = 256;
/// Literals, lengths, and the end.
pub(super) const LITERALS: usize = 286;
/// Distances.
pub(super) const DISTANCES: usize = 30;
/// Bytes of the longest match.
pub(super) const LONGEST: usize = 258;

/// A symbol with the bits that follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Symbol {
    /// Its number.
    pub number: usize,
    /// How many bits follow.
    pub more: u32,
    /// Those bits.
    pub bits: u32,
}

/// The symbol of a match of `length` bytes, 3 to 258.
#[inline]
pub(super) fn length(length: usize) -> Symbol {
    let value = length.wrapping_sub(3) as u32 & 0xff;
    if value < 8 {
        return Symbol { number: 257 + value as usize, more: 0, bits: 0 };
    }
    if value == 255 {
        return Symbol { number: 285, more: 0, bits: 0 };
    }
    let more = value.ilog2() - 2;
    let number = 257 + 4 * more as usize + (value >> more) as usize;
    Symbol { number, more, bits: value & ((1 << more) - 1) }
}

/// The symbol of a distance, 1 to 32768.
#[inline]
pub(super) fn distance(distance: usize) -> Symbol {
    let value = distance.wrapping_sub(1) as u32 & 0x7fff;
    if value < 4 {
        return Symbol { number: value as usize, more: 0, bits: 0 };
    }
    let more = value.ilog2() - 1;
    let number = 2 * more as usize + (value >> more) as usize;
    Symbol { number, more, bits: value & ((1 << more) - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_those_of_the_specification() {
        let of = |symbol: Symbol| (symbol.number, symbol.more, symbol.bits);
        for (value, symbol) in [
            (3, (257, 0, 0)),
            (10, (264, 0, 0)),
            (11, (265, 1, 0)),
            (12, (265, 1, 1)),
            (13, (266, 1, 0)),
            (18, (268, 1, 1)),
            (19, (269, 2, 0)),
            (66, (276, 3, 7)),
            (131, (281, 5, 0)),
            (257, (284, 5, 30)),
            (258, (285, 0, 0)),
        ] {
            assert_eq!(of(length(value)), symbol, "length {value}");
        }
        for (value, symbol) in [
            (1, (0, 0, 0)),
            (4, (3, 0, 0)),
            (5, (4, 1, 0)),
            (8, (5, 1, 1)),
            (9, (6, 2, 0)),
            (24, (8, 3, 7)),
            (25, (9, 3, 0)),
            (4096, (23, 10, 1023)),
            (4097, (24, 11, 0)),
            (32768, (29, 13, 8191)),
        ] {
            assert_eq!(of(distance(value)), symbol, "distance {value}");
        }
    }
}
