//! Writes a whole pool, datasets with their files and snapshots, in one pass over its content.
//!
//! The order is forced: object sets first, since the dataset layer holds their pointers; then the
//! meta object set, whose last part (space maps, configuration, its own dnodes) gets its room
//! before its content, because it describes what everything took, itself included; then the labels,
//! which make it a pool. A run that stops before that leaves nothing that could be imported.
//!
//! One disk, 4 KiB sectors, fletcher-4 checksums. Not here: encryption, mirrors and raidz, volumes,
//! several snapshots of one dataset.

mod accounting;
mod alloc;
mod block;
mod config;
mod dsl;
mod filesystem;
mod indirect;
mod mos;
mod numbering;
mod objset;
mod pipeline;

use std::collections::BTreeMap;
use std::io;

use blk::WriteAt;
use thiserror::Error;
use tree::{Blobs, Digest, Metadata, Tree};

pub use filesystem::Content;

use crate::dnode::object_type;
use crate::feature::{self, FeatureSet};
use crate::ids::Ids;
use crate::label::{self, Geometry, SPA_VERSION, Uberblock};
use crate::property::{self, PropertyError};
use crate::sa::SaError;
use crate::space_map;
use crate::zap::{Entry, ZapError, ZapValue};
use alloc::{Allocator, NoSpace};
use block::{ASHIFT, BlockWriter};
use config::PoolConfig;
use dsl::{DatasetRecord, Dsl, DslWriter, TXG_CREATE, TXG_SNAPSHOT};
use filesystem::{FilesystemWriter, Storage};
use mos::{Mos, MosObject, ReservedObject};
use pipeline::Pipeline;

/// Transaction group of the uberblock. Well above that of all blocks, so that an import does not
/// read the most recent groups again.
const TXG_UBERBLOCK: u64 = 16;
/// Size of the block that holds the pool's configuration.
const CONFIG_BLOCK: u32 = 16 << 10;
/// OpenZFS keeps this part of a pool for itself (`spa_slop_shift`).
const SLOP_SHIFT: u32 = 5;

/// A pool to be written.
#[derive(Debug, Clone)]
pub struct Pool<'a> {
    /// Its name.
    pub name: String,
    /// Every identifier is drawn from this: the same seed and content give the same bytes.
    pub seed: [u8; 32],
    /// Creation time of everything, in seconds since 1970.
    pub timestamp: u64,
    /// Features to enable.
    pub features: FeatureSet,
    /// Keep the device trimmed.
    pub autotrim: bool,
    /// Full name of the dataset to boot from.
    pub bootfs: Option<String>,
    /// What `zpool history` shows as the pool's creation.
    pub history: String,
    /// All datasets, the one named like the pool first, parents before children.
    pub datasets: Vec<Dataset<'a>>,
}

/// A filesystem dataset to be written.
#[derive(Debug, Clone)]
pub struct Dataset<'a> {
    /// Full name, for example `rpool/home`.
    pub name: String,
    /// Locally set properties, as `zfs set` takes them.
    pub properties: Vec<(String, String)>,
    /// Its files; `None` leaves an empty root directory.
    pub content: Option<Content<'a>>,
    /// Name of a snapshot to take.
    pub snapshot: Option<String>,
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

