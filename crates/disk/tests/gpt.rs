//! GPT: round trip, damage, hostile bytes, and `sgdisk` as judge.
#![allow(missing_docs, clippy::unwrap_used)]

mod judges;

use std::collections::BTreeMap;

use blk::{Memory, ReadAt, WriteAt};
use disk::Guid;
use disk::gpt::{
    self, CopyError, Lba, OtherTable, Partition, TYPE_ZFS, Table, TableCopy, TableError, WriteError,
};
use disk::layout::{DiskLayout, PartitionGuids};
use judges::{passes, tool};
use proptest::prelude::*;

const SECTORS: u64 = 4096;
const SIZE: usize = (SECTORS * gpt::SECTOR) as usize;

fn guid(value: u8) -> Guid {
    Guid::v4([value; 16])
}

fn design(disk_size: u64) -> Table {
    let guids = PartitionGuids { bios: guid(1), esp: guid(2), pool: guid(3) };
    DiskLayout::new(disk_size, 64 << 20).unwrap().to_table(guid(9), &guids)
}

fn small() -> Table {
    let partition = |first, last, id| Partition {
        type_guid: TYPE_ZFS,
        unique_guid: guid(id),
        first_lba: Lba(first),
        last_lba: Lba(last),
        attributes: 4,
        name: "größe".into(),
    };
    let partitions = BTreeMap::from([(1, partition(34, 99, 1)), (7, partition(100, 4062, 2))]);
    Table { disk_guid: guid(9), partitions }
}

fn written(table: &Table) -> Vec<u8> {
    let memory = Memory::zeroed(SIZE);
    gpt::write(&memory, table).unwrap();
    memory.into_bytes()
}

#[test]
fn sgdisk_agrees() {
    let Some(mut sgdisk) = tool("sgdisk") else { return };
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(1 << 30).unwrap();
    let table = design(1 << 30);
    gpt::write(file.as_file(), &table).unwrap();
    let said = passes(sgdisk.arg("-v").arg(file.path()));
    assert!(said.contains("No problems found"), "{said}");
    assert!(!said.contains("Caution") && !said.contains("Warning"), "{said}");
    for (number, code, name) in [("1", "EF02", "bios"), ("2", "EF00", "esp"), ("3", "BF01", "pool")]
    {
        let Some(mut sgdisk) = tool("sgdisk") else { return };
        let said = passes(sgdisk.arg(format!("-i{number}")).arg("-p").arg(file.path()));
        assert!(said.contains(code) && said.contains(&format!("'{name}'")), "{said}");
    }
}

#[test]
fn what_sgdisk_writes_is_read() {
    let Some(mut sgdisk) = tool("sgdisk") else { return };
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(64 << 20).unwrap();
    passes(
        sgdisk
            .args(["-n3:0:+1M", "-t3:BF01", "-c3:näme", "-n1:0:0", "-A1:set:2", "-U"])
            .arg(guid(5).to_string())
            .arg(file.path()),
    );
    let found = gpt::read(file.as_file()).unwrap();
    assert_eq!(found.used, TableCopy::Primary);
    found.other.unwrap();
    found.mbr.unwrap();
    assert_eq!(found.table.disk_guid, guid(5));
    assert_eq!(found.table.partitions.keys().copied().collect::<Vec<_>>(), [1, 3]);
    assert_eq!(found.table.partitions[&3].name, "näme");
    assert_eq!(found.table.partitions[&3].type_guid, TYPE_ZFS);
    assert_eq!(found.table.partitions[&1].attributes, 4);
}

#[test]
fn either_copy_is_enough() {
    let table = small();
    let good = written(&table);
    let found = gpt::read(&Memory::from(good.clone())).unwrap();
    assert_eq!((found.used, &found.table), (TableCopy::Primary, &table));
    found.other.unwrap();
    found.mbr.unwrap();

    for damaged in [512 + 20, 1024 + 40] {
        let mut bytes = good.clone();
        bytes[damaged] ^= 1;
        let found = gpt::read(&Memory::from(bytes)).unwrap();
        assert_eq!((found.used, &found.table), (TableCopy::Backup, &table));
        assert!(matches!(found.other, Err(CopyError::Crc { .. })), "{:?}", found.other);
    }
    let mut bytes = good.clone();
    bytes[SIZE - 512..].fill(0);
    let found = gpt::read(&Memory::from(bytes.clone())).unwrap();
    assert_eq!((found.used, &found.table), (TableCopy::Primary, &table));
    let other = found.other.unwrap_err();
    let at = SIZE as u64 - 512;
    assert!(matches!(other, CopyError::Signature { offset, .. } if offset == at), "{other}");

    bytes[512..1024].fill(0);
    let error = gpt::read(&Memory::from(bytes)).unwrap_err();
    assert!(matches!(error.primary, CopyError::Signature { offset: 512, .. }), "{error}");
}

