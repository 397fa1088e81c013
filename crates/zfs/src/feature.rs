//! Pool features: which exist, and which set a new pool enables.
//!
//! Source: OpenZFS `module/zcommon/zfeature_common.c` (names and descriptions are on-disk data), the
//! files in `cmd/zpool/compatibility.d`.

use std::fmt;

/// A named set of features, as a file in `compatibility.d` names one. Pools carry its name in their
/// `compatibility` property, so that `zpool upgrade` on the machine stays inside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FeatureSet {
    /// `openzfs-2.1-linux`: importable by OpenZFS 2.1 and everything newer.
    #[default]
    OpenZfs21Linux,
    /// `openzfs-2.2`: importable by OpenZFS 2.2 and everything newer.
    OpenZfs22,
    /// `openzfs-2.3`: importable by OpenZFS 2.3 and everything newer.
    OpenZfs23,
    /// `openzfs-2.4`: importable by OpenZFS 2.4 and everything newer.
    OpenZfs24,
}

impl FeatureSet {
    /// All sets, each with the features of the one before it.
    pub const ALL: [Self; 4] =
        [Self::OpenZfs21Linux, Self::OpenZfs22, Self::OpenZfs23, Self::OpenZfs24];

    /// The features of the set.
    pub(crate) fn features(self) -> Vec<&'static Feature> {
        let parts = [OPENZFS_2_1_LINUX, OPENZFS_2_2, OPENZFS_2_3, OPENZFS_2_4];
        parts.iter().take(self as usize + 1).copied().flatten().collect()
    }

    fn name(self) -> &'static str {
        match self {
            Self::OpenZfs21Linux => "openzfs-2.1-linux",
            Self::OpenZfs22 => "openzfs-2.2",
            Self::OpenZfs23 => "openzfs-2.3",
            Self::OpenZfs24 => "openzfs-2.4",
        }
    }
}

/// A name that is not one of a [`FeatureSet`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a feature set; known are {known}",
    known = FeatureSet::ALL.map(FeatureSet::name).join(", ")
)]
pub struct UnknownFeatureSet(pub String);

impl std::str::FromStr for FeatureSet {
    type Err = UnknownFeatureSet;

    /// The set of that name in `compatibility.d`; `-linux` may follow where there is one set only.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let same =
            |set: &Self| set.name() == text || text.strip_suffix("-linux") == Some(set.name());
        Self::ALL.into_iter().find(same).ok_or_else(|| UnknownFeatureSet(text.to_owned()))
    }
}

impl fmt::Display for FeatureSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
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

pub(crate) const HOLE_BIRTH: &str = "com.delphix:hole_birth";
pub(crate) const ENABLED_TXG: &str = "com.delphix:enabled_txg";
pub(crate) const EMPTY_BPOBJ: &str = "com.delphix:empty_bpobj";
pub(crate) const SPACEMAP_HISTOGRAM: &str = "com.delphix:spacemap_histogram";
pub(crate) const EXTENSIBLE_DATASET: &str = "com.delphix:extensible_dataset";
pub(crate) const LARGE_BLOCKS: &str = "org.open-zfs:large_blocks";
pub(crate) const USEROBJ_ACCOUNTING: &str = "org.zfsonlinux:userobj_accounting";
pub(crate) const PROJECT_QUOTA: &str = "org.zfsonlinux:project_quota";
pub(crate) const ZSTD_COMPRESS: &str = "org.freebsd:zstd_compress";
pub(crate) const LARGE_DNODE: &str = "org.zfsonlinux:large_dnode";

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
        ..read(HOLE_BIRTH, "Retain hole birth txg for more precise zfs send")
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
    read(LARGE_DNODE, "Variable on-disk size of dnodes."),
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

/// What 2.2 adds.
const OPENZFS_2_2: &[Feature] = &[
    write("org.openzfs:zilsaxattr", "Support for xattr=sa extended attribute logging in ZIL."),
    Feature {
        active_when_enabled: true,
        ..read("com.delphix:head_errlog", "Support for per-dataset on-disk error logs.")
    },
    read("org.openzfs:blake3", "BLAKE3 hash algorithm."),
    write("com.fudosecurity:block_cloning", "Support for block cloning via Block Reference Table."),
    read("com.klarasystems:vdev_zaps_v2", "Support for root vdev ZAP."),
];

/// What 2.3 adds.
const OPENZFS_2_3: &[Feature] = &[
    read(
        "com.delphix:redaction_list_spill",
        "Support for increased number of redaction_snapshot arguments in zfs redact.",
    ),
    read("org.openzfs:raidz_expansion", "Support for raidz expansion"),
    write("com.klarasystems:fast_dedup", "Support for advanced deduplication"),
    read("org.zfsonlinux:longname", "support filename up to 1024 bytes"),
    write("com.klarasystems:large_microzap", "Support for microzaps larger than 128KB."),
];

/// What 2.4 adds.
const OPENZFS_2_4: &[Feature] = &[
    write("com.truenas:block_cloning_endian", "Fixes BRT ZAP endianness on new pools."),
    read("com.klarasystems:dynamic_gang_header", "Support for dynamically sized gang headers"),
    write(
        "com.truenas:physical_rewrite",
        "Support for preserving logical birth time during rewrite.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_have_as_many_features_as_their_files() {
        assert_eq!(FeatureSet::ALL.map(|set| set.features().len()), [34, 39, 44, 47]);
    }

    #[test]
    fn sets_by_name() {
        for set in FeatureSet::ALL {
            assert_eq!(set.to_string().parse(), Ok(set));
        }
        assert_eq!("openzfs-2.3-linux".parse(), Ok(FeatureSet::OpenZfs23));
        let error = "openzfs-9".parse::<FeatureSet>().unwrap_err();
        assert!(error.to_string().contains("openzfs-2.2"), "{error}");
    }
}
