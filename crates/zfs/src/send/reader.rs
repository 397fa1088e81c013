//! Reading streams.

use std::io::{ErrorKind, Read};

use super::decode::Fields;
use super::record::{CHECKSUM_AT, MAGIC, RECORD};
use super::{Record, StreamError};
use crate::codec::ByteOrder;
use crate::codec::fletcher::fletcher4_more;

/// Reads the records of a stream and checks the running checksum of each. Memory is bounded by the
/// largest payload that makes sense: 16 MiB for blocks.
#[derive(Debug)]
pub struct StreamReader<R> {
    input: R,
    offset: u64,
    sum: [u64; 4],
    order: ByteOrder,
    begun: bool,
}

impl<R: Read> StreamReader<R> {
    /// A reader of the stream that begins where `input` is. It reads in small pieces, so `input`
    /// should be buffered.
    pub fn new(input: R) -> Self {
        Self { input, offset: 0, sum: [0; 4], order: ByteOrder::Little, begun: false }
    }

    /// How many bytes were read.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The byte order of the machine that sent. Payloads of blocks are in it.
    pub fn order(&self) -> ByteOrder {
        self.order
    }

    /// The next record, `None` at the end of the input.
    pub fn next_record(&mut self) -> Result<Option<Record>, StreamError> {
        let start = self.offset;
        let mut bytes = [0; RECORD];
        if !self.fill(&mut bytes, true)? {
            return Ok(None);
        }
        if !self.begun {
            let magic = Fields { bytes: &bytes, order: ByteOrder::Little }.u64(8);
            self.order = match magic {
                MAGIC => ByteOrder::Little,
                _ if magic.swap_bytes() == MAGIC => ByteOrder::Big,
                found => return Err(StreamError::NotAStream { found }),
            };
            self.begun = true;
        }
        let fields = Fields { bytes: &bytes, order: self.order };
        let wrong = |problem| StreamError::Record { offset: start, problem };
        let (mut record, length) = fields.record().map_err(wrong)?;
        let (content, own) = bytes.split_at(CHECKSUM_AT);
        let own_sum: [u64; 4] = fields.words(CHECKSUM_AT);
        match &record {
            Record::Begin(_) => self.sum = [0; 4],
            // Sums everything before this record. The last END of a compound stream has none.
            Record::End(end) if end.checksum != [0; 4] && !agree(end.checksum, self.sum) => {
                return Err(StreamError::Checksum { offset: start });
            }
            _ => {}
        }
        self.sum = fletcher4_more(self.sum, content, self.order);
        // Old senders, and those in user space at the END, leave it out.
        if !matches!(record, Record::Begin(_)) && own_sum != [0; 4] && !agree(own_sum, self.sum) {
            return Err(StreamError::Checksum { offset: start });
        }
        self.sum = fletcher4_more(self.sum, own, self.order);
        let payload = self.payload(length)?;
        match &mut record {
            Record::Begin(begin) => begin.payload = payload,
            Record::Object(object) => object.bonus = payload,
            Record::Write(write) => write.data = payload,
            Record::Spill(spill) => spill.data = payload,
            Record::WriteEmbedded(write) => write.data = payload,
            _ => {}
        }
        Ok(Some(record))
    }

    fn payload(&mut self, length: usize) -> Result<Vec<u8>, StreamError> {
        const PIECE: usize = 16 << 20;
        let mut payload = Vec::new();
        // Memory only for what is really there.
        while payload.len() < length {
            let at = payload.len();
            payload.resize(length.min(at + PIECE), 0);
            let piece = payload.get_mut(at..).unwrap_or_default();
            self.fill(piece, false)?;
        }
        self.sum = fletcher4_more(self.sum, &payload, self.order);
        Ok(payload)
    }

    /// False if the input ends right here and that `may_end`.
    fn fill(&mut self, mut buffer: &mut [u8], may_end: bool) -> Result<bool, StreamError> {
        let whole = buffer.len();
        while !buffer.is_empty() {
            let offset = self.offset;
            match self.input.read(buffer) {
                Ok(0) if may_end && buffer.len() == whole => return Ok(false),
                Ok(0) => {
                    let source = ErrorKind::UnexpectedEof.into();
                    return Err(StreamError::Io { offset, source });
                }
                Ok(length) => {
                    self.offset += length as u64;
                    buffer = buffer.get_mut(length..).unwrap_or_default();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(StreamError::Io { offset, source }),
            }
        }
        Ok(true)
    }
}

/// Whether a sum is right. No fuzzer guesses sums.
fn agree(stored: [u64; 4], computed: [u64; 4]) -> bool {
    cfg!(fuzzing) || stored == computed
}
