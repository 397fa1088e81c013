//! Writes a whole pool, datasets with their files and snapshots, in one pass over its content.
//!
//! The order is forced: object sets first, since the dataset layer holds their pointers; then the
//! meta object set, whose last part (space maps, configuration, its own dnodes) gets its room
//! before its content, because it describes what everything took, itself included; then the labels,
//! which make it a pool. A run that stops before that leaves nothing that could be imported.
//!
//! A dataset may have a history: states with snapshots, each born in a transaction group of its own,
//! and clones that go on from one of them. An object that did not change keeps its blocks; those
//! that died lie in the deadlist of the next snapshot, as they would after years of use.
//!
//! One disk or a mirror, 4 KiB sectors, fletcher-4 checksums. Not here: encryption, raidz, several
//! top-level vdevs.

mod accounting;
pub(crate) mod alloc;
pub(crate) mod block;
mod check;
mod config;
mod directory;
mod dsl;
mod error;
mod features;
mod filesystem;
mod history;
pub(crate) mod indirect;
mod inode;
mod mirror;
mod mos;
mod numbering;
pub(crate) mod objset;
mod packed;
mod pipeline;
mod states;
mod unreadable;

use blk::{ReadAt, WriteAt};
use tree::Blobs;

pub use error::WriteError;
pub use filesystem::{Content, Volume};
pub use packed::Packed;
pub use unreadable::{UnreadableXattr, unreadable_xattrs};

use crate::compress::Compression;
use crate::dnode::object_type;
use crate::feature::FeatureSet;
use crate::ids::Ids;
use crate::label::{self, Geometry, Uberblock};
use crate::space_map;
use crate::zap::Entry;
use alloc::Allocator;
use block::{ASHIFT, BlockWriter};
use check::CheckedPool;
use config::PoolConfig;
use directory::OtherObjects;
use dsl::{DslWriter, TXG_CREATE};
use features::FeatureObjects;
use mirror::Mirror;
use mos::{Mos, MosObject, ReservedObject};

/// How far the transaction group of the uberblock is above that of all blocks, so that an import
/// does not read the most recent groups again.
const TXG_DISTANCE: u64 = 11;
/// Size of the block that holds the pool's configuration.
const CONFIG_BLOCK: u32 = 16 << 10;
/// OpenZFS keeps this part of a pool for itself (`spa_slop_shift`).
const SLOP_SHIFT: u32 = 5;

/// A pool to be written. The default one has neither name nor datasets.
#[derive(Debug, Clone, Default)]
pub struct Pool<'a> {
    /// Its name.
    pub name: String,
    /// Every identifier is drawn from this: the same seed and content give the same bytes.
    pub seed: [u8; 32],
    /// Creation time of everything, in seconds since 1970.
    pub timestamp: u64,
    /// Features to enable.
    pub features: FeatureSet,
    /// Give dnodes the size that the property `dnodesize` tells: with `auto`, attributes that do not
    /// fit into 512 bytes get a larger dnode rather than a spill block. This activates the feature
    /// `large_dnode`, which GRUB does not know.
    pub large_dnodes: bool,
    /// How content is stored where its dataset has `lz4`: zstd takes longer to write, but less space, and the
    /// dataset's property tells only what comes later.
    pub denser: Option<Compression>,
    /// Files whose blocks were made before.
    pub packed: Option<&'a Packed>,
    /// Keep the device trimmed.
    pub autotrim: bool,
    /// Full name of the dataset to boot from.
    pub bootfs: Option<String>,
    /// What `zpool history` shows as the pool's creation.
    pub history: String,
    /// All datasets, the one named like the pool first, parents before children.
    pub datasets: Vec<Dataset<'a>>,
}

/// A dataset to be written. The default is a file system without files, and without a name.
#[derive(Debug, Clone, Default)]
pub struct Dataset<'a> {
    /// Full name, for example `rpool/home`.
    pub name: String,
    /// Locally set properties, as `zfs set` takes them.
    pub properties: Vec<(String, String)>,
    /// Its files; `None` leaves an empty root directory, or, in a clone, what its origin has.
    pub content: Option<Content<'a>>,
    /// Name of a snapshot to take.
    pub snapshot: Option<String>,
    /// What it had before, the oldest first. An inode that has the same path and kind in two states
    /// is the same one.
    pub earlier: Vec<State<'a>>,
    /// Full name of the snapshot that it is a clone of; its dataset is listed before.
    pub origin: Option<String>,
    /// It is a volume, and this is in it.
    pub volume: Option<Volume>,
}

