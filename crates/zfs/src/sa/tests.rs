use tree::{Timestamp, Xattrs};

use super::*;
use crate::nvlist;
use crate::zap::{self, Entry, OwnedValue, ZapOptions, ZapValue};

const BONUS: usize = 320;

fn at(seconds: i64, nanoseconds: u32) -> Timestamp {
    Timestamp { seconds, nanoseconds }
}

fn file() -> Znode<'static> {
    Znode {
        mode: 0o100_644,
        size: 3,
        generation: 4,
        uid: 1000,
        gid: 100,
        parent: 34,
        is_xattr: false,
        atime: at(1, 2),
        mtime: at(-1, 999_999_999),
        ctime: at(3, 0),
        crtime: at(4, 0),
        links: 1,
        projid: None,
        rdev: None,
        symlink: None,
        xattr_dir: None,
        dxattr: None,
    }
}

fn registered_length(number: u16) -> Option<u16> {
    let entry = registry_zap_entries().nth(usize::from(number))?;
    match entry.value {
        ZapValue::U64(value) => Some((value >> 24) as u16),
        _ => None,
    }
}

fn read<'a>(buffer: &'a [u8], layouts: &Layouts) -> Vec<(u16, &'a [u8])> {
    decode(buffer, |number| layouts.get(number), registered_length).unwrap()
}

fn numbers(buffer: &[u8], layouts: &Layouts) -> Vec<u16> {
    read(buffer, layouts).into_iter().map(|(number, _)| number).collect()
}

const BASE: [u16; 12] = [5, 6, 4, 12, 13, 7, 11, 0, 1, 2, 3, 8];

fn with_base(more: &[u16]) -> Vec<u16> {
    [&BASE, more].concat()
}

#[test]
fn registry_as_a_kernel_writes_it() {
    let entries: Vec<_> = registry_zap_entries().collect();
    assert_eq!(entries.len(), 22);
    let value = |name: &str| entries.iter().find(|e| e.name == name.as_bytes()).unwrap().value;
    assert_eq!(value("ZPL_ATIME"), ZapValue::U64(0x1000_0000));
    assert_eq!(value("ZPL_PAD"), ZapValue::U64(0x2000_000e));
    assert_eq!(value("ZPL_ZNODE_ACL"), ZapValue::U64(0x5803_000f));
    assert_eq!(value("ZPL_DACL_ACES"), ZapValue::U64(0x0004_0013));
    assert_eq!(value("ZPL_DXATTR"), ZapValue::U64(0x0003_0014));
    assert_eq!(value("ZPL_PROJID"), ZapValue::U64(0x0800_0015));
    for (number, attribute) in (0..).zip([Attribute::Atime, Attribute::Mtime]) {
        assert_eq!(attribute.number(), number);
    }
}

#[test]
fn plain_file() {
    let mut layouts = Layouts::new();
    let SaEncoded { bonus, spill } = file().encode(BONUS, &mut layouts).unwrap();
    assert_eq!(spill, None);
    assert_eq!(bonus.len(), 168);
    // Magic, layout 2 with a header of 8 bytes, 24 bytes of ACL.
    assert_eq!(bonus[..8], [0x5a, 0x50, 0x2f, 0, 0x02, 0x04, 24, 0]);
    assert_eq!(bonus[8..10], 0o100_644_u16.to_le_bytes());
    assert_eq!(bonus[32..34], 1000_u16.to_le_bytes());
    assert_eq!(bonus[56..64], 0x408_0000_0004_u64.to_le_bytes());
    assert_eq!(bonus[80..88], [0xff; 8]);
    assert_eq!(bonus[88..96], 999_999_999_u64.to_le_bytes());
    assert_eq!(bonus[136..144], 3_u64.to_le_bytes());
    assert_eq!(numbers(&bonus, &layouts), with_base(&[16, 19]));
}