#[test]
fn copies_that_differ_are_told() {
    let mut bytes = written(&small());
    let mut other = small();
    other.partitions.remove(&7);
    bytes[SIZE / 2..].copy_from_slice(&written(&other)[SIZE / 2..]);
    let found = gpt::read(&Memory::from(bytes)).unwrap();
    assert_eq!(found.table, small());
    assert!(matches!(found.other, Err(CopyError::Differs { .. })));
}

#[test]
fn a_grown_disk_is_read() {
    let mut bytes = written(&small());
    bytes.resize(2 * SIZE, 0);
    let found = gpt::read(&Memory::from(bytes)).unwrap();
    found.other.unwrap();
    assert_eq!(found.backup_lba, Lba(SECTORS - 1));
}

#[test]
fn a_disk_that_was_cut_off_is_read() {
    let table = small();
    // Behind both partitions, inside of the second, and before it.
    for sectors in [SECTORS - 1, 4063, 2000, 80] {
        let mut bytes = written(&table);
        bytes.truncate((sectors * gpt::SECTOR) as usize);
        let found = gpt::read(&Memory::from(bytes.clone())).unwrap();
        assert_eq!((found.used, &found.table), (TableCopy::Primary, &table));
        assert_eq!((found.missing, found.backup_lba), (SECTORS - sectors, Lba(SECTORS - 1)));
        assert!(matches!(found.other, Err(CopyError::Io { .. })), "{:?}", found.other);
        // Nothing else may be wrong with it.
        bytes[1024 + 40] ^= 1;
        let error = gpt::read(&Memory::from(bytes)).unwrap_err();
        assert!(matches!(error.primary, CopyError::Crc { part: "entries", .. }), "{error}");
    }
}

#[test]
fn tables_that_are_not_read_are_known() {
    let other = |bytes: &[u8]| gpt::other_table(&Memory::from(bytes.to_vec()));
    assert_eq!(other(&written(&small())), None);
    let mut bytes = vec![0; SIZE];
    assert_eq!(other(&bytes), None);
    bytes[4096..4104].copy_from_slice(b"EFI PART");
    assert_eq!(other(&bytes), Some(OtherTable::LargeSectors));
    bytes[4096..4104].fill(0);
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    assert_eq!(other(&bytes), None);
    // Linux, from sector 2048, of 2048 sectors.
    bytes[446..462].copy_from_slice(&[0, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0]);
    assert_eq!(other(&bytes), Some(OtherTable::Mbr));
    // Code of a boot sector.
    bytes[462] = 0xeb;
    assert_eq!(other(&bytes), None);
}

/// Changes a field of the primary header and makes its CRC right again.
fn forged(offset: usize, value: &[u8]) -> CopyError {
    let mut bytes = written(&small());
    bytes[512 + offset..][..value.len()].copy_from_slice(value);
    bytes[512 + 16..512 + 20].fill(0);
    let crc = crc32fast::hash(&bytes[512..512 + 92]).to_le_bytes();
    bytes[512 + 16..512 + 20].copy_from_slice(&crc);
    let found = gpt::read(&Memory::from(bytes)).unwrap();
    assert_eq!(found.used, TableCopy::Backup);
    found.other.unwrap_err()
}

#[test]
fn hostile_headers_are_refused() {
    let huge = [0xff; 8];
    for (offset, value, named) in [
        (8, &huge[..4], "revision"),
        (12, &huge[..4], "header size"),
        (24, &huge, "its own sector is"),
        (32, &huge, "the other header's sector is"),
        (40, &huge, "first usable sector"),
        (48, &huge, "last usable sector"),
        (72, &huge, "the entries' sector is"),
        (72, &[0; 8], "the entries' sector is"),
        (80, &huge[..4], "entry count"),
        (84, &huge[..4], "entry size"),
        (84, &[0; 4], "entry size"),
        (84, &[0, 0, 0, 0x80], "entry count"),
    ] {
        let error = forged(offset, value);
        let CopyError::Field { field, offset: 512, .. } = error else { panic!("{error}") };
        assert_eq!(field, named);
    }
    assert!(matches!(forged(80, &[1, 0, 0, 0]), CopyError::Crc { part: "entries", .. }));
}

