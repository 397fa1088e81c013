//! Locks: what they were made for, and whom they bind.

use std::fs;

use jiff::{Timestamp, ToSpan};
use pkg::openpgp::SigningKey;
use serde_json::Value;
use tree::Digest;

use super::{World, deb, event, says};

#[test]
fn a_lock_from_elsewhere_is_believed_as_little_as_a_mirror() {
    let world = World::new();
    let packages = [("one", "1", ""), ("three", "1", "")];
    world.archive(Timestamp::now() - 3.hours(), &packages);
    world.run(0, &["sync", "recipe.toml"]);
    let lock = fs::read_to_string(world.path("recipe.lock")).unwrap();

    // Another darksite, the same lock: all of it is verified again.
    world.run(0, &["sync", "recipe.toml", "--dir", "second"]);
    // A package that no index has, from a place that has it.
    let line = lock.lines().find(|line| line.starts_with("package one ")).unwrap();
    let evil = deb("one", "666");
    world.write("archive/pool/main/one_666_all.deb", &evil);
    let (size, digest) = (evil.len(), Digest::of(&evil));
    let changed =
        format!("package one 666 all {size} {digest} trixie/main pool/main/one_666_all.deb");
    world.write("recipe.lock", lock.replace(line, &changed));
    let refused = |args: &[&str], with: &str| {
        let output = world.command(args).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(with), "{args:?}: {error}");
    };
    refused(&["sync", "recipe.toml", "--dir", "third"], "do not have one 666 with this digest");
    assert!(!world.path("third/current").exists());
    says(&world, 5, &["sync", "recipe.toml", "--dir", "third"], &[]);
    // The right digest under another name, of whatever kind.
    let recipe = fs::read_to_string(world.path("recipe.toml")).unwrap();
    world.write("other.toml", recipe.replace("[\"trixie\"]", "[\"trixie-updates\"]"));
    let names =
        [("suite trixie ", "suite trixie-updates "), ("index trixie ", "index trixie-updates ")];
    let renamed = names.iter().fold(lock.clone(), |lock, (from, to)| lock.replace(from, to));
    world.write("other.lock", renamed.replace(" trixie/main ", " trixie-updates/main "));
    let told = "suite trixie-updates: its Release file is of stable (trixie)";
    says(&world, 5, &["sync", "other.toml"], &["other.lock: ", told]);
    for (from, to, told) in [
        (
            " all ",
            " amd64 ",
            "do not have one 1 with this digest and size for amd64 in main, as pool",
        ),
        (" trixie/main ", " trixie/contrib ", "for all in contrib, as pool/main/one_1_all.deb"),
        ("main/one_1_all", "main/two_1_all", "for all in main, as pool/main/two_1_all.deb"),
    ] {
        world.write("other.lock", lock.replace(from, to));
        says(&world, 5, &["sync", "recipe.toml", "--lock", "other.lock"], &[told]);
    }
    // Another key.
    world.write("recipe.lock", &lock);
    let stranger = SigningKey::generate("stranger", Timestamp::now() - 48.hours()).unwrap();
    world.write("other.asc", stranger.public_armor().unwrap());
    let other = ["sync", "recipe.toml", "--dir", "fourth", "--keyring", "other.asc"];
    refused(&other, "not signed by a trusted key");

    // What was asked for since then is not left out in silence.
    world.write("lab.txt", "one\nthree\n");
    refused(
        &["sync", "recipe.toml"],
        "made before \"three\" was asked for; kldload darksite update",
    );
    refused(&["sync", "recipe.toml", "--architecture", "arm64"], "made for architecture amd64");
    world.run(0, &["update", "recipe.toml"]);
    world.run(0, &["sync", "recipe.toml"]);
    world.write("lab.txt", "one\n");
    let events = world.run(0, &["sync", "recipe.toml"]);
    let warning = event(&events, "warning")["text"].as_str().unwrap().to_owned();
    assert!(warning.contains("nobody asks for \"three\" any more"), "{warning}");
}

