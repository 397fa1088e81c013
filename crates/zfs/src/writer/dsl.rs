//! The dataset layer of a new pool: directories, datasets, snapshots, properties.
//!
//! Source: OpenZFS `include/sys/dsl_dir.h`, `include/sys/dsl_dataset.h`, `module/zfs/dsl_pool.c`,
//! `module/zfs/dsl_dataset.c` (what `zpool create`, `zfs create` and `zfs snapshot` leave behind).

use blk::WriteAt;

use super::WriteError;
use super::block::Usage;
use super::mos::{Mos, MosObject};
use crate::blkptr::BlockPointer;
use crate::dnode::object_type;
use crate::ids::Ids;
use crate::property;
use crate::zap::{Entry, ZapValue, int_key};

/// Transaction group in which all content is born.
pub(crate) const TXG_CREATE: u64 = 4;
/// Transaction group of the snapshots, and of the MOS.
pub(crate) const TXG_SNAPSHOT: u64 = 5;
/// What OpenZFS writes as creation of datasets made together with their pool.
const TXG_BEFORE_FIRST: u64 = 1;

const DD_FLAG_USED_BREAKDOWN: u64 = 1;
const DS_FLAG_UNIQUE_ACCURATE: u64 = 4;

/// A dataset whose object set is written.
#[derive(Debug)]
pub(crate) struct DatasetRecord<'a> {
    /// Full name, the pool's name first.
    pub name: &'a str,
    /// Index of its parent, `None` for the pool's root.
    pub parent: Option<usize>,
    pub properties: Vec<(&'a str, property::Value)>,
    pub snapshot: Option<&'a str>,
    pub objset: BlockPointer,
    pub usage: Usage,
    /// GUIDs of the per-dataset features it uses.
    pub features: Vec<&'static str>,
}

/// What the rest of the pool needs to know of its datasets.
#[derive(Debug)]
pub(crate) struct Dsl {
    /// Root directory's object.
    pub root_dir: u64,
    /// Object of each dataset, in the order given.
    pub datasets: Vec<u64>,
    /// The shared empty list of freed blocks, and how many deadlists refer to it.
    pub empty_bpobj: u64,
    pub empty_bpobj_references: u64,
    /// Each per-dataset feature once for each dataset and snapshot that uses it.
    pub feature_uses: Vec<&'static str>,
    /// Datasets and snapshots that name features.
    pub extensible_datasets: u64,
    root: DirRecord,
    mos_dir: DirRecord,
}

/// A DSL directory (`dsl_dir_phys_t`).
#[derive(Debug, Clone, Default)]
struct DirRecord {
    object: u64,
    head: u64,
    parent: u64,
    origin: u64,
    children: u64,
    properties: u64,
    clones: u64,
    own: Usage,
    below: Usage,
}

impl DirRecord {
    fn total(&self) -> Usage {
        let mut total = self.own;
        total += self.below;
        total
    }

    fn to_bytes(&self, timestamp: u64) -> Vec<u8> {
        let total = self.total();
        let mut words = [0; 32];
        words[..5].copy_from_slice(&[
            timestamp,
            self.head,
            self.parent,
            self.origin,
            self.children,
        ]);
        words[5..8].copy_from_slice(&[total.allocated, total.compressed, total.uncompressed]);
        words[10] = self.properties;
        words[12] = DD_FLAG_USED_BREAKDOWN;
        // Breakdown: head, snapshots, children, children's reservations, refreservation.
        words[13] = self.own.allocated;
        words[15] = self.below.allocated;
        words[18] = self.clones;
        words.iter().flat_map(|word: &u64| word.to_le_bytes()).collect()
    }
}

/// A dataset or snapshot (`dsl_dataset_phys_t`).
#[derive(Debug, Default)]
struct DatasetPhys {
    dir: u64,
    prev_snapshot: u64,
    prev_snapshot_txg: u64,
    next_snapshot: u64,
    snapshot_names: u64,
    children: u64,
    created: u64,
    created_txg: u64,
    deadlist: u64,
    referenced: Usage,
    unique: u64,
    fsid_guid: u64,
    guid: u64,
    objset: BlockPointer,
    next_clones: u64,
}

