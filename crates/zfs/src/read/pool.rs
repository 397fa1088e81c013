//! Opening a pool from its devices.
//!
//! Source: OpenZFS `module/zfs/spa.c` (`spa_ld_*`).

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::fmt;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use blk::{RangeSet, ReadAt};

use super::block::Blocks;
use super::config::VdevConfig;
use super::features::{self, FeatureState};
use super::label::{self, DeviceLabels, Uberblock};
use super::missing;
use super::object::Object;
use super::objset::Objset;
use super::vdev::{Leaf, Mapping, Vdev, Vdevs};
use super::{CopyFault, ReadError, zap};
use crate::codec::Checksums;
use crate::crypt::{Keyring, Secret};
use crate::dnode::object_type;
use crate::nvlist::{NvList, Value, decode_xdr};
use crate::prelude::*;
use crate::zap::OwnedValue;

/// The object directory of the MOS.
const OBJECT_DIRECTORY: u64 = 1;
/// Most top-level vdevs.
const MAX_TOPS: u64 = 1 << 16;
/// How many uberblocks are tried before a pool is given up.
const MAX_REWIND: usize = 4;
/// Largest packed configuration.
const MAX_CONFIG: u64 = 16 << 20;
/// Largest mapping of a removed vdev.
const MAX_MAPPING: u64 = 1 << 30;

/// A device that may belong to a pool.
#[derive(Clone)]
pub struct Device {
    /// What messages call it.
    pub name: String,
    /// Its bytes, from the first label on: a partition rather than the disk.
    pub data: Arc<dyn ReadAt>,
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// What the labels say of the pool as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolState {
    /// In use, or not exported when its machine stopped.
    Active,
    /// Exported.
    Exported,
    /// Destroyed with `zpool destroy`.
    Destroyed,
    /// Something else, by its number.
    Other(u64),
}

/// A device and whether it is here.
#[derive(Debug, Clone)]
pub struct Member {
    /// GUID of the vdev.
    pub guid: u64,
    /// Where it was when the pool was last used.
    pub path: String,
    /// The device that was found to be it.
    pub device: Option<String>,
}

/// A pool that can be read.
#[derive(Debug)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// Its GUID.
    pub guid: u64,
    /// What the newest label says.
    pub state: PoolState,
    /// The uberblock that is used.
    pub uberblock: Uberblock,
    /// Whether there are newer ones that cannot be used.
    pub(crate) rewound: bool,
    /// Its top-level vdevs by number, as the MOS has them.
    pub vdevs: Vec<VdevConfig>,
    /// Its disks and files.
    pub members: Vec<Member>,
    /// Name and machine number of the machine that used it last.
    pub host: Option<(String, u64)>,
    /// Its features that are enabled or active, by name.
    pub features: Vec<FeatureState>,
    /// What is unusual, though the pool can be read.
    pub warnings: Vec<String>,
    /// What is wrong with its labels and devices, though the pool can be read; also among the
    /// warnings.
    pub damage: Vec<String>,
    /// Configuration in the MOS.
    pub config: NvList,
    pub(crate) blocks: Blocks,
    /// Transaction groups whose blocks disks, or those that replace each other, may not have; by the
    /// names they have in a [`CopyFault`].
    pub(crate) missing: BTreeMap<String, RangeSet>,
    pub(crate) keyring: Keyring,
    /// The object directory.
    pub(crate) directory: BTreeMap<Box<[u8]>, OwnedValue>,
}

/// What the labels of all devices say.
struct Found {
    name: String,
    guid: u64,
    /// Configuration of the newest label.
    config: NvList,
    /// Devices by the GUID of their vdev.
    leaves: HashMap<u64, Leaf>,
    /// Top-level vdevs by number.
    tops: Vec<Option<VdevConfig>>,
    /// The newest first.
    uberblocks: Vec<Uberblock>,
    notes: Notes,
}

/// What is unusual, and what of it is damage.
#[derive(Debug, Default)]
struct Notes {
    warnings: Vec<String>,
    damage: Vec<String>,
}

impl Notes {
    fn warn(&mut self, text: String) {
        self.warnings.push(text);
    }

    fn damage(&mut self, text: String) {
        self.damage.push(text.clone());
        self.warnings.push(text);
    }
}

/// `POOL_STATE_EXPORTED`.
const EXPORTED: u64 = 1;

fn text(list: &NvList, name: &str) -> Option<String> {
    list.string(name).map(|text| String::from_utf8_lossy(text).into_owned())
}

