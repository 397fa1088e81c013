//! `cargo xtask bench darksite`: mirroring and publishing beside apt's own tools.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::apt::{KEYRING, PrivateApt};
use crate::bench::{RUNS, measured, median, stage_seconds, timed};
use crate::checkout::{fresh, kldload, target};
use crate::run::Run;

/// Where files live in memory: a sync there does not wait for a disk.
const MEMORY: &str = "/dev/shm";
/// How often everything is mirrored: that takes half a second, and varies more than the rest.
const COLD_RUNS: usize = 7;

/// Times a cold sync from a local HTTP server, one with nothing to do, publishing, and solving. The packages of
/// `profile` and those that `more` names are mirrored once from where this machine's apt has them.
pub fn darksite(profile: &str, more: &[String]) -> Result<()> {
    let kldload = kldload()?;
    let work = tempfile::Builder::new().prefix("bench-").tempdir_in(target())?;
    let memory = tempfile::Builder::new().prefix("bench-").tempdir_in(MEMORY)?;
    let at = |name: &str| work.path().join(name);
    let request = format!("profile = \"{profile}\"\npackages = {more:?}\n");
    fs::write(at("recipe.toml"), &request)?;
    sync(&kldload, work.path()).text()?;
    let lock = fs::read_to_string(at("recipe.lock"))?;
    let server = Server::start(&kldload, &at("site"))?;
    let mirror = Mirror { request, address: &server.address, key: at("site/keys/public.asc") };
    let packages: Vec<String> = lock
        .lines()
        .filter_map(|line| line.strip_prefix("package "))
        .filter_map(|line| {
            let mut words = line.split(' ');
            Some(format!("{}={}", words.next()?, words.next()?))
        })
        .collect();
    // What is mirrored comes from memory, for the first who asks too.
    Run::new(&kldload).args(["darksite", "verify", "--dir"]).arg(at("site")).text()?;
    // ext4 spends up to a tenth of a sync on going round what was deleted in the last minutes: nothing is.
    let on_disk = cold(&kldload, &mirror, &packages, &at("cold"), true)?;
    let in_memory = cold(&kldload, &mirror, &packages, memory.path(), false)?;
    let last = &on_disk.work;
    let repository = fs::canonicalize(last.join("site/current"))?;
    let bytes: u64 = lock
        .lines()
        .filter_map(|line| line.strip_prefix("package ")?.split(' ').nth(3)?.parse::<u64>().ok())
        .sum();
    let (mut ftparchive, mut disk) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        // Not through a pipe, which takes longer than the disk.
        let dd = Run::new("dd").args(["if=/dev/zero", "bs=128k", "iflag=count_bytes"]);
        let dd = dd.args(["conv=fsync"]).arg(format!("count={bytes}"));
        let dd = dd.arg(format!("of={}", at("dd").display()));
        disk.push(timed(|| dd.text().map(drop))?);
        let script = "apt-ftparchive packages pool > \"$1/Packages\" && xz -kf \"$1/Packages\" && \
                      apt-ftparchive release \"$1\" > \"$1/Release\"";
        fresh(&at("ftparchive"))?;
        let publish = Run::new("sh").args(["-c", script, "sh"]).arg(at("ftparchive"));
        ftparchive.push(timed(|| publish.directory(&repository).text().map(drop))?);
    }
    let again = Run::new("bash").args(["-c", "TIMEFORMAT='%U %S'; time \"$@\" >/dev/null", "bash"]);
    let again = again
        .arg(&kldload)
        .args(["darksite", "sync", "--json"])
        .arg(last.join("recipe.toml"))
        .arg("--dir")
        .arg(last.join("site"))
        .text()?;
    let cpu: f64 = again
        .lines()
        .last()
        .unwrap_or_default()
        .split(' ')
        .map(|seconds| seconds.parse::<f64>().unwrap_or(f64::NAN))
        .sum();
    let (publishing, ftparchive) = (on_disk.publishing, median(ftparchive));
    println!("packages                         {:9}", packages.len());
    println!("MB                               {:9.1}", bytes as f64 / 1e6);
    println!("cold sync from local HTTP        {:9.2} s", on_disk.ours);
    println!("fetching of that                 {:9.2} s", on_disk.fetching);
    println!("apt-get download, sync           {:9.2} s", on_disk.apt);
    println!("dd conv=fsync of as many bytes   {:9.2} s", median(disk));
    println!("ours / apt                       {:9.2}", on_disk.ours / on_disk.apt);
    println!("fetching / apt                   {:9.2}", on_disk.fetching / on_disk.apt);
    println!("apt-get update before that       {:9.2} s", on_disk.update);
    println!(
        "ours / apt from nothing          {:9.2}",
        on_disk.ours / (on_disk.update + on_disk.apt)
    );
    println!("cold sync into memory            {:9.2} s", in_memory.ours);
    println!("apt-get download into memory     {:9.2} s", in_memory.apt);
    println!("ours / apt                       {:9.2}", in_memory.ours / in_memory.apt);
    println!("sync with nothing changed, CPU   {cpu:9.2} s");
    println!("publishing                       {publishing:9.2} s");
    println!("apt-ftparchive, xz               {ftparchive:9.2} s");
    println!("ours / apt-ftparchive            {:9.2}", publishing / ftparchive);
    solving(&kldload, work.path(), &at("site/current/upstream"))
}

