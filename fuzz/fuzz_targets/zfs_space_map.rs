//! Any bytes as a block of a space map.
//!
//! Panics are bugs. No entry reaches beyond what its fields can hold.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zfs::space::entries;

fuzz_target!(|data: &[u8]| {
    let words = data.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
    for entry in entries(words).map_while(Result::ok) {
        assert!(entry.offset < 1 << 63 && (1..=1 << 36).contains(&entry.run));
    }
});
