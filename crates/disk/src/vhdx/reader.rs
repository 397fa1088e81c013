//! Reads fixed and dynamic images; differencing ones are refused. A log that was not replayed is
//! laid over what is read.

use blk::ReadAt;
use zerocopy::FromBytes;
use zerocopy::little_endian::{U32, U64};

use super::format::{
    ALIGNMENT, BAT_OFFSET, BAT_STATE, BLOCK_FULLY_PRESENT, BLOCK_NOT_PRESENT, BLOCK_SIZES,
    BLOCK_UNDEFINED, BLOCK_UNMAPPED, BLOCK_ZERO, FILE_SIGNATURE, FileParameters, HAS_PARENT,
    HEADER_OFFSETS, HEADER_SIGNATURE, HEADER_SIZE, Header, ITEM_FILE_PARAMETERS,
    ITEM_LOGICAL_SECTOR_SIZE, ITEM_PARENT_LOCATOR, ITEM_PHYSICAL_SECTOR_SIZE, ITEM_VIRTUAL_DISK_ID,
    ITEM_VIRTUAL_DISK_SIZE, MAX_DISK_SIZE, MAX_ENTRIES, METADATA_REQUIRED, METADATA_SIGNATURE,
    METADATA_TABLE_SIZE, MetadataEntry, MetadataTable, REGION_BAT, REGION_METADATA,
    REGION_SIGNATURE, REGION_TABLE_OFFSETS, REGION_TABLE_SIZE, RegionEntry, RegionTable, VERSION,
    bat_entries, chunk_ratio, crc32c,
};
use super::log::Overlay;
use crate::image::{Cache, Format, Host, Map, Mapped, OpenError, Place};
use crate::{Guid, sums_agree};

/// Bytes of the BAT read at once.
const PAGE: u64 = 64 << 10;
/// Such pages kept.
const PAGES: usize = 64;

/// Opens an image.
pub(crate) fn open(file: Box<dyn ReadAt>) -> Result<Box<dyn ReadAt>, OpenError> {
    let host = Host::new(file, Format::Vhdx)?;
    let signature = host.bytes(0, 8, "the signature")?;
    if signature != FILE_SIGNATURE {
        return Err(host.unsupported("does not start with vhdxfile"));
    }
    let (header, at) = read_header(&host)?;
    let version = header.version.get();
    host.require(version == VERSION, at + 66, "the version", version.into(), "only 1 is known")?;
    let overlay = Overlay::read(&host, &header, at)?;
    let file = LoggedFile { host, overlay };
    let regions = read_regions(&file)?;
    let disk = read_metadata(&file, regions.metadata)?;
    let entries = bat_entries(disk.size, disk.sector, disk.block);
    let (offset, length) = regions.bat;
    file.host.require(
        entries * 8 <= length,
        offset,
        "the length of the BAT",
        length,
        &format!("the disk needs {entries} entries"),
    )?;
    Ok(Box::new(Mapped::new(Reader {
        chunk: chunk_ratio(disk.sector, disk.block),
        block: disk.block.into(),
        size: disk.size,
        bat: offset,
        entries,
        pages: Cache::new(PAGES),
        file,
    })))
}

/// The file with its log laid over it.
struct LoggedFile {
    host: Host,
    overlay: Overlay,
}

impl LoggedFile {
    /// What lies behind the end of the file is zeros: the log may want it longer.
    fn read(&self, buf: &mut [u8], offset: u64) -> Result<(), OpenError> {
        self.host.read_padded(buf, offset)?;
        self.overlay.over(buf, offset);
        Ok(())
    }

    fn size(&self) -> u64 {
        self.host.size().max(self.overlay.file_size)
    }

    /// Nothing longer than a table (64 KiB) is asked for.
    fn bytes(&self, offset: u64, length: usize) -> Result<Vec<u8>, OpenError> {
        let mut bytes = vec![0; length];
        self.read(&mut bytes, offset)?;
        Ok(bytes)
    }
}