#[test]
fn a_lock_that_lacks_packages_is_refused() {
    let world = World::new();
    // A second field behind the relation.
    let base = ("base", "1", "two\nEssential: yes");
    let packages = [base, ("one", "1", "two"), ("two", "1", "")];
    world.archive(Timestamp::now() - 3.hours(), &packages);
    world.run(0, &["sync", "recipe.toml"]);
    let lock = fs::read_to_string(world.path("recipe.lock")).unwrap();
    let sync = ["sync", "recipe.toml", "--lock", "less.lock"];
    let lacks = |name: &str| {
        let start = format!("package {name} ");
        let lines = lock.lines().filter(|line| !line.starts_with(&start));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    for (name, told) in [
        ("one", "not whole: \"one\", which is asked for, is not there; kldload darksite update"),
        ("two", "not whole: base 1: Depends: two does not hold, and 1 more such; kldload"),
        ("base", "not whole: \"base\", which is essential or of the priority, is not there;"),
    ] {
        world.write("less.lock", lacks(name));
        says(&world, 3, &sync, &["less.lock: ", told]);
    }
    // Locks of old do not tell that essential packages were wanted.
    let old = lacks("base");
    let old = old.lines().filter(|line| !line.starts_with("asked "));
    world.write("less.lock", old.map(|line| format!("{line}\n")).collect::<String>());
    world.run(0, &sync);
    world.write("less.lock", &lock);
    world.run(0, &sync);
}

#[test]
fn what_is_excluded_stays_away_and_a_misspelt_name_is_told() {
    let world = World::new();
    world.archive(
        Timestamp::now() - 3.hours(),
        &[("one", "1", "two | three"), ("two", "1", ""), ("three", "1", "")],
    );
    world.run(0, &["sync", "recipe.toml"]);
    let recipe = fs::read_to_string(world.path("recipe.toml")).unwrap();
    world.write("recipe.toml", format!("{recipe}exclude = [\"two\", \"thre\"]\n"));
    // The lock has it, and is not used in silence.
    let output = world.command(&["sync", "recipe.toml"]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && error.contains("made before \"two\" was excluded"),
        "{error}"
    );
    let events = world.run(0, &["update", "recipe.toml"]);
    let warned =
        |event: &Value| event["text"].as_str().is_some_and(|text| text.contains("exclude: "));
    let warnings: Vec<&Value> = events.iter().filter(|event| warned(event)).collect();
    assert_eq!(warnings.len(), 1, "{events:?}");
    let text = warnings[0]["text"].as_str().unwrap();
    assert!(text.contains("\"thre\"") && text.contains("meant: three?"), "{text}");
    world.run(0, &["sync", "recipe.toml"]);
    let lock = fs::read_to_string(world.path("recipe.lock")).unwrap();
    assert!(lock.contains("\npackage three ") && !lock.contains("\npackage two "), "{lock}");
    // What may come again is not left out in silence.
    let excluding = fs::read_to_string(world.path("recipe.toml")).unwrap();
    world.write("recipe.toml", recipe);
    let told = "made when the recipe had other exclude; kldload darksite update";
    says(&world, 3, &["sync", "recipe.toml"], &[told]);
    // A lock of old does not tell.
    let old = lock.lines().filter(|line| !line.starts_with("asked exclude "));
    world.write("recipe.lock", old.map(|line| format!("{line}\n")).collect::<String>());
    world.run(0, &["sync", "recipe.toml"]);
    world.write("recipe.toml", excluding);
    world.run(0, &["sync", "recipe.toml"]);
}

#[test]
fn pins_and_holds_of_a_recipe() {
    let world = World::new();
    let recipe = fs::read_to_string(world.path("recipe.toml")).unwrap();
    let recipe = recipe.replace("optional = [\"absent\"]\n", "");
    let recipe =
        recipe.replace("suites = [\"trixie\"]", "suites = [\"trixie\", \"trixie-updates\"]");
    let asked = |more: &str| world.write("recipe.toml", format!("{recipe}{more}"));
    let date = Timestamp::now() - 3.hours();
    world.archive(date, &[("one", "1.0", "two"), ("two", "1.0", "")]);
    world.suite("trixie-updates", date, &[("one", "2.0", "two"), ("two", "2.0", "")]);
    let locked = || -> Vec<String> {
        let lock = fs::read_to_string(world.path("recipe.lock")).unwrap();
        let packages = lock.lines().filter_map(|line| line.strip_prefix("package "));
        packages.map(|line| line.split(" all ").next().unwrap().to_owned()).collect()
    };
    let said = |args: &[&str]| {
        let output = world.command(args).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    asked("");
    world.run(0, &["sync", "recipe.toml"]);
    assert_eq!(locked(), ["one 2.0", "two 2.0"]);

    // By suite and by a pattern of versions; a lock of other pins is refused.
    let by_suite = "[[pins]]\npackages = [\"tw?\"]\nsuite = \"trixie\"\n";
    let by_version = "[[pins]]\npackages = [\"one\"]\nversion = \"1.*\"\npriority = 1001\n";
    asked(&format!("{by_suite}{by_version}"));
    let (good, error) = said(&["sync", "recipe.toml"]);
    assert!(!good && error.contains("made before the pin \"990 release trixie: tw?\""), "{error}");
    world.run(0, &["update", "recipe.toml"]);
    assert_eq!(locked(), ["one 1.0", "two 1.0"]);
    world.run(0, &["sync", "recipe.toml"]);
    asked(by_version);
    let (good, error) = said(&["sync", "recipe.toml"]);
    assert!(!good && error.contains("made with other pins"), "{error}");
    let idle = "[[pins]]\npackages = [\"one\"]\nsuite = \"trixie-backports\"\n";
    asked(idle);
    let (good, error) = said(&["update", "recipe.toml", "--dry-run"]);
    assert!(good && error.contains("nothing is of release trixie-backports"), "{error}");

    // What is held stays as the lock has it, what is not goes on.
    asked("hold = [\"tw*\", \"three\"]\n");
    let (good, error) = said(&["update", "recipe.toml"]);
    assert!(good && error.contains("hold: the lock has no package \"three\""), "{error}");
    assert_eq!(locked(), ["one 2.0", "two 1.0"]);
    world.run(0, &["sync", "recipe.toml"]);
    world.archive(date, &[("one", "1.0", "two")]);
    world.suite("trixie-updates", date, &[("one", "2.1", "two"), ("two", "2.1", "")]);
    let (good, error) = said(&["update", "recipe.toml"]);
    assert!(
        !good && error.contains("two: it is held at 1.0, which no suite has any more"),
        "{error}"
    );
}

#[test]
fn a_lock_of_another_recipe_is_refused_with_the_keys_that_differ() {
    let world = World::new();
    let date = Timestamp::now() - 3.hours();
    world.archive(date, &[("one", "1", ""), ("three", "1", "")]);
    for suite in ["trixie-updates", "trixie-backports"] {
        world.suite(suite, date, &[]);
    }
    world.write("extra.txt", "three\n");
    let recipe = fs::read_to_string(world.path("recipe.toml")).unwrap();
    world.run(0, &["sync", "recipe.toml"]);
    let lock = fs::read_to_string(world.path("recipe.lock")).unwrap();
    assert!(
        lock.contains("\nasked components main\n") && lock.contains("\nasked optional absent\n")
    );
    let suites = |all: &str| recipe.replace("[\"trixie\"]", all);
    let mirror = recipe.lines().find(|line| line.starts_with("mirror")).unwrap();
    let anywhere = recipe.replace(mirror, "");
    let changes = [
        ("optional", recipe.replace("[\"absent\"]", "[\"absent\", \"three\"]")),
        ("optional_sets", format!("{recipe}optional_sets = [\"extra.txt\"]\n")),
        ("recommends", format!("{recipe}recommends = true\n")),
        ("suites", suites("[\"trixie\", \"trixie-updates\"]")),
        ("components", recipe.replace("[\"main\"]", "[\"main\", \"contrib\"]")),
        ("snapshot", format!("{anywhere}snapshot = \"2025-05-20T00:00:00Z\"\n")),
        (
            "backports",
            format!("{}backports = true\n", suites("[\"trixie\", \"trixie-backports\"]")),
        ),
    ];
    for (key, changed) in &changes {
        world.write("recipe.toml", changed);
        let told = format!("made when the recipe had other {key}; kldload darksite update");
        says(&world, 3, &["sync", "recipe.toml"], &[&told, "recipe.lock: "]);
    }
    // What update makes is taken.
    for (key, changed) in &changes {
        if !["components", "snapshot"].contains(key) {
            world.write("recipe.toml", changed);
            world.run(0, &["update", "recipe.toml"]);
            world.run(0, &["sync", "recipe.toml"]);
        }
    }
    // A lock of old does not tell; only the suites are known.
    let old: Vec<&str> = lock.lines().filter(|line| !line.starts_with("asked ")).collect();
    world.write("recipe.lock", old.join("\n") + "\n");
    world.write("recipe.toml", &changes[0].1);
    world.run(0, &["sync", "recipe.toml"]);
    world.write("recipe.toml", &changes[3].1);
    says(&world, 3, &["sync", "recipe.toml"], &["other suites;"]);
}

#[test]
fn each_lock_is_judged_by_its_own_keys() {
    let world = World::new();
    let date = Timestamp::now() - 3.hours();
    world.archive(date, &[("one", "1", "")]);
    world.run(0, &["sync", "recipe.toml"]);
    // Another recipe, whose archive another key signed.
    let recipe = fs::read_to_string(world.path("recipe.toml")).unwrap();
    let other = World::new();
    other.archive(date, &[("one", "2", "")]);
    let archive = other.path("archive").display().to_string();
    let recipe = recipe.replace("key.asc", "other.asc");
    let recipe = recipe.replace(&world.path("archive").display().to_string(), &archive);
    world.write("other.asc", other.key.public_armor().unwrap());
    world.write("other.toml", recipe);
    world.run(0, &["sync", "other.toml"]);
    for alone in ["key.asc", "other.asc"] {
        world.run(5, &["verify", "--keyring", alone]);
    }
    world.run(0, &["verify", "--keyring", "key.asc", "--keyring", "other.asc"]);
}

#[test]
fn two_recipes_take_turns() {
    let world = World::new();
    world.archive(Timestamp::now() - 3.hours(), &[("one", "1", ""), ("two", "1", "")]);
    let recipe = fs::read_to_string(world.path("recipe.toml")).unwrap();
    world.write(
        "other/recipe.toml",
        recipe.replace("lab.txt", "other.txt").replace("key.asc", "../key.asc"),
    );
    world.write("other/other.txt", "two\n");
    let sync = |recipe: &str| event(&world.run(0, &["sync", recipe]), "synced");
    let first = sync("recipe.toml");
    let second = sync("other/recipe.toml");
    assert_ne!(first["snapshot"], second["snapshot"]);
    // What is current again is published anew, or clients would not notice. Nothing is fetched, and both
    // locks are kept though both are called recipe.lock.
    let again = sync("recipe.toml");
    assert_eq!((&again["fetched"], &again["fresh"]), (&0.into(), &true.into()));
    assert!(again["snapshot"] != first["snapshot"] && again["snapshot"] != second["snapshot"]);
    assert_eq!(sync("recipe.toml")["snapshot"], again["snapshot"]);
    assert!(world.path("darksite/current/pool/main/one_1_all.deb").exists());
    world.run(0, &["gc", "--keep-snapshots", "1"]);
    assert_eq!(sync("other/recipe.toml")["fetched"], 0);
}

#[test]
fn gc_keeps_what_an_updated_lock_names() {
    let world = World::new();
    let state = [("one", "2", "three"), ("three", "1", "")];
    world.archive(Timestamp::now() - 3.hours(), &[("one", "1", "")]);
    world.run(0, &["sync", "recipe.toml"]);
    world.archive(Timestamp::now() - 2.hours(), &state);
    world.run(0, &["update", "recipe.toml"]);
    // What is not fetched yet is no damage; what update fetched is nobody's waste.
    world.run(0, &["verify", "--keyring", "key.asc"]);
    assert_eq!(event(&world.run(0, &["gc"]), "removed")["files"], 0);
    // The mirror goes on, so that nobody else has the indexes of the lock any more.
    world.archive(Timestamp::now() - 1.hours(), &state);
    world.run(0, &["sync", "recipe.toml"]);
    // A lock that was given up keeps nothing.
    let lock = fs::read(world.path("recipe.lock")).unwrap();
    world.archive(Timestamp::now(), &[("one", "3", "")]);
    world.run(0, &["update", "recipe.toml"]);
    world.write("recipe.lock", lock);
    world.run(0, &["sync", "recipe.toml"]);
    assert_eq!(event(&world.run(0, &["gc"]), "removed")["files"], 2);
}

#[test]
fn a_forgotten_lock_keeps_nothing() {
    let world = World::new();
    world.archive(Timestamp::now() - 3.hours(), &[("one", "1", ""), ("two", "1", "")]);
    world.run(0, &["sync", "recipe.toml"]);
    let recipe = fs::read_to_string(world.path("recipe.toml")).unwrap();
    world.write("other.toml", recipe.replace("lab.txt", "other.txt"));
    world.write("other.txt", "two\n");
    world.run(0, &["sync", "other.toml"]);
    let named = |kind: &str| -> Vec<String> {
        let events = world.run(0, &["list"]);
        let events = events.iter().filter(|event| event["event"] == kind);
        events.map(|event| event["name"].as_str().unwrap().to_owned()).collect()
    };
    let (locks, snapshots) = (named("lock"), named("snapshot"));
    assert!(locks[0].starts_with("other-") && locks[1].starts_with("recipe-"), "{locks:?}");

    // The one that is current has the package two, the one before it the package one.
    let packages = |more: &[&str]| -> Vec<String> {
        let events = world.run(0, &[&["list", "--packages"], more].concat());
        events.iter().map(|event| event["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(packages(&[]), ["two"]);
    let first = snapshots.iter().find(|id| packages(&["--snapshot", id]) == ["one"]).unwrap();
    world.run(0, &["copy", "medium", "--snapshot", first]);
    assert!(world.path("medium/pool/main/one_1_all.deb").exists());
    world.run(0, &["verify", "medium", "--keyring", "key.asc"]);
    says(&world, 3, &["copy", "medium", "--snapshot", "none"], &["there is no snapshot none"]);

    let gc = |more: &[&str]| {
        let args = [&["gc", "--keep-snapshots", "1", "--forget", &locks[1]], more].concat();
        event(&world.run(0, &args), "removed")
    };
    says(&world, 3, &["gc", "--forget", "recipe"], &["no lock is named recipe"]);
    let dry = gc(&["--dry-run"]);
    assert_eq!(named("lock"), locks);
    // Named twice, and no longer a lock at all.
    world.write(&format!("darksite/locks/{}.lock", locks[1]), "nonsense");
    world.run(3, &["gc"]);
    let removed = gc(&["--forget", &locks[1]]);
    for key in ["files", "bytes", "snapshots", "locks"] {
        assert_eq!(dry[key], removed[key], "{key}");
    }
    assert_eq!(removed["locks"], serde_json::json!([locks[1]]));
    assert_eq!(named("lock"), locks[..1]);
    assert_eq!(packages(&[]), ["two"]);
    world.run(0, &["verify", "--keyring", "key.asc"]);
    assert_eq!(event(&world.run(0, &["sync", "recipe.toml"]), "synced")["fetched"], 1);
}
