//! `kldload darksite`: an offline repository of official packages, from mirroring to serving.

pub mod asked;
pub mod beside;
mod copy;
mod gc;
mod key;
mod list;
mod origin;
pub mod sbom;
mod serve;
pub mod sync;
mod update;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use clap::{Args, Subcommand};
use darksite::fetch::Event;
use darksite::site::Site;

use crate::failure::Invalid;
use crate::ui::Ui;

/// Mirror, verify, publish and serve official packages
#[derive(Debug, Args)]
pub struct DarksiteArgs {
    #[command(subcommand)]
    command: DarksiteCommand,
}

#[derive(Debug, Subcommand)]
enum DarksiteCommand {
    Sync(sync::SyncArgs),
    Update(update::UpdateArgs),
    Verify(verify::VerifyArgs),
    List(list::ListArgs),
    Gc(gc::GcArgs),
    Copy(copy::CopyArgs),
    Serve(serve::ServeArgs),
    Sbom(sbom::SbomArgs),
    Key(key::KeyArgs),
}

/// What every subcommand takes.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// The darksite's directory; made by sync if it does not exist
    #[arg(short, long, value_name = "DIR", default_value = "darksite", env = "KLDLOAD_DARKSITE")]
    dir: PathBuf,
    /// Print events and results as JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: DarksiteArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        DarksiteCommand::Sync(args) => sync::run(&args),
        DarksiteCommand::Update(args) => update::run(&args),
        DarksiteCommand::Verify(args) => verify::run(&args),
        DarksiteCommand::List(args) => list::run(&args),
        DarksiteCommand::Gc(args) => gc::run(&args),
        DarksiteCommand::Copy(args) => copy::run(&args),
        DarksiteCommand::Serve(args) => serve::run(&args),
        DarksiteCommand::Sbom(args) => sbom::run(&args),
        DarksiteCommand::Key(args) => key::run(&args),
    }
}

impl Common {
    /// The darksite, which must exist already.
    fn existing(&self) -> anyhow::Result<Site> {
        if !self.dir.join("blobs").is_dir() {
            let dir = self.dir.display();
            let absent = format!(
                "{dir} is no darksite; kldload darksite sync makes one, --dir names another"
            );
            return Err(Invalid(absent).into());
        }
        Ok(Site::open(&self.dir)?)
    }
}

/// Shows what happens while files are fetched.
fn shown(ui: &Mutex<&mut Ui>, event: Event<'_>) {
    let mut ui = ui.lock().unwrap_or_else(PoisonError::into_inner);
    match event {
        Event::Bytes(bytes) => ui.advance(bytes),
        Event::Retry { location, problem } => ui.warn(&format!("{location}: {problem}")),
        Event::Warning(text) => ui.warn(text),
        Event::Done(_) => {}
    }
}

/// How many of what: one alone has no `plural` ending.
fn count(number: usize, what: &str, plural: &str) -> String {
    let plural = if number == 1 { "" } else { plural };
    format!("{number} {what}{plural}")
}

/// Bytes for people.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0);
    format!("{value:.digits$} {}", UNITS.get(unit).copied().unwrap_or_default())
}
