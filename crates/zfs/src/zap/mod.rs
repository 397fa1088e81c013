//! ZAP objects: name → value tables, from directories to pool properties.
//!
//! A *micro* ZAP is one block of 64-byte entries with one number each. A *fat* ZAP is a hash table
//! of 16 KiB leaf blocks behind a pointer table. Spec: `include/sys/zap_impl.h`, `zap_leaf.h` and
//! `module/zfs/zap*.c` of OpenZFS. The whole object is encoded or decoded at once, little-endian;
//! ZAPs keyed by integer arrays (deduplication tables) are not handled.

pub(crate) mod fat;
mod hash;
pub(crate) mod leaf;
pub(crate) mod micro;

use crate::prelude::*;
use thiserror::Error;

pub use micro::MAX_SIZE as MICRO_MAX_SIZE;

/// `U8_TEXTPREP_TOUPPER`: names hash by their upper case. Snapshot-name ZAPs are made so.
pub const NORM_TO_UPPER: u64 = 2;

/// Longest name in bytes, without its NUL.
const NAME_MAX: usize = 255;
/// Longest value in bytes.
const VALUE_MAX: usize = 8192;

/// What a name maps to: one or more integers of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZapValue<'a> {
    /// One 64-bit integer, the only value a micro ZAP has.
    U64(u64),
    /// 64-bit integers.
    U64s(&'a [u64]),
    /// 32-bit integers.
    U32s(&'a [u32]),
    /// 16-bit integers.
    U16s(&'a [u16]),
    /// 8-bit integers; text comes with its NUL.
    Bytes(&'a [u8]),
}

/// A name and its value, to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// 1 to 255 bytes without NUL.
    pub name: &'a [u8],
    /// What it maps to.
    pub value: ZapValue<'a>,
}

impl<'a> Entry<'a> {
    /// An entry of one number.
    pub fn new(name: &'a (impl AsRef<[u8]> + ?Sized), value: u64) -> Self {
        Self { name: name.as_ref(), value: ZapValue::U64(value) }
    }
}

/// A [`ZapValue`] that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnedValue {
    /// One 64-bit integer.
    U64(u64),
    /// No or several 64-bit integers.
    U64s(Box<[u64]>),
    /// 32-bit integers.
    U32s(Box<[u32]>),
    /// 16-bit integers.
    U16s(Box<[u16]>),
    /// 8-bit integers.
    Bytes(Box<[u8]>),
}

impl OwnedValue {
    /// The value as one that can be written.
    pub fn as_ref(&self) -> ZapValue<'_> {
        match self {
            Self::U64(value) => ZapValue::U64(*value),
            Self::U64s(values) => ZapValue::U64s(values),
            Self::U32s(values) => ZapValue::U32s(values),
            Self::U16s(values) => ZapValue::U16s(values),
            Self::Bytes(values) => ZapValue::Bytes(values),
        }
    }
}

/// A name and its value, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedEntry {
    /// The name without its NUL.
    pub name: Box<[u8]>,
    /// What it maps to.
    pub value: OwnedValue,
}

/// How a ZAP is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZapOptions {
    /// Seeds the hash; not 0.
    pub salt: u64,
    /// 0 or [`NORM_TO_UPPER`].
    pub normflags: u64,
    /// A fat ZAP even where a micro ZAP would do.
    pub force_fat: bool,
}

impl ZapOptions {
    /// Micro if possible, names hashed as they are.
    pub fn new(salt: u64) -> Self {
        Self { salt, normflags: 0, force_fat: false }
    }
}

/// The content of a ZAP object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZapObject {
    /// Size of the object's blocks in bytes.
    pub block_size: u32,
    /// All blocks, one after the other.
    pub data: Vec<u8>,
}

/// Why a ZAP cannot be written or read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ZapError {
    /// The salt is 0.
    #[error("the salt of a ZAP must not be 0")]
    Salt,
    /// Flags other than 0 and [`NORM_TO_UPPER`].
    #[error("ZAP name normalisation {0:#x} is not supported")]
    Normalization(u64),
    /// A name that cannot be stored.
    #[error("{0:?} is not a ZAP name: 1 to 255 bytes, no NUL, ASCII where case is folded")]
    Name(String),
    /// A name that occurs twice.
    #[error("two ZAP entries are called {0:?}")]
    Duplicate(String),
    /// A value of more than 8 KiB.
    #[error("the value of ZAP entry {name:?} has {len} bytes, more than 8192")]
    ValueTooLong {
        /// The entry's name.
        name: String,
        /// Its value's length.
        len: usize,
    },
    /// Hundreds of names whose hashes begin with the same 20 bits.
    #[error("too many ZAP names have nearly the same hash under salt {salt:#x}; use another salt")]
    Collisions {
        /// The salt.
        salt: u64,
    },
    /// The object does not hold a ZAP that can be read.
    #[error("block {block} of the ZAP is damaged: {what}")]
    Damaged {
        /// Index of the block.
        block: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// Flags of a ZAP keyed by integers.
    #[error("ZAP flags {0:#x} are not supported")]
    Flags(u64),
}

