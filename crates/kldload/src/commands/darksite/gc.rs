//! `kldload darksite gc`: what nothing names any more goes.

use std::process::ExitCode;

use clap::Args;
use darksite::gc::collect;
use serde_json::json;

use super::{Common, count, human};
use crate::ui::Ui;

/// Remove files that no snapshot and no lock names
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kldload darksite gc --dry-run
  kldload darksite gc --keep-snapshots 3
  kldload darksite gc --forget debian-trixie-server-985385ad --keep-snapshots 1")]
pub struct GcArgs {
    #[command(flatten)]
    common: Common,
    /// Remove the lock of a recipe that is no more, by the name that list tells; may be given several times
    #[arg(long, value_name = "LOCK")]
    forget: Vec<String>,
    /// Remove all snapshots but the newest N and the current one
    #[arg(long, value_name = "N")]
    keep_snapshots: Option<usize>,
    /// Only tell what would be removed
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// Runs the command.
pub fn run(args: &GcArgs) -> anyhow::Result<ExitCode> {
    let mut ui = Ui::new(args.common.json);
    let site = args.common.existing()?;
    let removed = collect(&site, &args.forget, args.keep_snapshots, args.dry_run)?;
    let text = format!(
        "{} {} ({}), {} and {}; {} stay",
        if args.dry_run { "would remove" } else { "removed" },
        count(removed.blobs + removed.partials, "file", "s"),
        human(removed.bytes),
        count(removed.snapshots.len(), "snapshot", "s"),
        count(removed.locks.len(), "lock", "s"),
        count(removed.kept, "file", "s"),
    );
    let value = json!({
        "event": "removed", "dry_run": args.dry_run, "files": removed.blobs + removed.partials, "bytes": removed.bytes,
        "snapshots": removed.snapshots, "locks": removed.locks, "kept": removed.kept,
    });
    ui.result(&text, value);
    Ok(ExitCode::SUCCESS)
}