/// The good header with the higher sequence number, and where it lies.
fn read_header(host: &Host) -> Result<(Header, u64), OpenError> {
    let mut best: Option<(Header, u64)> = None;
    let mut problem = None;
    for offset in HEADER_OFFSETS {
        let bytes = host.bytes(offset, HEADER_SIZE as u64, "a header")?;
        let (computed, Ok(header)) = (crc32c(&bytes, 4), Header::read_from_bytes(&bytes)) else {
            continue;
        };
        if header.signature != HEADER_SIGNATURE || !sums_agree(header.checksum.get(), computed) {
            let expected = format!("the bytes give {computed:#x}");
            let stored = header.checksum.get();
            problem = Some(host.field(offset + 4, "a header's CRC", stored.into(), expected));
            continue;
        }
        let number = header.sequence_number.get();
        if best.as_ref().is_none_or(|(best, _)| number > best.sequence_number.get()) {
            best = Some((header, offset));
        }
    }
    match (best, problem) {
        (Some(best), _) => Ok(best),
        (None, Some(problem)) => Err(problem),
        (None, None) => Err(host.unsupported("has no header")),
    }
}

struct Regions {
    bat: (u64, u64),
    metadata: (u64, u64),
}

fn read_regions(file: &LoggedFile) -> Result<Regions, OpenError> {
    let host = &file.host;
    let mut problem = host.unsupported("has no region table");
    for offset in REGION_TABLE_OFFSETS {
        let bytes = file.bytes(offset, REGION_TABLE_SIZE)?;
        let Ok((table, rest)) = RegionTable::read_from_prefix(&bytes) else { continue };
        let computed = crc32c(&bytes, 4);
        let stored = table.checksum.get();
        if table.signature != REGION_SIGNATURE || !sums_agree(stored, computed) {
            let expected = format!("the bytes give {computed:#x}");
            problem = host.field(offset + 4, "a region table's CRC", stored.into(), expected);
            continue;
        }
        let count = table.entry_count.get() as usize;
        host.require(
            count <= MAX_ENTRIES,
            offset + 8,
            "the number of regions",
            count as u64,
            "at most 2047",
        )?;
        let (mut bat, mut metadata) = (None, None);
        for entry in rest.chunks_exact(size_of::<RegionEntry>()).take(count) {
            let Ok(entry) = RegionEntry::read_from_bytes(entry) else { continue };
            let place = (entry.file_offset.get(), u64::from(entry.length.get()));
            let sound = place.0 >= ALIGNMENT
                && place.0.is_multiple_of(ALIGNMENT)
                && place.1.is_multiple_of(ALIGNMENT)
                && place.1 > 0
                && place.0.checked_add(place.1).is_some_and(|end| end <= file.size());
            host.require(sound, offset, "a region's offset", place.0, "there is no such MiB")?;
            match entry.guid {
                REGION_BAT => bat = Some(place),
                REGION_METADATA => metadata = Some(place),
                other if entry.required.get() & 1 != 0 => {
                    return Err(host.unsupported(format!("needs the unknown region {other}")));
                }
                _ => {}
            }
        }
        return match (bat, metadata) {
            (Some(bat), Some(metadata)) => Ok(Regions { bat, metadata }),
            _ => Err(host.unsupported("lacks the region of the BAT or of the metadata")),
        };
    }
    Err(problem)
}

struct Disk {
    size: u64,
    sector: u32,
    block: u32,
}

