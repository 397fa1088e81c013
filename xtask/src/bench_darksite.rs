//! `cargo xtask bench darksite`: mirroring and publishing beside apt's own tools.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::apt::PrivateApt;
use crate::bench::{RUNS, median, stage_seconds, timed};
use crate::checkout::{fresh, kldload, target};
use crate::run::Run;

/// Times a cold sync from a local HTTP server, one with nothing to do, and publishing. The packages of
/// `profile` are mirrored once from where this machine's apt has them.
pub fn darksite(profile: &str) -> Result<()> {
    let kldload = kldload()?;
    let work = tempfile::Builder::new().prefix("bench-").tempdir_in(target())?;
    let at = |name: &str| work.path().join(name);
    let sync = |recipe: &str, site: &str| {
        Run::new(&kldload)
            .args(["darksite", "sync", "--json"])
            .arg(at(recipe))
            .arg("--dir")
            .arg(at(site))
            .limit(Duration::from_secs(3600))
    };
    fs::write(at("first.toml"), format!("profile = \"{profile}\"\n"))?;
    sync("first.toml", "first").text()?;
    let server = Server::start(&kldload, &at("first"))?;
    let key = at("first/keys/public.asc");
    fs::write(
        at("second.toml"),
        format!(
            "profile = \"{profile}\"\nsuites = [\"trixie\"]\nmirror = \"{}\"\nkeyring = \"{}\"\n",
            server.address,
            key.display()
        ),
    )?;
    let sources = format!(
        "deb [signed-by={} arch=amd64] {} trixie main contrib non-free-firmware\n",
        key.display(),
        server.address
    );
    let lock = fs::read_to_string(at("first.lock"))?;
    let packages: Vec<String> = lock
        .lines()
        .filter_map(|line| line.strip_prefix("package "))
        .filter_map(|line| {
            let mut words = line.split(' ');
            Some(format!("{}={}", words.next()?, words.next()?))
        })
        .collect();

    let (mut ours, mut apt_times, mut publishing) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        fresh(&at("second"))?;
        let _ = fs::remove_file(at("second.lock"));
        let mut events = String::new();
        ours.push(timed(|| {
            events = sync("second.toml", "second").text()?;
            Ok(())
        })?);
        publishing.push(stage_seconds(&events, "publishing")?);
        fresh(&at("apt"))?;
        fresh(&at("debs"))?;
        let apt = PrivateApt::with_sources(&at("apt"), &sources)?;
        let download = apt.get(["download", "-q"]).args(&packages).directory(&at("debs"));
        apt_times.push(timed(|| download.text().map(drop))?);
    }
    let repository = fs::canonicalize(at("second/current"))?;
    let mut ftparchive = Vec::new();
    for _ in 0..RUNS {
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
        .arg(at("second.toml"))
        .arg("--dir")
        .arg(at("second"))
        .text()?;
    let cpu: f64 = again
        .lines()
        .last()
        .unwrap_or_default()
        .split(' ')
        .map(|seconds| seconds.parse::<f64>().unwrap_or(f64::NAN))
        .sum();
    let (ours, apt) = (median(ours), median(apt_times));
    let (publishing, ftparchive) = (median(publishing), median(ftparchive));
    println!("packages                         {:9}", packages.len());
    println!("cold sync from local HTTP        {ours:9.2} s");
    println!("apt-get download                 {apt:9.2} s");
    println!("ours / apt                       {:9.2}", ours / apt);
    println!("sync with nothing changed, CPU   {cpu:9.2} s");
    println!("publishing                       {publishing:9.2} s");
    println!("apt-ftparchive, xz               {ftparchive:9.2} s");
    println!("ours / apt-ftparchive            {:9.2}", publishing / ftparchive);
    Ok(())
}

/// `kldload darksite serve`, until dropped.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(kldload: &Path, site: &Path) -> Result<Self> {
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