/// How many top-level vdevs there are, or at least how many are known of: before version 19 of pools
/// labels do not tell.
fn count_tops<'l>(labels: impl Iterator<Item = &'l NvList>) -> usize {
    let known = |label: &NvList| {
        let id = label.list("vdev_tree").and_then(|tree| tree.u64("id"));
        let told = label.u64("vdev_children").unwrap_or(1);
        told.max(id.filter(|id| *id < MAX_TOPS).map_or(0, |id| id + 1)).min(MAX_TOPS)
    };
    labels.map(known).max().unwrap_or(1) as usize
}

/// Why a device with this label holds nothing of a pool, if so.
fn aside(label: &NvList) -> Option<&'static str> {
    match (label.u64("pool_guid"), label::txg_of(label)) {
        (None, _) => Some("a spare or cache device"),
        // So they are labelled first; it gets its number when the pool has written that it is in.
        (_, 0) => Some("a device that was to join the pool, but did not"),
        _ => None,
    }
}

fn search(devices: &[Device]) -> Result<Found, ReadError> {
    let mut labels: Vec<(&Device, DeviceLabels)> = Vec::new();
    let mut notes = Notes::default();
    let mut failure = None;
    for device in devices {
        match label::read(&*device.data) {
            Ok(found) => labels.push((device, found)),
            Err(problem) => {
                notes.warn(format!("{}: no ZFS label: {problem}", device.name));
                failure = Some(ReadError::NoLabel { device: device.name.clone(), problem });
            }
        }
    }
    let guid_of = |labels: &DeviceLabels| labels.config.u64("pool_guid");
    labels.retain(|(device, found)| {
        let Some(what) = aside(&found.config) else { return true };
        notes.warn(format!("{}: {what}, not used", device.name));
        let (device, problem) = (device.name.clone(), what.to_owned());
        failure.get_or_insert(ReadError::NoMember { device, problem });
        false
    });
    let Some((first, found)) = labels.first() else {
        return Err(failure.unwrap_or(ReadError::NoDevice));
    };
    let name_of = |found: &DeviceLabels| text(&found.config, "name").unwrap_or_default();
    let guid = guid_of(found).unwrap_or(0);
    if let Some((second, other)) = labels.iter().find(|(_, other)| guid_of(other) != Some(guid)) {
        return Err(ReadError::SeveralPools {
            first: first.name.clone(),
            first_pool: name_of(found),
            second: second.name.clone(),
            second_pool: name_of(other),
        });
    }
    let txg = |labels: &DeviceLabels| label::txg_of(&labels.config);
    labels.sort_by_key(|(_, found)| core::cmp::Reverse(txg(found)));
    let Some((_, newest)) = labels.first() else {
        return Err(ReadError::NoDevice);
    };
    let (config, newest) = (newest.config.clone(), txg(newest));
    // An export writes all labels anew.
    let exported = config.u64("state") == Some(EXPORTED);
    let children = count_tops(labels.iter().map(|(_, found)| &found.config));
    let mut tops: Vec<Option<(u64, VdevConfig)>> = vec![None; children];
    let mut leaves = HashMap::new();
    let mut uberblocks: Vec<Uberblock> = Vec::new();
    let mut stale = Vec::new();
    for (device, found) in &labels {
        for (number, problem) in &found.problems {
            let text = format!("{}: label {number} {problem}", device.name);
            // At the end of a device that grew there are no labels.
            match *number >= 2 && problem.ends_with(label::EMPTY) {
                true => notes.warn(text),
                false => notes.damage(text),
            }
        }
        for (number, problem) in &found.stale {
            stale.push((device, found, format!("label {number} {problem}")));
        }
        if txg(found) < newest {
            let text = format!(
                "its labels are of transaction group {}, those of the pool of {newest}: it may lack what was \
                 written since",
                txg(found)
            );
            stale.push((device, found, text));
        }
        if let Some(guid) = found.config.u64("guid") {
            let (name, data) = (device.name.clone(), Some(device.data.clone()));
            match leaves.entry(guid) {
                Entry::Vacant(entry) => drop(entry.insert(Leaf { guid, name, device: data })),
                Entry::Occupied(entry) => notes.damage(format!(
                    "{name} and {} both say that they are vdev {guid}; {name} is not used",
                    entry.get().name
                )),
            }
        }
        if let Some(tree) = found.config.list("vdev_tree") {
            let top = VdevConfig::from_nvlist(tree);
            if let (Ok(size), Some(needed)) = (device.data.size(), top.bytes_of_a_device())
                && size < needed
            {
                notes.damage(format!(
                    "{}: it has {size} bytes, and its vdev needs {needed}: the end is cut off",
                    device.name
                ));
            }
            let slot = usize::try_from(top.id).ok().and_then(|id| tops.get_mut(id));
            if let Some(slot) = slot
                && slot.as_ref().is_none_or(|(known, _)| *known < txg(found))
            {
                *slot = Some((txg(found), top));
            }
        }
        for uberblock in &found.uberblocks {
            if !uberblocks.contains(uberblock) {
                uberblocks.push(uberblock.clone());
            }
        }
    }
    uberblocks.sort_by_key(|uberblock| core::cmp::Reverse(uberblock.order()));
    let name = text(&config, "name").unwrap_or_default();
    let tops = tops.into_iter().map(|top| top.map(|(_, top)| top)).collect();
    let mut all = Found { name, guid, config, leaves, tops, uberblocks, notes };
    for (device, found, what) in stale {
        let offline = found.config.u64("guid").is_some_and(|guid| all.is_offline(guid));
        let text = format!("{}: {what}", device.name);
        match (exported, offline) {
            // Nothing was written to it any more, as was asked for.
            (_, true) => all.notes.warn(format!("{text}; it was taken offline")),
            (true, false) => all.notes.damage(text),
            (false, false) => all.notes.warn(text),
        }
    }
    Ok(all)
}

