//! One fault at a time: it is found, called by its name, and exactly its files are named.

use std::sync::Arc;

use blk::{Memory, ReadAt, WriteAt};
use tree::{File, Inode, Kind, MemoryBlobs, Metadata, Tree};

use super::surgeon::{Surgeon, change, word};
use super::{ProblemKind, verify};
use crate::blkptr::{BlockKind, BlockPointer};
use crate::checksum::seal;
use crate::codec::Checksums;
use crate::crypt::Secret;
use crate::label::DATA_START;
use crate::nvlist::{NvList, Value};
use crate::read::{Device, FeatureState, label_offsets};
use crate::{Content, Dataset, Pool};

/// Offsets in a dnode: its bonus area with the system attributes as the writer orders them.
const ATTRIBUTES: usize = 64 + 128 + 8;
const SIZE: usize = ATTRIBUTES + 8;
const LINKS: usize = ATTRIBUTES + 7 * 8 + 4 * 16;

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(&mut next).take(length).collect()
}

pub(crate) fn pool(datasets: Vec<Dataset<'_>>) -> Pool<'_> {
    Pool {
        name: "tank".to_owned(),
        seed: [7; 32],
        timestamp: 1_700_000_000,
        history: "a test".to_owned(),
        datasets,
        ..Pool::default()
    }
}

/// A pool with some files, on one device.
pub(super) fn patient() -> Surgeon {
    let mut tree = Tree::new(Metadata { mode: 0o755, ..Metadata::default() });
    let mut blobs = MemoryBlobs::default();
    let directory = Metadata { mode: 0o755, ..Metadata::default() };
    let d = tree.make_directories("d", &directory).unwrap();
    tree.make_directories("d/below", &directory).unwrap();
    let mut add = |parent, name: &str, bytes: Vec<u8>| {
        let kind = Kind::File(File::dense(bytes.len() as u64, blobs.insert(bytes)));
        let metadata = Metadata { mode: 0o644, uid: 7, ..Metadata::default() };
        tree.insert(parent, name.as_bytes(), Inode { metadata, kind }).unwrap()
    };
    // No multiples of 64 KiB, which lie in metaslabs of their own, not in the first.
    add(d, "one", noise(1, 60 << 10));
    let two = add(d, "two", noise(2, 60 << 10));
    add(d, "big", noise(3, 500_000));
    for number in 0..40 {
        add(d, &format!("name of some length, number {number}"), Vec::new());
    }
    tree.link(d, b"two again", two).unwrap();
    let content = Content { tree: &tree, root: tree.root(), mounts: Default::default() };
    let dataset = |name: &str, content| Dataset {
        name: name.to_owned(),
        properties: Vec::new(),
        content,
        ..Dataset::default()
    };
    let pool = pool(vec![dataset("tank", None), dataset("tank/fs", Some(content))]);
    let device = Arc::new(Memory::zeroed(64 << 20));
    crate::write_pool(&*device, &pool, &blobs, &mut |_| {}).unwrap();
    let patient = Surgeon { device };
    assert_eq!(problems(&patient), []);
    patient
}

/// Kinds of problems and the files they name.
pub(super) fn problems(patient: &Surgeon) -> Vec<(ProblemKind, Vec<String>)> {
    let report = verify(&patient.pool()).unwrap();
    let problems = report.problems.iter().inspect(|problem| eprintln!("{problem}"));
    problems.map(|problem| (problem.kind, problem.files.clone())).collect()
}

pub(super) fn named(files: &[&str]) -> Vec<String> {
    files.iter().map(|file| format!("tank/fs:/{file}")).collect()
}

/// Number and first pointer of a file.
pub(super) fn find(patient: &Surgeon, path: &str) -> (u64, BlockPointer) {
    let pool = patient.pool();
    let fs = pool.filesystem(&pool.dataset("tank/fs").unwrap()).unwrap();
    let object = fs.resolve(path.as_bytes(), false).unwrap().object;
    (object.number, object.dnode.pointers[0])
}

/// The object of the first space map.
fn space_map(patient: &Surgeon) -> u64 {
    let pool = patient.pool();
    let mos = pool.mos().unwrap();
    let array = mos.object(pool.vdevs[0].metaslab_array).unwrap();
    word(&array.read_start(8, 8).unwrap(), 0)
}

#[test]
fn damaged_data() {
    let patient = patient();
    patient.flip(&find(&patient, "d/one").1, 0);
    assert_eq!(problems(&patient), [(ProblemKind::LostBlock, named(&["d/one"]))]);
    // A file that has several names is named by all.
    patient.flip(&find(&patient, "d/two").1, 0);
    let one = (ProblemKind::LostBlock, named(&["d/one"]));
    let two = (ProblemKind::LostBlock, named(&["d/two", "d/two again"]));
    let mut all = problems(&patient);
    all.sort();
    assert_eq!(all, [one, two]);
}

#[test]
fn damaged_metadata_in_one_copy_and_in_all() {
    let patient = patient();
    let (_, indirect) = find(&patient, "d/big");
    assert_eq!(indirect.level(), 1);
    patient.flip(&indirect, 1);
    assert_eq!(problems(&patient), [(ProblemKind::BadCopy, named(&["d/big"]))]);
    patient.flip(&indirect, 0);
    assert_eq!(problems(&patient), [(ProblemKind::LostBlock, named(&["d/big"]))]);
}

#[test]
fn a_damaged_directory() {
    let patient = patient();
    let (_, names) = find(&patient, "d");
    for copy in 0..2 {
        patient.flip(&names, copy);
    }
    assert_eq!(problems(&patient), [(ProblemKind::LostBlock, named(&["d"]))]);
}

#[test]
fn space_that_leaked() {
    let patient = patient();
    patient.mos(space_map(&patient), &mut |dnode| {
        // One more unit of 4 KiB in the only entry.
        patient.block(dnode, 0, &mut |map| change(map, 0, |entry| entry + (1 << 24)));
    });
    assert_eq!(problems(&patient), [(ProblemKind::Leak, vec![])]);
}

#[test]
fn space_that_is_used_and_free() {
    let patient = patient();
    let (_, bp) = find(&patient, "d/one");
    let dva = bp.copies(false).next().unwrap();
    patient.mos(space_map(&patient), &mut |dnode| {
        patient.block(dnode, 0, &mut |map| {
            change(map, 16, |_| 3 << 62 | ((dva.asize() >> 12) - 1) << 24);
            change(map, 24, |_| 1 << 63 | dva.offset() >> 12);
        });
        let bonus = 64 + 128 * usize::from(dnode[3]);
        change(dnode, bonus + 8, |length| length + 16);
        change(dnode, bonus + 16, |allocated| allocated - dva.asize());
    });
    assert_eq!(problems(&patient), [(ProblemKind::Unallocated, named(&["d/one"]))]);
}

#[test]
fn space_that_is_used_twice() {
    let patient = patient();
    let (_, one) = find(&patient, "d/one");
    let (two, _) = find(&patient, "d/two");
    patient.object("tank/fs", two, &mut |dnode| {
        dnode[64..192].copy_from_slice(&one.to_bytes());
    });
    let files = named(&["d/one", "d/two", "d/two again"]);
    let expected = [(ProblemKind::Leak, vec![]), (ProblemKind::DoubleAllocation, files)];
    assert_eq!(problems(&patient), expected);
}

#[test]
fn wrong_links_and_sizes() {
    let patient = patient();
    let number = |path| find(&patient, path).0;
    let (one, d, big) = (number("d/one"), number("d"), number("d/big"));
    patient.object("tank/fs", one, &mut |dnode| change(dnode, LINKS, |links| links + 1));
    assert_eq!(problems(&patient), [(ProblemKind::File, named(&["d/one"]))]);
    patient.object("tank/fs", one, &mut |dnode| change(dnode, LINKS, |links| links - 1));
    for at in [SIZE, LINKS] {
        patient.object("tank/fs", d, &mut |dnode| change(dnode, at, |value| value + 1));
        assert_eq!(problems(&patient), [(ProblemKind::File, named(&["d"]))]);
        patient.object("tank/fs", d, &mut |dnode| change(dnode, at, |value| value - 1));
    }
    patient.object("tank/fs", big, &mut |dnode| change(dnode, SIZE, |_| 100_000));
    assert_eq!(problems(&patient), [(ProblemKind::File, named(&["d/big"]))]);
}

#[test]
fn wrong_accounting() {
    let patient = patient();
    // The users' object, first entry of its micro ZAP.
    patient.objset("tank/fs", &mut |objset| {
        patient.block(&mut objset[1024..1536], 0, &mut |zap| change(zap, 64, |value| value + 512));
    });
    assert_eq!(problems(&patient), [(ProblemKind::Accounting, vec!["tank/fs".to_owned()])]);
}

#[test]
fn a_dnode_that_counts_wrongly() {
    let patient = patient();
    let (one, _) = find(&patient, "d/one");
    patient.object("tank/fs", one, &mut |dnode| change(dnode, 24, |used| used + 4096));
    let all = problems(&patient);
    assert!(all.contains(&(ProblemKind::Accounting, named(&["d/one"]))), "{all:?}");
    assert!(all.iter().all(|(kind, _)| *kind == ProblemKind::Accounting));
}

#[test]
fn a_damaged_label() {
    let patient = patient();
    patient.device.write_all_at(&[0xff; 64], (256 << 10) + (16 << 10) + 300).unwrap();
    assert_eq!(problems(&patient), [(ProblemKind::Device, vec![])]);
}

fn with(config: NvList, field: &str, value: u64) -> NvList {
    replaced(config, field, Value::U64(value))
}

fn replaced(config: NvList, field: &str, value: Value) -> NvList {
    let others = config.iter().filter(|(name, _)| *name != field.as_bytes());
    let list = others.fold(NvList::new(), |list, (name, value)| list.with(name, value.clone()));
    list.with(field, value)
}

#[test]
fn a_stale_label() {
    let patient = patient();
    patient.label(1, &|config| with(config, "txg", 3));
    assert_eq!(problems(&patient), [(ProblemKind::Device, vec![])]);
    let told = verify(&patient.pool()).unwrap().problems.remove(0).what;
    assert!(told.contains("memory: label 1 is of transaction group 3, the newest of "), "{told}");

    // Of a pool that was in use it may be the trace of an accident.
    (0..4).for_each(|label| patient.label(label, &|config| with(config, "state", 0)));
    let pool = patient.pool();
    assert!(pool.warnings.iter().any(|warning| warning.contains("label 1 is of")));
    assert!(verify(&pool).unwrap().is_sound());
}

#[test]
fn disks_of_a_mirror_that_do_not_belong_together() {
    let half = || Surgeon { device: Arc::new(Memory::zeroed(64 << 20)) };
    let (a, b) = (half(), half());
    let root = Dataset { name: "tank".to_owned(), ..Dataset::default() };
    let pool = pool(vec![root]);
    crate::write_mirror(&[&*a.device, &*b.device], &pool, &MemoryBlobs::default(), &mut |_| {})
        .unwrap();
    let told = |disks: &[(&str, &Surgeon)]| -> Vec<String> {
        let device = |(name, disk): &(&str, &Surgeon)| Device {
            name: (*name).to_owned(),
            data: disk.device.clone(),
        };
        let devices: Vec<Device> = disks.iter().map(device).collect();
        let report = verify(&crate::read::Pool::open(&devices).unwrap()).unwrap();
        report.problems.into_iter().map(|problem| problem.to_string()).collect()
    };
    assert!(told(&[("a", &a), ("b", &b)]).is_empty());
    let [twice, absent] = &told(&[("a", &a), ("c", &a)])[..] else { panic!("two problems") };
    assert!(twice.contains("c and a both say that they are vdev"), "{twice}");
    assert!(absent.contains("is absent"), "{absent}");

    (0..4).for_each(|label| b.label(label, &|config| with(config, "txg", 3)));
    let [stale] = &told(&[("b", &b), ("a", &a)])[..] else { panic!("one problem") };
    assert!(stale.starts_with("device: b: its labels are of transaction group 3"), "{stale}");

    (0..4).for_each(|label| b.label(label, &|config| with(config, "guid", 77)));
    let all = told(&[("a", &a), ("b", &b)]);
    assert!(all.iter().any(|text| text.contains("b says that it is vdev 77")), "{all:?}");
    assert!(all.iter().any(|text| text.contains("is absent")), "{all:?}");
}

/// What a checksum cannot notice, as who changed the pool changed it too.
#[test]
fn a_wrong_mac() {
    let Some(devices) = crate::fixture::devices(&["devenc"]) else { return };
    let mut bytes = vec![0; devices[0].data.size().unwrap() as usize];
    devices[0].data.read_exact_at(&mut bytes, 0).unwrap();
    let patient = Surgeon { device: Arc::new(Memory::from(bytes)) };
    // `os_portable_mac`.
    patient.objset("devenc/secret", &mut |objset| objset[720] ^= 1);
    assert_eq!(problems(&patient), []);
    let mut pool = patient.pool();
    pool.set_secrets(vec![Secret::Passphrase(b"correct-horse-battery".to_vec())]);
    let report = verify(&pool).unwrap();
    let found: Vec<_> = report.problems.iter().inspect(|problem| eprintln!("{problem}")).collect();
    assert!(found.iter().any(|problem| problem.what.contains("MAC")));
    assert!(found.iter().all(|problem| problem.files.iter().all(|file| file == "devenc/secret")));
}

/// A vdev has more metaslabs than its array has slots until the last of them is used.
#[test]
fn metaslabs_that_were_never_used() {
    let mut pool = patient().pool();
    pool.vdevs[0].asize *= 1024;
    let report = verify(&pool).unwrap();
    assert!(report.is_sound(), "{:?}", report.problems);
    assert!(report.allocated > 0);
    assert_eq!(crate::space::used(&pool).unwrap()[0].uncertain, Vec::<String>::new());
}

/// What an interrupted `zfs receive -s` left.
#[test]
fn a_dataset_that_is_half_received() {
    let patient = patient();
    let (one, _) = find(&patient, "d/one");
    patient.object("tank/fs", one, &mut |dnode| change(dnode, LINKS, |links| links + 1));
    let dataset = patient.pool().dataset("tank/fs").unwrap().object;
    patient.mos(dataset, &mut |dnode| {
        let flags = 64 + 128 * usize::from(dnode[3]) + 8 * 15;
        change(dnode, flags, |flags| flags | 1);
    });
    assert_eq!(problems(&patient), []);
    let notes = verify(&patient.pool()).unwrap().notes;
    assert!(notes.iter().any(|note| note.contains("files of tank/fs were not")), "{notes:?}");
    // Its blocks are judged all the same.
    patient.flip(&find(&patient, "d/one").1, 0);
    assert_eq!(problems(&patient), [(ProblemKind::LostBlock, named(&["d/one"]))]);
}

/// Where nothing is allocated in a patient.
pub(super) const FREE: u64 = (50 << 20) + (768 << 10);

/// The pointer to a gang block of `size` bytes whose header lies at `at`, in three copies, and
/// points to `parts`.
fn gang(patient: &Surgeon, at: u64, size: u64, parts: &[BlockPointer]) -> BlockPointer {
    let (kind, birth) = (BlockKind { object_type: 19, level: 0 }, 5);
    let bp = BlockPointer::stored(kind, &[at; 3], (4096, size, size), 2, &[0; 4], birth, 1);
    let mut words = *bp.words();
    for word in [1, 3, 5] {
        words[word] |= 1 << 63;
    }
    let mut header = vec![0; 512];
    for (slot, part) in header.chunks_exact_mut(128).zip(parts) {
        slot.copy_from_slice(&part.to_bytes());
    }
    seal(&mut header, &Checksums::gang_verifier(0, at, birth));
    patient.device.write_all_at(&header, DATA_START + at).unwrap();
    BlockPointer::from_words(words)
}

/// Headers may be larger than 512 bytes, which is found by trying.
#[test]
fn a_gang_header_of_unknown_size() {
    let patient = patient();
    let (_, part) = find(&patient, "d/one");
    let bp = gang(&patient, FREE, part.psize(), &[part]);
    let mut pool = patient.pool();
    pool.blocks.dynamic_gangs = true;
    let dva = bp.copies(false).next().unwrap();
    let mut faults = Vec::new();
    assert_eq!(pool.blocks.gang_parts(&bp, dva, &mut faults), Some(vec![part]));
    assert!(faults.is_empty(), "{faults:?}");
    // If it cannot be read at all, that is told.
    patient.flip(&bp, 0);
    assert_eq!(pool.blocks.gang_parts(&bp, dva, &mut faults), None);
    assert!(!faults.is_empty());
}

#[test]
fn gang_headers_that_have_no_end() {
    let patient = patient();
    let (_, part) = find(&patient, "d/one");
    let size = part.psize();
    let judge = |bp: &BlockPointer| {
        let pool = patient.pool();
        let (faults, lost) = pool.blocks.scrub(bp);
        assert_eq!(lost, pool.blocks.raw(bp).is_err());
        (faults.len(), lost)
    };
    assert_eq!(judge(&gang(&patient, FREE, size, &[part])), (0, false));
    // Longer than the block.
    assert_eq!(judge(&gang(&patient, FREE, size, &[part; 2])), (3, true));
    assert_eq!(judge(&gang(&patient, FREE, size - 512, &[part])), (3, true));
    // One that points to itself.
    let this = gang(&patient, FREE, size, &[]);
    assert_eq!(judge(&gang(&patient, FREE, size, &[this])), (3, true));
    // Each is nested in the next, twice, and there is nothing at their end.
    let mut inner = gang(&patient, FREE, 512, &[]);
    patient.flip(&inner, 0);
    for level in 1..12 {
        let at = FREE + level * 4096;
        inner = gang(&patient, at, 1024 << level, &[inner; 2]);
    }
    let (faults, lost) = judge(&inner);
    assert!(lost && faults <= 3 << 12, "{faults}");
}

/// Where an entry of a micro ZAP is: its value, which its name follows.
pub(super) fn entry(zap: &[u8], name: &str) -> usize {
    let named = |at: &usize| zap[at + 14..].starts_with(&[name.as_bytes(), &[0]].concat());
    (64..zap.len()).step_by(64).find(named).unwrap()
}

/// FreeBSD keeps a directory for shares (`SHARES` in the master node) that has no name.
#[test]
fn a_directory_for_shares() {
    let patient = patient();
    let (d, below) = (find(&patient, "d").0, find(&patient, "d/below").0);
    patient.object("tank/fs", d, &mut |dnode| {
        patient.block(dnode, 0, &mut |zap| {
            let at = entry(zap, "below");
            zap[at..at + 64].fill(0);
        });
        [SIZE, LINKS].iter().for_each(|at| change(dnode, *at, |value| value - 1));
    });
    let nameless = vec![format!("tank/fs: object {below}")];
    assert_eq!(problems(&patient), [(ProblemKind::File, nameless)]);
    patient.object("tank/fs", 1, &mut |master| {
        patient.block(master, 0, &mut |zap| {
            let at = entry(zap, "utf8only");
            change(zap, at, |_| below);
            zap[at + 14..at + 64].fill(0);
            zap[at + 14..at + 20].copy_from_slice(b"SHARES");
        });
    });
    assert_eq!(problems(&patient), []);
}

/// `zfs rewrite -P` leaves the birth of a block as it was, though no snapshot has it.
#[test]
fn a_block_that_was_rewritten() {
    let patient = patient();
    let (one, bp) = find(&patient, "d/one");
    let since = patient.pool().dataset("tank/fs").unwrap().previous_txg;
    let born = |flags: u64| {
        patient.object("tank/fs", one, &mut |dnode| {
            change(dnode, 64 + 8 * 7, |_| flags);
            change(dnode, 64 + 8 * 9, |_| bp.birth());
            change(dnode, 64 + 8 * 10, |_| since);
        });
    };
    born(1 << 63);
    assert_eq!(problems(&patient), []);
    // Deduplication has it older than it is, and then it is another's.
    born(0);
    assert_eq!(problems(&patient), [(ProblemKind::Leak, vec![])]);
}

/// The pool with one more feature in use.
fn with_feature(patient: &Surgeon, guid: &str) -> crate::read::Pool {
    let mut pool = patient.pool();
    pool.features.retain(|feature| feature.guid != guid);
    let guid = guid.to_owned();
    pool.features.push(FeatureState { guid, references: 1, needed_for_reading: false });
    pool
}

/// Clones are the same block; what else is used twice is wrong where there are clones, too.
#[test]
fn space_that_clones_share() {
    let patient = patient();
    let (_, one) = find(&patient, "d/one");
    let (two, _) = find(&patient, "d/two");
    let found = |at: usize, value: u64| {
        let mut words = *one.words();
        words[at] = value;
        let bp = BlockPointer::from_words(words);
        patient.object("tank/fs", two, &mut |dnode| dnode[64..192].copy_from_slice(&bp.to_bytes()));
        let pool = with_feature(&patient, "com.fudosecurity:block_cloning");
        let mut kinds = verify(&pool).unwrap().problems;
        kinds.retain(|problem| problem.kind == ProblemKind::DoubleAllocation);
        kinds.into_iter().map(|problem| problem.files).collect::<Vec<_>>()
    };
    let both = [named(&["d/one", "d/two", "d/two again"])];
    let none: [Vec<String>; 0] = [];
    assert_eq!(found(10, one.birth()), none);
    assert_eq!(found(9, one.birth() + 1), both);
    assert_eq!(found(12, 77), both);
}

/// What an older transaction group calls free may be all there is of the newest.
#[test]
fn nothing_is_free_after_a_rewind() {
    let patient = patient();
    let used = || crate::space::used(&patient.pool()).unwrap().remove(0);
    assert!(used().uncertain.is_empty() && used().used.bytes() < 32 << 20);
    patient.lose_newest();
    assert_eq!(problems(&patient), [(ProblemKind::Device, vec![])]);
    let used = used();
    let [reason] = &used.uncertain[..] else { panic!("{:?}", used.uncertain) };
    assert!(reason.contains("not the newest"), "{reason}");
    assert_eq!(used.used.bytes(), used.size);
}

/// Entries of file systems of version 1 do not tell what they are of.
#[test]
fn directories_of_entries_without_a_kind() {
    let patient = patient();
    let d = find(&patient, "d").0;
    let change_kinds = |links: u64| {
        patient.object("tank/fs", d, &mut |dnode| {
            patient.block(dnode, 0, &mut |zap| {
                for name in ["one", "below"] {
                    let at = entry(zap, name);
                    change(zap, at, |value| value << 4 >> 4);
                }
            });
            change(dnode, LINKS, |_| links);
        });
    };
    change_kinds(3);
    assert_eq!(problems(&patient), []);
    change_kinds(2);
    assert_eq!(problems(&patient), [(ProblemKind::File, named(&["d"]))]);
}

/// Counts may be anything.
#[test]
fn counts_beyond_all_measure() {
    let patient = patient();
    let (one, two) = (find(&patient, "d/one").0, find(&patient, "d/two").0);
    for object in [one, two] {
        patient.object("tank/fs", object, &mut |dnode| {
            // `dn_used`, and the fill count of its pointer.
            change(dnode, 24, |_| u64::MAX - 100);
            change(dnode, 64 + 8 * 11, |_| 1 << 63);
        });
    }
    let big = find(&patient, "d/big").0;
    patient.object("tank/fs", big, &mut |dnode| {
        patient.pointer(&mut dnode[64..192], &mut |indirect| {
            (0..2).for_each(|at| change(indirect, at * 128 + 8 * 11, |_| 1 << 63));
        });
    });
    let all = problems(&patient);
    assert!(all.iter().all(|(kind, _)| *kind == ProblemKind::Accounting), "{all:?}");
    for files in [&["d/one"][..], &["d/two", "d/two again"], &["d/big"]] {
        assert!(all.contains(&(ProblemKind::Accounting, named(files))), "{all:?}");
    }
}

/// What the tables of fast deduplication hold is not known.
#[test]
fn leaks_are_not_told_with_fast_deduplication() {
    let patient = patient();
    patient.mos(space_map(&patient), &mut |dnode| {
        patient.block(dnode, 0, &mut |map| change(map, 0, |entry| entry + (1 << 24)));
    });
    let report = verify(&with_feature(&patient, "com.klarasystems:fast_dedup")).unwrap();
    assert_eq!(report.problems, []);
    assert!(report.notes.iter().any(|note| note.starts_with("leaks were not looked for")));
}

/// A pool whose file system has a snapshot `one`, since when the file `new` came and nothing else
/// changed; `d/many` has more names than fit in a few blocks of dnodes, `d/big` has an indirect block, and
/// the attributes of `d/spilt` do not fit in its dnode.
fn history() -> Surgeon {
    let mut blobs = MemoryBlobs::default();
    let mut tree = |with_new: bool| {
        let mut tree = Tree::new(Metadata { mode: 0o755, ..Metadata::default() });
        let directory = Metadata { mode: 0o755, ..Metadata::default() };
        let d = tree.make_directories("d", &directory).unwrap();
        let many = tree.make_directories("d/many", &directory).unwrap();
        let mut add = |parent, name: &str, bytes: Vec<u8>, xattr: usize| {
            let kind = Kind::File(File::dense(bytes.len() as u64, blobs.insert(bytes)));
            let mut metadata = Metadata { mode: 0o644, ..Metadata::default() };
            if xattr > 0 {
                metadata.xattrs.insert(b"user.x"[..].into(), noise(9, xattr).into());
            }
            tree.insert(parent, name.as_bytes(), Inode { metadata, kind }).unwrap()
        };
        let big = add(d, "big", noise(3, 500_000), 0);
        add(d, "spilt", Vec::new(), 3000);
        for number in 0..300 {
            add(many, &format!("{number}"), Vec::new(), 0);
        }
        if with_new {
            add(d, "new", Vec::new(), 0);
        }
        tree.link(d, b"big again", big).unwrap();
        tree
    };
    let trees = [tree(false), tree(true)];
    let content = |tree: usize| {
        let tree = &trees[tree];
        Content { tree, root: tree.root(), mounts: Default::default() }
    };
    let root = Dataset { name: "tank".to_owned(), ..Dataset::default() };
    let fs = Dataset {
        name: "tank/fs".to_owned(),
        earlier: vec![crate::State { snapshot: "one".to_owned(), content: content(0) }],
        content: Some(content(1)),
        ..Dataset::default()
    };
    let device = Arc::new(Memory::zeroed(64 << 20));
    crate::write_pool(&*device, &pool(vec![root, fs]), &blobs, &mut |_| {}).unwrap();
    let patient = Surgeon { device };
    assert_eq!(problems(&patient), []);
    patient
}

/// Damages all copies of a block of metadata.
fn lose(patient: &Surgeon, bp: &BlockPointer) {
    let copies = bp.copies(false).count();
    assert!(copies > 1);
    (0..copies).for_each(|copy| patient.flip(bp, copy));
}

/// The note that there is instead of leaks where something was lost.
const NO_LEAKS: &str = "leaks were not looked for: parts of the tree could not be read";

#[test]
fn lost_indirect_blocks_and_attributes_that_snapshots_share() {
    let patient = history();
    let both = |names: &[&str]| {
        let of = |name: &&str| [format!("tank/fs:/{name}"), format!("tank/fs@one:/{name}")];
        let mut files: Vec<String> = names.iter().flat_map(of).collect();
        files.sort();
        files
    };
    let (_, indirect) = find(&patient, "d/big");
    assert_eq!(indirect.level(), 1);
    lose(&patient, &indirect);
    let report = verify(&patient.pool()).unwrap();
    let [lost] = &report.problems[..] else { panic!("{:?}", report.problems) };
    assert_eq!(lost.kind, ProblemKind::LostBlock);
    assert_eq!(lost.files, both(&["d/big", "d/big again"]));
    assert_eq!(report.notes.iter().filter(|note| *note == NO_LEAKS).count(), 1);

    let patient = history();
    let spill = {
        let pool = patient.pool();
        let fs = pool.filesystem(&pool.dataset("tank/fs").unwrap()).unwrap();
        fs.resolve(b"d/spilt", false).unwrap().object.dnode.spill.unwrap()
    };
    // The writer shares no spill blocks. Without its own an object is no inode any more.
    lose(&patient, &spill);
    assert_eq!(problems(&patient), [(ProblemKind::LostBlock, named(&["d/spilt"]))]);
}

/// Files have names as long as the directories that name them can be read.
#[test]
fn lost_dnodes() {
    let patient = history();
    let pool = patient.pool();
    let datasets = pool.datasets().unwrap();
    let fs = pool.filesystem(datasets.get("tank/fs").unwrap()).unwrap();
    let objset = &fs.objset;
    let many = fs.resolve(b"d/many", false).unwrap();
    let blocks: Vec<_> = objset.meta_object().pointers().map(Result::unwrap).collect();
    // A block that has only files of `d/many`, which both object sets have if it was not written anew.
    let per_block = u64::from(objset.meta.block_size) / 512;
    let (number, bp) = blocks[blocks.len() - 2];
    lose(&patient, &bp);
    let range = number * per_block..(number + 1) * per_block;
    let inside: Vec<_> = fs.read_dir(&many).unwrap();
    let inside = inside.iter().filter(|entry| range.contains(&entry.object));
    let mut lost: Vec<String> = inside
        .map(|entry| format!("tank/fs:/d/many/{}", String::from_utf8_lossy(&entry.name)))
        .collect();
    assert_eq!(lost.len() as u64, per_block);
    lost.sort();
    let report = verify(&patient.pool()).unwrap();
    let mut files = Vec::new();
    for problem in &report.problems {
        assert_eq!(problem.kind, ProblemKind::LostBlock, "{problem}");
        files.extend(problem.files.iter().cloned());
    }
    files.retain(|file| !file.starts_with("tank/fs@one"));
    assert_eq!(files, lost);
    assert!(report.notes.iter().any(|note| note == NO_LEAKS), "{:?}", report.notes);

    // Without its first block a file system cannot be opened.
    let patient = history();
    lose(&patient, &blocks[0].1);
    let all = problems(&patient);
    let nameless = format!("tank/fs: {} of the objects 0 to {}", per_block - 1, per_block - 1);
    assert!(all.contains(&(ProblemKind::LostBlock, vec![nameless])), "{all:?}");
    assert!(all.iter().any(|(_, files)| *files == ["tank/fs"]), "{all:?}");
}

/// The consequences are told too, but first what they follow from.
#[test]
fn more_disks_are_absent_than_parity_makes_up_for() {
    let all = ["devrz-a", "devrz-b", "devrz-c"];
    let Some(devices) = crate::fixture::devices(&all) else { return };
    let what = "raidz1-0 lacks 2 of its 3 devices and can do without 1";
    assert_eq!(crate::read::Pool::open(&devices[1..]).unwrap().losses(), Vec::<String>::new());
    let refusal = format!("pool devrz cannot be read: {what}");
    // Small blocks lie on one disk and its mirror, so there may be enough to begin with.
    let mut reports = 0;
    for device in &devices {
        match verify(&crate::read::Pool::open(std::slice::from_ref(device)).unwrap()) {
            Ok(report) => {
                reports += 1;
                let first = &report.problems[0];
                assert_eq!((first.kind, &*first.what), (ProblemKind::Vdev, what));
                assert!(report.problems.iter().all(|problem| problem.kind != ProblemKind::Leak));
            }
            Err(error) => assert_eq!(error.to_string(), refusal),
        }
    }
    assert!(reports > 0);
    let size = devices[0].data.size().unwrap();
    let mut labels = vec![0; size as usize];
    for label in label_offsets(size) {
        let area = &mut labels[label as usize..][..256 << 10];
        devices[0].data.read_exact_at(area, label).unwrap();
    }
    let device = Device { name: "labels".to_owned(), data: Arc::new(Memory::from(labels)) };
    assert_eq!(crate::read::Pool::open(&[device]).unwrap_err().to_string(), refusal);
}

/// `config` with a device below its vdev that `zpool offline` took out of use.
fn with_offline(config: NvList, guid: u64) -> NvList {
    let mut tree = config.list("vdev_tree").unwrap().clone();
    let mark = |child: &NvList| match child.u64("guid") == Some(guid) {
        true => with(child.clone(), "offline", 1),
        false => child.clone(),
    };
    let children = tree.lists("children").unwrap().iter().map(mark).collect();
    tree = replaced(tree, "children", Value::ListArray(children));
    replaced(config, "vdev_tree", Value::List(tree))
}

#[test]
fn a_disk_that_was_taken_offline() {
    let half = || Surgeon { device: Arc::new(Memory::zeroed(64 << 20)) };
    let (a, b) = (half(), half());
    let root = Dataset { name: "tank".to_owned(), ..Dataset::default() };
    crate::write_mirror(
        &[&*a.device, &*b.device],
        &pool(vec![root]),
        &MemoryBlobs::default(),
        &mut |_| {},
    )
    .unwrap();
    let open = |disks: &[(&str, &Surgeon)]| {
        let device = |(name, disk): &(&str, &Surgeon)| Device {
            name: (*name).to_owned(),
            data: disk.device.clone(),
        };
        crate::read::Pool::open(&disks.iter().map(device).collect::<Vec<_>>()).unwrap()
    };
    let whole = open(&[("a", &a), ("b", &b)]);
    let member = whole.members.iter().find(|member| member.device.as_deref() == Some("b"));
    let guid = member.unwrap().guid;
    (0..4).for_each(|label| b.label(label, &|config| with(config, "txg", 3)));
    assert!(!verify(&open(&[("a", &a), ("b", &b)])).unwrap().is_sound());
    (0..4).for_each(|label| a.label(label, &|config| with_offline(config, guid)));
    for disks in [&[("a", &a), ("b", &b)][..], &[("a", &a)]] {
        let pool = open(disks);
        let report = verify(&pool).unwrap();
        assert!(report.is_sound(), "{:?}", report.problems);
        let told = pool.warnings.iter().filter(|text| text.ends_with("it was taken offline"));
        assert_eq!(told.count(), 1, "{:?}", pool.warnings);
    }
}
