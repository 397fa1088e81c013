//! The judgement over a pool on a disk: import, every path, accounting, scrub, then a life like any pool's.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};
use vm_judge::Sums;

use crate::report::Report;
use crate::{accounting, compare, in_use, run};

/// Where the pool's file systems are mounted.
pub const ROOT: &str = "/mnt";

/// Judges the pool `name` on `device`, whose tree is in `/judge/manifest`.
pub fn judge(report: &mut Report, device: &str, name: &str, grown: bool) -> Result<()> {
    report.step("import without force", || {
        // Never -f: a fresh image must not ask for it.
        run("zpool", &["import", "-N", "-R", ROOT, "-d", device, name])?;
        status(name)
    })?;
    let mut mounted = Vec::new();
    report.step("mount every dataset", || {
        mounted = mount_all(name)?;
        Ok(format!("{} of them", mounted.len()))
    })?;
    report.step("no export while it is imported", || export_refused(device))?;
    let text = fs::read("/judge/manifest").context("/judge/manifest")?;
    let tree = tree::manifest::parse(&text).context("/judge/manifest")?;
    drop(text);
    let sums = fs::read_to_string("/judge/sums").context("/judge/sums")?;
    let sums = Sums::parse(&sums).map_err(|line| anyhow!("/judge/sums: {line}"))?;
    let root = root_of(name, &mounted)?;
    report.findings("compare with the manifest", |found| {
        compare::compare(&tree, &sums, &root, found)
    })?;
    report.findings("user and group accounting", |found| {
        let mut ids = 0;
        for (dataset, place) in &mounted {
            ids += accounting::check(dataset, place, found)?;
        }
        Ok(format!("{ids} owners"))
    })?;
    report.step("scrub", || scrub(name))?;
    if grown {
        report.step("grow", || grow(name, device))?;
    }
    // Those below others first: a rollback forgets what is mounted below it.
    for (dataset, place) in mounted.iter().rev() {
        report.step(&format!("use {dataset}"), || in_use::use_dataset(dataset, place))?;
    }
    report.step("upgrade", || upgrade(name))?;
    report.step("scrub again", || scrub(name))?;
    report.step("export and import again", || {
        run("zpool", &["export", name])?;
        run("zpool", &["import", "-R", ROOT, "-d", device, name])?;
        let after = status(name)?;
        run("zpool", &["export", name])?;
        Ok(after)
    })
}

/// `kldload export` must not read what may change meanwhile: neither the pool's device nor the disk it is on.
fn export_refused(device: &str) -> Result<String> {
    let disk = device.trim_end_matches(|c: char| c.is_ascii_digit());
    for device in BTreeSet::from([device, disk]) {
        let args = ["export", device, "raw", "-o", "/tmp/export"];
        let output = Command::new("/judge/kldload").args(args).output()?;
        let words = String::from_utf8_lossy(&output.stderr);
        if output.status.code() != Some(4) || !words.contains("part of an imported pool") {
            bail!("export of {device}: {}: {words}", output.status);
        }
    }
    if Path::new("/tmp/export").exists() {
        bail!("/tmp/export is there");
    }
    Ok(String::new())
}

/// Lets the pool have every feature that this OpenZFS knows, and says which are new.
pub fn upgrade(name: &str) -> Result<String> {
    // Our pools name a feature set, and beyond that `zpool upgrade` enables nothing.
    run("zpool", &["set", "compatibility=off", name])?;
    upgrade_as_it_is(name)
}

/// `zpool upgrade`; an error when no feature was left to enable, or one is not enabled after it.
pub fn upgrade_as_it_is(name: &str) -> Result<String> {
    let before = disabled_features(name)?;
    if before.is_empty() {
        bail!("every feature is enabled already: there is nothing to upgrade");
    }
    let said = run("zpool", &["upgrade", name])?;
    let after = disabled_features(name)?;
    if !after.is_empty() {
        bail!("zpool upgrade left {} disabled; it said: {said}", after.join(", "));
    }
    Ok(format!("{} features are new: {}", before.len(), before.join(", ")))
}

fn disabled_features(name: &str) -> Result<Vec<String>> {
    let text = run("zpool", &["get", "-H", "-o", "property,value", "all", name])?;
    let features: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("feature@")?.split_once(char::is_whitespace))
        .collect();
    if features.is_empty() {
        bail!("zpool get tells of no feature:\n{text}");
    }
    let disabled = features.iter().filter(|(_, state)| state.trim() == "disabled");
    Ok(disabled.map(|(feature, _)| (*feature).to_owned()).collect())
}

/// What `zpool status` says, when it has nothing to complain about.
fn status(name: &str) -> Result<String> {
    let text = run("zpool", &["status", "-v", name])?;
    if !text.contains("errors: No known data errors") || !text.contains("state: ONLINE") {
        bail!("{text}");
    }
    Ok(String::new())
}

/// Reads everything again; an error is anything that was found.
pub fn scrub(name: &str) -> Result<String> {
    run("zpool", &["scrub", "-w", name])?;
    let text = run("zpool", &["status", name])?;
    status(name)?;
    let line =
        text.lines().find(|line| line.contains("scan:")).unwrap_or_default().trim().to_owned();
    if !line.contains("scrub repaired 0B") || !line.contains("with 0 errors") {
        bail!("{text}");
    }
    for line in text.lines().filter(|line| line.contains("ONLINE") && !line.contains("state:")) {
        if !line.split_whitespace().skip(2).take(3).all(|count| count == "0") {
            bail!("{text}");
        }
    }
    Ok(line)
}

/// Mounts what has a mount point, parents first, and of several systems for `/` the one in `bootfs`.
fn mount_all(name: &str) -> Result<Vec<(String, PathBuf)>> {
    let boot = run("zpool", &["get", "-H", "-o", "value", "bootfs", name])?;
    let list = run(
        "zfs",
        &["list", "-H", "-r", "-t", "filesystem", "-o", "name,mountpoint,canmount", name],
    )?;
    let mut wanted = Vec::new();
    for line in list.lines() {
        let [dataset, place, can] = line.split('\t').collect::<Vec<_>>()[..] else {
            bail!("zfs list says {line:?}");
        };
        let other_root =
            place == ROOT && can == "noauto" && boot.trim() != "-" && boot.trim() != dataset;
        if place.starts_with('/') && can != "off" && !other_root {
            wanted.push((dataset.to_owned(), PathBuf::from(place)));
        }
    }
    if wanted.is_empty() {
        bail!("no dataset of {name} has a mount point:\n{list}");
    }
    wanted.sort_by(|a, b| a.1.cmp(&b.1));
    for (dataset, _) in &wanted {
        run("zfs", &["mount", dataset])?;
    }
    Ok(wanted)
}

/// Where the tree starts: at the dataset that is booted.
fn root_of(name: &str, mounted: &[(String, PathBuf)]) -> Result<PathBuf> {
    let boot = run("zpool", &["get", "-H", "-o", "value", "bootfs", name])?;
    let root = mounted.iter().find(|(dataset, _)| dataset == boot.trim());
    let (_, place) =
        root.with_context(|| format!("bootfs of {name} is {boot}, which is not mounted"))?;
    Ok(place.clone())
}

fn grow(name: &str, device: &str) -> Result<String> {
    let size = || -> Result<u64> {
        let text = run("zpool", &["get", "-H", "-p", "-o", "value", "size", name])?;
        text.trim().parse().context(text)
    };
    let before = size()?;
    run("zpool", &["online", "-e", name, device])?;
    let after = size()?;
    if after <= before {
        bail!("the pool still has {after} bytes");
    }
    Ok(format!("{before} to {after} bytes"))
}
