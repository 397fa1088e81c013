use std::collections::BTreeMap;

use super::*;

const SALT: u64 = 0x1234_5678_9abc_def1;

fn options() -> ZapOptions {
    ZapOptions::new(SALT)
}

fn fat() -> ZapOptions {
    ZapOptions { force_fat: true, ..options() }
}

fn word(object: &ZapObject, at: usize) -> u64 {
    u64::from_le_bytes(object.data[8 * at..8 * at + 8].try_into().unwrap())
}

fn half(block: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([block[at], block[at + 1]])
}

fn names(count: usize, pattern: impl Fn(usize) -> String) -> Vec<String> {
    (0..count).map(pattern).collect()
}

fn numbered(names: &[String]) -> Vec<Entry<'_>> {
    names.iter().zip(7..).map(|(name, value)| Entry::new(name, value)).collect()
}

/// Everything that was written can be iterated and found, and nothing else is there.
fn check(entries: &[Entry<'_>], object: &ZapObject) {
    let decoded = decode(&object.data, object.block_size).unwrap();
    assert_eq!(decoded.len(), entries.len());
    let decoded: BTreeMap<_, _> = decoded.iter().map(|e| (&*e.name, e.value.as_ref())).collect();
    let wanted: BTreeMap<_, _> = entries.iter().map(|e| (e.name, e.value)).collect();
    assert!(decoded == wanted);
    for entry in entries.iter().step_by(entries.len() / 500 + 1) {
        let found = lookup(&object.data, object.block_size, entry.name).unwrap();
        assert_eq!(found.as_ref().map(OwnedValue::as_ref), Some(entry.value));
    }
    assert_eq!(lookup(&object.data, object.block_size, b"not there"), Ok(None));
}

/// What the kernel asserts about a fat ZAP, beyond what reading needs.
fn check_fat(object: &ZapObject) {
    let block_size = object.block_size as usize;
    let blocks: Vec<&[u8]> = object.data.chunks(block_size).collect();
    assert_eq!(object.data.len() % block_size, 0);
    assert_eq!(word(object, 7), blocks.len() as u64, "zap_freeblk");
    let leaves: Vec<_> =
        blocks[1..].iter().filter(|b| b[..8] == [0, 0, 0, 0, 0, 0, 0, 0x80]).collect();
    assert_eq!(word(object, 8), leaves.len() as u64, "zap_num_leafs");
    let (table_blocks, shift) = (word(object, 3), word(object, 4));
    if table_blocks == 0 {
        assert_eq!((word(object, 2), shift), (0, 10));
    } else {
        assert_eq!(1 << shift, table_blocks << 11);
    }
    let mut total = 0;
    for leaf in leaves {
        let prefix_len = half(leaf, 32);
        assert!(u64::from(prefix_len) <= shift);
        let chunks = &leaf[48 + 1024..];
        assert_eq!(chunks.len(), 638 * 24);
        let of_kind = |kind| chunks.chunks(24).filter(|chunk| chunk[0] == kind).count();
        let (free, entries) = (of_kind(253), of_kind(252));
        assert_eq!(usize::from(half(leaf, 28)), free, "lh_nfree");
        assert_eq!(usize::from(half(leaf, 30)), entries, "lh_nentries");
        assert_eq!(free + entries + of_kind(251), 638);
        total += entries;
        let mut listed = 0;
        let mut at = half(leaf, 34);
        while at != 0xffff {
            let chunk = &chunks[usize::from(at) * 24..][..24];
            assert_eq!(chunk[0], 253);
            at = half(chunk, 22);
            listed += 1;
        }
        assert_eq!(listed, free, "free list");
        let prefix = u64::from_le_bytes(leaf[16..24].try_into().unwrap());
        for entry in chunks.chunks(24).filter(|chunk| chunk[0] == 252) {
            let hash = u64::from_le_bytes(entry[16..24].try_into().unwrap());
            let found = if prefix_len == 0 { 0 } else { hash >> (64 - prefix_len) };
            assert_eq!(found, prefix, "lh_prefix");
        }
    }
    assert_eq!(word(object, 9), total as u64, "zap_num_entries");
}

#[test]
fn empty() {
    let micro = encode(&[], &options()).unwrap();
    assert_eq!((micro.block_size, micro.data.len()), (512, 512));
    check(&[], &micro);
    let fat = encode(&[], &fat()).unwrap();
    assert_eq!((fat.block_size, fat.data.len()), (16384, 32768));
    check(&[], &fat);
    check_fat(&fat);
}

#[test]
fn micro_bytes() {
    let object = encode(&[Entry::new("abc", 0x0102)], &options()).unwrap();
    assert_eq!(word(&object, 0), 0x8000_0000_0000_0003);
    assert_eq!(word(&object, 1), SALT);
    assert_eq!(object.data[64..82], *b"\x02\x01\0\0\0\0\0\0\0\0\0\0\0\0abc\0");
}

#[test]
fn micro_grows_by_512_bytes_up_to_128_kib_then_turns_fat() {
    for (count, size) in [(7, 512), (8, 1024), (15, 1024), (16, 1536), (2047, 131_072)] {
        let names = names(count, |at| format!("name {at}"));
        let object = encode(&numbered(&names), &options()).unwrap();
        assert_eq!((object.block_size as usize, object.data.len()), (size, size));
        check(&numbered(&names), &object);
    }
    let names = names(2048, |at| format!("name {at}"));
    let object = encode(&numbered(&names), &options()).unwrap();
    assert_eq!(word(&object, 0), 0x8000_0000_0000_0001);
    check(&numbered(&names), &object);
    check_fat(&object);
}

#[test]
fn long_names_and_other_values_need_a_fat_zap() {
    let is_fat = |entry: Entry<'_>| {
        let object = encode(&[entry], &options()).unwrap();
        check(&[entry], &object);
        object.block_size == 16384
    };
    assert!(!is_fat(Entry::new(&"x".repeat(49), 1)));
    assert!(is_fat(Entry::new(&"x".repeat(50), 1)));
    assert!(is_fat(Entry::new(&"x".repeat(255), 1)));
    let values = [
        ZapValue::U64s(&[1, 2, u64::MAX]),
        ZapValue::U64s(&[]),
        ZapValue::U32s(&[1, 2, 3, 4, 5, 6, 0xffee_ddcc]),
        ZapValue::U16s(&[5, 6, 4, 12, 13, 7, 11, 0, 1, 2, 3, 8, 16, 19]),
        ZapValue::Bytes(b"rpool/ROOT\0"),
        ZapValue::Bytes(&[9; 8192]),
    ];
    for value in values {
        assert!(is_fat(Entry { name: b"name", value }));
    }
}

