//! Any bytes in the place of one block of a file system: a directory, a table of attributes, a bonus
//! area, a spill block. The rest of it is sound, so that the reader gets as far as it can.
//!
//! Errors are fine; panics, hangs and memory far above the size of the file system are bugs.
#![no_main]

use std::sync::LazyLock;

use blk::Memory;
use fuzz::small_stream;
use libfuzzer_sys::fuzz_target;
use zfs::send::{Receiver, Record, StreamWriter};

static STREAM: LazyLock<Vec<Record>> = LazyLock::new(small_stream);

fn overlay(place: &mut [u8], bytes: &[u8]) {
    let length = place.len().min(bytes.len());
    place[..length].copy_from_slice(&bytes[..length]);
}

fuzz_target!(|data: &[u8]| {
    let [which, bytes @ ..] = data else { return };
    let mut records = STREAM.clone();
    let at = usize::from(*which) % records.len();
    match &mut records[at] {
        Record::Object(object) => overlay(&mut object.bonus, bytes),
        Record::Write(write) => overlay(&mut write.data, bytes),
        Record::Spill(spill) => overlay(&mut spill.data, bytes),
        _ => return,
    }
    let mut stream = StreamWriter::new(Vec::new());
    for record in records.iter().filter(|record| !matches!(record, Record::End(_))) {
        stream.write(record).expect("memory takes everything");
    }
    let Some(Record::Begin(begin)) = records.first() else { return };
    stream.end(begin.to_guid).expect("memory takes everything");
    let stream = stream.finish(false).expect("memory takes everything");
    let mut receiver = Receiver::new(Memory::zeroed(64 << 20)).expect("a spool");
    if receiver.receive(&*stream).is_ok()
        && let Ok(filesystem) = receiver.filesystem(begin.to_guid)
    {
        let _ = filesystem.tree(filesystem.root);
    }
});
