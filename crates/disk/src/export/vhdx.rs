//! VHDX, dynamic: blocks where there is data, an empty log.

use std::fs::File;

use zerocopy::IntoBytes;
use zerocopy::little_endian::U64;

use super::{Identity, ImageWriter, Output, PIECE, Piece, WriteError, Written, whole_sectors};
use crate::Guid;
use crate::vhdx::format::{
    ALIGNMENT, BLOCK_FULLY_PRESENT, FILE_SIGNATURE, FileParameters, HEADER_OFFSETS,
    HEADER_SIGNATURE, Header, ITEM_FILE_PARAMETERS, ITEM_LOGICAL_SECTOR_SIZE,
    ITEM_PHYSICAL_SECTOR_SIZE, ITEM_VIRTUAL_DISK_ID, ITEM_VIRTUAL_DISK_SIZE, MAX_DISK_SIZE,
    METADATA_REQUIRED, METADATA_SIGNATURE, METADATA_TABLE_SIZE, METADATA_VIRTUAL_DISK,
    MetadataEntry, MetadataTable, REGION_BAT, REGION_METADATA, REGION_SIGNATURE,
    REGION_TABLE_OFFSETS, REGION_TABLE_SIZE, RegionEntry, RegionTable, Reserved, VERSION,
    bat_entries, chunk_ratio, crc32c,
};

/// Guest bytes of a block.
const BLOCK: u32 = 2 << 20;
const LOGICAL_SECTOR: u32 = 512;
/// What kldload's pools are made for.
const PHYSICAL_SECTOR: u32 = 4096;
const LOG: u64 = ALIGNMENT;
const METADATA: u64 = 2 * ALIGNMENT;
const BAT: u64 = 3 * ALIGNMENT;

/// Writes a dynamic VHDX.
#[derive(Debug)]
pub struct Vhdx {
    output: Output,
    size: u64,
    identity: Identity,
    bat: Vec<U64>,
    end: u64,
}

impl Vhdx {
    /// Starts an image of a disk of `size` bytes; pieces must bring their CRC-32.
    pub fn new(file: File, size: u64, identity: Identity) -> Result<Self, WriteError> {
        whole_sectors("VHDX", size)?;
        if size > MAX_DISK_SIZE || size == 0 {
            let why = "it must be 512 bytes to 64 TiB";
            return Err(WriteError::Size { format: "VHDX", size, why });
        }
        let entries = bat_entries(size, LOGICAL_SECTOR, BLOCK);
        let bat = vec![0.into(); entries as usize];
        let end = BAT + (entries * 8).next_multiple_of(ALIGNMENT);
        Ok(Self { output: Output::new(file, "VHDX")?, size, identity, bat, end })
    }

    fn metadata(&self) -> Vec<u8> {
        let parameters = FileParameters { block_size: BLOCK.into(), flags: 0.into() };
        let id = self.identity.guid("vhdx disk");
        let (disk, both) = (METADATA_VIRTUAL_DISK | METADATA_REQUIRED, METADATA_REQUIRED);
        let items: [(Guid, &[u8], u32); 5] = [
            (ITEM_FILE_PARAMETERS, parameters.as_bytes(), both),
            (ITEM_VIRTUAL_DISK_SIZE, &self.size.to_le_bytes(), disk),
            (ITEM_VIRTUAL_DISK_ID, &id.0, disk),
            (ITEM_LOGICAL_SECTOR_SIZE, &LOGICAL_SECTOR.to_le_bytes(), disk),
            (ITEM_PHYSICAL_SECTOR_SIZE, &PHYSICAL_SECTOR.to_le_bytes(), disk),
        ];
        let table = MetadataTable {
            signature: METADATA_SIGNATURE,
            reserved: 0.into(),
            entry_count: (items.len() as u16).into(),
            reserved2: [0; 20],
        };
        let (mut head, mut values) = (table.as_bytes().to_vec(), Vec::new());
        for (item_id, value, flags) in items {
            let entry = MetadataEntry {
                item_id,
                offset: ((METADATA_TABLE_SIZE + values.len()) as u32).into(),
                length: (value.len() as u32).into(),
                flags: flags.into(),
                reserved: 0.into(),
            };
            head.extend_from_slice(entry.as_bytes());
            values.extend_from_slice(value);
        }
        head.resize(METADATA_TABLE_SIZE, 0);
        head.extend(values);
        head
    }

    fn regions(&self) -> Vec<u8> {
        let entry = |guid, offset: u64, length: u64| RegionEntry {
            guid,
            file_offset: offset.into(),
            length: (length as u32).into(),
            required: 1.into(),
        };
        let bat = (self.bat.len() as u64 * 8).next_multiple_of(ALIGNMENT);
        let table = RegionTable {
            signature: REGION_SIGNATURE,
            checksum: 0.into(),
            entry_count: 2.into(),
            reserved: 0.into(),
        };
        let mut bytes = table.as_bytes().to_vec();
        bytes.extend_from_slice(entry(REGION_BAT, BAT, bat).as_bytes());
        bytes.extend_from_slice(entry(REGION_METADATA, METADATA, ALIGNMENT).as_bytes());
        bytes.resize(REGION_TABLE_SIZE, 0);
        let crc = crc32c(&bytes, 4);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn header(&self, sequence: u64) -> Header {
        let mut header = Header {
            signature: HEADER_SIGNATURE,
            checksum: 0.into(),
            sequence_number: sequence.into(),
            file_write_guid: self.identity.guid("vhdx file"),
            data_write_guid: self.identity.guid("vhdx data"),
            log_guid: Guid::NIL,
            log_version: 0.into(),
            version: VERSION.into(),
            log_length: (ALIGNMENT as u32).into(),
            log_offset: LOG.into(),
            reserved: Reserved([0; 4016]),
        };
        header.checksum = crc32c(header.as_bytes(), 4).into();
        header
    }
}

impl ImageWriter for Vhdx {
    fn piece(&mut self, piece: &Piece<'_>) -> Result<(), WriteError> {
        self.identity.add(piece);
        let block = piece.offset / u64::from(BLOCK);
        let index = block + block / chunk_ratio(LOGICAL_SECTOR, BLOCK);
        let Some(entry) = self.bat.get_mut(index as usize) else { return Ok(()) };
        if entry.get() == 0 {
            *entry = (self.end | BLOCK_FULLY_PRESENT).into();
            self.end += u64::from(BLOCK);
            self.output.set_length(self.end)?;
        }
        let start = entry.get() & !(ALIGNMENT - 1);
        let shift = start.wrapping_sub(block * u64::from(BLOCK));
        piece.runs(piece.offset + PIECE as u64, |offset, bytes| {
            self.output.put(bytes, offset.wrapping_add(shift))
        })
    }

    fn finish(mut self: Box<Self>) -> Result<Written, WriteError> {
        self.output.set_length(self.end)?;
        self.output.put(self.bat.as_bytes(), BAT)?;
        self.output.put(&self.metadata(), METADATA)?;
        let regions = self.regions();
        for offset in REGION_TABLE_OFFSETS {
            self.output.put(&regions, offset)?;
        }
        for (sequence, offset) in (1..).zip(HEADER_OFFSETS) {
            self.output.put(self.header(sequence).as_bytes(), offset)?;
        }
        let creator: Vec<u8> = "kldload".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let mut start = FILE_SIGNATURE.to_vec();
        start.extend(creator);
        self.output.put(&start, 0)?;
        Ok(Written::new(self.end))
    }
}
