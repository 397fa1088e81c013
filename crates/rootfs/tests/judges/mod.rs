//! The real tools that judge what this crate writes.

use std::process::{Command, Output};

/// A tool on this machine. A missing one fails the test in CI and skips it, loudly, elsewhere.
pub fn tool(name: &str) -> Option<Command> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(name))
        .find(|file| file.is_file());
    if found.is_none() {
        let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
        assert!(!in_ci, "{name} is not installed, and CI=true: it must judge here");
        eprintln!("\n***** SKIPPED: {name} is not installed and judged NOTHING *****\n");
    }
    found.map(Command::new)
}

/// Runs a tool that must succeed, and returns everything it said.
#[track_caller]
pub fn passes(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.env("LC_ALL", "C.UTF-8").output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{said}");
    said
}