/// Why a pool could not be written.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The device is too small for any pool.
    #[error("a pool needs at least {min} bytes, there are {size}", min = label::MIN_DEVICE_SIZE)]
    DeviceTooSmall {
        /// The device's size.
        size: u64,
    },
    /// The content does not fit.
    #[error(
        "the pool is full: {allocated} of {size} bytes are in use, of which OpenZFS keeps {slop} \
         free; use a larger disk"
    )]
    NoSpace {
        /// Bytes allocated so far.
        allocated: u64,
        /// Bytes there are.
        size: u64,
        /// Bytes that must stay free.
        slop: u64,
    },
    /// A dataset's name, or the order of the datasets.
    #[error("dataset {name:?}: {reason}")]
    Dataset {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A property of a dataset.
    #[error("dataset {dataset:?}: {source}")]
    Property {
        /// Its name.
        dataset: String,
        /// What is wrong.
        source: PropertyError,
    },
    /// The dataset to boot from is not among the datasets.
    #[error("bootfs {0:?} is not a dataset of the pool")]
    Bootfs(String),
    /// The content of a file cannot be opened.
    #[error("cannot open blob {blob}: {source}")]
    Blob {
        /// The blob.
        blob: Digest,
        /// Why.
        source: io::Error,
    },
    /// The content of a file cannot be read to its end.
    #[error("cannot read blob {blob} for object {object}: {source}")]
    ShortBlob {
        /// The blob.
        blob: Digest,
        /// The file's object.
        object: u64,
        /// Why.
        source: io::Error,
    },
    /// A blob has more bytes than the file it belongs to.
    #[error("blob {blob} is longer than the {size} bytes of its file")]
    LongBlob {
        /// The blob.
        blob: Digest,
        /// Bytes the file has.
        size: u64,
    },
    /// A directory or another table cannot be stored.
    #[error("object {object}: {source}")]
    Zap {
        /// The object.
        object: u64,
        /// Why.
        source: ZapError,
    },
    /// Attributes of a file cannot be stored.
    #[error("object {object}: {source}")]
    Attributes {
        /// The object.
        object: u64,
        /// Why.
        source: SaError,
    },
    /// More objects than this writer can number.
    #[error("more than 4294967295 objects in one dataset, or too many datasets")]
    TooManyObjects,
    /// A mistake of the writer itself: the room for an object does not fit what goes there.
    #[error("object {object} of the MOS does not fit the room laid out for it; this is a bug")]
    Layout {
        /// The object.
        object: u64,
    },
    /// The disk cannot be written, or a worker failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Internal form of [`Self::NoSpace`], before the totals are known.
    #[error("no room for a block of {needed} bytes")]
    #[doc(hidden)]
    BlockNoSpace {
        /// The block's size.
        needed: u64,
    },
}

impl From<NoSpace> for WriteError {
    fn from(NoSpace { needed }: NoSpace) -> Self {
        Self::BlockNoSpace { needed }
    }
}

/// Writes `pool` over all of `device`. `progress` is told how many bytes of file data were read
/// since it was last called.
pub fn write_pool<W: WriteAt>(
    device: W,
    pool: &Pool<'_>,
    blobs: &dyn Blobs,
    progress: &mut dyn FnMut(u64),
) -> Result<Summary, WriteError> {
    let checked = CheckedPool::new(pool)?;
    let size = device.size()?;
    let geometry = Geometry::new(size).ok_or(WriteError::DeviceTooSmall { size })?;
    let alloc = Allocator::new(geometry.metaslab_shift, geometry.metaslabs());
    let mut out = BlockWriter::new(device, alloc, TXG_CREATE);
    let slop = (geometry.asize >> SLOP_SHIFT).max((128 << 20).min(geometry.asize / 2));
    let no_space = |out: &BlockWriter<W>| WriteError::NoSpace {
        allocated: out.alloc.total(),
        size: geometry.asize,
        slop,
    };
    let written = write_blocks(&mut out, &checked, &geometry, blobs, progress);
    match written {
        Ok(_) if out.alloc.total() + slop > geometry.asize => Err(no_space(&out)),
        Err(WriteError::BlockNoSpace { .. }) => Err(no_space(&out)),
        Err(error) => Err(error),
        Ok((config, uberblock)) => {
            label::write_labels(
                out.device(),
                geometry.usable_size,
                ASHIFT,
                &config.label(),
                &uberblock,
            )?;
            Ok(Summary {
                pool_guid: config.pool_guid,
                allocated: out.alloc.total(),
                size: geometry.asize,
            })
        }
    }
}

