//! What is wrong is told with its name, and with what to do.

use std::fs;
use std::os::unix::fs::symlink;

use jiff::{Timestamp, ToSpan};

use super::{World, event, says};

#[test]
fn a_current_that_leads_nowhere_is_no_empty_darksite() {
    let world = World::new();
    world.archive(Timestamp::now() - 3.hours(), &[("one", "1", "")]);
    fs::create_dir_all(world.path("darksite/blobs")).unwrap();
    says(&world, 3, &["sbom"], &["nothing was published here yet"]);
    let synced = event(&world.run(0, &["sync", "recipe.toml"]), "synced");
    let id = synced["snapshot"].as_str().unwrap();
    let link = world.path("darksite/current");
    let told = ["darksite/current: it leads to no snapshot", id, "sync", "--snapshot"];
    fs::remove_file(&link).unwrap();
    for nowhere in [None, Some("snapshots/20200101T000000Z-0123abcd")] {
        nowhere.map_or(Ok(()), |nowhere| symlink(nowhere, &link)).unwrap();
        let serve = ["serve", "--listen", "localhost:0"];
        for args in [&["copy", "medium"][..], &["sbom"], &serve, &["list", "--packages"]] {
            let error = says(&world, 3, args, &told);
            assert!(!error.contains("nothing was published"), "{error}");
        }
        assert!(!world.path("medium").exists());
    }
    assert_eq!(world.run(0, &["list", "--packages", "--snapshot", id]).len(), 1);
    world.run(0, &["copy", "medium", "--snapshot", id]);
    world.run(0, &["sync", "recipe.toml"]);
    assert_eq!(world.run(0, &["list", "--packages"]).len(), 1);
}

#[test]
fn verify_knows_how_much_it_reads() {
    let world = World::new();
    world.archive(Timestamp::now() - 3.hours(), &[("one", "1", "two"), ("two", "1", "")]);
    world.run(0, &["sync", "recipe.toml"]);
    world.run(0, &["copy", "medium"]);
    for args in [&["verify"][..], &["verify", "medium"]] {
        let events = world.run(0, &[args, &["--keyring", "key.asc"]].concat());
        let stage = events.iter().find(|event| event["name"] == "verifying").unwrap();
        let read = &event(&events, "verified")["bytes"];
        assert!(read.as_u64().unwrap() > 0 && stage["total"] == *read, "{stage}: {read}");
    }
}
