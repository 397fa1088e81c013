//! The dataset layer of a new pool: directories, datasets, snapshots, properties.
//!
//! Source: OpenZFS `include/sys/dsl_dir.h`, `include/sys/dsl_dataset.h`, `module/zfs/dsl_pool.c`,
//! `module/zfs/dsl_dataset.c` (what `zpool create`, `zfs create` and `zfs snapshot` leave behind).

use blk::WriteAt;

use super::WriteError;
use super::block::Usage;
use super::history;
use super::mos::{Mos, MosObject};
use crate::blkptr::BlockPointer;
use crate::dnode::object_type;
use crate::ids::Ids;
use crate::property;
use crate::zap::{Entry, ZapValue, int_key};

/// Transaction group in which the pool and all content without history is made.
pub(crate) const TXG_CREATE: u64 = 4;
/// What OpenZFS writes as creation of datasets made together with their pool.
pub(crate) const TXG_BEFORE_FIRST: u64 = 1;

const DD_FLAG_USED_BREAKDOWN: u64 = 1;
const DS_FLAG_UNIQUE_ACCURATE: u64 = 4;

/// A dataset whose object sets are written.
#[derive(Debug)]
pub(crate) struct DatasetRecord<'a> {
    /// Full name, the pool's name first.
    pub name: &'a str,
    /// Index of its parent, `None` for the pool's root.
    pub parent: Option<usize>,
    pub properties: Vec<(&'a str, property::Value)>,
    /// Of a clone, the dataset and which of its states it begins with.
    pub origin: Option<(usize, usize)>,
    /// Number of its first state in the pool's history.
    pub first_state: usize,
    /// Its states, the oldest first; all but the last have snapshots.
    pub states: Vec<StateRecord<'a>>,
}

/// A state of a dataset.
#[derive(Debug, Clone)]
pub(crate) struct StateRecord<'a> {
    pub snapshot: Option<&'a str>,
    pub objset: BlockPointer,
    /// All that it holds.
    pub referenced: Usage,
    /// What was written for it.
    pub born: Usage,
    /// Bytes allocated since the snapshot before it.
    pub unique: u64,
    /// Bytes allocated since the dataset's origin.
    pub own: u64,
    /// Blocks of the state before that it does not have.
    pub died: Vec<BlockPointer>,
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
    /// What of `own` only snapshots hold.
    in_snapshots: u64,
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
        words[13] = self.own.allocated - self.in_snapshots;
        words[14] = self.in_snapshots;
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

/// The snapshot that comes before a state, and what the deadlist of the next state is divided at.
#[derive(Debug, Clone)]
struct Previous {
    object: u64,
    txg: u64,
    keys: Vec<u64>,
}

