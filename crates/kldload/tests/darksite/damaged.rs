//! What is damaged, missing or half there is told, and made anew where that can be.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use jiff::{Timestamp, ToSpan};
use tree::Digest;

use super::{World, deb, event, says};

#[test]
fn a_package_that_cannot_be_read_costs_itself_alone() {
    let world = World::new();
    let packages = [("one", "1", ""), ("two", "1", "three (>> 2"), ("four", "1", "two")];
    world.archive(Timestamp::now() - 3.hours(), &packages);
    let events = world.run(0, &["sync", "recipe.toml"]);
    let warned = events.iter().any(|event| {
        event["text"].as_str().is_some_and(|text| {
            text.starts_with(
                "suite trixie: main/binary-amd64/Packages: line 11: Depends: a bracket",
            ) && text.ends_with("; two 1 is passed over")
        })
    });
    assert!(warned, "{events:?}");
    world.run(0, &["verify", "--keyring", "key.asc"]);
    assert!(world.command(&["sbom"]).output().unwrap().status.success());

    // Who needs it hears why it is not there.
    world.write("lab.txt", "four\n");
    let output = world.command(&["update", "recipe.toml"]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{error}");
    let why = "four 1 has Depends: two [two 1 in trixie/main cannot be read: line 11: Depends: ";
    assert!(error.contains(why), "{error}");
}

#[test]
fn a_snapshot_whose_lock_cannot_be_read_stops_nothing() {
    let world = World::new();
    world.archive(Timestamp::now() - 3.hours(), &[("one", "1", "")]);
    // Whatever the mask is, all may read what is published.
    let sync = world.command(&["sync", "recipe.toml"]);
    let mut masked = Command::new("sh");
    masked.args(["-c", "umask 077; exec \"$@\"", "sh"]).arg(sync.get_program());
    masked.args(sync.get_args()).current_dir(world.directory.path());
    assert!(masked.output().unwrap().status.success());
    let old = fs::canonicalize(world.path("darksite/current")).unwrap();
    for path in ["", "dists/trixie/main/binary-amd64", "pool/main", "pool/main/one_1_all.deb"] {
        let mode = fs::metadata(old.join(path)).unwrap().permissions().mode();
        assert_eq!(mode & 0o444, 0o444, "{path}: {mode:o}");
    }

    world.archive(Timestamp::now() - 2.hours(), &[("one", "2", "")]);
    world.run(0, &["update", "recipe.toml"]);
    world.run(0, &["sync", "recipe.toml"]);
    let lock = old.join("darksite.lock");
    let text = fs::read_to_string(&lock).unwrap();
    fs::write(&lock, text.replace("kldload-lock 1", "kldload-lock 2")).unwrap();
    let said = |args: &[&str]| {
        let output = world.command(args).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("darksite.lock: line 1"), "{args:?}: {error}");
        output.status.code()
    };
    assert_eq!(said(&["sync", "recipe.toml"]), Some(0));
    assert_eq!(said(&["list"]), Some(0));
    assert_eq!(said(&["verify", "--keyring", "key.asc"]), Some(5));
    // What it needs is not known, so that nothing goes unless it goes first.
    assert_eq!(said(&["gc"]), Some(3));
    world.run(0, &["gc", "--keep-snapshots", "1"]);
    assert!(!old.exists());
    world.run(0, &["verify", "--keyring", "key.asc"]);
}

