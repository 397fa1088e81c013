//! Packing.

use super::{EMPTY_SIZE, NvList, Value, data_type, decoded_size, decoded_value_size};
use crate::prelude::*;

/// `NV_ENCODE_XDR`, little-endian host, two reserved bytes. Pools written by x86 say little-endian
/// although XDR itself is big-endian either way.
const STREAM_HEADER: [u8; 4] = [1, 1, 0, 0];
const NV_VERSION: u32 = 0;
const NV_UNIQUE_NAME: u32 = 1;

/// Packs a list exactly as `nvlist_pack(NV_ENCODE_XDR)` does.
pub fn encode_xdr(list: &NvList) -> Vec<u8> {
    let mut out = Vec::with_capacity(EMPTY_SIZE + list_pairs_size(list));
    out.extend_from_slice(&STREAM_HEADER);
    encode_list(list, &mut out);
    out
}

/// The bytes one pair adds to a packed list (`nvs_xdr_nvp_size`).
pub fn xdr_pair_size(name: &[u8], value: &Value) -> usize {
    let data = match value {
        Value::Boolean => 0,
        Value::BooleanValue(_) | Value::Byte(_) | Value::I32(_) | Value::U32(_) => 4,
        Value::I64(_) | Value::U64(_) => 8,
        Value::String(text) => string_size(text),
        Value::Bytes(bytes) => padded(bytes.len()),
        Value::U8Array(values) => 4 + 4 * values.len(),
        Value::U64Array(values) => 4 + 8 * values.len(),
        Value::StringArray(texts) => texts.iter().map(|text| string_size(text)).sum(),
        Value::List(list) => list_size(list),
        Value::ListArray(lists) => lists.iter().map(list_size).sum(),
    };
    // encoded size, decoded size, name, type, element count
    4 + 4 + string_size(name) + 4 + 4 + data
}

fn list_pairs_size(list: &NvList) -> usize {
    list.iter().map(|(name, value)| xdr_pair_size(name, value)).sum()
}

fn list_size(list: &NvList) -> usize {
    8 + list_pairs_size(list) + 8
}

fn padded(len: usize) -> usize {
    len.next_multiple_of(4)
}

fn string_size(text: &[u8]) -> usize {
    4 + padded(text.len())
}

fn put_u32(value: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Lists stay far below 2³¹ bytes, the format's own limit.
fn put_len(value: usize, out: &mut Vec<u8>) {
    put_u32(value as u32, out);
}

fn put_u64(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_opaque(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(bytes);
    out.resize(out.len() + padded(bytes.len()) - bytes.len(), 0);
}

fn put_string(text: &[u8], out: &mut Vec<u8>) {
    put_len(text.len(), out);
    put_opaque(text, out);
}

fn encode_list(list: &NvList, out: &mut Vec<u8>) {
    put_u32(NV_VERSION, out);
    put_u32(NV_UNIQUE_NAME, out);
    for (name, value) in list.iter() {
        put_len(xdr_pair_size(name, value), out);
        put_len(decoded_size(name.len(), decoded_value_size(value)), out);
        put_string(name, out);
        encode_value(value, out);
    }
    put_u64(0, out);
}

fn encode_value(value: &Value, out: &mut Vec<u8>) {
    let (data_type, count) = match value {
        Value::Boolean => (data_type::BOOLEAN, 0),
        Value::BooleanValue(_) => (data_type::BOOLEAN_VALUE, 1),
        Value::Byte(_) => (data_type::BYTE, 1),
        Value::I32(_) => (data_type::INT32, 1),
        Value::U32(_) => (data_type::UINT32, 1),
        Value::I64(_) => (data_type::INT64, 1),
        Value::U64(_) => (data_type::UINT64, 1),
        Value::String(_) => (data_type::STRING, 1),
        Value::Bytes(bytes) => (data_type::BYTE_ARRAY, bytes.len()),
        Value::U8Array(values) => (data_type::UINT8_ARRAY, values.len()),
        Value::U64Array(values) => (data_type::UINT64_ARRAY, values.len()),
        Value::StringArray(texts) => (data_type::STRING_ARRAY, texts.len()),
        Value::List(_) => (data_type::NVLIST, 1),
        Value::ListArray(lists) => (data_type::NVLIST_ARRAY, lists.len()),
    };
    put_u32(data_type, out);
    put_len(count, out);
    if count == 0 {
        // Not even the array's own element count follows.
        return;
    }
    match value {
        Value::Boolean => {}
        Value::BooleanValue(value) => put_u32(u32::from(*value), out),
        // xdr_char goes through a signed char.
        Value::Byte(value) => put_u32(value.cast_signed() as u32, out),
        Value::I32(value) => put_u32(value.cast_unsigned(), out),
        Value::U32(value) => put_u32(*value, out),
        Value::I64(value) => put_u64(value.cast_unsigned(), out),
        Value::U64(value) => put_u64(*value, out),
        Value::String(text) => put_string(text, out),
        Value::Bytes(bytes) => put_opaque(bytes, out),
        Value::U8Array(values) => {
            put_len(values.len(), out);
            values.iter().for_each(|value| put_u32(value.cast_signed() as u32, out));
        }
        Value::U64Array(values) => {
            put_len(values.len(), out);
            values.iter().for_each(|&value| put_u64(value, out));
        }
        Value::StringArray(texts) => texts.iter().for_each(|text| put_string(text, out)),
        Value::List(list) => encode_list(list, out),
        Value::ListArray(lists) => lists.iter().for_each(|list| encode_list(list, out)),
    }
}
