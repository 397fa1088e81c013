//! VMDK, stream-optimised: one pass from front to back, as vSphere and OVA want it.

use std::fs::File;

use zerocopy::IntoBytes;
use zerocopy::little_endian::U32;

use super::{
    Identity, ImageWriter, Output, PIECE, Piece, STORED, WriteError, Written, at_most_2040_gib,
    store, whole_sectors,
};
use crate::vmdk::format::{
    COMPRESSION_DEFLATE, DESCRIPTOR_LINE, DIRECTORY_AT_END, FLAG_COMPRESSED, FLAG_MARKERS,
    FLAG_NEWLINES, GRAIN_SECTORS, GRAINS_IN_TABLE, GrainMarker, MAGIC, MARKER_DIRECTORY,
    MARKER_END, MARKER_FOOTER, MARKER_TABLE, Marker, NEWLINES, SECTOR, SparseHeader,
};

/// Sectors of the embedded descriptor.
const DESCRIPTOR_SECTORS: u64 = 20;
/// Sectors before the first grain.
const OVERHEAD: u64 = 128;
/// A zlib header for a window of 32 KiB at most, fastest level.
const ZLIB_HEADER: [u8; 2] = [0x78, 0x01];
/// Guest bytes of a grain table.
const TABLE_COVERS: u64 = GRAINS_IN_TABLE as u64 * PIECE as u64;
/// Sectors of a grain table.
const TABLE_SECTORS: u64 = GRAINS_IN_TABLE as u64 * 4 / SECTOR;

const _: () = assert!(GRAIN_SECTORS * SECTOR == PIECE as u64);

/// Writes a stream-optimised VMDK.
#[derive(Debug)]
pub struct Vmdk {
    output: Output,
    /// Where the image starts in the output.
    start: u64,
    size: u64,
    table: Vec<U32>,
    current: Option<usize>,
    directory: Vec<U32>,
    /// A piece that did not shrink, as deflate.
    stored: Vec<u8>,
}

impl Vmdk {
    /// Starts an image of a disk of `size` bytes; `name` is what the descriptor calls the file.
    pub fn new(file: File, size: u64, name: &str, identity: &Identity) -> Result<Self, WriteError> {
        Self::inside(Output::new(file, "VMDK")?, size, name, identity)
    }

    /// Starts an image where the output is.
    pub fn inside(
        mut output: Output,
        size: u64,
        name: &str,
        identity: &Identity,
    ) -> Result<Self, WriteError> {
        whole_sectors(output.format(), size)?;
        // A disk that hardly shrinks may still be too large.
        at_most_2040_gib(output.format(), size)?;
        let capacity = size / SECTOR;
        let start = output.position();
        output.start_digest()?;
        output.append(header(capacity, DIRECTORY_AT_END).as_bytes())?;
        let mut text = descriptor(capacity, name, identity).into_bytes();
        text.resize((DESCRIPTOR_SECTORS * SECTOR) as usize, 0);
        output.append(&text)?;
        output.zeros((OVERHEAD - 1 - DESCRIPTOR_SECTORS) * SECTOR)?;
        Ok(Self {
            output,
            start,
            size,
            table: vec![0.into(); GRAINS_IN_TABLE as usize],
            current: None,
            directory: vec![0.into(); size.div_ceil(TABLE_COVERS) as usize],
            stored: Vec::with_capacity(STORED),
        })
    }

    /// The sector of the image at which the output is.
    fn sector(&self) -> u64 {
        (self.output.position() - self.start) / SECTOR
    }

    /// The same as tables tell it. A disk that hardly shrinks may outgrow that.
    fn entry(&self) -> Result<U32, WriteError> {
        let why = "its compressed data needs more than the 2 TiB a VMDK can address; take vhdx or \
                   qcow2";
        let (format, size) = (self.output.format(), self.size);
        let sector = u32::try_from(self.sector());
        sector.map(U32::new).map_err(|_| WriteError::Size { format, size, why })
    }

    fn marker(&mut self, kind: u32, sectors: u64) -> Result<(), WriteError> {
        let marker = Marker {
            sectors: sectors.into(),
            size: 0.into(),
            kind: kind.into(),
            reserved: [0; 496],
        };
        self.output.append(marker.as_bytes())
    }

    fn close_table(&mut self) -> Result<(), WriteError> {
        let Some(index) = self.current.take() else { return Ok(()) };
        self.marker(MARKER_TABLE, TABLE_SECTORS)?;
        let sector = self.entry()?;
        if let Some(entry) = self.directory.get_mut(index) {
            *entry = sector;
        }
        self.output.append(self.table.as_bytes())?;
        self.table.fill(0.into());
        Ok(())
    }

