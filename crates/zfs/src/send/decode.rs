//! Records out of their bytes.

use super::record::{
    Begin, CryptParameters, EmbeddedWrite, End, MAGIC, ObjectRecord, RECORD, Record, SpillRecord,
    WriteRecord,
};
use crate::codec::ByteOrder;

/// Largest block of an object.
const MAX_BLOCK: u64 = 16 << 20;
/// Largest list of a compound stream.
const MAX_LIST: u64 = 256 << 20;
/// Longest bonus: a dnode of 16 KiB.
const MAX_BONUS: u64 = 16 << 10;

/// The fields of a record.
pub(super) struct Fields<'a> {
    pub bytes: &'a [u8; RECORD],
    pub order: ByteOrder,
}

impl Fields<'_> {
    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let bytes = self.bytes.get(at..).and_then(|rest| rest.first_chunk());
        bytes.copied().unwrap_or([0; N])
    }
    fn byte(&self, at: usize) -> u8 {
        let [byte] = self.array(at);
        byte
    }
    fn u32(&self, at: usize) -> u32 {
        self.order.u32(self.array(at))
    }
    pub(super) fn u64(&self, at: usize) -> u64 {
        self.order.u64(self.array(at))
    }
    pub(super) fn words<const N: usize>(&self, at: usize) -> [u64; N] {
        std::array::from_fn(|index| self.u64(at + 8 * index))
    }
    fn crypt(&self, at: usize) -> CryptParameters {
        CryptParameters { salt: self.array(at), iv: self.array(at + 8), mac: self.array(at + 20) }
    }

    /// The record without its payload, and the payload's length.
    pub(super) fn record(&self) -> Result<(Record, usize), String> {
        let limited = |length: u64, limit: u64| match usize::try_from(length) {
            Ok(small) if length <= limit => Ok(small),
            _ => Err(format!("a payload of {length} bytes is too long")),
        };
        let (w8, w16, w24, w32) = (self.u64(8), self.u64(16), self.u64(24), self.u64(32));
        Ok(match self.u32(0) {
            0 => self.begin(limited)?,
            1 => {
                let object = self.object();
                let length = match object.raw_bonus_length {
                    0 => u64::from(object.bonus_length).next_multiple_of(8),
                    raw => u64::from(raw),
                };
                (Record::Object(object), limited(length, MAX_BONUS)?)
            }
            2 => (Record::FreeObjects { first: w8, count: w16, to_guid: w24 }, 0),
            3 => {
                let write = self.write();
                let length = match write.compression {
                    0 => write.logical_size,
                    _ => write.compressed_size,
                };
                (Record::Write(write), limited(length, MAX_BLOCK)?)
            }
            4 => (Record::Free { object: w8, offset: w16, length: w24, to_guid: w32 }, 0),
            5 => (Record::End(End { checksum: self.words(8), to_guid: self.u64(40) }), 0),
            6 => {
                let like = self.words(40);
                (
                    Record::WriteByReference {
                        object: w8,
                        offset: w16,
                        length: w24,
                        to_guid: w32,
                        like,
                    },
                    0,
                )
            }
            7 => {
                let spill = self.spill();
                let length = match spill.compressed_size {
                    0 => spill.length,
                    compressed => compressed,
                };
                (Record::Spill(spill), limited(length, MAX_BLOCK)?)
            }
            8 => {
                let write = EmbeddedWrite {
                    object: w8,
                    offset: w16,
                    length: w24,
                    to_guid: w32,
                    compression: self.byte(40),
                    kind: self.byte(41),
                    logical_size: self.u32(48),
                    size: self.u32(52),
                    data: Vec::new(),
                };
                let length = limited(u64::from(write.size).next_multiple_of(8), 112)?;
                (Record::WriteEmbedded(write), length)
            }
            9 => (
                Record::ObjectRange {
                    first: w8,
                    count: w16,
                    to_guid: w24,
                    crypt: self.crypt(32),
                    flags: self.byte(68),
                },
                0,
            ),
            10 => (Record::Redact { object: w8, offset: w16, length: w24, to_guid: w32 }, 0),
            kind => return Err(format!("record type {kind} is not known")),
        })
    }

    fn begin(
        &self,
        limited: impl Fn(u64, u64) -> Result<usize, String>,
    ) -> Result<(Record, usize), String> {
        let version = self.u64(16);
        if self.u64(8) != MAGIC {
            return Err("its magic is wrong".to_owned());
        }
        let compound = match version & 3 {
            1 => false,
            2 => true,
            kind => return Err(format!("stream type {kind} is not known")),
        };
        let name = self.bytes.get(56..RECORD - 1).unwrap_or_default();
        let begin = Begin {
            compound,
            features: version << 6 >> 8,
            creation: self.u64(24),
            objset_type: self.u32(32),
            flags: self.u32(36),
            to_guid: self.u64(40),
            from_guid: self.u64(48),
            to_name: name.split(|byte| *byte == 0).next().unwrap_or_default().to_vec(),
            payload: Vec::new(),
        };
        Ok((Record::Begin(begin), limited(u64::from(self.u32(4)), MAX_LIST)?))
    }

    fn object(&self) -> ObjectRecord {
        ObjectRecord {
            object: self.u64(8),
            object_type: self.u32(16),
            bonus_type: self.u32(20),
            block_size: self.u32(24),
            bonus_length: self.u32(28),
            checksum: self.byte(32),
            compression: self.byte(33),
            slots: self.byte(34),
            flags: self.byte(35),
            raw_bonus_length: self.u32(36),
            to_guid: self.u64(40),
            indirect_shift: self.byte(48),
            levels: self.byte(49),
            pointers: self.byte(50),
            max_block: self.u64(56),
            bonus: Vec::new(),
        }
    }

    fn write(&self) -> WriteRecord {
        WriteRecord {
            object: self.u64(8),
            object_type: self.u32(16),
            offset: self.u64(24),
            logical_size: self.u64(32),
            to_guid: self.u64(40),
            checksum: self.byte(48),
            flags: self.byte(49),
            compression: self.byte(50),
            key: self.words(56),
            compressed_size: self.u64(96),
            crypt: self.crypt(104),
            data: Vec::new(),
        }
    }

    fn spill(&self) -> SpillRecord {
        SpillRecord {
            object: self.u64(8),
            length: self.u64(16),
            to_guid: self.u64(24),
            flags: self.byte(32),
            compression: self.byte(33),
            compressed_size: self.u64(40),
            crypt: self.crypt(48),
            object_type: self.u32(84),
            data: Vec::new(),
        }
    }
}
