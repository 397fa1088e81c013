//! What is wrong is told with its name, and with what to do.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use jiff::{Timestamp, ToSpan};
use tree::Digest;

use super::{World, deb, event, says};

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

#[test]
fn what_is_damaged_is_told_with_the_way_out() {
    let world = World::new();
    let date = Timestamp::now() - 3.hours();
    world.archive(date, &[("one", "1", "two"), ("two", "1.5", "")]);
    world.run(0, &["sync", "recipe.toml"]);
    world.run(0, &["copy", "medium"]);
    let verify = |code, more: &[&str]| -> Vec<String> {
        let events = world.run(code, &[&["verify", "--keyring", "key.asc"], more].concat());
        let problems = event(&events, "verified")["problems"].clone();
        serde_json::from_value(problems).unwrap()
    };
    let one = |problems: &[String], with: &[&str]| {
        assert_eq!(problems.len(), 1, "{problems:?}");
        with.iter().for_each(|with| assert!(problems[0].contains(with), "{problems:?}: {with}"));
    };
    let write = |path: &str, text: &[u8]| {
        // Not there yet, or read-only as blobs are; writing tells if that failed.
        let _ = fs::set_permissions(world.path(path), Permissions::from_mode(0o644));
        fs::write(world.path(path), text).unwrap();
    };

    let name = Digest::of(&deb("two", "1.5")).to_string();
    let blob = format!("darksite/blobs/{}/{}", &name[..2], &name[2..]);
    write(&blob, b"damaged");
    let told =
        ["it is the package two 1.5", "remove it and run kldload darksite sync for a recipe"];
    one(&verify(5, &[]), &[&told[..], &[&blob, "damaged: SHA-256 is "]].concat());
    fs::remove_file(world.path(&blob)).unwrap();
    let problems = verify(5, &[]);
    assert!(
        problems.iter().any(|text| text.starts_with(&blob)
            && text.ends_with(
                "two 1.5; kldload darksite sync for a recipe that needs it fetches it again"
            )),
        "{problems:?}"
    );
    world.run(0, &["sync", "recipe.toml"]);
    assert!(verify(0, &[]).is_empty());

    write("medium/pool/main/two_1.5_all.deb", b"damaged");
    one(
        &verify(5, &["medium"]),
        &[told[0], "kldload darksite copy to this directory makes it good"],
    );
    world.run(0, &["copy", "medium"]);
    assert!(verify(0, &["medium"]).is_empty());
    write("darksite/current/dists/trixie/main/binary-amd64/Packages", b"damaged");
    let problems = verify(5, &[]);
    assert!(
        problems.iter().any(|text| text.ends_with("; kldload darksite sync makes it good")),
        "{problems:?}"
    );
    world.run(0, &["sync", "recipe.toml"]);
    assert!(verify(0, &[]).is_empty());

    // The lock of an older snapshot says what its files do not.
    let older = fs::canonicalize(world.path("darksite/current")).unwrap();
    world.archive(date + 1.hour(), &[("one", "2", "")]);
    world.run(0, &["update", "recipe.toml"]);
    world.run(0, &["sync", "recipe.toml"]);
    let lock = older.join("darksite.lock");
    let text = fs::read_to_string(&lock).unwrap();
    let gone = "kldload darksite gc --keep-snapshots N removes it";
    let id = older.file_name().unwrap().to_str().unwrap();
    fs::write(&lock, text.replace("package two 1.5 ", "package two 1.6 ")).unwrap();
    let problems = verify(5, &[]);
    assert!(problems.iter().any(|text| text.contains(id) && text.contains(gone)), "{problems:?}");
    fs::write(&lock, "nonsense").unwrap();
    one(&verify(5, &[]), &[id, "line 1", gone]);
    says(&world, 3, &["gc"], &[id, "nothing is removed", gone]);
    world.run(0, &["gc", "--keep-snapshots", "1"]);
    assert!(verify(0, &[]).is_empty());

    // The lock of a recipe.
    let locks = fs::read_dir(world.path("darksite/locks")).unwrap().next().unwrap().unwrap().path();
    let name = locks.file_stem().unwrap().to_str().unwrap();
    let gone = format!("kldload darksite gc --forget {name} removes it");
    fs::write(&locks, "nonsense").unwrap();
    one(&verify(5, &[]), &[name, "line 1", "kldload darksite sync of its recipe", &gone]);
    let error = says(&world, 3, &["gc"], &["nothing is removed", &gone]);
    assert_eq!(error.matches("line 1").count(), 1, "{error}");
    world.run(0, &["sync", "recipe.toml"]);
    world.run(0, &["gc"]);
}

#[test]
fn a_bill_of_materials_has_no_events_in_it() {
    let world = World::new();
    world.archive(Timestamp::now() - 3.hours(), &[("one", "1", "")]);
    world.run(0, &["sync", "recipe.toml"]);
    says(&world, 2, &["sbom", "--json"], &["the document is JSON already", "-o FILE"]);
    world.run(0, &["sbom", "-o", "sbom.json"]);
}

#[test]
fn one_is_no_plural() {
    let world = World::new();
    world.archive(Timestamp::now() - 3.hours(), &[("one", "1", "")]);
    world.run(0, &["sync", "recipe.toml"]);
    let says = |args: &[&str], with: &str| {
        let output = world.command(args).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(with), "{text}");
    };
    world.write("darksite/partial/stray", "12");
    says(&["gc"], "removed 1 file (2 B), 0 snapshots and 0 locks; ");
    says(&["list"], "  1 package, ");
    world.write("darksite/locks/x.lock", "nonsense");
    says(&["verify", "--keyring", "key.asc"], "1 PROBLEM: 1 package, ");
}
