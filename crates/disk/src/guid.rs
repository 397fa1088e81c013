//! GUIDs as GPT stores them.

use std::fmt;
use std::str::FromStr;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A GUID in the byte order of the disk (UEFI specification, appendix A): the first three fields
/// are little-endian, the rest is in the order of the text.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(transparent)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// All zeros: "unused" as a partition type.
    pub const NIL: Self = Self([0; 16]);

    /// From the bytes in the order of the text, as RFC 9562 writes a UUID.
    pub const fn from_text_order(b: [u8; 16]) -> Self {
        Self([
            b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13],
            b[14], b[15],
        ])
    }

    /// The bytes in the order of the text.
    pub const fn text_order(self) -> [u8; 16] {
        // The exchange is its own inverse.
        Self::from_text_order(self.0).0
    }

    /// From the five groups of the text: `6a898cc3-1dd2-11b2-99a6-080020736631` is
    /// `new(0x6a898cc3, 0x1dd2, 0x11b2, 0x99a6, 0x0800_2073_6631)`. Only the low 48 bits of
    /// `node` are used.
    pub const fn new(time_low: u32, time_mid: u16, time_high: u16, clock: u16, node: u64) -> Self {
        let value = (time_low as u128) << 96
            | (time_mid as u128) << 80
            | (time_high as u128) << 64
            | (clock as u128) << 48
            | (node & 0xffff_ffff_ffff) as u128;
        Self::from_text_order(value.to_be_bytes())
    }

    /// A version 4 (random) GUID from 16 bytes the caller drew or derived, of which 122 bits are
    /// kept.
    pub const fn v4(mut bytes: [u8; 16]) -> Self {
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self::from_text_order(bytes)
    }

    /// Whether all bytes are zero.
    pub fn is_nil(self) -> bool {
        self == Self::NIL
    }
}

/// Lower case, as Linux names `/dev/disk/by-partuuid`.
impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.text_order().iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Guid({self})")
    }
}

/// The text is not a GUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a GUID; write it like 6a898cc3-1dd2-11b2-99a6-080020736631")]
pub struct BadGuid(pub String);

/// 8-4-4-4-12 hexadecimal digits of either case.
impl FromStr for Guid {
    type Err = BadGuid;

    fn from_str(text: &str) -> Result<Self, BadGuid> {
        let bad = || BadGuid(text.to_owned());
        let mut value: u128 = 0;
        if text.len() != 36 {
            return Err(bad());
        }
        for (index, byte) in text.bytes().enumerate() {
            if matches!(index, 8 | 13 | 18 | 23) {
                if byte != b'-' {
                    return Err(bad());
                }
                continue;
            }
            let digit = char::from(byte).to_digit(16).ok_or_else(bad)?;
            value = value << 4 | u128::from(digit);
        }
        Ok(Self::from_text_order(value.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_disk_order() {
        let text = "6a898cc3-1dd2-11b2-99a6-080020736631";
        let guid: Guid = text.parse().unwrap();
        assert_eq!(guid.0[..8], [0xc3, 0x8c, 0x89, 0x6a, 0xd2, 0x1d, 0xb2, 0x11]);
        assert_eq!(guid.0[8..], [0x99, 0xa6, 0x08, 0x00, 0x20, 0x73, 0x66, 0x31]);
        assert_eq!(guid.to_string(), text);
        assert_eq!(text.to_uppercase().parse(), Ok(guid));
        assert_eq!(Guid::new(0x6a89_8cc3, 0x1dd2, 0x11b2, 0x99a6, 0x0800_2073_6631), guid);
        assert_eq!(Guid::from_text_order(guid.text_order()), guid);
    }

    #[test]
    fn version_4_is_marked() {
        assert_eq!(Guid::v4([0xff; 16]).to_string(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(Guid::v4([0; 16]).to_string(), "00000000-0000-4000-8000-000000000000");
    }

    #[test]
    fn bad_text_is_refused() {
        for text in [
            "",
            "6a898cc3-1dd2-11b2-99a6-08002073663",
            "6a898cc3+1dd2-11b2-99a6-080020736631",
            "6a898cc3-1dd2-11b2-99a6-08002073663g",
            "+a898cc3-1dd2-11b2-99a6-080020736631",
            "ä898cc3-1dd2-11b2-99a6-080020736631",
        ] {
            assert_eq!(text.parse::<Guid>(), Err(BadGuid(text.into())));
        }
    }
}
