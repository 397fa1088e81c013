//! The objects that the object directory names, besides datasets and features.

use blk::WriteAt;

use super::mos::{Mos, MosObject};
use super::{Pool, WriteError, config, dsl};
use crate::dnode::object_type;
use crate::ids::Ids;
use crate::label::{Geometry, SPA_VERSION};
use crate::zap::{Entry, ZapValue};

/// The remaining objects that the object directory names.
pub(crate) struct OtherObjects {
    free_bpobj: u64,
    sync_bplist: u64,
    history: u64,
    pool_props: u64,
    pub config: u64,
    pub metaslab_array: u64,
    checksum_salt: [u8; 32],
}

impl OtherObjects {
    pub(crate) fn write<W: WriteAt>(
        mos: &mut Mos<'_, W>,
        pool: &Pool<'_>,
        ids: &Ids,
        bootfs: Option<u64>,
        geometry: &Geometry,
    ) -> Result<Self, WriteError> {
        let history = mos.allocate();
        let (data, bonus) = config::history(&pool.history, pool.timestamp, geometry.asize);
        let what = MosObject {
            object_type: object_type::SPA_HISTORY,
            bonus_type: object_type::SPA_HISTORY_OFFSETS,
            bonus,
            block_size: 128 << 10,
        };
        mos.write(history, what, &data)?;
        let mut properties = vec![Entry::new("autotrim", u64::from(pool.autotrim))];
        properties.extend(bootfs.map(|object| Entry::new("bootfs", object)));
        Ok(Self {
            free_bpobj: dsl::add_bpobj(mos)?,
            sync_bplist: dsl::add_bpobj(mos)?,
            history,
            pool_props: mos.add_zap(object_type::POOL_PROPS, &properties)?,
            config: mos.allocate(),
            metaslab_array: mos.allocate(),
            checksum_salt: ids.bytes("checksum salt"),
        })
    }

    pub(crate) fn directory_entries<'s>(&'s self, entries: &mut Vec<Entry<'s>>) {
        entries.extend([
            Entry::new("config", self.config),
            Entry::new("free_bpobj", self.free_bpobj),
            Entry::new("sync_bplist", self.sync_bplist),
            Entry::new("history", self.history),
            Entry::new("pool_props", self.pool_props),
            Entry::new("deflate", 1),
            Entry::new("creation_version", SPA_VERSION),
            Entry {
                name: b"org.illumos:checksum_salt",
                value: ZapValue::Bytes(&self.checksum_salt),
            },
        ]);
    }
}