#[test]
fn every_snapshot_is_verified_and_gets_what_is_fetched_again() {
    let world = World::new();
    let date = Timestamp::now() - 3.hours();
    world.archive(date, &[("one", "1", "two"), ("two", "1", "")]);
    world.run(0, &["sync", "recipe.toml"]);
    let older = fs::canonicalize(world.path("darksite/current")).unwrap();
    world.archive(date + 1.hour(), &[("one", "2", "two"), ("two", "1", "")]);
    world.run(0, &["update", "recipe.toml"]);
    world.run(0, &["sync", "recipe.toml"]);
    let newer = fs::canonicalize(world.path("darksite/current")).unwrap();
    assert_ne!(older, newer);
    let verified = |code| event(&world.run(code, &["verify", "--keyring", "key.asc"]), "verified");
    let good = verified(0);
    // Each file once, whatever names it has: 2 locks, 3 packages, 2 times 2 indexes and what is signed.
    assert_eq!(good["packages"], 4, "{good}");

    // The older snapshot's own files, which no blob vouches for.
    let index = older.join("dists/trixie/main/binary-amd64/Packages");
    let text = fs::read_to_string(&index).unwrap();
    fs::write(&index, text.replace("Version: 1", "Version: 3")).unwrap();
    let problems = verified(5)["problems"].to_string();
    assert!(problems.contains("binary-amd64/Packages: damaged"), "{problems}");
    fs::write(&index, text).unwrap();
    verified(0);

    // A file of the older one that is no link any more.
    let (shared, content) = ("pool/main/two_1_all.deb", deb("two", "1"));
    fs::remove_file(older.join(shared)).unwrap();
    fs::write(older.join(shared), "two 666").unwrap();
    let problems = verified(5)["problems"].to_string();
    let place = format!("{}/{shared}: damaged", older.file_name().unwrap().to_str().unwrap());
    assert!(problems.contains(&place), "{problems}");

    // The disk fails: the blob and all its names.
    let name = Digest::of(&content).to_string();
    let blob = world.path("darksite/blobs").join(&name[..2]).join(&name[2..]);
    fs::remove_file(newer.join("pool/main/one_2_all.deb")).unwrap();
    let mut permissions = fs::metadata(&blob).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
    fs::set_permissions(&blob, permissions).unwrap();
    fs::write(&blob, "damaged").unwrap();
    verified(5);
    fs::remove_file(&blob).unwrap();
    // A run that was killed before it gave a link its name.
    fs::write(newer.join("pool/main/.relink-two_1_all.deb"), "damaged").unwrap();
    let events = world.run(0, &["sync", "recipe.toml"]);
    assert_eq!(event(&events, "synced")["fetched"], 1);
    let warning = event(&events, "warning").to_string();
    assert!(warning.contains("3 damaged or missing files of snapshots"), "{warning}");
    for snapshot in [&older, &newer] {
        assert_eq!(fs::read(snapshot.join(shared)).unwrap(), content);
        let left = fs::read_dir(snapshot.join("pool/main")).unwrap();
        let left = left.filter(|entry| entry.as_ref().unwrap().file_name().len() > 20).count();
        assert_eq!(left, 0, "what the killed run left");
    }
    verified(0);
}

#[test]
fn what_is_published_and_damaged_is_made_anew() {
    let world = World::new();
    let date = Timestamp::now() - 3.hours();
    world.archive(date, &[("one", "1", "")]);
    world.run(0, &["sync", "recipe.toml"]);
    let older = fs::canonicalize(world.path("darksite/current")).unwrap();
    world.archive(date + 1.hour(), &[("one", "2", "")]);
    world.run(0, &["update", "recipe.toml"]);
    let synced = event(&world.run(0, &["sync", "recipe.toml"]), "synced");
    let newer = fs::canonicalize(world.path("darksite/current")).unwrap();
    for (place, damage) in [
        (&newer, "dists/trixie/main/binary-amd64/Packages"),
        (&newer, "dists/trixie/InRelease"),
        (&older, "dists/trixie/main/binary-amd64/Packages.gz"),
        (&older, "darksite.asc"),
    ] {
        let before = fs::read(place.join("dists/trixie/main/binary-amd64/Packages")).unwrap();
        fs::write(place.join(damage), "damaged").unwrap();
        world.run(5, &["verify", "--keyring", "key.asc"]);
        let events = world.run(0, &["sync", "recipe.toml"]);
        let warning = event(&events, "warning").to_string();
        assert!(warning.contains("1 snapshots with damaged or missing indexes"), "{warning}");
        let again = event(&events, "synced");
        assert_eq!((&again["snapshot"], &again["fresh"]), (&synced["snapshot"], &false.into()));
        world.run(0, &["verify", "--keyring", "key.asc"]);
        if damage.ends_with(".gz") {
            let after = fs::read(place.join("dists/trixie/main/binary-amd64/Packages")).unwrap();
            assert_eq!(before, after);
        }
    }
    let left = fs::read_dir(world.path("darksite/snapshots")).unwrap().count();
    assert_eq!(left, 2, "nothing else is left");
}

