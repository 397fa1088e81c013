//! Receives that were broken off (`zfs receive -s`), and the token to go on with (`zfs send -t`).
//!
//! A token is `1-SUM-SIZE-BYTES`, all hexadecimal: bytes are a list of names and values, packed as
//! the machine's memory has it and compressed with zlib, the sum is the first word of their
//! fletcher-4, the size that before compression.
//!
//! Source: OpenZFS `module/zfs/dsl_dataset.c` (`get_receive_resume_token_impl`),
//! `module/nvpair/nvpair.c` (`nvs_native`).

use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use crate::codec::fletcher::fletcher4;
use crate::dnode::object_type;
use crate::read::{Dataset, Pool, ReadError, zap};
use crate::zap::OwnedValue;

/// Types of values (`data_type_t`).
const BOOLEAN: u32 = 1;
const UINT64: u32 = 8;
const STRING: u32 = 9;
const UINT64_ARRAY: u32 = 16;
/// Native, little-endian, two reserved bytes; version 0; names are unique.
const HEADER: [u8; 12] = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];

/// What a receive that was broken off left in a dataset, or in the clone `%recv` below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interrupted {
    /// Name of the snapshot that was sent, where it was sent.
    pub to_name: String,
    /// Its GUID.
    pub to_guid: u64,
    /// GUID of the snapshot that it goes on from.
    pub from_guid: Option<u64>,
    /// Object that was received last, or is still to come.
    pub object: u64,
    /// Bytes of it that came.
    pub offset: u64,
    /// Bytes of the stream that came.
    pub bytes: u64,
    /// The stream has blocks above 128 KiB, embedded, compressed, raw ones.
    flags: [bool; 4],
    /// GUIDs of the snapshots it was redacted with; the same of the bookmark it goes on from.
    redaction: [Option<Vec<u64>>; 2],
}

/// What a broken off receive left in this dataset; `None` if there was none.
pub fn interrupted(pool: &Pool, dataset: &Dataset) -> Result<Option<Interrupted>, ReadError> {
    let object = pool.mos()?.object(dataset.object)?;
    if object.dnode.object_type != object_type::ZAP_METADATA {
        return Ok(None);
    }
    let resume = |name: &str| zap::number(&object, format!("com.delphix:resume_{name}").as_bytes());
    let Some(to_guid) = resume("toguid")? else { return Ok(None) };
    let to_name = match zap::lookup(&object, b"com.delphix:resume_toname")? {
        Some(OwnedValue::Bytes(text)) => {
            let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
            String::from_utf8_lossy(text.get(..end).unwrap_or_default()).into_owned()
        }
        _ => String::new(),
    };
    let has = |name: &str| zap::lookup(&object, name.as_bytes()).map(|value| value.is_some());
    let numbers = |name: &str| {
        zap::lookup(&object, name.as_bytes()).map(|value| match value {
            Some(OwnedValue::U64(number)) => Some(vec![number]),
            Some(OwnedValue::U64s(numbers)) => Some(numbers.into_vec()),
            _ => None,
        })
    };
    Ok(Some(Interrupted {
        to_name,
        to_guid,
        from_guid: resume("fromguid")?,
        object: resume("object")?.unwrap_or(0),
        offset: resume("offset")?.unwrap_or(0),
        bytes: resume("bytes")?.unwrap_or(0),
        flags: [
            has("com.delphix:resume_largeblockok")?,
            has("com.delphix:resume_embedok")?,
            has("com.delphix:resume_compressok")?,
            has("com.datto:resume_rawok")?,
        ],
        redaction: [
            numbers("com.delphix:redacted_datasets")?,
            numbers("com.delphix:resume_redact_book_snaps")?,
        ],
    }))
}

