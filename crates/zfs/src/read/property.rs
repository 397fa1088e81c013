//! Properties of datasets: from the values on disk to the text that `zfs get` prints.
//!
//! Source: OpenZFS `module/zcommon/zfs_prop.c`, `module/zfs/dsl_prop.c`.

use alloc::collections::BTreeMap;

use crate::prelude::*;
use crate::zap::{OwnedEntry, OwnedValue};

/// Where a property's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PropertySource {
    /// It is set on the dataset.
    Local,
    /// It came with a stream that was received.
    Received,
    /// It is set on another dataset, the one of that name.
    Inherited(String),
}

/// A property of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// Its name.
    pub name: String,
    /// Its value as `zfs get -p` prints it.
    pub value: String,
    /// Where it comes from.
    pub source: PropertySource,
}

/// What names of values that were received end with, and those of ones that are to be inherited.
pub(crate) const RECEIVED: &str = "$recvd";
pub(crate) const INHERIT: &str = "$inherit";

type Names = &'static [(u64, &'static str)];

const ON_OFF: Names = &[(0, "off"), (1, "on")];
const CACHE: Names = &[(0, "none"), (1, "metadata"), (2, "all")];
const VISIBLE: Names = &[(0, "hidden"), (1, "visible"), (2, "disabled")];
const ACL: Names = &[
    (0, "discard"),
    (1, "noallow"),
    (2, "groupmask"),
    (3, "passthrough"),
    (4, "restricted"),
    (5, "passthrough-x"),
];
const CHECKSUM: Names = &[
    (1, "on"),
    (2, "off"),
    (6, "fletcher2"),
    (7, "fletcher4"),
    (8, "sha256"),
    (10, "noparity"),
    (11, "sha512"),
    (12, "skein"),
    (13, "edonr"),
    (14, "blake3"),
];

/// Properties whose values are numbers that stand for names.
const INDEXED: &[(&str, Names)] = &[
    ("aclinherit", ACL),
    ("aclmode", ACL),
    ("acltype", &[(0, "off"), (1, "posix"), (2, "nfsv4")]),
    ("atime", ON_OFF),
    ("canmount", &[(0, "off"), (1, "on"), (2, "noauto")]),
    ("casesensitivity", &[(0, "sensitive"), (1, "insensitive"), (2, "mixed")]),
    ("checksum", CHECKSUM),
    ("devices", ON_OFF),
    ("direct", &[(0, "disabled"), (1, "standard"), (2, "always")]),
    (
        "dnodesize",
        &[
            (0, "legacy"),
            (1, "auto"),
            (1024, "1k"),
            (2048, "2k"),
            (4096, "4k"),
            (8192, "8k"),
            (16384, "16k"),
        ],
    ),
    (
        "encryption",
        &[
            (0, "on"),
            (2, "off"),
            (3, "aes-128-ccm"),
            (4, "aes-192-ccm"),
            (5, "aes-256-ccm"),
            (6, "aes-128-gcm"),
            (7, "aes-192-gcm"),
            (8, "aes-256-gcm"),
        ],
    ),
    ("exec", ON_OFF),
    ("jailed", ON_OFF),
    ("keyformat", &[(0, "none"), (1, "raw"), (2, "hex"), (3, "passphrase")]),
    ("logbias", &[(0, "latency"), (1, "throughput")]),
    ("nbmand", ON_OFF),
    (
        "normalization",
        &[(0, "none"), (0x10, "formD"), (0x20, "formC"), (0x40, "formKD"), (0x50, "formKC")],
    ),
    ("overlay", ON_OFF),
    ("prefetch", CACHE),
    ("primarycache", CACHE),
    ("readonly", ON_OFF),
    ("redundant_metadata", &[(0, "all"), (1, "most"), (2, "some"), (3, "none")]),
    ("relatime", ON_OFF),
    ("secondarycache", CACHE),
    ("setuid", ON_OFF),
    ("snapdev", VISIBLE),
    ("snapdir", VISIBLE),
    ("sync", &[(0, "standard"), (1, "always"), (2, "disabled")]),
    ("utf8only", ON_OFF),
    ("volmode", &[(0, "default"), (1, "full"), (2, "dev"), (3, "none")]),
    ("vscan", ON_OFF),
    ("xattr", &[(0, "off"), (1, "dir"), (2, "sa")]),
    ("zoned", ON_OFF),
];

