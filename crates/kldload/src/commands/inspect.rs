//! `kldload inspect`: what is in a pool.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use zfs::read::{
    Bookmark, Dataset, DatasetKind, Datasets, Pool, PoolState, Property, PropertySource, ReadError,
    VdevConfig,
};
use zfs::send::{Interrupted, interrupted};
use zfs::space::{IntentLog, intent_log};

use crate::failure::MISMATCH;
use crate::image::{self, KeyArgs};
use crate::size::human;
use crate::ui;

/// Tell what is in a pool: devices, features, datasets, snapshots, properties
///
/// The images are the disks of one pool; disks that are missing are told. Nothing is written. Exit
/// code 5 tells that something of a dataset cannot be read; the rest is told all the same.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kldload inspect disk.img
  kldload inspect mirror-a.img mirror-b.img --json
  kldload inspect /dev/sdb")]
pub struct InspectArgs {
    /// Images or block devices of the pool
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    #[command(flatten)]
    keys: KeyArgs,
    /// Print everything as one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let pool = image::open_pool(&args.images, &args.keys)?;
    let datasets = pool.datasets()?;
    let mut unread: Vec<String> = datasets.errors.iter().map(ToString::to_string).collect();
    let details: Vec<_> = datasets
        .datasets
        .iter()
        .map(|dataset| (dataset, Details::read(&pool, &datasets, dataset, &mut unread)))
        .collect();
    let all = All { pool: &pool, bookmarks: &datasets.bookmarks, details, unread };
    let text = match args.json {
        true => format!("{}\n", report(&all)),
        false => ui::plain_lines(&text(&all)?),
    };
    ui::print(&text)?;
    if !args.json {
        warnings(&all).iter().for_each(|text| ui::warn(text));
    }
    Ok(if all.unread.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(MISMATCH) })
}

/// What is told of a pool.
struct All<'a> {
    pool: &'a Pool,
    bookmarks: &'a [Bookmark],
    details: Vec<(&'a Dataset, Details)>,
    /// What is not told, as it cannot be read.
    unread: Vec<String>,
}

/// What of a dataset lies in objects of its own.
struct Details {
    properties: Vec<Property>,
    intent_log: Option<IntentLog>,
    interrupted: Option<Interrupted>,
}

impl Details {
    /// Whatever of it cannot be read, the rest can be told.
    fn read(pool: &Pool, all: &Datasets, dataset: &Dataset, unread: &mut Vec<String>) -> Self {
        let mut note = |what: &str, error: ReadError| {
            unread.push(format!("{what} of {}: {error}", dataset.name));
        };
        Self {
            properties: pool.properties(all, dataset).unwrap_or_else(|error| {
                note("properties", error);
                Vec::new()
            }),
            intent_log: intent_log(pool, dataset).unwrap_or_else(|error| {
                note("intent log", error);
                None
            }),
            interrupted: interrupted(pool, dataset).unwrap_or_else(|error| {
                note("half-received state", error);
                None
            }),
        }
    }
}

fn state(pool: &Pool) -> String {
    match pool.state {
        PoolState::Active => "active".to_owned(),
        PoolState::Exported => "exported".to_owned(),
        PoolState::Destroyed => "destroyed".to_owned(),
        PoolState::Other(number) => format!("state {number}"),
    }
}

fn kind(dataset: &Dataset) -> &'static str {
    match (dataset.is_snapshot, dataset.kind) {
        (true, _) => "snapshot",
        (_, DatasetKind::Filesystem) => "filesystem",
        (_, DatasetKind::Volume) => "volume",
        (_, DatasetKind::Unknown) => "unknown",
    }
}