impl Interrupted {
    /// What `zfs send -t` takes. The kernel's own may be compressed to other bytes that say the same.
    pub fn token(&self) -> String {
        let packed = self.packed();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::new(6));
        // Writing to memory does not fail; without its bytes a token would be refused.
        let written = zlib.write_all(&packed).and_then(|()| zlib.finish());
        let bytes = written.unwrap_or_default();
        let mut token = format!("1-{:x}-{:x}-", fletcher4(&bytes)[0], packed.len());
        for byte in bytes {
            token += &format!("{byte:02x}");
        }
        token
    }

    /// The list, in the order of the kernel's.
    fn packed(&self) -> Vec<u8> {
        let mut out = HEADER.to_vec();
        let mut number = |name, value: u64| pair(&mut out, name, UINT64, 1, &value.to_le_bytes());
        if let Some(guid) = self.from_guid {
            number("fromguid", guid);
        }
        number("object", self.object);
        number("offset", self.offset);
        number("bytes", self.bytes);
        number("toguid", self.to_guid);
        let mut text = self.to_name.clone().into_bytes();
        text.push(0);
        pair(&mut out, "toname", STRING, 1, &text);
        for (name, set) in ["largeblockok", "embedok", "compressok", "rawok"].iter().zip(self.flags)
        {
            if set {
                pair(&mut out, name, BOOLEAN, 0, &[]);
            }
        }
        for (name, guids) in ["redact_snaps", "book_redact_snaps"].iter().zip(&self.redaction) {
            if let Some(guids) = guids {
                let bytes: Vec<u8> = guids.iter().flat_map(|guid| guid.to_le_bytes()).collect();
                pair(&mut out, name, UINT64_ARRAY, guids.len() as u32, &bytes);
            }
        }
        // A pair of no size ends the list.
        out.extend_from_slice(&[0; 4]);
        out
    }
}

/// A pair as it lies in memory (`nvpair_t`): name and value begin at multiples of 8.
fn pair(out: &mut Vec<u8>, name: &str, kind: u32, count: u32, value: &[u8]) {
    let start = out.len();
    let name_size = name.len() + 1;
    let size = (16 + name_size).next_multiple_of(8) + value.len().next_multiple_of(8);
    out.extend_from_slice(&(size as u32).to_le_bytes());
    out.extend_from_slice(&(name_size as u16).to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(name.as_bytes());
    out.resize(start + (16 + name_size).next_multiple_of(8), 0);
    out.extend_from_slice(value);
    out.resize(start + size, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tokens of OpenZFS 2.1: `judge interrupt` in `tests/libzpool`.
    const FULL: &str = "1-f6fca1d52-f8-789c636064000310a500c4ec50360710e72765a5269740c418b0c9a7a515a796806498e0f26c48f2499525a9c52076093756fd25f9e9a599290c0c3d925debd673a9e91b20c97382e5f31273531918b24a53d25353f4d38a1dc02cdd44a87b24a0e6c0dc9f9a9b949a929f0db6871b493c393fb7a028b5b818280507003e821e75";
    const CHANGES: &str = "1-11de6874be-120-789c636064000310a501c49c50360710a715e5e7a69766a63040418f64d7baf55c6afa0a40363b92bafca4acd4e412885e10c0904f4b2b4e05ca3338b0c1e5d990e4932a4b528b81f48dddfc58f597e4435c619b34e5cc9a0b1c070c90e439c1f27989b9a90c0c59a529e9a929fa69c50e60966e12d43d12507360fe4ccd4d4a4dc9cf06dbc38d249e9c9f5b50945a5c0c9482030004b327b1";

    fn unpacked(token: &str) -> Vec<u8> {
        let digits = token.rsplit('-').next().unwrap();
        let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        let bytes: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
        let sum = format!("1-{:x}-", fletcher4(&bytes)[0]);
        assert!(token.starts_with(&sum), "{sum} is not the sum in {token}");
        let mut packed = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::ZlibDecoder::new(&*bytes), &mut packed)
            .unwrap();
        assert_eq!(token.split('-').nth(2).unwrap(), format!("{:x}", packed.len()));
        packed
    }

    #[test]
    fn tokens_say_what_those_of_a_kernel_say() {
        let full = Interrupted {
            to_name: "judged/fs@judge-a".to_owned(),
            to_guid: 0x2f26_0aaf_ae8a_198c,
            from_guid: None,
            object: 7,
            offset: 0x20000,
            bytes: 0xb7408,
            flags: [false, true, true, false],
            redaction: [None, None],
        };
        assert_eq!(unpacked(&full.token()), unpacked(FULL));
        let changes = Interrupted {
            to_name: "judged/fs@judge-b".to_owned(),
            to_guid: 0xc008_d0ac_cc94_623d,
            from_guid: Some(full.to_guid),
            object: 9,
            offset: 0x64000,
            bytes: 0xfbbd8,
            ..full
        };
        assert_eq!(unpacked(&changes.token()), unpacked(CHANGES));
    }
}