/// An earlier state of a dataset, and the snapshot that kept it.
#[derive(Debug, Clone)]
pub struct State<'a> {
    /// Its files.
    pub content: Content<'a>,
    /// Name of the snapshot.
    pub snapshot: String,
}

/// What was written. Sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The pool's GUID.
    pub pool_guid: u64,
    /// Space allocated, all copies.
    pub allocated: u64,
    /// Space that can be allocated.
    pub size: u64,
}

/// Whether `pool` can be written as far as names and properties tell: what [`write_pool`] refuses
/// before it writes anything. Needs neither device nor content.
pub fn check_pool(pool: &Pool<'_>) -> Result<(), WriteError> {
    CheckedPool::new(pool).map(drop)
}

/// Writes `pool` over all of `device`. `progress` is told how many bytes of file data were read
/// since it was last called.
pub fn write_pool<W: WriteAt>(
    device: W,
    pool: &Pool<'_>,
    blobs: &dyn Blobs,
    progress: &mut dyn FnMut(u64),
) -> Result<Summary, WriteError> {
    write_mirror(&[device], pool, blobs, progress)
}

/// Writes `pool` over all of each of `devices`, which become a mirror if there are several. The
/// smallest tells the size.
pub fn write_mirror<W: WriteAt>(
    devices: &[W],
    pool: &Pool<'_>,
    blobs: &dyn Blobs,
    progress: &mut dyn FnMut(u64),
) -> Result<Summary, WriteError> {
    let checked = CheckedPool::new(pool)?;
    let ids = Ids::new(pool.seed);
    let disks: Vec<u64> = match devices.len() {
        0 | 1 => vec![ids.guid("vdev 0")],
        count => (0..count).map(|disk| ids.guid(&format!("vdev 0 disk {disk}"))).collect(),
    };
    let device = Mirror(devices);
    let size = device.size()?;
    let geometry = Geometry::new(size).ok_or(WriteError::DeviceTooSmall { size })?;
    let alloc = Allocator::new(geometry.metaslab_shift, geometry.metaslabs());
    let mut out = BlockWriter::new(device, alloc, TXG_CREATE);
    let slop = (geometry.asize >> SLOP_SHIFT).max((128 << 20).min(geometry.asize / 2));
    let no_space = |out: &BlockWriter<Mirror<'_, W>>| WriteError::NoSpace {
        allocated: out.alloc.total(),
        size: geometry.asize,
        slop,
    };
    let written = write_blocks(&mut out, &checked, (&geometry, &disks), blobs, progress);
    match written {
        Ok(_) if out.alloc.total() + slop > geometry.asize => Err(no_space(&out)),
        Err(WriteError::BlockNoSpace { .. }) => Err(no_space(&out)),
        Err(error) => Err(error),
        Ok((config, uberblock)) => {
            for (device, disk) in devices.iter().zip(&disks) {
                let usable_size = label::usable_size(device.size()?);
                let config = config.label(*disk);
                label::write_labels(device, usable_size, ASHIFT, &config, &uberblock)?;
            }
            Ok(Summary {
                pool_guid: config.pool_guid,
                allocated: out.alloc.total(),
                size: geometry.asize,
            })
        }
    }
}

type Finished<'p> = (PoolConfig<'p>, Uberblock);

