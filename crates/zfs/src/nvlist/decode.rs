//! Unpacking. The input may be hostile: memory is bounded by a small multiple of its length, and
//! recursion by [`MAX_DEPTH`].

use thiserror::Error;

use super::{NvList, Value, data_type, decoded_size, decoded_value_size};
use crate::prelude::*;

/// How deep the kernel lets lists nest.
const MAX_DEPTH: u32 = 20;

/// Why a packed list cannot be unpacked. Offsets are bytes from its start.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum NvError {
    /// The list ends in the middle of something.
    #[error("the packed list is cut off at byte {offset}")]
    Truncated {
        /// Where more was expected.
        offset: usize,
    },
    /// Not the XDR encoding.
    #[error("the packed list has encoding {0}; only 1 (XDR) is stored on disk")]
    Encoding(u8),
    /// Not version 0.
    #[error("the list at byte {offset} has version {version}; only 0 is known")]
    Version {
        /// Start of the list.
        offset: usize,
        /// What it says.
        version: u32,
    },
    /// A type no on-disk list uses.
    #[error("the pair {name:?} at byte {offset} has type {data_type}, which is not known")]
    Type {
        /// Start of the pair.
        offset: usize,
        /// Its name.
        name: String,
        /// What it says.
        data_type: u32,
    },
    /// A count, size or text that contradicts the rest of the pair.
    #[error("the pair at byte {offset} is damaged: {what}")]
    Pair {
        /// Start of the pair.
        offset: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// Lists inside lists inside lists.
    #[error("lists are nested deeper than 20 at byte {offset}")]
    Depth {
        /// Where the limit was reached.
        offset: usize,
    },
}

/// Unpacks a list; bytes after its end are ignored, as the kernel does, for lists lie at the start
/// of larger areas.
pub fn decode_xdr(bytes: &[u8]) -> Result<NvList, NvError> {
    let mut reader = Reader { bytes, at: 0 };
    let header = reader.take(4)?;
    if header[0] != 1 {
        return Err(NvError::Encoding(header[0]));
    }
    reader.list(0)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], NvError> {
        let taken =
            self.bytes[self.at..].get(..len).ok_or(NvError::Truncated { offset: self.at })?;
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], NvError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u32(&mut self) -> Result<u32, NvError> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, NvError> {
        self.array().map(u64::from_be_bytes)
    }

    fn opaque(&mut self, len: usize) -> Result<&'a [u8], NvError> {
        let bytes = self.take(len)?;
        self.take(len.wrapping_neg() % 4)?;
        Ok(bytes)
    }

    fn string(&mut self, pair: usize) -> Result<Box<[u8]>, NvError> {
        let len = self.u32()? as usize;
        let text = self.opaque(len)?;
        if text.contains(&0) {
            return Err(NvError::Pair { offset: pair, what: "a NUL inside a text" });
        }
        Ok(text.into())
    }

    /// Refuses a count whose elements, of at least `size` bytes each, cannot follow.
    fn check_count(&self, count: usize, size: usize) -> Result<(), NvError> {
        match count.checked_mul(size) {
            Some(len) if len <= self.bytes.len() - self.at => Ok(()),
            _ => Err(NvError::Truncated { offset: self.bytes.len() }),
        }
    }

    fn list(&mut self, depth: u32) -> Result<NvList, NvError> {
        let offset = self.at;
        if depth > MAX_DEPTH {
            return Err(NvError::Depth { offset });
        }
        let version = self.u32()?;
        if version != 0 {
            return Err(NvError::Version { offset, version });
        }
        let _flags = self.u32()?;
        let mut list = NvList::new();
        loop {
            let pair = self.at;
            let _encoded_size = self.u32()?;
            let stored_size = self.u32()? as usize;
            if stored_size == 0 {
                return Ok(list);
            }
            let name = self.string(pair)?;
            let value = self.value(pair, &name, depth)?;
            if decoded_size(name.len(), decoded_value_size(&value)) != stored_size {
                return Err(NvError::Pair { offset: pair, what: "its decoded size is wrong" });
            }
            list.push(name, value);
        }
    }

    fn value(&mut self, pair: usize, name: &[u8], depth: u32) -> Result<Value, NvError> {
        let data_type = self.u32()?;
        let count = self.u32()? as usize;
        let wanted = match data_type {
            data_type::BOOLEAN => Some(0),
            data_type::BYTE_ARRAY
            | data_type::UINT8_ARRAY
            | data_type::UINT64_ARRAY
            | data_type::STRING_ARRAY
            | data_type::NVLIST_ARRAY => None,
            _ => Some(1),
        };
        if wanted.is_some_and(|wanted| wanted != count) {
            return Err(NvError::Pair { offset: pair, what: "a wrong number of elements" });
        }
        Ok(match data_type {
            data_type::BOOLEAN => Value::Boolean,
            data_type::BOOLEAN_VALUE => Value::BooleanValue(self.u32()? != 0),
            data_type::BYTE => Value::Byte(self.u32()? as u8),
            data_type::INT32 => Value::I32(self.u32()?.cast_signed()),
            data_type::UINT32 => Value::U32(self.u32()?),
            data_type::INT64 => Value::I64(self.u64()?.cast_signed()),
            data_type::UINT64 => Value::U64(self.u64()?),
            data_type::STRING => Value::String(self.string(pair)?),
            data_type::BYTE_ARRAY => Value::Bytes(self.opaque(count)?.into()),
            data_type::UINT8_ARRAY => Value::U8Array(
                self.integers(pair, count, 4, |reader| reader.u32().map(|value| value as u8))?,
            ),
            data_type::UINT64_ARRAY => Value::U64Array(self.integers(pair, count, 8, Self::u64)?),
            data_type::STRING_ARRAY => {
                self.check_count(count, 4)?;
                Value::StringArray((0..count).map(|_| self.string(pair)).collect::<Result<_, _>>()?)
            }
            data_type::NVLIST => Value::List(self.list(depth + 1)?),
            data_type::NVLIST_ARRAY => {
                self.check_count(count, 16)?;
                let lists = (0..count).map(|_| self.list(depth + 1)).collect::<Result<_, _>>()?;
                Value::ListArray(lists)
            }
            _ => {
                let name = String::from_utf8_lossy(name).into_owned();
                return Err(NvError::Type { offset: pair, name, data_type });
            }
        })
    }

    fn integers<T>(
        &mut self,
        pair: usize,
        count: usize,
        size: usize,
        one: impl Fn(&mut Self) -> Result<T, NvError>,
    ) -> Result<Box<[T]>, NvError> {
        if count == 0 {
            return Ok(Box::default());
        }
        if self.u32()? as usize != count {
            return Err(NvError::Pair { offset: pair, what: "two different numbers of elements" });
        }
        self.check_count(count, size)?;
        (0..count).map(|_| one(self)).collect()
    }
}
