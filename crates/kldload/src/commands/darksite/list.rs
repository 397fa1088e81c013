//! `kldload darksite list`: what is in a darksite.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{Common, count, human};
use crate::ui::Ui;

/// List locks, snapshots and, if asked, packages
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kldload darksite list
  kldload darksite list --packages --json")]
pub struct ListArgs {
    #[command(flatten)]
    common: Common,
    /// List the packages of the current snapshot
    #[arg(long)]
    packages: bool,
    /// Those of another snapshot
    #[arg(long, value_name = "ID", requires = "packages")]
    snapshot: Option<String>,
}

/// Runs the command.
pub fn run(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let mut ui = Ui::new(args.common.json);
    let site = args.common.existing()?;
    if args.packages {
        let repository = site.repository(args.snapshot.as_deref())?;
        let lock = darksite::site::read_lock(&repository.join(darksite::site::LOCK_FILE))?;
        for package in &lock.packages {
            let text = format!(
                "{} {} {} {}/{} {}",
                package.name,
                package.version,
                package.architecture,
                package.suite,
                package.component,
                package.blob.size
            );
            let value = json!({
                "event": "package", "name": package.name, "version": package.version,
                "architecture": package.architecture, "suite": package.suite,
                "component": package.component, "size": package.blob.size,
                "sha256": package.blob.digest.to_string(), "path": package.path,
            });
            ui.result(&text, value);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let current = site.current();
    for (path, lock) in site.locks()? {
        let snapshot = path.starts_with(site.snapshots_directory());
        let parent = path.parent().and_then(|parent| parent.file_name());
        let name = match (snapshot, parent) {
            (true, Some(parent)) => parent.to_string_lossy().into_owned(),
            _ => {
                path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
            }
        };
        let is_current = snapshot && current.as_deref() == Some(&name);
        let kind = if snapshot { "snapshot" } else { "lock" };
        let lock = match lock {
            Ok(lock) => lock,
            Err(error) => {
                ui.warn(&format!("{kind} {name}: {error}"));
                continue;
            }
        };
        let date = lock.date().map(|date| date.to_string()).unwrap_or_default();
        let text = format!(
            "{kind:<8}  {name}  {} {} {}  {}, {}  of {date}{}",
            lock.distribution,
            lock.codename,
            lock.architecture,
            count(lock.packages.len(), "package", "s"),
            human(lock.size()),
            if is_current { "  (current)" } else { "" },
        );
        let value = json!({
            "event": kind, "name": name, "distribution": lock.distribution,
            "codename": lock.codename, "architecture": lock.architecture,
            "packages": lock.packages.len(), "bytes": lock.size(), "date": date,
            "current": is_current,
        });
        ui.result(&text, value);
    }
    let blobs = site.store().list()?;
    let bytes: u64 = blobs.iter().map(|(_, length)| length).sum();
    ui.result(
        &format!("store     {}, {}", count(blobs.len(), "file", "s"), human(bytes)),
        json!({"event": "store", "files": blobs.len(), "bytes": bytes}),
    );
    Ok(ExitCode::SUCCESS)
}