impl Found {
    fn vdev(&self, config: &VdevConfig) -> Result<Vdev, ReadError> {
        let find = |guid: u64| self.leaves.get(&guid).cloned();
        Vdev::new(config, &find, 0).map_err(|kind| ReadError::VdevKind { vdev: config.id, kind })
    }

    /// The vdevs as far as labels tell.
    fn label_vdevs(&self) -> Result<Vdevs, ReadError> {
        let top = |(id, top): (usize, &Option<VdevConfig>)| match top {
            Some(config) => self.vdev(config),
            None => Ok(Vdev::Absent(format!("vdev {id}"))),
        };
        Ok(Vdevs { tops: self.tops.iter().enumerate().map(top).collect::<Result<_, _>>()? })
    }

    /// What of too many devices being absent labels tell.
    fn losses(&self) -> Vec<String> {
        let holes = match self.config.get("hole_array") {
            Some(Value::U64Array(holes)) => &**holes,
            _ => &[],
        };
        let is_here = |guid: u64| self.leaves.contains_key(&guid);
        let loss = |(id, top): (u64, &Option<VdevConfig>)| match top {
            Some(top) => top.loss(&is_here),
            None if holes.contains(&id) => None,
            None => Some(format!("all devices of top-level vdev {id} are absent")),
        };
        (0..).zip(&self.tops).filter_map(loss).collect()
    }

    /// Whether the newest labels say that a device was taken out of use (`zpool offline`).
    fn is_offline(&self, guid: u64) -> bool {
        let tops = self.tops.iter().flatten();
        tops.flat_map(VdevConfig::walk)
            .any(|vdev| vdev.guid == guid && vdev.states.contains(&"offline"))
    }

    fn check(&self) -> Result<(), ReadError> {
        let version = self.config.u64("version").unwrap_or(0);
        if !(1..=28).contains(&version) && version != 5000 {
            return Err(ReadError::Version { pool: self.name.clone(), version });
        }
        if let Some(list) = self.config.list("features_for_read") {
            for (guid, _) in list.iter() {
                self.check_feature(&String::from_utf8_lossy(guid))?;
            }
        }
        Ok(())
    }

    fn check_feature(&self, guid: &str) -> Result<(), ReadError> {
        if features::is_readable(guid) {
            return Ok(());
        }
        Err(ReadError::Feature { pool: self.name.clone(), feature: guid.to_owned() })
    }
}

/// What is read of the MOS before anything else.
struct Mos {
    directory: BTreeMap<Box<[u8]>, OwnedValue>,
    features: Vec<FeatureState>,
    config: NvList,
    salt: Option<[u8; 32]>,
}

fn directory_number(directory: &BTreeMap<Box<[u8]>, OwnedValue>, name: &str) -> Option<u64> {
    match directory.get(name.as_bytes()) {
        Some(OwnedValue::U64(number)) => Some(*number),
        _ => None,
    }
}