    /// Writes all that remains; the output, the bytes of the image and their digest.
    pub fn close(mut self) -> Result<(Output, u64, [u8; 32]), WriteError> {
        self.close_table()?;
        let sectors = (self.directory.len() as u64 * 4).div_ceil(SECTOR);
        self.marker(MARKER_DIRECTORY, sectors)?;
        let directory = self.sector();
        let start = self.start;
        self.output.append(self.directory.as_bytes())?;
        let used = self.directory.len() as u64 * 4;
        self.output.zeros(sectors * SECTOR - used)?;
        self.marker(MARKER_FOOTER, 1)?;
        self.output.append(header(self.size / SECTOR, directory).as_bytes())?;
        self.marker(MARKER_END, 0)?;
        let length = self.output.position() - start;
        let digest = self.output.take_digest()?.unwrap_or_default();
        Ok((self.output, length, digest))
    }
}

impl ImageWriter for Vmdk {
    fn piece(&mut self, piece: &Piece<'_>) -> Result<(), WriteError> {
        let table = (piece.offset / TABLE_COVERS) as usize;
        if self.current != Some(table) {
            self.close_table()?;
            self.current = Some(table);
        }
        let sector = self.entry()?;
        let index = (piece.offset % TABLE_COVERS) as usize / PIECE;
        if let Some(entry) = self.table.get_mut(index) {
            *entry = sector;
        }
        let packed = match piece.deflated {
            Some(deflated) => deflated,
            None => {
                self.stored.clear();
                store(piece.bytes, &mut self.stored);
                &self.stored
            }
        };
        let marker = GrainMarker {
            sector: (piece.offset / SECTOR).into(),
            size: ((ZLIB_HEADER.len() + packed.len() + 4) as u32).into(),
        };
        self.output.append(marker.as_bytes())?;
        self.output.append(&ZLIB_HEADER)?;
        self.output.append(packed)?;
        self.output.append(&piece.adler.to_be_bytes())?;
        self.output.align_from(self.start, SECTOR)
    }

    fn finish(self: Box<Self>) -> Result<Written, WriteError> {
        let (_, length, sha256) = self.close()?;
        Ok(Written { sha256: Some(sha256), ..Written::new(length) })
    }
}

fn header(capacity: u64, directory: u64) -> SparseHeader {
    SparseHeader {
        magic: MAGIC,
        version: 3.into(),
        flags: (FLAG_NEWLINES | FLAG_COMPRESSED | FLAG_MARKERS).into(),
        capacity: capacity.into(),
        grain_size: GRAIN_SECTORS.into(),
        descriptor_offset: 1.into(),
        descriptor_size: DESCRIPTOR_SECTORS.into(),
        grains_in_table: GRAINS_IN_TABLE.into(),
        redundant_directory: 0.into(),
        directory: directory.into(),
        overhead: OVERHEAD.into(),
        unclean_shutdown: 0,
        newlines: NEWLINES,
        compression: COMPRESSION_DEFLATE.into(),
        reserved: [0; 433],
    }
}

fn descriptor(capacity: u64, name: &str, identity: &Identity) -> String {
    let bytes = identity.bytes("vmdk");
    // ffffffff means that there is no parent, and fffffffe is not in use either.
    let cid = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) & 0x7fff_ffff;
    let cylinders = (capacity / (255 * 63)).clamp(1, 65535);
    let name: String =
        name.chars().map(|c| if c == '"' || c.is_control() { '_' } else { c }).take(200).collect();
    format!(
        "{DESCRIPTOR_LINE}\nversion=1\nCID={cid:08x}\nparentCID=ffffffff\n\
         createType=\"streamOptimized\"\n\n# Extent description\nRW {capacity} SPARSE \"{name}\"\n\n\
         # The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"14\"\n\
         ddb.geometry.cylinders = \"{cylinders}\"\nddb.geometry.heads = \"255\"\n\
         ddb.geometry.sectors = \"63\"\nddb.adapterType = \"lsilogic\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tables_cannot_address_is_refused() {
        let file = tempfile::tempfile().unwrap();
        let (size, identity) = (2036 << 30, Identity([7; 32]));
        let mut vmdk = Vmdk::new(file, size, "disk.vmdk", &identity).unwrap();
        let bytes = vec![7; PIECE];
        let write = |vmdk: &mut Vmdk, offset| {
            vmdk.piece(&Piece {
                offset,
                bytes: &bytes,
                deflated: None,
                adler: 0,
                crc: 0,
                leaves: &[],
            })
        };
        write(&mut vmdk, 0).unwrap();
        // As much as the disk has, in grains that did not shrink.
        let grown = (1 << 41) - vmdk.output.position();
        vmdk.output.skip(grown);
        let error = write(&mut vmdk, 1 << 16).unwrap_err();
        assert!(matches!(error, WriteError::Size { size: told, .. } if told == size), "{error}");
        assert!(matches!(vmdk.close(), Err(WriteError::Size { .. })));
    }
}
