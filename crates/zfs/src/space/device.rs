//! From the space of vdevs to the bytes of devices.

use core::ops::Range;
use hashbrown::HashMap;

use blk::RangeSet;

use super::{IntentLogs, VdevSpace, intent_logs, load};
use crate::label::{DATA_START, LABEL_SIZE, usable_size};
use crate::prelude::*;
use crate::raidz::Geometry;
use crate::read::vdev::Vdev;
use crate::read::{Pool, PoolState, ReadError, VdevConfig};

/// How deep vdevs may lie in each other.
const MAX_DEPTH: usize = 8;

/// What of a device is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceUse {
    /// GUID of its vdev.
    pub guid: u64,
    /// What the caller of [`Pool::open`] calls it.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// The bytes that must be kept: labels, boot area, and all that is or may be allocated.
    pub used: RangeSet,
    /// Why more counts as used than is known to be: empty if all is certain.
    pub uncertain: Vec<String>,
}

/// What of each device that is present must be kept in a copy of the pool. No byte that is in use
/// is ever left out: where a space map cannot be read, all that it would tell of counts as used.
pub fn used(pool: &Pool) -> Result<Vec<DeviceUse>, ReadError> {
    let mut uncertain = Vec::new();
    // What was written since is what a repair would need.
    if pool.rewound {
        let txg = pool.uberblock.txg;
        uncertain.push(format!("transaction group {txg} is used, and it is not the newest"));
    }
    let logs = intent_logs(pool)?;
    // An exported pool's logs are in the space maps; so only then may some remain unread.
    if pool.state != PoolState::Exported {
        uncertain.extend(logs.problems.iter().cloned());
    }
    let spaces = load::all(pool).unwrap_or_else(|error| {
        uncertain.push(error.to_string());
        Vec::new()
    });
    let mut uses = Uses {
        present: present(&pool.blocks.vdevs.tops),
        all: !uncertain.is_empty(),
        found: Vec::new(),
    };
    let mut spaces = spaces.into_iter();
    for (number, config) in (0u64..).zip(&pool.vdevs) {
        let mut reasons = uncertain.clone();
        let space = match spaces.next() {
            Some(Ok(space)) => Some(space),
            Some(Err(error)) => {
                reasons.push(error.to_string());
                None
            }
            None => None,
        };
        if config.removing {
            reasons.push(format!("{} is being removed", config.name()));
        }
        if config.expanded {
            reasons.push(format!("{} was expanded", config.name()));
        }
        let known = space.filter(|_| reasons.is_empty());
        let ranges = known.map(|space| with_logs(space, &logs, number));
        uses.add(config, ranges.as_ref(), &reasons, 0);
    }
    Ok(uses.found)
}

/// Name and size of the devices that are here, by GUID.
fn present(vdevs: &[Vdev]) -> HashMap<u64, (String, u64)> {
    let mut found = HashMap::new();
    let mut todo: Vec<&Vdev> = vdevs.iter().collect();
    while let Some(vdev) = todo.pop() {
        match vdev {
            Vdev::Leaf(leaf) => {
                if let Some(Ok(size)) = leaf.device.as_ref().map(|device| device.size()) {
                    found.insert(leaf.guid, (leaf.name.clone(), size));
                }
            }
            Vdev::Mirror(children) | Vdev::Raidz(_, children) => todo.extend(children),
            Vdev::Indirect(_) | Vdev::Absent(_) => {}
        }
    }
    found
}

/// The allocated ranges of a vdev, those of intent logs included.
fn with_logs(space: VdevSpace, logs: &IntentLogs, number: u64) -> RangeSet {
    let mut allocated = space.allocated;
    for (vdev, offset, length) in &logs.ranges {
        if *vdev == number {
            allocated.insert(*offset..offset.saturating_add(*length));
        }
    }
    allocated
}

struct Uses {
    /// Name and size of devices by GUID.
    present: HashMap<u64, (String, u64)>,
    all: bool,
    found: Vec<DeviceUse>,
}

impl Uses {
    /// Adds the devices of a vdev; `ranges` are those of its space, `None` if they are not known.
    fn add(
        &mut self,
        config: &VdevConfig,
        ranges: Option<&RangeSet>,
        reasons: &[String],
        depth: usize,
    ) {
        let ranges = ranges.filter(|_| !self.all && depth < MAX_DEPTH);
        if config.is_leaf() {
            self.add_device(config, ranges, reasons);
            return;
        }
        let columns = match (&*config.kind, ranges) {
            ("raidz", Some(ranges)) => config.stripes().map(|stripes| split(&stripes, ranges)),
            _ => None,
        };
        for (index, child) in config.children.iter().enumerate() {
            let ranges = match &*config.kind {
                "mirror" | "replacing" | "spare" => ranges,
                "raidz" => columns.as_ref().and_then(|columns| columns.get(index)),
                _ => None,
            };
            self.add(child, ranges, reasons, depth + 1);
        }
    }

    fn add_device(&mut self, config: &VdevConfig, ranges: Option<&RangeSet>, reasons: &[String]) {
        let Some((name, size)) = self.present.get(&config.guid).cloned() else { return };
        let mut used = RangeSet::new();
        match ranges {
            Some(ranges) => {
                used.extend(frame(size));
                for range in ranges.iter() {
                    let [start, end] =
                        [range.start, range.end].map(|at| at.saturating_add(DATA_START).min(size));
                    used.insert(start..end);
                }
            }
            None => used.insert(0..size),
        }
        let uncertain = reasons.to_vec();
        self.found.push(DeviceUse { guid: config.guid, name, size, used, uncertain });
    }
}

/// Labels and boot area of a device of `size` bytes, and what is behind the last label.
fn frame(size: u64) -> [Range<u64>; 2] {
    let labels = usable_size(size).saturating_sub(2 * LABEL_SIZE);
    [0..DATA_START.min(size), labels..size]
}

fn split(geometry: &Geometry, ranges: &RangeSet) -> Vec<RangeSet> {
    let mut children = vec![RangeSet::new(); geometry.children()];
    for range in ranges.iter() {
        for (set, part) in children.iter_mut().zip(geometry.children_ranges(range)) {
            set.insert(part);
        }
    }
    children
}
