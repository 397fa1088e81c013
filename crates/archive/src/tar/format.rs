//! Layout of a tar header: where its fields are, how numbers are written in them.
//!
//! POSIX.1-2001 `pax`, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format".

use std::ops::Range;

use super::error::Problem;

/// Archives are made of blocks of this many bytes.
pub(crate) const BLOCK: usize = 512;

/// A field of the header.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) range: Range<usize>,
}

const fn field(name: &'static str, start: usize, length: usize) -> Field {
    Field { name, range: start..start + length }
}

pub(crate) const NAME: Field = field("name", 0, 100);
pub(crate) const MODE: Field = field("mode", 100, 8);
pub(crate) const UID: Field = field("uid", 108, 8);
pub(crate) const GID: Field = field("gid", 116, 8);
pub(crate) const SIZE: Field = field("size", 124, 12);
pub(crate) const MTIME: Field = field("mtime", 136, 12);
pub(crate) const CHECKSUM: Field = field("chksum", 148, 8);
pub(crate) const TYPEFLAG: usize = 156;
pub(crate) const LINKNAME: Field = field("linkname", 157, 100);
pub(crate) const MAGIC: Range<usize> = 257..265;
pub(crate) const DEVMAJOR: Field = field("devmajor", 329, 8);
pub(crate) const DEVMINOR: Field = field("devminor", 337, 8);
pub(crate) const PREFIX: Field = field("prefix", 345, 155);
/// The prefix of star's `xustar`, whose last fields are times.
const STAR_PREFIX: Field = field("prefix", 345, 131);

/// Old GNU sparse files: four pairs of offset and length, then more in blocks of their own.
pub(crate) const SPARSE_IN_HEADER: Range<usize> = 386..386 + 4 * 24;
pub(crate) const SPARSE_MORE: usize = 482;
pub(crate) const SPARSE_SIZE: Field = field("realsize", 483, 12);
/// The same in an extension block: 21 pairs, and whether one more block follows.
pub(crate) const SPARSE_IN_BLOCK: Range<usize> = 0..21 * 24;
pub(crate) const SPARSE_BLOCK_MORE: usize = 504;

/// Magic and version of POSIX archives.
pub(crate) const USTAR: &[u8; 8] = b"ustar\x0000";
/// Magic and version of GNU archives, which have no prefix field.
const GNU: &[u8; 8] = b"ustar  \0";

/// One block read as a header.
#[derive(Debug, Clone)]
pub(crate) struct Header(pub(crate) [u8; BLOCK]);

impl Header {
    pub(crate) fn bytes(&self, field: &Field) -> &[u8] {
        &self.0[field.range.clone()]
    }

    /// A text field up to its first NUL.
    pub(crate) fn text(&self, field: &Field) -> &[u8] {
        until_nul(self.bytes(field))
    }

    pub(crate) fn typeflag(&self) -> u8 {
        self.0[TYPEFLAG]
    }

    pub(crate) fn is_posix(&self) -> bool {
        self.0[MAGIC][..6] == USTAR[..6]
    }

    pub(crate) fn has_devices(&self) -> bool {
        self.is_posix() || self.0[MAGIC] == GNU[..]
    }

    /// Prefix and name joined.
    pub(crate) fn path(&self) -> Vec<u8> {
        let mut path = Vec::new();
        if self.is_posix() {
            let star = &self.0[508..] == b"tar\0";
            path.extend_from_slice(self.text(if star { &STAR_PREFIX } else { &PREFIX }));
            if !path.is_empty() {
                path.push(b'/');
            }
        }
        path.extend_from_slice(self.text(&NAME));
        path
    }

    /// The sum over all bytes, those of the checksum counted as spaces.
    pub(crate) fn sum(&self) -> u32 {
        let all: u32 = self.0.iter().map(|&byte| u32::from(byte)).sum();
        let field: u32 = self.bytes(&CHECKSUM).iter().map(|&byte| u32::from(byte)).sum();
        all - field + 8 * u32::from(b' ')
    }

    /// Some historic writers summed signed bytes.
    fn signed_sum(&self) -> i64 {
        let high = |bytes: &[u8]| bytes.iter().filter(|&&byte| byte >= 0x80).count() as i64;
        i64::from(self.sum()) - 256 * (high(&self.0) - high(self.bytes(&CHECKSUM)))
    }

    pub(crate) fn checksum_is_right(&self) -> bool {
        // No fuzzer guesses sums.
        if cfg!(fuzzing) {
            return true;
        }
        match number(&CHECKSUM, self.bytes(&CHECKSUM)) {
            Ok(found) => found == i64::from(self.sum()) || found == self.signed_sum(),
            Err(_) => false,
        }
    }

    pub(crate) fn number(&self, field: &Field) -> Result<i64, Problem> {
        number(field, self.bytes(field))
    }

    /// A number that must fit into `T`.
    pub(crate) fn unsigned<T: TryFrom<i64>>(&self, field: &Field) -> Result<T, Problem> {
        T::try_from(self.number(field)?).map_err(|_| bad_number(field, self.bytes(field)))
    }
}

pub(crate) fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}

fn bad_number(field: &Field, bytes: &[u8]) -> Problem {
    Problem::Number { field: field.name, value: String::from_utf8_lossy(bytes).into_owned() }
}

/// Octal digits between spaces and NULs, or, if the first bit is set, base 256 (GNU).
pub(crate) fn number(field: &Field, bytes: &[u8]) -> Result<i64, Problem> {
    let bad = || bad_number(field, bytes);
    if let Some((&first, rest)) = bytes.split_first()
        && first & 0x80 != 0
    {
        // Two's complement in all bits but the first.
        let start = i128::from(((first << 1) as i8) >> 1);
        let value = rest.iter().try_fold(start, |value, &byte| {
            value.checked_mul(256).map(|value| value + i128::from(byte))
        });
        return value.and_then(|value| i64::try_from(value).ok()).ok_or_else(bad);
    }
    let text = bytes.trim_ascii_start();
    let end = text.iter().position(|byte| matches!(byte, 0 | b' ')).unwrap_or(text.len());
    let mut value: i64 = 0;
    for &digit in &text[..end] {
        if !matches!(digit, b'0'..=b'7') {
            return Err(bad());
        }
        value = value.checked_mul(8).ok_or_else(bad)? + i64::from(digit - b'0');
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let read = |bytes: &[u8]| number(&SIZE, bytes).ok();
        assert_eq!(read(b"0000644\0"), Some(0o644));
        assert_eq!(read(b"   644 \0"), Some(0o644));
        assert_eq!(read(b"777777777777"), Some(0o777_777_777_777));
        assert_eq!(read(b"\0\0\0\0"), Some(0));
        assert_eq!(read(b"12x4"), None);
        assert_eq!(read(b"-1"), None);
        assert_eq!(read(&[0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]), Some(0x2_0000_0000));
        assert_eq!(read(&[0xff; 12]), Some(-1));
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe]), Some(-2));
        let mut huge = [0; 12];
        huge[0] = 0x80;
        huge[1] = 1;
        assert_eq!(read(&huge), None);
    }
}
