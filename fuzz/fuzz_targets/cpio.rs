//! Any bytes as an initramfs.
//!
//! Errors are fine; panics, hangs and memory far above the size of the input (and of the dictionary a
//! decoder may use) are bugs. Every entry that is reported without an error afterwards had exactly as
//! many bytes as its header says.
#![no_main]

use std::io::{self, Read};
use std::ops::ControlFlow;

use libfuzzer_sys::fuzz_target;

/// A small input may decompress to very much; a fuzzer has no time for that.
const ENOUGH: u64 = 64 << 20;

fuzz_target!(|data: &[u8]| {
    let mut total = 0;
    let _ = archive::cpio::read_initramfs(data, &mut |entry| {
        let length = io::copy(&mut entry.data.take(ENOUGH), &mut io::sink())?;
        assert_eq!(length, entry.size.min(ENOUGH));
        total += length + 1;
        Ok(if total > ENOUGH { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    });
});
