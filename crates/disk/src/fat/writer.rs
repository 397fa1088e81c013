//! Writes the planned volume: content, FATs, and the boot sector last.

use std::io::{self, Read};
use std::ops::Range;

use blk::WriteAt;
use tree::{Blobs, Extent, File, Timestamp, Tree};
use zerocopy::little_endian::U32;
use zerocopy::{FromZeros, IntoBytes};

use super::format::{
    ATTR_ARCHIVE, ATTR_DIRECTORY, ATTR_VOLUME_ID, BACKUP_SECTOR, BootSector, END_OF_CHAIN, Entry,
    FATS, FIRST_CLUSTER, FREE, FSINFO_SECTOR, FsInfo, MEDIA, SECTOR, SIGNATURE,
};
use super::geometry::Geometry;
use super::name::{is_short_byte, long_entries, push};
use super::plan::{Content, Node, Plan, plan};
use super::time::DosTime;
use super::{FatError, Options};

/// Bytes copied at once.
const BUFFER: usize = 1 << 20;

/// Makes `out`, all of it, a FAT32 volume with what is in `tree`; the content of files is read
/// from `blobs`. Only what is used is written: free clusters keep what they hold, so on a sparse
/// file they stay holes.
pub fn write(
    out: &dyn WriteAt,
    tree: &Tree,
    blobs: &dyn Blobs,
    options: &Options,
) -> Result<(), FatError> {
    let size = out.size().map_err(|source| FatError::Io { offset: 0, source })?;
    let geometry = Geometry::new(size)?;
    let label = padded_label(options.label)?;
    let plan = plan(tree, &geometry, label.is_some().into())?;
    let mut volume = Volume { out, geometry, buffer: vec![0; BUFFER] };
    volume.clear(0..geometry.fat_offset(FATS))?;
    for &index in &plan.order {
        let node = &plan.nodes[index];
        match &node.content {
            Content::Directory { .. } => {
                let stamp = Timestamp { seconds: options.timestamp, nanoseconds: 0 };
                volume.put_clusters(node, &directory(&plan, index, label.map(|l| (l, stamp))))?;
            }
            Content::File(file) => volume.copy(node, file, blobs)?,
        }
    }
    volume.put_fats(&plan)?;
    let fsinfo = fsinfo(&geometry, &plan);
    let boot = boot_sector(&geometry, options, label);
    for first in [BACKUP_SECTOR, 0] {
        let offset = u64::from(first) * SECTOR;
        volume.put(fsinfo.as_bytes(), offset + u64::from(FSINFO_SECTOR) * SECTOR)?;
        volume.put(boot.as_bytes(), offset)?;
    }
    Ok(())
}

fn padded_label(label: &str) -> Result<Option<[u8; 11]>, FatError> {
    let mut padded = [b' '; 11];
    let sound = label.bytes().all(|byte| byte == b' ' || is_short_byte(byte));
    match padded.get_mut(..label.len()) {
        Some(place) if sound && !label.starts_with(' ') => {
            place.copy_from_slice(label.as_bytes());
            Ok((!label.is_empty()).then_some(padded))
        }
        _ => Err(FatError::Label { label: label.to_owned() }),
    }
}

fn entry(name: [u8; 11], attributes: u8, moment: Timestamp) -> Entry {
    let DosTime { date, time, hundredths } = moment.into();
    Entry {
        name,
        attributes,
        reserved: 0,
        created_hundredths: hundredths,
        created_time: time.into(),
        created_date: date.into(),
        accessed_date: date.into(),
        cluster_high: 0.into(),
        written_time: time.into(),
        written_date: date.into(),
        cluster_low: 0.into(),
        size: 0.into(),
    }
}

fn at_cluster(entry: Entry, cluster: u32) -> Entry {
    Entry {
        cluster_high: ((cluster >> 16) as u16).into(),
        cluster_low: (cluster as u16).into(),
        ..entry
    }
}

