//! Which features a pool may use and still be read.
//!
//! Source: OpenZFS `module/zcommon/zfeature_common.c`.

use crate::prelude::*;

/// Features that change how a pool is read, and that are understood here. All others that a pool
/// lists as needed for reading are refused by their name.
const READABLE: &[&str] = &[
    "com.datto:bookmark_v2",
    "com.datto:encryption",
    "com.delphix:bookmark_written",
    "com.delphix:device_removal",
    "com.delphix:embedded_data",
    "com.delphix:extensible_dataset",
    "com.delphix:head_errlog",
    "com.delphix:hole_birth",
    "com.delphix:redacted_datasets",
    "com.delphix:redaction_bookmarks",
    "com.delphix:redaction_list_spill",
    "com.joyent:multi_vdev_crash_dump",
    "com.klarasystems:dynamic_gang_header",
    "com.klarasystems:vdev_zaps_v2",
    "org.freebsd:zstd_compress",
    "org.illumos:edonr",
    "org.illumos:lz4_compress",
    "org.illumos:sha512",
    "org.illumos:skein",
    "org.open-zfs:large_blocks",
    "org.openzfs:blake3",
    "org.openzfs:raidz_expansion",
    "org.zfsonlinux:large_dnode",
    "org.zfsonlinux:longname",
];

/// Whether a pool that uses the feature can be read.
pub(crate) fn is_readable(guid: &str) -> bool {
    READABLE.contains(&guid)
}

/// State of a feature in a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureState {
    /// Name on disk, `domain:name`.
    pub guid: String,
    /// How often it is used: 0 is enabled, more is active.
    pub references: u64,
    /// Whether programs that do not know it must not read the pool while it is active.
    pub needed_for_reading: bool,
}
