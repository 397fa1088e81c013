//! Names of packages, suites and components that there are not.

use std::fs;

use jiff::{Timestamp, ToSpan};
use pkg::deb::{IndexFile, Release};
use tree::Digest;

use super::{World, event, says};

fn world() -> World {
    let world = World::new();
    world.archive(
        Timestamp::now() - 3.hours(),
        &[("hello", "1", ""), ("nginx", "2", ""), ("one", "1", ""), ("vim", "1", "")],
    );
    world
}

#[test]
fn all_names_that_are_not_there_are_told_with_file_and_line() {
    let world = world();
    let recipe = fs::read_to_string(world.path("recipe.toml")).unwrap();
    let recipe = recipe.replace("[\"lab.txt\"]", "[\"lab.txt\", \"sets/web.txt\"]");
    let more = "packages = [\n  \"one\",\n  \"hello/trixie-foo\",\n  \"vim=7\",\n  \"helo\",\n]\nprofile = \"lab\"\n";
    world.write("recipe.toml", format!("{recipe}{more}"));
    let lab =
        "[base]\nessential = false\n\n[base.release.trixie]\npackages = [\n\"vimm\",\n\"one\"]\n\n";
    world
        .write("profiles.toml", format!("{lab}[lab]\nextends = \"base\"\npackages = [\"onne\"]\n"));
    world.write("sets/web.txt", "# ours\none\nngix:amd64  # with a typo\n\nhelo\n");
    let missing = |name: &str, near: &str| {
        format!("there is no package \"{name}\"; is one of these meant: {near}?\n")
    };
    let expected = [
        format!("kldload: profiles.toml: line 6: {}", missing("vimm", "vim")),
        format!("profiles.toml: line 11: {}", missing("onne", "one")),
        "recipe.toml: line 10: hello: no suite trixie-foo is read; there are trixie\n".to_owned(),
        "recipe.toml: line 11: vim: version 7 is not there; there is 1 in trixie (priority 500)\n"
            .to_owned(),
        format!("recipe.toml: line 12: {}", missing("helo", "hello")),
        format!("sets/web.txt: line 5: {}", missing("helo", "hello")),
        format!("sets/web.txt: line 3: {}", missing("ngix", "nginx")),
    ];
    for command in ["sync", "update"] {
        let error = says(&world, 3, &[command, "recipe.toml"], &[]);
        let told = ["warning: ", "reading suites"];
        let lines = error.lines().filter(|line| !told.iter().any(|told| line.starts_with(told)));
        let lines: String = lines.map(|line| format!("{line}\n")).collect();
        assert_eq!(lines, expected.concat());
    }
    assert!(!world.path("recipe.lock").exists());

    // What another key needs has no line of its own.
    fs::remove_file(world.path("profiles.toml")).unwrap();
    world.write(
        "recipe.toml",
        format!(
            "{}[[users]]\nname = \"alice\"\nsudo = \"no_password\"\n",
            recipe.replace(", \"sets/web.txt\"", "")
        ),
    );
    let told = "kldload: recipe.toml: there is no package \"sudo\"";
    says(&world, 3, &["sync", "recipe.toml"], &[told]);
}

/// A list asks for all that the distribution has.
#[test]
fn a_list_has_lines() {
    let world = world();
    let date = Some(Timestamp::now() - 3.hours());
    let path = |component: &str| format!("{component}/binary-amd64/Packages");
    for suite in ["trixie", "trixie-updates", "trixie-security"] {
        let mut files = Vec::new();
        for component in ["main", "contrib", "non-free-firmware"] {
            let path = path(component);
            let file = format!("archive/dists/{suite}/{path}");
            let index = fs::read(world.path(&file)).unwrap_or_default();
            world.write(&file, &index);
            let (size, sha256) = (index.len() as u64, Digest::of(&index));
            files.push(IndexFile { path, size, sha256 });
        }
        let components = ["main", "contrib", "non-free-firmware"].map(str::to_owned).to_vec();
        let architectures = vec!["amd64".to_owned()];
        let codename = suite.to_owned();
        let release =
            Release { codename, date, architectures, components, files, ..Release::default() };
        let text = world.key.clearsign(&release.to_text(), Timestamp::now()).unwrap();
        world.write(&format!("archive/dists/{suite}/InRelease"), text);
    }
    world.write("list.txt", "hello\n\nvimm\nhelo # twice: helo\n");
    let mirror = format!("file:{}", world.path("archive").display());
    let mut args = vec!["sync", "list.txt", "--keyring", "key.asc", "--mirror", &mirror];
    args.extend(["--security-mirror", &mirror]);
    let told = "list.txt: line 3: there is no package \"vimm\"; is one of these meant: vim?\n\
                list.txt: line 4: there is no package \"helo\"; is one of these meant: hello?\n";
    says(&world, 3, &args, &[told]);
}

#[test]
fn many_names_are_no_end() {
    let world = world();
    let names: String = (0..1000).map(|number| format!("absent-{number}\n")).collect();
    world.write("lab.txt", names);
    let error = says(&world, 3, &["sync", "recipe.toml"], &["lab.txt: line 100: "]);
    assert_eq!(error.lines().filter(|line| line.contains("there is no package")).count(), 100);
}

#[test]
fn components_have_their_line() {
    let world = world();
    let recipe = fs::read_to_string(world.path("recipe.toml")).unwrap();
    world.write("recipe.toml", recipe.replace("[\"main\"]", "[\"main\",\n\"mian\"]"));
    let told = "recipe.toml: line 4: suite trixie has no component mian; it has main";
    says(&world, 3, &["sync", "recipe.toml"], &[told]);
}

#[test]
fn a_profile_that_makes_no_machine_is_warned_of() {
    let world = world();
    let recipe = fs::read_to_string(world.path("recipe.toml")).unwrap();
    world.write("recipe.toml", format!("{recipe}profile = \"mine\"\n"));
    let told = "profiles.toml: line 2: the profile \"mine\" brings no essential packages, and what it \
                makes is no machine; extends = \"core\" brings them, essential = false says that it is \
                meant so";
    for (more, warned) in [("", true), ("essential = false\n", false)] {
        let text = format!("# Ours.\n[mine]\npackages = [\"hello\"]\n{more}");
        world.write("profiles.toml", text);
        for command in ["update", "sync"] {
            let events = world.run(0, &[command, "recipe.toml"]);
            let said = events.iter().any(|event| event["text"] == told);
            assert_eq!(said, warned, "{command}: {events:?}");
        }
        let synced = event(&world.run(0, &["sync", "recipe.toml"]), "synced");
        assert_eq!(synced["packages"], 2, "{synced}");
    }
}