#[test]
fn what_is_lost_is_told_and_published_anew() {
    let world = World::new();
    world.archive(Timestamp::now() - 3.hours(), &[("one", "1", "")]);
    let synced = || event(&world.run(0, &["sync", "recipe.toml"]), "synced");
    let problems = |code| {
        let verified = event(&world.run(code, &["verify", "--keyring", "key.asc"]), "verified");
        verified["problems"].to_string()
    };
    synced();
    let link = world.path("darksite/current");
    let first = fs::canonicalize(&link).unwrap();
    let told = "darksite/current: it leads to no snapshot, so that clients find nothing; kldload darksite sync";
    fs::remove_file(&link).unwrap();
    assert!(problems(5).contains(told));
    for nowhere in ["snapshots/20200101T000000Z-0123abcd", "snapshots", "keys"] {
        std::os::unix::fs::symlink(nowhere, &link).unwrap();
        assert!(problems(5).contains(told), "{nowhere}");
        fs::remove_file(&link).unwrap();
    }
    assert_eq!(synced()["fresh"], true);
    assert_eq!(problems(0), "[]");

    let second = fs::canonicalize(&link).unwrap();
    assert_ne!(first, second);
    fs::remove_file(second.join("darksite.lock")).unwrap();
    let lost = format!("{}/darksite.lock: it is lost", second.file_name().unwrap().display());
    let told = problems(5);
    assert!(told.contains(&lost) && told.contains("kldload darksite sync"), "{told}");
    // Nobody else knows anything of it.
    fs::remove_dir_all(&first).unwrap();
    fs::remove_dir_all(world.path("darksite/locks")).unwrap();
    assert!(problems(5).contains(&lost));
    assert_eq!(synced()["fresh"], true);
    assert!(problems(5).contains(&lost));
    world.run(0, &["gc"]);
    assert_eq!(problems(0), "[]");
}

#[test]
fn what_is_missing_or_wrong_is_told_once() {
    let world = World::new();
    let names: Vec<String> = (0..9).map(|number| format!("p{number}")).collect();
    let packages: Vec<(&str, &str, &str)> = names.iter().map(|name| (&**name, "1", "")).collect();
    world.archive(Timestamp::now() - 3.hours(), &packages);
    world.write("lab.txt", names.join("\n"));
    world.run(0, &["update", "recipe.toml"]);
    // Lost; wrong bytes of the right length.
    let pool = |name: &str| world.path(&format!("archive/pool/main/{name}_1_all.deb"));
    let good = fs::read(pool("p0")).unwrap();
    // Nobody else is asked: the archive of snapshots would be far away.
    let alone = |code: i32, directory: &str| {
        let mut command = world.command(&["sync", "recipe.toml", "--dir", directory]);
        for proxy in ["http_proxy", "https_proxy"] {
            command.env(proxy, "http://127.0.0.1:1");
        }
        let output = command.output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{error}");
        error
    };
    fs::write(pool("p0"), vec![b'x'; good.len()]).unwrap();
    let error = alone(5, "darksite");
    assert_eq!(
        error.matches("wrong content").count(),
        2,
        "once as it happens, once at the end: {error}"
    );
    names.iter().for_each(|name| fs::remove_file(pool(name)).unwrap());
    let error = alone(1, "another");
    let lines = |with: &str| error.lines().filter(|line| line.contains(with)).count();
    assert_eq!(lines("cannot fetch pool/main/p"), 9, "{error}");
    assert!(lines("warning: ") <= 4, "{error}");

    // A signature that nobody trusts is told once, and is no good content.
    let stranger = World::new();
    world.write("other.asc", stranger.key.public_armor().unwrap());
    let error = says(&world, 5, &["update", "recipe.toml", "--keyring", "other.asc"], &[]);
    assert_eq!(error.matches("not signed by a trusted key").count(), 1, "{error}");
}

#[test]
fn gc_tells_of_downloads_and_takes_snapshots_without_a_lock() {
    let world = World::new();
    world.archive(Timestamp::now() - 3.hours(), &[("one", "1", "")]);
    world.run(0, &["sync", "recipe.toml"]);
    let removed = |args: &[&str]| event(&world.run(0, args), "removed");
    let half = "darksite/snapshots/20200101T000000Z-0123abcd";
    world.write(&format!("{half}/pool/x"), "x");
    world.write("darksite/snapshots/notes/x", "somebody's own");
    let partial = format!("darksite/partial/{}", Digest::of(b"x"));
    world.write(&partial, "12345");
    let dry = removed(&["gc", "-n"]);
    assert_eq!(
        (&dry["bytes"], &dry["snapshots"][0]),
        (&5.into(), &"20200101T000000Z-0123abcd".into())
    );
    assert!(world.path(half).exists() && world.path(&partial).exists());
    let wet = removed(&["gc"]);
    assert_eq!((&wet["bytes"], &wet["snapshots"]), (&dry["bytes"], &dry["snapshots"]));
    assert!(!world.path(half).exists() && !world.path(&partial).exists());
    assert!(world.path("darksite/snapshots/notes/x").exists());
    assert_eq!(removed(&["gc", "-n"])["bytes"], 0);
    // What is no directory is nobody's snapshot.
    let files = ["darksite/snapshots/.keep", "darksite/snapshots/20200101T000000Z-0123abcd"];
    files.iter().for_each(|name| world.write(name, "somebody's own"));
    assert_eq!(removed(&["gc"])["snapshots"].as_array().unwrap().len(), 0);
    assert!(files.iter().all(|name| world.path(name).exists()));
}