fn write_blocks<'p, W: WriteAt>(
    out: &mut BlockWriter<W>,
    checked: &CheckedPool<'p, '_>,
    (geometry, disks): (&Geometry, &'p [u64]),
    blobs: &dyn Blobs,
    progress: &mut dyn FnMut(u64),
) -> Result<Finished<'p>, WriteError> {
    let pool = checked.pool;
    let ids = Ids::new(pool.seed);
    let records = states::write(out, checked, &ids, blobs, progress)?;

    let last = records.iter().map(|record| record.first_state + record.states.len() - 1).max();
    out.birth = history::snapshot_txg(last.unwrap_or(0));
    let txg = out.birth + TXG_DISTANCE;
    let newest = out.birth;
    let mut mos = Mos::new(out, ids.guid("salt of the MOS") | 1);
    let directory = mos.allocate();
    let mut dsl = DslWriter::new(&mut mos, &ids, pool.timestamp).write(&records)?;
    let features = FeatureObjects::write(&mut mos, pool.features, newest)?;
    let bootfs = checked.bootfs.map(|index| dsl.datasets[index]);
    let others = OtherObjects::write(&mut mos, pool, &ids, bootfs, geometry)?;
    let mut entries = vec![Entry::new("features_for_write", features.for_write)];
    let counts = FeatureObjects::counts(pool.features, &dsl);
    let for_read = FeatureObjects::write_for_read(&mut mos, pool.features, &counts)?;
    entries.push(Entry::new("features_for_read", for_read));
    entries.push(Entry::new("feature_descriptions", features.descriptions));
    entries.push(Entry::new("feature_enabled_txg", features.enabled_txg));
    entries.push(Entry::new("root_dataset", dsl.root_dir));
    entries.push(Entry::new("empty_bpobj", dsl.empty_bpobj));
    others.directory_entries(&mut entries);
    let what = MosObject { object_type: object_type::OBJECT_DIRECTORY, ..MosObject::default() };
    mos.write_zap(directory, what, &entries)?;

    // From here on only reserved room is written: what is allocated is counted below.
    let feature_blocks = features.encode_for_write(&mos, pool.features, &counts, 0)?;
    let for_write = mos.reserve(features.for_write, feature_blocks.0, 1)?;
    let config_object = MosObject {
        object_type: object_type::PACKED_NVLIST,
        bonus_type: object_type::PACKED_NVLIST_SIZE,
        bonus: vec![0; 8],
        block_size: CONFIG_BLOCK,
    };
    let mut config_room = mos.reserve(others.config, config_object, 1)?;
    let array_bytes = geometry.metaslabs() * 8;
    let array_object = MosObject {
        object_type: object_type::OBJECT_ARRAY,
        block_size: array_bytes.next_multiple_of(512) as u32,
        ..MosObject::default()
    };
    let array_room = mos.reserve(others.metaslab_array, array_object, 1)?;
    let touched = |mos: &Mos<'_, W>| {
        mos.out.alloc.metaslabs().iter().filter(|&&allocated| allocated > 0).count()
    };
    // The table and the space maps may themselves touch a few more metaslabs.
    let table = mos.reserve_table(mos.object_count() + touched(&mos) + 4)?;
    let mut space_maps: Vec<ReservedObject> = Vec::new();
    while space_maps.len() < touched(&mos) {
        let object = mos.allocate();
        let what = MosObject {
            object_type: object_type::SPACE_MAP,
            bonus_type: object_type::SPACE_MAP_HEADER,
            bonus: vec![0; 320],
            block_size: space_map::BLOCK_SIZE as u32,
        };
        space_maps.push(mos.reserve(object, what, 1)?);
    }

    let map_count = space_maps.len() as u64;
    let (_, data) = features.encode_for_write(&mos, pool.features, &counts, map_count)?;
    mos.fill(for_write, &data)?;
    let mut array = vec![0; array_bytes.next_multiple_of(512)];
    let allocated = mos.out.alloc.metaslabs().to_vec();
    let mut maps = space_maps.into_iter();
    for (slot, &allocated) in array.chunks_exact_mut(8).zip(&allocated) {
        if allocated == 0 {
            continue;
        }
        let Some(mut map) = maps.next() else {
            return Err(WriteError::Layout { object: others.metaslab_array });
        };
        let size = 1 << geometry.metaslab_shift;
        let (bonus, block) = space_map::encode_prefix(map.object, allocated, size, ASHIFT);
        map.spec.bonus = bonus.to_vec();
        slot.copy_from_slice(&map.object.to_le_bytes());
        mos.fill(map, &block)?;
    }
    mos.fill(array_room, &array)?;

    let pool_guid = ids.guid("pool");
    let vdev_guid = ids.guid("vdev 0");
    let config = PoolConfig {
        name: &pool.name,
        features: pool.features,
        txg,
        pool_guid,
        vdev_guid,
        disks,
        metaslab_array: others.metaslab_array,
        metaslab_shift: geometry.metaslab_shift,
        asize: geometry.asize,
    };
    let mut packed = config.mos();
    config_room.spec.bonus = (packed.len() as u64).to_le_bytes().to_vec();
    packed.resize(packed.len().max(CONFIG_BLOCK as usize), 0);
    mos.fill(config_room, &packed)?;

    let usage = mos.out.usage;
    dsl.charge_mos(&mut mos, pool.timestamp, usage)?;
    let uberblock = Uberblock {
        txg,
        guid_sum: config.guid_sum(),
        timestamp: pool.timestamp,
        root: mos.finish(&table)?,
    };
    Ok((config, uberblock))
}
