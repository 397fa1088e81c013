use proptest::prelude::*;

use super::*;

fn sample() -> Vec<Record> {
    vec![
        Record::Begin(Begin {
            features: features::LZ4 | features::COMPRESSED | features::SA_SPILL,
            creation: 1_700_000_000,
            objset_type: 2,
            flags: 12,
            to_guid: 0xdead_beef,
            to_name: b"tank/home@now".to_vec(),
            ..Begin::default()
        }),
        Record::FreeObjects { first: 0, count: 1, to_guid: 0xdead_beef },
        Record::Object(ObjectRecord {
            object: 1,
            object_type: 19,
            bonus_type: 44,
            block_size: 131_072,
            bonus_length: 170,
            slots: 1,
            to_guid: 0xdead_beef,
            bonus: vec![3; 176],
            ..ObjectRecord::default()
        }),
        Record::Write(WriteRecord {
            object: 1,
            object_type: 19,
            logical_size: 131_072,
            compression: 15,
            compressed_size: 4096,
            key: [1, 2, 3, 4, 5],
            data: vec![7; 4096],
            ..WriteRecord::default()
        }),
        Record::WriteEmbedded(EmbeddedWrite {
            object: 1,
            offset: 131_072,
            length: 131_072,
            compression: 15,
            logical_size: 131_072,
            size: 21,
            data: vec![9; 24],
            ..EmbeddedWrite::default()
        }),
        Record::Spill(SpillRecord {
            object: 1,
            length: 512,
            data: vec![1; 512],
            ..SpillRecord::default()
        }),
        Record::Free { object: 1, offset: 262_144, length: u64::MAX, to_guid: 0xdead_beef },
        Record::ObjectRange {
            first: 0,
            count: 32,
            to_guid: 1,
            crypt: CryptParameters { salt: [1; 8], iv: [2; 12], mac: [3; 16] },
            flags: 2,
        },
        Record::Redact { object: 1, offset: 0, length: 5, to_guid: 1 },
        Record::WriteByReference { object: 1, offset: 2, length: 3, to_guid: 4, like: [5, 6, 7] },
    ]
}

fn written(records: &[Record]) -> Vec<u8> {
    let mut writer = StreamWriter::new(Vec::new());
    records.iter().for_each(|record| writer.write(record).unwrap());
    writer.end(0xdead_beef).unwrap();
    writer.finish(false).unwrap()
}

fn read(bytes: &[u8]) -> Result<Vec<Record>, StreamError> {
    let mut reader = StreamReader::new(bytes);
    let mut records = Vec::new();
    while let Some(record) = reader.next_record()? {
        records.push(record);
    }
    Ok(records)
}

#[test]
fn records_come_back_and_damage_is_found() {
    let records = sample();
    let bytes = written(&records);
    let mut back = read(&bytes).unwrap();
    let Some(Record::End(end)) = back.pop() else { panic!("no end") };
    assert_eq!((back, end.to_guid), (records, 0xdead_beef));
    // Every byte counts; those of lengths and types may fail in other ways.
    for at in (312..bytes.len()).step_by(41) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        assert!(read(&damaged).is_err(), "byte {at}");
    }
    assert!(matches!(read(&bytes[..bytes.len() - 1]), Err(StreamError::Io { .. })));
    assert!(matches!(read(&[1; 400]), Err(StreamError::NotAStream { .. })));
}

#[test]
fn a_compound_stream_ends_twice() {
    let mut writer = StreamWriter::new(Vec::new());
    let begin = Begin { compound: true, payload: vec![1; 40], ..Begin::default() };
    writer.write(&Record::Begin(begin)).unwrap();
    writer.end(0).unwrap();
    sample().iter().for_each(|record| writer.write(record).unwrap());
    writer.end(1).unwrap();
    let bytes = writer.finish(true).unwrap();
    let records = read(&bytes).unwrap();
    let ends = records.iter().filter(|record| matches!(record, Record::End(_))).count();
    assert_eq!(ends, 3);
}

