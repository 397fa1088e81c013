//! Leaf blocks of fat ZAPs: a header, a hash table of chain heads, and 24-byte chunks that hold
//! entries, pieces of names and values, or nothing.

use super::{Hashed, OwnedEntry, OwnedValue, ZapError, ZapValue};
use crate::prelude::*;

/// `ZBT_LEAF`.
const BLOCK_TYPE: u64 = 1 << 63;
const MAGIC: u32 = 0x02AB_1EAF;
const HEADER: usize = 48;
const CHUNK: usize = 24;
/// Payload of one chunk of a name or value.
const ARRAY_BYTES: usize = 21;
const CHAIN_END: u16 = 0xffff;
/// Types of chunks.
const FREE: u8 = 253;
const ENTRY: u8 = 252;
const ARRAY: u8 = 251;
/// `ZLF_ENTRIES_CDSORTED`: every chain is sorted by collision number.
const CD_SORTED: u8 = 1;

/// Sizes that follow from the size of a block.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    block_size: usize,
    hash_shift: u32,
}

impl Shape {
    /// The shape of leaves in blocks of 2^`block_shift` bytes, `block_shift` from 9 to 20.
    pub const fn new(block_shift: u32) -> Self {
        Self { block_size: 1 << block_shift, hash_shift: block_shift - 5 }
    }

    const fn chunks_at(self) -> usize {
        HEADER + (2 << self.hash_shift)
    }

    /// How many chunks a leaf has.
    pub const fn chunks(self) -> usize {
        (self.block_size - self.chunks_at()) / CHUNK
    }

    /// `LEAF_HASH`: the chain of a hash, in a leaf that `prefix_len` bits of it select.
    fn bucket(self, hash: u64, prefix_len: u32) -> usize {
        (hash << prefix_len >> (64 - self.hash_shift)) as usize
    }
}

/// Length of a value in bytes.
pub fn value_len(value: &ZapValue<'_>) -> usize {
    match value {
        ZapValue::U64(_) => 8,
        ZapValue::U64s(values) => 8 * values.len(),
        ZapValue::U32s(values) => 4 * values.len(),
        ZapValue::U16s(values) => 2 * values.len(),
        ZapValue::Bytes(values) => values.len(),
    }
}

/// How many chunks an entry takes.
pub fn chunks_of(entry: &Hashed<'_>) -> usize {
    let name = entry.entry.name.len() + 1;
    1 + name.div_ceil(ARRAY_BYTES) + value_len(&entry.entry.value).div_ceil(ARRAY_BYTES)
}

/// Size of a value's integers, and all of them in big-endian order.
fn value_bytes(value: &ZapValue<'_>) -> (u8, Vec<u8>) {
    match value {
        ZapValue::U64(value) => (8, value.to_be_bytes().into()),
        ZapValue::U64s(values) => (8, values.iter().flat_map(|v| v.to_be_bytes()).collect()),
        ZapValue::U32s(values) => (4, values.iter().flat_map(|v| v.to_be_bytes()).collect()),
        ZapValue::U16s(values) => (2, values.iter().flat_map(|v| v.to_be_bytes()).collect()),
        ZapValue::Bytes(values) => (1, values.to_vec()),
    }
}

struct Writer<'a> {
    shape: Shape,
    block: &'a mut [u8],
    /// Chunks are taken one after the other, as from a fresh free list.
    next: usize,
}

