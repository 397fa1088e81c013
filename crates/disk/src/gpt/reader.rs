//! Reads a table and checks both copies. Whatever the bytes, the answer is a value: memory is
//! bounded by [`MAX_ARRAY_BYTES`], nothing recurses and nothing panics.

use std::collections::BTreeMap;
use std::{fmt, io};

use blk::ReadAt;
use thiserror::Error;
use zerocopy::FromBytes;

use super::format::{
    ENTRY_SIZE, Entry, HEADER_SIZE, Header, MAX_ARRAY_BYTES, MBR_SIGNATURE, MBR_TYPE_PROTECTIVE,
    Mbr, MbrRecord, REVISION, SECTOR, SIGNATURE,
};
use super::{Lba, Partition, Table, TableError};
use crate::sums_agree;

/// Sectors of the largest disk whose bytes can be counted.
const MOST_SECTORS: u64 = u64::MAX / SECTOR;
/// Bytes of a sector of 4Kn disks.
const LARGE_SECTOR: u64 = 4096;

/// One of the two copies of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableCopy {
    /// At the start of the disk.
    Primary,
    /// At its end.
    Backup,
}

impl fmt::Display for TableCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "primary",
            Self::Backup => "backup",
        })
    }
}

/// A table found on a disk, and the state of everything that says the same.
#[derive(Debug)]
pub struct Found {
    /// The table.
    pub table: Table,
    /// The copy it was read from: the primary one, unless that is broken.
    pub used: TableCopy,
    /// First and last sector for partitions.
    pub usable: (Lba, Lba),
    /// Where the backup header lies or should lie. On a disk that grew this is not its end.
    pub backup_lba: Lba,
    /// Sectors that the table counts on and that are not there: the disk was cut off. Partitions may then
    /// reach behind its end, or lie there.
    pub missing: u64,
    /// What is wrong with the copy that was not used.
    pub other: Result<(), CopyError>,
    /// What is wrong with the protective MBR; without one Linux does not look at the GPT.
    pub mbr: Result<(), MbrError>,
}

/// No copy is good.
#[derive(Debug, Error)]
#[error("no valid GPT: primary copy: {primary}; backup copy: {backup}")]
pub struct ReadError {
    /// What is wrong with the primary copy.
    pub primary: CopyError,
    /// What is wrong with the backup copy.
    pub backup: CopyError,
}

/// What is wrong with one copy of a table.
#[derive(Debug, Error)]
pub enum CopyError {
    /// The disk failed or is too short.
    #[error("reading {length} bytes at offset {offset}: {source}")]
    Io {
        /// Byte offset.
        offset: u64,
        /// Bytes asked for.
        length: u64,
        /// The failure.
        source: io::Error,
    },
    /// There is no header.
    #[error("no header at offset {offset}: it starts with {found:02x?}, not with \"EFI PART\"")]
    Signature {
        /// Byte offset of the header.
        offset: u64,
        /// Its first bytes.
        found: [u8; 8],
    },
    /// A field of the header cannot be.
    #[error("the header at offset {offset} says {field} {value}; {expected}")]
    Field {
        /// Byte offset of the header.
        offset: u64,
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
        /// What would be right.
        expected: String,
    },
    /// Bytes are not those that were written.
    #[error(
        "the CRC of the {part} at offset {offset} is {computed:08x}, the header says {stored:08x}"
    )]
    Crc {
        /// Header or entries.
        part: &'static str,
        /// Its byte offset.
        offset: u64,
        /// CRC of what is there.
        computed: u32,
        /// CRC of what should be.
        stored: u32,
    },
    /// The entries contradict each other or the disk.
    #[error("the entries at offset {offset} are wrong: {source}")]
    Table {
        /// Byte offset of the entries.
        offset: u64,
        /// What is wrong.
        source: TableError,
    },
    /// It is good by itself, but the primary copy, which is good as well, says something else.
    #[error("the copy at offset {offset} differs from the primary one")]
    Differs {
        /// Byte offset of the header.
        offset: u64,
    },
}

