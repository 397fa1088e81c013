//! `kldload cache`: what builds keep, and how it goes.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use serde_json::json;

use crate::cache::{Cache, Entry, MODULES};
use crate::size;
use crate::time;
use crate::ui::Ui;

/// List or remove what builds keep
#[derive(Debug, Args)]
pub struct CacheArgs {
    #[command(subcommand)]
    command: CacheCommand,
}

#[derive(Debug, Subcommand)]
enum CacheCommand {
    List(ListArgs),
    Gc(GcArgs),
}

/// Where the cache is.
#[derive(Debug, Clone, Args)]
pub struct DirectoryArgs {
    /// The cache [default: kldload in XDG_CACHE_HOME, or in ~/.cache]
    #[arg(long = "cache", value_name = "DIR")]
    directory: Option<PathBuf>,
}

impl DirectoryArgs {
    /// The directory.
    pub fn directory(&self) -> anyhow::Result<PathBuf> {
        self.directory.clone().map_or_else(Cache::default_directory, Ok)
    }
}

/// List what is kept, the last used first
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kldload cache list
  kldload cache list --json | jq .bytes")]
struct ListArgs {
    #[command(flatten)]
    directory: DirectoryArgs,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// Remove what was not used for long, and what killed builds have left
///
/// Nothing is lost that a build does not make again. The kernel modules that were used last stay: they
/// are small, and compiling them takes minutes. Refused while a build is running.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kldload cache gc
  kldload cache gc --max-size 20G
  kldload cache gc --all")]
struct GcArgs {
    #[command(flatten)]
    directory: DirectoryArgs,
    /// Keep what was used in the last so many days
    #[arg(long, value_name = "N", default_value_t = 30)]
    days: u64,
    /// Keep no more than this, the last used first
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    max_size: Option<u64>,
    /// Remove everything, the last used kernel modules too
    #[arg(long)]
    all: bool,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &CacheArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        CacheCommand::List(args) => list(args),
        CacheCommand::Gc(args) => gc(args),
    }
}

fn list(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let mut ui = Ui::new(args.json);
    let directory = args.directory.directory()?;
    // Looking is no reason to make one.
    if !directory.is_dir() {
        return Ok(ExitCode::SUCCESS);
    }
    for entry in Cache::open(&directory)?.list()? {
        let Some(kept) = &entry.kept else { continue };
        let used = entry.used.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let key = entry.key.get(..12).unwrap_or(&entry.key);
        let text = format!(
            "{:<8} {key}  {:>6}  {}  {}",
            entry.kind,
            size::human(kept.bytes),
            time::utc(i64::try_from(used)?),
            kept.what,
        );
        let value = json!({
            "event": "kept", "kind": entry.kind, "key": entry.key, "bytes": kept.bytes, "used": used,
            "what": kept.what, "path": entry.path,
        });
        ui.result(&text, value);
    }
    Ok(ExitCode::SUCCESS)
}

fn gc(args: &GcArgs) -> anyhow::Result<ExitCode> {
    let mut ui = Ui::new(args.json);
    let directory = args.directory.directory()?;
    let (mut removed, mut bytes) = (0, 0);
    if directory.is_dir() {
        let cache = Cache::open_alone(&directory)?;
        let entries = cache.list()?;
        for entry in superfluous(&entries, args, SystemTime::now()) {
            cache.remove(entry)?;
            removed += u64::from(entry.kept.is_some());
            bytes += entry.kept.as_ref().map_or(0, |kept| kept.bytes);
        }
    }
    let text = format!("removed {removed}, {}", size::human(bytes));
    ui.result(&text, json!({"event": "removed", "outputs": removed, "bytes": bytes}));
    Ok(ExitCode::SUCCESS)
}

/// What goes; `entries` has the last used first.
fn superfluous<'a>(entries: &'a [Entry], args: &GcArgs, now: SystemTime) -> Vec<&'a Entry> {
    let longest = Duration::from_secs(args.days.saturating_mul(86_400));
    let mut total = 0u64;
    let mut modules = false;
    let goes = |entry: &&Entry| {
        let Some(kept) = &entry.kept else { return true };
        let first_modules = entry.kind == MODULES && !std::mem::replace(&mut modules, true);
        let old = now.duration_since(entry.used).is_ok_and(|age| age > longest);
        let after = total.saturating_add(kept.bytes);
        let superfluous = old || args.max_size.is_some_and(|most| after > most);
        if args.all || superfluous && !first_modules {
            return true;
        }
        total = after;
        false
    };
    entries.iter().filter(goes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Kept;

    #[test]
    fn what_goes() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100 * 86_400);
        let entry = |key: &str, days: u64, bytes: Option<u64>| Entry {
            kind: "roots".to_owned(),
            key: key.to_owned(),
            path: PathBuf::new(),
            kept: bytes.map(|bytes| Kept { what: String::new(), bytes }),
            used: now - Duration::from_secs(days * 86_400),
        };
        let entries = [
            entry("a", 1, Some(10)),
            entry(".b", 2, None),
            entry("c", 3, Some(10)),
            entry("d", 40, Some(10)),
        ];
        let gone = |days, max_size, all| {
            let directory = DirectoryArgs { directory: None };
            let args = GcArgs { directory, days, max_size, all, json: false };
            let gone = superfluous(&entries, &args, now);
            gone.iter().map(|entry| entry.key.clone()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(gone(30, None, false), ".b d");
        assert_eq!(gone(60, None, false), ".b");
        assert_eq!(gone(60, Some(19), false), ".b c d");
        assert_eq!(gone(60, None, true), "a .b c d");

        // Of modules, which take minutes, the last used ones stay.
        let module = |key, days| Entry { kind: MODULES.to_owned(), ..entry(key, days, Some(10)) };
        let entries = [entry("a", 1, Some(10)), module("m", 40), module("n", 41)];
        let gone = |max_size, all| {
            let directory = DirectoryArgs { directory: None };
            let args = GcArgs { directory, days: 30, max_size, all, json: false };
            let gone = superfluous(&entries, &args, now);
            gone.iter().map(|entry| entry.key.clone()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(gone(None, false), "n");
        assert_eq!(gone(Some(5), false), "a n");
        assert_eq!(gone(None, true), "a m n");
    }
}
