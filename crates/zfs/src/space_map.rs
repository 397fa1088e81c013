//! Space maps: what of a metaslab is allocated.
//!
//! Source: OpenZFS `include/sys/space_map.h`, `module/zfs/space_map.c`. The writer allocates each
//! metaslab from its start upwards, so that one two-word entry tells all of it.

/// Size of a space map's block.
pub(crate) const BLOCK_SIZE: usize = 4096;
/// Size of `space_map_phys_t` with its histogram, the object's bonus.
const PHYS_SIZE: usize = 320;
const HISTOGRAM_OFFSET: usize = 64;
const HISTOGRAM_BUCKETS: u32 = 32;

/// The bonus and the one block of the space map of a metaslab of `size` bytes whose first
/// `allocated` bytes are in use, in units of `1 << shift` bytes.
pub(crate) fn encode_prefix(
    object: u64,
    allocated: u64,
    size: u64,
    shift: u32,
) -> ([u8; PHYS_SIZE], [u8; BLOCK_SIZE]) {
    let mut bonus = [0; PHYS_SIZE];
    let mut put = |at: usize, value: u64| bonus[at..at + 8].copy_from_slice(&value.to_le_bytes());
    put(0, object);
    put(8, 16);
    put(16, allocated);
    let free = size - allocated;
    if free > 0 {
        // Bucket i counts free regions of 2^(i+shift) bytes and more, below twice that.
        let bucket = (free.ilog2() - shift).min(HISTOGRAM_BUCKETS - 1);
        put(HISTOGRAM_OFFSET + 8 * bucket as usize, 1);
    }

    let run = allocated >> shift;
    // Prefix 3: a two-word entry; run - 1, then vdev 0; second word: type ALLOC (0), offset 0.
    let entry = 3 << 62 | (run - 1) << 24;
    let mut block = [0; BLOCK_SIZE];
    block[..8].copy_from_slice(&u64::to_le_bytes(entry));
    (bonus, block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_entry_and_one_free_region() {
        let (bonus, block) = encode_prefix(77, 3 << 12, 1 << 29, 12);
        assert_eq!(block[..8], (3u64 << 62 | 2 << 24).to_le_bytes());
        assert_eq!(bonus[..8], 77u64.to_le_bytes());
        // 2^29 - 3*2^12 lies in the bucket of 2^28: index 28 - 12.
        assert_eq!(bonus[64 + 8 * 16..][..8], 1u64.to_le_bytes());
        assert_eq!(bonus[64..].iter().filter(|&&byte| byte != 0).count(), 1);
    }
}