#[test]
fn integers_are_big_endian_inside_leaves() {
    let value = ZapValue::U16s(&[0x0102, 0x0304]);
    let object = encode(&[Entry { name: b"2", value }], &options()).unwrap();
    let chunks = &object.data[16384 + 48 + 1024..];
    assert_eq!(chunks[..2], [252, 2]);
    assert_eq!(chunks[2..16], [0xff, 0xff, 1, 0, 2, 0, 2, 0, 2, 0, 0, 0, 0, 0]);
    assert_eq!(chunks[24..28], [251, b'2', 0, 0]);
    assert_eq!(chunks[48..54], [251, 1, 2, 3, 4, 0]);
    assert_eq!(chunks[72], 253);
}

#[test]
fn order_of_entries_does_not_matter() {
    let names = names(5000, |at| format!("file-{at}.txt"));
    let entries = numbered(&names);
    let reversed: Vec<_> = entries.iter().rev().copied().collect();
    assert!(encode(&entries, &options()) == encode(&reversed, &options()));
}

#[test]
fn hundred_thousand_names_of_all_lengths() {
    let names = names(100_000, |at| format!("{at:0width$}", width = 6 + at % 200));
    let entries = numbered(&names);
    let object = encode(&entries, &options()).unwrap();
    assert!(word(&object, 8) > 1024 && word(&object, 3) > 0, "the table is outside the header");
    check(&entries, &object);
    check_fat(&object);
}

