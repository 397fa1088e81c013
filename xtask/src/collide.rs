//! Names whose ZAP hashes are equal under every salt.
//!
//! The hash is a CRC-64 that starts at the salt (OpenZFS `zap_hash`), of which the upper 28 bits
//! count. A CRC is linear: between names of one length, the difference of their hashes depends on
//! the difference of the names alone. So each letter whose case may change is a vector of 28 bits,
//! and what has the sum zero changes the name but not the hash.

/// The bits of the CRC that are the hash.
const HASH: u64 = !0 << 36;

/// ECMA-182, reflected (OpenZFS `ZFS_CRC64_POLY`).
const POLYNOMIAL: u64 = 0xC96C_5795_D787_0F42;

/// Up to `count` names of `length` letters, at most 64, that collide. There are
/// `2^(length - 28)`.
pub fn colliding_names(length: usize, count: usize) -> Vec<Vec<u8>> {
    let name: Vec<u8> = (b'a'..=b'z').cycle().take(length.min(64)).collect();
    let mut zero_sums = zero_sums(&name);
    zero_sums.truncate(usize::BITS as usize - 1);
    (0..count.min(1 << zero_sums.len()))
        .map(|number| {
            let change = (zero_sums.iter().enumerate())
                .filter(|(index, _)| number >> index & 1 == 1)
                .fold(0, |change, (_, sum)| change ^ sum);
            let changed = |(at, &letter): (usize, &u8)| {
                if change >> at & 1 == 1 { letter.to_ascii_uppercase() } else { letter }
            };
            name.iter().enumerate().map(changed).collect()
        })
        .collect()
}

/// Sets of letters, one bit each, whose change of case leaves the hash as it is; none is the sum
/// of others (Gaussian elimination).
fn zero_sums(name: &[u8]) -> Vec<u64> {
    let mut basis: Vec<(u64, u64)> = Vec::new();
    let mut zero_sums = Vec::new();
    for at in 0..name.len() {
        let mut changed = name.to_vec();
        changed[at].make_ascii_uppercase();
        let mut vector = (hash(0, name) ^ hash(0, &changed), 1_u64 << at);
        for &(hash, letters) in &basis {
            let leading = 1 << hash.ilog2();
            if vector.0 & leading != 0 {
                vector = (vector.0 ^ hash, vector.1 ^ letters);
            }
        }
        match vector.0 {
            0 => zero_sums.push(vector.1),
            _ => basis.push(vector),
        }
    }
    zero_sums
}

fn hash(salt: u64, name: &[u8]) -> u64 {
    let crc = name.iter().fold(salt, |crc, &byte| {
        (0..8).fold(crc ^ u64::from(byte), |crc, _| {
            (crc >> 1) ^ ((crc & 1).wrapping_neg() & POLYNOMIAL)
        })
    });
    crc & HASH
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_differ_and_hashes_do_not() {
        for (length, count) in [(40, 30), (64, 50)] {
            let names = colliding_names(length, count);
            assert_eq!(names.iter().collect::<HashSet<_>>().len(), count);
            for salt in [1, 0x1234_5678_9abc_def1, u64::MAX] {
                let hashes: HashSet<u64> = names.iter().map(|name| hash(salt, name)).collect();
                assert_eq!(hashes.len(), 1, "salt {salt:#x}");
            }
        }
    }

    #[test]
    fn the_hash_is_that_of_zap_hash() {
        // CRC-64/XZ of its check string, before the final inversion.
        assert_eq!(hash(u64::MAX, b"123456789"), !0x995d_c9bb_df19_39fa & HASH);
    }
}