impl DatasetPhys {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(320);
        for word in [
            self.dir,
            self.prev_snapshot,
            self.prev_snapshot_txg,
            self.next_snapshot,
            self.snapshot_names,
            self.children,
            self.created,
            self.created_txg,
            self.deadlist,
            self.referenced.allocated,
            self.referenced.compressed,
            self.referenced.uncompressed,
            self.unique,
            self.fsid_guid,
            self.guid,
            DS_FLAG_UNIQUE_ACCURATE,
        ] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(&self.objset.to_bytes());
        bytes.extend_from_slice(&self.next_clones.to_le_bytes());
        bytes.resize(320, 0);
        bytes
    }
}

fn dir_object(bonus: Vec<u8>) -> MosObject {
    MosObject {
        object_type: object_type::DSL_DIR,
        bonus_type: object_type::DSL_DIR,
        bonus,
        ..MosObject::default()
    }
}

/// Writes the DSL.
pub(crate) struct DslWriter<'m, 'a, W> {
    mos: &'m mut Mos<'a, W>,
    ids: &'m Ids,
    timestamp: u64,
    empty_bpobj: u64,
    empty_bpobj_references: u64,
    feature_uses: Vec<&'static str>,
    extensible_datasets: u64,
}

impl<'m, 'a, W: WriteAt> DslWriter<'m, 'a, W> {
    pub(crate) fn new(mos: &'m mut Mos<'a, W>, ids: &'m Ids, timestamp: u64) -> Self {
        Self {
            mos,
            ids,
            timestamp,
            empty_bpobj: 0,
            empty_bpobj_references: 0,
            feature_uses: Vec::new(),
            extensible_datasets: 0,
        }
    }

    /// Writes everything; the first record is the pool's root, parents come before children.
    pub(crate) fn write(mut self, records: &[DatasetRecord<'_>]) -> Result<Dsl, WriteError> {
        self.empty_bpobj = add_bpobj(self.mos)?;
        let mut dirs: Vec<_> = records
            .iter()
            .map(|record| DirRecord {
                object: self.mos.allocate(),
                own: record.usage,
                ..DirRecord::default()
            })
            .collect();
        for index in (1..records.len()).rev() {
            if let Some(parent) = records[index].parent {
                let total = dirs[index].total();
                dirs[parent].below += total;
                dirs[index].parent = dirs[parent].object;
            }
        }
        let root = dirs[0].object;
        let special = |mos: &mut Mos<'a, W>| DirRecord {
            object: mos.allocate(),
            parent: root,
            ..DirRecord::default()
        };
        let mut mos_dir = special(self.mos);
        let mut free_dir = special(self.mos);
        let mut origin_dir = special(self.mos);
        let origin = self.mos.allocate();

        let mut datasets = Vec::new();
        let mut newest = Vec::new();
        for (record, dir) in records.iter().zip(&mut dirs) {
            let (head, last) = self.dataset(record, dir, origin)?;
            datasets.push(head);
            newest.push(last);
        }
        self.origin(&mut origin_dir, origin, &datasets, &newest)?;
        self.special_dir(&mut mos_dir)?;
        self.special_dir(&mut free_dir)?;
        for (index, record) in records.iter().enumerate() {
            let mut children: Vec<(&str, u64)> = records
                .iter()
                .zip(&dirs)
                .filter(|(child, _)| child.parent == Some(index))
                .map(|(child, dir)| (child.name.rsplit('/').next().unwrap_or_default(), dir.object))
                .collect();
            if index == 0 {
                children.extend([
                    ("$MOS", mos_dir.object),
                    ("$FREE", free_dir.object),
                    ("$ORIGIN", origin_dir.object),
                ]);
            }
            dirs[index].children = self.name_map(object_type::DSL_DIR_CHILD_MAP, &children)?;
            dirs[index].properties = self.properties(&record.properties)?;
            let bonus = dirs[index].to_bytes(self.timestamp);
            self.mos.write(dirs[index].object, dir_object(bonus), &[])?;
        }
        for dir in [&mos_dir, &free_dir, &origin_dir] {
            let bonus = dir.to_bytes(self.timestamp);
            self.mos.write(dir.object, dir_object(bonus), &[])?;
        }
        Ok(Dsl {
            root_dir: root,
            datasets,
            empty_bpobj: self.empty_bpobj,
            empty_bpobj_references: self.empty_bpobj_references,
            feature_uses: self.feature_uses,
            extensible_datasets: self.extensible_datasets,
            root: dirs.swap_remove(0),
            mos_dir,
        })
    }