/// What is wrong with a protective MBR.
#[derive(Debug, Error)]
pub enum MbrError {
    /// The disk failed.
    #[error("reading the MBR at offset 0: {0}")]
    Io(#[from] io::Error),
    /// The sector does not end in 55 AA.
    #[error("the MBR at offset 0 ends in {0:02x?}, not in 55 aa")]
    Signature([u8; 2]),
    /// No record of type EE.
    #[error("the MBR at offset 0 has no record of type ee")]
    NotProtective,
}

/// Reads the table of `disk`. The primary copy is believed when it is good by itself, else the
/// backup in the last sector; [`Found::other`] tells the state of the copy not used. Where there is no
/// backup either, the primary copy may be that of a larger disk: its end was cut off.
pub fn read<R: ReadAt + ?Sized>(disk: &R) -> Result<Found, ReadError> {
    let sectors = match disk.size() {
        Ok(size) => size / SECTOR,
        Err(error) => {
            let failed = |source| CopyError::Io { offset: 0, length: 0, source };
            let primary = failed(error.kind().into());
            return Err(ReadError { primary, backup: failed(error) });
        }
    };
    let primary = match read_copy(disk, TableCopy::Primary, Lba(1), sectors) {
        Ok(parsed) => return Ok(found(disk, parsed, sectors)),
        Err(error) => error,
    };
    let last = Lba(sectors.saturating_sub(1));
    let backup = match read_copy(disk, TableCopy::Backup, last, sectors) {
        Ok(Parsed { table, usable, .. }) => {
            return Ok(Found {
                table,
                used: TableCopy::Backup,
                usable,
                backup_lba: last,
                missing: 0,
                other: Err(primary),
                mbr: check_mbr(disk),
            });
        }
        Err(error) => error,
    };
    match read_copy(disk, TableCopy::Primary, Lba(1), MOST_SECTORS) {
        Ok(parsed) => Ok(found(disk, parsed, sectors)),
        Err(primary) => Err(ReadError { primary, backup }),
    }
}

/// What a good primary copy says, on a disk of `sectors`.
fn found<R: ReadAt + ?Sized>(disk: &R, primary: Parsed, sectors: u64) -> Found {
    let Parsed { table, usable, alternate: backup_lba } = primary;
    let backup = read_copy(disk, TableCopy::Backup, backup_lba, MOST_SECTORS);
    let other = backup.and_then(|backup| {
        let same = backup.table == table && backup.usable == usable && backup.alternate == Lba(1);
        let offset = backup_lba.offset();
        if same { Ok(()) } else { Err(CopyError::Differs { offset }) }
    });
    let missing = (backup_lba.0.max(usable.1.0) + 1).saturating_sub(sectors);
    let (used, mbr) = (TableCopy::Primary, check_mbr(disk));
    Found { table, used, usable, backup_lba, missing, other, mbr }
}

/// A table of partitions that is not read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherTable {
    /// A GPT where disks with sectors of 4096 bytes (4Kn) have it.
    LargeSectors,
    /// An MBR with partitions, as before there was GPT.
    Mbr,
}

impl fmt::Display for OtherTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LargeSectors => "a GPT for sectors of 4096 bytes",
            Self::Mbr => "an MBR and no GPT",
        })
    }
}

/// The table of a disk on which [`read`] finds none.
pub fn other_table<R: ReadAt + ?Sized>(disk: &R) -> Option<OtherTable> {
    let mut signature = [0; SIGNATURE.len()];
    if disk.read_exact_at(&mut signature, LARGE_SECTOR).is_ok() && signature == SIGNATURE {
        return Some(OtherTable::LargeSectors);
    }
    // The first sector of a file system ends in the same two bytes, but has code where the records are.
    let Mbr { records, signature, .. } = read_mbr(disk).ok()?;
    let sound = |record: &MbrRecord| matches!(record.boot_indicator, 0 | 0x80);
    let used = |record: &MbrRecord| {
        let known = record.os_type != 0 && record.os_type != MBR_TYPE_PROTECTIVE;
        known && record.first_lba.get() != 0 && record.sectors.get() != 0
    };
    let is_mbr = signature == MBR_SIGNATURE && records.iter().all(sound);
    (is_mbr && records.iter().any(used)).then_some(OtherTable::Mbr)
}

fn read_mbr<R: ReadAt + ?Sized>(disk: &R) -> io::Result<Mbr> {
    let mut sector = [0; SECTOR as usize];
    disk.read_exact_at(&mut sector, 0)?;
    Ok(zerocopy::transmute!(sector))
}

fn check_mbr<R: ReadAt + ?Sized>(disk: &R) -> Result<(), MbrError> {
    let Mbr { records, signature, .. } = read_mbr(disk)?;
    if signature != MBR_SIGNATURE {
        return Err(MbrError::Signature(signature));
    }
    if !records.iter().any(|record| record.os_type == MBR_TYPE_PROTECTIVE) {
        return Err(MbrError::NotProtective);
    }
    Ok(())
}

struct Parsed {
    table: Table,
    usable: (Lba, Lba),
    alternate: Lba,
}

/// Reads the copy whose header is in sector `lba` of a disk that has `sectors`, or once had.
fn read_copy<R: ReadAt + ?Sized>(
    disk: &R,
    copy: TableCopy,
    lba: Lba,
    sectors: u64,
) -> Result<Parsed, CopyError> {
    let offset = lba.offset();
    let io = |offset, length| move |source| CopyError::Io { offset, length, source };
    let mut sector = [0; SECTOR as usize];
    disk.read_exact_at(&mut sector, offset).map_err(io(offset, SECTOR))?;
    let header = parse_header(&sector, copy, lba, sectors)?;

    let entries_offset = Lba(header.entries_lba.get()).offset();
    let mut array = vec![0; header.entry_count.get() as usize * header.entry_size.get() as usize];
    disk.read_exact_at(&mut array, entries_offset)
        .map_err(io(entries_offset, array.len() as u64))?;
    let (computed, stored) = (crc32fast::hash(&array), header.entries_crc.get());
    if !sums_agree(stored, computed) {
        return Err(CopyError::Crc { part: "entries", offset: entries_offset, computed, stored });
    }
    let table = Table {
        disk_guid: header.disk_guid,
        partitions: parse_entries(&array, header.entry_size.get() as usize),
    };
    let usable = (Lba(header.first_usable_lba.get()), Lba(header.last_usable_lba.get()));
    table
        .check_ranges(usable.0, usable.1)
        .map_err(|source| CopyError::Table { offset: entries_offset, source })?;
    Ok(Parsed { table, usable, alternate: Lba(header.alternate_lba.get()) })
}