/// Properties that are not passed on to children.
const OWN: &[&str] = &[
    "canmount",
    "context",
    "defcontext",
    "filesystem_count",
    "filesystem_limit",
    "fscontext",
    "keyformat",
    "keylocation",
    "pbkdf2iters",
    "pbkdf2salt",
    "quota",
    "refquota",
    "refreservation",
    "reservation",
    "rootcontext",
    "snapshot_count",
    "snapshot_limit",
    "snapshots_changed",
    "version",
    "volsize",
    "volblocksize",
    "volthreading",
];

fn compression(value: u64) -> String {
    let level = value >> 7;
    match value & 0x7f {
        1 => "on".to_owned(),
        2 => "off".to_owned(),
        3 => "lzjb".to_owned(),
        // The sixth is what plain gzip means.
        10 => "gzip".to_owned(),
        gzip @ 5..=13 => format!("gzip-{}", gzip - 4),
        14 => "zle".to_owned(),
        15 => "lz4".to_owned(),
        16 if level == 0 => "zstd".to_owned(),
        16 if level <= 22 => format!("zstd-{level}"),
        16 => match level.saturating_sub(100) {
            0 | 1 if level == 101 => "zstd-fast-1".to_owned(),
            fast @ 1..=10 => format!("zstd-fast-{fast}"),
            fast @ 11..=19 => format!("zstd-fast-{}", (fast - 9) * 10),
            20 => "zstd-fast-500".to_owned(),
            21 => "zstd-fast-1000".to_owned(),
            _ => format!("zstd:{level}"),
        },
        other => other.to_string(),
    }
}

fn dedup(value: u64) -> String {
    const VERIFY: u64 = 1 << 8;
    let name = CHECKSUM.iter().find(|(number, _)| *number == value & 0xff);
    match (value & VERIFY != 0, name) {
        (true, Some((1, _))) => "verify".to_owned(),
        (true, Some((_, name))) => format!("{name},verify"),
        (false, Some((_, name))) => (*name).to_owned(),
        _ => value.to_string(),
    }
}

/// The text of a value.
pub(crate) fn text(name: &str, value: &OwnedValue) -> String {
    match value {
        OwnedValue::Bytes(bytes) => {
            let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
            String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
        }
        OwnedValue::U64(value) => match name {
            "compression" => compression(*value),
            "dedup" => dedup(*value),
            _ => {
                let names = INDEXED.iter().find(|(known, _)| *known == name);
                let names = names.map_or(&[][..], |(_, names)| names);
                let known = names.iter().find(|(number, _)| number == value);
                known.map_or_else(|| value.to_string(), |(_, text)| (*text).to_owned())
            }
        },
        OwnedValue::U64s(_) | OwnedValue::U32s(_) | OwnedValue::U16s(_) => String::new(),
    }
}

/// What a dataset inherits is mounted below the mount point of the one that has it, as it lies below it.
///
/// Source: `zfs_prop_get` in OpenZFS `lib/libzfs/libzfs_dataset.c`.
pub(crate) fn below(property: &mut Property, dataset: &str) {
    let PropertySource::Inherited(from) = &property.source else { return };
    if property.name != "mountpoint" || !property.value.starts_with('/') {
        return;
    }
    if let Some(rest) = dataset.strip_prefix(&**from) {
        property.value = format!("{}{rest}", property.value.trim_end_matches('/'));
    }
}

/// Properties collected from a dataset upwards: the first value of each name holds.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    found: BTreeMap<String, Option<Property>>,
}