/// A pool whose names and properties were found to be sound.
struct CheckedPool<'p, 'a> {
    pool: &'p Pool<'a>,
    parents: Vec<Option<usize>>,
    properties: Vec<Vec<(&'p str, property::Value)>>,
    bootfs: Option<usize>,
}

impl<'p, 'a> CheckedPool<'p, 'a> {
    fn new(pool: &'p Pool<'a>) -> Result<Self, WriteError> {
        let mut seen = BTreeMap::new();
        let mut checked = Self { pool, parents: Vec::new(), properties: Vec::new(), bootfs: None };
        for (index, dataset) in pool.datasets.iter().enumerate() {
            let name = &*dataset.name;
            let bad = |reason| WriteError::Dataset { name: name.to_owned(), reason };
            let allowed =
                |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b' ');
            let parts_ok = name.split('/').all(|part| {
                !part.is_empty() && part != "." && part != ".." && part.bytes().all(allowed)
            });
            if name.len() > 200 || !parts_ok {
                return Err(bad("not a dataset name"));
            }
            let parent = match name.rsplit_once('/') {
                None if index == 0 && name == pool.name => None,
                None => return Err(bad("the first dataset, and only it, is named like the pool")),
                Some((parent, _)) => Some(
                    *seen.get(parent).ok_or_else(|| bad("its parent is not listed before it"))?,
                ),
            };
            if let Some(snapshot) = &dataset.snapshot
                && (snapshot.is_empty() || snapshot.len() > 50 || !snapshot.bytes().all(allowed))
            {
                return Err(bad("not a snapshot name"));
            }
            if seen.insert(name, index).is_some() {
                return Err(bad("listed twice"));
            }
            let mut properties: Vec<(&str, property::Value)> = Vec::new();
            for (property, value) in &dataset.properties {
                if properties.iter().any(|(known, _)| known == property) {
                    return Err(bad("the same property is set twice"));
                }
                let value = property::encode(property, value)
                    .map_err(|source| WriteError::Property { dataset: name.to_owned(), source })?;
                properties.push((property, value));
            }
            checked.parents.push(parent);
            checked.properties.push(properties);
        }
        if pool.datasets.is_empty() {
            let reason = "a pool has at least the dataset named like it";
            return Err(WriteError::Dataset { name: pool.name.clone(), reason });
        }
        if let Some(bootfs) = &pool.bootfs {
            let index = seen.get(bootfs.as_str());
            checked.bootfs = Some(*index.ok_or_else(|| WriteError::Bootfs(bootfs.clone()))?);
        }
        Ok(checked)
    }

    /// The value of a property where it is set: on the dataset or its nearest ancestor.
    fn inherited(&self, mut index: usize, property: &str) -> Option<&'p str> {
        loop {
            let properties = &self.pool.datasets[index].properties;
            if let Some((_, value)) = properties.iter().find(|(name, _)| name == property) {
                return Some(value);
            }
            index = self.parents[index]?;
        }
    }

    fn storage(&self, index: usize, ids: &Ids) -> Storage {
        let compression = self.inherited(index, "compression").and_then(property::compression);
        let record_size = self.inherited(index, "recordsize").and_then(property::record_size);
        let copies = self.inherited(index, "copies").and_then(|text| text.parse().ok());
        Storage {
            compression: compression.map_or_else(Default::default, |(method, _)| method),
            record_size: record_size.unwrap_or(128 << 10),
            copies: copies.unwrap_or(1),
            // Odd, so that it is never 0.
            salt: ids.guid(&format!("salt {}", self.pool.datasets[index].name)) | 1,
        }
    }
}

type Finished<'p> = (PoolConfig<'p>, Uberblock);