fn load_mos(blocks: &Blocks, uberblock: &Uberblock) -> Result<Mos, ReadError> {
    let mos = Objset::open(blocks, "the MOS".into(), &uberblock.root)?;
    let object = mos.object_of_type(OBJECT_DIRECTORY, &[object_type::OBJECT_DIRECTORY])?;
    let directory: BTreeMap<_, _> =
        zap::entries(&object)?.into_iter().map(|entry| (entry.name, entry.value)).collect();
    let mut features = Vec::new();
    for (name, needed) in [("features_for_read", true), ("features_for_write", false)] {
        let Some(number) = directory_number(&directory, name) else { continue };
        for entry in zap::entries(&mos.object(number)?)? {
            if let OwnedValue::U64(references) = entry.value {
                let guid = String::from_utf8_lossy(&entry.name).into_owned();
                features.push(FeatureState { guid, references, needed_for_reading: needed });
            }
        }
    }
    features.sort_by(|a, b| a.guid.cmp(&b.guid));
    let number = directory_number(&directory, "config")
        .ok_or_else(|| object.damaged("it names no configuration"))?;
    let packed = mos.object_of_type(number, &[object_type::PACKED_NVLIST])?;
    let length = super::dnode::u64_at(&packed.dnode.bonus, 0);
    let bytes = packed.read_start(length, MAX_CONFIG)?;
    let config = decode_xdr(&bytes).map_err(|source| ReadError::Nvlist {
        what: "the configuration in the MOS".to_owned(),
        source,
    })?;
    let salt = match directory.get(&b"org.illumos:checksum_salt"[..]) {
        Some(OwnedValue::Bytes(bytes)) => bytes.first_chunk().copied(),
        _ => None,
    };
    Ok(Mos { directory, features, config, salt })
}

impl Pool {
    /// Opens the pool that is on `devices`. Devices may be missing as long as what is read can be
    /// had from the others.
    pub fn open(devices: &[Device]) -> Result<Self, ReadError> {
        let mut found = search(devices)?;
        found.check()?;
        let blocks = Blocks::new(found.label_vdevs()?);
        let mut failure = None;
        let mut opened = None;
        for uberblock in found.uberblocks.iter().take(MAX_REWIND) {
            match load_mos(&blocks, uberblock) {
                Ok(mos) => {
                    opened = Some((uberblock.clone(), mos));
                    break;
                }
                Err(error) => {
                    let txg = uberblock.txg;
                    found.notes.damage(format!("transaction group {txg} cannot be used: {error}"));
                    failure.get_or_insert(error);
                }
            }
        }
        let Some((uberblock, mos)) = opened else {
            let pool = found.name.clone();
            // Then all else follows from it.
            if let Some(problem) = found.losses().into_iter().next() {
                return Err(ReadError::Devices { pool, problem });
            }
            return Err(failure.unwrap_or(ReadError::NoUberblock { pool }));
        };
        Self::finish(found, uberblock, mos, &blocks)
    }

