//! A stock apt, in an empty root, and a repository that we published.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::inputs::Inputs;
use crate::apt::is_root;
use crate::bench_darksite::Server;
use crate::run::Run;
use crate::steps::Verdict;

/// Profiles are mirrored; apt, which knows nothing else, must install them without a warning, with exactly the
/// packages of the lock: once over HTTP, once from a directory.
pub fn apt_installs(inputs: &Inputs) -> Result<Verdict> {
    if !is_root() {
        println!("    only root can look into the root with dpkg");
        return Ok(Verdict::Skipped);
    }
    install(inputs, "core", |site| {
        let server = Server::start(inputs.kldload()?.path(), site)?;
        Ok((server.address.clone(), Some(server)))
    })?;
    install(inputs, "server", |site| {
        let repository = fs::canonicalize(site.join("current"))?;
        Ok((format!("file://{}", repository.display()), None))
    })?;
    Ok(Verdict::Passed)
}

/// Mirrors a profile and lets apt install it from the address that `offer` makes of the darksite.
fn install(
    inputs: &Inputs,
    profile: &str,
    offer: impl FnOnce(&Path) -> Result<(String, Option<Server>)>,
) -> Result<()> {
    let scratch = tempfile::tempdir_in(inputs.scratch())?;
    let at = |name: &str| scratch.path().join(name);
    fs::write(at("asked.toml"), format!("profile = \"{profile}\"\n"))?;
    let sync = inputs.kldload()?.args(["darksite", "sync", "--dir"]);
    sync.arg(at("site")).arg(at("asked.toml")).limit(Duration::from_secs(1800)).text()?;
    let lock = fs::read_to_string(at("asked.lock"))?;
    let of_kind = |kind: &'static str| {
        lock.lines().filter_map(move |line| line.strip_prefix(kind)?.strip_prefix(' '))
    };
    let (address, _server) = offer(&at("site"))?;
    let source = format!(
        "deb [signed-by={} arch=amd64] {address} trixie main contrib non-free-firmware",
        at("site/keys/public.asc").display(),
    );
    let root = at("root");
    // What comes without being named.
    let priority = of_kind("asked").find_map(|asked| asked.strip_prefix("priority "));
    let text = Run::new("mmdebstrap")
        .args(["--mode=root", "--architectures=amd64"])
        .arg(format!("--variant={}", priority.context("the lock tells no priority")?))
        .args(["--aptopt=APT::Install-Recommends \"false\""])
        .args(["--aptopt=APT::Update::Error-Mode \"any\""])
        // Shows a directory to the root.
        .arg("--hook-dir=/usr/share/mmdebstrap/hooks/file-mirror-automount")
        .args(["--aptopt=Acquire::http::Proxy \"DIRECT\""])
        .arg(format!("--include={}", of_kind("request").collect::<Vec<_>>().join(",")))
        .arg("trixie")
        .arg(&root)
        .arg(source)
        .env("LC_ALL", "C.UTF-8")
        .limit(Duration::from_secs(3600))
        .text()?;
    let complaint = text.lines().find(|line| line.starts_with("W: ") && line.contains("apt"));
    ensure!(complaint.is_none(), "apt complains: {complaint:?}");
    let installed = Run::new("dpkg-query")
        .arg(format!("--admindir={}", root.join("var/lib/dpkg").display()))
        .args(["-W", "-f", "${Package} ${Version}\n"])
        .text()?;
    let installed: BTreeSet<String> = installed.lines().map(str::to_owned).collect();
    let locked = of_kind("package")
        .map(|package| {
            let mut words = package.split(' ');
            Ok(format!("{} {}", words.next().context("name")?, words.next().context("version")?))
        })
        .collect::<Result<BTreeSet<String>>>()?;
    let differ: Vec<&String> = installed.symmetric_difference(&locked).collect();
    ensure!(differ.is_empty(), "apt installed other packages than were locked: {differ:?}");
    println!(
        "    {profile}: apt installed the {} packages of the lock from {address}",
        locked.len()
    );
    Ok(())
}
