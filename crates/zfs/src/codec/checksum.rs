//! The checksum algorithms by number.
//!
//! Source: OpenZFS `include/sys/zio.h` (`enum zio_checksum`), `module/zfs/zio_checksum.c`.

use core::fmt;

use super::CodecError;

/// How a block is summed (`enum zio_checksum`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Checksum {
    /// None: any bytes will do.
    Off,
    /// SHA-256 in the block, salted with the device offset: labels.
    Label,
    /// SHA-256 in the block, salted with its address and transaction group: gang headers.
    GangHeader,
    /// Fletcher-2 at the end of the block: blocks of the old intent log.
    Zilog,
    /// Fletcher-2 (64-bit words).
    Fletcher2,
    /// Fletcher-4 (32-bit words), the default.
    Fletcher4,
    /// SHA-256.
    Sha256,
    /// Fletcher-4 in the header of the block: blocks of the intent log.
    Zilog2,
    /// None, for dumps.
    NoParity,
    /// SHA-512/256.
    Sha512,
    /// Skein-512-256 keyed with the pool's salt.
    Skein,
    /// Edon-R-512 cut to 256 bits, keyed with the pool's salt.
    Edonr,
    /// BLAKE3 keyed with the pool's salt.
    Blake3,
}

impl Checksum {
    const ALL: [(u8, Self, &'static str); 13] = [
        (2, Self::Off, "off"),
        (3, Self::Label, "label"),
        (4, Self::GangHeader, "gang_header"),
        (5, Self::Zilog, "zilog"),
        (6, Self::Fletcher2, "fletcher2"),
        (7, Self::Fletcher4, "fletcher4"),
        (8, Self::Sha256, "sha256"),
        (9, Self::Zilog2, "zilog2"),
        (10, Self::NoParity, "noparity"),
        (11, Self::Sha512, "sha512"),
        (12, Self::Skein, "skein"),
        (13, Self::Edonr, "edonr"),
        (14, Self::Blake3, "blake3"),
    ];

    /// The algorithm of a block pointer's checksum number.
    pub fn from_number(number: u8) -> Result<Self, CodecError> {
        let known = Self::ALL.iter().find(|(have, ..)| *have == number);
        known.map(|(_, checksum, _)| *checksum).ok_or(CodecError::UnknownChecksum(number))
    }

    /// The number in a block pointer.
    pub fn number(self) -> u8 {
        Self::ALL.iter().find(|(_, have, _)| *have == self).map_or(0, |(number, ..)| *number)
    }

    /// The name that the `checksum` property and `zdb` use.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, have, _)| *have == self).map_or("", |(.., name)| name)
    }

    /// Whether the checksum stands in the block itself.
    pub fn is_in_block(self) -> bool {
        matches!(self, Self::Label | Self::GangHeader | Self::Zilog | Self::Zilog2)
    }

    /// Whether all bits are equally good, so that cutting it to two words loses nothing but length.
    /// (Edon-R is cut as the weak ones are: it may not be used for deduplication.)
    pub(crate) fn is_strong(self) -> bool {
        matches!(self, Self::Sha256 | Self::Sha512 | Self::Skein | Self::Blake3)
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
