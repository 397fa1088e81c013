//! Suites: what is good is taken, what is stale, wrong or not signed is not.

use std::fs;

use darksite::Location;
use darksite::source::{SourceError, read_index};
use jiff::ToSpan;
use pkg::deb::parse_packages;

use crate::archive::{Bench, Suite, now, test_key, write};
use crate::server::{Answer, Server};

fn refused(bench: &Bench, with: &str) -> SourceError {
    let error = bench.read(&bench.source("trixie")).unwrap_err();
    assert!(error.to_string().contains(with), "{error} does not tell {with:?}");
    error
}

#[test]
fn every_way_to_sign_and_compress() {
    let compressions: [&[&'static str]; 5] =
        [&[""], &["", ".gz"], &["", ".xz", ".gz"], &[".zst"], &[".xz"]];
    for compressions in compressions {
        for (inline, by_hash) in [(true, true), (true, false), (false, true), (false, false)] {
            let bench = Bench::new();
            let compressions = compressions.to_vec();
            let suite =
                Suite { inline, by_hash, compressions, ..Suite::new("trixie").with("a", "1") };
            bench.write(&suite);
            let state = bench.read(&bench.source("trixie")).unwrap();
            assert_eq!(state.locked.signature.is_some(), !inline);
            assert_eq!(state.locked.indexes.len(), 1);
            let text = read_index(&bench.store, &state.locked.indexes[0]).unwrap();
            assert_eq!(parse_packages(&text).packages[0].name, "a");
            // Again, with everything in the store.
            assert_eq!(bench.read(&bench.source("trixie")).unwrap().locked, state.locked);
        }
    }
}

#[test]
fn a_stranger_signs_nothing() {
    let bench = Bench::new();
    Suite::new("trixie").write(&bench.root(), &test_key());
    refused(&bench, "not signed by a trusted key");
    Suite { inline: false, ..Suite::new("trixie") }.write(&bench.root(), &test_key());
    refused(&bench, "not signed by a trusted key");
}

#[test]
fn changed_text_and_unsigned_text_are_refused() {
    let bench = Bench::new();
    bench.write(&Suite::new("trixie").with("a", "1"));
    let path = bench.root().join("dists/trixie/InRelease");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("Origin: Test", "Origin: Tset")).unwrap();
    refused(&bench, "not signed");
    // What stands before or after the signed text is not signed.
    for changed in [format!("Origin: x\n{text}"), format!("{text}\nOrigin: x\n")] {
        fs::write(&path, changed).unwrap();
        if let Ok(state) = bench.read(&bench.source("trixie")) {
            assert_eq!(state.release.origin, "Test");
        }
    }
    fs::write(&path, "Origin: Test\n").unwrap();
    refused(&bench, "not signed");
}

#[test]
fn stale_and_future_states_are_refused() {
    let bench = Bench::new();
    let stale = Suite { valid_until: Some(now() - 1.hour()), ..Suite::new("trixie") };
    bench.write(&stale);
    refused(&bench, "was valid until 2025-05-20T11:00:00Z: the mirror is stale");
    let mut source = bench.source("trixie");
    source.check_valid_until = false;
    bench.read(&source).unwrap();
    bench.write(&Suite { date: now() + 48.hours(), ..Suite::new("trixie") });
    refused(&bench, "is in the future");
}

#[test]
fn nobody_leads_us_back() {
    let mut bench = Bench::new();
    bench.write(&Suite::new("trixie"));
    bench.read(&bench.source("trixie")).unwrap();
    bench.write(&Suite { date: now() - 2.hours(), ..Suite::new("trixie") });
    refused(&bench, "is older than 2025-05-20T11:00:00Z, which was seen before");
    let mut source = bench.source("trixie");
    source.check_rollback = false;
    bench.read(&source).unwrap();
    // Another archive, whose suite has the same name, has another time.
    let other = std::mem::replace(&mut bench.key, test_key());
    bench.write(&Suite { date: now() - 3.hours(), ..Suite::new("trixie") });
    bench.read(&bench.source("trixie")).unwrap();
    bench.key = other;
    bench.write(&Suite { date: now() - 2.hours(), ..Suite::new("trixie") });
    refused(&bench, "is older than 2025-05-20T11:00:00Z, which was seen before");
}

#[test]
fn another_suite_is_not_taken_for_the_one_asked() {
    let bench = Bench::new();
    bench.write(&Suite::new("trixie"));
    fs::rename(bench.root().join("dists/trixie"), bench.root().join("dists/bookworm")).unwrap();
    let error = bench.read(&bench.source("bookworm")).unwrap_err().to_string();
    assert!(error.contains("is of stable (trixie)"), "{error}");
}

#[test]
fn what_is_missing_is_named() {
    let bench = Bench::new();
    refused(&bench, "cannot fetch dists/trixie/Release");
    bench.write(&Suite::new("trixie"));
    let mut source = bench.source("trixie");
    source.components = vec!["main".to_owned(), "contrib".to_owned()];
    let error = bench.read(&source).unwrap_err().to_string();
    assert!(error.contains("suite trixie has no component contrib; it has main"), "{error}");
    let suite = Suite { compressions: Vec::new(), ..Suite::new("trixie") };
    bench.write(&suite);
    refused(&bench, "has no index main/binary-amd64/Packages; it has the architectures amd64");
    let mut source = bench.source("trixie");
    source.mirrors.clear();
    assert!(bench.read(&source).unwrap_err().to_string().contains("no mirror to ask"));
}

#[test]
fn security_components_have_two_names() {
    let bench = Bench::new();
    bench.write(&Suite::new("trixie-security").with("a", "1"));
    bench.read(&bench.source("trixie-security")).unwrap();
}

#[test]
fn stale_and_missing_indexes() {
    // Without by-hash the index is another one than the signed file tells: a clear error.
    let bench = Bench::new();
    bench.write(&Suite { by_hash: false, ..Suite::new("trixie").with("a", "1") });
    let place = bench.root().join("dists/trixie/main/binary-amd64/Packages.xz");
    write(&place, b"stale");
    refused(&bench, "its indexes are not what its signed Release file tells");
    // By hash it is there, though the plain name has another state.
    let bench = Bench::new();
    bench.write(&Suite::new("trixie").with("a", "1"));
    let place = bench.root().join("dists/trixie/main/binary-amd64/Packages.xz");
    write(&place, b"stale");
    bench.read(&bench.source("trixie")).unwrap();
    // And the other way round: announced, but missing.
    let bench = Bench::new();
    bench.write(&Suite::new("trixie").with("a", "1"));
    fs::remove_dir_all(bench.root().join("dists/trixie/main/binary-amd64/by-hash")).unwrap();
    bench.read(&bench.source("trixie")).unwrap();
}

#[test]
fn a_mirror_that_changes_meanwhile_is_read_again() {
    let old = Bench::new();
    old.write(&Suite { by_hash: false, ..Suite::new("trixie").with("a", "1") });
    let new = Bench::new();
    let suite = Suite { by_hash: false, date: now(), ..Suite::new("trixie").with("a", "2") };
    suite.write(&new.root(), &old.key);
    let (before, after) = (old.root(), new.root());
    let server = Server::start(move |request| {
        let root = if request.number == 0 { &before } else { &after };
        match fs::read(root.join(&request.path[1..])) {
            Ok(bytes) => Answer::full(&bytes),
            Err(_) => Answer::status(404),
        }
    });
    let mut source = old.source("trixie");
    source.mirrors = vec![server.address.parse().unwrap()];
    let state = old.read(&source).unwrap();
    assert_eq!(state.locked.date, now());
}

#[test]
fn a_bad_mirror_is_passed_over() {
    let good = Bench::new();
    good.write(&Suite::new("trixie").with("a", "1"));
    let bad = Bench::new();
    bad.write(&Suite::new("trixie").with("a", "666"));
    let mut source = good.source("trixie");
    let nowhere: Location = "file:/nowhere/at/all".parse().unwrap();
    source.mirrors = vec![nowhere, bad.location(), good.location()];
    let state = good.read(&source).unwrap();
    assert_eq!(state.locked.mirror, good.location());
}

#[test]
fn a_mirror_that_is_half_there_is_passed_over() {
    // The key is the same: only what is missing tells the mirrors apart.
    let suite = || Suite { inline: false, by_hash: false, ..Suite::new("trixie").with("a", "1") };
    let good = Bench::new();
    good.write(&suite());
    let nowhere: Location = "http://127.0.0.1:1/".parse().unwrap();
    for lacking in ["Release.gpg", "main/binary-amd64/Packages.xz"] {
        let bad = Bench::new();
        // Of another date, so that its indexes are not those of the good one.
        let other = Suite { date: now() - 2.hours(), ..suite().with("b", "1") };
        other.write(&bad.root(), &good.key);
        fs::remove_file(bad.root().join("dists/trixie").join(lacking)).unwrap();
        let mut source = good.source("trixie");
        source.mirrors = vec![bad.location(), nowhere.clone(), good.location()];
        let state = good.read(&source).unwrap();
        assert_eq!(state.locked.mirror, good.location(), "{lacking}");
    }
}
