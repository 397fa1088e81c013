//! The tree of vdevs as labels and the MOS describe it.
//!
//! Source: OpenZFS `module/zfs/vdev_label.c` (`vdev_config_generate`).

use crate::label::{DATA_START, LABEL_SIZE};
use crate::nvlist::{NvList, Value};
use crate::prelude::*;
use crate::raidz::Geometry;

/// Most vdevs that one vdev may have below it (`VDEV_RAIDZ_MAXPARITY` and dRAID stay far below).
const MAX_CHILDREN: usize = 1 << 12;

/// One vdev of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VdevConfig {
    /// `disk`, `file`, `mirror`, `raidz`, `indirect`, `hole`, `missing`, `spare`, `replacing`, …
    pub kind: String,
    /// Its number among its siblings.
    pub id: u64,
    /// Its GUID.
    pub guid: u64,
    /// Where its device was, for disks and files.
    pub path: Option<String>,
    /// log₂ of the smallest allocation, that of the top-level vdev.
    pub ashift: u32,
    /// Allocatable bytes; top-level vdevs only.
    pub asize: u64,
    /// Disks of parity, for raidz.
    pub parity: u64,
    /// Whether it holds the intent log only.
    pub is_log: bool,
    /// What it is reserved for: `log`, `special`, `dedup`.
    pub bias: Option<String>,
    /// Object of the array of its space maps.
    pub metaslab_array: u64,
    /// log₂ of the size of a metaslab.
    pub metaslab_shift: u32,
    /// Object that says where the blocks of a removed vdev went.
    pub indirect_mapping: Option<u64>,
    /// Object that says which transaction groups a disk lacks.
    pub dirty_time_log: Option<u64>,
    /// Whether its removal is under way.
    pub removing: bool,
    /// States besides healthy: `offline`, `faulted`, `degraded`, `removed`, `not present`.
    pub states: Vec<&'static str>,
    /// Whether a raidz vdev is being, or was, expanded.
    pub expanded: bool,
    /// The vdevs below it.
    pub children: Vec<VdevConfig>,
}

impl VdevConfig {
    /// What each device of a top-level vdev has at least: its share, and four labels with the boot area.
    pub(crate) fn bytes_of_a_device(&self) -> Option<u64> {
        let share = match (&*self.kind, self.stripes()) {
            ("disk" | "file" | "mirror", None) => self.asize,
            ("raidz" | "mirror", Some(stripes)) => self.asize / stripes.children() as u64,
            _ => return None,
        };
        share.checked_add(DATA_START + 2 * LABEL_SIZE)
    }

    /// Whether all that it holds can be read if only some devices are here.
    fn is_whole(&self, is_here: &dyn Fn(u64) -> bool) -> bool {
        match &*self.kind {
            "disk" | "file" => is_here(self.guid),
            "mirror" | "replacing" | "spare" => {
                self.children.iter().any(|child| child.is_whole(is_here))
            }
            "raidz" => self.absent(is_here) as u64 <= self.parity,
            // Holes, and what was removed.
            _ => true,
        }
    }

    fn absent(&self, is_here: &dyn Fn(u64) -> bool) -> usize {
        self.children.iter().filter(|child| !child.is_whole(is_here)).count()
    }

    /// What is to be said of a top-level vdev that lacks more devices than it can do without.
    pub(crate) fn loss(&self, is_here: &dyn Fn(u64) -> bool) -> Option<String> {
        if self.is_log || self.is_whole(is_here) {
            return None;
        }
        let (absent, all, name) = (self.absent(is_here), self.children.len(), self.name());
        Some(match &*self.kind {
            "raidz" => {
                let parity = self.parity;
                format!("{name} lacks {absent} of its {all} devices and can do without {parity}")
            }
            "disk" | "file" => format!("{name} is absent, and no other device has what is on it"),
            _ => format!("{name} lacks all of its {all} devices"),
        })
    }

    /// How blocks lie on the disks of a raidz vdev. A mirror may be of such vdevs: `zpool` makes none,
    /// OpenZFS's `ztest` does.
    pub(crate) fn stripes(&self) -> Option<Geometry> {
        match &*self.kind {
            "raidz" => Geometry::new(self.children.len(), self.parity, self.ashift).ok(),
            "mirror" => self.children.first().filter(|child| child.kind == "raidz")?.stripes(),
            _ => None,
        }
    }

    /// Reads a `vdev_tree`. Unknown names are ignored; nesting is bounded by that of lists.
    pub fn from_nvlist(list: &NvList) -> Self {
        Self::below(list, 0)
    }

    /// Only top-level vdevs tell `ashift`; those below have the same.
    fn below(list: &NvList, ashift: u32) -> Self {
        let number = |name: &str| list.u64(name).unwrap_or(0);
        let text =
            |name: &str| list.string(name).map(|text| String::from_utf8_lossy(text).into_owned());
        let shift = |name: &str| number(name).min(63) as u32;
        let states = [
            ("offline", "offline"),
            ("faulted", "faulted"),
            ("degraded", "degraded"),
            ("removed", "removed"),
            ("not_present", "not present"),
        ];
        let children = list.lists("children").unwrap_or_default();
        let ashift = list.u64("ashift").map_or(ashift, |shift| shift.min(63) as u32);
        Self {
            kind: text("type").unwrap_or_default(),
            id: number("id"),
            guid: number("guid"),
            path: text("path"),
            ashift,
            asize: number("asize"),
            parity: list.u64("nparity").unwrap_or(1),
            is_log: number("is_log") != 0,
            bias: text("alloc_bias").or_else(|| text("alloc_class")),
            metaslab_array: number("metaslab_array"),
            metaslab_shift: shift("metaslab_shift"),
            indirect_mapping: list.u64("com.delphix:indirect_object"),
            dirty_time_log: list.u64("DTL").filter(|object| *object != 0),
            removing: number("removing") != 0,
            states: states
                .iter()
                .filter(|(name, _)| number(name) != 0)
                .map(|(_, to)| *to)
                .collect(),
            expanded: list.get("raidz_expand_txgs").is_some()
                || matches!(list.get("raidz_expanding"), Some(Value::Boolean)),
            children: children
                .iter()
                .take(MAX_CHILDREN)
                .map(|child| Self::below(child, ashift))
                .collect(),
        }
    }

    /// Itself and all below, itself first.
    pub fn walk(&self) -> impl Iterator<Item = &VdevConfig> {
        let mut todo = vec![self];
        core::iter::from_fn(move || {
            let vdev = todo.pop()?;
            todo.extend(vdev.children.iter().rev());
            Some(vdev)
        })
    }

    /// Whether it stands for a device rather than a group.
    pub fn is_leaf(&self) -> bool {
        matches!(&*self.kind, "disk" | "file")
    }

    /// The sum of its GUID and those below, which an uberblock's `guid_sum` counts.
    pub fn guid_sum(&self) -> u64 {
        self.walk().fold(0, |sum, vdev| sum.wrapping_add(vdev.guid))
    }

    /// Name for messages: `mirror-0`, or the path of a device.
    pub fn name(&self) -> String {
        match (&self.path, &*self.kind) {
            (Some(path), _) => path.clone(),
            (None, "raidz") => format!("raidz{}-{}", self.parity, self.id),
            (None, kind) => format!("{kind}-{}", self.id),
        }
    }
}
