//! `kldload plan` and `kldload schema` from the command line; the shipped recipes.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

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
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("pear.toml names the file alice.pub"), "{error}");
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
    fs::write(&recipe, "[image]\ndisk_size = \"100M\"\n").unwrap();
    let output = kldload(directory.path(), &["plan", "pear.toml"]);
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
}
