//! Any bytes as a stored block: the first says how it is compressed and summed, the next two how large
//! it must come out.
//!
//! Errors are fine; panics, hangs and memory above the size of the block are bugs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zfs::codec::{BlockCompression, ByteOrder, Checksum, Checksums, decompress};

fuzz_target!(|data: &[u8]| {
    let [number, high, low, stored @ ..] = data else { return };
    let mut block = vec![0; usize::from(*high) << 8 | usize::from(*low)];
    if let Ok(compression) = BlockCompression::from_number(*number) {
        let _ = decompress(compression, stored, &mut block);
    }
    let Ok(checksum) = Checksum::from_number(*number) else { return };
    let pool = Checksums::new(Some(&[7; 32]));
    let _ = pool.verify_in_block(checksum, stored, &[1, 2, 3, 4], false);
    for order in [ByteOrder::Little, ByteOrder::Big] {
        if let Ok(sum) = pool.compute(checksum, stored, order) {
            assert!(pool.verify(checksum, stored, order, &sum, false).is_ok());
        }
    }
});
