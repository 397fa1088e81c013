//! `kldload darksite sync`: what a recipe needs is fetched, verified and published.

use std::num::NonZeroU64;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;

use clap::Args;
use darksite::fetch::{Fetcher, Options, Proxies, Summary};
use darksite::keys;
use darksite::lock::Lock;
use darksite::packages::packages;
use darksite::publish::{Snapshot, Times, draft, publish, relink, remake, snapshots};
use darksite::site::{Site, write_lock};
use darksite::verify;
use jiff::Timestamp;
use serde_json::json;

use super::asked::{Asked, AskedArgs};
use super::{Common, human, shown};
use crate::commands::build::source_date_epoch;
use crate::failure::Mismatch;
use crate::size;
use crate::ui::Ui;

/// Bring everything that a recipe or a list of packages needs into the darksite
///
/// The first time, the packages are chosen and written to a lock file beside the recipe; from then on
/// the lock decides, until kldload darksite update changes it; a lock that lacks a package that is
/// asked for is refused. Everything is verified from the
/// distribution's key to the last byte, and published as a repository that a stock apt accepts.
/// A second run with nothing changed fetches no package.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kldload darksite sync server.toml
  kldload darksite sync packages.txt --suite bookworm --limit-rate 2M
  kldload darksite sync server.toml --mirror file:/srv/debian --dir /srv/darksite")]
pub struct SyncArgs {
    #[command(flatten)]
    asked: AskedArgs,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    network: NetworkArgs,
}

/// How to fetch.
#[derive(Debug, Clone, Args)]
pub struct NetworkArgs {
    /// Fetch at most so many bytes a second, all connections together
    #[arg(long, value_name = "SIZE", value_parser = rate)]
    limit_rate: Option<NonZeroU64>,
    /// Fetch at most so many files at the same time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64))]
    parallel: u8,
}

impl NetworkArgs {
    /// What fetches, with the proxies and, as OpenSSL's programs do, the authorities of the environment.
    pub fn fetcher(&self) -> anyhow::Result<Fetcher> {
        let proxies = Proxies::from_variables(|name| std::env::var(name).ok());
        Ok(Fetcher::new(Options {
            threads: self.parallel.into(),
            rate: self.limit_rate,
            proxies,
            certificates: std::env::var_os("SSL_CERT_FILE")
                .filter(|path| !path.is_empty())
                .map(PathBuf::from),
            ..Options::default()
        })?)
    }
}

fn rate(text: &str) -> Result<NonZeroU64, String> {
    let wrong =
        || "nothing arrives at 0 bytes a second; without the option there is no limit".to_owned();
    NonZeroU64::new(size::parse(text)?).ok_or_else(wrong)
}

/// Brings what the lock of a recipe names; makes the lock if there is none. Where everything is here
/// already, nobody is asked.
pub fn bring(asked: &Asked, site: &Site, fetcher: &Fetcher, ui: &mut Ui) -> anyhow::Result<Lock> {
    let lock = choose(asked, site, fetcher, ui)?;
    fetch(asked, &lock, site, fetcher, ui)?;
    relinked(site, ui)?;
    Ok(lock)
}

/// The lock of a recipe, whose indexes are here; made if there is none.
fn choose(asked: &Asked, site: &Site, fetcher: &Fetcher, ui: &mut Ui) -> anyhow::Result<Lock> {
    let (name, path) = (asked.name_in_site()?, asked.lock_path());
    Ok(match asked.fitting_lock(ui)? {
        Some(lock) => {
            asked.bring_indexes(site, &lock, fetcher, ui)?;
            // A lock that comes from elsewhere is believed as little as a mirror.
            if site.lock(&name).as_ref() != Some(&lock) {
                ui.stage("verifying the lock", 0);
                verify::lock(&lock, site.store(), asked.keyring())
                    .map_err(|problem| Mismatch(format!("{}: {problem}", path.display())))?;
                asked.check_whole(&lock, site)?;
            }
            lock
        }
        None => {
            let resolved = asked.resolve(site, fetcher, ui)?;
            site.save_next_lock(&name, &resolved)?;
            write_lock(&path, &resolved)?;
            resolved
        }
    })
}

/// Brings the packages of a lock.
fn fetch(
    asked: &Asked,
    lock: &Lock,
    site: &Site,
    fetcher: &Fetcher,
    ui: &mut Ui,
) -> anyhow::Result<Summary> {
    let mut missing = packages(lock, &|suite| asked.places(suite));
    missing.retain(|file| !site.store().contains(&file.digest, file.size));
    ui.stage("fetching packages", missing.iter().map(|file| file.size).sum());
    let summary = {
        let shared = Mutex::new(&mut *ui);
        fetcher.all(site.store(), &missing, &|event| shown(&shared, event))?
    };
    site.save_lock(&asked.name_in_site()?, lock)?;
    Ok(summary)
}

/// All snapshots, which hold what the store holds.
fn relinked(site: &Site, ui: &mut Ui) -> anyhow::Result<Vec<Snapshot>> {
    let snapshots = snapshots(site, &mut |why| ui.warn(why))?;
    let replaced = relink(site, &snapshots)?;
    if replaced > 0 {
        ui.warn(&format!("{replaced} damaged or missing files of snapshots were replaced"));
    }
    Ok(snapshots)
}

/// Runs the command.
pub fn run(args: &SyncArgs) -> anyhow::Result<ExitCode> {
    let mut ui = Ui::new(args.common.json);
    let now = Timestamp::now();
    // What is published may be dated; what is signed, and what is found, is judged by the clock.
    let times = Times { date: source_date_epoch()?.unwrap_or(now), now };
    let asked = Asked::read(&args.asked)?;
    asked.warn_of_profile(&ui);
    let fetcher = args.network.fetcher()?;
    let site = Site::open(&args.common.dir)?;
    let _guard = site.guard()?;
    let lock = choose(&asked, &site, &fetcher, &mut ui)?;
    // Without a key, there is no use in all that is fetched.
    let key = keys::signing_key(&site.keys(), now)?;
    // The network has others to wait for than the processor.
    let (summary, draft) = thread::scope(|scope| {
        let draft = scope.spawn(|| draft(&site, &lock));
        let summary = fetch(&asked, &lock, &site, &fetcher, &mut ui);
        (summary, draft.join().unwrap_or_else(|panic| resume_unwind(panic)))
    });
    let summary = summary?;
    let snapshots = relinked(&site, &mut ui)?;
    ui.stage("publishing", 0);
    let remade = remake(&site, &snapshots, &key, now, &mut |why| ui.warn(why))?;
    if remade > 0 {
        ui.warn(&format!("{remade} snapshots with damaged or missing indexes were made anew"));
    }
    let published = publish(&site, &lock, draft?, &key, times)?;
    let text = format!(
        "{}: {} packages, {}; fetched {} ({})\n{}",
        asked.name(),
        lock.packages.len(),
        human(lock.size()),
        summary.fetched,
        human(summary.bytes),
        published.path.display(),
    );
    ui.result(
        &text,
        json!({
            "event": "synced", "packages": lock.packages.len(), "bytes": lock.size(),
            "fetched": summary.fetched, "fetched_bytes": summary.bytes, "snapshot": published.id,
            "path": published.path, "fresh": published.fresh, "key": key.fingerprint(),
        }),
    );
    Ok(ExitCode::SUCCESS)
}
