//! What packages generate at random, or from the clock, becomes the same in every build.
//!
//! What must differ between machines is [`identity`](crate::identity)'s business, which comes first.

use tree::{MemoryBlobs, Timestamp, Tree};

use super::Fault;
use crate::glob::find;
use crate::{identity, told};

/// Names that go, and why.
#[rustfmt::skip]
const RULES: &[(&str, &str)] = &[
    ("run/*",                            "made again at each start"),
    ("var/lib/dpkg/*-old",               "the step before the last one of the build"),
    ("var/lib/dpkg/triggers/Lock",       "only there while dpkg runs"),
    ("var/lib/dpkg/lock",                "made again when dpkg runs"),
    ("var/lib/dpkg/lock-frontend",       "made again when dpkg runs"),
    ("var/cache/debconf/*-old",          "the step before the last one of the build"),
    ("var/lib/ucf/cache/.*",             "left over from the build"),
    ("var/lib/ucf/hashfile.*",           "the steps before the last one of the build"),
    ("var/lib/ucf/registry.*",           "the steps before the last one of the build"),
    ("var/cache/fontconfig/*",           "holds the times of directories; made again at first use"),
    ("var/lib/systemd/deb-systemd-user-helper-enabled/*-old", "left over from the build"),
];

/// Applies all rules; no time is later than `timestamp`, and so none is of the build, which began after it.
/// Packages share directories, so that chance decides what their times are: they become `timestamp`. What was
/// `told` to be there stays.
pub(super) fn normalise(
    tree: &mut Tree,
    generated: &mut MemoryBlobs,
    told: &[String],
    timestamp: i64,
) -> Result<(), Fault> {
    let fault = |error: &dyn std::fmt::Display| Fault::Told(error.to_string());
    let time = Timestamp { seconds: timestamp, nanoseconds: 0 };
    identity::clean(tree, generated, told, time).map_err(|error| fault(&error))?;
    for (pattern, _) in RULES {
        for found in find(tree, pattern) {
            // Of what is there only this belongs to a package.
            if found.path == b"run/lock" {
                continue;
            }
            told::remove(tree, &found, told).map_err(|error| fault(&error))?;
        }
    }
    let ids: Vec<_> = tree.walk().map(|entry| entry.id).collect();
    for id in ids {
        let is_directory = tree.directory(id).is_some();
        let mtime = &mut tree.metadata_mut(id).mtime;
        if is_directory || mtime.seconds >= timestamp {
            *mtime = time;
        }
        mtime.nanoseconds = 0;
    }
    Ok(())
}