fn read_metadata(file: &LoggedFile, (offset, length): (u64, u64)) -> Result<Disk, OpenError> {
    let host = &file.host;
    let bytes = file.bytes(offset, METADATA_TABLE_SIZE)?;
    let Ok((table, rest)) = MetadataTable::read_from_prefix(&bytes) else {
        return Err(host.unsupported("has no metadata table"));
    };
    let signature = u64::from_be_bytes(table.signature);
    let known = table.signature == METADATA_SIGNATURE;
    host.require(known, offset, "the metadata's signature", signature, "it must be metadata")?;
    let count = table.entry_count.get();
    host.require(
        usize::from(count) <= MAX_ENTRIES,
        offset + 10,
        "the number of metadata items",
        count.into(),
        "at most 2047",
    )?;
    let item = |guid: Guid| -> Result<[u8; 8], OpenError> {
        let entry = rest
            .chunks_exact(size_of::<MetadataEntry>())
            .take(count.into())
            .filter_map(|bytes| MetadataEntry::read_from_bytes(bytes).ok())
            .find(|entry| entry.item_id == guid);
        let Some(entry) = entry else {
            return Err(host.unsupported(format!("lacks the metadata item {guid}")));
        };
        let (at, size) = (u64::from(entry.offset.get()), u64::from(entry.length.get()));
        let sound = at >= METADATA_TABLE_SIZE as u64 && (4..=16).contains(&size);
        host.require(
            sound && at + size <= length,
            offset,
            "a metadata item's offset",
            at,
            "it must lie inside the region",
        )?;
        let mut value = [0; 8];
        let used = size.min(8) as usize;
        file.read(&mut value[..used], offset + at)?;
        Ok(value)
    };
    for bytes in rest.chunks_exact(size_of::<MetadataEntry>()).take(count.into()) {
        let Ok(entry) = MetadataEntry::read_from_bytes(bytes) else { continue };
        let known = [
            ITEM_FILE_PARAMETERS,
            ITEM_VIRTUAL_DISK_SIZE,
            ITEM_VIRTUAL_DISK_ID,
            ITEM_LOGICAL_SECTOR_SIZE,
            ITEM_PHYSICAL_SECTOR_SIZE,
            ITEM_PARENT_LOCATOR,
        ];
        if entry.flags.get() & METADATA_REQUIRED != 0 && !known.contains(&entry.item_id) {
            let guid = entry.item_id;
            return Err(host.unsupported(format!("needs the unknown metadata item {guid}")));
        }
    }
    let parameters: FileParameters = zerocopy::transmute!(item(ITEM_FILE_PARAMETERS)?);
    if parameters.flags.get() & HAS_PARENT != 0 {
        return Err(
            host.elsewhere("is a differencing one over another image; merge it with that first")
        );
    }
    let block = parameters.block_size.get();
    host.require(
        BLOCK_SIZES.contains(&block) && block.is_power_of_two(),
        offset,
        "the block size",
        block.into(),
        "it must be a power of two from 1 MiB to 256 MiB",
    )?;
    let sector: [U32; 2] = zerocopy::transmute!(item(ITEM_LOGICAL_SECTOR_SIZE)?);
    let sector = sector[0].get();
    let sound = sector == 512 || sector == 4096;
    host.require(sound, offset, "the sector size", sector.into(), "it must be 512 or 4096")?;
    let size: U64 = zerocopy::transmute!(item(ITEM_VIRTUAL_DISK_SIZE)?);
    let size = size.get();
    host.require(
        size <= MAX_DISK_SIZE && size.is_multiple_of(sector.into()),
        offset,
        "the disk's size",
        size,
        "it must be whole sectors and at most 64 TiB",
    )?;
    Ok(Disk { size, sector, block })
}

struct Reader {
    file: LoggedFile,
    size: u64,
    block: u64,
    /// Payload blocks before each sector bitmap entry.
    chunk: u64,
    bat: u64,
    entries: u64,
    pages: Cache<Vec<u8>>,
}

impl Map for Reader {
    fn size(&self) -> u64 {
        self.size
    }

    fn locate(&self, guest: u64) -> Result<(Place, u64), OpenError> {
        let (block, within) = (guest / self.block, guest % self.block);
        let rest = self.block - within;
        let index = block + block / self.chunk;
        let at = self.bat + index * 8;
        let page = index * 8 / PAGE * PAGE;
        let bytes = self.pages.get(page, || {
            let length = (self.entries * 8).saturating_sub(page).min(PAGE);
            self.file.bytes(self.bat + page, length as usize)
        })?;
        let start = (index * 8 - page) as usize;
        let entry = bytes.get(start..start + 8).and_then(|bytes| bytes.try_into().ok());
        let entry = u64::from_le_bytes(entry.unwrap_or_default());
        match entry & BAT_STATE {
            BLOCK_NOT_PRESENT | BLOCK_UNDEFINED | BLOCK_ZERO | BLOCK_UNMAPPED => {
                Ok((Place::Zeros, rest))
            }
            BLOCK_FULLY_PRESENT => {
                let offset = entry & BAT_OFFSET;
                let length = self.block.min(self.size - block * self.block);
                let end = offset.saturating_add(length);
                if offset < ALIGNMENT || end > self.file.size() {
                    let size = self.file.size();
                    let expected = format!("its {length} bytes do not lie in the file's {size}");
                    return Err(self.file.host.field(at, "a block's offset", offset, expected));
                }
                Ok((Place::Stored(offset + within), rest))
            }
            state => Err(self.file.host.field(
                at,
                "a block's state",
                state,
                "a disk without parent cannot have that".into(),
            )),
        }
    }

    fn stored(&self, buf: &mut [u8], at: u64) -> Result<(), OpenError> {
        self.file.read(buf, at)
    }

    fn expand(&self, at: u64, packed: u64, _: &mut [u8]) -> Result<(), OpenError> {
        Err(self.file.host.compressed(at, packed, "are not possible"))
    }
}