    fn name_map(&mut self, object_type: u8, names: &[(&str, u64)]) -> Result<u64, WriteError> {
        let entries: Vec<_> =
            names.iter().map(|(name, object)| Entry::new(*name, *object)).collect();
        self.mos.add_zap(object_type, &entries)
    }

    fn properties(&mut self, properties: &[(&str, property::Value)]) -> Result<u64, WriteError> {
        let values: Vec<(&str, u64, Vec<u8>)> = properties
            .iter()
            .map(|(name, value)| match value {
                property::Value::Number(number) => (*name, *number, Vec::new()),
                property::Value::Text(text) => (*name, 0, [text.as_bytes(), b"\0"].concat()),
            })
            .collect();
        let entries: Vec<_> = values
            .iter()
            .map(|(name, number, text)| match text.is_empty() {
                true => Entry::new(*name, *number),
                false => Entry { name: name.as_bytes(), value: ZapValue::Bytes(text) },
            })
            .collect();
        self.mos.add_zap(object_type::DSL_PROPS, &entries)
    }

    /// A deadlist with an empty list of blocks for each of the transaction groups `keys`.
    fn deadlist(&mut self, keys: &[u64]) -> Result<u64, WriteError> {
        let object = self.mos.allocate();
        let names: Vec<_> = keys.iter().map(|key| int_key(*key)).collect();
        let entries: Vec<_> = names.iter().map(|name| Entry::new(name, self.empty_bpobj)).collect();
        self.empty_bpobj_references += keys.len() as u64;
        let what = MosObject {
            object_type: object_type::DEADLIST,
            bonus_type: object_type::DEADLIST_HDR,
            bonus: vec![0; 320],
            ..MosObject::default()
        };
        self.mos.write_zap(object, what, &entries)?;
        Ok(object)
    }

    fn phys(&self, name: &str, dir: u64) -> DatasetPhys {
        DatasetPhys {
            dir,
            created: self.timestamp,
            created_txg: TXG_BEFORE_FIRST,
            // 56 bits, and unique in the pool.
            fsid_guid: (self.ids.guid(&format!("fsid {name}")) >> 8).max(1),
            guid: self.ids.guid(&format!("dataset {name}")),
            ..DatasetPhys::default()
        }
    }

