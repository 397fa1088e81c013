//! Records into their bytes, little-endian.

use super::record::{CryptParameters, MAGIC, RECORD, Record};

struct Bytes([u8; RECORD]);

impl Bytes {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(slot) = self.0.get_mut(at..at + bytes.len()) {
            slot.copy_from_slice(bytes);
        }
    }
    fn words(&mut self, at: usize, words: &[u64]) {
        for (index, word) in words.iter().enumerate() {
            self.put(at + 8 * index, &word.to_le_bytes());
        }
    }
    fn halves(&mut self, at: usize, words: &[u32]) {
        for (index, word) in words.iter().enumerate() {
            self.put(at + 4 * index, &word.to_le_bytes());
        }
    }
    fn crypt(&mut self, at: usize, crypt: &CryptParameters) {
        self.put(at, &crypt.salt);
        self.put(at + 8, &crypt.iv);
        self.put(at + 20, &crypt.mac);
    }
}

/// The record's bytes, its running checksum still zero, and its payload.
pub(super) fn encode(record: &Record) -> ([u8; RECORD], &[u8]) {
    let mut bytes = Bytes([0; RECORD]);
    let (kind, payload): (u32, &[u8]) = match record {
        Record::Begin(begin) => {
            let version = begin.features << 2 | if begin.compound { 2 } else { 1 };
            bytes.halves(4, &[begin.payload.len() as u32]);
            bytes.words(8, &[MAGIC, version, begin.creation]);
            bytes.halves(32, &[begin.objset_type, begin.flags]);
            bytes.words(40, &[begin.to_guid, begin.from_guid]);
            bytes.put(56, begin.to_name.get(..255).unwrap_or(&begin.to_name));
            (0, &begin.payload)
        }
        Record::Object(object) => {
            bytes.words(8, &[object.object]);
            bytes.halves(
                16,
                &[object.object_type, object.bonus_type, object.block_size, object.bonus_length],
            );
            bytes.put(32, &[object.checksum, object.compression, object.slots, object.flags]);
            bytes.halves(36, &[object.raw_bonus_length]);
            bytes.words(40, &[object.to_guid]);
            bytes.put(48, &[object.indirect_shift, object.levels, object.pointers]);
            bytes.words(56, &[object.max_block]);
            (1, &object.bonus)
        }
        Record::FreeObjects { first, count, to_guid } => {
            bytes.words(8, &[*first, *count, *to_guid]);
            (2, &[])
        }
        Record::Write(write) => {
            bytes.words(8, &[write.object]);
            bytes.halves(16, &[write.object_type]);
            bytes.words(24, &[write.offset, write.logical_size, write.to_guid]);
            bytes.put(48, &[write.checksum, write.flags, write.compression]);
            bytes.words(56, &write.key);
            bytes.words(96, &[write.compressed_size]);
            bytes.crypt(104, &write.crypt);
            (3, &write.data)
        }
        Record::Free { object, offset, length, to_guid } => {
            bytes.words(8, &[*object, *offset, *length, *to_guid]);
            (4, &[])
        }
        Record::End(end) => {
            bytes.words(8, &end.checksum);
            bytes.words(40, &[end.to_guid]);
            (5, &[])
        }
        Record::WriteByReference { object, offset, length, to_guid, like } => {
            bytes.words(8, &[*object, *offset, *length, *to_guid]);
            bytes.words(40, like);
            (6, &[])
        }
        Record::Spill(spill) => {
            bytes.words(8, &[spill.object, spill.length, spill.to_guid]);
            bytes.put(32, &[spill.flags, spill.compression]);
            bytes.words(40, &[spill.compressed_size]);
            bytes.crypt(48, &spill.crypt);
            bytes.halves(84, &[spill.object_type]);
            (7, &spill.data)
        }
        Record::WriteEmbedded(write) => {
            bytes.words(8, &[write.object, write.offset, write.length, write.to_guid]);
            bytes.put(40, &[write.compression, write.kind]);
            bytes.halves(48, &[write.logical_size, write.size]);
            (8, &write.data)
        }
        Record::ObjectRange { first, count, to_guid, crypt, flags } => {
            bytes.words(8, &[*first, *count, *to_guid]);
            bytes.crypt(32, crypt);
            bytes.put(68, &[*flags]);
            (9, &[])
        }
        Record::Redact { object, offset, length, to_guid } => {
            bytes.words(8, &[*object, *offset, *length, *to_guid]);
            (10, &[])
        }
    };
    bytes.halves(0, &[kind]);
    (bytes.0, payload)
}
