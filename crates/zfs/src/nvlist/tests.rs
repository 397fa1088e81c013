use super::*;

fn every_type() -> NvList {
    NvList::new()
        .with("boolean", Value::Boolean)
        .with("boolean value", true)
        .with("byte", Value::Byte(200))
        .with("i32", Value::I32(-5))
        .with("u32", Value::U32(u32::MAX))
        .with("i64", Value::I64(i64::MIN))
        .with("u64", 0x0102_0304_0506_0708)
        .with("string", "five!")
        .with("empty string", "")
        .with("bytes", &[1_u8, 2, 3][..])
        .with("no bytes", &[][..])
        .with("u8 array", Value::U8Array([0, 255].into()))
        .with("u64 array", Value::U64Array([1, u64::MAX].into()))
        .with("empty u64 array", Value::U64Array([].into()))
        .with("strings", Value::StringArray([b"a"[..].into(), b""[..].into()].into()))
        .with("list", NvList::new().with("x", 1))
        .with("lists", vec![NvList::new(), NvList::new().with("y", "z")])
        .with([0xff, 0xfe], 1)
}

#[test]
fn every_type_survives() {
    let list = every_type();
    let packed = encode_xdr(&list);
    assert_eq!(decode_xdr(&packed), Ok(list.clone()));
    assert_eq!(list.u64("u64"), Some(0x0102_0304_0506_0708));
    assert_eq!(list.string("string"), Some(&b"five!"[..]));
    assert_eq!(list.list("list").and_then(|list| list.u64("x")), Some(1));
    assert_eq!(list.lists("lists").map(<[_]>::len), Some(2));
    assert_eq!(list.u64("string"), None);
}

#[test]
fn sizes_are_known_before_packing() {
    let mut list = every_type();
    // An empty integer array is counted with a length word that is not written (nvpair.c).
    list.0.retain(|(name, _)| &**name != b"empty u64 array");
    let pairs: usize = list.iter().map(|(name, value)| xdr_pair_size(name, value)).sum();
    assert_eq!(encode_xdr(&list).len(), EMPTY_SIZE + pairs);
}

#[test]
fn bytes_of_one_pair() {
    let packed = encode_xdr(&NvList::new().with("version", 5000));
    #[rustfmt::skip]
    assert_eq!(packed, [
        1, 1, 0, 0, // XDR, little-endian
        0, 0, 0, 0, 0, 0, 0, 1, // version, NV_UNIQUE_NAME
        0, 0, 0, 36, 0, 0, 0, 32, // encoded and decoded size
        0, 0, 0, 7, b'v', b'e', b'r', b's', b'i', b'o', b'n', 0,
        0, 0, 0, 8, 0, 0, 0, 1, // UINT64, one element
        0, 0, 0, 0, 0, 0, 0x13, 0x88,
        0, 0, 0, 0, 0, 0, 0, 0,
    ]);
}

#[test]
fn damage_is_an_error_and_never_a_panic() {
    let packed = encode_xdr(&every_type());
    for len in 0..packed.len() {
        assert!(decode_xdr(&packed[..len]).is_err(), "cut to {len}");
    }
    for at in 0..packed.len() {
        for bit in 0..8 {
            let mut bad = packed.clone();
            bad[at] ^= 1 << bit;
            let _ = decode_xdr(&bad);
        }
    }
}

#[test]
fn nesting_is_bounded() {
    let deep = |depth| (0..depth).fold(NvList::new(), |list, _| NvList::new().with("l", list));
    assert!(decode_xdr(&encode_xdr(&deep(20))).is_ok());
    assert!(matches!(decode_xdr(&encode_xdr(&deep(21))), Err(NvError::Depth { .. })));
}

#[test]
fn other_encodings_and_versions_are_refused() {
    let mut packed = encode_xdr(&NvList::new());
    packed[0] = 0;
    assert_eq!(decode_xdr(&packed), Err(NvError::Encoding(0)));
    packed[0] = 1;
    packed[7] = 9;
    assert_eq!(decode_xdr(&packed), Err(NvError::Version { offset: 4, version: 9 }));
}
