//! Reads fixed and dynamic images; differencing ones are refused.

use std::io;

use blk::{ReadAt, Window};
use zerocopy::FromBytes;
use zerocopy::big_endian::U32;

use super::format::{
    BLOCK_ABSENT, DYNAMIC_COOKIE, DynamicHeader, FOOTER_COOKIE, Footer, MAX_GEOMETRY_SECTORS,
    MAX_SIZE, SECTOR, TYPE_DIFFERENCING, TYPE_DYNAMIC, TYPE_FIXED, bitmap_size,
};
use crate::image::{Format, Host, Map, Mapped, OpenError, Place};
use crate::sums_agree;

/// The largest table read, in bytes: blocks of 64 KiB of the largest disk need less.
const MAX_TABLE: u64 = 128 << 20;
/// Writers whose disks are as large as the geometry says, not as the size does.
const COUNT_GEOMETRY: [[u8; 4]; 3] = [*b"vpc ", *b"vs  ", *b"qemu"];

/// Whether `file` starts with a footer's copy, or ends with a sound footer.
pub(crate) fn is_vhd(file: &dyn ReadAt) -> io::Result<bool> {
    let size = file.size()?;
    if size < SECTOR {
        return Ok(false);
    }
    let mut sector = [0; SECTOR as usize];
    for offset in [0, size - SECTOR] {
        file.read_exact_at(&mut sector, offset)?;
        let footer: Footer = zerocopy::transmute!(sector);
        let sound = sums_agree(footer.checksum.get(), footer.right_checksum());
        if footer.cookie == FOOTER_COOKIE && sound {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Opens an image.
pub(crate) fn open(file: Box<dyn ReadAt>) -> Result<Box<dyn ReadAt>, OpenError> {
    let host = Host::new(file, Format::Vhd)?;
    let (footer, at) = read_footer(&host)?;
    let size = guest_size(&footer);
    match footer.disk_type.get() {
        TYPE_FIXED => {
            let room = host.size().saturating_sub(SECTOR);
            host.require(
                size <= room,
                at + 48,
                "the disk's size",
                size,
                "the file is too short for that",
            )?;
            let window = Window::new(host.into_file(), 0..size).map_err(|source| {
                OpenError::Io { format: Format::Vhd, offset: 0, length: size, source }
            })?;
            Ok(Box::new(window))
        }
        TYPE_DYNAMIC => Ok(Box::new(Mapped::new(Reader::new(host, &footer, size)?))),
        TYPE_DIFFERENCING => {
            Err(host
                .elsewhere("is a differencing one over another image; merge it with that first"))
        }
        other => Err(host.unsupported(format!("has the unknown type {other}"))),
    }
}

/// The footer at the end or, when that is damaged, its copy at the start; and where it lies.
fn read_footer(host: &Host) -> Result<(Footer, u64), OpenError> {
    let end = host.size().saturating_sub(SECTOR);
    let mut last = None;
    for offset in [end, 0] {
        let footer: Footer = host.structure(offset, "the footer")?;
        if footer.cookie != FOOTER_COOKIE {
            let found = u64::from_be_bytes(footer.cookie);
            last = Some(host.field(offset, "the cookie", found, "it must be conectix".into()));
            continue;
        }
        let (stored, right) = (footer.checksum.get(), footer.right_checksum());
        if !sums_agree(stored, right) {
            let expected = format!("the bytes give {right:#x}");
            last = Some(host.field(offset + 64, "the checksum", stored.into(), expected));
            continue;
        }
        return Ok((footer, offset));
    }
    Err(last.unwrap_or_else(|| host.unsupported("has no footer")))
}

/// Virtual PC and old QEMU mean the geometry, all others the size (as QEMU's `block/vpc.c`).
fn guest_size(footer: &Footer) -> u64 {
    let geometry = u64::from(footer.geometry.cylinders.get())
        * u64::from(footer.geometry.heads)
        * u64::from(footer.geometry.sectors);
    if COUNT_GEOMETRY.contains(&footer.creator_application) && geometry != MAX_GEOMETRY_SECTORS {
        geometry * SECTOR
    } else {
        footer.current_size.get()
    }
}

struct Reader {
    host: Host,
    size: u64,
    block: u64,
    bitmap: u64,
    table_offset: u64,
    table: Vec<U32>,
}

impl Reader {
    fn new(host: Host, footer: &Footer, size: u64) -> Result<Self, OpenError> {
        let at = footer.data_offset.get();
        let header: DynamicHeader = host.structure(at, "the dynamic header")?;
        let cookie = u64::from_be_bytes(header.cookie);
        let known = header.cookie == DYNAMIC_COOKIE;
        host.require(known, at, "the cookie", cookie, "it must be cxsparse")?;
        let (stored, right) = (header.checksum.get(), header.right_checksum());
        host.require(
            sums_agree(stored, right),
            at + 36,
            "the checksum",
            stored.into(),
            &format!("the bytes give {right:#x}"),
        )?;
        let block = header.block_size.get();
        host.require(
            block.is_power_of_two() && u64::from(block) >= SECTOR,
            at + 32,
            "the block size",
            block.into(),
            "it must be a power of two of 512 bytes at least",
        )?;
        host.require(
            size <= MAX_SIZE && size.is_multiple_of(SECTOR),
            at + 48,
            "the disk's size",
            size,
            "it must be whole sectors and at most 2040 GiB",
        )?;
        let blocks = size.div_ceil(block.into());
        host.require(
            blocks <= header.max_table_entries.get().into() && blocks * 4 <= MAX_TABLE,
            at + 28,
            "the number of table entries",
            header.max_table_entries.get().into(),
            &format!("the disk has {blocks} blocks"),
        )?;
        let table_offset = header.table_offset.get();
        let bytes = host.bytes(table_offset, blocks * 4, "the block allocation table")?;
        let table = <[U32]>::ref_from_bytes(&bytes).map(<[U32]>::to_vec).unwrap_or_default();
        let bitmap = bitmap_size(block);
        Ok(Self { host, size, block: block.into(), bitmap, table_offset, table })
    }
}

impl Map for Reader {
    fn size(&self) -> u64 {
        self.size
    }

    fn locate(&self, guest: u64) -> Result<(Place, u64), OpenError> {
        let (index, within) = (guest / self.block, guest % self.block);
        let entry = self.table.get(index as usize).map_or(BLOCK_ABSENT, |entry| entry.get());
        let rest = self.block - within;
        if entry == BLOCK_ABSENT {
            return Ok((Place::Zeros, rest));
        }
        // Sectors never written are zeros in the block as well; the bitmap tells nothing more.
        let at = u64::from(entry) * SECTOR + self.bitmap + within;
        self.host.require(
            at < self.host.size(),
            self.table_offset + index * 4,
            "a block's sector",
            entry.into(),
            "the file is shorter",
        )?;
        Ok((Place::Stored(at), rest))
    }

    fn stored(&self, buf: &mut [u8], at: u64) -> Result<(), OpenError> {
        self.host.read(buf, at)
    }

    fn expand(&self, at: u64, packed: u64, _: &mut [u8]) -> Result<(), OpenError> {
        Err(self.host.compressed(at, packed, "are not possible"))
    }
}
