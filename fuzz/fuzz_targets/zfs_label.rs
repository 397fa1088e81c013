//! Any bytes as the configuration and the uberblock in the labels of a device.
//!
//! Checksums are made right, so that what they protect is looked at. Errors are fine; panics, hangs and
//! memory far above the size of a label are bugs.
#![no_main]

use std::sync::Arc;

use blk::{Memory, WriteAt};
use libfuzzer_sys::fuzz_target;
use zfs::codec::{ByteOrder, Checksum, Checksums};
use zfs::read::{Device, Pool, VdevConfig, probe};

const SIZE: u64 = 2 << 20;
/// `ZEC_MAGIC`, and how long the trailer of an area is.
const MAGIC: u64 = 0x0210_da7a_b10c_7a11;
const TRAILER: usize = 40;

/// Puts `content` into an area at `offset` of the device, with the checksum of its place.
fn put(device: &Memory, offset: u64, length: usize, content: &[u8]) {
    let mut area = vec![0; length];
    let room = length - TRAILER;
    let content = &content[..content.len().min(room)];
    area[..content.len()].copy_from_slice(content);
    let mut seal = |words: [u64; 4]| {
        let words = [[MAGIC].as_slice(), words.as_slice()].concat();
        for (slot, word) in area[room..].chunks_exact_mut(8).zip(words) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        Checksums::new(None).compute(Checksum::Sha256, &area, ByteOrder::Little)
    };
    let sum = seal(Checksums::label_verifier(offset)).expect("SHA-256 needs no salt");
    let _ = seal(sum);
    device.write_all_at(&area, offset).expect("it is as large as that");
}

fuzz_target!(|data: &[u8]| {
    if let Ok(list) = zfs::nvlist::decode_xdr(data) {
        let config = VdevConfig::from_nvlist(&list);
        let names: usize = config.walk().map(|vdev| vdev.name().len()).sum();
        assert!(names <= 64 * (data.len() + 64), "{names} bytes of names");
        config.guid_sum();
    }
    let (uberblock, config) = data.split_at(data.len().min(512));
    let device = Memory::zeroed(SIZE as usize);
    for label in [0, 256 << 10, SIZE - (512 << 10), SIZE - (256 << 10)] {
        put(&device, label + (16 << 10), 112 << 10, config);
        put(&device, label + (128 << 10), 1 << 10, uberblock);
    }
    let _ = probe(&device);
    let _ = Pool::open(&[Device { name: "fuzz".to_owned(), data: Arc::new(device) }]);
});
