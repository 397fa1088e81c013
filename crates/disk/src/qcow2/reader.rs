//! Reads images of all cluster sizes, with both kinds of L2 entries and of compression. Snapshots
//! inside are not looked at: the disk is the current one.

use std::collections::HashSet;

use blk::ReadAt;

use super::format::{
    CLUSTER_BITS_RANGE, COMPRESSED, COMPRESSION_DEFLATE, COMPRESSION_ZSTD, COPIED,
    EXTENSION_BACKING_FORMAT, HEADER_LENGTH, HEADER_LENGTH_2, Header, INCOMPATIBLE_COMPRESSION,
    INCOMPATIBLE_CORRUPT, INCOMPATIBLE_DIRTY, INCOMPATIBLE_EXTENDED_L2, INCOMPATIBLE_EXTERNAL,
    MAGIC, MAX_L1_ENTRIES, OFFSET_MASK, SECTOR, SUBCLUSTERS, ZERO,
};
use crate::image::{
    Cache, Companions, Format, Host, Map, Mapped, OpenError, Place, inflate, unzstd,
};

/// L2 tables kept, in bytes.
const TABLES: usize = 4 << 20;

/// Opens an image that is the `depth`-th of its chain.
pub(crate) fn open(
    file: Box<dyn ReadAt>,
    companions: &dyn Companions,
    depth: usize,
) -> Result<Box<dyn ReadAt>, OpenError> {
    let host = Host::new(file, Format::Qcow2)?;
    let header = Checked::read(&host)?;
    let below = match &header.backing {
        None => None,
        Some(name) => match companions.backing(depth, name, header.backing_raw)? {
            Some(below) => Some(below),
            None => {
                return Err(host.elsewhere(format!(
                    "is an overlay over {name:?}; kldload export --backing IMAGE reads both"
                )));
            }
        },
    };
    let l1 = read_l1(&host, &header)?;
    let tables = Cache::new(TABLES >> header.cluster_bits);
    Ok(Box::new(Mapped::new(Reader { host, header, l1, tables, below })))
}

/// What the header says, checked.
struct Checked {
    version: u32,
    cluster_bits: u32,
    size: u64,
    l1_offset: u64,
    l1_entries: u64,
    extended: bool,
    zstd: bool,
    backing: Option<String>,
    backing_raw: bool,
}

impl Checked {
    fn read(host: &Host) -> Result<Self, OpenError> {
        let mut bytes = [0; HEADER_LENGTH as usize];
        let (start, behind) = bytes.split_at_mut(HEADER_LENGTH_2 as usize);
        host.read(start, 0)?;
        // A version 2 image may be no longer than this.
        host.read_padded(behind, HEADER_LENGTH_2.into())?;
        let header: Header = zerocopy::transmute!(bytes);
        if header.magic.get() != MAGIC {
            return Err(host.unsupported("does not start with QFI and 0xfb"));
        }
        let version = header.version.get();
        if !(2..=3).contains(&version) {
            return Err(host.unsupported(format!("has version {version}; 2 and 3 are known")));
        }
        let cluster_bits = header.cluster_bits.get();
        host.require(
            CLUSTER_BITS_RANGE.contains(&cluster_bits),
            20,
            "the cluster size",
            cluster_bits.into(),
            "it must be 9 to 21 bits",
        )?;
        if header.crypt_method.get() != 0 {
            return Err(host.unsupported("is encrypted; decrypt it with qemu-img convert"));
        }
        let features = if version == 2 { 0 } else { header.incompatible_features.get() };
        let extended = features & INCOMPATIBLE_EXTENDED_L2 != 0;
        check_features(host, features)?;
        host.require(
            !extended || cluster_bits >= 14,
            20,
            "the cluster size",
            cluster_bits.into(),
            "extended L2 entries need 14 bits at least",
        )?;
        let length = if version == 2 { HEADER_LENGTH_2 } else { header.header_length.get() };
        host.require(
            length >= if version == 2 { HEADER_LENGTH_2 } else { HEADER_LENGTH }
                && u64::from(length) <= 1 << cluster_bits,
            100,
            "the header's length",
            length.into(),
            "it must be 104 at least and fit into a cluster",
        )?;
        let zstd = features & INCOMPATIBLE_COMPRESSION != 0 && compression(host, length)?;
        let size = header.size.get();
        let entry = if extended { 16 } else { 8 };
        let covers = 1_u64 << (2 * cluster_bits) >> u32::trailing_zeros(entry);
        let (l1_offset, l1_entries) = (header.l1_table_offset.get(), header.l1_size.get().into());
        host.require(
            l1_entries <= MAX_L1_ENTRIES && size.div_ceil(covers) <= l1_entries,
            36,
            "the size of the L1 table",
            l1_entries,
            "the disk needs another one",
        )?;
        let (backing, backing_raw) = backing(host, &header, length, 1 << cluster_bits)?;
        Ok(Self {
            version,
            cluster_bits,
            size,
            l1_offset,
            l1_entries: size.div_ceil(covers),
            extended,
            zstd,
            backing,
            backing_raw,
        })
    }
}

