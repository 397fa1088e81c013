//! A sparse extent: grains where grain tables say, perhaps compressed.

use zerocopy::FromBytes;
use zerocopy::little_endian::U32;

use super::format::{
    COMPRESSION_DEFLATE, COMPRESSION_NONE, DIRECTORY_AT_END, FLAG_COMPRESSED, FLAG_MARKERS,
    FLAG_NEWLINES, FLAG_ZERO_GRAINS, GRAIN_ABSENT, GRAIN_ZERO, GRAINS_IN_TABLE, GrainMarker, MAGIC,
    NEWLINES, SECTOR, SparseHeader,
};
use crate::image::{Cache, Host, Map, OpenError, Place, inflate};

/// Grain tables kept.
const TABLES: usize = 512;
/// All grain directories of an image together, in bytes: enough for 64 TiB with small grains.
pub(super) const MAX_DIRECTORY: u64 = 64 << 20;
/// The largest grain, in sectors: 2 MiB.
const MAX_GRAIN: u64 = 4096;

/// One sparse extent.
pub(super) struct Sparse {
    host: Host,
    size: u64,
    grain: u64,
    compressed: bool,
    markers: bool,
    zero_grains: bool,
    directory: Vec<U32>,
    tables: Cache<Vec<U32>>,
}

impl Sparse {
    /// The header, without a look at the grains, for what is embedded behind it.
    pub(super) fn header(host: &Host) -> Result<SparseHeader, OpenError> {
        let header: SparseHeader = host.structure(0, "the header")?;
        let magic = u32::from_be_bytes(header.magic);
        host.require(header.magic == MAGIC, 0, "the magic", magic.into(), "it must be KDMV")?;
        Ok(header)
    }

    /// Opens an extent whose grains make a disk of their own. `room` is what its directory may take,
    /// in bytes, and what is left of it then.
    pub(super) fn open(host: Host, room: &mut u64) -> Result<Self, OpenError> {
        let mut header = Self::header(&host)?;
        let mut at = 0;
        if header.directory.get() == DIRECTORY_AT_END {
            // The end of the stream: footer marker, footer, end marker.
            at = host.size().saturating_sub(2 * SECTOR);
            header = host.structure(at, "the footer")?;
            let magic = u32::from_be_bytes(header.magic);
            let footer = header.magic == MAGIC && header.directory.get() != DIRECTORY_AT_END;
            host.require(footer, at, "the footer's magic", magic.into(), "the file is cut off")?;
        }
        let flags = header.flags.get();
        let version = header.version.get();
        host.require(
            (1..=3).contains(&version),
            at + 4,
            "the version",
            version.into(),
            "1 to 3 are known",
        )?;
        host.require(
            flags & FLAG_NEWLINES == 0 || header.newlines == NEWLINES,
            at + 73,
            "the newline test",
            u32::from_be_bytes(header.newlines).into(),
            "the file was damaged by a transfer as text",
        )?;
        let compression = header.compression.get();
        let compressed = flags & FLAG_COMPRESSED != 0;
        host.require(
            compression == COMPRESSION_NONE && !compressed || compression == COMPRESSION_DEFLATE,
            at + 77,
            "the compression",
            compression.into(),
            "0 and 1 are known",
        )?;
        let (capacity, grain) = (header.capacity.get(), header.grain_size.get());
        host.require(
            grain.is_power_of_two() && grain <= MAX_GRAIN,
            at + 20,
            "the grain size",
            grain,
            "it must be a power of two of at most 4096 sectors",
        )?;
        let per_table = header.grains_in_table.get();
        host.require(
            per_table == GRAINS_IN_TABLE,
            at + 44,
            "the number of grains in a table",
            per_table.into(),
            "it must be 512",
        )?;
        let entries = capacity.div_ceil(grain * u64::from(GRAINS_IN_TABLE));
        let left = entries.checked_mul(4).and_then(|length| room.checked_sub(length));
        let Some(left) = left else {
            let expected = "the grain directories of an image take 64 MiB together at most";
            return Err(host.field(at + 12, "the capacity", capacity, expected.into()));
        };
        *room = left;
        let offset = header.directory.get().saturating_mul(SECTOR);
        let bytes = host.bytes(offset, entries * 4, "the grain directory")?;
        let directory = <[U32]>::ref_from_bytes(&bytes).map(<[U32]>::to_vec).unwrap_or_default();
        if let Some(table) = named_twice(&directory) {
            let expected = "two entries name this table";
            return Err(host.field(offset, "the grain directory", table.into(), expected.into()));
        }
        Ok(Self {
            size: capacity * SECTOR,
            grain: grain * SECTOR,
            compressed,
            markers: flags & FLAG_MARKERS != 0,
            zero_grains: flags & FLAG_ZERO_GRAINS != 0,
            directory,
            tables: Cache::new(TABLES),
            host,
        })
    }
}

