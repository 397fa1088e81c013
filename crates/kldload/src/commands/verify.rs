//! `kldload verify`: is a pool sound?

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use zfs::verify::{Report, Totals};

use crate::failure::MISMATCH;
use crate::image::{self, KeyArgs};
use crate::size::human;
use crate::ui;

/// Prove a pool sound: every copy of every block, space maps, files, accounting
///
/// Nothing is written. Damaged files are named. What cannot be looked at, as files of encrypted datasets
/// without their key, is told and counted. Exit code 5 tells that something is wrong.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kldload verify disk.img
  kldload verify mirror-a.img mirror-b.img --json")]
pub struct VerifyArgs {
    /// Images or block devices of the pool
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    #[command(flatten)]
    keys: KeyArgs,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let pool = image::open_pool(&args.images, &args.keys)?;
    let report = zfs::verify::verify(&pool)?;
    let text = match args.json {
        true => format!("{}\n", report_json(&pool, &report)),
        false => ui::plain_lines(&text(&pool, &report)?),
    };
    ui::print(&text)?;
    Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::from(MISMATCH) })
}

fn totals_json(totals: &Totals) -> Value {
    json!({"blocks": totals.count, "lsize": totals.lsize, "psize": totals.psize,
           "asize": totals.asize})
}

fn report_json(pool: &zfs::read::Pool, report: &Report) -> Value {
    let types: serde_json::Map<_, _> =
        report.blocks.iter().map(|(name, totals)| (name.clone(), totals_json(totals))).collect();
    let problems: Vec<_> = report
        .problems
        .iter()
        .map(|problem| {
            json!({"kind": problem.kind.to_string(), "what": problem.what,
                   "files": problem.files})
        })
        .collect();
    json!({
        "pool": pool.name,
        "guid": pool.guid,
        "txg": pool.uberblock.txg,
        "sound": report.is_sound(),
        "problems": problems,
        "more_problems": report.untold,
        "types": types,
        "total": totals_json(&report.total),
        "allocated": report.allocated,
        "inodes": report.inodes,
        "not_looked_at": report.unseen,
        "notes": report.notes,
        "warnings": pool.warnings,
    })
}

fn text(pool: &zfs::read::Pool, report: &Report) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    writeln!(out, "{:>10} {:>8} {:>8} {:>8}  TYPE", "BLOCKS", "LSIZE", "PSIZE", "ASIZE")?;
    let types = report.blocks.iter().map(|(name, totals)| (name.as_str(), totals));
    for (name, totals) in types.chain([("total", &report.total)]) {
        let [lsize, psize, asize] = [totals.lsize, totals.psize, totals.asize].map(human);
        writeln!(out, "{:>10} {lsize:>8} {psize:>8} {asize:>8}  {name}", totals.count)?;
    }
    writeln!(out, "allocated {}, inodes {}", human(report.allocated), report.inodes)?;
    for text in pool.warnings.iter().chain(&report.notes) {
        ui::warn(text);
    }
    for problem in &report.problems {
        writeln!(out, "{problem}")?;
    }
    if report.untold > 0 {
        writeln!(out, "and {} more", report.untold)?;
    }
    match report.problems.len() {
        0 if report.unseen > 0 => {
            let (name, count) = (&pool.name, report.unseen);
            writeln!(out, "pool {name}: nothing wrong found; {count} datasets not looked at")?;
        }
        0 => writeln!(out, "pool {} is sound", pool.name)?,
        count => writeln!(out, "pool {}: {} problems", pool.name, count as u64 + report.untold)?,
    }
    Ok(out)
}
