//! A lock outlives what mirrors have: the archive of snapshots still has it.

use std::fs;

use darksite::fetch::{Fetcher, Options};
use darksite::packages::{Places, indexes, packages};
use darksite::site::Site;
use darksite::verify;
use jiff::{Timestamp, ToSpan};

use crate::apt::mirror;
use crate::archive::{Suite, now, test_key};
use crate::server::{Answer, Server};

/// An archive of snapshots that has `kept`, indexes and packages at their times only.
fn snapshots(kept: std::path::PathBuf, indexes: Timestamp, packages: Timestamp) -> Server {
    let below = |date: Timestamp, name: &str| {
        date.strftime(&format!("/%Y%m%dT%H%M%SZ/{name}/")).to_string()
    };
    let places = [("dists", below(indexes, "dists")), ("pool", below(packages, "pool"))];
    Server::start(move |request| {
        let content = places.iter().find_map(|(directory, place)| {
            let path = request.path.strip_prefix(place)?;
            fs::read(kept.join(directory).join(path)).ok()
        });
        match content {
            Some(content) => Answer::full(&content),
            None => Answer::status(404),
        }
    })
}

#[test]
fn what_mirrors_have_lost_is_in_the_archive_of_snapshots() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let key = test_key();
    let suite = Suite { valid_until: None, ..Suite::new("trixie").with("a", "1").with("b", "1") };
    suite.write(&at("archive"), &key);
    let lock = mirror(&Site::open(at("site")).unwrap(), &at("archive"), &key, &["a", "b"]);
    let date = lock.date().unwrap();
    // The mirror goes on without what was locked, and another machine needs it.
    fs::rename(at("archive"), at("kept")).unwrap();
    let suite = Suite { date: now(), valid_until: None, ..Suite::new("trixie").with("a", "2") };
    suite.write(&at("archive"), &key);

    let site = Site::open(at("other")).unwrap();
    let fetcher = Fetcher::new(Options { rounds: 1, ..Options::default() }).unwrap();
    let nobody = packages(&lock, &|_| Places::default());
    let error = fetcher.all(site.store(), &nobody, &|_| {}).unwrap_err().to_string();
    assert!(error.contains("a_1_amd64.deb"), "{error}");

    let server = snapshots(at("kept"), date + 3.hours(), date + 36.hours());
    let places = |_: &_| Places { mirrors: Vec::new(), snapshots: server.address.parse().ok() };
    let wanted = [indexes(&lock, &places).unwrap(), packages(&lock, &places)].concat();
    let summary = fetcher.all(site.store(), &wanted, &|_| {}).unwrap();
    assert_eq!((summary.fetched, summary.kept), (4, 0));
    site.save_lock("test", &lock).unwrap();
    let verified =
        verify::site(&site, &|_| Ok(key.keyring()), jiff::Timestamp::now(), &|_| {}).unwrap();
    assert_eq!((verified.problems, verified.packages), (Vec::new(), 2));
}
