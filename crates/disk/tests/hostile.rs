//! Images that somebody made to do harm: errors that say what is wrong, in little time and memory.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::Write;

use blk::{Memory, ReadAt};
use disk::image::{self, Alone, Format, OpenError, Opened};
use disk::vmdk::format as vmdk;
use zerocopy::IntoBytes;

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