    fn finish(
        mut found: Found,
        uberblock: Uberblock,
        mos: Mos,
        first: &Blocks,
    ) -> Result<Self, ReadError> {
        for feature in &mos.features {
            if feature.needed_for_reading && feature.references > 0 {
                found.check_feature(&feature.guid)?;
            }
        }
        let root = mos.config.list("vdev_tree").map(VdevConfig::from_nvlist).unwrap_or_default();
        let mut tops: Vec<Vdev> = Vec::new();
        for config in &root.children {
            tops.push(found.vdev(config)?);
        }
        let dynamic = |feature: &FeatureState| {
            feature.guid == "com.klarasystems:dynamic_gang_header" && feature.references > 0
        };
        let mut blocks = Blocks::new(Vdevs { tops });
        blocks.checksums = Checksums::new(mos.salt.as_ref());
        blocks.dynamic_gangs = mos.features.iter().any(dynamic);
        load_mappings(&mut blocks, &uberblock, &root)?;
        let (lacking, errors) = missing::load(&blocks, &uberblock, &root)?;
        for error in errors {
            found.notes.warn(format!("what a disk lacks is not known: {error}"));
        }
        let mut missing = BTreeMap::new();
        for top in &mut blocks.vdevs.tops {
            top.prefer_whole(&lacking);
            top.name_missing(&lacking, &mut missing);
        }

        let members: Vec<Member> = root
            .walk()
            .filter(|vdev| vdev.is_leaf())
            .map(|vdev| Member {
                guid: vdev.guid,
                path: vdev.name(),
                device: found.leaves.get(&vdev.guid).map(|leaf| leaf.name.clone()),
            })
            .collect();
        for member in members.iter().filter(|member| member.device.is_none()) {
            let text = format!("device {} ({}) is absent", member.path, member.guid);
            match found.is_offline(member.guid) {
                true => found.notes.warn(format!("{text}; it was taken offline")),
                false => found.notes.damage(text),
            }
        }
        let is_known = |guid: u64| members.iter().any(|member| member.guid == guid);
        let mut strangers: Vec<&Leaf> =
            found.leaves.values().filter(|leaf| !is_known(leaf.guid)).collect();
        strangers.sort_unstable_by_key(|leaf| leaf.guid);
        for Leaf { name, guid, .. } in strangers {
            let text = format!("{name} says that it is vdev {guid}, which is not in the pool");
            found.notes.damage(text);
        }
        let sum = root.guid_sum();
        if sum != uberblock.guid_sum {
            found.notes.damage(format!(
                "the uberblock's sum of GUIDs is {}, that of the configuration {sum}",
                uberblock.guid_sum
            ));
        }
        let state = match found.config.u64("state").unwrap_or(0) {
            0 => PoolState::Active,
            EXPORTED => PoolState::Exported,
            2 => PoolState::Destroyed,
            other => PoolState::Other(other),
        };
        if state != PoolState::Exported {
            found.notes.warn(format!(
                "the pool was not exported; its state at transaction group {} is used",
                uberblock.txg
            ));
        }
        for fault in first.faults() {
            found.notes.warn(format!("a copy of a block of the MOS is bad: {fault}"));
        }
        let host = text(&mos.config, "hostname").zip(mos.config.u64("hostid"));
        let rewound = found.uberblocks.first().is_some_and(|newest| *newest != uberblock);
        Ok(Self {
            rewound,
            name: text(&mos.config, "name").unwrap_or(found.name),
            guid: found.guid,
            state,
            uberblock,
            vdevs: root.children,
            members,
            host,
            features: mos.features,
            warnings: found.notes.warnings,
            damage: found.notes.damage,
            config: mos.config,
            blocks,
            missing,
            keyring: Keyring::default(),
            directory: mos.directory,
        })
    }

    /// Gives passphrases and keys with which encrypted datasets may be opened.
    pub fn set_secrets(&mut self, secrets: Vec<Secret>) {
        self.keyring = Keyring::new(secrets);
    }

    /// The meta object set.
    pub fn mos(&self) -> Result<Objset<'_>, ReadError> {
        Objset::open(&self.blocks, "the MOS".into(), &self.uberblock.root)
    }

    /// An object that the object directory names.
    pub(crate) fn directory_object<'p>(
        &'p self,
        mos: &Objset<'p>,
        name: &str,
    ) -> Result<Option<Object<'p>>, ReadError> {
        match directory_number(&self.directory, name) {
            Some(number) if number != 0 => mos.object(number).map(Some),
            _ => Ok(None),
        }
    }

    /// What was wrong so far with copies of blocks that could be read all the same.
    pub fn faults(&self) -> Vec<CopyFault> {
        self.blocks.faults()
    }

    /// Name and size in bytes of the devices that are here, by the GUIDs of their vdevs.
    pub fn devices(&self) -> BTreeMap<u64, (String, u64)> {
        let leaves = self.blocks.vdevs.tops.iter().flat_map(Vdev::leaves);
        leaves
            .filter_map(|leaf| {
                let size = leaf.device.as_ref()?.size().ok()?;
                Some((leaf.guid, (leaf.name.clone(), size)))
            })
            .collect()
    }

    /// The least that can be allocated of a top-level vdev, in bytes: what a gang header takes.
    pub(crate) fn smallest_allocation(&self, vdev: u64) -> u64 {
        let config = usize::try_from(vdev).ok().and_then(|at| self.vdevs.get(at));
        let Some(config) = config else { return 512 };
        config.stripes().map_or(1 << config.ashift.clamp(9, 24), |stripes| stripes.asize(512))
    }

    /// What `asize` allocated bytes of a top-level vdev are charged: on raidz less, as if every
    /// block had the share of parity that one of 128 KiB has (`vdev_deflate_ratio`).
    pub(crate) fn charged(&self, vdev: u64, asize: u64) -> u64 {
        let config = usize::try_from(vdev).ok().and_then(|at| self.vdevs.get(at));
        let Some(stripes) = config.and_then(VdevConfig::stripes) else { return asize };
        if directory_number(&self.directory, "deflate").unwrap_or(0) == 0 {
            return asize;
        }
        let ratio = (1 << 17) / (stripes.asize(1 << 17) >> 9).max(1);
        (asize >> 9).saturating_mul(ratio)
    }

    /// Which top-level vdevs lack more devices than they can do without: what lies there cannot be read.
    pub fn losses(&self) -> Vec<String> {
        let is_here = |guid: u64| {
            self.members.iter().any(|member| member.guid == guid && member.device.is_some())
        };
        self.vdevs.iter().filter_map(|vdev| vdev.loss(&is_here)).collect()
    }

    /// Whether a feature is in use.
    pub fn feature_is_active(&self, guid: &str) -> bool {
        self.features.iter().any(|feature| feature.guid == guid && feature.references > 0)
    }
}