impl Collected {
    /// Adds what the dataset `from` has; `own` if that is the dataset asked about.
    pub(crate) fn add(&mut self, from: &str, entries: Vec<OwnedEntry>, own: bool) {
        let mut values: BTreeMap<String, OwnedValue> = BTreeMap::new();
        for entry in entries {
            values.insert(String::from_utf8_lossy(&entry.name).into_owned(), entry.value);
        }
        for (key, value) in &values {
            let (name, suffix) = match key.find('$') {
                Some(at) => key.split_at(at),
                None => (&**key, ""),
            };
            let inherited = PropertySource::Inherited(from.to_owned());
            let source = match suffix {
                "" if own => PropertySource::Local,
                "" => inherited,
                // What was received counts unless something else was said afterwards.
                RECEIVED if values.contains_key(name) => continue,
                RECEIVED if values.contains_key(&format!("{name}{INHERIT}")) => continue,
                RECEIVED if own => PropertySource::Received,
                RECEIVED => inherited,
                _ => continue,
            };
            if name.is_empty() || (!own && OWN.contains(&name)) {
                continue;
            }
            self.found.entry(name.to_owned()).or_insert_with(|| {
                Some(Property { name: name.to_owned(), value: text(name, value), source })
            });
        }
    }

    /// Adds a size that is kept in the directory itself.
    pub(crate) fn size(&mut self, from: &str, name: &str, value: u64) {
        if value != 0 {
            let number = OwnedEntry { name: name.as_bytes().into(), value: OwnedValue::U64(value) };
            self.add(from, vec![number], true);
        }
    }

    /// All properties by name.
    pub(crate) fn finish(self) -> Vec<Property> {
        self.found.into_values().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_zfs_prop_c() {
        let number = |name, value| text(name, &OwnedValue::U64(value));
        assert_eq!(number("compression", 16 | 9 << 7), "zstd-9");
        assert_eq!(number("compression", 10), "gzip");
        assert_eq!(number("compression", 13), "gzip-9");
        assert_eq!(number("compression", 16 | 101 << 7), "zstd-fast-1");
        assert_eq!(number("compression", 16 | 121 << 7), "zstd-fast-1000");
        assert_eq!(number("compression", 16 | 50 << 7), "zstd:50");
        assert_eq!(number("canmount", 2), "noauto");
        assert_eq!(number("recordsize", 1 << 20), "1048576");
        assert_eq!(number("dedup", 8 | 1 << 8), "sha256,verify");
    }

    #[test]
    fn where_datasets_are_mounted() {
        let mountpoint = |value: &str, source| {
            let (name, value) = ("mountpoint".to_owned(), value.to_owned());
            let mut property = Property { name, value, source };
            below(&mut property, "tank/a/b");
            property.value
        };
        let from = |name: &str| PropertySource::Inherited(name.to_owned());
        assert_eq!(mountpoint("/data", from("tank")), "/data/a/b");
        assert_eq!(mountpoint("/", from("tank/a")), "/b");
        assert_eq!(mountpoint("none", from("tank")), "none");
        assert_eq!(mountpoint("legacy", from("tank")), "legacy");
        assert_eq!(mountpoint("/data", PropertySource::Local), "/data");
        assert_eq!(mountpoint("/data", PropertySource::Received), "/data");
    }

    #[test]
    fn what_was_received_yields_to_what_is_set() {
        let entry = |name: &str, value| OwnedEntry {
            name: name.as_bytes().into(),
            value: OwnedValue::U64(value),
        };
        let mut found = Collected::default();
        let own = vec![entry("atime$recvd", 0), entry("exec$recvd", 0), entry("exec", 1)];
        found.add("a/b", own, true);
        found.add("a", vec![entry("canmount", 0), entry("relatime", 1)], false);
        let found = found.finish();
        let show: Vec<_> = found.iter().map(|p| (&*p.name, &*p.value, p.source.clone())).collect();
        assert_eq!(
            show,
            [
                ("atime", "off", PropertySource::Received),
                ("exec", "on", PropertySource::Local),
                ("relatime", "on", PropertySource::Inherited("a".to_owned())),
            ]
        );
    }
}
