//! VHD: fixed as Azure wants it, and dynamic.

use std::fs::File;

use zerocopy::IntoBytes;
use zerocopy::big_endian::U32;

use super::verity::{self, Verity};
use super::{
    Identity, ImageWriter, Output, PIECE, Piece, WriteError, Written, at_most_2040_gib,
    whole_sectors,
};
use crate::vhd::format::{
    BLOCK_ABSENT, BLOCK_SIZE, DYNAMIC_COOKIE, DynamicHeader, FEATURE_RESERVED, FOOTER_COOKIE,
    Footer, Geometry, MAX_GEOMETRY_SECTORS, NO_OFFSET, SECTOR, TYPE_DYNAMIC, TYPE_FIXED, VERSION,
    bitmap_size,
};

/// Azure takes whole MiB only.
const MIB: u64 = 1 << 20;

/// Cylinders, heads and sectors as the specification's appendix computes them.
fn geometry(size: u64) -> Geometry {
    let total = (size / SECTOR).min(MAX_GEOMETRY_SECTORS);
    let (sectors, heads, cylinder_heads);
    if total >= 65535 * 16 * 63 {
        (sectors, heads, cylinder_heads) = (255, 16, total / 255);
    } else {
        let mut per_track = 17;
        let mut tracks = total / per_track;
        let mut count = tracks.div_ceil(1024).max(4);
        if tracks >= count * 1024 || count > 16 {
            (per_track, count) = (31, 16);
            tracks = total / per_track;
        }
        if tracks >= count * 1024 {
            (per_track, count) = (63, 16);
            tracks = total / per_track;
        }
        (sectors, heads, cylinder_heads) = (per_track, count, tracks);
    }
    Geometry {
        cylinders: ((cylinder_heads / heads) as u16).into(),
        heads: heads as u8,
        sectors: sectors as u8,
    }
}

fn footer(size: u64, kind: u32, identity: &Identity) -> Footer {
    let mut footer = Footer {
        cookie: FOOTER_COOKIE,
        features: FEATURE_RESERVED.into(),
        version: VERSION.into(),
        data_offset: if kind == TYPE_DYNAMIC { SECTOR } else { NO_OFFSET }.into(),
        timestamp: 0.into(),
        // Who calls itself otherwise is taken to mean the geometry, which is a little less.
        creator_application: *b"win ",
        creator_version: 0x000a_0000.into(),
        creator_host_os: *b"Wi2k",
        original_size: size.into(),
        current_size: size.into(),
        geometry: geometry(size),
        disk_type: kind.into(),
        checksum: 0.into(),
        unique_id: identity.guid("vhd").text_order(),
        saved_state: 0,
        reserved: [0; 427],
    };
    footer.checksum = footer.right_checksum().into();
    footer
}

/// Writes a fixed VHD: the disk, up to whole MiB, and a footer.
#[derive(Debug)]
pub struct FixedVhd {
    output: Output,
    size: u64,
    identity: Identity,
    verity: Option<Verity>,
}

impl FixedVhd {
    /// Starts an image of a disk of `size` bytes; pieces must bring their CRC-32.
    pub fn new(file: File, size: u64, identity: Identity) -> Result<Self, WriteError> {
        whole_sectors("VHD", size)?;
        // The limit is whole MiB: rounding does not get past it.
        at_most_2040_gib("VHD", size)?;
        let output = Output::new(file, "VHD")?;
        let size = size.next_multiple_of(MIB);
        output.set_length(size + SECTOR)?;
        Ok(Self { output, size, identity, verity: None })
    }

    /// Also computes the fs-verity digest; pieces must bring their hashes.
    #[must_use]
    pub fn with_verity(mut self) -> Self {
        self.verity = Some(Verity::default());
        self
    }
}

impl ImageWriter for FixedVhd {
    fn piece(&mut self, piece: &Piece<'_>) -> Result<(), WriteError> {
        self.identity.add(piece);
        if let Some(verity) = &mut self.verity {
            verity.add(piece.offset, piece.leaves_inside(self.size));
        }
        piece.runs(self.size, |offset, bytes| self.output.put(bytes, offset))
    }

    fn finish(mut self: Box<Self>) -> Result<Written, WriteError> {
        let footer = footer(self.size, TYPE_FIXED, &self.identity);
        self.output.put(footer.as_bytes(), self.size)?;
        let Self { size, verity, .. } = *self;
        let length = size + SECTOR;
        let verity = verity.map(|mut tree| {
            let mut leaf = Vec::new();
            verity::leaves(footer.as_bytes(), &mut leaf);
            tree.add(size, &leaf);
            tree.finish(length)
        });
        Ok(Written { verity, ..Written::new(length) })
    }
}

