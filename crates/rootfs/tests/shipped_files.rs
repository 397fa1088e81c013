//! The shipped programs and units, judged by `dash`, `shellcheck` and `systemd-analyze`.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../disk/tests/judges/mod.rs"]
mod judges;

use std::fs;
use std::path::{Path, PathBuf};

use judges::{passes, tool};

const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/files");

fn files(wanted: impl Fn(&Path, &str) -> bool) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(FILES)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| wanted(path, &fs::read_to_string(path).unwrap()))
        .collect();
    found.sort();
    assert!(!found.is_empty());
    found
}

fn is_shell(path: &Path, text: &str) -> bool {
    text.starts_with("#!/bin/sh\n") || path.extension().is_some_and(|end| end == "sh")
}

#[test]
fn shell() {
    for path in files(is_shell) {
        let Some(mut dash) = tool("dash") else { return };
        passes(dash.arg("-n").arg(&path));
        let Some(mut shellcheck) = tool("shellcheck") else { return };
        passes(shellcheck.args(["-x", "-P", FILES]).arg(&path));
    }
}

/// perl-base is Essential in Debian, the other modules are not.
#[test]
fn perl_needs_perl_base_only() {
    let base = ["strict", "warnings", "integer", "constant", "Fcntl", "Getopt::Long", "IO::Handle"];
    for path in files(|_, text| text.starts_with("#!/usr/bin/perl\n")) {
        for line in fs::read_to_string(&path).unwrap().lines() {
            if let Some(rest) = line.strip_prefix("use ").or(line.strip_prefix("require ")) {
                let module = rest.split([' ', ';']).next().unwrap();
                assert!(base.contains(&module), "{path:?} uses {module}");
            }
        }
        let Some(mut perl) = tool("perl") else { return };
        let said = passes(perl.arg("-wc").arg(&path));
        assert!(said.ends_with("syntax OK\n"), "{said}");
    }
}

/// Units are verified beside the programs they start, in a root of their own.
#[test]
fn units() {
    let Some(mut analyze) = tool("systemd-analyze") else { return };
    let root = tempfile::tempdir().unwrap();
    let system = root.path().join("usr/lib/systemd/system");
    let programs = root.path().join("usr/lib/kldload");
    for directory in [&system, &programs] {
        fs::create_dir_all(directory).unwrap();
    }
    let is_unit = |path: &Path, _: &str| {
        path.extension().is_some_and(|end| end == "service" || end == "path")
    };
    let units = files(is_unit);
    for path in &units {
        fs::copy(path, system.join(path.file_name().unwrap())).unwrap();
    }
    for path in files(is_shell) {
        let copy = programs.join(path.file_name().unwrap());
        fs::copy(&path, &copy).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&copy, mode).unwrap();
    }
    for target in ["basic", "sysinit", "shutdown", "paths", "multi-user", "nss-lookup", "sockets"] {
        fs::write(system.join(format!("{target}.target")), "[Unit]\nDescription=x\n").unwrap();
    }
    let names = units.iter().map(|path| path.file_name().unwrap());
    let said = passes(
        analyze
            .arg("verify")
            .arg(format!("--root={}", root.path().display()))
            .args(["--man=no"])
            .args(names),
    );
    for path in &units {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(!said.lines().any(|line| line.contains(name)), "{said}");
    }
}
