//! Any bytes as a packed list of names and values.
//!
//! Errors are fine; panics, hangs and memory far above the size of the input are bugs.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = zfs::nvlist::decode_xdr(data);
});
