//! `kldload darksite verify`: every byte, from key to package, offline.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use clap::Args;
use darksite::lock::Lock;
use darksite::site::{LOCK_FILE, read_lock};
use darksite::verify::{self, Progress, Verified, repository};
use jiff::Timestamp;
use pkg::openpgp::Keyring;
use serde_json::json;

use super::asked::keyring;
use super::{Common, count, human};
use crate::failure::{Invalid, MISMATCH};
use crate::ui::Ui;

/// Check every byte against key, Release file, index and package, without network
///
/// Without a directory, all locks of the darksite are checked against its store, and all snapshots as
/// the repositories that they are; with one, the repository that was copied there. Each lock is judged by the
/// keys of its own distribution and release.
/// Ends with 5 if anything is wrong, and with 3 if there is nothing to verify.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kldload darksite verify
  kldload darksite verify /media/stick/debian")]
pub struct VerifyArgs {
    /// A repository made by kldload darksite copy
    repository: Option<PathBuf>,
    /// File with keys to trust besides each distribution's own; may be given several times
    #[arg(long, value_name = "FILE")]
    keyring: Vec<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// Whom to trust with a lock: the keys of its own distribution and release, and those in files.
fn trusted(lock: &Lock, files: &[PathBuf]) -> anyhow::Result<Keyring> {
    let mut all = Keyring::default();
    for path in files {
        all.extend(keyring(lock, Some(path))?);
    }
    match keyring(lock, None) {
        Ok(own) => all.extend(own),
        // Of a release that is not known, somebody may have the keys.
        Err(error) if files.is_empty() => return Err(error),
        Err(_) => {}
    }
    Ok(all)
}

/// The lock of a repository. Without one, nobody knows what there is to verify.
fn lock_of(path: &Path) -> anyhow::Result<Lock> {
    let file = path.join(LOCK_FILE);
    if path.is_file() || matches!(file.try_exists(), Ok(false)) {
        return Err(Invalid(format!(
            "{}: there is nothing to verify, as {LOCK_FILE} is missing; name what kldload darksite copy made, or \
             a darksite with --dir",
            path.display()
        ))
        .into());
    }
    Ok(read_lock(&file)?)
}

/// Runs the command.
pub fn run(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let mut ui = Ui::new(args.common.json);
    let now = Timestamp::now();
    ui.stage("verifying signatures", 0);
    let verified = {
        let shared = Mutex::new(&mut ui);
        let progress = |progress| {
            let mut ui = shared.lock().unwrap_or_else(PoisonError::into_inner);
            match progress {
                Progress::Total(bytes) => ui.stage("verifying", bytes),
                Progress::Read(bytes) => ui.advance(bytes),
            }
        };
        let one = |path: &Path| -> anyhow::Result<Verified> {
            let lock = lock_of(path)?;
            let keyring = trusted(&lock, &args.keyring)?;
            Ok(repository(path, &keyring, now, &progress)?)
        };
        match &args.repository {
            Some(path) => one(path)?,
            None => {
                let site = args.common.existing()?;
                let _guard = site.guard()?;
                let keys = |lock: &Lock| {
                    trusted(lock, &args.keyring).map_err(|error| format!("{error:#}"))
                };
                let verified = verify::site(&site, &keys, now, &progress)?;
                if verified == Verified::default() {
                    let empty = format!(
                        "{}: there is nothing to verify; kldload darksite sync brings something",
                        site.root().display()
                    );
                    return Err(Invalid(empty).into());
                }
                verified
            }
        }
    };
    verified.problems.iter().for_each(|problem| ui.warn(problem));
    let good = verified.problems.is_empty();
    let text = format!(
        "{}: {}, {} read, {}",
        if good {
            "all is well".to_owned()
        } else {
            count(verified.problems.len(), "PROBLEM", "S")
        },
        count(verified.packages, "package", "s"),
        count(verified.files, "file", "s"),
        human(verified.bytes)
    );
    let value = json!({
        "event": "verified", "good": good, "packages": verified.packages, "files": verified.files,
        "bytes": verified.bytes, "problems": verified.problems,
    });
    ui.result(&text, value);
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(MISMATCH) })
}