/// The entries of directory `index`; the root's begin with the label.
fn directory(plan: &Plan, index: usize, label: Option<([u8; 11], Timestamp)>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let node = &plan.nodes[index];
    let Content::Directory { parent, names } = &node.content else { return bytes };
    if index == 0 {
        if let Some((label, stamp)) = label {
            push(&mut bytes, &entry(label, ATTR_VOLUME_ID, stamp));
        }
    } else {
        let dot = entry(*b".          ", ATTR_DIRECTORY, node.mtime);
        push(&mut bytes, &at_cluster(dot, node.cluster));
        let dots = entry(*b"..         ", ATTR_DIRECTORY, plan.nodes[*parent].mtime);
        // The root is called 0 here, not 2.
        let parent = if *parent == 0 { 0 } else { plan.nodes[*parent].cluster };
        push(&mut bytes, &at_cluster(dots, parent));
    }
    for name in names {
        for long in long_entries(name.name, &name.short) {
            push(&mut bytes, &long);
        }
        let node = &plan.nodes[name.node];
        let (attributes, size) = match &node.content {
            Content::Directory { .. } => (ATTR_DIRECTORY, 0),
            Content::File(file) => (ATTR_ARCHIVE, file.size as u32),
        };
        let entry = at_cluster(entry(name.short, attributes, node.mtime), node.cluster);
        push(&mut bytes, &Entry { size: size.into(), ..entry });
    }
    bytes
}

struct Volume<'a> {
    out: &'a dyn WriteAt,
    geometry: Geometry,
    buffer: Vec<u8>,
}

impl Volume<'_> {
    fn put(&self, bytes: &[u8], offset: u64) -> Result<(), FatError> {
        self.out.write_all_at(bytes, offset).map_err(|source| FatError::Io { offset, source })
    }

    /// Writes zeros wherever `range` may hold something else.
    fn clear(&self, range: Range<u64>) -> Result<(), FatError> {
        let zeros = [0; 1 << 16];
        let mut at = range.start;
        while at < range.end {
            let data =
                self.out.next_data(at).map_err(|source| FatError::Io { offset: at, source })?;
            let Some(data) = data.filter(|data| data.start < range.end) else { break };
            at = data.start.max(at);
            let end = data.end.min(range.end);
            while at < end {
                let length = (end - at).min(zeros.len() as u64);
                self.put(&zeros[..length as usize], at)?;
                at += length;
            }
        }
        Ok(())
    }

    /// Byte offsets of the node's clusters.
    fn clusters(&self, node: &Node) -> Range<u64> {
        match node.clusters {
            0 => 0..0,
            clusters => {
                let start = self.geometry.cluster_offset(node.cluster);
                start..start + u64::from(clusters) * self.geometry.cluster_size()
            }
        }
    }

    fn put_clusters(&self, node: &Node, bytes: &[u8]) -> Result<(), FatError> {
        let range = self.clusters(node);
        self.put(bytes, range.start)?;
        self.clear(range.start + bytes.len() as u64..range.end)
    }

    /// Copies a file's data runs to its clusters, with zeros between and behind them.
    fn copy(&mut self, node: &Node, file: &File, blobs: &dyn Blobs) -> Result<(), FatError> {
        let path = || node.path.clone();
        let range = self.clusters(node);
        let expected = file.data_size();
        if expected == 0 {
            return self.clear(range);
        }
        let wrong = |found| FatError::BlobSize { path: path(), expected, found };
        let mut blob =
            blobs.open(&file.blob).map_err(|source| FatError::Blob { path: path(), source })?;
        let whole = [Extent { offset: 0, length: file.size }];
        let mut at = range.start;
        for extent in file.extents.as_deref().unwrap_or(&whole) {
            let start = range.start + extent.offset;
            self.clear(at..start)?;
            at = start;
            let end = start + extent.length;
            while at < end {
                let length = (end - at).min(BUFFER as u64) as usize;
                let bytes = &mut self.buffer[..length];
                blob.read_exact(bytes).map_err(|source| match source.kind() {
                    io::ErrorKind::UnexpectedEof => wrong("shorter"),
                    _ => FatError::Blob { path: path(), source },
                })?;
                self.put(&self.buffer[..length], at)?;
                at += length as u64;
            }
        }
        let more = blob
            .take(1)
            .read_to_end(&mut Vec::new())
            .map_err(|source| FatError::Blob { path: path(), source })?;
        if more > 0 {
            return Err(wrong("longer"));
        }
        self.clear(at..range.end)
    }

    /// Both FATs, as far as clusters are used.
    fn put_fats(&self, plan: &Plan) -> Result<(), FatError> {
        let mut next = FIRST_CLUSTER;
        let nodes = plan.order.iter().map(|&index| &plan.nodes[index]);
        let chains = nodes.filter(|node| node.clusters > 0).flat_map(|node| {
            let free = node.cluster - next;
            next = node.cluster + node.clusters;
            let last = next - 1;
            let chain = (node.cluster..=last)
                .map(move |cluster| if cluster == last { END_OF_CHAIN } else { cluster + 1 });
            (0..free).map(|_| FREE).chain(chain)
        });
        let reserved = [END_OF_CHAIN & !0xff | u32::from(MEDIA), END_OF_CHAIN];
        let mut entries = reserved.into_iter().chain(chains).map(U32::new);
        let mut offset = 0;
        loop {
            let part: Vec<U32> = entries.by_ref().take(BUFFER / size_of::<U32>()).collect();
            if part.is_empty() {
                return Ok(());
            }
            for fat in 0..FATS {
                self.put(part.as_bytes(), self.geometry.fat_offset(fat) + offset)?;
            }
            offset += BUFFER as u64;
        }
    }
}

