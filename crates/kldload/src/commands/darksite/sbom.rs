//! `kldload darksite sbom`: the software bill of materials.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use clap::Args;
use darksite::lock::Lock;
use darksite::sbom::{Licenses, licenses, spdx};
use darksite::site::{LOCK_FILE, Site, read_lock};
use serde_json::json;

use super::Common;
use crate::commands::usage;
use crate::output::OutputFile;
use crate::ui::{self, Ui};

/// Write the software bill of materials of a lock, as SPDX 2.3 in JSON
///
/// Packages, versions, digests, sources and suppliers are those of the lock and its indexes; licences are
/// read from the packages' own copyright files, where they are machine-readable.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kldload darksite sbom > server.spdx.json
  kldload darksite sbom server.lock -o server.spdx.json")]
pub struct SbomArgs {
    /// A lock file; without it, that of the newest snapshot
    lock: Option<PathBuf>,
    /// File to write instead of standard output; only with it, --json tells events there
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// The licences that the packages of a lock name, as their copyright files do.
pub fn read_licenses(lock: &Lock, site: &Site, ui: &mut Ui) -> anyhow::Result<Licenses> {
    ui.stage("reading licences", lock.size());
    let shared = Mutex::new(ui);
    let advance = |bytes| shared.lock().unwrap_or_else(PoisonError::into_inner).advance(bytes);
    Ok(licenses(lock, site.store(), &advance)?)
}

/// Runs the command.
pub fn run(args: &SbomArgs) -> anyhow::Result<ExitCode> {
    // Where the document goes to standard output, no event may.
    if args.common.json && args.output.is_none() {
        usage(
            "the document is JSON already; events can be had with --json where it goes to a file: -o FILE",
        );
    }
    let mut ui = Ui::new(args.common.json);
    let site = args.common.existing()?;
    let path = match &args.lock {
        Some(path) => path.clone(),
        None => site.repository(None)?.join(LOCK_FILE),
    };
    let lock = read_lock(&path)?;
    let name = format!("{}-{}-{}", lock.distribution, lock.codename, lock.architecture);
    let licenses = read_licenses(&lock, &site, &mut ui)?;
    let document = spdx(&lock, &name, site.store(), &licenses)?;
    let text = format!("{}\n", serde_json::to_string_pretty(&document)?);
    match &args.output {
        Some(path) => {
            let output = OutputFile::create(path)?;
            let mut file = output.file();
            file.write_all(text.as_bytes())?;
            output.publish()?;
            let count = lock.packages.len();
            ui.result(
                &format!("{}: {count} packages", path.display()),
                json!({"event": "sbom", "path": path, "packages": count}),
            );
        }
        None => ui::print(&text)?,
    }
    Ok(ExitCode::SUCCESS)
}
