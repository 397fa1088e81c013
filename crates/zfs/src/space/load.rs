//! Loading the space maps of all vdevs.

use alloc::collections::BTreeMap;
use core::ops::Range;

use super::VdevSpace;
use super::entry::{Entry, EntryKind, entries};
use crate::nvlist::NvList;
use crate::prelude::*;
use crate::read::zap;
use crate::read::{Object, Objset, Pool, ReadError, VdevConfig};
use crate::zap::OwnedValue;

/// Log space maps count in these, as they span vdevs.
const LOG_SHIFT: u32 = 9;
/// `space_map_phys_t.smp_length`.
const LENGTH_AT: usize = 8;
/// Most metaslabs of a vdev; OpenZFS aims for 200 and stops at 2^17.
const MAX_METASLABS: u64 = 1 << 24;

/// Kinds of top-level vdevs that have no space of their own (any more).
const SPACELESS: [&str; 3] = ["indirect", "hole", "missing"];

/// The space of every top-level vdev, or why it is not known. The error is for what concerns all.
pub(super) fn all(pool: &Pool) -> Result<Vec<Result<VdevSpace, ReadError>>, ReadError> {
    let mos = pool.mos()?;
    let zaps = vdev_zaps(&pool.config);
    let mut vdevs: Vec<_> = pool
        .vdevs
        .iter()
        .enumerate()
        .map(|(index, config)| Loading::new(&mos, config, zaps.get(index).copied().flatten()))
        .collect();
    logs(pool, &mos, &mut vdevs)?;
    Ok(vdevs.into_iter().map(|vdev| vdev.map(|loading| loading.space)).collect())
}

/// The ZAPs of the top-level vdevs, by number.
fn vdev_zaps(config: &NvList) -> Vec<Option<u64>> {
    let children = config.list("vdev_tree").and_then(|tree| tree.lists("children"));
    let zap = |vdev: &NvList| vdev.u64("com.delphix:vdev_zap_top").filter(|zap| *zap != 0);
    children.unwrap_or_default().iter().map(zap).collect()
}

/// A vdev whose space maps were applied, waiting for the logs.
struct Loading {
    space: VdevSpace,
    shift: u32,
    /// By metaslab: entries of logs from this transaction group on count.
    unflushed: Vec<u64>,
}