impl Writer<'_> {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.block[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn chunk_at(&self, chunk: usize) -> usize {
        self.shape.chunks_at() + chunk * CHUNK
    }

    fn get_u16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.block[at], self.block[at + 1]])
    }

    /// Stores bytes in a row of chunks and returns the first.
    fn array(&mut self, bytes: &[u8]) -> u16 {
        if bytes.is_empty() {
            return CHAIN_END;
        }
        let first = self.next;
        let mut pieces = bytes.chunks(ARRAY_BYTES).peekable();
        while let Some(piece) = pieces.next() {
            let at = self.chunk_at(self.next);
            self.next += 1;
            let next = if pieces.peek().is_some() { self.next as u16 } else { CHAIN_END };
            self.block[at] = ARRAY;
            self.put(at + 1, piece);
            self.put(at + 22, &next.to_le_bytes());
        }
        first as u16
    }

    /// `zap_leaf_rehash_entry`: links an entry behind those with no higher collision number.
    fn link(&mut self, chunk: u16, hash: u64, cd: u32, prefix_len: u32) {
        let mut pointer = HEADER + 2 * self.shape.bucket(hash, prefix_len);
        loop {
            let next = self.get_u16(pointer);
            let at = self.chunk_at(usize::from(next));
            if next == CHAIN_END || read_u32(self.block, at + 12) > cd {
                let entry = self.chunk_at(usize::from(chunk));
                self.put(entry + 2, &next.to_le_bytes());
                self.put(pointer, &chunk.to_le_bytes());
                return;
            }
            pointer = at + 2;
        }
    }

    fn entry(&mut self, hashed: &Hashed<'_>, prefix_len: u32) {
        let chunk = self.next;
        self.next += 1;
        let mut name = hashed.entry.name.to_vec();
        name.push(0);
        let (int_size, value) = value_bytes(&hashed.entry.value);
        let (name_chunk, value_chunk) = (self.array(&name), self.array(&value));
        let value_count = value.len() / usize::from(int_size);
        let at = self.chunk_at(chunk);
        self.put(at, &[ENTRY, int_size]);
        self.put(at + 4, &name_chunk.to_le_bytes());
        self.put(at + 6, &(name.len() as u16).to_le_bytes());
        self.put(at + 8, &value_chunk.to_le_bytes());
        self.put(at + 10, &(value_count as u16).to_le_bytes());
        self.put(at + 12, &hashed.cd.to_le_bytes());
        self.put(at + 16, &hashed.hash.to_le_bytes());
        self.link(chunk as u16, hashed.hash, hashed.cd, prefix_len);
    }
}

/// Writes the leaf for all hashes that begin with the `prefix_len` bits of `prefix` into a block of
/// zeros. The chunks of the entries must fit.
pub fn encode(
    entries: &[Hashed<'_>],
    prefix: u64,
    prefix_len: u32,
    sorted: bool,
    shape: Shape,
    block: &mut [u8],
) {
    block[HEADER..shape.chunks_at()].fill(0xff);
    let mut writer = Writer { shape, block, next: 0 };
    for entry in entries {
        writer.entry(entry, prefix_len);
    }
    let used = writer.next;
    for chunk in used..shape.chunks() {
        let next = if chunk + 1 < shape.chunks() { chunk as u16 + 1 } else { CHAIN_END };
        let at = writer.chunk_at(chunk);
        writer.block[at] = FREE;
        writer.put(at + 22, &next.to_le_bytes());
    }
    let free = shape.chunks() - used;
    let free_list = if free > 0 { used as u16 } else { CHAIN_END };
    writer.put(0, &BLOCK_TYPE.to_le_bytes());
    writer.put(16, &prefix.to_le_bytes());
    writer.put(24, &MAGIC.to_le_bytes());
    writer.put(28, &(free as u16).to_le_bytes());
    writer.put(30, &(entries.len() as u16).to_le_bytes());
    writer.put(32, &(prefix_len as u16).to_le_bytes());
    writer.put(34, &free_list.to_le_bytes());
    writer.put(36, &[if sorted { CD_SORTED } else { 0 }]);
}

fn read_u16(block: &[u8], at: usize) -> u16 {
    let bytes = block.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u16::from_le_bytes(*bytes))
}

