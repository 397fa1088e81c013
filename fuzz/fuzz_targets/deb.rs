//! Any bytes as a `.deb`.
//!
//! Errors are fine; panics, hangs and memory far above the size of the input (and of the dictionary a
//! decoder may use) are bugs.
#![no_main]

use std::io::{self, Read};

use libfuzzer_sys::fuzz_target;

/// A small input may decompress to very much; a fuzzer has no time for that.
const ENOUGH: u64 = 16 << 20;

fuzz_target!(|data: &[u8]| {
    let Ok(deb) = pkg::deb::Deb::open(data) else { return };
    let _ = deb.data(|tar| io::copy(&mut tar.take(ENOUGH), &mut io::sink()));
});
