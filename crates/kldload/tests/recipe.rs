//! `kldload plan` and `kldload schema` from the command line; the shipped recipes.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn kldload(directory: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kldload"));
    command.args(args).current_dir(directory).env_remove("KLDLOAD_MIRROR");
    command.output().unwrap()
}

#[test]
fn schema_is_the_committed_one() {
    let output = kldload(&checkout(), &["schema"]);
    let path = checkout().join("docs/recipe.schema.json");
    let committed = fs::read_to_string(path).unwrap_or_default();
    let hint = "docs/recipe.schema.json is old: cargo run -- schema > docs/recipe.schema.json";
    assert_eq!(String::from_utf8(output.stdout).unwrap(), committed, "{hint}");
}

#[test]
fn shipped_recipes_are_fine() {
    let mut seen = 0;
    for entry in fs::read_dir(checkout().join("recipes")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let output = kldload(&checkout(), &["plan", path.to_str().unwrap(), "--json"]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {error}", path.display());
        let event: Value = serde_json::from_slice(&output.stdout).unwrap();
        let recipe = &event["plan"]["recipe"];
        let parts = ["distribution", "release", "profile"].map(|key| recipe[key].as_str().unwrap());
        assert_eq!(path.file_stem().unwrap().to_str().unwrap(), parts.join("-"));
        seen += 1;
    }
    assert_eq!(seen, 9);
}

#[test]
fn plan_touches_nothing_and_names_mistakes() {
    let directory = tempfile::tempdir().unwrap();
    let recipe = directory.path().join("pear.toml");
    let text = "hostname = \"pear\"\n[[users]]\nname = \"alice\"\nssh_keys_file = \"alice.pub\"\n";
    fs::write(&recipe, text).unwrap();
    let output = kldload(directory.path(), &["plan", "pear.toml"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{error}");
    let expected =
        "pear.toml: line 4: the recipe names the file alice.pub, which cannot be read: No";
    assert!(error.contains(expected), "{error}");
    fs::write(directory.path().join("alice.pub"), "ssh-ed25519 AAAA\n").unwrap();
    let output = kldload(directory.path(), &["plan", "pear.toml"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{error}");
    assert!(error.contains("pear.toml: alice.pub: line 1: "), "{error}");
    let key = format!("ssh-ed25519 {} alice@pear\n", "A".repeat(68));
    fs::write(directory.path().join("alice.pub"), key).unwrap();
    let output = kldload(directory.path(), &["plan", "pear.toml"]);
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(
        shown.contains("\nuser         alice: no password, SSH keys of alice.pub\n"),
        "{shown}"
    );
    assert!(shown.contains("\n  lock       pear.lock, written by the first build\n"), "{shown}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);

    fs::write(&recipe, "[image]\ndisk_sise = 1\n").unwrap();
    let output = kldload(directory.path(), &["plan", "pear.toml"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3));
    let expected = "pear.toml: line 2: unknown key \"disk_sise\"; did you mean \"disk_size\"?";
    assert!(error.contains(expected), "{error}");
    fs::write(&recipe, b"\xff").unwrap();
    let output = kldload(directory.path(), &["plan", "pear.toml"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{error}");
    assert!(error.contains("pear.toml: it is not text in UTF-8"), "{error}");
    fs::write(&recipe, "[image]\ndisk_size = \"100M\"\n").unwrap();
    let output = kldload(directory.path(), &["plan", "pear.toml"]);
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn files_of_this_machine_stay_here() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("recipe");
    fs::create_dir(&folder).unwrap();
    fs::write(directory.path().join("secret"), "").unwrap();
    symlink("../secret", folder.join("away")).unwrap();
    symlink("/dev/zero", folder.join("zero")).unwrap();
    fs::create_dir(folder.join("folder")).unwrap();
    fs::write(folder.join("here"), "").unwrap();
    symlink("here", folder.join("link")).unwrap();
    fs::File::create(folder.join("large")).unwrap().set_len((256 << 20) + 1).unwrap();
    for (name, told) in [
        ("../secret", "line 3: \"../secret\": files that a recipe names lie beside it"),
        ("/etc/hostname", "line 3: \"/etc/hostname\": files that a recipe names lie beside it"),
        ("away", "line 3: the recipe names the file away, which cannot be read: it is a link"),
        ("zero", "line 3: the recipe names the file zero, which cannot be read: it is a link"),
        ("folder", "cannot be read: it is no regular file"),
        ("large", "cannot be read: it has 268435457 bytes"),
        ("here", ""),
        ("link", ""),
    ] {
        let text = format!("[[files]]\npath = \"/etc/x\"\nsource = \"{name}\"\n");
        fs::write(folder.join("pear.toml"), text).unwrap();
        let output = kldload(&folder, &["plan", "pear.toml"]);
        let error = String::from_utf8(output.stderr).unwrap();
        let code = if told.is_empty() { 0 } else { 3 };
        assert_eq!(output.status.code(), Some(code), "{name}: {error}");
        assert!(error.contains(told), "{name}: {error}");
    }
}

#[test]
fn sets_and_profiles_of_this_machine_stay_here() {
    const SECRET: &str = "root:S3CRET:1";
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("recipe");
    fs::create_dir(&folder).unwrap();
    fs::write(directory.path().join("secret"), SECRET).unwrap();
    fs::write(directory.path().join("armored"), format!("{BEGIN}\n\n{SECRET}\n{END}\n")).unwrap();
    symlink("../secret", folder.join("away")).unwrap();
    symlink("/dev/zero", folder.join("zero")).unwrap();
    fs::create_dir(folder.join("folder")).unwrap();
    fs::write(folder.join("here"), "vim\n").unwrap();
    symlink("here", folder.join("link")).unwrap();
    let made = Command::new("mkfifo").arg(folder.join("pipe")).status().unwrap();
    assert!(made.success());
    fs::File::create(folder.join("large")).unwrap().set_len((256 << 20) + 1).unwrap();
    let says = |text: &str, code: i32, told: &str| {
        fs::write(folder.join("pear.toml"), text).unwrap();
        let output = kldload(&folder, &["plan", "pear.toml"]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{text}: {error}");
        assert!(error.contains(told) && !error.contains("S3CRET"), "{text}: {error}");
    };
    for key in ["sets", "optional_sets"] {
        for (name, told) in [
            ("../secret", "line 2: \"../secret\": files that a recipe names lie beside it"),
            ("/etc/passwd", "line 2: \"/etc/passwd\": files that a recipe names lie beside it"),
            ("away", "line 2: the recipe names the file away, which cannot be read: it is a link"),
            ("zero", "line 2: the recipe names the file zero, which cannot be read: it is a link"),
            ("folder", "cannot be read: it is no regular file"),
            ("pipe", "cannot be read: it is no regular file"),
            ("large", "cannot be read: it has 268435457 bytes"),
            ("here", ""),
            ("link", ""),
        ] {
            let code = if told.is_empty() { 0 } else { 3 };
            says(&format!("{key} = [\"here\",\n\"{name}\"]\n"), code, told);
        }
    }
    // Keys may lie anywhere, as distributions keep them; what is no keyring is not shown.
    let debian = "/usr/share/keyrings/debian-archive-keyring.gpg";
    if Path::new(debian).exists() {
        says(&format!("keyring = \"{debian}\""), 0, "");
    }
    for (name, told) in [
        ("../secret", "line 1: the recipe names the file ../secret, which cannot be read: it has"),
        ("../armored", "it has no OpenPGP keys that can be read; gpg --show-keys tells more"),
        ("/dev/zero", "cannot be read: it is no regular file"),
        ("pipe", "cannot be read: it is no regular file"),
        ("large", "cannot be read: it has 268435457 bytes, 16777216 are the most"),
    ] {
        says(&format!("keyring = \"{name}\""), 3, told);
    }
    symlink("../secret", folder.join("profiles.toml")).unwrap();
    says("", 3, "profiles.toml: it is a link that leads away from the recipe");
    fs::remove_file(folder.join("profiles.toml")).unwrap();
    fs::rename(folder.join("pipe"), folder.join("profiles.toml")).unwrap();
    says("", 3, "profiles.toml: it is no regular file");
    fs::remove_file(folder.join("profiles.toml")).unwrap();
    fs::write(folder.join("profiles.toml"), b"\xff").unwrap();
    says("", 3, "profiles.toml: it is not text in UTF-8");
}

#[test]
fn the_name_of_a_recipe_must_do_for_images() {
    let name = format!("{}.toml", "n".repeat(241));
    let plan = ["plan", name.as_str()];
    says(
        &[(name.as_str(), "")],
        &plan,
        3,
        "at most 240 bytes; -o gives the directory; name in [image]",
    );
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(&name), "[image]\nname = \"pear\"").unwrap();
    assert!(kldload(directory.path(), &plan).status.success());
}

/// A lock of so many lines as are needed to be one.
fn lock(release: &str, request: &str) -> String {
    format!("kldload-lock 1\ndistribution debian {release} amd64\nrequest {request}\n")
}

/// Runs in a directory with these files, expecting an exit code and a message.
fn says(files: &[(&str, &str)], args: &[&str], code: i32, message: &str) {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    let output = kldload(directory.path(), args);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
    assert!(error.contains(message), "{args:?}: {error:?} is not {message:?}");
    // Neither a darksite nor a lock, no output directory.
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), files.len(), "{args:?}");
}

#[test]
fn unknown_names_have_their_line_and_the_nearest_one() {
    let plan = ["plan", "pear.toml"];
    for (text, message) in [
        (
            "\ndistribution = \"debain\"",
            "line 2: the distribution \"debain\" is not known; did you mean \"debian\"?",
        ),
        (
            "\nrelease = \"trixei\"",
            "line 2: the release \"trixei\" is not known; did you mean \"trixie\"?",
        ),
        (
            "architecture = \"amd46\"",
            "line 1: the architecture \"amd46\" is not known; did you mean \"amd64\"?",
        ),
        (
            "profile = \"sever\"",
            "line 1: the profile \"sever\" is not known; did you mean \"server\"?",
        ),
        (
            "suites = [\"trixie\",\n\"trixie-update\"]",
            "line 2: debian trixie has no suite \"trixie-update\"; did you mean \"trixie-updates\"?",
        ),
        (
            "sets = [\n\"lab.txt\"]",
            "line 2: the recipe names the file lab.txt, which cannot be read: No such file",
        ),
        ("keyring = \"no.asc\"", "line 1: the recipe names the file no.asc, which cannot be read"),
        ("mirror = \"gopher://x\"", "line 1: "),
        ("packages = [\"\"]", "line 1: \"\": packages are asked for as"),
        ("packages = [\"VIM\"]", "line 1: \"VIM\": packages are asked for as"),
    ] {
        says(&[("pear.toml", text)], &plan, 3, &format!("pear.toml: {message}"));
    }
    let own = [("pear.toml", "profile = \"lab\""), ("profiles.toml", "[lab]\npackage = []")];
    says(
        &own,
        &plan,
        3,
        "profiles.toml: line 2: unknown key \"package\"; did you mean \"packages\"?",
    );
    let args = ["darksite", "sync", "pear.toml", "--suite", "trixei"];
    says(&[("pear.toml", "")], &args, 3, "kldload: --suite: the release \"trixei\" is not known");
    let formats = ["build", "pear.toml", "-f", "vhd,vhd-dynamic"];
    says(&[("pear.toml", "")], &formats, 2, "vhd and vhd-dynamic would have the same name");
}

#[test]
fn words_that_no_list_has_are_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    let text = "hostname = \"pear\"\ntime_zone = \"Europe/Berln\"\nlocale = \"de_DE.UTF-8\"\n";
    fs::write(directory.path().join("pear.toml"), text).unwrap();
    let told = "pear.toml: line 2: time_zone = \"Europe/Berln\": no Debian from 12 to 14 had this when \
                the list was made; did you mean \"Europe/Berlin\"? The packages of the root decide";
    for args in [&["plan", "pear.toml"][..], &["build", "pear.toml", "--dry-run"]] {
        let output = kldload(directory.path(), args);
        assert!(output.status.success());
        let warnings = String::from_utf8(output.stderr).unwrap();
        assert_eq!(warnings, format!("warning: {told}\n"), "{args:?}");
        let output = kldload(directory.path(), &[args, &["--json"]].concat());
        let shown = String::from_utf8(output.stdout).unwrap();
        let (warning, plan) = shown.split_once('\n').unwrap();
        let warning: Value = serde_json::from_str(warning).unwrap();
        assert_eq!(warning, serde_json::json!({"event": "warning", "text": told}));
        assert!(plan.starts_with("{\"event\":\"plan\""), "{plan}");
    }
}

#[test]
fn a_lock_of_something_else_is_refused_before_anything_is_done() {
    for args in [&["plan", "pear.toml"][..], &["build", "pear.toml", "--dry-run"]] {
        let recipe = ("pear.toml", "packages = [\"vim\"]\n");
        let other = lock("bookworm", "vim");
        let message =
            "pear.lock: made for release bookworm, trixie is asked for; kldload darksite update";
        says(&[recipe, ("pear.lock", &other)], args, 3, message);
        let lacking = lock("trixie", "nano");
        let message = "pear.lock: made before \"vim\" was asked for";
        says(&[recipe, ("pear.lock", &lacking)], args, 3, message);
    }
}

#[test]
fn where_nothing_can_be_written_nothing_is_begun() {
    // A file is in the way; permissions hold nobody back who is root.
    let files = [("pear.toml", ""), ("out", "")];
    says(&files, &["build", "pear.toml"], 3, "cannot write to out: out is a file");
    let more = ["build", "pear.toml", "-o", "out/more"];
    says(&files, &more, 3, "cannot write to out/more: out is a file");
    // Nobody may make files there, whoever it is: that is not the request's fault.
    let proc = ["build", "pear.toml", "-o", "/proc/self"];
    says(&[("pear.toml", "")], &proc, 1, "cannot create a file in /proc/self: ");
}

#[test]
fn contents_are_not_published() {
    let directory = tempfile::tempdir().unwrap();
    let plan = |args: &[&str], secret: &str| {
        let text = format!(
            "[[files]]\npath = \"/etc/key\"\nmode = \"0600\"\ncontent = \"{secret}\"\n\
             [[scripts]]\ncontent = \"#!/bin/sh\\necho {secret}\"\n"
        );
        fs::write(directory.path().join("pear.toml"), text).unwrap();
        let output = kldload(directory.path(), &[args, &["--json"]].concat());
        let shown = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && !shown.contains(secret), "{shown}");
        serde_json::from_str::<Value>(&shown).unwrap()["plan"].take()
    };
    for args in [&["plan", "pear.toml"][..], &["build", "pear.toml", "--dry-run"]] {
        let (one, other) = (plan(args, "SWEETPEARS"), plan(args, "SOURPLUMS!"));
        for kind in ["files", "scripts"] {
            let content = |plan: &Value| plan["recipe"][kind][0]["source"]["content"].clone();
            assert_eq!(content(&one)["length"], content(&other)["length"]);
            assert_ne!(content(&one)["sha256"], content(&other)["sha256"]);
        }
        let content = &one["recipe"]["files"][0]["source"]["content"];
        let digest = tree::Digest::of(b"SWEETPEARS").to_string();
        assert_eq!(*content, serde_json::json!({"sha256": digest, "length": 10}));
        assert_ne!(one["digest"], other["digest"]);
    }
}

#[test]
fn the_digest_is_of_all_that_decides() {
    let directory = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    let digest = |args: &[&str], epoch: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kldload"));
        command.args(args).arg("--json").current_dir(directory.path()).env_remove("KLDLOAD_MIRROR");
        command.env_remove("SOURCE_DATE_EPOCH");
        command.envs(epoch.map(|epoch| ("SOURCE_DATE_EPOCH", epoch)));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let event: Value = serde_json::from_slice(&output.stdout).unwrap();
        event["plan"]["digest"].as_str().unwrap().to_owned()
    };
    let recipe = "profile = \"lab\"\nsets = [\"a.txt\"]\noptional_sets = [\"b.txt\"]\n";
    let plan = ["plan", "pear.toml"];
    put("pear.toml", recipe);
    put("a.txt", "vim\n");
    put("b.txt", "nano\n");
    put("profiles.toml", "[lab]\nextends = \"core\"\n");
    let mut seen = vec![digest(&plan, None)];
    put("pear.toml", &format!("# Pears.\n{recipe}"));
    put("a.txt", "vim # editor\n");
    assert_eq!(digest(&plan, None), seen[0], "comments decide nothing");
    seen.push(digest(&plan, Some("1700000000")));
    seen.push(digest(&plan, Some("1700000001")));
    put("a.txt", "vim\njq\n");
    seen.push(digest(&plan, None));
    put("b.txt", "nano\njq\n");
    seen.push(digest(&plan, None));
    put("profiles.toml", "[lab]\nextends = \"core\"\nrecommends = true\n");
    seen.push(digest(&plan, None));
    put("profiles.toml", "[lab]\nextends = \"core\"\nexclude = [\"jq\"]\n");
    seen.push(digest(&plan, None));
    // What the command line changes, too.
    seen.push(digest(&["build", "pear.toml", "--dry-run", "-f", "vmdk"], None));
    seen.push(digest(&["build", "pear.toml", "--dry-run", "--name", "apple"], None));
    assert_eq!(digest(&["build", "pear.toml", "--dry-run"], None), seen[6]);
    let count = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), count);
}
