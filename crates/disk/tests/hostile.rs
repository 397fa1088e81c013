//! Images that somebody made to do harm: errors that say what is wrong, in little time and memory.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::{self, Write};

use blk::{Memory, ReadAt};
use disk::Guid;
use disk::export::{Identity, ImageWriter};
use disk::image::{self, Alone, Companions, Format, OpenError, Opened};
use disk::vhd::format as vhd;
use disk::vhdx::format as vhdx;
use disk::vmdk::format as vmdk;
use zerocopy::{FromZeros, IntoBytes};

fn open(bytes: Vec<u8>, format: Format) -> Result<Opened, OpenError> {
    image::open(Box::new(Memory::from(bytes)), Some(format), &Alone)
}

/// The header of a sparse extent of `capacity` sectors whose grain directory is in the second sector.
fn sparse_header(capacity: u64, grain_size: u64) -> vmdk::SparseHeader {
    vmdk::SparseHeader {
        magic: vmdk::MAGIC,
        version: 3.into(),
        flags: 0.into(),
        capacity: capacity.into(),
        grain_size: grain_size.into(),
        descriptor_offset: 0.into(),
        descriptor_size: 0.into(),
        grains_in_table: vmdk::GRAINS_IN_TABLE.into(),
        redundant_directory: 0.into(),
        directory: 1.into(),
        overhead: 0.into(),
        unclean_shutdown: 0,
        newlines: vmdk::NEWLINES,
        compression: vmdk::COMPRESSION_NONE.into(),
        reserved: [0; 433],
    }
}

#[test]
fn grains_of_different_lengths_from_the_same_bytes() {
    let (grain, last) = (4096, 8);
    let mut header = sparse_header(2 * grain + last, grain);
    header.flags = (vmdk::FLAG_COMPRESSED | vmdk::FLAG_MARKERS).into();
    header.compression = vmdk::COMPRESSION_DEFLATE.into();
    let content = vec![7; (grain * vmdk::SECTOR) as usize];
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    zlib.write_all(&content).unwrap();
    let stream = zlib.finish().unwrap();
    // Directory, table of four sectors, the one stream.
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(&2_u32.to_le_bytes());
    bytes.resize(2 * 512, 0);
    for entry in [0, 6, 6_u32] {
        bytes.extend_from_slice(&entry.to_le_bytes());
    }
    bytes.resize(6 * 512, 0);
    let marker = vmdk::GrainMarker { sector: 0.into(), size: (stream.len() as u32).into() };
    bytes.extend_from_slice(marker.as_bytes());
    bytes.extend_from_slice(&stream);

    let disk = open(bytes, Format::Vmdk).unwrap().disk;
    let mut part = [0; 100];
    disk.read_exact_at(&mut part, 2 * grain * vmdk::SECTOR).unwrap();
    assert_eq!(part, [7; 100]);
    let mut part = vec![0; 1 << 20];
    disk.read_exact_at(&mut part, grain * vmdk::SECTOR).unwrap();
    assert!(part == content[..1 << 20]);
}

/// A VHDX whose log of 1 MiB holds `log`, and nothing else.
fn with_log(guid: Guid, log: &[u8]) -> Vec<u8> {
    let mut header = vhdx::Header::new_zeroed();
    header.signature = vhdx::HEADER_SIGNATURE;
    header.version = vhdx::VERSION.into();
    header.log_guid = guid;
    header.log_length = (1 << 20).into();
    header.log_offset = (1 << 20).into();
    header.checksum = vhdx::crc32c(header.as_bytes(), 4).into();
    let mut bytes = vec![0; 2 << 20];
    bytes[..8].copy_from_slice(&vhdx::FILE_SIGNATURE);
    let at = vhdx::HEADER_OFFSETS[0] as usize;
    bytes[at..at + vhdx::HEADER_SIZE].copy_from_slice(header.as_bytes());
    bytes[1 << 20..(1 << 20) + log.len()].copy_from_slice(log);
    bytes
}

/// The head of a log entry without changes, of `length` bytes.
fn log_head(guid: Guid, length: u32, promised: u64) -> vhdx::LogEntry {
    let mut entry = vhdx::LogEntry::new_zeroed();
    entry.signature = vhdx::LOG_SIGNATURE;
    entry.entry_length = length.into();
    entry.sequence_number = 1.into();
    entry.log_guid = guid;
    entry.last_file_offset = promised.into();
    entry
}

