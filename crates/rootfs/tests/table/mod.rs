//! Writes GPTs of every kind, wrong ones too: what `grow-gpt` is tested with.

pub const MIB: u64 = 1 << 20;
pub const GIB: u64 = 1 << 30;

const ZFS: [u8; 16] = [
    0xC3, 0x8C, 0x89, 0x6A, 0xD2, 0x1D, 0xB2, 0x11, 0x99, 0xA6, 0x08, 0x00, 0x20, 0x73, 0x66, 0x31,
];
const ESP: [u8; 16] = [
    0x28, 0x73, 0x2A, 0xC1, 0x1F, 0xF8, 0xD2, 0x11, 0xBA, 0x4B, 0x00, 0xA0, 0xC9, 0x3E, 0xC9, 0x3B,
];
const BIOS: [u8; 16] = [
    0x48, 0x61, 0x68, 0x21, 0x49, 0x64, 0x6F, 0x6E, 0x74, 0x4E, 0x65, 0x65, 0x64, 0x45, 0x46, 0x49,
];

#[derive(Clone)]
pub struct Partition {
    pub kind: [u8; 16],
    pub first: u64,
    pub last: u64,
}

pub struct Design {
    pub sector: u64,
    pub size: u64,
    pub partitions: Vec<Partition>,
    pub first_usable: u64,
    pub last_usable: u64,
    pub entry_size: u32,
    pub revision: u32,
    pub header_size: u32,
    pub primary_at: u64,
    pub count: u32,
    pub mbr_types: [u8; 4],
}

impl Design {
    /// The disk kldload makes: 1 MiB for BIOS boot, 1 GiB ESP, the rest a pool.
    pub fn new(sector: u64, size: u64) -> Self {
        let unit = MIB / sector;
        let array = 128 * 128 / sector;
        let pool = 1026 * unit;
        let last_usable = size / sector - 2 - array;
        Self {
            sector,
            size,
            partitions: vec![
                Partition { kind: BIOS, first: unit, last: 2 * unit - 1 },
                Partition { kind: ESP, first: 2 * unit, last: pool - 1 },
                Partition { kind: ZFS, first: pool, last: (last_usable + 1) / unit * unit - 1 },
            ],
            first_usable: 2 + array,
            last_usable,
            entry_size: 128,
            revision: 0x10000,
            header_size: 92,
            primary_at: 1,
            count: 128,
            mbr_types: [0xEE, 0, 0, 0],
        }
    }

    fn array(&self) -> Vec<u8> {
        let mut array = vec![0; 128 * 128];
        for (index, partition) in self.partitions.iter().enumerate() {
            let entry = &mut array[index * 128..][..128];
            entry[..16].copy_from_slice(&partition.kind);
            entry[16..32].fill(index as u8 + 1);
            entry[32..40].copy_from_slice(&partition.first.to_le_bytes());
            entry[40..48].copy_from_slice(&partition.last.to_le_bytes());
            entry[56..58].copy_from_slice(b"p\0");
        }
        array
    }

    fn header(&self, my: u64, other: u64, entries: u64) -> Vec<u8> {
        let mut header = vec![0; self.sector as usize];
        header[..8].copy_from_slice(b"EFI PART");
        header[8..12].copy_from_slice(&self.revision.to_le_bytes());
        header[12..16].copy_from_slice(&self.header_size.to_le_bytes());
        for (offset, value) in
            [(24, my), (32, other), (40, self.first_usable), (48, self.last_usable), (72, entries)]
        {
            header[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
        }
        header[56..72].fill(0x77);
        header[80..84].copy_from_slice(&self.count.to_le_bytes());
        header[84..88].copy_from_slice(&self.entry_size.to_le_bytes());
        let covered = &self.array()[..(self.count as usize * 128).min(128 * 128)];
        header[88..92].copy_from_slice(&crc32(covered).to_le_bytes());
        let crc = crc32(&header[..(self.header_size as usize).min(self.sector as usize)]);
        header[16..20].copy_from_slice(&crc.to_le_bytes());
        header
    }

    /// What is written where: MBR and primary table first, the backup last.
    pub fn bytes(&self) -> Vec<(u64, Vec<u8>)> {
        let sectors = self.size / self.sector;
        let mut mbr = vec![0; self.sector as usize];
        for (index, kind) in self.mbr_types.into_iter().enumerate().filter(|(_, kind)| *kind != 0) {
            let entry = &mut mbr[446 + 16 * index..][..16];
            entry[1..4].copy_from_slice(&[0, 2, 0]);
            entry[4] = kind;
            entry[5..8].fill(0xFF);
            entry[8..12].copy_from_slice(&1u32.to_le_bytes());
            let covered = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
            entry[12..16].copy_from_slice(&covered.to_le_bytes());
        }
        mbr[510..512].copy_from_slice(&[0x55, 0xAA]);
        let array = self.array();
        let backup_entries = sectors - 1 - array.len() as u64 / self.sector;
        let start = [mbr, self.header(self.primary_at, sectors - 1, 2), array.clone()].concat();
        let end = [array, self.header(sectors - 1, 1, backup_entries)].concat();
        vec![(0, start), (backup_entries * self.sector, end)]
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
        })
    })
}
