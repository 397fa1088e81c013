//! Packed name-value lists in XDR form, as labels, configurations, histories and `xattr=sa` hold
//! them.
//!
//! Spec: `module/nvpair/nvpair.c` of OpenZFS. The native (unportable) encoding never reaches a
//! disk and is not handled; nor are the types no on-disk list uses (small integers and their
//! arrays, doubles, high-resolution times).

use crate::prelude::*;

mod decode;
mod encode;

pub use decode::{NvError, decode_xdr};
pub use encode::{encode_xdr, xdr_pair_size};

/// Size in bytes of a packed list without pairs: stream header, version, flags, terminator.
pub const EMPTY_SIZE: usize = 4 + 8 + 8;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A name that is true by being there.
    Boolean,
    /// True or false.
    BooleanValue(bool),
    /// A byte.
    Byte(u8),
    /// A signed 32-bit integer.
    I32(i32),
    /// An unsigned 32-bit integer.
    U32(u32),
    /// A signed 64-bit integer.
    I64(i64),
    /// An unsigned 64-bit integer.
    U64(u64),
    /// Text, in no declared encoding, without the NUL that ends it on disk.
    String(Box<[u8]>),
    /// Uninterpreted bytes (`DATA_TYPE_BYTE_ARRAY`).
    Bytes(Box<[u8]>),
    /// Small integers, each in a word of its own (`DATA_TYPE_UINT8_ARRAY`).
    U8Array(Box<[u8]>),
    /// Integers.
    U64Array(Box<[u64]>),
    /// Texts, as in `String`.
    StringArray(Box<[Box<[u8]>]>),
    /// A list inside the list.
    List(NvList),
    /// Several lists.
    ListArray(Vec<NvList>),
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::BooleanValue(value)
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::U64(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::String(value.as_bytes().into())
    }
}

impl From<&String> for Value {
    fn from(value: &String) -> Self {
        Self::from(value.as_str())
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Self::Bytes(value.into())
    }
}

impl From<NvList> for Value {
    fn from(value: NvList) -> Self {
        Self::List(value)
    }
}

impl From<Vec<NvList>> for Value {
    fn from(value: Vec<NvList>) -> Self {
        Self::ListArray(value)
    }
}

/// Pairs of name and value in the order they are stored. Names are bytes without NUL, at most
/// 32,766 of them; the caller keeps them unique.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NvList(Vec<(Box<[u8]>, Value)>);

impl NvList {
    /// A list without pairs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a pair.
    pub fn push(&mut self, name: impl AsRef<[u8]>, value: impl Into<Value>) {
        self.0.push((name.as_ref().into(), value.into()));
    }

    /// The list with one more pair, for building in one expression.
    #[must_use]
    pub fn with(mut self, name: impl AsRef<[u8]>, value: impl Into<Value>) -> Self {
        self.push(name, value);
        self
    }

    /// The first value of that name.
    pub fn get(&self, name: impl AsRef<[u8]>) -> Option<&Value> {
        let name = name.as_ref();
        self.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// The unsigned 64-bit integer of that name.
    pub fn u64(&self, name: impl AsRef<[u8]>) -> Option<u64> {
        match self.get(name) {
            Some(&Value::U64(value)) => Some(value),
            _ => None,
        }
    }

    /// The text of that name.
    pub fn string(&self, name: impl AsRef<[u8]>) -> Option<&[u8]> {
        match self.get(name) {
            Some(Value::String(value)) => Some(value),
            _ => None,
        }
    }

    /// The list of that name.
    pub fn list(&self, name: impl AsRef<[u8]>) -> Option<&NvList> {
        match self.get(name) {
            Some(Value::List(value)) => Some(value),
            _ => None,
        }
    }

    /// The lists of that name.
    pub fn lists(&self, name: impl AsRef<[u8]>) -> Option<&[NvList]> {
        match self.get(name) {
            Some(Value::ListArray(value)) => Some(value),
            _ => None,
        }
    }

    /// All pairs in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &Value)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }
}

/// `data_type_t` of `include/sys/nvpair.h`.
mod data_type {
    pub const BOOLEAN: u32 = 1;
    pub const BYTE: u32 = 2;
    pub const INT32: u32 = 5;
    pub const UINT32: u32 = 6;
    pub const INT64: u32 = 7;
    pub const UINT64: u32 = 8;
    pub const STRING: u32 = 9;
    pub const BYTE_ARRAY: u32 = 10;
    pub const UINT64_ARRAY: u32 = 16;
    pub const STRING_ARRAY: u32 = 17;
    pub const NVLIST: u32 = 19;
    pub const NVLIST_ARRAY: u32 = 20;
    pub const BOOLEAN_VALUE: u32 = 21;
    pub const UINT8_ARRAY: u32 = 26;
}

/// `NVP_SIZE_CALC`: what a pair takes in the kernel's memory, which the packed form records and
/// unpacking compares.
fn decoded_size(name: usize, value: usize) -> usize {
    const NVPAIR_SIZE: usize = 16;
    (NVPAIR_SIZE + name + 1).next_multiple_of(8) + value.next_multiple_of(8)
}

/// `i_get_value_size`: what the value takes there.
fn decoded_value_size(value: &Value) -> usize {
    const NVLIST_SIZE: usize = 24;
    const POINTER_SIZE: usize = 8;
    match value {
        Value::Boolean => 0,
        Value::Byte(_) => 1,
        Value::BooleanValue(_) | Value::I32(_) | Value::U32(_) => 4,
        Value::I64(_) | Value::U64(_) => 8,
        Value::String(text) => text.len() + 1,
        Value::Bytes(bytes) | Value::U8Array(bytes) => bytes.len(),
        Value::U64Array(values) => 8 * values.len(),
        Value::StringArray(texts) => texts.iter().map(|text| POINTER_SIZE + text.len() + 1).sum(),
        Value::List(_) => NVLIST_SIZE,
        Value::ListArray(lists) => lists.len() * (POINTER_SIZE + NVLIST_SIZE),
    }
}

#[cfg(test)]
mod tests;