fn check_features(host: &Host, features: u64) -> Result<(), OpenError> {
    if features & INCOMPATIBLE_CORRUPT != 0 {
        return Err(host.unsupported("is marked corrupt; repair it with qemu-img check -r all"));
    }
    if features & INCOMPATIBLE_EXTERNAL != 0 {
        return Err(host.elsewhere(
            "has its data in another file; make it whole with qemu-img convert -O qcow2",
        ));
    }
    let known = INCOMPATIBLE_DIRTY | INCOMPATIBLE_COMPRESSION | INCOMPATIBLE_EXTENDED_L2;
    if features & !known != 0 {
        let unknown = features & !known;
        return Err(host.unsupported(format!("has the unknown features {unknown:#x}")));
    }
    Ok(())
}

/// Whether compressed clusters are zstd.
fn compression(host: &Host, length: u32) -> Result<bool, OpenError> {
    if length <= HEADER_LENGTH {
        return Err(host.field(
            100,
            "the header's length",
            length.into(),
            "the compression should follow".into(),
        ));
    }
    let mut kind = [0];
    host.read(&mut kind, HEADER_LENGTH.into())?;
    match kind[0] {
        COMPRESSION_DEFLATE => Ok(false),
        COMPRESSION_ZSTD => Ok(true),
        other => Err(host.unsupported(format!("has the unknown compression {other}"))),
    }
}

/// The name of the backing file, and whether that must be raw.
fn backing(
    host: &Host,
    header: &Header,
    length: u32,
    cluster: u64,
) -> Result<(Option<String>, bool), OpenError> {
    let (offset, bytes) = (header.backing_file_offset.get(), header.backing_file_size.get());
    if offset == 0 || bytes == 0 {
        return Ok((None, false));
    }
    host.require(
        bytes <= 1023 && offset <= cluster,
        16,
        "the length of the backing file's name",
        bytes.into(),
        "it must be at most 1023 and lie in the first cluster",
    )?;
    let name = host.bytes(offset, bytes.into(), "the backing file's name")?;
    let mut raw = false;
    let (mut at, end) = (u64::from(length), offset.min(cluster));
    while at + 8 <= end {
        let head = host.bytes(at, 8, "a header extension")?;
        let word = |i: usize| u32::from_be_bytes([head[i], head[i + 1], head[i + 2], head[i + 3]]);
        let (kind, length) = (word(0), u64::from(word(4)));
        if kind == 0 {
            break;
        }
        if kind == EXTENSION_BACKING_FORMAT && length <= 16 {
            raw = host.bytes(at + 8, length, "the backing file's format")? == b"raw";
        }
        at += 8 + length.next_multiple_of(8);
    }
    Ok((Some(String::from_utf8_lossy(&name).into_owned()), raw))
}

/// The offsets of all L2 tables, 0 where there is none. No two are the same, so that a walk over all
/// of them is never longer than the file.
fn read_l1(host: &Host, header: &Checked) -> Result<Vec<u64>, OpenError> {
    let bytes = host.bytes(header.l1_offset, header.l1_entries * 8, "the L1 table")?;
    let mut seen = HashSet::new();
    let mut l1 = Vec::with_capacity(bytes.len() / 8);
    for (index, entry) in bytes.as_chunks::<8>().0.iter().enumerate() {
        let table = u64::from_be_bytes(*entry) & OFFSET_MASK;
        let at = header.l1_offset + index as u64 * 8;
        let sound = table.is_multiple_of(1 << header.cluster_bits)
            && (table == 0 || table < host.size() && seen.insert(table));
        host.require(sound, at, "an L1 entry", table, "it must be a table of its own")?;
        l1.push(table);
    }
    Ok(l1)
}

struct Reader {
    host: Host,
    header: Checked,
    l1: Vec<u64>,
    tables: Cache<Vec<u8>>,
    below: Option<Box<dyn ReadAt>>,
}

impl Reader {
    fn cluster(&self) -> u64 {
        1 << self.header.cluster_bits
    }

