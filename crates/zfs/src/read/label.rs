//! Labels of one device: configuration and uberblocks.
//!
//! Source: OpenZFS `include/sys/vdev_impl.h`, `include/sys/uberblock_impl.h`,
//! `module/zfs/vdev_label.c`.

use blk::ReadAt;

use crate::blkptr::BlockPointer;
use crate::codec::{ByteOrder, Checksum, Checksums};
use crate::label::{LABEL_SIZE, MIN_DEVICE_SIZE, usable_size};
use crate::nvlist::{NvList, decode_xdr};
use crate::prelude::*;

const CONFIG_OFFSET: usize = 16 << 10;
const CONFIG_SIZE: usize = 112 << 10;
const RING_OFFSET: usize = 128 << 10;
const RING_SIZE: usize = 128 << 10;
const UBERBLOCK_MAGIC: u64 = 0x00ba_b10c;
const MMP_MAGIC: u64 = 0xa11c_ea11;

/// What is said of a label that was never written.
pub(crate) const EMPTY: &str = "empty";

/// The root of a pool at one transaction group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uberblock {
    /// Version of the pool, 5000 for all with features.
    pub version: u64,
    /// Transaction group that was synced.
    pub txg: u64,
    /// Sum of the GUIDs of the pool and all its vdevs.
    pub guid_sum: u64,
    /// When, in seconds since 1970.
    pub timestamp: u64,
    /// Newest version of the software that wrote the pool.
    pub software_version: u64,
    /// Interval of multihost writes in nanoseconds, 0 if multihost is off.
    pub mmp_delay: u64,
    /// Transaction group of a checkpoint's uberblock, in the checkpoint's uberblock only.
    pub checkpoint_txg: u64,
    /// Progress of an expansion of a raidz vdev, 0 if there is none.
    pub raidz_reflow: u64,
    /// Whether it was written by a big-endian machine.
    pub big_endian: bool,
    /// The meta object set.
    pub(crate) root: BlockPointer,
    /// What else orders uberblocks of one transaction group: the multihost sequence.
    mmp_sequence: u64,
}

impl Uberblock {
    /// Newer ones are greater.
    pub(crate) fn order(&self) -> (u64, u64, u64) {
        (self.txg, self.timestamp, self.mmp_sequence)
    }

    fn parse(slot: &[u8], big_endian: bool) -> Option<Self> {
        let word = |at: usize| {
            let bytes = *slot.get(8 * at..)?.first_chunk()?;
            Some(if big_endian { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) })
        };
        let mut root = [0; 16];
        for (at, slot) in root.iter_mut().enumerate() {
            *slot = word(5 + at)?;
        }
        let mmp = word(22)? == MMP_MAGIC;
        let mmp_config = word(24)?;
        // Sequence numbers are valid if bit 1 says so.
        let has_sequence = mmp && mmp_config & 2 != 0;
        Some(Self {
            version: word(1)?,
            txg: word(2)?,
            guid_sum: word(3)?,
            timestamp: word(4)?,
            root: BlockPointer::from_words(root),
            software_version: word(21)?,
            mmp_delay: if mmp { word(23)? } else { 0 },
            checkpoint_txg: word(25)?,
            raidz_reflow: word(26)?,
            big_endian,
            mmp_sequence: if has_sequence { mmp_config >> 32 & 0xffff } else { 0 },
        })
    }
}

/// What one device says.
#[derive(Debug)]
pub(crate) struct DeviceLabels {
    /// Configuration of the newest good label.
    pub config: NvList,
    /// What is wrong with each of the four labels.
    pub problems: Vec<(usize, String)>,
    /// Good labels that are not as new as the newest, or of another vdev: a pool that stopped while it wrote
    /// them may have some.
    pub stale: Vec<(usize, String)>,
    /// All good uberblocks.
    pub uberblocks: Vec<Uberblock>,
}

/// Checks an area of a label, which ends in its own checksum; tells whether it is big-endian.
fn check(area: &[u8], device_offset: u64) -> Option<bool> {
    let verifier = Checksums::label_verifier(device_offset);
    let judged = Checksums::new(None).verify_in_block(Checksum::Label, area, &verifier, false);
    judged.ok().map(|order| order == ByteOrder::Big)
}

/// Where the four labels of a device lie.
pub(crate) fn label_offsets(size: u64) -> [u64; 4] {
    let usable = usable_size(size);
    [0, LABEL_SIZE, usable.saturating_sub(2 * LABEL_SIZE), usable.saturating_sub(LABEL_SIZE)]
}

/// log₂ of a slot of the ring of uberblocks.
fn slot_shift(config: &NvList) -> u32 {
    let ashift = config.list("vdev_tree").and_then(|tree| tree.u64("ashift")).unwrap_or(0);
    (ashift as u32).clamp(10, 13)
}

