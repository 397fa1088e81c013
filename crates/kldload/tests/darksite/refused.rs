//! What could lose or tear something is refused, and nothing is changed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use jiff::{Timestamp, ToSpan};

use super::{World, event, says};

/// The names below a directory, links not followed.
fn names(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut todo = vec![directory.to_owned()];
    while let Some(path) = todo.pop() {
        for entry in fs::read_dir(&path).unwrap() {
            let entry = entry.unwrap();
            found.push(entry.path().display().to_string());
            if entry.file_type().unwrap().is_dir() {
                todo.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_copy_overwrites_no_darksite() {
    let world = World::new();
    let date = Timestamp::now() - 3.hours();
    world.archive(date, &[("one", "1", "")]);
    world.run(0, &["sync", "recipe.toml"]);
    world.run(0, &["sync", "recipe.toml", "--dir", "other"]);
    let older = fs::canonicalize(world.path("darksite/current")).unwrap();
    world.archive(date + 1.hour(), &[("one", "2", "")]);
    world.run(0, &["update", "recipe.toml"]);
    world.run(0, &["sync", "recipe.toml"]);
    let older = format!("darksite/snapshots/{}", older.file_name().unwrap().to_str().unwrap());
    symlink("darksite/snapshots", world.path("link")).unwrap();
    let before = names(world.directory.path());
    for target in [
        &*older,
        "darksite/current",
        "darksite/snapshots/mine",
        "darksite/new/er",
        "darksite",
        "other/current",
        "other/snapshots/mine",
        "link/mine",
        "other/../link/mine",
    ] {
        says(&world, 4, &["copy", target], &[target, "it lies in the darksite "]);
        assert_eq!(names(world.directory.path()), before, "{target}");
    }
    // A way that shows only when its directories are there.
    says(&world, 4, &["copy", "new/../darksite/snapshots/mine"], &["it lies in the darksite "]);
    let verify = |site: &str| world.run(0, &["verify", "--keyring", "key.asc", "--dir", site]);
    assert!(!verify("darksite").is_empty() && !verify("other").is_empty());
    // Beside it, there is nothing to lose.
    world.run(0, &["copy", "darksite.copy"]);
    world.run(0, &["copy", "darksite.copy", "--dir", "other"]);
}

#[test]
fn a_lost_secret_is_no_reason_for_another_key() {
    let world = World::new();
    world.archive(Timestamp::now() - 3.hours(), &[("one", "1", "")]);
    let key = |args: &[&str]| event(&world.run(0, args), "key")["fingerprint"].clone();
    let first = event(&world.run(0, &["sync", "recipe.toml"]), "synced")["key"].clone();
    let (secret, public) =
        (world.path("darksite/keys/secret.asc"), world.path("darksite/keys/public.asc"));
    fs::rename(&secret, world.path("kept.asc")).unwrap();
    let before = names(&world.path("darksite"));
    let known = fs::read(&public).unwrap();
    let told =
        [first.as_str().unwrap(), "keys/secret.asc: it is lost", "remove darksite/keys/public.asc"];
    for args in [&["sync", "recipe.toml"][..], &["key"]] {
        says(&world, 4, args, &told);
        assert_eq!(names(&world.path("darksite")), before);
        assert_eq!(fs::read(&public).unwrap(), known);
    }
    fs::rename(world.path("kept.asc"), &secret).unwrap();
    assert_eq!(key(&["key"]), first);

    // The key to come took its place, and another one is to come.
    let second = key(&["key", "--next"]);
    fs::rename(world.path("darksite/keys/next/secret.asc"), &secret).unwrap();
    let third = key(&["key", "--next"]);
    assert_eq!(key(&["key"]), second);
    assert!(third != first && third != second);
    fs::remove_file(world.path("darksite/keys/next/secret.asc")).unwrap();
    says(
        &world,
        4,
        &["key", "--next"],
        &[third.as_str().unwrap(), "keys/next/secret.asc: it is lost"],
    );

    // Somebody knows what that means.
    fs::remove_file(&secret).unwrap();
    fs::remove_file(&public).unwrap();
    let synced = event(&world.run(0, &["sync", "recipe.toml"]), "synced");
    assert!(synced["key"] != second && synced["fresh"] == true, "{synced}");
}

/// A run whose standard output is `out`: its code, and the lines that it says.
fn unheard(
    world: &World,
    out: impl Into<std::process::Stdio>,
    args: &[&str],
) -> (Option<i32>, Vec<String>) {
    let output = world.command(args).stdout(out).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), error.lines().map(str::to_owned).collect())
}

#[test]
fn what_cannot_be_written_is_told_once() {
    let world = World::new();
    world.archive(Timestamp::now() - 3.hours(), &[("one", "1", "two"), ("two", "1", "")]);
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    let closed = || std::io::pipe().unwrap().1;
    let told = |lines: &[String]| {
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with("kldload: cannot write to standard output: "), "{lines:?}");
    };
    // Work goes on to its end, and nobody takes it that its result was heard.
    let (code, lines) = unheard(&world, full(), &["sync", "recipe.toml", "--json"]);
    told(&lines);
    assert_eq!(code, Some(1));
    assert!(world.path("darksite/current/darksite.lock").exists());
    fs::remove_dir_all(world.path("darksite")).unwrap();
    let (code, lines) = unheard(&world, closed(), &["sync", "recipe.toml", "--json"]);
    told(&lines);
    assert_eq!(code, Some(1));
    assert!(world.path("darksite/current/darksite.lock").exists());

    for args in [
        &["list", "--packages", "--json"][..],
        &["list", "--packages"],
        &["list", "--json"],
        &["list"],
        &["key"],
    ] {
        let (code, lines) = unheard(&world, full(), args);
        told(&lines);
        assert_eq!(code, Some(1), "{args:?}");
        // A reader that has seen enough.
        assert_eq!(unheard(&world, closed(), args), (Some(1), Vec::new()), "{args:?}");
    }
    // What is wrong stays the news.
    let (code, lines) = unheard(&world, full(), &["verify"]);
    assert_eq!(code, Some(5));
    assert!(lines.iter().any(|line| line.starts_with("kldload: cannot write")), "{lines:?}");
    let (code, lines) = unheard(&world, full(), &["sbom"]);
    assert!(code == Some(1) && lines.iter().any(|line| line.starts_with("kldload: cannot write")));
}
