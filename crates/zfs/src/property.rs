//! Dataset properties: from the text that `zfs set` takes to the value on disk.
//!
//! Source: OpenZFS `module/zcommon/zfs_prop.c`. Properties that need more than an entry in the
//! properties object (quotas, reservations, encryption) are refused by name.

use thiserror::Error;

use crate::Compression;

/// Why a property was refused.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum PropertyError {
    /// Not a property, or not one that can be set when a pool is written.
    #[error("property {0:?} cannot be set here; known are {known} and user properties with a colon in their name",
        known = PROPERTIES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "))]
    Unknown(String),
    /// The value is not one of the property's.
    #[error("{value:?} is not a value of property {name}: expected {expected}")]
    Value {
        /// The property.
        name: String,
        /// The value as given.
        value: String,
        /// What it takes.
        expected: String,
    },
}

/// A property's value as the properties object holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Number(u64),
    Text(String),
}

enum Kind {
    Index(&'static [(&'static str, u64)]),
    Compression,
    RecordSize,
    Mountpoint,
    Text,
}

const ON_OFF: Kind = Kind::Index(&[("off", 0), ("on", 1)]);
const CACHE: Kind = Kind::Index(&[("none", 0), ("metadata", 1), ("all", 2)]);

const PROPERTIES: &[(&str, Kind)] = &[
    ("acltype", Kind::Index(&[("off", 0), ("posix", 1), ("posixacl", 1)])),
    ("atime", ON_OFF),
    ("canmount", Kind::Index(&[("off", 0), ("on", 1), ("noauto", 2)])),
    ("checksum", Kind::Index(&[("on", 1), ("fletcher4", 7)])),
    ("compression", Kind::Compression),
    ("copies", Kind::Index(&[("1", 1), ("2", 2), ("3", 3)])),
    ("devices", ON_OFF),
    (
        "dnodesize",
        Kind::Index(&[
            ("legacy", 0),
            ("auto", 1),
            ("1k", 1024),
            ("2k", 2048),
            ("4k", 4096),
            ("8k", 8192),
            ("16k", 16384),
        ]),
    ),
    ("exec", ON_OFF),
    ("logbias", Kind::Index(&[("latency", 0), ("throughput", 1)])),
    ("mountpoint", Kind::Mountpoint),
    ("overlay", ON_OFF),
    ("primarycache", CACHE),
    ("readonly", ON_OFF),
    ("recordsize", Kind::RecordSize),
    ("redundant_metadata", Kind::Index(&[("all", 0), ("most", 1)])),
    ("relatime", ON_OFF),
    ("secondarycache", CACHE),
    ("setuid", ON_OFF),
    ("sharenfs", Kind::Text),
    ("sharesmb", Kind::Text),
    ("snapdir", Kind::Index(&[("hidden", 0), ("visible", 1)])),
    ("sync", Kind::Index(&[("standard", 0), ("always", 1), ("disabled", 2)])),
    ("vscan", ON_OFF),
    ("xattr", Kind::Index(&[("off", 0), ("dir", 1), ("sa", 2)])),
];

/// Whether a pool can be written in which a dataset has `name=value`.
pub fn check(name: &str, value: &str) -> Result<(), PropertyError> {
    encode(name, value).map(drop)
}

/// The on-disk value of `name=value`.
pub(crate) fn encode(name: &str, value: &str) -> Result<Value, PropertyError> {
    let bad = |expected: String| PropertyError::Value {
        name: name.to_owned(),
        value: value.to_owned(),
        expected,
    };
    if name.contains(':') {
        let lower = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '+' | '.' | ':' | '_');
        if name.len() > 255 || !name.chars().all(lower) {
            return Err(PropertyError::Unknown(name.to_owned()));
        }
        if value.len() > 8191 || value.contains('\0') {
            return Err(bad("at most 8191 bytes without NUL".to_owned()));
        }
        return Ok(Value::Text(value.to_owned()));
    }
    let kind = PROPERTIES
        .iter()
        .find_map(|(known, kind)| (*known == name).then_some(kind))
        .ok_or_else(|| PropertyError::Unknown(name.to_owned()))?;
    match kind {
        Kind::Index(values) => values
            .iter()
            .find_map(|(text, number)| (*text == value).then_some(Value::Number(*number)))
            .ok_or_else(|| {
                bad(values.iter().map(|(text, _)| *text).collect::<Vec<_>>().join(", "))
            }),
        Kind::Compression => match compression(value) {
            Some((_, number)) => Ok(Value::Number(number)),
            None => Err(bad("off, on, lz4, zstd or zstd-1 to zstd-19".to_owned())),
        },
        Kind::RecordSize => record_size(value)
            .map(|size| Value::Number(u64::from(size)))
            .ok_or_else(|| bad("a power of two from 512 to 1M".to_owned())),
        Kind::Mountpoint => {
            if value.starts_with('/') || matches!(value, "none" | "legacy") {
                Ok(Value::Text(value.to_owned()))
            } else {
                Err(bad("an absolute path, none or legacy".to_owned()))
            }
        }
        Kind::Text => Ok(Value::Text(value.to_owned())),
    }
}

/// What a `compression` value means to the writer, and its number on disk.
pub(crate) fn compression(value: &str) -> Option<(Compression, u64)> {
    match value {
        "off" => Some((Compression::Off, 2)),
        "on" => Some((Compression::Lz4, 1)),
        "lz4" => Some((Compression::Lz4, 15)),
        "zstd" => Some((Compression::Zstd(3), 16)),
        _ => {
            let level: u8 = value.strip_prefix("zstd-")?.parse().ok()?;
            let number = 16 | u64::from(level) << 7;
            (1..=19).contains(&level).then_some((Compression::Zstd(level), number))
        }
    }
}

/// A `recordsize` value in bytes.
pub(crate) fn record_size(value: &str) -> Option<u32> {
    let (digits, unit) = match value.strip_suffix(['K', 'k']) {
        Some(digits) => (digits, 1024),
        None => match value.strip_suffix(['M', 'm']) {
            Some(digits) => (digits, 1 << 20),
            None => (value, 1),
        },
    };
    let size = digits.parse::<u32>().ok()?.checked_mul(unit)?;
    (size.is_power_of_two() && (512..=1 << 20).contains(&size)).then_some(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_zfs_prop_c() {
        assert_eq!(encode("canmount", "noauto"), Ok(Value::Number(2)));
        assert_eq!(encode("xattr", "sa"), Ok(Value::Number(2)));
        assert_eq!(encode("compression", "zstd-9"), Ok(Value::Number(16 | 9 << 7)));
        assert_eq!(encode("recordsize", "1M"), Ok(Value::Number(1 << 20)));
        assert_eq!(encode("mountpoint", "/home"), Ok(Value::Text("/home".into())));
        assert_eq!(encode("org.x:y", "z"), Ok(Value::Text("z".into())));
    }

    #[test]
    fn bad_ones_say_what_is_expected() {
        assert!(encode("compresion", "lz4").unwrap_err().to_string().contains("compression"));
        assert!(encode("recordsize", "100K").unwrap_err().to_string().contains("power of two"));
        assert!(encode("recordsize", "9999999999M").is_err());
        assert!(encode("mountpoint", "home").is_err());
        assert!(encode("compression", "zstd-20").is_err());
        assert!(encode("Org:x", "").is_err());
    }
}
