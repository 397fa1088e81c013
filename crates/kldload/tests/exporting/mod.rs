//! `kldload export` run by tests: to its end, or begun and watched.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn command(directory: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kldload"));
    command.arg("export").args(args).current_dir(directory).env_remove("KEXPORT_NAME");
    command
}

pub fn export(directory: &Path, args: &[&str]) -> Output {
    command(directory, args).output().unwrap()
}

/// An export that has come to `stage`, and its further events: whoever drops them closes its output.
pub fn begun(
    directory: &Path,
    args: &[&str],
    stage: &str,
) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut child = command(directory, args)
        .arg("--json")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut events = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let stage = format!("\"{stage}\"");
    assert!(events.any(|line| line.contains(&stage)));
    (child, events)
}

pub fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
