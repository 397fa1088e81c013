//! Which dataset properties can be set, and how their values are spelled.
//!
//! One table row per native property (after zfsprops(7)), so that a misspelling is an error before
//! anything is written. Values are returned as `zfs get` prints them: aliases are resolved
//! (`posixacl` → `posix`) and sizes carry the largest unit that divides them (`131072` → `128K`).
//!
//! What ZFS has beyond this, as quotas, is set on the machine: only what the pool writer writes is offered, and a
//! test in `plan` holds both together.

use thiserror::Error;

use crate::nearest::nearest;

/// Why a property cannot be set.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum PropertyError {
    /// No such native property.
    #[error("unknown property {name:?}{}", hint(.nearest))]
    Unknown {
        /// What was given.
        name: String,
        /// The known property that may have been meant.
        nearest: Option<&'static str>,
    },
    /// A user property whose name ZFS refuses.
    #[error(
        "{0:?} is not a user property name: at most 255 of a-z 0-9 : - _ . with a colon, not first a dash"
    )]
    UserName(String),
    /// A value longer than ZFS stores, or with a NUL byte.
    #[error("the value of {0} is longer than 8191 bytes or has a NUL byte")]
    Text(String),
    /// The value does not fit the property.
    #[error("{value:?} is not a value of {name}; {expected}")]
    Value {
        /// The property.
        name: &'static str,
        /// What was given.
        value: String,
        /// What can be given.
        expected: String,
    },
}

fn hint(nearest: &Option<&'static str>) -> String {
    match nearest {
        Some(known) => format!("; did you mean {known:?}?"),
        None => format!(
            "; known are {} and user properties with a colon in their name; what else ZFS has is for zfs set, \
             on the machine",
            names().collect::<Vec<_>>().join(", ")
        ),
    }
}

/// The values a property takes.
enum Values {
    /// One of these words; a pair is an alias and what `zfs get` prints for it.
    Words(&'static [&'static str], &'static [(&'static str, &'static str)]),
    /// `compression`: words, and `zstd-N`.
    Compression,
    /// A power of two in this range of bytes.
    PowerOfTwo(u64, u64),
    /// An absolute path, `none` or `legacy`.
    Mountpoint,
}

use Values::{Compression, Mountpoint, PowerOfTwo, Words};

const ON_OFF: Values = Words(&["on", "off"], &[]);
const CACHE: Values = Words(&["all", "none", "metadata"], &[]);
const OFF: Values = Words(&["off"], &[]);

/// Every native property a layout may set.
const TABLE: &[(&str, Values)] = &[
    (
        "acltype",
        Words(&["off", "posix"], &[("posixacl", "posix"), ("noacl", "off"), ("disabled", "off")]),
    ),
    ("atime", ON_OFF),
    ("canmount", Words(&["on", "off", "noauto"], &[])),
    ("checksum", Words(&["on", "fletcher4"], &[])),
    ("compression", Compression),
    ("copies", Words(&["1", "2", "3"], &[])),
    ("devices", ON_OFF),
    ("dnodesize", Words(&["legacy", "auto", "1k", "2k", "4k", "8k", "16k"], &[])),
    ("exec", ON_OFF),
    ("logbias", Words(&["latency", "throughput"], &[])),
    ("mountpoint", Mountpoint),
    ("primarycache", CACHE),
    ("readonly", ON_OFF),
    ("recordsize", PowerOfTwo(512, 1 << 20)),
    ("redundant_metadata", Words(&["all", "most"], &[])),
    ("relatime", ON_OFF),
    ("secondarycache", CACHE),
    ("setuid", ON_OFF),
    ("sharenfs", OFF),
    ("sharesmb", OFF),
    ("snapdir", Words(&["hidden", "visible"], &[])),
    ("sync", Words(&["standard", "always", "disabled"], &[])),
    ("xattr", Words(&["off", "sa", "dir"], &[("on", "sa")])),
];

/// Names of the native properties, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|(name, _)| *name)
}

/// Checks a property and its value, and returns the value as `zfs get` prints it.
pub fn canonical(name: &str, value: &str) -> Result<String, PropertyError> {
    if name.contains(':') {
        return user(name, value);
    }
    let Some((name, values)) = TABLE.iter().find(|(known, _)| *known == name) else {
        return Err(PropertyError::Unknown {
            name: name.to_owned(),
            nearest: nearest(name, names()),
        });
    };
    let printed = match values {
        Words(words, aliases) => words
            .iter()
            .copied()
            .find(|word| *word == value)
            .or_else(|| aliases.iter().find(|(alias, _)| *alias == value).map(|(_, word)| *word))
            .map(str::to_owned),
        Compression => is_compression(value).then(|| value.to_owned()),
        PowerOfTwo(low, high) => size(value)
            .filter(|size| size.is_power_of_two() && (low..=high).contains(&size))
            .map(print_size),
        Mountpoint => is_mountpoint(value).then(|| value.to_owned()),
    };
    printed.ok_or_else(|| PropertyError::Value {
        name,
        value: value.to_owned(),
        expected: values.describe(),
    })
}

