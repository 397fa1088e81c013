//! Any bytes as a send stream.
//!
//! Errors are fine; panics, hangs and memory far above the size of the input are bugs. What is read of a
//! little-endian stream is written again as the same records.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zfs::send::{Record, StreamReader, StreamWriter};

fuzz_target!(|data: &[u8]| {
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