fn fsinfo(geometry: &Geometry, plan: &Plan) -> FsInfo {
    let mut fsinfo = FsInfo::new_zeroed();
    fsinfo.lead = *b"RRaA";
    fsinfo.structure = *b"rrAa";
    fsinfo.free = (geometry.clusters - plan.used).into();
    // On a full volume this is the last cluster: "unknown" would be as good.
    fsinfo.next_free = (FIRST_CLUSTER + plan.end.min(geometry.clusters - 1)).into();
    fsinfo.signature = SIGNATURE;
    fsinfo
}

fn boot_sector(geometry: &Geometry, options: &Options, label: Option<[u8; 11]>) -> BootSector {
    let mut boot = BootSector::new_zeroed();
    boot.jump = [0xeb, 0x58, 0x90];
    // What Microsoft's text recommends, because some drivers look at it.
    boot.oem_name = *b"MSWIN4.1";
    boot.bytes_per_sector = (SECTOR as u16).into();
    boot.sectors_per_cluster = geometry.cluster_sectors as u8;
    boot.reserved_sectors = (geometry.reserved as u16).into();
    boot.fats = FATS as u8;
    boot.media = MEDIA;
    boot.sectors_per_track = 63.into();
    boot.heads = 255.into();
    boot.hidden_sectors = options.hidden_sectors.into();
    boot.total_sectors = geometry.sectors.into();
    boot.fat_sectors = geometry.fat_sectors.into();
    boot.root_cluster = FIRST_CLUSTER.into();
    boot.fsinfo_sector = FSINFO_SECTOR.into();
    boot.backup_sector = BACKUP_SECTOR.into();
    boot.drive = 0x80;
    boot.extended_signature = 0x29;
    boot.volume_id = options.volume_id.into();
    boot.label = label.unwrap_or(*b"NO NAME    ");
    boot.type_name = *b"FAT32   ";
    // A BIOS that starts this finds nothing: halt.
    boot.code[..3].copy_from_slice(&[0xf4, 0xeb, 0xfd]);
    boot.signature = SIGNATURE;
    boot
}
