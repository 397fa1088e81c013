//! What of a pool's devices is in use.
//!
//! ```text
//! vdev ─ metaslab array ─ space map per metaslab      allocations and frees, in order
//!   └─ vdev ZAP ─ unflushed txg per metaslab          from where on the logs count
//! MOS ─ log space maps, one per transaction group     what the space maps do not have yet
//! object set ─ intent log ─ blocks, records           allocated, but in no space map
//! ```
//!
//! [`allocated`] is what the space maps say, in the space of each top-level vdev: what `zdb -m`
//! shows. Deferred and asynchronous frees, and what a checkpoint holds, are in it: they are taken
//! out of the space maps only when they are really freed. [`used`] is for those who leave free
//! space out of copies: bytes of devices, with labels, boot area and the intent log. Whatever
//! cannot be told for certain counts as used there.
//!
//! Source: OpenZFS `include/sys/space_map.h`, `module/zfs/{space_map,metaslab,spa_log_spacemap,
//! spa_checkpoint,zil}.c`.

mod device;
mod entry;
mod intent_log;
mod load;
#[cfg(test)]
mod tests;

use blk::RangeSet;

pub use device::{DeviceUse, used};
pub use entry::{Entry, EntryKind, HalfEntry, entries};
pub use intent_log::{IntentLog, IntentLogs, intent_log, intent_logs};
pub(crate) use load::apply as each_entry;

use crate::prelude::*;
use crate::read::{Pool, ReadError};

/// The space of a top-level vdev.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VdevSpace {
    /// Bytes that its metaslabs cover; allocatable space, from 0 on.
    pub size: u64,
    /// What is allocated of them; byte offsets as block pointers have them.
    pub allocated: RangeSet,
    /// What of it only the pool's checkpoint holds.
    pub checkpoint: RangeSet,
}

/// What is allocated of each top-level vdev, by its number. Vdevs without space (removed ones, and
/// holes in the numbering) are empty.
pub fn allocated(pool: &Pool) -> Result<Vec<VdevSpace>, ReadError> {
    load::all(pool)?.into_iter().collect()
}