    /// Writes a dataset or snapshot object; the features it uses turn the object into a ZAP.
    fn write_phys(
        &mut self,
        object: u64,
        phys: &DatasetPhys,
        features: &[&'static str],
    ) -> Result<(), WriteError> {
        let mut what = MosObject {
            object_type: object_type::DSL_DATASET,
            bonus_type: object_type::DSL_DATASET,
            bonus: phys.to_bytes(),
            ..MosObject::default()
        };
        if features.is_empty() {
            return self.mos.write(object, what, &[]);
        }
        self.extensible_datasets += 1;
        self.feature_uses.extend(features);
        what.object_type = object_type::ZAP_METADATA;
        let entries: Vec<_> = features.iter().map(|guid| Entry::new(*guid, 0)).collect();
        self.mos.write_zap(object, what, &entries)
    }

    /// Writes a filesystem, a clone of the empty origin snapshot, and its snapshot. Gives the head's
    /// object and that of what follows the origin: the snapshot, or the head itself.
    fn dataset(
        &mut self,
        record: &DatasetRecord<'_>,
        dir: &mut DirRecord,
        origin: u64,
    ) -> Result<(u64, u64), WriteError> {
        let object = self.mos.allocate();
        dir.head = object;
        dir.origin = origin;
        let mut head = self.phys(record.name, dir.object);
        head.prev_snapshot = origin;
        head.prev_snapshot_txg = TXG_BEFORE_FIRST;
        if record.parent.is_some() {
            head.created_txg = TXG_CREATE;
        }
        head.referenced = record.usage;
        head.unique = record.usage.allocated;
        head.objset = record.objset;
        let mut newest = object;
        let mut names = Vec::new();
        if let Some(name) = record.snapshot {
            newest = self.mos.allocate();
            names.push((name, newest));
            let full_name = format!("{}@{name}", record.name);
            let snapshot = DatasetPhys {
                prev_snapshot: origin,
                prev_snapshot_txg: TXG_BEFORE_FIRST,
                next_snapshot: object,
                children: 1,
                created_txg: TXG_SNAPSHOT,
                deadlist: self.deadlist(&[0])?,
                referenced: record.usage,
                objset: record.objset,
                ..self.phys(&full_name, dir.object)
            };
            self.write_phys(newest, &snapshot, &record.features)?;
            head.prev_snapshot = newest;
            head.prev_snapshot_txg = TXG_SNAPSHOT;
            head.unique = 0;
            head.deadlist = self.deadlist(&[0, TXG_BEFORE_FIRST])?;
        } else {
            head.deadlist = self.deadlist(&[0])?;
        }
        head.snapshot_names = self.name_map(object_type::DSL_DS_SNAP_MAP, &names)?;
        self.write_phys(object, &head, &record.features)?;
        Ok((object, newest))
    }

    /// The hidden dataset `$ORIGIN` with the empty snapshot that all filesystems are clones of.
    fn origin(
        &mut self,
        dir: &mut DirRecord,
        snapshot_object: u64,
        heads: &[u64],
        newest: &[u64],
    ) -> Result<(), WriteError> {
        let head_object = self.mos.allocate();
        let clones: Vec<_> = newest.iter().map(|object| (int_key(*object), *object)).collect();
        let clones: Vec<_> = clones.iter().map(|(name, object)| (&**name, *object)).collect();
        let snapshot = DatasetPhys {
            next_snapshot: head_object,
            children: 1 + heads.len() as u64,
            deadlist: self.deadlist(&[])?,
            next_clones: self.name_map(object_type::NEXT_CLONES, &clones)?,
            ..self.phys("$ORIGIN@$ORIGIN", dir.object)
        };
        self.write_phys(snapshot_object, &snapshot, &[])?;
        let names = [("$ORIGIN", snapshot_object)];
        let head = DatasetPhys {
            prev_snapshot: snapshot_object,
            prev_snapshot_txg: TXG_BEFORE_FIRST,
            snapshot_names: self.name_map(object_type::DSL_DS_SNAP_MAP, &names)?,
            deadlist: self.deadlist(&[0])?,
            ..self.phys("$ORIGIN", dir.object)
        };
        self.write_phys(head_object, &head, &[])?;
        let heads: Vec<_> = heads.iter().map(|object| (int_key(*object), *object)).collect();
        let heads: Vec<_> = heads.iter().map(|(name, object)| (&**name, *object)).collect();
        dir.head = head_object;
        dir.clones = self.name_map(object_type::DSL_CLONES, &heads)?;
        self.special_dir(dir)
    }

    fn special_dir(&mut self, dir: &mut DirRecord) -> Result<(), WriteError> {
        dir.properties = self.properties(&[])?;
        dir.children = self.name_map(object_type::DSL_DIR_CHILD_MAP, &[])?;
        Ok(())
    }
}

impl Dsl {
    /// Charges `usage` to the hidden directory that accounts for the MOS itself.
    pub(crate) fn charge_mos<W: WriteAt>(
        &mut self,
        mos: &mut Mos<'_, W>,
        timestamp: u64,
        usage: Usage,
    ) -> Result<(), WriteError> {
        self.mos_dir.own = usage;
        self.root.below += usage;
        mos.set_bonus(self.mos_dir.object, &self.mos_dir.to_bytes(timestamp))?;
        mos.set_bonus(self.root.object, &self.root.to_bytes(timestamp))
    }
}

/// Adds an empty list of block pointers (`bpobj_phys_t`).
pub(crate) fn add_bpobj<W: WriteAt>(mos: &mut Mos<'_, W>) -> Result<u64, WriteError> {
    let object = mos.allocate();
    let what = MosObject {
        object_type: object_type::BPOBJ,
        bonus_type: object_type::BPOBJ_HDR,
        bonus: vec![0; 48],
        block_size: 128 << 10,
    };
    mos.write(object, what, &[])?;
    Ok(object)
}
