//! How large a disk is when nobody says it, and what surely is too small.

const GIB: u64 = 1 << 30;
/// The smallest disk that is made unasked: metaslabs get the size that suits grown disks.
const MIN_DISK: u64 = 8 * GIB;
/// Part of a tree's bytes that a pool takes at the very least.
const BEST_RATIO: u64 = 8;

/// A disk with room for the files twice over, in whole GiB.
pub(crate) fn default_disk(data: u64, esp: u64) -> u64 {
    (data * 2 + esp + 2 * GIB).next_multiple_of(GIB).max(MIN_DISK)
}

/// Whether a disk cannot possibly hold the files.
pub(crate) fn hopeless(data: u64, pool: u64) -> bool {
    data / BEST_RATIO > pool
}