/// Bonus areas that OpenZFS 2.3.9 on Linux wrote, of a file and a link.
const KERNEL_FILE: &str = concat!(
    "5a502f000204180020810000000000009a0200000000000011000000000000000000000000000000",
    "00000000000000008e010000000000000400000008840000cb2f896a000000000000000000000000",
    "cb2f896a000000000000000000000000dc2f026b000000004a918d1500000000dc2f026b00000000",
    "4a918d15000000000100000000000000000000000000000003000000000000000000001099011e00",
    "00004020890012000000004088001200",
);
const KERNEL_LINK: &str = concat!(
    "5a502f00040818000d00000000000000ffa10000000000000d000000000000001100000000000000",
    "00000000000000000000000000000000880000000000000004010000080400001ade626700000000",
    "00000000000000001ade6267000000000000000000000000dc2f026b000000004b0fe41800000000",
    "dc2f026b000000004b0fe418000000000100000000000000030000000000000000000010bf011e00",
    "00004020af00120000000040af0012002f7573722f7362696e2f726d74",
);

#[test]
fn bytes_are_those_of_a_kernel() {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut layouts = Layouts::new();
    let mut bonus = |znode: Znode<'_>| hex(&znode.encode(832, &mut layouts).unwrap().bonus);
    let created = at(0x6b02_2fdc, 0x158d_914a);
    let file = Znode {
        mode: 0o100_440,
        size: 666,
        generation: 17,
        uid: 0,
        gid: 0,
        parent: 398,
        atime: at(0x6a89_2fcb, 0),
        mtime: at(0x6a89_2fcb, 0),
        ctime: created,
        crtime: created,
        projid: Some(0),
        ..file()
    };
    assert_eq!(bonus(file), KERNEL_FILE);
    bonus(Znode { mode: 0o010_644, ..file });
    let created = at(0x6b02_2fdc, 0x18e4_0f4b);
    let link = Znode {
        mode: 0o120_777,
        size: 13,
        parent: 136,
        atime: at(0x6762_de1a, 0),
        mtime: at(0x6762_de1a, 0),
        ctime: created,
        crtime: created,
        symlink: Some(b"/usr/sbin/rmt"),
        ..file
    };
    assert_eq!(bonus(link), KERNEL_LINK);
}

#[test]
fn layouts_are_numbered_by_first_use() {
    let mut layouts = Layouts::new();
    let link = Znode { mode: 0o120_777, symlink: Some(b"target"), ..file() };
    let device = Znode { mode: 0o020_600, rdev: Some(0x10_0003), ..file() };
    let mut layout = |znode: Znode<'_>| {
        let bonus = znode.encode(BONUS, &mut layouts).unwrap().bonus;
        u16::from_le_bytes([bonus[4], bonus[5]]) & 0x3ff
    };
    assert_eq!([layout(link), layout(file()), layout(device)], [2, 3, 4]);
    assert_eq!([layout(file()), layout(link)], [3, 2]);

    let entries: Vec<_> = layouts.zap_entries().collect();
    assert_eq!(entries[0], ("2".to_owned(), &*with_base(&[16, 19, 17])));
    assert_eq!(entries[2], ("4".to_owned(), &*with_base(&[10, 16, 19])));
    let entries: Vec<_> = entries
        .iter()
        .map(|(name, attributes)| Entry {
            name: name.as_bytes(),
            value: ZapValue::U16s(attributes),
        })
        .collect();
    let object = zap::encode(&entries, &ZapOptions::new(1)).unwrap();
    let found = zap::lookup(&object.data, object.block_size, b"3").unwrap();
    assert_eq!(found, Some(OwnedValue::U16s(with_base(&[16, 19]).into())));
}

#[test]
fn offsets_others_rely_on() {
    let mut layouts = Layouts::new();
    let link = Znode { mode: 0o120_777, symlink: Some(b"target"), ..file() };
    let bonus = link.encode(BONUS, &mut layouts).unwrap().bonus;
    assert_eq!(bonus[4..10], [0x02, 0x08, 24, 0, 6, 0], "a header of 16 bytes, two lengths");
    assert_eq!(&bonus[16 + 160..], b"target");
    let project = Znode { projid: Some(7), ..file() };
    let bonus = project.encode(BONUS, &mut layouts).unwrap().bonus;
    assert_eq!(bonus[8 + 128..8 + 136], 7_u64.to_le_bytes());
    assert_eq!(bonus[56..64], 0x8408_0000_0004_u64.to_le_bytes());
    let same = Znode { projid: Some(7), ..link }.encode(BONUS, &mut layouts).unwrap();
    assert_eq!(same, link.encode(BONUS, &mut layouts).unwrap(), "links have no project");
}

