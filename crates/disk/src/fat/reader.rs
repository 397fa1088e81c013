//! Which clusters of a FAT32 volume are in use. Files are not read here.

use std::io;

use blk::{RangeSet, ReadAt};
use thiserror::Error;
use zerocopy::FromBytes;
use zerocopy::little_endian::U32;

use super::format::{BootSector, FIRST_CLUSTER, MIN_CLUSTERS, SECTOR, SIGNATURE};

/// Why a volume is not understood.
#[derive(Debug, Error)]
pub enum FatReadError {
    /// The disk failed.
    #[error("reading the FAT volume at offset {offset}")]
    Io {
        /// Byte offset in the volume.
        offset: u64,
        /// The failure.
        source: io::Error,
    },
    /// It is something else, or of a kind that is not read here.
    #[error("not a FAT32 volume: {field} is {value}")]
    NotFat32 {
        /// What the boot sector says.
        field: &'static str,
        /// Its value.
        value: u64,
    },
}

/// The bytes of a volume that are in use: boot sectors, FATs, clusters that the first FAT does not
/// call free, and what lies behind the last cluster.
pub fn used<R: ReadAt + ?Sized>(volume: &R) -> Result<RangeSet, FatReadError> {
    let io = |offset| move |source| FatReadError::Io { offset, source };
    let size = volume.size().map_err(io(0))?;
    let mut sector = [0; SECTOR as usize];
    volume.read_exact_at(&mut sector, 0).map_err(io(0))?;
    let Ok(boot) = BootSector::read_from_bytes(&sector) else {
        return Err(FatReadError::NotFat32 { field: "the boot sector", value: 0 });
    };
    let require = |fine, field, value: u64| {
        if fine { Ok(()) } else { Err(FatReadError::NotFat32 { field, value }) }
    };
    require(
        boot.signature == SIGNATURE,
        "the signature",
        u16::from_le_bytes(boot.signature).into(),
    )?;
    let sector_size = u64::from(boot.bytes_per_sector.get());
    require(sector_size == SECTOR, "the sector size", sector_size)?;
    let per_cluster = u64::from(boot.sectors_per_cluster);
    require(per_cluster.is_power_of_two(), "the sectors of a cluster", per_cluster)?;
    let reserved = u64::from(boot.reserved_sectors.get());
    require(reserved > 0, "the reserved sectors", reserved)?;
    let (fats, fat_sectors) = (u64::from(boot.fats), u64::from(boot.fat_sectors.get()));
    require((1..=2).contains(&fats), "the number of FATs", fats)?;
    let old = u64::from(boot.fat_sectors_16.get()) + u64::from(boot.root_entries.get());
    require(old == 0 && fat_sectors > 0, "the FAT16 size", old)?;
    // Else only one FAT is kept, perhaps not the first.
    require(boot.flags.get() & 0x80 == 0, "the active FAT", boot.flags.get().into())?;
    let sectors = u64::from(boot.total_sectors.get());
    require(sectors * SECTOR <= size, "the number of sectors", sectors)?;
    let data = reserved + fats * fat_sectors;
    let clusters = sectors.saturating_sub(data) / per_cluster;
    require(clusters >= MIN_CLUSTERS, "the number of clusters", clusters)?;
    require((clusters + 2) * 4 <= fat_sectors * SECTOR, "the sectors of a FAT", fat_sectors)?;

    let mut used = RangeSet::new();
    used.insert(0..size);
    let mut chunk = vec![0; 64 << 10];
    let (mut cluster, mut free_from) = (0_u64, None);
    let place = |cluster: u64| (data + (cluster - u64::from(FIRST_CLUSTER)) * per_cluster) * SECTOR;
    while cluster < clusters + 2 {
        let offset = reserved * SECTOR + cluster * 4;
        let length = ((clusters + 2 - cluster) * 4).min(chunk.len() as u64) as usize;
        volume.read_exact_at(&mut chunk[..length], offset).map_err(io(offset))?;
        let entries = <[U32]>::ref_from_bytes(&chunk[..length]).unwrap_or_default();
        for (entry, number) in entries.iter().zip(cluster..) {
            let free = number >= FIRST_CLUSTER.into() && entry.get() & 0x0fff_ffff == 0;
            match (free, free_from) {
                (true, None) => free_from = Some(number),
                (false, Some(from)) => {
                    used.remove(place(from)..place(number));
                    free_from = None;
                }
                _ => {}
            }
        }
        cluster += length as u64 / 4;
    }
    if let Some(from) = free_from {
        used.remove(place(from)..place(clusters + 2));
    }
    Ok(used)
}
