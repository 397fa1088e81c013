//! The salted hash that places a name in a ZAP: the upper 28 bits of a CRC-64 that starts at the
//! salt (`zap_hash`).

/// Bits of the hash that count; the rest is zero.
pub const HASH_BITS: u32 = 28;

/// ECMA-182, reflected.
const POLYNOMIAL: u64 = 0xC96C_5795_D787_0F42;

const TABLE: [u64; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut crc = at as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ ((crc & 1).wrapping_neg() & POLYNOMIAL);
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
};

/// The hash of the bytes of a name, without its NUL and in its normal form.
pub fn hash(salt: u64, name: impl IntoIterator<Item = u8>) -> u64 {
    let crc =
        name.into_iter().fold(salt, |crc, byte| (crc >> 8) ^ TABLE[usize::from(crc as u8 ^ byte)]);
    crc & !(u64::MAX >> HASH_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomial_and_bits() {
        assert_eq!(TABLE[128], POLYNOMIAL);
        // CRC-64/XZ of its check string, before the final inversion.
        let crc = !0x995d_c9bb_df19_39fa_u64;
        assert_eq!(hash(u64::MAX, *b"123456789"), crc & 0xffff_fff0_0000_0000);
    }
}