fn read_u32(block: &[u8], at: usize) -> u32 {
    let bytes = block.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn read_u64(block: &[u8], at: usize) -> u64 {
    let bytes = block.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// A leaf to be read.
pub struct Leaf<'a> {
    shape: Shape,
    block: &'a [u8],
    index: u64,
    prefix_len: u32,
}

impl<'a> Leaf<'a> {
    /// Checks the header of the leaf in block `index`.
    pub fn new(block: &'a [u8], index: u64, shape: Shape) -> Result<Self, ZapError> {
        let prefix_len = u32::from(read_u16(block, 32));
        let leaf = Self { shape, block, index, prefix_len };
        let whole = block.len() == shape.block_size;
        if !whole || read_u64(block, 0) != BLOCK_TYPE || read_u32(block, 24) != MAGIC {
            return Err(leaf.damaged("not a leaf"));
        }
        if prefix_len > super::hash::HASH_BITS {
            return Err(leaf.damaged("its hash prefix is too long"));
        }
        Ok(leaf)
    }

    fn damaged(&self, what: &'static str) -> ZapError {
        ZapError::Damaged { block: self.index, what }
    }

    fn chunk(&self, chunk: u16, kind: u8) -> Result<&'a [u8], ZapError> {
        let at = self.shape.chunks_at() + usize::from(chunk) * CHUNK;
        let found =
            (usize::from(chunk) < self.shape.chunks()).then(|| self.block.get(at..at + CHUNK));
        match found.flatten() {
            Some(bytes) if bytes[0] == kind => Ok(bytes),
            _ => Err(self.damaged("a chunk is missing")),
        }
    }

    fn array(&self, mut chunk: u16, len: usize) -> Result<Vec<u8>, ZapError> {
        if len > self.shape.chunks() * ARRAY_BYTES {
            return Err(self.damaged("a name or value is longer than the leaf"));
        }
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            let piece = self.chunk(chunk, ARRAY)?;
            bytes.extend_from_slice(&piece[1..=ARRAY_BYTES.min(len - bytes.len())]);
            chunk = read_u16(piece, 22);
        }
        Ok(bytes)
    }

    fn name(&self, entry: &[u8]) -> Result<Box<[u8]>, ZapError> {
        let mut name = self.array(read_u16(entry, 4), usize::from(read_u16(entry, 6)))?;
        match name.pop() {
            Some(0) => Ok(name.into()),
            _ => Err(self.damaged("a name does not end in NUL")),
        }
    }

    fn value(&self, entry: &[u8]) -> Result<OwnedValue, ZapError> {
        fn integers<const N: usize, T>(bytes: &[u8], from: fn([u8; N]) -> T) -> Box<[T]> {
            bytes.as_chunks().0.iter().map(|bytes| from(*bytes)).collect()
        }
        let (size, count) = (usize::from(entry[1]), usize::from(read_u16(entry, 10)));
        let bytes = self.array(read_u16(entry, 8), size * count)?;
        Ok(match (size, bytes.first_chunk()) {
            (8, Some(value)) if count == 1 => OwnedValue::U64(u64::from_be_bytes(*value)),
            (8, _) => OwnedValue::U64s(integers(&bytes, u64::from_be_bytes)),
            (4, _) => OwnedValue::U32s(integers(&bytes, u32::from_be_bytes)),
            (2, _) => OwnedValue::U16s(integers(&bytes, u16::from_be_bytes)),
            (1, _) => OwnedValue::Bytes(bytes.into()),
            _ => return Err(self.damaged("a value has integers of an impossible size")),
        })
    }

    /// Walks one chain until `visit` returns something.
    fn chain<T>(
        &self,
        bucket: usize,
        mut visit: impl FnMut(&'a [u8]) -> Result<Option<T>, ZapError>,
    ) -> Result<Option<T>, ZapError> {
        let mut chunk = read_u16(self.block, HEADER + 2 * bucket);
        for _ in 0..=self.shape.chunks() {
            if chunk == CHAIN_END {
                return Ok(None);
            }
            let entry = self.chunk(chunk, ENTRY)?;
            if let Some(found) = visit(entry)? {
                return Ok(Some(found));
            }
            chunk = read_u16(entry, 2);
        }
        Err(self.damaged("a chain of entries runs in a circle"))
    }

    /// Adds all entries, chain by chain. A leaf with more entries than chunks is refused.
    pub fn entries(&self, out: &mut Vec<OwnedEntry>) -> Result<(), ZapError> {
        let mut left = self.shape.chunks();
        for bucket in 0..1 << self.shape.hash_shift {
            self.chain(bucket, |entry| {
                left = left.checked_sub(1).ok_or_else(|| self.damaged("chains share entries"))?;
                out.push(OwnedEntry { name: self.name(entry)?, value: self.value(entry)? });
                Ok(None::<()>)
            })?;
        }
        Ok(())
    }

    /// The value of a name with that hash.
    pub fn lookup(&self, hash: u64, name: &[u8]) -> Result<Option<OwnedValue>, ZapError> {
        self.chain(self.shape.bucket(hash, self.prefix_len), |entry| {
            if read_u64(entry, 16) == hash && *self.name(entry)? == *name {
                self.value(entry).map(Some)
            } else {
                Ok(None)
            }
        })
    }
}