impl Values {
    fn describe(&self) -> String {
        match self {
            Words(words, _) => format!("it is one of {}", words.join(", ")),
            Compression => "it is one of on, off, lz4, zstd, zstd-1 … zstd-19".to_owned(),
            PowerOfTwo(low, high) => {
                format!("it is a power of two from {} to {}", print_size(*low), print_size(*high))
            }
            Mountpoint => {
                "it is none, legacy or an absolute path without empty, . or .. components"
                    .to_owned()
            }
        }
    }
}

/// The rules of `zfs_prop_user` and of the ZAP that stores the value.
fn user(name: &str, value: &str) -> Result<String, PropertyError> {
    let allowed = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b':' | b'-' | b'_' | b'.');
    if name.len() > 255 || name.starts_with('-') || !name.bytes().all(allowed) {
        return Err(PropertyError::UserName(name.to_owned()));
    }
    if value.len() > 8191 || value.contains('\0') {
        return Err(PropertyError::Text(name.to_owned()));
    }
    Ok(value.to_owned())
}

fn is_compression(value: &str) -> bool {
    let level = |text: &str| {
        text.parse().is_ok_and(|n: u32| n.to_string() == text && (1..=19).contains(&n))
    };
    matches!(value, "on" | "off" | "lz4" | "zstd") || value.strip_prefix("zstd-").is_some_and(level)
}

/// Whether `value` is a mount point ZFS and this layout understand.
pub(crate) fn is_mountpoint(value: &str) -> bool {
    if matches!(value, "none" | "legacy" | "/") {
        return true;
    }
    let Some(path) = value.strip_prefix('/') else { return false };
    value.len() < 1024
        && !value.bytes().any(|byte| byte < b' ')
        && path.split('/').all(|part| !matches!(part, "" | "." | "..") && part.len() <= 255)
}

/// Bytes of `131072`, `128K`, `128k`, `128KB` or `128KiB`.
fn size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.to_ascii_uppercase();
    let unit = unit.strip_suffix("IB").or_else(|| unit.strip_suffix('B')).unwrap_or(&unit);
    let shift = match unit {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        "P" => 50,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn print_size(bytes: u64) -> String {
    for (shift, unit) in [(50, "P"), (40, "T"), (30, "G"), (20, "M"), (10, "K")] {
        if bytes != 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_sorted() {
        assert!(names().is_sorted());
    }

    #[test]
    fn values_as_zfs_get_prints_them() {
        for (name, given, printed) in [
            ("acltype", "posixacl", "posix"),
            ("acltype", "posix", "posix"),
            ("xattr", "on", "sa"),
            ("recordsize", "131072", "128K"),
            ("recordsize", "1m", "1M"),
            ("compression", "zstd-19", "zstd-19"),
            ("mountpoint", "/srv/a b", "/srv/a b"),
            ("com.sun:auto-snapshot", "false", "false"),
            ("a:b", "", ""),
        ] {
            assert_eq!(canonical(name, given).as_deref(), Ok(printed), "{name}={given}");
        }
    }

    #[test]
    fn bad_values_say_what_is_allowed() {
        for (name, given, message) in [
            ("compresion", "lz4", "unknown property \"compresion\"; did you mean \"compression\"?"),
            ("colour", "red", "unknown property \"colour\"; known are acltype, atime"),
            ("volsize", "1G", "unknown property \"volsize\""),
            ("atime", "yes", "\"yes\" is not a value of atime; it is one of on, off"),
            ("compression", "zstd-20", "zstd-1 … zstd-19"),
            ("compression", "zstd-01", "zstd-1 … zstd-19"),
            ("compression", "gzip", "one of on, off, lz4, zstd, zstd-1"),
            ("checksum", "sha256", "one of on, fletcher4"),
            ("quota", "10G", "unknown property \"quota\""),
            ("recordsize", "100K", "a power of two from 512 to 1M"),
            ("recordsize", "32M", "a power of two from 512 to 1M"),
            ("recordsize", "18446744073709551615K", "a power of two"),
            ("recordsize", "", "a power of two"),
            ("recordsize", "1X", "a power of two"),
            ("mountpoint", "srv", "an absolute path"),
            ("mountpoint", "/a/../b", "an absolute path"),
            ("mountpoint", "/a//b", "an absolute path"),
            ("sharenfs", "on", "one of off"),
            ("Org.x:y", "v", "not a user property name"),
            ("-a:y", "v", "not a user property name"),
        ] {
            let error = canonical(name, given).unwrap_err().to_string();
            assert!(error.contains(message), "{name}={given}: {error}");
        }
        assert!(canonical("a:b", &"v".repeat(8192)).is_err());
    }
}