/// Names with the same 28 bits of hash, found by trying.
fn colliding(salt: u64) -> Vec<String> {
    let mut seen = BTreeMap::<u64, String>::new();
    let mut found = Vec::new();
    for at in 0_u64.. {
        // Counting alone would not do: a CRC keeps similar names apart.
        let name = format!("{:x}", at.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        if let Some(other) = seen.insert(hash_name(name.as_bytes(), salt, 0), name.clone()) {
            found.extend([name, other]);
            if found.len() >= 20 {
                break;
            }
        }
    }
    found
}

#[test]
fn equal_hashes_get_different_collision_numbers() {
    let names = colliding(SALT);
    let entries = numbered(&names);

    let micro = encode(&entries, &options()).unwrap();
    check(&entries, &micro);
    let mut numbers = BTreeMap::<u64, Vec<u8>>::new();
    for slot in micro.data.chunks(64).skip(1).take(entries.len()) {
        let name = slot[14..].split(|&byte| byte == 0).next().unwrap();
        numbers.entry(hash_name(name, SALT, 0)).or_default().push(slot[8]);
    }
    assert!(numbers.values().all(|numbers| *numbers == [0, 1]), "{numbers:?}");

    let fat = encode(&entries, &fat()).unwrap();
    check(&entries, &fat);
    check_fat(&fat);
    let mut numbers = BTreeMap::<Vec<u8>, Vec<u8>>::new();
    for chunk in fat.data[16384 + 48 + 1024..].chunks(24).filter(|chunk| chunk[0] == 252) {
        numbers.entry(chunk[16..24].into()).or_default().push(chunk[12]);
    }
    assert!(numbers.values().all(|numbers| *numbers == [0, 1]), "{numbers:?}");
}

#[test]
fn folded_case_hashes_alike() {
    let options = ZapOptions { normflags: NORM_TO_UPPER, force_fat: true, ..options() };
    let entries = [Entry::new("Daily", 1), Entry::new("daily", 2), Entry::new("weekly", 3)];
    let object = encode(&entries, &options).unwrap();
    check(&entries, &object);
    check_fat(&object);
    assert_eq!(object.data[16384 + 36], 1, "ZLF_ENTRIES_CDSORTED");
    assert_eq!(word(&object, 11), 2);
}

#[test]
fn refusals() {
    let refused =
        |entries: &[Entry<'_>], options: &ZapOptions| encode(entries, options).unwrap_err();
    let long = "x".repeat(256);
    assert_eq!(refused(&[], &ZapOptions::new(0)), ZapError::Salt);
    assert_eq!(refused(&[Entry::new("", 1)], &options()), ZapError::Name(String::new()));
    assert_eq!(refused(&[Entry::new(&long, 1)], &options()), ZapError::Name(long.clone()));
    assert_eq!(refused(&[Entry::new("a\0", 1)], &options()), ZapError::Name("a\0".into()));
    let twice = [Entry::new("a", 1), Entry::new("b", 1), Entry::new("a", 2)];
    assert_eq!(refused(&twice, &options()), ZapError::Duplicate("a".into()));
    let upper = ZapOptions { normflags: NORM_TO_UPPER, ..options() };
    assert_eq!(refused(&[Entry::new("é", 1)], &upper), ZapError::Name("é".into()));
    let other = ZapOptions { normflags: 0x10, ..options() };
    assert_eq!(refused(&[], &other), ZapError::Normalization(0x10));
    let value = ZapValue::Bytes(&[0; 8193]);
    let error = refused(&[Entry { name: b"v", value }], &options());
    assert_eq!(error, ZapError::ValueTooLong { name: "v".into(), len: 8193 });
}

#[test]
fn damage_is_an_error_and_never_a_panic() {
    let names = names(3000, |at| format!("name {at}"));
    let object = encode(&numbered(&names), &options()).unwrap();
    let read = |data: &[u8], block_size| {
        let _ = decode(data, block_size);
        let _ = lookup(data, block_size, b"name 77");
    };
    for len in (0..object.data.len()).step_by(1009) {
        read(&object.data[..len], object.block_size);
    }
    for block_size in [0, 1, 511, 512, 4096, 1 << 20, 1 << 31, u32::MAX] {
        read(&object.data, block_size);
    }
    let header = (0..128).chain(8192..8200);
    let leaf = 16384..16384 + 48 + 1024 + 24 * 40;
    for at in header.chain(leaf) {
        for value in [0x00, 0x01, 0x7f, 0x80, 0xff] {
            let mut bad = object.data.clone();
            bad[at] = value;
            read(&bad, object.block_size);
        }
    }
    assert!(decode(b"", 512).is_err());
}

#[test]
fn keys_that_are_numbers() {
    assert_eq!(int_key(0xdead_beef), "deadbeef");
    assert_eq!(int_key(0), "0");
}