#[test]
fn flags_as_kernels_set_them() {
    assert_eq!(flags(0o100_644, false, false), 0x408_0000_0004);
    assert_eq!(flags(0o040_755, false, false), 0x408_0000_0144);
    assert_eq!(flags(0o040_750, false, false), 0x408_0000_0044);
    assert_eq!(flags(0o120_777, false, true), 0x8408_0000_0104);
    assert_eq!(flags(0o100_644, true, false), 0x408_0000_0005);
}

#[test]
fn trivial_acls() {
    let aces = |mode, directory| {
        acl::trivial(mode, directory)
            .chunks(8)
            .map(|ace| {
                let half = |at: usize| u16::from_le_bytes([ace[at], ace[at + 1]]);
                let mask = u32::from_le_bytes([ace[4], ace[5], ace[6], ace[7]]);
                (half(0), half(2), mask)
            })
            .collect::<Vec<_>>()
    };
    let (owner, group, everyone) = (0x1000, 0x2040, 0x4000);
    assert_eq!(
        aces(0o644, false),
        [(0, owner, 0x1e_019f), (0, group, 0x12_0089), (0, everyone, 0x12_0089)]
    );
    assert_eq!(
        aces(0o755, true),
        [(0, owner, 0x1e_01ff), (0, group, 0x12_00a9), (0, everyone, 0x12_00a9)]
    );
    // A class with less than a wider one is denied the difference first.
    assert_eq!(aces(0o604, false)[..2], [(0, owner, 0x1), (1, group, 0x1)]);
    assert_eq!(aces(0o077, false)[0], (1, owner, 0x27));
    assert_eq!(aces(0o647, false).len(), 6);
}

#[test]
fn spills_where_the_kernel_does() {
    // 16 bytes of header, 160 of fixed attributes and the ACL: 144 are left in the bonus area.
    for (len, spills) in [(1, false), (144, false), (145, true), (4000, true)] {
        let mut layouts = Layouts::new();
        let value = vec![7; len];
        let znode = Znode { dxattr: Some(&value), ..file() };
        let SaEncoded { bonus, spill } = znode.encode(BONUS, &mut layouts).unwrap();
        let Some(spill) = spill.inspect(|spill| assert_eq!(spill.len() % 512, 0)) else {
            assert!(!spills);
            assert_eq!(bonus.len(), 176 + len);
            assert_eq!(numbers(&bonus, &layouts), with_base(&[16, 19, 20]));
            continue;
        };
        assert!(spills);
        assert_eq!(bonus.len(), BONUS - 128);
        assert_eq!(bonus[5] >> 2, 1, "the header shrinks to one length");
        assert_eq!(numbers(&bonus, &layouts), with_base(&[16, 19]));
        assert_eq!(read(&spill, &layouts), [(20, &value[..])]);
        assert_eq!(spill.len(), (8 + len).next_multiple_of(512));
    }
}

#[test]
fn an_attribute_in_the_way_of_the_pointer_spills_with_what_follows() {
    let mut layouts = Layouts::new();
    let (target, list) = ([b'a'; 60], [1; 100]);
    let link = Znode { mode: 0o120_777, symlink: Some(&target), ..file() };
    assert_eq!(link.encode(BONUS, &mut layouts).unwrap().spill, None);
    let link = Znode { dxattr: Some(&list), xattr_dir: Some(9), ..link };
    let SaEncoded { bonus, spill } = link.encode(BONUS, &mut layouts).unwrap();
    let spill = spill.unwrap();
    assert_eq!(numbers(&bonus, &layouts), with_base(&[16, 19]));
    let nine = 9_u64.to_le_bytes();
    assert_eq!(read(&spill, &layouts), [(17, &target[..]), (9, &nine), (20, &list)]);
    assert_eq!(spill[5] >> 2, 2);
}

