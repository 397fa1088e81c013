//! Vdev labels and uberblocks: the four places where a pool is found.
//!
//! Source: OpenZFS `include/sys/vdev_impl.h`, `include/sys/uberblock_impl.h`,
//! `module/zfs/vdev_label.c`. A label is 256 KiB: 8 KiB blank, 8 KiB boot environment block,
//! 112 KiB configuration, 128 KiB ring of uberblocks. Two labels begin the device, two end it.

use blk::io;

use blk::WriteAt;

use crate::blkptr::BlockPointer;
use crate::checksum::seal_label_block;
use crate::nvlist::{NvList, encode_xdr};
use crate::prelude::*;

/// Size of a label in bytes.
pub(crate) const LABEL_SIZE: u64 = 256 << 10;
/// Where allocatable space starts: after two labels and the boot area.
pub(crate) const DATA_START: u64 = 4 << 20;
/// The smallest device that OpenZFS accepts, in bytes.
pub const MIN_DEVICE_SIZE: u64 = 64 << 20;

const BOOT_ENV_OFFSET: u64 = 8 << 10;
const BOOT_ENV_SIZE: usize = 8 << 10;
const CONFIG_OFFSET: u64 = 16 << 10;
const CONFIG_SIZE: usize = 112 << 10;
/// Room for the nvlist before its checksum.
const CONFIG_MAX: usize = CONFIG_SIZE - 40;
const RING_OFFSET: u64 = 128 << 10;
const RING_SIZE: u64 = 128 << 10;

const UBERBLOCK_MAGIC: u64 = 0x00ba_b10c;
const MMP_MAGIC: u64 = 0xa11c_ea11;
/// Pool version of all pools with features.
pub(crate) const SPA_VERSION: u64 = 5000;

/// The root of everything: which transaction group, and where its meta object set is.
#[derive(Debug)]
pub(crate) struct Uberblock {
    pub txg: u64,
    /// Sum of the pool's GUID and of those of all vdevs.
    pub guid_sum: u64,
    /// Seconds since 1970.
    pub timestamp: u64,
    pub root: BlockPointer,
}

impl Uberblock {
    fn to_slot(&self, size: usize, device_offset: u64) -> Vec<u8> {
        let mut slot = Vec::with_capacity(size);
        for word in [UBERBLOCK_MAGIC, SPA_VERSION, self.txg, self.guid_sum, self.timestamp] {
            slot.extend_from_slice(&word.to_le_bytes());
        }
        slot.extend_from_slice(&self.root.to_bytes());
        // Software version; multihost is off: its magic with a delay of 0.
        for word in [SPA_VERSION, MMP_MAGIC] {
            slot.extend_from_slice(&word.to_le_bytes());
        }
        slot.resize(size, 0);
        seal_label_block(&mut slot, device_offset);
        slot
    }
}

/// Size of the part of a device that labels and blocks use: whole labels only.
pub(crate) fn usable_size(device_size: u64) -> u64 {
    device_size / LABEL_SIZE * LABEL_SIZE
}

/// Writes all four labels; the uberblock goes into its slot of the ring.
pub(crate) fn write_labels<W: WriteAt>(
    out: &W,
    usable_size: u64,
    ashift: u32,
    config: &NvList,
    uberblock: &Uberblock,
) -> io::Result<()> {
    let packed = encode_xdr(config);
    if packed.len() > CONFIG_MAX {
        return Err(io::Error::other(format!(
            "the label's configuration has {} bytes, more than {CONFIG_MAX}",
            packed.len()
        )));
    }
    let slot_size = (1u64 << ashift).clamp(1 << 10, 8 << 10);
    let slot_offset = RING_OFFSET + uberblock.txg % (RING_SIZE / slot_size) * slot_size;
    for start in label_offsets(usable_size) {
        let mut boot_env = vec![0; BOOT_ENV_SIZE];
        seal_label_block(&mut boot_env, start + BOOT_ENV_OFFSET);
        out.write_all_at(&boot_env, start + BOOT_ENV_OFFSET)?;

        let mut area = packed.clone();
        area.resize(CONFIG_SIZE, 0);
        seal_label_block(&mut area, start + CONFIG_OFFSET);
        out.write_all_at(&area, start + CONFIG_OFFSET)?;

        let at = start + slot_offset;
        out.write_all_at(&uberblock.to_slot(slot_size as usize, at), at)?;
    }
    Ok(())
}

fn label_offsets(usable_size: u64) -> [u64; 4] {
    [0, LABEL_SIZE, usable_size - 2 * LABEL_SIZE, usable_size - LABEL_SIZE]
}

/// Where the device's blocks and metaslabs lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// See [`usable_size`].
    pub usable_size: u64,
    /// Bytes of allocatable space.
    pub asize: u64,
    /// log₂ of a metaslab's size.
    pub metaslab_shift: u32,
}

impl Geometry {
    /// Follows `vdev_metaslab_set_size`, but takes 512 MiB from 4 GiB on, because the size never
    /// changes when an image grows to the size of its disk.
    pub(crate) fn new(device_size: u64) -> Option<Self> {
        if device_size < MIN_DEVICE_SIZE {
            return None;
        }
        let usable_size = usable_size(device_size);
        let asize = usable_size - DATA_START - 2 * LABEL_SIZE;
        let metaslab_shift = match asize {
            0..0x1_0000_0000 => (asize / 16).ilog2().clamp(20, 29),
            0x1_0000_0000..0x19_0000_0000 => 29,
            _ => (asize / 200).ilog2().clamp(29, 34),
        };
        Some(Self { usable_size, asize, metaslab_shift })
    }

    pub(crate) fn metaslabs(&self) -> usize {
        (self.asize >> self.metaslab_shift) as usize
    }
}

/// How large the pieces are in which a pool on a device of `device_size` bytes gives its space out: nothing smaller at
/// the end of a device is used. `None`: no pool can be there.
pub fn metaslab_size(device_size: u64) -> Option<u64> {
    Geometry::new(device_size).map(|geometry| 1 << geometry.metaslab_shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn geometry_follows_the_kernel() {
        let small = Geometry::new(64 << 20).unwrap();
        assert_eq!((small.metaslab_shift, small.metaslabs()), (21, 29));
        let usual = Geometry::new((8 << 30) + 12345).unwrap();
        assert_eq!((usual.metaslab_shift, usual.metaslabs()), (29, 15));
        let large = Geometry::new(1 << 40).unwrap();
        assert!((100..=400).contains(&large.metaslabs()));
        assert_eq!(Geometry::new((64 << 20) - 1), None);
    }
}
