//! Pools made by a real kernel are sound; damage is found and named.
#![allow(clippy::unwrap_used)]

mod common;

use zfs::crypt::Secret;
use zfs::read::Pool;
use zfs::verify::{ProblemKind, verify};

fn sound(images: &[&str]) {
    let Some(pool) = common::open(images) else { return };
    let report = verify(&pool).unwrap();
    for (name, totals) in &report.blocks {
        eprintln!("{:>8} {:>12} {:>12}  {name}", totals.count, totals.psize, totals.asize);
    }
    let problems: Vec<_> = report.problems.iter().map(ToString::to_string).collect();
    assert!(problems.is_empty(), "{images:?}: {problems:#?}");
    assert!(report.allocated > 1 << 20 && report.inodes > 0);
}

#[test]
fn pools_of_a_kernel_are_sound() {
    sound(&["dev21"]);
    sound(&["dev23"]);
    sound(&["devmir-a", "devmir-b"]);
    sound(&["devrz-a", "devrz-b", "devrz-c"]);
}

#[test]
fn an_encrypted_pool_is_sound_without_its_key() {
    sound(&["devenc"]);
    let Some(pool) = common::open(&["devenc"]) else { return };
    let report = verify(&pool).unwrap();
    assert!(report.unseen > 0);
    let named = report.notes.iter().filter(|note| note.ends_with("were not looked at: no key"));
    assert_eq!(named.count() as u64, report.unseen);
}

#[test]
fn an_encrypted_pool_is_sound_to_its_macs_with_its_key() {
    let Some(mut pool) = common::open(&["devenc"]) else { return };
    for passphrase in ["correct-horse-battery", "another-passphrase"] {
        pool.set_secrets(vec![Secret::Passphrase(passphrase.as_bytes().to_vec())]);
        let report = verify(&pool).unwrap();
        let problems: Vec<_> = report.problems.iter().map(ToString::to_string).collect();
        assert!(problems.is_empty(), "{problems:#?}");
        assert_eq!(report.notes.is_empty(), passphrase.starts_with("correct"));
    }
}

#[test]
fn a_missing_half_of_a_mirror_is_told() {
    let Some(pool) = common::open(&["devmir-a"]) else { return };
    let report = verify(&pool).unwrap();
    let kinds: Vec<_> = report.problems.iter().map(|problem| problem.kind).collect();
    assert_eq!(kinds, [ProblemKind::Device], "{:?}", report.problems);
}

#[test]
fn damage_is_found_and_its_file_named() {
    let Some(mut devices) = common::devices(&["dev21"]) else { return };
    let bad = {
        let pool = Pool::open(&devices).unwrap();
        let dataset = pool.dataset("dev21/ROOT/default").unwrap();
        let fs = pool.filesystem(&dataset).unwrap();
        let file = fs.resolve(b"random-1m", true).unwrap();
        let places = file.object.places(3).unwrap();
        places[0].1
    };
    devices[0].data = std::sync::Arc::new(common::Damaged {
        inner: devices[0].data.clone(),
        // Behind the labels at the front and the boot area.
        at: bad + (4 << 20) + 1000,
    });
    let pool = Pool::open(&devices).unwrap();
    let report = verify(&pool).unwrap();
    let [problem] = &*report.problems else { panic!("{:#?}", report.problems) };
    assert_eq!(problem.kind, ProblemKind::LostBlock);
    assert!(!problem.files.is_empty());
    for file in &problem.files {
        assert!(file.starts_with("dev21/ROOT/") && file.ends_with(":/random-1m"), "{file}");
    }
}