fn word_at(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

impl Loading {
    fn new(
        mos: &Objset<'_>,
        config: &VdevConfig,
        vdev_zap: Option<u64>,
    ) -> Result<Self, ReadError> {
        let shift = config.metaslab_shift;
        let mut loading = Self { space: VdevSpace::default(), shift, unflushed: Vec::new() };
        if SPACELESS.contains(&&*config.kind) {
            return Ok(loading);
        }
        let unknown = |problem: &str| Err(ReadError::damaged(config.name(), problem));
        let count = config.asize.checked_shr(shift).unwrap_or(0);
        if !(9..=50).contains(&shift) || shift < config.ashift || count > MAX_METASLABS {
            return unknown("its size or that of its metaslabs is impossible");
        }
        if !matches!(&*config.kind, "disk" | "file" | "mirror" | "replacing" | "spare" | "raidz") {
            return unknown("the space of this kind of vdev cannot be told");
        }
        loading.space.size = count << shift;
        loading.unflushed = vec![0; count as usize];
        if let Some(number) = vdev_zap {
            loading.read_vdev_zap(mos, number, config)?;
        }
        if config.metaslab_array == 0 {
            return unknown("it has no metaslabs");
        }
        let array = mos.object(config.metaslab_array)?;
        // It is as long as the last metaslab that was ever used; those behind it have no map.
        let length = array.dnode.capacity().min(8 * count);
        let maps = array.read_start(length, 8 * MAX_METASLABS)?;
        for (index, number) in (0u64..).zip(maps.as_chunks::<8>().0) {
            let number = u64::from_le_bytes(*number);
            // 0: nothing was ever allocated here.
            if number == 0 {
                continue;
            }
            let metaslab = index << shift..(index + 1) << shift;
            apply(&mos.object(number)?, &mut |entry| {
                let range = bytes_of(&entry, config.ashift, metaslab.start)?;
                if range.end > metaslab.end {
                    return None;
                }
                loading.space.note(entry.kind, range);
                Some(())
            })?;
        }
        Ok(loading)
    }

    fn read_vdev_zap(
        &mut self,
        mos: &Objset<'_>,
        number: u64,
        config: &VdevConfig,
    ) -> Result<(), ReadError> {
        let properties = mos.object(number)?;
        if let Some(number) = zap::number(&properties, b"com.delphix:ms_unflushed_phys_txgs")? {
            let array = mos.object(number)?;
            // It is as long as the metaslabs that were ever flushed.
            let length = array.dnode.capacity().min(8 * self.unflushed.len() as u64);
            let txgs = array.read_start(length, 8 * MAX_METASLABS)?;
            for (slot, txg) in self.unflushed.iter_mut().zip(txgs.as_chunks::<8>().0) {
                *slot = u64::from_le_bytes(*txg);
            }
        }
        // What a checkpoint keeps is still allocated in the space maps. This is for certainty.
        if let Some(number) = zap::number(&properties, b"com.delphix:pool_checkpoint_sm")? {
            apply(&mos.object(number)?, &mut |entry| {
                let range = bytes_of(&entry, config.ashift, 0)?;
                if range.end > self.space.size {
                    return None;
                }
                self.space.allocated.insert(range.clone());
                self.space.checkpoint.insert(range);
                Some(())
            })?;
        }
        Ok(())
    }
}

impl VdevSpace {
    fn note(&mut self, kind: EntryKind, range: Range<u64>) {
        match kind {
            EntryKind::Allocate => self.allocated.insert(range),
            EntryKind::Free => self.allocated.remove(range),
        }
    }
}

/// The bytes of an entry of a map that starts at `start` and counts in `1 << shift`.
fn bytes_of(entry: &Entry, shift: u32, start: u64) -> Option<Range<u64>> {
    let bytes = |units: u64| units.checked_mul(1 << shift);
    let from = start.checked_add(bytes(entry.offset)?)?;
    Some(from..from.checked_add(bytes(entry.run)?)?)
}

/// Gives all entries of a space map to `note`, which tells whether they make sense.
pub(crate) fn apply(
    map: &Object<'_>,
    note: &mut dyn FnMut(Entry) -> Option<()>,
) -> Result<(), ReadError> {
    let length = word_at(&map.dnode.bonus, LENGTH_AT);
    if length > map.dnode.capacity() || !length.is_multiple_of(8) {
        return Err(map.damaged(format!("a space map of {length} bytes is longer than its blocks")));
    }
    let size = u64::from(map.dnode.block_size);
    for number in 0..length.div_ceil(size) {
        let here = (length - number * size).min(size) as usize;
        let block = map.block(number)?;
        let Some(bytes) = block.as_deref().and_then(|block| block.get(..here)) else {
            return Err(map.damaged(format!("block {number} of a space map is a hole")));
        };
        let words = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        for entry in entries(words) {
            let sound = entry.ok().and_then(&mut *note);
            if sound.is_none() {
                let what = format!("block {number} of a space map has an impossible entry");
                return Err(map.damaged(what));
            }
        }
    }
    Ok(())
}

/// Applies the log space maps, the oldest first.
fn logs(
    pool: &Pool,
    mos: &Objset<'_>,
    vdevs: &mut [Result<Loading, ReadError>],
) -> Result<(), ReadError> {
    let Some(directory) = pool.directory_object(mos, "com.delphix:log_spacemap_zap")? else {
        return Ok(());
    };
    let mut logs = BTreeMap::new();
    for entry in zap::entries(&directory)? {
        let txg = core::str::from_utf8(&entry.name).ok();
        let txg = txg.and_then(|txg| u64::from_str_radix(txg, 16).ok());
        let (Some(txg), OwnedValue::U64(number)) = (txg, entry.value) else {
            return Err(directory.damaged("a log space map's name or number makes no sense"));
        };
        logs.insert(txg, number);
    }
    for (txg, number) in logs {
        apply(&mos.object(number)?, &mut |entry| {
            let range = bytes_of(&entry, LOG_SHIFT, 0)?;
            let vdev = vdevs.get_mut(usize::try_from(entry.vdev?).ok()?)?;
            // Vdevs that cannot be told anyway, and removed ones, whose space is elsewhere now.
            let Ok(loading) = vdev else { return Some(()) };
            if loading.space.size == 0 {
                return Some(());
            }
            if range.end > loading.space.size {
                return None;
            }
            let metaslab = usize::try_from(range.start >> loading.shift).ok()?;
            if txg >= *loading.unflushed.get(metaslab)? {
                loading.space.note(entry.kind, range);
            }
            Some(())
        })?;
    }
    Ok(())
}
