//! Writes a table with protective MBR, primary and backup copy.

use std::io;

use blk::WriteAt;
use thiserror::Error;
use zerocopy::{FromZeros, IntoBytes};

use super::format::{
    ARRAY_SECTORS, BACKUP_SECTORS, ENTRY_COUNT, ENTRY_SIZE, Entry, FIRST_USABLE, HEADER_SIZE,
    Header, MBR_SIGNATURE, MBR_TYPE_PROTECTIVE, Mbr, MbrRecord, NAME_UNITS, REVISION, SECTOR,
    SIGNATURE,
};
use super::{Lba, Partition, Table, TableError};

/// Why a table was not written.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The disk's size is not a number of sectors that leaves one for partitions.
    #[error(
        "a disk of {size} bytes cannot hold a GPT; it needs a multiple of {SECTOR} and at least {}",
        (FIRST_USABLE + 1 + BACKUP_SECTORS) * SECTOR
    )]
    Size {
        /// The disk's size in bytes.
        size: u64,
    },
    /// The table itself is wrong. Nothing was written.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The disk failed.
    #[error("writing the {part} of the partition table at offset {offset}")]
    Io {
        /// What was written.
        part: &'static str,
        /// Byte offset on the disk.
        offset: u64,
        /// The failure.
        source: io::Error,
    },
}

/// Writes `table` to `disk`, whose size decides where the backup goes. All of sector 0 is
/// replaced, boot code included. The table is checked before the first byte is written.
pub fn write<W: WriteAt + ?Sized>(disk: &W, table: &Table) -> Result<(), WriteError> {
    let size = disk.size().map_err(|source| WriteError::Io { part: "size", offset: 0, source })?;
    let sectors = size / SECTOR;
    if size % SECTOR != 0 || sectors <= FIRST_USABLE + BACKUP_SECTORS {
        return Err(WriteError::Size { size });
    }
    let last = sectors - 1;
    let last_usable = last - BACKUP_SECTORS;
    let array = entries(table)?;
    table.check_ranges(Lba(FIRST_USABLE), Lba(last_usable))?;

    let header = |my_lba: u64, alternate_lba: u64, entries_lba: u64| {
        let mut header = Header {
            signature: SIGNATURE,
            revision: REVISION.into(),
            header_size: HEADER_SIZE.into(),
            header_crc: 0.into(),
            reserved: 0.into(),
            my_lba: my_lba.into(),
            alternate_lba: alternate_lba.into(),
            first_usable_lba: FIRST_USABLE.into(),
            last_usable_lba: last_usable.into(),
            disk_guid: table.disk_guid,
            entries_lba: entries_lba.into(),
            entry_count: ENTRY_COUNT.into(),
            entry_size: ENTRY_SIZE.into(),
            entries_crc: crc32fast::hash(array.as_bytes()).into(),
        };
        header.header_crc = crc32fast::hash(header.as_bytes()).into();
        let mut sector = [0; SECTOR as usize];
        sector[..HEADER_SIZE as usize].copy_from_slice(header.as_bytes());
        sector
    };
    let backup_array = last - ARRAY_SECTORS;
    let put = |part, lba: u64, bytes: &[u8]| {
        let offset = Lba(lba).offset();
        disk.write_all_at(bytes, offset).map_err(|source| WriteError::Io { part, offset, source })
    };
    put("backup entries", backup_array, array.as_bytes())?;
    put("backup header", last, &header(last, 1, backup_array))?;
    put("entries", 2, array.as_bytes())?;
    put("header", 1, &header(1, last, 2))?;
    put("protective MBR", 0, protective_mbr(sectors).as_bytes())
}

fn entries(table: &Table) -> Result<Vec<Entry>, TableError> {
    let mut array = vec![Entry::new_zeroed(); ENTRY_COUNT as usize];
    for (&number, partition) in &table.partitions {
        let place = (number as usize).checked_sub(1).and_then(|index| array.get_mut(index));
        *place.ok_or(TableError::Number { number })? = entry(number, partition)?;
    }
    Ok(array)
}

fn entry(number: u32, partition: &Partition) -> Result<Entry, TableError> {
    let Partition { type_guid, unique_guid, first_lba, last_lba, attributes, name } = partition;
    let units: Vec<u16> = name.encode_utf16().collect();
    if units.len() > NAME_UNITS || units.contains(&0) {
        return Err(TableError::Name { number, name: name.clone() });
    }
    let mut entry = Entry {
        type_guid: *type_guid,
        unique_guid: *unique_guid,
        first_lba: first_lba.0.into(),
        last_lba: last_lba.0.into(),
        attributes: (*attributes).into(),
        name: [0.into(); NAME_UNITS],
    };
    for (place, unit) in entry.name.iter_mut().zip(units) {
        *place = unit.into();
    }
    Ok(entry)
}

/// Section 5.2.3: one record over the whole disk, or as much of it as 32 bits can say.
fn protective_mbr(sectors: u64) -> Mbr {
    let mut mbr = Mbr::new_zeroed();
    mbr.records[0] = MbrRecord {
        boot_indicator: 0,
        first_chs: [0x00, 0x02, 0x00],
        os_type: MBR_TYPE_PROTECTIVE,
        last_chs: [0xff; 3],
        first_lba: 1.into(),
        sectors: u32::try_from(sectors - 1).unwrap_or(u32::MAX).into(),
    };
    mbr.signature = MBR_SIGNATURE;
    mbr
}