/// Where a dataset is in the MOS.
struct Placed {
    head: u64,
    /// What follows its origin: its oldest snapshot, or itself.
    first: u64,
    /// Each snapshot, as what comes before the next state and before clones.
    snapshots: Vec<Previous>,
    /// The object that names the clones of each snapshot, or 0.
    next_clones: Vec<u64>,
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
            .map(|record| {
                let mut own = Usage::default();
                record.states.iter().for_each(|state| own += state.born);
                let head = record.states.last().map_or(0, |state| state.own);
                DirRecord {
                    object: self.mos.allocate(),
                    own,
                    in_snapshots: own.allocated.saturating_sub(head),
                    ..DirRecord::default()
                }
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

        let mut placed: Vec<Placed> = Vec::new();
        for index in 0..records.len() {
            let object = dirs[index].object;
            let origin = match records[index].origin {
                None => Previous { object: origin, txg: TXG_BEFORE_FIRST, keys: vec![0] },
                Some((from, state)) => placed[from].snapshots[state].clone(),
            };
            dirs[index].origin = origin.object;
            let new = self.dataset(index, records, object, origin)?;
            dirs[index].head = new.head;
            placed.push(new);
        }
        self.clones(records, &placed, &mut dirs)?;
        let own = |(index, _): &(usize, &Placed)| records[*index].origin.is_none();
        let no_clones: Vec<_> = placed.iter().enumerate().filter(own).collect();
        let heads: Vec<_> = no_clones.iter().map(|(_, placed)| placed.head).collect();
        let first: Vec<_> = no_clones.iter().map(|(_, placed)| placed.first).collect();
        self.origin(&mut origin_dir, origin, &heads, &first)?;
        let datasets = placed.iter().map(|placed| placed.head).collect();
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

    /// A deadlist: for each of the transaction groups `keys`, ascending, the blocks of `died` that
    /// were born later, up to the next one.
    fn deadlist(&mut self, keys: &[u64], died: &[BlockPointer]) -> Result<u64, WriteError> {
        let object = self.mos.allocate();
        let mut lists = vec![Vec::new(); keys.len()];
        let mut total = Usage::default();
        for bp in died {
            total += Usage::of(bp);
            let at = keys.iter().rposition(|key| *key < bp.birth());
            if let Some(list) = at.and_then(|at| lists.get_mut(at)) {
                list.push(bp);
            }
        }
        let mut objects = Vec::new();
        for list in lists {
            if list.is_empty() {
                self.empty_bpobj_references += 1;
                objects.push(self.empty_bpobj);
            } else {
                objects.push(add_full_bpobj(self.mos, &list)?);
            }
        }
        let names: Vec<_> = keys.iter().map(|key| int_key(*key)).collect();
        let entries: Vec<_> =
            names.iter().zip(objects).map(|(name, list)| Entry::new(name, list)).collect();
        let mut bonus = vec![0; 320];
        for (slot, word) in bonus.chunks_exact_mut(8).zip(total.words()) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        let what = MosObject {
            object_type: object_type::DEADLIST,
            bonus_type: object_type::DEADLIST_HDR,
            bonus,
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

    /// Writes a dataset, a clone of its `origin`, and its snapshots.
    fn dataset(
        &mut self,
        index: usize,
        records: &[DatasetRecord<'_>],
        dir: u64,
        origin: Previous,
    ) -> Result<Placed, WriteError> {
        let Some(record) = records.get(index) else { return Err(WriteError::TooManyObjects) };
        let object = self.mos.allocate();
        let mut names = Vec::new();
        for state in &record.states {
            if let Some(name) = state.snapshot {
                names.push((name, self.mos.allocate()));
            }
        }
        let mut placed = Placed {
            head: object,
            first: names.first().map_or(object, |(_, snapshot)| *snapshot),
            snapshots: Vec::new(),
            next_clones: Vec::new(),
        };
        let mut before = origin;
        let mut died: &[BlockPointer] = &[];
        let mut unique = 0;
        for (number, state) in record.states.iter().enumerate() {
            (died, unique) = (&state.died, state.unique);
            let Some((name, snapshot_object)) = names.get(number) else { break };
            let clones = records.iter().filter(|other| other.origin == Some((index, number)));
            let clones = clones.count() as u64;
            let next = record.states.get(number + 1);
            let lost = next.into_iter().flat_map(|next| &next.died);
            let txg = history::snapshot_txg(record.first_state + number);
            let deadlist = self.deadlist(&before.keys, died)?;
            let next_clones = if clones > 0 { self.mos.allocate() } else { 0 };
            placed.next_clones.push(next_clones);
            let snapshot = DatasetPhys {
                prev_snapshot: before.object,
                prev_snapshot_txg: before.txg,
                next_snapshot: names.get(number + 1).map_or(object, |(_, next)| *next),
                children: 1 + clones,
                created_txg: txg,
                deadlist,
                referenced: state.referenced,
                unique: lost
                    .filter(|bp| bp.birth() > before.txg)
                    .map(|bp| Usage::of(bp).allocated)
                    .sum(),
                objset: state.objset,
                next_clones,
                ..self.phys(&format!("{}@{name}", record.name), dir)
            };
            self.write_phys(*snapshot_object, &snapshot, &state.features)?;
            before.keys.push(before.txg);
            (before.object, before.txg) = (*snapshot_object, txg);
            placed.snapshots.push(before.clone());
            // What the dataset itself has is what the snapshot has, if no other state follows.
            (died, unique) = (&[], 0);
        }
        let Some(last) = record.states.last() else { return Err(WriteError::TooManyObjects) };
        let mut head = self.phys(record.name, dir);
        head.prev_snapshot = before.object;
        head.prev_snapshot_txg = before.txg;
        if record.parent.is_some() {
            head.created_txg = history::birth(record.first_state);
        }
        head.referenced = last.referenced;
        head.unique = unique;
        head.objset = last.objset;
        head.deadlist = self.deadlist(&before.keys, died)?;
        head.snapshot_names = self.name_map(object_type::DSL_DS_SNAP_MAP, &names)?;
        self.write_phys(object, &head, &last.features)?;
        Ok(placed)
    }

    /// Tells snapshots and directories of their clones.
    fn clones(
        &mut self,
        records: &[DatasetRecord<'_>],
        placed: &[Placed],
        dirs: &mut [DirRecord],
    ) -> Result<(), WriteError> {
        for (from, (original, dir)) in placed.iter().zip(dirs).enumerate() {
            let mut heads = Vec::new();
            for (number, object) in original.next_clones.iter().enumerate() {
                let of_it = |record: &DatasetRecord<'_>| record.origin == Some((from, number));
                let clones = records.iter().zip(placed).filter(|(record, _)| of_it(record));
                let clones: Vec<_> = clones.map(|(_, clone)| clone).collect();
                if *object == 0 {
                    continue;
                }
                heads.extend(clones.iter().map(|clone| clone.head));
                let first: Vec<_> = clones.iter().map(|clone| clone.first).collect();
                let what =
                    MosObject { object_type: object_type::NEXT_CLONES, ..MosObject::default() };
                self.number_set(&first, |this, entries| {
                    this.mos.write_zap(*object, what, entries)
                })?;
            }
            if !heads.is_empty() {
                dir.clones = self.number_set(&heads, |this, entries| {
                    this.mos.add_zap(object_type::DSL_CLONES, entries)
                })?;
            }
        }
        Ok(())
    }

    /// Hands `write` the entries of a ZAP that is a set of objects.
    fn number_set<T>(
        &mut self,
        objects: &[u64],
        write: impl FnOnce(&mut Self, &[Entry<'_>]) -> Result<T, WriteError>,
    ) -> Result<T, WriteError> {
        let names: Vec<_> = objects.iter().map(|object| int_key(*object)).collect();
        let entries: Vec<_> =
            names.iter().zip(objects).map(|(name, object)| Entry::new(name, *object)).collect();
        write(self, &entries)
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
        let snapshot = DatasetPhys {
            next_snapshot: head_object,
            children: 1 + heads.len() as u64,
            deadlist: self.deadlist(&[], &[])?,
            next_clones: self.number_set(newest, |this, entries| {
                this.mos.add_zap(object_type::NEXT_CLONES, entries)
            })?,
            ..self.phys("$ORIGIN@$ORIGIN", dir.object)
        };
        self.write_phys(snapshot_object, &snapshot, &[])?;
        let names = [("$ORIGIN", snapshot_object)];
        let head = DatasetPhys {
            prev_snapshot: snapshot_object,
            prev_snapshot_txg: TXG_BEFORE_FIRST,
            snapshot_names: self.name_map(object_type::DSL_DS_SNAP_MAP, &names)?,
            deadlist: self.deadlist(&[0], &[])?,
            ..self.phys("$ORIGIN", dir.object)
        };
        self.write_phys(head_object, &head, &[])?;
        dir.head = head_object;
        dir.clones = self.number_set(heads, |this, entries| {
            this.mos.add_zap(object_type::DSL_CLONES, entries)
        })?;
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

/// A list of block pointers.
fn add_full_bpobj<W: WriteAt>(
    mos: &mut Mos<'_, W>,
    blocks: &[&BlockPointer],
) -> Result<u64, WriteError> {
    let object = mos.allocate();
    let mut total = Usage::default();
    blocks.iter().for_each(|bp| total += Usage::of(bp));
    let mut bonus = (blocks.len() as u64).to_le_bytes().to_vec();
    bonus.extend(total.words().iter().flat_map(|word| word.to_le_bytes()));
    bonus.resize(48, 0);
    let what = MosObject {
        object_type: object_type::BPOBJ,
        bonus_type: object_type::BPOBJ_HDR,
        bonus,
        block_size: 128 << 10,
    };
    let data: Vec<u8> = blocks.iter().flat_map(|bp| bp.in_list().to_bytes()).collect();
    mos.write(object, what, &data)?;
    Ok(object)
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