/// `kldload darksite sync` of the recipe in `work`, into the site there.
fn sync(kldload: &Path, work: &Path) -> Run {
    let sync = Run::new(kldload).args(["darksite", "sync", "--json"]).arg(work.join("recipe.toml"));
    sync.arg("--dir").arg(work.join("site")).limit(Duration::from_secs(3600))
}

/// A darksite that is served, to be mirrored.
struct Mirror<'a> {
    /// The part of a recipe that says what is asked of it.
    request: String,
    address: &'a str,
    key: PathBuf,
}

/// Seconds of mirroring everything: ours, from nothing to the publication, what of it is fetching and publishing,
/// apt's, and of what apt does before.
struct Cold {
    ours: f64,
    fetching: f64,
    publishing: f64,
    apt: f64,
    update: f64,
    /// Where the last site is.
    work: PathBuf,
}

/// Times mirroring `packages` into a directory below `all` each time, with or without those of the times before.
fn cold(
    kldload: &Path,
    mirror: &Mirror<'_>,
    packages: &[String],
    all: &Path,
    keep: bool,
) -> Result<Cold> {
    let mut work = PathBuf::new();
    let Mirror { request, address, key } = mirror;
    let recipe = format!(
        "{request}suites = [\"trixie\"]\nmirror = \"{address}\"\nkeyring = \"{}\"\n",
        key.display()
    );
    let sources = format!(
        "deb [signed-by={} arch=amd64] {address} trixie main contrib non-free-firmware\n",
        key.display()
    );
    let (mut ours, mut fetching, mut publishing) = (Vec::new(), Vec::new(), Vec::new());
    let (mut apt, mut update) = (Vec::new(), Vec::new());
    for number in 0..COLD_RUNS {
        if !keep {
            fresh(all)?;
        }
        work = all.join(number.to_string());
        let at = |name: &str| work.join(name);
        fs::create_dir_all(&work)?;
        on_disk(&work)?;
        fs::write(at("recipe.toml"), &recipe)?;
        let mut events = String::new();
        ours.push(timed(|| {
            events = sync(kldload, &work).text()?;
            Ok(())
        })?);
        fetching.push(stage_seconds(&events, "fetching packages")?);
        publishing.push(stage_seconds(&events, "publishing")?);
        fresh(&at("debs"))?;
        let debs = at("debs");
        let begun = Instant::now();
        let private = PrivateApt::with_sources(&at("apt"), &sources)?;
        update.push(begun.elapsed().as_secs_f64());
        let download = private.get(["download", "-q"]).args(packages).directory(&debs);
        // What we sync is on disk.
        apt.push(timed(|| download.text().and_then(|_| on_disk(&debs)))?);
    }
    Ok(Cold {
        ours: median(ours),
        fetching: median(fetching),
        publishing: median(publishing),
        apt: median(apt),
        update: median(update),
        work,
    })
}

