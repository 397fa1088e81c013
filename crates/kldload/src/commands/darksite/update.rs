//! `kldload darksite update`: the lock of a recipe is made anew, and what changes is shown.

use std::process::ExitCode;

use clap::Args;
use darksite::lock::{Change, Difference, difference};
use darksite::site::{Site, write_lock};
use serde_json::json;

use super::Common;
use super::asked::{Asked, AskedArgs};
use super::sync::NetworkArgs;
use crate::ui::Ui;

/// Choose the packages of a recipe anew and show what changes
///
/// The table tells security updates, upgrades, additions and removals; then the lock file is written,
/// unless --dry-run is given. kldload darksite sync fetches what it names.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kldload darksite update server.toml --dry-run
  kldload darksite update server.toml && kldload darksite sync server.toml")]
pub struct UpdateArgs {
    #[command(flatten)]
    asked: AskedArgs,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    network: NetworkArgs,
    /// Only show what would change
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// Runs the command.
pub fn run(args: &UpdateArgs) -> anyhow::Result<ExitCode> {
    let mut ui = Ui::new(args.common.json);
    let asked = Asked::read(&args.asked)?;
    asked.warn_of_profile(&ui);
    let fetcher = args.network.fetcher()?;
    let site = Site::open(&args.common.dir)?;
    let _guard = site.guard()?;
    let path = asked.lock_path();
    let old = asked.lock()?.unwrap_or_default();
    let new = asked.resolve(&site, &fetcher, &mut ui)?;
    let changes = difference(&old, &new)?;
    let value: Vec<_> = changes
        .iter()
        .map(|change| {
            json!({"change": change.change.word(), "name": change.name, "old": change.old,
                   "new": change.new, "suite": change.suite})
        })
        .collect();
    ui.result(&table(&changes), json!({"event": "difference", "changes": value}));
    if !args.dry_run && old != new {
        // First, so that gc never finds the new lock unknown.
        site.save_next_lock(&asked.name_in_site()?, &new)?;
        write_lock(&path, &new)?;
        ui.result(
            &format!("{}: {} packages", path.display(), new.packages.len()),
            json!({"event": "lock", "path": path, "packages": new.packages.len()}),
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// The changes in columns, with a line of counts below.
fn table(changes: &[Difference]) -> String {
    if changes.is_empty() {
        return "no package changes".to_owned();
    }
    let heading = ["CHANGE", "PACKAGE", "OLD", "NEW", "SUITE"].map(str::to_owned);
    let rows = changes.iter().map(|change| {
        let version = |version: &Option<String>| version.clone().unwrap_or_else(|| "-".to_owned());
        [
            change.change.word().to_owned(),
            change.name.clone(),
            version(&change.old),
            version(&change.new),
            change.suite.clone(),
        ]
    });
    let rows: Vec<[String; 5]> = std::iter::once(heading).chain(rows).collect();
    let mut widths = [0; 5];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text += cells.join("  ").trim_end();
        text.push('\n');
    }
    let count = |kind: Change| changes.iter().filter(|change| change.change == kind).count();
    let counts: Vec<String> = [
        Change::Security,
        Change::Upgraded,
        Change::Downgraded,
        Change::Rebuilt,
        Change::Added,
        Change::Removed,
    ]
    .into_iter()
    .filter(|kind| count(*kind) > 0)
    .map(|kind| format!("{} {}", count(kind), kind.word()))
    .collect();
    text + &counts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns() {
        let change = |change, name: &str, old: Option<&str>, new: Option<&str>| Difference {
            change,
            name: name.to_owned(),
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
            suite: "trixie".to_owned(),
        };
        let changes = [
            change(Change::Security, "openssl", Some("3.5.1-1"), Some("3.5.1-1+deb13u1")),
            change(Change::Removed, "x", Some("1"), None),
        ];
        let expected = "CHANGE    PACKAGE  OLD      NEW              SUITE\n\
                        security  openssl  3.5.1-1  3.5.1-1+deb13u1  trixie\n\
                        removed   x        1        -                trixie\n\
                        1 security, 1 removed";
        assert_eq!(table(&changes), expected);
        assert_eq!(table(&[]), "no package changes");
    }
}