#[test]
fn a_log_that_promises_an_endless_file() {
    let guid = Guid::v4([7; 16]);
    for (promised, words) in [(1 << 30, "region table"), (u64::MAX - 4095, "128 TiB")] {
        let mut sector = log_head(guid, 4096, promised).as_bytes().to_vec();
        sector.resize(vhdx::LOG_SECTOR, 0);
        let crc = vhdx::crc32c(&sector, 4);
        sector[4..8].copy_from_slice(&crc.to_le_bytes());
        let error = open(with_log(guid, &sector), Format::Vhdx).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_log_that_would_be_summed_from_every_sector() {
    let guid = Guid::v4([7; 16]);
    let mut sector = log_head(guid, 1 << 20, 1 << 20).as_bytes().to_vec();
    sector.resize(vhdx::LOG_SECTOR, 0);
    let error = open(with_log(guid, &sector.repeat(256)), Format::Vhdx).unwrap_err().to_string();
    assert!(error.contains("overlap"), "{error}");
}

#[test]
fn a_grain_table_of_two_directory_entries() {
    let grains = u64::from(vmdk::GRAINS_IN_TABLE);
    let mut bytes = sparse_header(2 * grains, 1).as_bytes().to_vec();
    bytes.extend_from_slice(&[2_u32, 2].map(u32::to_le_bytes).concat());
    bytes.resize(6 * 512, 0);
    let mut sound = bytes.clone();
    sound[516] = 0;
    assert!(open(sound, Format::Vmdk).is_ok());
    let error = open(bytes, Format::Vmdk).unwrap_err().to_string();
    assert!(error.contains("two entries"), "{error}");
}

/// The same file under every name.
struct Same(Vec<u8>);

impl Companions for Same {
    fn beside(&self, _: &str) -> io::Result<Box<dyn ReadAt>> {
        Ok(Box::new(Memory::from(self.0.clone())))
    }

    fn backing(&self, _: usize, _: &str, _: bool) -> Result<Option<Box<dyn ReadAt>>, OpenError> {
        Ok(None)
    }
}

#[test]
fn a_descriptor_of_many_large_extents() {
    // Each has a directory of 36 MiB, and nothing in it.
    let entries = 9 << 20;
    let mut extent =
        sparse_header(entries * u64::from(vmdk::GRAINS_IN_TABLE), 1).as_bytes().to_vec();
    extent.resize((512 + 4 * entries) as usize, 0);
    let extents = Same(extent);
    let open = |count| {
        let text = "# Disk DescriptorFile\n".to_owned() + &"RW 8 SPARSE \"a\"\n".repeat(count);
        image::open(Box::new(Memory::from(text.into_bytes())), None, &extents)
    };
    assert!(open(1).is_ok());
    let error = open(2).unwrap_err().to_string();
    assert!(error.contains("64 MiB together"), "{error}");
}

#[test]
fn disks_over_a_parent_are_refused() {
    let mut footer = vhd::Footer::new_zeroed();
    footer.cookie = vhd::FOOTER_COOKIE;
    footer.disk_type = vhd::TYPE_DIFFERENCING.into();
    footer.checksum = footer.right_checksum().into();
    let error = open(footer.as_bytes().to_vec(), Format::Vhd).unwrap_err();
    assert!(matches!(error, OpenError::Elsewhere { .. }), "{error}");
    assert!(error.to_string().contains("differencing"), "{error}");

    // One of ours that says it has one.
    let file = tempfile::tempfile().unwrap();
    let size = 1 << 20;
    let vhdx = disk::export::Vhdx::new(file.try_clone().unwrap(), size, Identity([7; 32])).unwrap();
    Box::new(vhdx).finish().unwrap();
    let mut bytes = vec![0; ReadAt::size(&file).unwrap() as usize];
    ReadAt::read_exact_at(&file, &mut bytes, 0).unwrap();
    assert!(open(bytes.clone(), Format::Vhdx).is_ok());
    let item = bytes
        .windows(16)
        .position(|window| window == vhdx::ITEM_FILE_PARAMETERS.as_bytes())
        .unwrap();
    let region = bytes.windows(8).position(|window| window == vhdx::METADATA_SIGNATURE).unwrap();
    let offset: [u8; 4] = bytes[item + 16..item + 20].try_into().unwrap();
    bytes[region + u32::from_le_bytes(offset) as usize + 4] |= vhdx::HAS_PARENT as u8;
    let error = open(bytes, Format::Vhdx).unwrap_err();
    assert!(matches!(error, OpenError::Elsewhere { .. }), "{error}");
    assert!(error.to_string().contains("differencing"), "{error}");
}