fn vdev_json(pool: &Pool, vdev: &VdevConfig) -> Value {
    let member = pool.members.iter().find(|member| member.guid == vdev.guid);
    json!({
        "kind": vdev.kind,
        "name": vdev.name(),
        "id": vdev.id,
        "guid": vdev.guid,
        "path": vdev.path,
        "image": member.and_then(|member| member.device.clone()),
        "present": member.map(|member| member.device.is_some()),
        "ashift": vdev.ashift,
        "asize": vdev.asize,
        "parity": (vdev.kind == "raidz").then_some(vdev.parity),
        "log": vdev.is_log,
        "class": vdev.bias,
        "removing": vdev.removing,
        "states": vdev.states,
        "children": vdev.children.iter().map(|child| vdev_json(pool, child)).collect::<Vec<_>>(),
    })
}

fn property_json(property: &Property) -> Value {
    let (source, from) = match &property.source {
        PropertySource::Local => ("local", None),
        PropertySource::Received => ("received", None),
        PropertySource::Inherited(from) => ("inherited", Some(from)),
    };
    json!({"value": property.value, "source": source, "from": from})
}

fn intent_log_json(log: &IntentLog) -> Value {
    json!({"records": log.records, "unreplayed": log.unreplayed, "claim_txg": log.claim_txg})
}

fn interrupted_json(left: &Interrupted) -> Value {
    json!({"to_name": left.to_name, "to_guid": left.to_guid, "from_guid": left.from_guid,
           "object": left.object, "offset": left.offset, "bytes": left.bytes,
           "token": left.token()})
}

fn dataset_json((dataset, details): &(&Dataset, Details)) -> Value {
    let properties: serde_json::Map<_, _> = details
        .properties
        .iter()
        .map(|property| (property.name.clone(), property_json(property)))
        .collect();
    let [by_dataset, by_snapshots, by_children, by_reservation] = dataset.used_by;
    let used_by = json!({"dataset": by_dataset, "snapshots": by_snapshots,
                         "children": by_children, "refreservation": by_reservation});
    json!({
        "name": dataset.name,
        "kind": kind(dataset),
        "guid": dataset.guid,
        "creation": dataset.creation,
        "creation_txg": dataset.creation_txg,
        "used": dataset.used,
        "used_by": if dataset.is_snapshot { Value::Null } else { used_by },
        "referenced": dataset.referenced,
        "logical_referenced": dataset.logical_referenced,
        "origin": dataset.origin,
        "encrypted": dataset.encrypted,
        "inconsistent": dataset.inconsistent,
        "volume_size": dataset.volume_size,
        "intent_log": details.intent_log.as_ref().map(intent_log_json),
        "interrupted_receive": details.interrupted.as_ref().map(interrupted_json),
        "properties": properties,
    })
}

fn report(all: &All<'_>) -> Value {
    let pool = all.pool;
    let features: Vec<_> = pool
        .features
        .iter()
        .map(|feature| {
            json!({
                "name": feature.guid,
                "state": if feature.references > 0 { "active" } else { "enabled" },
                "references": feature.references,
                "needed_for_reading": feature.needed_for_reading,
            })
        })
        .collect();
    let datasets: Vec<_> = all.details.iter().map(dataset_json).collect();
    let bookmarks: Vec<_> = all
        .bookmarks
        .iter()
        .map(|bookmark| {
            json!({"name": bookmark.name, "guid": bookmark.guid, "creation": bookmark.creation,
                   "creation_txg": bookmark.creation_txg})
        })
        .collect();
    json!({
        "name": pool.name,
        "guid": pool.guid,
        "state": state(pool),
        "version": pool.uberblock.version,
        "txg": pool.uberblock.txg,
        "timestamp": pool.uberblock.timestamp,
        "byte_order": if pool.uberblock.big_endian { "big" } else { "little" },
        "host": pool.host.as_ref().map(|(name, id)| json!({"name": name, "id": id})),
        "vdevs": pool.vdevs.iter().map(|vdev| vdev_json(pool, vdev)).collect::<Vec<_>>(),
        "features": features,
        "datasets": datasets,
        "bookmarks": bookmarks,
        "warnings": warnings(all),
    })
}

fn warnings(all: &All<'_>) -> Vec<String> {
    let faults = all.pool.faults();
    let faults = faults.iter().map(|fault| format!("a bad copy was not used: {fault}"));
    all.pool.warnings.iter().chain(&all.unread).cloned().chain(faults).collect()
}