    /// An L2 entry: what it says and, of an extended one, its bitmap.
    fn entry(&self, table: &[u8], index: u64) -> (u64, u64) {
        let word = |at: u64| {
            let at = at as usize;
            let bytes = table.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
            u64::from_be_bytes(bytes.unwrap_or_default())
        };
        if self.header.extended {
            (word(index * 16), word(index * 16 + 8))
        } else {
            (word(index * 8), 0)
        }
    }

    /// What `within` bytes into the cluster of `entry`, which lies at `at` of the file, is.
    fn place(
        &self,
        (entry, bitmap): (u64, u64),
        within: u64,
        at: u64,
    ) -> Result<(Place, u64), OpenError> {
        let (host, cluster) = (&self.host, self.cluster());
        let rest = cluster - within;
        if entry & COMPRESSED != 0 {
            let offset_bits = 62 - (self.header.cluster_bits - 8);
            let offset = entry & ((1 << offset_bits) - 1);
            let sectors = (entry & !COMPRESSED & !COPIED) >> offset_bits;
            let packed = (sectors + 1) * SECTOR - offset % SECTOR;
            let fits = offset < host.size();
            host.require(fits, at, "a compressed cluster's offset", offset, "the file is shorter")?;
            // The last sector may be cut off.
            let packed = packed.min(host.size() - offset);
            return Ok((Place::Packed { at: offset, packed, unit: cluster, skip: within }, rest));
        }
        let offset = entry & OFFSET_MASK;
        let aligned = offset.is_multiple_of(cluster) && (offset == 0 || offset < host.size());
        host.require(aligned, at, "a cluster's offset", offset, "there is no such cluster")?;
        if self.header.extended {
            let size = cluster / SUBCLUSTERS;
            let state = |number: u64| (bitmap >> number & 1 != 0, bitmap >> (number + 32) & 1 != 0);
            let number = within / size;
            let (stored, zeros) = state(number);
            let sound = !(stored && (zeros || offset == 0));
            host.require(sound, at + 8, "a subcluster bitmap", bitmap, "it contradicts itself")?;
            let same = (number..SUBCLUSTERS).take_while(|&next| state(next) == (stored, zeros));
            let rest = same.count() as u64 * size - within % size;
            let place = match (stored, zeros) {
                (true, _) => Place::Stored(offset + within),
                (_, true) => Place::Zeros,
                _ => Place::Below,
            };
            return Ok((place, rest));
        }
        if entry & ZERO != 0 {
            let known = self.header.version >= 3;
            host.require(known, at, "an L2 entry", entry, "version 2 has no zero clusters")?;
            return Ok((Place::Zeros, rest));
        }
        let place = if offset == 0 { Place::Below } else { Place::Stored(offset + within) };
        Ok((place, rest))
    }
}

impl Map for Reader {
    fn size(&self) -> u64 {
        self.header.size
    }

    fn locate(&self, guest: u64) -> Result<(Place, u64), OpenError> {
        let cluster = self.cluster();
        let entry_size = if self.header.extended { 16 } else { 8 };
        let entries = cluster / entry_size;
        let index = guest / cluster;
        let (l1_index, mut l2_index) = (index / entries, index % entries);
        let offset = self.l1.get(l1_index as usize).copied().unwrap_or(0);
        if offset == 0 {
            return Ok((Place::Below, cluster * entries - guest % (cluster * entries)));
        }
        let table = self.tables.get(offset, || self.host.bytes(offset, cluster, "an L2 table"))?;
        let at = |index| offset + index * entry_size;
        let first = self.place(self.entry(&table, l2_index), guest % cluster, at(l2_index))?;
        let (place, mut length) = first;
        // Holes are found fast.
        if matches!(place, Place::Below | Place::Zeros) && length.is_multiple_of(cluster) {
            l2_index += 1;
            while l2_index < entries {
                let next = self.place(self.entry(&table, l2_index), 0, at(l2_index))?;
                if next.0 != place {
                    break;
                }
                length += next.1;
                if next.1 != cluster {
                    break;
                }
                l2_index += 1;
            }
        }
        Ok((place, length))
    }

    fn stored(&self, buf: &mut [u8], at: u64) -> Result<(), OpenError> {
        self.host.read_padded(buf, at)
    }

    fn expand(&self, at: u64, packed: u64, unit: &mut [u8]) -> Result<(), OpenError> {
        let mut bytes = vec![0; packed as usize];
        self.host.read(&mut bytes, at)?;
        let result =
            if self.header.zstd { unzstd(&bytes, unit) } else { inflate(&bytes, false, unit) };
        result.map_err(|why| self.host.compressed(at, packed, why))
    }

    fn below(&self) -> Option<&dyn ReadAt> {
        self.below.as_deref()
    }
}
