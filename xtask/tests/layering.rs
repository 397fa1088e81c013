//! The rules of the house: who may import whom, how long a file may be, where processes start.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which rooms each room may import (docs/architecture.md). What is not listed may not exist.
const ROOMS: &[(&str, &[&str])] = &[
    ("tree", &[]),
    ("blk", &[]),
    ("host", &[]),
    ("archive", &["tree"]),
    ("pkg", &["archive", "tree"]),
    ("disk", &["blk", "tree", "archive"]),
    ("zfs", &["blk", "tree"]),
    ("darksite", &["pkg", "archive", "tree"]),
    ("image", &["blk", "disk", "zfs"]),
    ("rootfs", &["pkg", "archive", "tree", "host"]),
    ("boot", &["tree", "archive"]),
    ("bootenv", &["host"]),
    ("plan", &["pkg", "rootfs", "boot", "zfs", "disk", "blk", "bootenv", "host", "tree"]),
    (
        "kldload",
        &[
            "darksite", "pkg", "plan", "bootenv", "boot", "rootfs", "image", "zfs", "disk", "blk",
            "archive", "tree", "host",
        ],
    ),
    // Outside the product.
    ("bare", &["blk", "zfs"]),
    ("vm-judge", &["tree", "zfs"]),
    ("xtask", &["image", "zfs", "disk", "blk", "archive", "tree", "host", "vm-judge"]),
];

/// Lines of code in one file, tests not counted.
const LONGEST: usize = 800;

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn rooms_and_imports() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline", "--locked"])
        .current_dir(checkout())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|package| {
            let imports = package["dependencies"].as_array().unwrap();
            // Tests may look further than what they test.
            let imports = imports
                .iter()
                .filter(|import| import["kind"].is_null() && import["path"].is_string());
            (text(&package["name"]), imports.map(|import| text(&import["name"])).collect())
        })
        .collect()
}

#[test]
fn imports_go_only_downwards() {
    let table: BTreeMap<&str, &[&str]> = ROOMS.iter().copied().collect();
    for (room, imports) in rooms_and_imports() {
        let allowed =
            table.get(&*room).unwrap_or_else(|| panic!("{room} is not in the table of rooms"));
        for import in imports {
            assert!(
                allowed.contains(&&*import),
                "{room} imports {import}, which the table does not allow"
            );
        }
    }
}

fn sources() -> Vec<PathBuf> {
    let mut todo = ["crates", "xtask", "tests"].map(|name| checkout().join(name)).to_vec();
    let mut found = Vec::new();
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|name| name == "rs" || name == "c") {
            found.push(path);
        }
    }
    found
}

/// The part of a source before its tests.
fn code(path: &Path) -> String {
    if path.iter().any(|part| part == "tests" || part == "tests.rs") {
        return String::new();
    }
    let text = fs::read_to_string(path).unwrap();
    text.split_once("#[cfg(test)]\nmod tests {").map_or(text.clone(), |(code, _)| code.to_owned())
}

#[test]
fn no_file_is_a_god_file() {
    for path in sources() {
        let lines = code(&path).lines().count();
        assert!(
            lines <= LONGEST,
            "{} has {lines} lines of code; {LONGEST} are the most",
            path.display()
        );
    }
}

#[test]
fn only_host_has_unsafe_code() {
    for (room, _) in ROOMS {
        let root = checkout().join("crates").join(room).join("src");
        for name in ["lib.rs", "main.rs"] {
            let Ok(text) = fs::read_to_string(root.join(name)) else { continue };
            let forbids = text.contains("#![forbid(unsafe_code)]");
            assert!(
                forbids || *room == "host" || name == "main.rs",
                "{room} does not forbid unsafe code"
            );
        }
    }
}

#[test]
fn only_host_starts_processes() {
    for path in sources() {
        let inside = path.strip_prefix(checkout()).unwrap().to_owned();
        let product = inside.starts_with("crates")
            && inside.components().any(|part| part.as_os_str() == "src");
        if !product
            || inside.starts_with("crates/host")
            || inside.extension().is_some_and(|name| name == "c")
        {
            continue;
        }
        for (number, line) in code(&path).lines().enumerate() {
            let starts = line.contains("process::Command") || line.contains("process::{Command");
            assert!(!starts, "{}:{}: only host starts processes", inside.display(), number + 1);
        }
    }
}

/// A second family of package formats must touch no file of the first: what is for all families names
/// none, except where families are listed. `rootfs` is Debian's way from packages to a root.
#[test]
fn only_its_own_files_know_a_family() {
    let lists =
        ["crates/pkg/src/lib.rs", "crates/darksite/src/lib.rs", "crates/darksite/src/family.rs"];
    for path in sources() {
        let inside = path.strip_prefix(checkout()).unwrap().to_owned();
        let for_all = inside.starts_with("crates")
            && inside.iter().any(|part| part == "src")
            && !inside.starts_with("crates/rootfs")
            && !inside.iter().any(|part| part == "deb")
            && !lists.iter().any(|list| inside == Path::new(list));
        if !for_all {
            continue;
        }
        for (number, line) in code(&path).lines().enumerate() {
            let names = line.contains("deb::") || line.contains("::deb");
            let comment = line.trim_start().starts_with("//");
            assert!(
                !names || comment,
                "{}:{}: this is for all families",
                inside.display(),
                number + 1
            );
        }
    }
}