/// The name under which ZAPs keyed by numbers (`next_clones`, deadlists, `userused`, …) store one.
pub fn int_key(key: u64) -> String {
    format!("{key:x}")
}

/// An entry with the hash it is placed by, and the number that tells it from others of that hash.
pub(crate) struct Hashed<'a> {
    hash: u64,
    cd: u32,
    entry: &'a Entry<'a>,
}

/// Writes a ZAP. The order of `entries` does not matter.
pub fn encode(entries: &[Entry<'_>], options: &ZapOptions) -> Result<ZapObject, ZapError> {
    let hashed = hash_all(entries, options)?;
    if !options.force_fat && micro::fits(entries) {
        Ok(micro::encode(&hashed, options))
    } else {
        fat::encode(&hashed, options)
    }
}

/// Reads all entries of a ZAP, in the order of its blocks.
///
/// `data` is the whole object, and may be hostile.
pub fn decode(data: &[u8], block_size: u32) -> Result<Vec<OwnedEntry>, ZapError> {
    match block_type(data) {
        Some(micro::BLOCK_TYPE) => Ok(micro::decode(data)),
        Some(fat::BLOCK_TYPE) => fat::Fat::new(data, block_size)?.entries(),
        _ => Err(ZapError::Damaged { block: 0, what: "not a ZAP" }),
    }
}

/// Finds one name, byte for byte, the way the kernel does: through the hash.
pub fn lookup(data: &[u8], block_size: u32, name: &[u8]) -> Result<Option<OwnedValue>, ZapError> {
    match block_type(data) {
        Some(micro::BLOCK_TYPE) => {
            let mut entries = micro::decode(data).into_iter();
            Ok(entries.find(|entry| &*entry.name == name).map(|entry| entry.value))
        }
        Some(fat::BLOCK_TYPE) => fat::Fat::new(data, block_size)?.lookup(name),
        _ => Err(ZapError::Damaged { block: 0, what: "not a ZAP" }),
    }
}

fn block_type(data: &[u8]) -> Option<u64> {
    data.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

fn lossy(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// The hash of a name in its normal form.
pub(crate) fn hash_name(name: &[u8], salt: u64, normflags: u64) -> u64 {
    if normflags == 0 {
        hash::hash(salt, name.iter().copied())
    } else {
        hash::hash(salt, name.iter().map(u8::to_ascii_uppercase))
    }
}

/// Checks, hashes and sorts entries by hash, equal hashes by name, and numbers the latter.
fn hash_all<'a>(
    entries: &'a [Entry<'a>],
    options: &ZapOptions,
) -> Result<Vec<Hashed<'a>>, ZapError> {
    let &ZapOptions { salt, normflags, .. } = options;
    if salt == 0 {
        return Err(ZapError::Salt);
    }
    if normflags != 0 && normflags != NORM_TO_UPPER {
        return Err(ZapError::Normalization(normflags));
    }
    let mut hashed = Vec::with_capacity(entries.len());
    for entry in entries {
        let name = entry.name;
        let bad = name.is_empty() || name.len() > NAME_MAX || name.contains(&0);
        if bad || (normflags != 0 && !name.is_ascii()) {
            return Err(ZapError::Name(lossy(name)));
        }
        let len = leaf::value_len(&entry.value);
        if len > VALUE_MAX {
            return Err(ZapError::ValueTooLong { name: lossy(name), len });
        }
        hashed.push(Hashed { hash: hash_name(name, salt, normflags), cd: 0, entry });
    }
    hashed
        .sort_unstable_by(|a, b| a.hash.cmp(&b.hash).then_with(|| a.entry.name.cmp(b.entry.name)));
    for at in 1..hashed.len() {
        let (before, this) = (&hashed[at - 1], &hashed[at]);
        if before.hash == this.hash {
            if before.entry.name == this.entry.name {
                return Err(ZapError::Duplicate(lossy(this.entry.name)));
            }
            hashed[at].cd = before.cd + 1;
        }
    }
    Ok(hashed)
}

#[cfg(test)]
mod tests;
