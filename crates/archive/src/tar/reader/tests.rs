use super::*;

/// A header with a right checksum.
pub(crate) fn header(name: &str, typeflag: u8, size: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |field: &format::Field, text: &[u8]| {
        block[field.range.start..][..text.len()].copy_from_slice(text);
    };
    put(&format::NAME, name.as_bytes());
    put(&format::MODE, b"0000644");
    put(&format::SIZE, format!("{size:011o}").as_bytes());
    block[format::MAGIC].copy_from_slice(format::USTAR);
    block[format::TYPEFLAG] = typeflag;
    checksum(&mut block);
    block
}

pub(crate) fn checksum(block: &mut [u8; BLOCK]) {
    let sum = Header(*block).sum();
    block[format::CHECKSUM.range.clone()].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn padded(data: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    data.resize(data.len().next_multiple_of(BLOCK), 0);
    data
}

fn file(name: &str, data: &[u8]) -> Vec<u8> {
    [&header(name, b'0', data.len() as u64)[..], &padded(data)].concat()
}

fn pax(records: &[u8]) -> Vec<u8> {
    [&header("pax", b'x', records.len() as u64)[..], &padded(records)].concat()
}

fn entries(archive: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, TarError> {
    let mut reader = Reader::new(archive);
    let mut all = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut data = Vec::new();
        loop {
            let chunk = reader.chunk()?;
            if chunk.is_empty() {
                break;
            }
            data.extend_from_slice(chunk);
        }
        all.push((entry, data));
    }
    Ok(all)
}

fn problem(archive: &[u8]) -> String {
    entries(archive).unwrap_err().to_string()
}

const END: [u8; 1024] = [0; 1024];

#[test]
fn entries_can_be_skipped() {
    let archive = [file("a", &[1; 600]), file("b", b"xyz"), END.to_vec()].concat();
    let mut reader = Reader::new(&archive[..]);
    assert_eq!(reader.next_entry().unwrap().unwrap().path, b"a");
    let second = reader.next_entry().unwrap().unwrap();
    assert_eq!((second.path.as_slice(), second.offset), (&b"b"[..], 1536));
    assert_eq!(reader.chunk().unwrap(), b"xyz");
    assert!(reader.chunk().unwrap().is_empty());
    assert!(reader.next_entry().unwrap().is_none());
}

#[test]
fn sparse_file_of_form_1_0() {
    let records = b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n25 GNU.sparse.name=a b/c\n\
                    28 GNU.sparse.realsize=4096\n";
    let data = [padded(b"2\n1024\n3\n4096\n0\n"), b"xyz".to_vec()].concat();
    let archive = [pax(records), file("dummy", &data), END.to_vec()].concat();
    let (entry, data) = entries(&archive).unwrap().remove(0);
    assert_eq!(entry.path, b"a b/c");
    assert_eq!(data, b"xyz");
    let extents = Some([Extent { offset: 1024, length: 3 }].into());
    let kind = EntryKind::File { size: 4096, extents, data_offset: 2048, data_size: 3 };
    assert_eq!(entry.kind, kind);
    for map in ["9\n1\n1\n", "1\n0\n", "x\n", "1\n4095\n3\n", "99999999999999999999999\n"] {
        let archive = [pax(records), file("dummy", &padded(map.as_bytes())), END.to_vec()].concat();
        assert!(
            problem(&archive).starts_with("entry \"a b/c\" at byte 1024: the map of this sparse")
        );
    }
}

#[test]
fn old_sparse_file() {
    let mut block = header("s", b'S', 25);
    let mut pairs = String::new();
    for offset in 0..4 {
        pairs += &format!("{:011o}\0{:011o}\0", offset * 100, 1);
    }
    block[format::SPARSE_IN_HEADER].copy_from_slice(pairs.as_bytes());
    block[format::SPARSE_MORE] = 1;
    block[format::SPARSE_SIZE.range.clone()].copy_from_slice(b"00000020000\0");
    checksum(&mut block);
    let mut more = [0; BLOCK];
    pairs.clear();
    for offset in 4..25 {
        pairs += &format!("{:011o}\0{:011o}\0", offset * 100, 1);
    }
    more[format::SPARSE_IN_BLOCK].copy_from_slice(pairs.as_bytes());
    let archive = [&block[..], &more, &padded(&[7; 25]), &END].concat();
    let (entry, data) = entries(&archive).unwrap().remove(0);
    assert_eq!(data, [7; 25]);
    let EntryKind::File { size: 0o20000, extents: Some(extents), .. } = entry.kind else {
        panic!("{entry:?}")
    };
    assert_eq!(extents.len(), 25);
    assert_eq!(extents[24], Extent { offset: 2400, length: 1 });
}

#[test]
fn damaged_archives() {
    let whole = [file("a", &[1; 600]), END.to_vec()].concat();
    for length in 0..whole.len() - 1024 {
        let error = entries(&whole[..length]).unwrap_err();
        match length {
            0..512 => assert!(matches!(error.problem, Problem::NotTar), "{length}: {error}"),
            _ => assert!(matches!(error.problem, Problem::Truncated), "{length}: {error}"),
        }
    }
    assert_eq!(
        problem(&whole[..whole.len() - 1024]),
        "at byte 1536: the archive ends here, before its end mark; it is truncated"
    );
    let twice = [whole.clone(), whole.clone()].concat();
    assert!(problem(&twice).starts_with("at byte 2560: data follows the end"));
    let mut flipped = [file("b", b""), whole].concat();
    flipped[512] ^= 1;
    assert!(problem(&flipped).starts_with("at byte 512: the header's checksum is wrong"));
    assert_eq!(problem(&[b'x'; 2000]), "at byte 0: this is not a tar archive");
}

#[test]
fn impossible_headers() {
    let huge = header("h", b'x', 1 << 32);
    assert!(problem(&huge).contains("larger than the limit of 16777216 bytes"));
    let half = [&header("h", b'x', 9 << 20)[..], &b"8 a=bcd\n".repeat(9 << 17)].concat();
    assert!(problem(&half.repeat(2)).contains("extended headers of 18874368 bytes are larger"));
    let lie = header("h", b'x', 1 << 20);
    assert!(problem(&lie).contains("truncated"));
    let link = [&header("h", b'1', 5)[..], &padded(b"hello"), &END].concat();
    assert_eq!(
        problem(&link),
        "entry \"h\" at byte 0: a hard link with content of its own (5 bytes)"
    );
    assert!(problem(&header("h", b'M', 5)).contains("an entry of type 'M' is not supported"));
    let mut owner = header("h", b'0', 0);
    owner[format::UID.range.clone()].copy_from_slice(&[0x80, 0, 0, 1, 0, 0, 0, 0]);
    checksum(&mut owner);
    assert!(problem(&owner).contains("field uid of the header has no usable number"));
    assert!(problem(&[pax(b"9 path=a\n"), END.to_vec()].concat()).contains("truncated"));
}
