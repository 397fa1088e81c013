//! Any bytes as a qcow2 image.
//!
//! Errors are fine; panics, hangs and memory far above the size of the input are bugs.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz::read_image(data, disk::image::Format::Qcow2));
