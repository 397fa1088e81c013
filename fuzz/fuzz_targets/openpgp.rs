//! Any bytes as a keyring, as a signed text and as a signature.
//!
//! Errors are fine, panics are bugs. Nothing that a fuzzer makes is signed by Debian.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pkg::distribution::Distribution;
use pkg::openpgp::Keyring;

fuzz_target!(|data: &[u8]| {
    let now = jiff::Timestamp::UNIX_EPOCH;
    let _ = Keyring::parse(data);
    let debian = Distribution::find("debian").expect("built in");
    let keyring = debian.keyring("trixie").expect("built in");
    assert!(keyring.verify_cleartext(data, now).is_err());
    assert!(keyring.verify_detached(b"text", data, now).is_err());
});