/// The first grain table that two entries name. Then a small file would have more grains than anybody
/// can walk over.
fn named_twice(directory: &[U32]) -> Option<u32> {
    let mut tables: Vec<u32> = directory.iter().map(|entry| entry.get()).collect();
    tables.sort_unstable();
    tables.windows(2).find(|pair| pair[0] != 0 && pair[0] == pair[1]).map(|pair| pair[0])
}

impl Map for Sparse {
    fn size(&self) -> u64 {
        self.size
    }

    fn locate(&self, guest: u64) -> Result<(Place, u64), OpenError> {
        let (index, within) = (guest / self.grain, guest % self.grain);
        let per_table = u64::from(GRAINS_IN_TABLE);
        let rest = self.grain - within;
        let sector = |entry: &U32| u64::from(entry.get()) * SECTOR;
        let table = self.directory.get((index / per_table) as usize).map_or(0, sector);
        if table == 0 {
            let covers = self.grain * per_table;
            return Ok((Place::Zeros, covers - guest % covers));
        }
        let entries = self.tables.get(table, || {
            let bytes = self.host.bytes(table, per_table * 4, "a grain table")?;
            Ok(<[U32]>::ref_from_bytes(&bytes).map(<[U32]>::to_vec).unwrap_or_default())
        })?;
        let number = index % per_table;
        let entry = entries.get(number as usize).map_or(GRAIN_ABSENT, |entry| entry.get());
        if entry == GRAIN_ABSENT || entry == GRAIN_ZERO && self.zero_grains {
            return Ok((Place::Zeros, rest));
        }
        let at = u64::from(entry) * SECTOR;
        self.host.require(
            at < self.host.size(),
            table + number * 4,
            "a grain's sector",
            entry.into(),
            "the file is shorter",
        )?;
        if !self.compressed {
            return Ok((Place::Stored(at + within), rest));
        }
        let marker: GrainMarker = self.host.structure(at, "a grain's marker")?;
        let (head, packed) = if self.markers {
            (size_of::<GrainMarker>() as u64, u64::from(marker.size.get()))
        } else {
            let size = self.host.bytes(at, 4, "a grain's size")?;
            (4, size.try_into().map_or(0, u32::from_le_bytes).into())
        };
        // Deflate makes nothing much longer.
        self.host.require(
            packed > 0 && packed <= 2 * self.grain,
            at,
            "a grain's compressed size",
            packed,
            "that is no compressed grain",
        )?;
        // The last grain of some writers ends with the disk.
        let start = guest - within;
        let unit = self.grain.min(self.size - start);
        Ok((Place::Packed { at: at + head, packed, unit, skip: within }, rest))
    }

    fn stored(&self, buf: &mut [u8], at: u64) -> Result<(), OpenError> {
        // Writers may cut the last grain.
        self.host.read_padded(buf, at)
    }

    fn expand(&self, at: u64, packed: u64, unit: &mut [u8]) -> Result<(), OpenError> {
        let bytes = self.host.bytes(at, packed, "a compressed grain")?;
        inflate(&bytes, true, unit).map_err(|why| self.host.compressed(at, packed, why))
    }
}
