//! Any bytes as a send stream.
//!
//! Errors are fine; panics, hangs and memory far above the size of the input are bugs. What is read of a
//! little-endian stream is written again as the same records. What is received can be asked for its files.
#![no_main]

use blk::Memory;
use libfuzzer_sys::fuzz_target;
use zfs::send::{Receiver, Record, StreamReader, StreamWriter};

fuzz_target!(|data: &[u8]| {
    let mut receiver = Receiver::new(Memory::zeroed(16 << 20)).expect("a spool");
    let _ = receiver.receive(data);
    for received in receiver.received() {
        let _ = match received.is_volume {
            true => receiver.volume(received.guid).map(drop),
            false => receiver.filesystem(received.guid).and_then(|it| it.tree(it.root).map(drop)),
        };
    }
    let mut reader = StreamReader::new(data);
    let mut records = Vec::new();
    while let Ok(Some(record)) = reader.next_record() {
        records.push(record);
    }
    let mut writer = StreamWriter::new(Vec::new());
    for record in records.iter().filter(|record| !matches!(record, Record::End(_))) {
        writer.write(record).expect("memory takes everything");
    }
    let bytes = writer.finish(false).expect("memory takes everything");
    let mut again = StreamReader::new(&*bytes);
    for record in records.iter().filter(|record| !matches!(record, Record::End(_))) {
        match again.next_record() {
            Ok(Some(back)) => assert_eq!(back, *record),
            // A stream of records without their BEGIN is none.
            _ => return,
        }
    }
});
