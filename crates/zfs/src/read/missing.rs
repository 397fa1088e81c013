//! What disks lack: the transaction groups that were synced while they were away, or before they took
//! another's place ("dirty time logs").
//!
//! Source: OpenZFS `module/zfs/vdev.c` (`vdev_dtl_load`, `vdev_dtl_sync`).

use hashbrown::HashMap;

use blk::RangeSet;

use super::block::Blocks;
use super::config::VdevConfig;
use super::label::Uberblock;
use super::{Objset, ReadError};
use crate::prelude::*;
use crate::space::each_entry;

/// Transaction groups whose blocks a disk may not have, by the GUID of its vdev.
pub(crate) type Missing = HashMap<u64, RangeSet>;

/// Loads the logs of all disks. Those that cannot be read are told by the errors.
pub(super) fn load(
    blocks: &Blocks,
    uberblock: &Uberblock,
    root: &VdevConfig,
) -> Result<(Missing, Vec<ReadError>), ReadError> {
    let (mut all, mut errors) = (Missing::new(), Vec::new());
    let mos = Objset::open(blocks, "the MOS".into(), &uberblock.root)?;
    for disk in root.walk().filter(|vdev| vdev.is_leaf()) {
        let Some(number) = disk.dirty_time_log else { continue };
        let mut missing = RangeSet::new();
        // A space map whose units are transaction groups; it is written anew each time.
        let read = mos.object(number).and_then(|log| {
            each_entry(&log, &mut |entry| {
                missing.insert(entry.offset..entry.offset.checked_add(entry.run)?);
                Some(())
            })
        });
        errors.extend(read.err());
        if !missing.is_empty() {
            all.insert(disk.guid, missing);
        }
    }
    Ok((all, errors))
}
