//! What checksums do not tell: somebody made the pool to do harm.

use super::surgeon::{Surgeon, change};
use super::tests::{FREE, entry, find, named, patient, problems};
use super::{Problem, ProblemKind, verify};
use crate::blkptr::{BlockKind, BlockPointer};
use crate::checksum::fletcher4;
use crate::label::DATA_START;
use crate::send::{SendOptions, StreamWriter, send_snapshot};
use blk::WriteAt;

/// Gives entries of `d` other names, and objects.
fn rename(patient: &Surgeon, changes: &[(&str, &str, Option<u64>)]) {
    let (d, _) = find(patient, "d");
    patient.object("tank/fs", d, &mut |dnode| {
        patient.block(dnode, 0, &mut |zap| {
            for (old, new, object) in changes {
                let at = entry(zap, old);
                zap[at + 14..at + 64].fill(0);
                zap[at + 14..at + 14 + new.len()].copy_from_slice(new.as_bytes());
                object.iter().for_each(|object| change(zap, at, |_| *object));
            }
        });
    });
}

/// The first problem of the names of `d`, which is told by whatever reads them.
fn refusal(patient: &Surgeon) -> String {
    let pool = patient.pool();
    let fs = pool.filesystem(&pool.dataset("tank/fs").unwrap()).unwrap();
    let d = fs.inode(fs.root).and_then(|root| fs.lookup(&root, b"d")).unwrap().unwrap();
    let d = fs.inode(d.object).unwrap();
    let error = fs.read_dir(&d).unwrap_err().to_string();
    let (entries, first) = fs.readable_entries(&d);
    assert_eq!(first.unwrap().to_string(), error);
    assert!(fs.tree_of_objects(d.object.number).is_err());
    for two in entries.windows(2) {
        assert!(two[0].name < two[1].name, "{two:?}");
    }
    for entry in entries {
        assert!(!entry.name.starts_with(b".") && !entry.name.contains(&b'/'), "{entry:?}");
    }
    error
}

#[test]
fn names_that_lead_out_of_their_directory() {
    for name in ["..", ".", "../one", "/etc/shadow"] {
        let patient = patient();
        rename(&patient, &[("one", name, None)]);
        let told = refusal(&patient);
        assert!(told.ends_with(&format!("the name \"{name}\" cannot be in it")), "{told}");
        let all = problems(&patient);
        assert!(all.contains(&(ProblemKind::File, named(&["d"]))), "{all:?}");
    }
}

/// A symbolic link, and a directory of the same name whose files would go through it.
#[test]
fn two_entries_of_one_name() {
    let patient = patient();
    rename(&patient, &[("one", "two", None)]);
    assert!(refusal(&patient).ends_with("the name \"two\" is in it twice"));
    let all = problems(&patient);
    assert!(all.contains(&(ProblemKind::File, named(&["d"]))), "{all:?}");
}

/// Indirect blocks that point to the next one eight times: more than could ever be followed.
#[test]
fn indirect_blocks_that_are_shared() {
    let patient = patient();
    let (big, _) = find(&patient, "d/big");
    let mut bp = BlockPointer::HOLE;
    for level in 1..9 {
        let block = bp.to_bytes().repeat(8);
        let at = FREE + u64::from(level) * 4096;
        patient.device.write_all_at(&block, DATA_START + at).unwrap();
        let (kind, sizes) = (BlockKind { object_type: 19, level }, (4096, 1024, 1024));
        bp = BlockPointer::stored(kind, &[at], sizes, 2, &fletcher4(&block), 5, 0);
    }
    patient.object("tank/fs", big, &mut |dnode| {
        dnode[1..3].copy_from_slice(&[10, 9]);
        change(dnode, 16, |_| (1 << 24) - 1);
        dnode[64..192].copy_from_slice(&bp.to_bytes());
    });
    let mut pool = patient.pool();
    assert_eq!(pool.blocks.most_bytes, 8 * (64 << 20));
    pool.blocks.most_bytes = 8 << 20;
    let fs = pool.filesystem(&pool.dataset("tank/fs").unwrap()).unwrap();
    let found: Vec<_> = fs.inode(big).unwrap().object.pointers().collect();
    let [Err(error)] = &found[..] else { panic!("{} pointers", found.len()) };
    assert!(error.to_string().contains("more blocks than"), "{error}");
    let found: Vec<_> = fs.inode(big).unwrap().object.data_runs(u64::MAX).collect();
    assert!(matches!(&found[..], [Err(_)]), "{found:?}");
    let dataset = pool.dataset("tank/fs").unwrap();
    let error = crate::dump::objects(&pool, Some(&dataset), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("more blocks than"), "{error}");
    let sent = crate::read::Dataset { is_snapshot: true, ..pool.dataset("tank/fs").unwrap() };
    let mut stream = StreamWriter::new(std::io::sink());
    let sent = send_snapshot(&pool, &sent, None, SendOptions::default(), &mut stream);
    let error = sent.unwrap_err().to_string();
    assert!(error.contains("more blocks than"), "{error}");
    let problems = verify(&pool).unwrap().problems;
    let named = |problem: &&Problem| problem.files == named(&["d/big"]);
    assert!(problems.iter().filter(named).any(|problem| problem.what.contains("more blocks than")));
}