#[test]
fn every_length_in_every_dnode_survives() {
    for capacity in [320, 320 + 512, 320 + 1024] {
        for len in (0..1400).chain([65_535]) {
            let mut layouts = Layouts::new();
            let list = vec![9; len];
            let target = vec![b't'; len / 3];
            let znode = Znode {
                dxattr: Some(&list),
                symlink: (len % 2 == 0).then_some(&target),
                xattr_dir: (len % 3 == 0).then_some(77),
                projid: (len % 5 == 0).then_some(0),
                ..file()
            };
            let SaEncoded { bonus, spill } = znode.encode(capacity, &mut layouts).unwrap();
            assert!(bonus.len() <= capacity - if spill.is_some() { 128 } else { 0 });
            let mut all = read(&bonus, &layouts);
            all.extend(spill.iter().flat_map(|spill| read(spill, &layouts)));
            assert_eq!(all.iter().find(|(number, _)| *number == 20).unwrap().1, list);
            let link = all.iter().find(|(number, _)| *number == 17).map(|(_, target)| *target);
            assert_eq!(link, znode.symlink);
            let optional = [znode.symlink.is_some(), len % 3 == 0, len % 5 == 0];
            assert_eq!(all.len(), 15 + optional.iter().filter(|there| **there).count());
        }
    }
}

#[test]
fn too_much_is_refused() {
    let long = vec![0; 65_536];
    let error = Znode { dxattr: Some(&long), ..file() }.encode(BONUS, &mut Layouts::new());
    assert_eq!(error, Err(SaError::TooLong { name: "ZPL_DXATTR", len: 65_536 }));
}

#[test]
fn damage_is_an_error_and_never_a_panic() {
    let mut layouts = Layouts::new();
    let znode = Znode { dxattr: Some(&[1; 40]), ..file() };
    let bonus = znode.encode(BONUS, &mut layouts).unwrap().bonus;
    let try_read = |buffer: &[u8]| {
        decode(buffer, |number| layouts.get(number), registered_length).map(|all| all.len())
    };
    for len in 0..bonus.len() {
        assert!(try_read(&bonus[..len]).is_err());
    }
    for at in 0..10 {
        for value in 0..=255 {
            let mut bad = bonus.clone();
            bad[at] = value;
            let _ = try_read(&bad);
        }
    }
    let mut bad = bonus;
    bad[4] = 9;
    assert_eq!(try_read(&bad), Err(SaError::UnknownLayout(9)));
}

fn xattrs(pairs: &[(&str, usize)]) -> Xattrs {
    pairs.iter().map(|(name, len)| (name.as_bytes().into(), vec![5; *len].into())).collect()
}

#[test]
fn xattrs_go_into_the_inode_while_they_fit() {
    let none = Xattrs::new();
    assert_eq!(pack_xattrs(&none), PackedXattrs::default());

    let small = xattrs(&[("security.selinux", 30), ("user.empty", 0)]);
    let packed = pack_xattrs(&small);
    assert!(packed.directory.is_empty());
    let list = nvlist::decode_xdr(&packed.sa.unwrap()).unwrap();
    assert_eq!(list.get("security.selinux"), Some(&nvlist::Value::Bytes([5; 30].into())));
    assert_eq!(list.get("user.empty"), Some(&nvlist::Value::Bytes([].into())));

    let large =
        xattrs(&[("user.a", 32_768), ("user.b", 32_769), ("user.c", 32_768), ("user.d", 9)]);
    let packed = pack_xattrs(&large);
    let names: Vec<_> = packed.directory.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, [b"user.b", b"user.c"]);
    let list = nvlist::decode_xdr(&packed.sa.unwrap()).unwrap();
    assert_eq!(list.iter().map(|(name, _)| name).collect::<Vec<_>>(), [b"user.a", b"user.d"]);

    let only_large = xattrs(&[("user.b", 40_000)]);
    assert_eq!(pack_xattrs(&only_large).sa, None);
}

#[test]
fn packed_xattrs_never_outgrow_the_length_field() {
    for value in 32_700..=32_768 {
        let both = xattrs(&[("user.a", value), ("user.b", 32_700)]);
        let packed = pack_xattrs(&both);
        let list = packed.sa.unwrap();
        assert!(list.len() <= 65_535);
        let znode = Znode { dxattr: Some(&list), ..file() };
        assert!(znode.encode(BONUS, &mut Layouts::new()).is_ok());
        let rest = if packed.directory.is_empty() { 32_700 } else { 0 };
        assert!(list.len() + 4 >= value + rest);
    }
}