fn write_blocks<'p, W: WriteAt>(
    out: &mut BlockWriter<W>,
    checked: &CheckedPool<'p, '_>,
    geometry: &Geometry,
    blobs: &dyn Blobs,
    progress: &mut dyn FnMut(u64),
) -> Result<Finished<'p>, WriteError> {
    let pool = checked.pool;
    let ids = Ids::new(pool.seed);
    let records = write_filesystems(out, checked, &ids, blobs, progress)?;

    out.birth = TXG_SNAPSHOT;
    let mut mos = Mos::new(out, ids.guid("salt of the MOS") | 1);
    let directory = mos.allocate();
    let mut dsl = DslWriter::new(&mut mos, &ids, pool.timestamp).write(&records)?;
    let features = FeatureObjects::write(&mut mos, pool.features)?;
    let bootfs = checked.bootfs.map(|index| dsl.datasets[index]);
    let others = OtherObjects::write(&mut mos, pool, &ids, bootfs, geometry, &dsl)?;
    let mut entries = vec![Entry::new("features_for_write", features.for_write)];
    let counts = features.counts(pool.features, &dsl);
    let for_read = features.write_for_read(&mut mos, pool.features, &counts)?;
    entries.push(Entry::new("features_for_read", for_read));
    entries.push(Entry::new("feature_descriptions", features.descriptions));
    entries.push(Entry::new("feature_enabled_txg", features.enabled_txg));
    entries.push(Entry::new("root_dataset", dsl.root_dir));
    entries.push(Entry::new("empty_bpobj", dsl.empty_bpobj));
    others.directory_entries(&mut entries);
    let what = MosObject { object_type: object_type::OBJECT_DIRECTORY, ..MosObject::default() };
    mos.write_zap(directory, what, &entries)?;

    // From here on only reserved room is written: what is allocated is counted below.
    let feature_blocks = features.encode_for_write(&mut mos, pool.features, &counts, 0)?;
    let for_write = mos.reserve(features.for_write, feature_blocks.0, 1)?;
    let config_object = MosObject {
        object_type: object_type::PACKED_NVLIST,
        bonus_type: object_type::PACKED_NVLIST_SIZE,
        bonus: vec![0; 8],
        block_size: CONFIG_BLOCK,
    };
    let config_room = mos.reserve(others.config, config_object, 1)?;
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
    let (_, data) = features.encode_for_write(&mut mos, pool.features, &counts, map_count)?;
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
        txg: TXG_UBERBLOCK,
        pool_guid,
        vdev_guid,
        metaslab_array: others.metaslab_array,
        metaslab_shift: geometry.metaslab_shift,
        asize: geometry.asize,
    };
    let mut packed = config.mos();
    let mut config_room = config_room;
    config_room.spec.bonus = (packed.len() as u64).to_le_bytes().to_vec();
    packed.resize(packed.len().max(CONFIG_BLOCK as usize), 0);
    mos.fill(config_room, &packed)?;

    let usage = mos.out.usage;
    dsl.charge_mos(&mut mos, pool.timestamp, usage)?;
    let uberblock = Uberblock {
        txg: TXG_UBERBLOCK,
        guid_sum: pool_guid.wrapping_add(vdev_guid),
        timestamp: pool.timestamp,
        root: mos.finish(&table)?,
    };
    Ok((config, uberblock))
}

fn write_filesystems<'p, W: WriteAt>(
    out: &mut BlockWriter<W>,
    checked: &CheckedPool<'p, '_>,
    ids: &Ids,
    blobs: &dyn Blobs,
    progress: &mut dyn FnMut(u64),
) -> Result<Vec<DatasetRecord<'p>>, WriteError> {
    let pool = checked.pool;
    let mut root = Metadata { mode: 0o755, ..Metadata::default() };
    root.mtime.seconds = pool.timestamp as i64;
    let empty = Tree::new(root);
    std::thread::scope(|scope| {
        let mut pipeline = Pipeline::start(scope, TXG_CREATE);
        let mut records = Vec::new();
        for (index, dataset) in pool.datasets.iter().enumerate() {
            let nothing = Content { tree: &empty, root: empty.root(), mounts: Default::default() };
            let content = dataset.content.as_ref().unwrap_or(&nothing);
            let storage = checked.storage(index, ids);
            let writer = FilesystemWriter::new(out, &mut pipeline, storage, progress);
            let written = writer.write(content, blobs)?;
            let mut features = vec![feature::USEROBJ_ACCOUNTING, feature::PROJECT_QUOTA];
            features.extend(written.large_blocks.then_some(feature::LARGE_BLOCKS));
            features.extend(written.zstd.then_some(feature::ZSTD_COMPRESS));
            records.push(DatasetRecord {
                name: &dataset.name,
                parent: checked.parents[index],
                properties: checked.properties[index].clone(),
                snapshot: dataset.snapshot.as_deref(),
                objset: written.objset,
                usage: written.usage,
                features,
            });
        }
        Ok(records)
    })
}