/// Waits until everything is on the disk that has `path`.
fn on_disk(path: &Path) -> Result<()> {
    Run::new("sync").arg("-f").arg(path).text().map(drop)
}

/// Times choosing a desktop from the indexes in `upstream`: signatures are verified, indexes read from
/// disk, the solver runs, nothing is fetched.
fn solving(kldload: &Path, work: &Path, upstream: &Path) -> Result<()> {
    let at = |name: &str| work.join(name);
    fs::create_dir_all(at("archive"))?;
    std::os::unix::fs::symlink(fs::canonicalize(upstream)?, at("archive/dists"))?;
    let archive = format!("file:{}", at("archive").display());
    let recipe =
        format!("profile = \"desktop\"\nmirror = \"{archive}\"\nsecurity_mirror = \"{archive}\"\n");
    fs::write(at("desktop.toml"), recipe)?;
    let ours = |more: &[&str]| {
        let update = Run::new(kldload).args(["darksite", "update", "--json", "--dir"]);
        update.arg(at("chosen")).args(more).arg(at("desktop.toml"))
    };
    // The first time, the indexes are brought.
    ours(&[]).text()?;
    let lock = fs::read_to_string(at("desktop.lock"))?;
    let requests: Vec<&str> =
        lock.lines().filter_map(|line| line.strip_prefix("request ")).collect();
    let signed_by = format!("signed-by={KEYRING} arch=amd64 by-hash=no target=Packages");
    let components = "main contrib non-free-firmware";
    let suites = ["trixie", "trixie-updates", "trixie-security"];
    let sources = suites.map(|suite| format!("deb [{signed_by}] {archive} {suite} {components}\n"));
    let apt = PrivateApt::with_sources(&at("apt-desktop"), &sources.concat())?;
    let no_cache = ["-s", "-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache="];
    let simulate = || apt.get(["install"]).args(no_cache).args(&requests);
    let (mut our_times, mut apt_times) = (Vec::new(), Vec::new());
    let (mut our_peaks, mut apt_peaks) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let (seconds, peak) = measured(ours(&["--dry-run"]))?;
        our_times.push(seconds);
        our_peaks.push(peak);
        let (seconds, peak) = measured(simulate())?;
        apt_times.push(seconds);
        apt_peaks.push(peak);
    }
    let packages = lock.lines().filter(|line| line.starts_with("package ")).count();
    println!("packages of a desktop            {packages:9}");
    let row = |what: &str, times, peaks| {
        println!("{what:<32} {:9.2} s, {:.0} MB", median(times), median(peaks));
    };
    row("reading indexes and solving", our_times, our_peaks);
    row("apt-get -s install", apt_times, apt_peaks);
    Ok(())
}

/// `kldload darksite serve`, until dropped.
pub struct Server {
    child: Child,
    /// Where it listens, as `http://127.0.0.1:3142`.
    pub address: String,
}

impl Server {
    /// Starts one on a free port.
    pub fn start(kldload: &Path, site: &Path) -> Result<Self> {
        let mut child = Command::new(kldload)
            .args(["darksite", "serve", "--json", "--listen", "127.0.0.1:0", "--dir"])
            .arg(site)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        let first = lines.next().context("the server says nothing")??;
        // It must not wait for somebody to read what it logs.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let event: serde_json::Value = serde_json::from_str(&first)?;
        let address = event["address"].as_str().context("the server has no address")?;
        Ok(Self { address: format!("http://{address}"), child })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