/// What the label of a device says that it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Part of a pool, by its name and GUID.
    Member(String, u64),
    /// A spare or a cache device, which name no pool.
    Auxiliary,
}

/// `POOL_STATE_SPARE` and `POOL_STATE_L2CACHE`.
const AUXILIARY: [u64; 2] = [3, 4];

/// What a device is for, if it has a label.
pub fn probe(device: &dyn ReadAt) -> Option<Role> {
    let config = read(device).ok()?.config;
    match (config.string("name"), config.u64("pool_guid"), config.u64("state")) {
        (Some(name), Some(guid), _) => {
            Some(Role::Member(String::from_utf8_lossy(name).into_owned(), guid))
        }
        (_, _, Some(state)) if AUXILIARY.contains(&state) => Some(Role::Auxiliary),
        _ => None,
    }
}

/// Reads the labels of a device; the error says what is wrong with each of them.
pub(crate) fn read(device: &dyn ReadAt) -> Result<DeviceLabels, String> {
    let size = device.size().map_err(|error| error.to_string())?;
    if size < MIN_DEVICE_SIZE / 64 {
        return Err(format!("{size} bytes are too few for a vdev"));
    }
    let mut problems = Vec::new();
    let mut areas = Vec::new();
    let mut good: Vec<(usize, NvList)> = Vec::new();
    for (number, offset) in label_offsets(size).into_iter().enumerate() {
        let mut label = vec![0; LABEL_SIZE as usize];
        if let Err(error) = device.read_exact_at(&mut label, offset) {
            problems.push((number, format!("at {offset}: {error}")));
            continue;
        }
        match config_of(&label, offset) {
            Ok(config) => good.push((number, config)),
            Err(problem) => problems.push((number, format!("at {offset}: {problem}"))),
        }
        areas.push((offset, label));
    }
    // The first of the newest.
    let newest = good.iter().rev().max_by_key(|(_, config)| txg_of(config));
    let Some(config) = newest.map(|(_, config)| config.clone()) else {
        let all: Vec<_> =
            problems.into_iter().map(|(number, text)| format!("label {number} {text}")).collect();
        return Err(all.join("; "));
    };
    let stale = good.iter().filter_map(|(number, other)| Some((*number, stale(other, &config)?)));
    let stale = stale.collect();
    let shift = slot_shift(&config);
    let mut uberblocks: Vec<Uberblock> = Vec::new();
    for (offset, label) in &areas {
        for at in (RING_OFFSET..RING_OFFSET + RING_SIZE).step_by(1 << shift) {
            let Some(slot) = label.get(at..at + (1 << shift)) else { continue };
            let magic = slot.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
            if magic != Some(UBERBLOCK_MAGIC) && magic != Some(UBERBLOCK_MAGIC.swap_bytes()) {
                continue;
            }
            let big_endian = magic != Some(UBERBLOCK_MAGIC);
            if check(slot, offset + at as u64) != Some(big_endian) {
                continue;
            }
            let found = Uberblock::parse(slot, big_endian);
            if let Some(found) = found.filter(|found| !uberblocks.contains(found)) {
                uberblocks.push(found);
            }
        }
    }
    Ok(DeviceLabels { config, problems, stale, uberblocks })
}

/// Transaction group in which a label was written.
pub(crate) fn txg_of(config: &NvList) -> u64 {
    config.u64("txg").unwrap_or(0)
}

/// In what a label is behind the newest of its device.
fn stale(label: &NvList, newest: &NvList) -> Option<String> {
    for (field, what) in [("pool_guid", "pool"), ("guid", "vdev")] {
        if let (Some(guid), Some(expected)) = (label.u64(field), newest.u64(field))
            && guid != expected
        {
            return Some(format!("is of another {what}, {guid}, than the newest, {expected}"));
        }
    }
    let (txg, expected) = (txg_of(label), txg_of(newest));
    let text = || format!("is of transaction group {txg}, the newest of {expected}");
    (txg != expected).then(text)
}

fn config_of(label: &[u8], offset: u64) -> Result<NvList, String> {
    let area = label.get(CONFIG_OFFSET..CONFIG_OFFSET + CONFIG_SIZE).unwrap_or_default();
    if area.iter().all(|&byte| byte == 0) {
        return Err(EMPTY.to_owned());
    }
    let good = check(area, offset + CONFIG_OFFSET as u64).is_some();
    match decode_xdr(area) {
        Ok(config) if good => Ok(config),
        Ok(_) => Err("the checksum of the configuration is wrong".to_owned()),
        Err(_) if !good => Err("neither checksum nor configuration are right".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
