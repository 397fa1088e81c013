//! Pool features: which exist, and which set a new pool enables.
//!
//! Source: OpenZFS `module/zcommon/zfeature_common.c` (names and descriptions are on-disk data),
//! `cmd/zpool/compatibility.d/openzfs-2.1-linux`.

use std::fmt;

/// A named set of features, as a file in `compatibility.d` names one. Pools carry its name in their
/// `compatibility` property, so that `zpool upgrade` on the machine stays inside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FeatureSet {
    /// `openzfs-2.1-linux`: importable by OpenZFS 2.1 and everything newer.
    #[default]
    OpenZfs21Linux,
}

impl FeatureSet {
    /// The features, in the order OpenZFS enables them.
    pub(crate) fn features(self) -> &'static [Feature] {
        match self {
            Self::OpenZfs21Linux => OPENZFS_2_1_LINUX,
        }
    }
}

impl fmt::Display for FeatureSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OpenZfs21Linux => f.write_str("openzfs-2.1-linux"),
        }
    }
}

/// A feature as the pool's three feature objects describe it.
#[derive(Debug)]
pub(crate) struct Feature {
    /// The name on disk, `domain:name`.
    pub guid: &'static str,
    pub description: &'static str,
    /// Pools that use it can be read, though not written, without knowing it.
    pub readonly_compatible: bool,
    /// Needed to read the MOS, so labels list it while it is active.
    pub in_label: bool,
    /// Active as soon as it is enabled.
    pub active_when_enabled: bool,
}

const fn read(guid: &'static str, description: &'static str) -> Feature {
    Feature {
        guid,
        description,
        readonly_compatible: false,
        in_label: false,
        active_when_enabled: false,
    }
}

const fn write(guid: &'static str, description: &'static str) -> Feature {
    Feature { readonly_compatible: true, ..read(guid, description) }
}

pub(crate) const ENABLED_TXG: &str = "com.delphix:enabled_txg";
pub(crate) const EMPTY_BPOBJ: &str = "com.delphix:empty_bpobj";
pub(crate) const SPACEMAP_HISTOGRAM: &str = "com.delphix:spacemap_histogram";
pub(crate) const EXTENSIBLE_DATASET: &str = "com.delphix:extensible_dataset";
pub(crate) const LARGE_BLOCKS: &str = "org.open-zfs:large_blocks";
pub(crate) const USEROBJ_ACCOUNTING: &str = "org.zfsonlinux:userobj_accounting";
pub(crate) const PROJECT_QUOTA: &str = "org.zfsonlinux:project_quota";
pub(crate) const ZSTD_COMPRESS: &str = "org.freebsd:zstd_compress";

const OPENZFS_2_1_LINUX: &[Feature] = &[
    write("com.delphix:async_destroy", "Destroy filesystems asynchronously."),
    write(EMPTY_BPOBJ, "Snapshots use less space."),
    Feature {
        active_when_enabled: true,
        ..read("org.illumos:lz4_compress", "LZ4 compression algorithm support.")
    },
    read("com.joyent:multi_vdev_crash_dump", "Crash dumps to multiple vdev pools."),
    write(SPACEMAP_HISTOGRAM, "Spacemaps maintain space histograms."),
    write(ENABLED_TXG, "Record txg at which a feature is enabled"),
    Feature {
        active_when_enabled: true,
        in_label: true,
        ..read("com.delphix:hole_birth", "Retain hole birth txg for more precise zfs send")
    },
    write("com.delphix:zpool_checkpoint", "Pool state can be checkpointed, allowing rewind later."),
    Feature {
        active_when_enabled: true,
        ..write(
            "com.delphix:spacemap_v2",
            "Space maps representing large segments are more efficient.",
        )
    },
    read(EXTENSIBLE_DATASET, "Enhanced dataset functionality, used by other features."),
    write("com.delphix:bookmarks", "\"zfs bookmark\" command"),
    write("com.joyent:filesystem_limits", "Filesystem and snapshot limits."),
    Feature {
        active_when_enabled: true,
        in_label: true,
        ..read("com.delphix:embedded_data", "Blocks which compress very well use even less space.")
    },
    write("com.delphix:livelist", "Improved clone deletion performance."),
    write(
        "com.delphix:log_spacemap",
        "Log metaslab changes on a single spacemap and flush them periodically.",
    ),
    read(LARGE_BLOCKS, "Support for blocks larger than 128KB."),
    read("org.zfsonlinux:large_dnode", "Variable on-disk size of dnodes."),
    read("org.illumos:sha512", "SHA-512/256 hash algorithm."),
    read("org.illumos:skein", "Skein hash algorithm."),
    read("org.illumos:edonr", "Edon-R hash algorithm."),
    read(
        "com.delphix:redaction_bookmarks",
        "Support for bookmarks which store redaction lists for zfs redacted send/recv.",
    ),
    read(
        "com.delphix:redacted_datasets",
        "Support for redacted datasets, produced by receiving a redacted zfs send stream.",
    ),
    read(
        "com.delphix:bookmark_written",
        "Additional accounting, enabling the written#<bookmark> property (space written since a \
         bookmark), and estimates of send stream sizes for incrementals from bookmarks.",
    ),
    read(
        "com.delphix:device_removal",
        "Top-level vdevs can be removed, reducing logical pool size.",
    ),
    write(
        "com.delphix:obsolete_counts",
        "Reduce memory used by removed devices when their blocks are freed or remapped.",
    ),
    write(USEROBJ_ACCOUNTING, "User/Group object accounting."),
    read("com.datto:bookmark_v2", "Support for larger bookmarks"),
    read("com.datto:encryption", "Support for dataset level encryption"),
    write(PROJECT_QUOTA, "space/object accounting based on project ID."),
    write("org.zfsonlinux:allocation_classes", "Support for separate allocation classes."),
    write(
        "com.datto:resilver_defer",
        "Support for deferring new resilvers when one is already running.",
    ),
    write("org.openzfs:device_rebuild", "Support for sequential mirror/dRAID device rebuilds"),
    read(ZSTD_COMPRESS, "zstd compression algorithm support."),
    read("org.openzfs:draid", "Support for distributed spare RAID"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_set_has_the_34_features_of_its_file() {
        assert_eq!(FeatureSet::OpenZfs21Linux.features().len(), 34);
    }
}