/// The objects that say which features the pool has.
struct FeatureObjects {
    for_write: u64,
    descriptions: u64,
    enabled_txg: u64,
}

impl FeatureObjects {
    fn write<W: WriteAt>(mos: &mut Mos<'_, W>, set: FeatureSet) -> Result<Self, WriteError> {
        let texts: Vec<_> = set
            .features()
            .iter()
            .map(|feature| (feature.guid, [feature.description.as_bytes(), b"\0"].concat()))
            .collect();
        let descriptions: Vec<_> = texts
            .iter()
            .map(|(guid, text)| Entry { name: guid.as_bytes(), value: ZapValue::Bytes(text) })
            .collect();
        let txgs: Vec<_> =
            set.features().iter().map(|feature| Entry::new(feature.guid, TXG_CREATE)).collect();
        Ok(Self {
            for_write: mos.allocate(),
            descriptions: mos.add_zap(object_type::ZAP_METADATA, &descriptions)?,
            enabled_txg: mos.add_zap(object_type::ZAP_METADATA, &txgs)?,
        })
    }

    /// How often each feature is in use; space maps are not counted yet.
    fn counts(&self, set: FeatureSet, dsl: &Dsl) -> BTreeMap<&'static str, u64> {
        let mut counts: BTreeMap<_, _> = set
            .features()
            .iter()
            .map(|feature| (feature.guid, u64::from(feature.active_when_enabled)))
            .collect();
        counts.insert(feature::ENABLED_TXG, set.features().len() as u64);
        counts.insert(feature::EMPTY_BPOBJ, dsl.empty_bpobj_references);
        counts.insert(feature::EXTENSIBLE_DATASET, dsl.extensible_datasets);
        for guid in &dsl.feature_uses {
            *counts.entry(guid).or_default() += 1;
        }
        counts
    }

    fn entries(
        set: FeatureSet,
        counts: &BTreeMap<&'static str, u64>,
        readonly_compatible: bool,
    ) -> Vec<Entry<'static>> {
        set.features()
            .iter()
            .filter(|feature| feature.readonly_compatible == readonly_compatible)
            .map(|feature| Entry::new(feature.guid, counts.get(feature.guid).copied().unwrap_or(0)))
            .collect()
    }

    fn write_for_read<W: WriteAt>(
        &self,
        mos: &mut Mos<'_, W>,
        set: FeatureSet,
        counts: &BTreeMap<&'static str, u64>,
    ) -> Result<u64, WriteError> {
        mos.add_zap(object_type::ZAP_METADATA, &Self::entries(set, counts, false))
    }

    /// The features needed for writing, which depend on the number of space maps. The size of the
    /// block does not.
    fn encode_for_write<W: WriteAt>(
        &self,
        mos: &mut Mos<'_, W>,
        set: FeatureSet,
        counts: &BTreeMap<&'static str, u64>,
        space_maps: u64,
    ) -> Result<(MosObject, Vec<u8>), WriteError> {
        let mut counts = counts.clone();
        counts.insert(feature::SPACEMAP_HISTOGRAM, space_maps);
        let zap = mos.encode_zap(self.for_write, &Self::entries(set, &counts, true))?;
        let what = MosObject {
            object_type: object_type::ZAP_METADATA,
            block_size: zap.block_size,
            ..MosObject::default()
        };
        Ok((what, zap.data))
    }
}

/// The remaining objects that the object directory names.
struct OtherObjects {
    free_bpobj: u64,
    sync_bplist: u64,
    history: u64,
    pool_props: u64,
    config: u64,
    metaslab_array: u64,
    checksum_salt: [u8; 32],
}

impl OtherObjects {
    fn write<W: WriteAt>(
        mos: &mut Mos<'_, W>,
        pool: &Pool<'_>,
        ids: &Ids,
        bootfs: Option<u64>,
        geometry: &Geometry,
        dsl: &Dsl,
    ) -> Result<Self, WriteError> {
        debug_assert_eq!(dsl.datasets.len(), pool.datasets.len());
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

    fn directory_entries<'s>(&'s self, entries: &mut Vec<Entry<'s>>) {
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