/// Checks a header that was read from sector `lba` of a disk of `sectors`. Afterwards the array's
/// size and place, and the usable range, can be trusted.
fn parse_header(
    sector: &[u8; SECTOR as usize],
    copy: TableCopy,
    lba: Lba,
    sectors: u64,
) -> Result<Header, CopyError> {
    let offset = lba.offset();
    let (bytes, _) = sector.split_at(HEADER_SIZE as usize);
    let Ok(header) = Header::read_from_bytes(bytes) else {
        return Err(field(offset, "size", bytes.len() as u64, "a header is 92 bytes".into()));
    };
    if header.signature != SIGNATURE {
        return Err(CopyError::Signature { offset, found: header.signature });
    }
    let size = header.header_size.get();
    if size < HEADER_SIZE || u64::from(size) > SECTOR {
        let expected = format!("it must be {HEADER_SIZE} to {SECTOR}");
        return Err(field(offset, "header size", size.into(), expected));
    }
    let mut covered = *sector;
    covered[16..20].fill(0);
    let (computed, stored) = (crc32fast::hash(&covered[..size as usize]), header.header_crc.get());
    if !sums_agree(stored, computed) {
        return Err(CopyError::Crc { part: "header", offset, computed, stored });
    }
    check_fields(&header, copy, lba, sectors)?;
    Ok(header)
}

fn field(offset: u64, field: &'static str, value: u64, expected: String) -> CopyError {
    CopyError::Field { offset, field, value, expected }
}

fn check_fields(header: &Header, copy: TableCopy, lba: Lba, sectors: u64) -> Result<(), CopyError> {
    let offset = lba.offset();
    let require = |fine: bool, name, value: u64, expected: &dyn Fn() -> String| {
        if fine { Ok(()) } else { Err(field(offset, name, value, expected())) }
    };
    let revision = header.revision.get();
    require(revision == REVISION, "revision", revision.into(), &|| {
        format!("only {REVISION} is known")
    })?;
    let my = header.my_lba.get();
    require(my == lba.0, "its own sector is", my, &|| format!("it lies in sector {lba}"))?;
    let alternate = header.alternate_lba.get();
    require(
        alternate < sectors && alternate != my,
        "the other header's sector is",
        alternate,
        &|| format!("that must be another one of the disk's {sectors} sectors"),
    )?;

    let (count, size) = (header.entry_count.get(), header.entry_size.get());
    let sound_size = size >= ENTRY_SIZE && size.is_power_of_two();
    require(sound_size, "entry size", size.into(), &|| {
        format!("it must be a power of two from {ENTRY_SIZE}")
    })?;
    let bytes = u64::from(count) * u64::from(size);
    require(bytes <= MAX_ARRAY_BYTES, "entry count", count.into(), &|| {
        format!("with {size} bytes each that is more than {MAX_ARRAY_BYTES} bytes")
    })?;

    let (first, last) = (header.first_usable_lba.get(), header.last_usable_lba.get());
    require(last < sectors, "last usable sector", last, &|| {
        format!("the disk has {sectors} sectors")
    })?;
    // An empty usable range (`first` one above `last`) is a full disk, not a broken header.
    require(first <= last + 1, "first usable sector", first, &|| {
        format!("the last usable one is {last}")
    })?;
    let start = header.entries_lba.get();
    let end = start.saturating_add(bytes.div_ceil(SECTOR));
    let (low, high) = match copy {
        TableCopy::Primary => (2, first),
        TableCopy::Backup => (last + 1, lba.0),
    };
    require(start >= low && end <= high, "the entries' sector is", start, &|| {
        format!("they must lie in sectors {low}..{high}")
    })
}

fn parse_entries(array: &[u8], size: usize) -> BTreeMap<u32, Partition> {
    let mut partitions = BTreeMap::new();
    for (number, bytes) in (1..).zip(array.chunks_exact(size)) {
        let Ok((entry, _)) = Entry::read_from_prefix(bytes) else { continue };
        if entry.type_guid.is_nil() {
            continue;
        }
        let units = entry.name.iter().map(|unit| unit.get()).take_while(|&unit| unit != 0);
        let name = char::decode_utf16(units)
            .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect();
        let partition = Partition {
            type_guid: entry.type_guid,
            unique_guid: entry.unique_guid,
            first_lba: Lba(entry.first_lba.get()),
            last_lba: Lba(entry.last_lba.get()),
            attributes: entry.attributes.get(),
            name,
        };
        partitions.insert(number, partition);
    }
    partitions
}
