//! Micro ZAPs: a 64-byte header and 64-byte entries in one block.

use super::{Entry, Hashed, OwnedEntry, OwnedValue, ZapObject, ZapOptions, ZapValue};
use crate::prelude::*;

/// `ZBT_MICRO`.
pub const BLOCK_TYPE: u64 = (1 << 63) + 3;
/// Largest micro ZAP in bytes, unless `large_microzap` is active (we never make it so).
pub const MAX_SIZE: usize = 128 << 10;

const SLOT: usize = 64;
const BLOCK_UNIT: usize = 512;
/// Bytes for a name, its NUL included.
const NAME_SIZE: usize = 50;
/// Where in a slot the name lies, behind value, collision number and padding.
const NAME_AT: usize = 14;

/// Whether a micro ZAP can hold the entries.
pub fn fits(entries: &[Entry<'_>]) -> bool {
    entries.len() < MAX_SIZE / SLOT
        && entries
            .iter()
            .all(|entry| matches!(entry.value, ZapValue::U64(_)) && entry.name.len() < NAME_SIZE)
}

/// Writes entries that [`fits`] accepts.
pub fn encode(entries: &[Hashed<'_>], options: &ZapOptions) -> ZapObject {
    let size = (SLOT * (entries.len() + 1)).next_multiple_of(BLOCK_UNIT);
    let mut data = vec![0; size];
    data[..8].copy_from_slice(&BLOCK_TYPE.to_le_bytes());
    data[8..16].copy_from_slice(&options.salt.to_le_bytes());
    data[16..24].copy_from_slice(&options.normflags.to_le_bytes());
    let slots = data.chunks_exact_mut(SLOT).skip(1);
    for (slot, &Hashed { cd, entry, .. }) in slots.zip(entries) {
        if let ZapValue::U64(value) = entry.value {
            slot[..8].copy_from_slice(&value.to_le_bytes());
        }
        slot[8..12].copy_from_slice(&cd.to_le_bytes());
        slot[NAME_AT..NAME_AT + entry.name.len()].copy_from_slice(entry.name);
    }
    ZapObject { block_size: size as u32, data }
}

/// Reads all entries; no content of the block is an error.
pub fn decode(data: &[u8]) -> Vec<OwnedEntry> {
    let slots = data.chunks_exact(SLOT).skip(1);
    slots
        .filter_map(|slot| {
            let name = slot[NAME_AT..].split(|&byte| byte == 0).next()?;
            let value = u64::from_le_bytes(*slot.first_chunk()?);
            (!name.is_empty())
                .then(|| OwnedEntry { name: name.into(), value: OwnedValue::U64(value) })
        })
        .collect()
}