#[test]
fn impossible_tables_are_not_written() {
    let refuse = |change: &dyn Fn(&mut Table)| {
        let mut table = small();
        change(&mut table);
        let memory = Memory::zeroed(SIZE);
        let error = gpt::write(&memory, &table).unwrap_err();
        assert!(memory.into_bytes().iter().all(|&byte| byte == 0), "{error}");
        let WriteError::Table(error) = error else { panic!("{error}") };
        error
    };
    fn seven(table: &mut Table) -> &mut Partition {
        table.partitions.get_mut(&7).unwrap()
    }
    use TableError::*;
    assert!(matches!(refuse(&|t| seven(t).first_lba = Lba(99)), Overlap { at: Lba(99), .. }));
    assert!(matches!(refuse(&|t| seven(t).last_lba = Lba(4063)), Range { number: 7, .. }));
    assert!(matches!(refuse(&|t| seven(t).last_lba = Lba(5)), Range { number: 7, .. }));
    assert!(matches!(refuse(&|t| seven(t).unique_guid = guid(1)), SameGuid { first: 1, .. }));
    assert!(matches!(refuse(&|t| seven(t).unique_guid = Guid::NIL), Nil { number: 7, .. }));
    assert!(matches!(refuse(&|t| seven(t).type_guid = Guid::NIL), Nil { number: 7, .. }));
    assert!(matches!(refuse(&|t| seven(t).name = "x".repeat(37)), Name { number: 7, .. }));
    assert!(matches!(refuse(&|t| seven(t).name = "a\0".into()), Name { number: 7, .. }));
    for number in [0, 129] {
        let error = refuse(&|t| {
            let partition = t.partitions.remove(&7).unwrap();
            t.partitions.insert(number, partition);
        });
        assert_eq!(error, Number { number });
    }
    for size in [0, 513, 67 * 512] {
        let error = gpt::write(&Memory::zeroed(size), &small()).unwrap_err();
        assert!(matches!(error, WriteError::Size { .. }), "{error}");
    }
}

/// Reads and, when a table is found, holds it to what the reader promises.
fn survive(bytes: Vec<u8>) -> Result<(), TestCaseError> {
    let memory = Memory::from(bytes);
    if let Ok(found) = gpt::read(&memory) {
        let size = memory.size().unwrap() + found.missing.saturating_mul(gpt::SECTOR);
        let mut end = 0;
        let mut ranges: Vec<_> = found.table.partitions.values().map(Partition::bytes).collect();
        ranges.sort_by_key(|range| range.start);
        for range in ranges {
            prop_assert!(range.start >= end && range.start < range.end && range.end <= size);
            end = range.end;
        }
    }
    Ok(())
}

fn tables() -> impl Strategy<Value = Table> {
    let partition = (any::<[u8; 16]>(), any::<u64>(), "\\PC{0,18}", any::<prop::sample::Index>());
    (any::<[u8; 16]>(), prop::collection::vec(partition, 0..128)).prop_map(|(disk, drawn)| {
        let mut partitions = BTreeMap::new();
        let step = (SECTORS - 67) / 128;
        for (index, (unique, attributes, name, number)) in (0..).zip(drawn) {
            let mut unique_guid = Guid::v4(unique);
            unique_guid.0[0] = index;
            let first = 34 + u64::from(index) * step;
            partitions.insert(
                number.index(128) as u32 + 1,
                Partition {
                    type_guid: TYPE_ZFS,
                    unique_guid,
                    first_lba: Lba(first),
                    last_lba: Lba(first + u64::from(unique[1]) % step),
                    attributes,
                    name,
                },
            );
        }
        Table { disk_guid: Guid::v4(disk), partitions }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn round_trip(table in tables()) {
        let found = gpt::read(&Memory::from(written(&table))).unwrap();
        prop_assert_eq!(found.table, table);
        prop_assert!(found.other.is_ok() && found.mbr.is_ok());
    }

    #[test]
    fn random_bytes_are_survived(start in prop::collection::vec(any::<u8>(), 0..4096)) {
        survive(start)?;
    }

    #[test]
    fn damage_is_survived(
        flips in prop::collection::vec((0..40 * 512_usize, any::<u8>(), any::<bool>()), 1..20),
        fix_crc in any::<bool>(),
        size in prop_oneof![Just(SIZE), 0..SIZE, 60 * 512..70 * 512_usize],
    ) {
        let memory = Memory::from(written(&small()));
        for (offset, value, header) in flips {
            let offset = if header { 512 + offset % 92 } else { offset } as u64;
            memory.write_all_at(&[value], offset).unwrap();
        }
        let mut bytes = memory.into_bytes();
        if fix_crc {
            let entries = crc32fast::hash(&bytes[1024..1024 + 128 * 128]).to_le_bytes();
            bytes[512 + 88..512 + 92].copy_from_slice(&entries);
            bytes[512 + 16..512 + 20].fill(0);
            let crc = crc32fast::hash(&bytes[512..512 + 92]).to_le_bytes();
            bytes[512 + 16..512 + 20].copy_from_slice(&crc);
        }
        bytes.truncate(size);
        survive(bytes)?;
    }
}