fn add_vdev(out: &mut String, pool: &Pool, vdev: &VdevConfig, depth: usize) -> std::fmt::Result {
    let member = pool.members.iter().find(|member| member.guid == vdev.guid);
    let place = match member {
        Some(member) => match &member.device {
            Some(device) => format!("  in {device}"),
            None => "  absent".to_owned(),
        },
        None => String::new(),
    };
    let mut notes: Vec<String> = vdev.states.iter().map(|state| (*state).to_owned()).collect();
    notes.extend(vdev.is_log.then(|| "log".to_owned()));
    notes.extend(vdev.bias.clone());
    notes.extend((depth == 0 && vdev.asize > 0).then(|| human(vdev.asize)));
    let notes = if notes.is_empty() { String::new() } else { format!("  ({})", notes.join(", ")) };
    writeln!(out, "  {:indent$}{}{notes}{place}", "", vdev.name(), indent = 2 * depth)?;
    vdev.children.iter().try_for_each(|child| add_vdev(out, pool, child, depth + 1))
}

fn text(all: &All<'_>) -> Result<String, std::fmt::Error> {
    let pool = all.pool;
    let mut text = String::new();
    let out = &mut text;
    writeln!(out, "pool      {} ({})", pool.name, pool.guid)?;
    writeln!(out, "state     {}, transaction group {}", state(pool), pool.uberblock.txg)?;
    if let Some((name, id)) = &pool.host {
        writeln!(out, "host      {name} ({id:08x})")?;
    }
    writeln!(out, "devices")?;
    pool.vdevs.iter().try_for_each(|vdev| add_vdev(out, pool, vdev, 0))?;
    let active: Vec<_> = pool
        .features
        .iter()
        .filter(|feature| feature.references > 0)
        .map(|feature| feature.guid.split_once(':').map_or(&*feature.guid, |(_, name)| name))
        .collect();
    writeln!(out, "features  {} enabled, active: {}", pool.features.len(), active.join(" "))?;
    let width = all.details.iter().map(|(dataset, _)| dataset.name.len()).max().unwrap_or(0);
    writeln!(out, "\n{:width$}  {:10}  {:>8}  {:>8}  NOTES", "NAME", "KIND", "USED", "REFER")?;
    let mut tokens = Vec::new();
    for (dataset, details) in &all.details {
        let mut notes = Vec::new();
        if !dataset.is_snapshot {
            for property in &details.properties {
                if property.source != PropertySource::Local {
                    continue;
                }
                notes.push(format!("{}={}", property.name, property.value));
            }
        }
        notes.extend(dataset.origin.as_ref().map(|origin| format!("clone of {origin}")));
        notes.extend(dataset.volume_size.map(|size| format!("volume of {}", human(size))));
        notes.extend(dataset.encrypted.then(|| "encrypted".to_owned()));
        notes.extend(dataset.inconsistent.then(|| "inconsistent".to_owned()));
        let unreplayed = details.intent_log.as_ref().map_or(0, |log| log.unreplayed);
        notes.extend((unreplayed > 0).then(|| format!("{unreplayed} records not replayed")));
        if let Some(left) = &details.interrupted {
            notes.push(format!("half received: {} of {}", human(left.bytes), left.to_name));
            tokens.push((&dataset.name, left.token()));
        }
        let line = format!(
            "{:width$}  {:10}  {:>8}  {:>8}  {}",
            dataset.name,
            kind(dataset),
            human(dataset.used),
            human(dataset.referenced),
            notes.join(" ")
        );
        writeln!(out, "{}", line.trim_end())?;
    }
    for bookmark in all.bookmarks {
        writeln!(out, "{:width$}  bookmark", bookmark.name)?;
    }
    for (name, token) in tokens {
        let name = name.strip_suffix("/%recv").unwrap_or(name);
        writeln!(out, "\nto go on receiving {name}:\n  zfs send -t {token}")?;
    }
    Ok(text)
}
