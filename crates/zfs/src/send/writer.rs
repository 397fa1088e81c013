//! Writing streams.

use std::io::Write;

use super::encode::encode;
use super::record::{CHECKSUM_AT, End};
use super::{Record, StreamError};
use crate::codec::ByteOrder;
use crate::codec::fletcher::fletcher4_more;

/// Writes records with their running checksum.
#[derive(Debug)]
pub struct StreamWriter<W> {
    output: W,
    offset: u64,
    sum: [u64; 4],
}

impl<W: Write> StreamWriter<W> {
    /// A writer to `output`, which should be buffered.
    pub fn new(output: W) -> Self {
        Self { output, offset: 0, sum: [0; 4] }
    }

    /// How many bytes were written.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Writes a record. `BEGIN` starts the checksum anew.
    pub fn write(&mut self, record: &Record) -> Result<(), StreamError> {
        let (mut bytes, payload) = encode(record);
        if matches!(record, Record::Begin(_)) {
            self.sum = [0; 4];
        }
        let (content, own) = bytes.split_at_mut(CHECKSUM_AT);
        self.sum = fletcher4_more(self.sum, content, ByteOrder::Little);
        if !matches!(record, Record::Begin(_)) {
            for (slot, word) in own.as_chunks_mut::<8>().0.iter_mut().zip(self.sum) {
                *slot = word.to_le_bytes();
            }
        }
        self.sum = fletcher4_more(self.sum, own, ByteOrder::Little);
        self.put(&bytes)?;
        self.sum = fletcher4_more(self.sum, payload, ByteOrder::Little);
        self.put(payload)
    }

    /// Ends the stream that the last `BEGIN` began.
    pub fn end(&mut self, to_guid: u64) -> Result<(), StreamError> {
        self.write(&Record::End(End { checksum: self.sum, to_guid }))
    }

    /// Ends a compound stream, and gives the output back.
    pub fn finish(mut self, compound: bool) -> Result<W, StreamError> {
        if compound {
            let (bytes, _) = encode(&Record::End(End::default()));
            self.put(&bytes)?;
        }
        let offset = self.offset;
        self.output.flush().map_err(|source| StreamError::Io { offset, source })?;
        Ok(self.output)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), StreamError> {
        let offset = self.offset;
        self.output.write_all(bytes).map_err(|source| StreamError::Io { offset, source })?;
        self.offset += bytes.len() as u64;
        Ok(())
    }
}