/// Loads what tells where the blocks of removed vdevs are. Such a mapping may itself lie on a vdev
/// that was removed later, so they are tried until none is left.
fn load_mappings(
    blocks: &mut Blocks,
    uberblock: &Uberblock,
    root: &VdevConfig,
) -> Result<(), ReadError> {
    let mut left: Vec<(usize, u64)> = root
        .children
        .iter()
        .enumerate()
        .filter(|(_, vdev)| vdev.kind == "indirect")
        .filter_map(|(at, vdev)| Some((at, vdev.indirect_mapping?)))
        .collect();
    while !left.is_empty() {
        let before = left.len();
        let mut failure = None;
        let mut loaded = Vec::new();
        left.retain(|&(at, number)| match mapping(blocks, uberblock, number) {
            Ok(mapping) => {
                loaded.push((at, mapping));
                false
            }
            Err(error) => {
                failure = Some(error);
                true
            }
        });
        for (at, mapping) in loaded {
            if let Some(top) = blocks.vdevs.tops.get_mut(at) {
                *top = Vdev::Indirect(mapping);
            }
        }
        if left.len() == before {
            return failure.map_or(Ok(()), Err);
        }
    }
    Ok(())
}

fn mapping(blocks: &Blocks, uberblock: &Uberblock, number: u64) -> Result<Mapping, ReadError> {
    let mos = Objset::open(blocks, "the MOS".into(), &uberblock.root)?;
    let object = mos.object(number)?;
    let count = super::dnode::u64_at(&object.dnode.bonus, 16);
    let bytes = object.read_start(count.saturating_mul(24), MAX_MAPPING)?;
    Ok(Mapping::parse(&bytes, count as usize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nvlist::Value;

    #[test]
    fn labels_tell_how_many_vdevs_there_are_or_which_they_are_of() {
        let label = |id: u64, children: Option<u64>| {
            let tree = NvList::new().with("id", id);
            let label = NvList::new().with("vdev_tree", Value::List(tree));
            children.into_iter().fold(label, |label, count| label.with("vdev_children", count))
        };
        let count = |labels: &[NvList]| count_tops(labels.iter());
        assert_eq!(count(&[label(0, None), label(2, None), label(1, None)]), 3);
        assert_eq!(count(&[label(0, Some(4))]), 4);
        assert_eq!(count(&[label(u64::MAX, None), label(0, Some(u64::MAX))]), MAX_TOPS as usize);
        assert_eq!(count(&[NvList::new()]), 1);
    }

    #[test]
    fn labels_of_devices_that_hold_nothing_of_a_pool() {
        let member = NvList::new().with("pool_guid", 7u64).with("txg", 4u64);
        assert_eq!(aside(&member), None);
        let joining = NvList::new().with("pool_guid", 7u64).with("txg", 0u64);
        assert!(aside(&joining).unwrap().contains("did not"));
        assert!(aside(&NvList::new().with("state", 3u64)).unwrap().contains("spare"));
    }

    /// As `ztest` makes them.
    #[test]
    fn a_mirror_of_raidz_has_the_stripes_of_one() {
        let disk = || NvList::new().with("type", "file");
        let raidz = || {
            let disks: Vec<NvList> = (0..4).map(|_| disk()).collect();
            NvList::new().with("type", "raidz").with("nparity", 2u64).with("children", disks)
        };
        let mirror = NvList::new()
            .with("type", "mirror")
            .with("ashift", 9u64)
            .with("asize", 4u64 << 20)
            .with("children", vec![raidz(), raidz()]);
        let config = VdevConfig::from_nvlist(&mirror);
        assert_eq!(config.stripes().map(|stripes| stripes.children()), Some(4));
        assert_eq!(config.bytes_of_a_device(), Some((1 << 20) + (4 << 20) + (512 << 10)));
        assert!(Vdev::new(&config, &|_| None, 0).is_ok());
    }
}
