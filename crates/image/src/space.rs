//! Which parts of a disk are in use.

use std::ops::Range;
use std::sync::Arc;

use blk::{RangeSet, ReadAt, Window};
use disk::{fat, gpt};
use zfs::read::{Device, Pool, PoolState};

use crate::chain;

const NO_GPT: &str = "no GPT: everything is kept";

/// What of a disk is kept, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Space {
    /// What is kept; the rest is free and reads as zeros.
    pub used: RangeSet,
    /// What was found, one line for each partition.
    pub notes: Vec<String>,
}

impl Space {
    /// Looks at the partitions of `disk`. What is not understood is kept whole.
    pub fn find(disk: &Arc<dyn ReadAt>) -> std::io::Result<Self> {
        let size = disk.size()?;
        let mut space = Self { used: RangeSet::new(), notes: Vec::new() };
        space.used.insert(0..size);
        let gpt::Found { table, missing, .. } = match gpt::read(disk) {
            Ok(found) => found,
            Err(error) => {
                let note = if gpt::other_table(disk) == Some(gpt::OtherTable::LargeSectors) {
                    "a GPT for sectors of 4096 bytes: everything is kept; the disks of virtual machines have \
                     sectors of 512 bytes, and on those nobody will find the partitions"
                        .to_owned()
                } else if size < 2 * gpt::SECTOR {
                    NO_GPT.to_owned()
                } else {
                    without_table(&error)
                };
                space.notes.push(note);
                return Ok(space);
            }
        };
        if missing > 0 {
            let missing = missing.saturating_mul(gpt::SECTOR);
            space
                .notes
                .push(format!("the disk was cut off: its GPT counts on {missing} bytes more"));
        }
        for (number, partition) in &table.partitions {
            let range = partition.bytes();
            let found = if range.end > size {
                Err("its end is cut off".to_owned())
            } else if partition.type_guid == gpt::TYPE_ESP {
                fat_used(disk.as_ref(), range.clone())
            } else if partition.type_guid == gpt::TYPE_ZFS {
                zfs_used(disk, range.clone())
            } else {
                Err("its content is not understood".to_owned())
            };
            match found {
                Ok(used) => {
                    let (kept, all) = (used.bytes(), range.end - range.start);
                    space.used.remove(range);
                    space.used.union(&used);
                    space.notes.push(format!("partition {number}: {kept} of {all} bytes in use"));
                }
                Err(why) => space.notes.push(format!("partition {number}: kept whole ({why})")),
            }
        }
        Ok(space)
    }
}

/// What to say of a disk of which neither copy of the table is good. Whoever has one must not read that
/// there is none, and the other way round.
fn without_table(gpt::ReadError { primary, backup }: &gpt::ReadError) -> String {
    use gpt::CopyError::{Io, Signature};
    let what = match (primary, backup) {
        (Signature { .. }, Signature { .. }) => return NO_GPT.to_owned(),
        (Io { .. } | Signature { .. }, Io { .. } | Signature { .. }) => "no GPT can be read",
        _ => "the GPT is damaged",
    };
    format!("{what} (primary copy: {primary}; backup copy: {backup}): everything is kept")
}

/// The used bytes of a FAT volume, as bytes of the disk.
fn fat_used(disk: &dyn ReadAt, range: Range<u64>) -> Result<RangeSet, String> {
    let volume = Window::new(disk, range.clone()).map_err(|error| error.to_string())?;
    let used = fat::used(&volume).map_err(|error| error.to_string())?;
    Ok(used.iter().map(|part| part.start + range.start..part.end + range.start).collect())
}

/// The used bytes of a pool that is on this one partition, as bytes of the disk. Whatever is not
/// certain is a reason to keep everything.
fn zfs_used(disk: &Arc<dyn ReadAt>, range: Range<u64>) -> Result<RangeSet, String> {
    let window = Window::new(disk.clone(), range.clone()).map_err(|error| chain(&error))?;
    let device = Device { name: "the partition".to_owned(), data: Arc::new(window) };
    let pool = Pool::open(&[device]).map_err(|error| chain(&error))?;
    if pool.members.len() != 1 {
        return Err(format!("pool {} has {} devices", pool.name, pool.members.len()));
    }
    // A root pool is hardly ever exported: that is said in one warning, and its intent logs count as
    // used. Any other is a reason to leave nothing out.
    if pool.warnings.len() > usize::from(pool.state == PoolState::Active) {
        return Err(format!("pool {}: {}", pool.name, pool.warnings.join("; ")));
    }
    let devices = zfs::space::used(&pool).map_err(|error| chain(&error))?;
    let [device] = devices.as_slice() else {
        return Err(format!("pool {} has {} devices", pool.name, devices.len()));
    };
    if let Some(reason) = device.uncertain.first() {
        return Err(format!("pool {}: {reason}", pool.name));
    }
    // The device may be smaller than its partition.
    let mut used: RangeSet =
        device.used.iter().map(|part| part.start + range.start..part.end + range.start).collect();
    used.insert(range.start.saturating_add(device.size)..range.end);
    Ok(used)
}
