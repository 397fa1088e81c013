//! The pool's configuration lists: in the labels, in the MOS, and the first history record.
//!
//! Source: OpenZFS `module/zfs/spa_config.c`, `module/zfs/spa_history.c`. Neither host id nor host
//! name is written, so no host is refused.

use crate::feature::FeatureSet;
use crate::label::SPA_VERSION;
use crate::nvlist::{NvList, Value, encode_xdr};

use super::block::ASHIFT;
use super::dsl::TXG_CREATE;

/// `POOL_STATE_EXPORTED`: importing needs no force.
const STATE_EXPORTED: u64 = 1;
/// A path that no machine has; import replaces it by the path where the device was found.
const DEVICE_PATH: &str = "/dev/kldload/pool";

/// What both configuration lists say.
#[derive(Debug)]
pub(crate) struct PoolConfig<'a> {
    pub name: &'a str,
    pub features: FeatureSet,
    pub txg: u64,
    pub pool_guid: u64,
    /// GUID of the top-level vdev.
    pub vdev_guid: u64,
    /// GUIDs of the disks of a mirror; of a pool on one disk its vdev's own.
    pub disks: &'a [u64],
    pub metaslab_array: u64,
    pub metaslab_shift: u32,
    pub asize: u64,
}

impl PoolConfig<'_> {
    fn common(&self) -> NvList {
        NvList::new()
            .with("version", SPA_VERSION)
            .with("name", self.name)
            .with("state", STATE_EXPORTED)
            .with("txg", self.txg)
            .with("pool_guid", self.pool_guid)
            .with("errata", 0)
            .with("compatibility", &self.features.to_string())
    }

    fn top(&self) -> NvList {
        let disk = |(id, guid): (u64, &u64), path: &str| {
            NvList::new()
                .with("type", "disk")
                .with("id", id)
                .with("guid", *guid)
                .with("path", path)
                .with("whole_disk", 0)
        };
        let list = match self.disks {
            [guid] => disk((0, guid), DEVICE_PATH),
            _ => NvList::new().with("type", "mirror").with("id", 0).with("guid", self.vdev_guid),
        };
        let list = list
            .with("metaslab_array", self.metaslab_array)
            .with("metaslab_shift", u64::from(self.metaslab_shift))
            .with("ashift", u64::from(ASHIFT))
            .with("asize", self.asize)
            .with("is_log", 0)
            .with("create_txg", TXG_CREATE);
        if self.disks.len() == 1 {
            return list;
        }
        let children = (0..).zip(self.disks).map(|(id, guid)| {
            disk((id, guid), &format!("{DEVICE_PATH}-{id}")).with("create_txg", TXG_CREATE)
        });
        list.with("children", children.collect::<Vec<_>>())
    }

    /// Sum of the GUIDs of pool and vdevs, which the uberblock has.
    pub(crate) fn guid_sum(&self) -> u64 {
        let disks = self.disks.iter().filter(|guid| **guid != self.vdev_guid);
        let tops = self.pool_guid.wrapping_add(self.vdev_guid);
        disks.fold(tops, |sum, guid| sum.wrapping_add(*guid))
    }

    fn label_features(&self) -> NvList {
        let mut list = NvList::new();
        for feature in self.features.features() {
            if feature.in_label && feature.active_when_enabled {
                list.push(feature.guid, Value::Boolean);
            }
        }
        list
    }

    /// The list in each label of a disk: it describes the top-level vdev that the disk is in.
    pub(crate) fn label(&self, disk: u64) -> NvList {
        self.common()
            .with("top_guid", self.vdev_guid)
            .with("guid", disk)
            .with("vdev_children", 1)
            .with("vdev_tree", self.top())
            .with("features_for_read", self.label_features())
    }

    /// The list in the MOS: it describes the whole pool.
    pub(crate) fn mos(&self) -> Vec<u8> {
        let root = NvList::new()
            .with("type", "root")
            .with("id", 0)
            .with("guid", self.pool_guid)
            .with("create_txg", TXG_CREATE)
            .with("children", vec![self.top()]);
        let config = self
            .common()
            .with("vdev_children", 1)
            .with("vdev_tree", root)
            .with("features_for_read", self.label_features());
        encode_xdr(&config)
    }
}

/// The pool's history with one record, and its bonus (`spa_history_phys_t`).
pub(crate) fn history(command: &str, timestamp: u64, device_size: u64) -> (Vec<u8>, Vec<u8>) {
    let record = NvList::new()
        .with("history time", timestamp)
        .with("history command", command)
        .with("history who", 0);
    let packed = encode_xdr(&record);
    let mut data = (packed.len() as u64).to_le_bytes().to_vec();
    data.extend_from_slice(&packed);
    let length = data.len() as u64;
    let max = (device_size / 1000).clamp(128 << 10, 1 << 30);
    // Length of the creation record, size of the ring, its begin and end, records lost.
    let bonus = [length, max, length, length, 0];
    (data, bonus.iter().flat_map(|word| word.to_le_bytes()).collect())
}
