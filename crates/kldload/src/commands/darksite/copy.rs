//! `kldload darksite copy`: the repository on a medium.

use std::cell::RefCell;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{Common, count, human};
use crate::ui::Ui;

/// Copy a snapshot to a directory: a plain repository that needs nothing else
///
/// The directory may be that of a mounted stick; it is empty or has an earlier copy, anything else is
/// refused. What is there already and right stays, so that an interrupted copy goes on; what an earlier copy
/// had and this one has not is removed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kldload darksite copy /media/stick/debian
  kldload darksite copy /media/stick/debian --snapshot 20261128T011039Z-674ecf5b
  kldload darksite verify /media/stick/debian")]
pub struct CopyArgs {
    /// The directory
    target: PathBuf,
    /// Which snapshot, by the id that list tells, instead of the current one
    #[arg(long, value_name = "ID")]
    snapshot: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Runs the command.
pub fn run(args: &CopyArgs) -> anyhow::Result<ExitCode> {
    let mut ui = Ui::new(args.common.json);
    let site = args.common.existing()?;
    let _guard = site.guard()?;
    let repository = site.repository(args.snapshot.as_deref())?;
    let lock = darksite::site::read_lock(&repository.join(darksite::site::LOCK_FILE))?;
    ui.stage("copying", lock.size());
    let copied = {
        let shared = RefCell::new(&mut ui);
        let advance = |bytes| shared.borrow_mut().advance(bytes);
        darksite::copy::copy(&repository, &args.target, &advance)?
    };
    let text = format!(
        "{}: {} copied ({}), {} were there, {} removed",
        args.target.display(),
        count(copied.copied, "file", "s"),
        human(copied.bytes),
        copied.kept,
        copied.removed
    );
    let value = json!({
        "event": "copied", "path": args.target, "copied": copied.copied, "bytes": copied.bytes,
        "kept": copied.kept, "removed": copied.removed,
    });
    ui.result(&text, value);
    Ok(ExitCode::SUCCESS)
}