/// Writes a dynamic VHD.
#[derive(Debug)]
pub struct DynamicVhd {
    output: Output,
    size: u64,
    identity: Identity,
    table: Vec<U32>,
    /// Where the next block goes.
    end: u64,
}

/// Where the table lies: behind the footer's copy and the dynamic header.
const TABLE: u64 = 3 * SECTOR;

impl DynamicVhd {
    /// Starts an image of a disk of `size` bytes; pieces must bring their CRC-32.
    pub fn new(file: File, size: u64, identity: Identity) -> Result<Self, WriteError> {
        whole_sectors("VHD", size)?;
        at_most_2040_gib("dynamic VHD", size)?;
        let blocks = size.div_ceil(BLOCK_SIZE.into());
        let table = vec![BLOCK_ABSENT.into(); blocks as usize];
        let end = TABLE + (blocks * 4).next_multiple_of(SECTOR);
        Ok(Self { output: Output::new(file, "dynamic VHD")?, size, identity, table, end })
    }
}

impl ImageWriter for DynamicVhd {
    fn piece(&mut self, piece: &Piece<'_>) -> Result<(), WriteError> {
        self.identity.add(piece);
        let block = (piece.offset / u64::from(BLOCK_SIZE)) as usize;
        let bitmap = bitmap_size(BLOCK_SIZE);
        let Some(entry) = self.table.get_mut(block) else { return Ok(()) };
        if entry.get() == BLOCK_ABSENT {
            *entry = ((self.end / SECTOR) as u32).into();
            self.output.put(&vec![0xff; bitmap as usize], self.end)?;
            self.end += bitmap + u64::from(BLOCK_SIZE);
            self.output.set_length(self.end)?;
        }
        let start = u64::from(entry.get()) * SECTOR + bitmap;
        let shift = start.wrapping_sub(block as u64 * u64::from(BLOCK_SIZE));
        piece.runs(piece.offset + PIECE as u64, |offset, bytes| {
            self.output.put(bytes, offset.wrapping_add(shift))
        })
    }

    fn finish(mut self: Box<Self>) -> Result<Written, WriteError> {
        let footer = footer(self.size, TYPE_DYNAMIC, &self.identity);
        let mut header = DynamicHeader {
            cookie: DYNAMIC_COOKIE,
            data_offset: NO_OFFSET.into(),
            table_offset: TABLE.into(),
            version: VERSION.into(),
            max_table_entries: (self.table.len() as u32).into(),
            block_size: BLOCK_SIZE.into(),
            checksum: 0.into(),
            parent_unique_id: [0; 16],
            parent_timestamp: 0.into(),
            reserved: 0.into(),
            parent_name: [0; 512],
            parent_locators: [0; 192],
            reserved2: [0; 256],
        };
        header.checksum = header.right_checksum().into();
        let mut table = self.table.as_bytes().to_vec();
        table.resize(table.len().next_multiple_of(SECTOR as usize), 0xff);
        self.output.put(&table, TABLE)?;
        self.output.put(header.as_bytes(), SECTOR)?;
        self.output.put(footer.as_bytes(), self.end)?;
        self.output.put(footer.as_bytes(), 0)?;
        Ok(Written::new(self.end + SECTOR))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn geometries() {
        let of = |size| {
            let g = geometry(size);
            (g.cylinders.get(), g.heads, g.sectors)
        };
        // As qemu-img computes them.
        assert_eq!(of(8 << 30), (16644, 16, 63));
        assert_eq!(of(64 << 20), (963, 8, 17));
        assert_eq!(of(1 << 40), (65535, 16, 255));
    }

    #[test]
    fn disks_that_nobody_opens_are_refused() {
        let file = || tempfile::tempfile().unwrap();
        let identity = Identity([0; 32]);
        let fixed = |size| FixedVhd::new(file(), size, identity).map(drop);
        let dynamic = |size| DynamicVhd::new(file(), size, identity).map(drop);
        for new in [&fixed as &dyn Fn(u64) -> Result<(), WriteError>, &dynamic] {
            new(2040 << 30).unwrap();
            for size in [(2040 << 30) + 512, u64::MAX - 511] {
                let text = new(size).unwrap_err().to_string();
                assert!(text.contains("VHD: 2040 GiB are the most; take vhdx or qcow2"), "{text}");
            }
        }
    }
}
