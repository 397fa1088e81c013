//! What our program says of a pool.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::run::{Run, end_of};

/// What `kldload verify` found.
#[derive(Debug)]
pub struct Verified {
    /// The report.
    pub report: Value,
}

/// Runs `kldload verify`; the report and the exit code have to say the same.
pub fn verify(program: &Path, images: &[PathBuf], more: &[&str]) -> Result<Verified> {
    let run = Run::new(program).args(["verify", "--json"]).args(more).args(images);
    let said = run.errors_apart().output()?;
    let code = said.status.code();
    let report: Value = serde_json::from_str(&said.text)
        .with_context(|| format!("verify ended with {code:?}: {}", end_of(&said.text)))?;
    let expected = if report["sound"] == true { 0 } else { 5 };
    ensure!(code == Some(expected), "sound is {}, and the exit code {code:?}", report["sound"]);
    Ok(Verified { report })
}

/// The same, and that nothing is wrong.
pub fn sound(program: &Path, images: &[PathBuf]) -> Result<Verified> {
    let found = verify(program, images, &[])?;
    match found.is_sound() {
        true => Ok(found),
        false => bail!("verify says of a sound pool: {:#?}", found.problems()),
    }
}

impl Verified {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.report["sound"] == true
    }

    /// What is wrong, each with kind, text and files.
    pub fn problems(&self) -> &[Value] {
        self.report["problems"].as_array().map(Vec::as_slice).unwrap_or_default()
    }

    /// Their texts.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.problems().iter().filter_map(|problem| problem["what"].as_str())
    }

    /// The damaged files, sorted, each once.
    pub fn files(&self) -> Vec<String> {
        let files = self.problems().iter().filter_map(|problem| problem["files"].as_array());
        let mut files: Vec<String> =
            files.flatten().filter_map(|file| file.as_str().map(str::to_owned)).collect();
        files.sort();
        files.dedup();
        files
    }
}

/// Every object, as `zdb -Pddddd` shows them.
pub fn dump(program: &Path, images: &[PathBuf]) -> Result<String> {
    Run::new(program).arg("dump").args(images).errors_apart().text()
}
