//! How a volume is divided: boot sectors, FATs, clusters.

use super::FatError;
use super::format::{FATS, FIRST_CLUSTER, MIN_CLUSTERS, MIN_RESERVED, SECTOR};
use crate::export::PIECE;

/// The smallest volume in whole MiB that is FAT32.
pub const MIN_SIZE: u64 = 33 << 20;

/// Sectors of a cluster on volumes up to a size in bytes; 64 on larger ones.
const CLUSTER_SECTORS: [(u64, u32); 4] =
    [(260 << 20, 1), (8 << 30, 8), (16 << 30, 16), (32 << 30, 32)];

/// The first cluster lies at a multiple of this, in sectors: a unit in which images store content.
const ALIGNMENT: u32 = (PIECE as u64 / SECTOR) as u32;

/// The division of one volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Sectors of the volume.
    pub sectors: u32,
    /// Sectors before the first FAT.
    pub reserved: u32,
    /// Sectors of one FAT.
    pub fat_sectors: u32,
    /// Sectors of a cluster.
    pub cluster_sectors: u32,
    /// Number of clusters.
    pub clusters: u32,
}

impl Geometry {
    /// Divides a volume of `size` bytes, with clusters of the size Microsoft gives that volume.
    pub fn new(size: u64) -> Result<Self, FatError> {
        if !size.is_multiple_of(SECTOR) {
            return Err(FatError::Size { size });
        }
        let sectors = u32::try_from(size / SECTOR).map_err(|_| FatError::TooLarge { size })?;
        let cluster_sectors = CLUSTER_SECTORS
            .iter()
            .find(|(largest, _)| size <= *largest)
            .map_or(64, |&(_, cluster_sectors)| cluster_sectors);
        // Microsoft's formula: at most a few sectors more than needed, never less.
        let fat_sectors =
            sectors.saturating_sub(MIN_RESERVED).div_ceil((256 * cluster_sectors + FATS) / 2);
        let before = MIN_RESERVED + FATS * fat_sectors;
        let aligned = before.next_multiple_of(cluster_sectors.max(ALIGNMENT));
        let clusters = sectors.saturating_sub(aligned) / cluster_sectors;
        if u64::from(clusters) < MIN_CLUSTERS {
            return Err(FatError::TooSmall { size });
        }
        let reserved = MIN_RESERVED + (aligned - before);
        Ok(Self { sectors, reserved, fat_sectors, cluster_sectors, clusters })
    }

    /// Bytes of a cluster.
    pub fn cluster_size(&self) -> u64 {
        u64::from(self.cluster_sectors) * SECTOR
    }

    /// Clusters for `bytes`.
    pub fn clusters_for(&self, bytes: u64) -> u64 {
        bytes.div_ceil(self.cluster_size())
    }

    /// Byte offset of FAT `index`.
    pub fn fat_offset(&self, index: u32) -> u64 {
        (u64::from(self.reserved) + u64::from(index) * u64::from(self.fat_sectors)) * SECTOR
    }

    /// Byte offset of a cluster.
    pub fn cluster_offset(&self, cluster: u32) -> u64 {
        self.fat_offset(FATS) + u64::from(cluster - FIRST_CLUSTER) * self.cluster_size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_is_fat32() {
        let mib = (33..600).chain([1024, 8192, 8193, 16384, 16385, 32768, 32769, 2 << 20]);
        for size in mib.map(|mib: u64| (mib << 20) - if mib == 2 << 20 { SECTOR } else { 0 }) {
            let geometry = Geometry::new(size).unwrap();
            assert!(u64::from(geometry.clusters) >= MIN_CLUSTERS);
            assert!(u64::from(geometry.fat_sectors) * 128 >= u64::from(geometry.clusters) + 2);
            assert!(geometry.reserved < 0x1_0000);
            let end = geometry.cluster_offset(geometry.clusters + 1) + geometry.cluster_size();
            assert!(end <= size);
            assert_eq!(geometry.cluster_offset(2) % geometry.cluster_size(), 0);
        }
        assert_eq!(Geometry::new(1 << 30).unwrap().cluster_size(), 4096);
        assert!(matches!(Geometry::new(MIN_SIZE - (1 << 20)), Err(FatError::TooSmall { .. })));
        assert!(matches!(Geometry::new(0), Err(FatError::TooSmall { .. })));
        assert!(matches!(Geometry::new(1 << 41), Err(FatError::TooLarge { .. })));
        assert!(matches!(Geometry::new((1 << 30) + 1), Err(FatError::Size { .. })));
    }
}