/// A spill block's pointer lies where a long bonus area ends.
#[test]
fn a_spill_block_never_overlaps_a_bonus_area() {
    let of_object = |bonus: usize| {
        let begin = Begin { objset_type: 2, to_guid: 1, ..Begin::default() };
        let object = ObjectRecord {
            object: 1,
            object_type: 19,
            bonus_type: 44,
            block_size: 512,
            bonus_length: bonus as u32,
            slots: 1,
            bonus: vec![1; bonus],
            ..ObjectRecord::default()
        };
        let spill =
            SpillRecord { object: 1, length: 512, data: vec![1; 512], ..Default::default() };
        let records = [Record::Begin(begin), Record::Object(object), Record::Spill(spill)];
        let mut receiver = Receiver::new(blk::Memory::zeroed(8 << 20)).unwrap();
        receiver.receive(&written(&records)[..])
    };
    of_object(192).unwrap();
    let error = of_object(200).unwrap_err().to_string();
    assert!(error.contains("no room"), "{error}");
    assert!(of_object(328).is_err());
}

/// As OpenZFS 2.3 sends one that is in its pointer.
#[test]
fn an_embedded_spill_block_comes_as_a_block_before_the_end() {
    let received = |bonus: usize, offset: u64| {
        let begin = Begin { objset_type: 2, to_guid: 1, ..Begin::default() };
        let object = ObjectRecord {
            object: 1,
            object_type: 19,
            bonus_type: 44,
            block_size: 131_072,
            bonus_length: bonus as u32,
            slots: 1,
            bonus: vec![1; bonus],
            ..ObjectRecord::default()
        };
        let spill = EmbeddedWrite {
            object: 1,
            offset,
            length: 3584,
            logical_size: 3584,
            compression: 15,
            size: 21,
            data: vec![9; 24],
            ..EmbeddedWrite::default()
        };
        let records = [Record::Begin(begin), Record::Object(object), Record::WriteEmbedded(spill)];
        let mut receiver = Receiver::new(blk::Memory::zeroed(8 << 20)).unwrap();
        let result = receiver.receive(&written(&records)[..]);
        result.map(|()| receiver.objset(1).unwrap().object(1).unwrap().dnode.spill.unwrap())
    };
    let spill = received(192, (2 * 3584u64).wrapping_neg()).unwrap();
    assert!(spill.is_embedded());
    assert_eq!((spill.object_type(), spill.embedded_payload()[..21].to_vec()), (44, vec![9; 21]));
    assert!(received(200, (2 * 3584u64).wrapping_neg()).is_err());
    assert!(received(192, (3 * 3584u64).wrapping_neg()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn hostile_streams_give_errors_only(
        changes in proptest::collection::vec((0usize..7000, any::<u8>()), 1..20),
    ) {
        let mut bytes = written(&sample());
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        let _ = read(&bytes);
    }
}

/// A stream, full or not, tells of the same objects as the snapshot has.
#[test]
fn snapshots_of_the_kernel_are_sent() {
    let Some(pool) = crate::fixture::pool(&["dev23"]) else { return };
    let datasets = pool.datasets().unwrap().datasets;
    let mut snapshots: Vec<_> = datasets.iter().filter(|dataset| dataset.is_snapshot).collect();
    snapshots.sort_by_key(|snapshot| (snapshot.directory, snapshot.creation_txg));
    let mut previous: Option<&crate::read::Dataset> = None;
    for snapshot in snapshots {
        let older = previous.filter(|older| older.directory == snapshot.directory);
        for from in [None, older] {
            for options in
                [SendOptions::default(), SendOptions { compressed: false, embedded: false }]
            {
                let mut writer = StreamWriter::new(Vec::new());
                send_snapshot(&pool, snapshot, from, options, &mut writer).unwrap();
                let bytes = writer.finish(false).unwrap();
                let records = read(&bytes).unwrap();
                let objects = records.iter().filter(|record| matches!(record, Record::Object(_)));
                let all = pool.objset(snapshot).unwrap().objects().count();
                if from.is_none() {
                    assert_eq!(objects.count(), all);
                } else {
                    assert!(objects.count() <= all);
                }
            }
        }
        previous = Some(snapshot);
    }
}

#[test]
fn a_tree_is_sent_with_its_list() {
    let Some(pool) = crate::fixture::pool(&["dev23"]) else { return };
    let datasets = pool.datasets().unwrap().datasets;
    let last = datasets
        .iter()
        .filter(|dataset| dataset.is_snapshot)
        .max_by_key(|dataset| dataset.creation_txg)
        .unwrap();
    let (head, snapshot) = last.name.split_once('@').unwrap();
    let mut writer = StreamWriter::new(Vec::new());
    send_tree(&pool, head, snapshot, None, SendOptions::default(), &mut writer).unwrap();
    let records = read(&writer.finish(true).unwrap()).unwrap();
    let Some(Record::Begin(begin)) = records.first() else { panic!("no begin") };
    let list = crate::nvlist::decode_xdr(&begin.payload).unwrap();
    let members = list.list("fss").unwrap();
    assert!(members.iter().len() > 0);
    let begins = records.iter().filter(|record| matches!(record, Record::Begin(_))).count();
    let ends = records.iter().filter(|record| matches!(record, Record::End(_))).count();
    assert!(begins > 1 && ends == begins + 1);
    let none = send_tree(
        &pool,
        head,
        "none",
        None,
        SendOptions::default(),
        &mut StreamWriter::new(Vec::new()),
    );
    assert!(matches!(none, Err(SendError::Refused { .. })));
}

/// Of a file in blocks of another size, those that did not change would be lost.
#[test]
fn a_file_keeps_the_size_of_its_blocks() {
    let stream = |from_guid: u64, block_size: u32, generation: u64, blocks: u64| {
        let mut bonus = vec![0; 176];
        bonus[..6].copy_from_slice(&[0x5a, 0x50, 0x2f, 0, 2, 8]);
        bonus[16 + 16..16 + 24].copy_from_slice(&generation.to_le_bytes());
        let object = ObjectRecord {
            object: 1,
            object_type: 19,
            bonus_type: 44,
            block_size,
            bonus_length: 176,
            slots: 1,
            bonus,
            ..ObjectRecord::default()
        };
        let begin = Begin { objset_type: 2, to_guid: from_guid + 1, from_guid, ..Begin::default() };
        let mut records = vec![Record::Begin(begin), Record::Object(object)];
        records.extend((0..blocks).map(|block| {
            Record::Write(WriteRecord {
                object: 1,
                object_type: 19,
                offset: block * u64::from(block_size),
                logical_size: block_size.into(),
                data: vec![7; block_size as usize],
                ..WriteRecord::default()
            })
        }));
        written(&records)
    };
    let receive = |blocks: u64, generation: u64, size: u32| {
        let mut receiver = Receiver::new(blk::Memory::zeroed(8 << 20)).unwrap();
        receiver.receive(&stream(0, 4096, 5, blocks)[..]).unwrap();
        receiver.receive(&stream(1, size, generation, 1)[..])
    };
    for size in [512, 8192] {
        let error = receive(3, 5, size).unwrap_err().to_string();
        assert!(error.starts_with("cannot receive ") && error.contains("object 1 "), "{error}");
        // Another file, or a file of one block.
        receive(3, 6, size).unwrap();
        receive(1, 5, size).unwrap();
    }
    receive(3, 5, 4096).unwrap();
}

#[test]
fn a_tree_goes_on_from_a_snapshot_that_is_there() {
    let dataset = |name: &str, snapshot: Option<&str>| crate::Dataset {
        name: name.to_owned(),
        snapshot: snapshot.map(str::to_owned),
        ..crate::Dataset::default()
    };
    let datasets = vec![
        dataset("tank", Some("now")),
        dataset("tank/new", None),
        dataset("tank/new/old", Some("now")),
        dataset("tank/newer", Some("now")),
    ];
    let device = std::sync::Arc::new(blk::Memory::zeroed(64 << 20));
    let pool = crate::verify::tests::pool(datasets);
    crate::write_pool(&*device, &pool, &::tree::MemoryBlobs::default(), &mut |_| {}).unwrap();
    let patient = crate::verify::surgeon::Surgeon { device };
    let send = |from| {
        let mut writer = StreamWriter::new(Vec::new());
        let (pool, options) = (patient.pool(), SendOptions::default());
        let left_out = send_tree(&pool, "tank", "now", from, options, &mut writer)?;
        Ok::<_, SendError>((writer.finish(true)?, left_out))
    };
    // It could have had the snapshot.
    let error = send(None).unwrap_err().to_string();
    assert!(error.starts_with("cannot send tank/new@now: there is no such snapshot"), "{error}");
    let object = patient.pool().dataset("tank/new").unwrap().object;
    patient.mos(object, &mut |dnode| {
        let creation = 64 + 128 * usize::from(dnode[3]) + 8 * 7;
        crate::verify::surgeon::change(dnode, creation, |txg| txg + 100);
    });
    let (sent, left_out) = send(None).unwrap();
    assert_eq!(left_out, ["tank/new", "tank/new/old"]);
    let sent: Vec<_> = read(&sent)
        .unwrap()
        .into_iter()
        .filter_map(|record| match record {
            Record::Begin(begin) => Some(String::from_utf8(begin.to_name).unwrap()),
            _ => None,
        })
        .collect();
    assert_eq!(sent, ["tank@now", "tank@now", "tank/newer@now"]);
    let error = send(Some("before")).unwrap_err().to_string();
    assert!(error.contains("tank@before"), "{error}");

    // Without its block of a size that can be nobody knows what is below.
    let directory = patient.pool().dataset("tank/newer").unwrap().directory;
    patient.mos(directory, &mut |dnode| dnode[8..10].fill(0));
    let error = send(None).unwrap_err();
    assert!(matches!(&error, SendError::Read(read) if read.is_damage()), "{error}");
    assert!(error.to_string().starts_with("dataset tank/newer: "), "{error}");
}

#[test]
fn a_stream_tells_that_case_was_ignored() {
    let device = std::sync::Arc::new(blk::Memory::zeroed(64 << 20));
    let tank = crate::Dataset {
        name: "tank".to_owned(),
        snapshot: Some("now".to_owned()),
        ..crate::Dataset::default()
    };
    let pool = crate::verify::tests::pool(vec![tank]);
    crate::write_pool(&*device, &pool, &::tree::MemoryBlobs::default(), &mut |_| {}).unwrap();
    let patient = crate::verify::surgeon::Surgeon { device };
    let flags = || {
        let pool = patient.pool();
        let snapshot = pool.dataset("tank@now").unwrap();
        let mut writer = StreamWriter::new(Vec::new());
        send_snapshot(&pool, &snapshot, None, SendOptions::default(), &mut writer).unwrap();
        match read(&writer.finish(false).unwrap()).unwrap().first() {
            Some(Record::Begin(begin)) => begin.flags,
            _ => panic!("no begin"),
        }
    };
    assert_eq!(flags(), 12);
    let object = patient.pool().dataset("tank@now").unwrap().object;
    patient.mos(object, &mut |dnode| {
        let at = 64 + 128 * usize::from(dnode[3]) + 8 * 15;
        crate::verify::surgeon::change(dnode, at, |flags| flags | 1 << 16);
    });
    assert_eq!(flags(), 14);
}

/// What is written has holes without births, so a sender must not believe that holes of a history have some.
#[test]
fn holes_have_had_births_since_the_newest_state_only() {
    let tree = ::tree::Tree::new(::tree::Metadata { mode: 0o755, ..Default::default() });
    let content = crate::Content { tree: &tree, root: tree.root(), mounts: Default::default() };
    let tank = crate::Dataset {
        name: "tank".to_owned(),
        earlier: vec![crate::State { snapshot: "a".to_owned(), content: content.clone() }],
        content: Some(content),
        snapshot: Some("b".to_owned()),
        ..crate::Dataset::default()
    };
    let device = std::sync::Arc::new(blk::Memory::zeroed(64 << 20));
    let pool = crate::verify::tests::pool(vec![tank]);
    crate::write_pool(&*device, &pool, &::tree::MemoryBlobs::default(), &mut |_| {}).unwrap();
    let pool = crate::verify::surgeon::Surgeon { device }.pool();
    let mos = pool.mos().unwrap();
    let enabled = pool.directory_object(&mos, "feature_enabled_txg").unwrap().unwrap();
    let enabled = crate::read::zap::number(&enabled, b"com.delphix:hole_birth").unwrap().unwrap();
    let txg = |name| pool.dataset(name).unwrap().creation_txg;
    assert!(txg("tank@a") < enabled && enabled <= txg("tank@b"), "{enabled}");
}
