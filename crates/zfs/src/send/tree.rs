//! Compound streams: a dataset with all below it, their snapshots and properties (`zfs send -R`).
//!
//! Source: OpenZFS `lib/libzfs/libzfs_sendrecv.c` (`send_iterate_fs`, `send_prelim_records`).

use std::collections::BTreeMap;
use std::io::Write;

use super::produce::send_since;
use super::record::RECORD;
use super::{Begin, Record, SendError, SendOptions, StreamWriter, features};
use crate::nvlist::{NvList, Value, encode_xdr};
use crate::read::{Dataset, INHERIT, Pool, RECEIVED, ReadError, Unreadable, zap};
use crate::zap::OwnedValue;

/// Properties that belong to the pool they were read from.
const NOT_SENT: [&str; 6] =
    ["encryption", "keyformat", "keylocation", "pbkdf2iters", "pbkdf2salt", "objsetid"];

/// Why a dataset without the snapshot is not passed over in silence.
const OLDER: &str = "there is no such snapshot, though the dataset is no newer than that of the one above it; \
                     make it with zfs snapshot -r, or send the datasets one by one";

/// A dataset of the tree and its snapshots, the oldest first, up to the one that is sent.
struct Member<'d> {
    head: &'d Dataset,
    snapshots: Vec<&'d Dataset>,
    /// How many of the snapshots the receiver has.
    known: usize,
    /// The snapshot of another member that it was cloned from.
    origin: Option<&'d Dataset>,
}

fn snapshot_name(dataset: &Dataset) -> &str {
    dataset.name.split_once('@').map_or("", |(_, name)| name)
}

/// Writes a compound stream of dataset `name` and all below it up to their snapshots `to`, all of
/// them or those after the snapshots `from`. End the writer with `finish(true)` after it. Encrypted
/// datasets are sent as plain text, clones as such if what they were cloned from is sent as well.
///
/// Tells what was left out, as `zfs send` does it: datasets that were made after the snapshot, and so
/// cannot have it, with those below them. Older ones without it are refused, and so is a tree of which
/// something cannot be read.
pub fn send_tree<W: Write>(
    pool: &Pool,
    name: &str,
    to: &str,
    from: Option<&str>,
    options: SendOptions,
    out: &mut StreamWriter<W>,
) -> Result<Vec<String>, SendError> {
    let all = pool.datasets()?;
    // Nobody reads a list of bookmarks to send what it is of.
    let needed =
        |failed: &&Unreadable| is_within(failed.dataset(), name) && !failed.name.ends_with('#');
    if let Some(failed) = all.errors.iter().find(needed) {
        return Err(failed.error().into());
    }
    let (members, left_out) = members(&all.datasets, name, to, from)?;
    let Some(root) = members.first() else {
        let problem = "there is no such dataset, or it has no such snapshot";
        return Err(SendError::Refused { name: format!("{name}@{to}"), problem });
    };
    // Below it there may be datasets that are new since: those are sent in full.
    if let Some(from) = from.filter(|_| root.known == 0) {
        let problem = "there is no such snapshot to go on from";
        return Err(SendError::Refused { name: format!("{name}@{from}"), problem });
    }
    let mut list = NvList::new();
    if let Some(from) = from {
        list.push("fromsnap", Value::String(from.as_bytes().into()));
    }
    list.push("tosnap", Value::String(to.as_bytes().into()));
    let mut datasets = NvList::new();
    for member in &members {
        let parent = member.head.name.rsplit_once('/').map_or("", |(parent, _)| parent);
        let parent = members.iter().find(|other| other.head.name == parent);
        let entry = describe(pool, member, parent.map_or(0, base_guid))?;
        datasets.push(format!("0x{:x}", member.head.guid), Value::List(entry));
    }
    list.push("fss", Value::List(datasets));
    out.write(&Record::Begin(Begin {
        compound: true,
        features: features::SA_SPILL,
        to_name: format!("{}@{to}", root.head.name).into_bytes(),
        payload: encode_xdr(&list),
        ..Begin::default()
    }))?;
    out.end(0)?;
    for member in in_order(&members) {
        let mut older = match member.known.checked_sub(1) {
            Some(at) => member.snapshots.get(at).copied(),
            None => member.origin,
        };
        for snapshot in member.snapshots.iter().skip(member.known) {
            send_since(pool, snapshot, older, options, out)?;
            older = Some(snapshot);
        }
    }
    Ok(left_out)
}

/// Whether a dataset is that one or below it.
fn is_within(dataset: &str, root: &str) -> bool {
    dataset.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The members, clones after what they were cloned from.
fn in_order<'m, 'd>(members: &'m [Member<'d>]) -> Vec<&'m Member<'d>> {
    let mut waiting: Vec<&Member<'_>> = members.iter().collect();
    let mut order = Vec::new();
    while !waiting.is_empty() {
        let before = order.len();
        let origins: Vec<u64> = waiting.iter().map(|member| member.head.directory).collect();
        waiting.retain(|member| {
            let waits = member.origin.is_some_and(|origin| origins.contains(&origin.directory));
            if !waits {
                order.push(*member);
            }
            waits
        });
        // Only damage makes datasets clones of each other; the receiver will tell.
        if order.len() == before {
            order.append(&mut waiting);
        }
    }
    order
}

/// Writes all of a pool, up to the snapshots called `to`, as one stream (`zfs send -R`), compressed
/// as it is, and tells its length. `out` should be buffered.
pub fn send_pool<W: Write>(pool: &Pool, to: &str, out: W) -> Result<u64, SendError> {
    let mut stream = StreamWriter::new(out);
    let left_out = send_tree(pool, &pool.name, to, None, SendOptions::default(), &mut stream)?;
    if let Some(name) = left_out.into_iter().next() {
        let (name, problem) = (format!("{name}@{to}"), "there is no such snapshot");
        return Err(SendError::Refused { name, problem });
    }
    let length = stream.offset() + RECORD as u64;
    stream.finish(true)?;
    Ok(length)
}

/// The datasets of the tree that have the snapshot, parents first, and those that are left out.
fn members<'d>(
    all: &'d [Dataset],
    name: &str,
    to: &str,
    from: Option<&str>,
) -> Result<(Vec<Member<'d>>, Vec<String>), SendError> {
    // What is half received has no name that one could ask for.
    let within = |dataset: &&Dataset| {
        !dataset.is_snapshot && is_within(&dataset.name, name) && !dataset.name.contains('%')
    };
    let mut members: Vec<Member<'_>> = Vec::new();
    let mut left_out: Vec<&Dataset> = Vec::new();
    for head in all.iter().filter(within) {
        let mut snapshots: Vec<&Dataset> = all
            .iter()
            .filter(|other| other.is_snapshot && other.directory == head.directory)
            .collect();
        snapshots.sort_by_key(|snapshot| snapshot.creation_txg);
        // With those that are left out goes what is below them: its parent would be missing.
        let is_below = |other: &Dataset| is_within(&head.name, &other.name);
        let parent_is_left_out = left_out.iter().any(|out| is_below(out));
        let last = snapshots.iter().position(|one| snapshot_name(one) == to);
        let Some(last) = last.filter(|_| !parent_is_left_out) else {
            let parent = members.iter().rfind(|member| is_below(member.head));
            let sent = parent.and_then(|parent| parent.snapshots.last());
            let is_older = sent.is_some_and(|sent| head.creation_txg <= sent.creation_txg);
            if is_older && !parent_is_left_out {
                let (name, problem) = (format!("{}@{to}", head.name), OLDER);
                return Err(SendError::Refused { name, problem });
            }
            left_out.push(head);
            continue;
        };
        snapshots.truncate(last + 1);
        let known = from
            .and_then(|from| snapshots.iter().position(|one| snapshot_name(one) == from))
            .map_or(0, |at| at + 1);
        members.push(Member { head, snapshots, known, origin: None });
    }
    let sent: Vec<&Dataset> =
        members.iter().flat_map(|member| member.snapshots.iter().copied()).collect();
    for member in &mut members {
        let origin = member.head.origin.as_ref();
        member.origin = sent.iter().copied().find(|snapshot| Some(&snapshot.name) == origin);
    }
    let left_out = left_out.into_iter().map(|dataset| dataset.name.clone()).collect();
    Ok((members, left_out))
}

/// GUID of the snapshot that children name as their parent's.
fn base_guid(member: &Member<'_>) -> u64 {
    let base = match member.known.checked_sub(1) {
        Some(at) => member.snapshots.get(at),
        None => member.snapshots.last(),
    };
    base.map_or(0, |snapshot| snapshot.guid)
}

fn describe(pool: &Pool, member: &Member<'_>, parent: u64) -> Result<NvList, ReadError> {
    let mut guids = NvList::new();
    let mut of_snapshots = NvList::new();
    for snapshot in &member.snapshots {
        guids.push(snapshot_name(snapshot), snapshot.guid);
        let properties = properties(pool, snapshot.properties_object)?;
        of_snapshots.push(snapshot_name(snapshot), Value::List(properties));
    }
    let mut entry = NvList::new();
    if let Some(origin) = member.origin {
        entry.push("origin", origin.guid);
    }
    Ok(entry
        .with("name", Value::String(member.head.name.as_bytes().into()))
        .with("parentfromsnap", parent)
        .with("props", Value::List(properties(pool, member.head.properties_object)?))
        .with("snaps", Value::List(guids))
        .with("snapprops", Value::List(of_snapshots)))
}

/// The properties that are set in an object, as they are stored.
fn properties(pool: &Pool, number: u64) -> Result<NvList, ReadError> {
    if number == 0 {
        return Ok(NvList::new());
    }
    let entries = zap::entries(&pool.mos()?.object(number)?)?;
    let entries = entries
        .into_iter()
        .map(|entry| (String::from_utf8_lossy(&entry.name).into_owned(), entry.value));
    Ok(listed(entries.collect()))
}

/// The same of all entries of the object, by name.
fn listed(mut entries: BTreeMap<String, OwnedValue>) -> NvList {
    let is_set = |name: &str, entries: &BTreeMap<String, OwnedValue>| {
        entries.contains_key(name) || entries.contains_key(&format!("{name}{INHERIT}"))
    };
    // What was received counts unless something else was said afterwards.
    let received: Vec<String> = entries
        .keys()
        .filter_map(|name| name.strip_suffix(RECEIVED))
        .filter(|name| !name.is_empty() && !is_set(name, &entries))
        .map(str::to_owned)
        .collect();
    for name in received {
        if let Some(value) = entries.remove(&format!("{name}{RECEIVED}")) {
            entries.insert(name, value);
        }
    }
    let mut list = NvList::new();
    for (name, value) in entries {
        // The others with a suffix are notes about properties.
        if name.contains('$') || NOT_SENT.contains(&&*name) {
            continue;
        }
        match value {
            OwnedValue::U64(value) => list.push(name, value),
            OwnedValue::Bytes(bytes) => {
                let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
                list.push(name, Value::String(text.into()));
            }
            _ => {}
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_received_is_sent_on() {
        let names = [
            "atime$recvd",
            "exec",
            "exec$recvd",
            "sync$inherit",
            "sync$recvd",
            "keylocation$recvd",
        ];
        let entries = (1..).zip(names).map(|(value, name)| (name.into(), OwnedValue::U64(value)));
        let list = listed(entries.collect());
        let found: Vec<_> = list.iter().map(|(name, value)| (name, value.clone())).collect();
        assert_eq!(found, [(&b"atime"[..], Value::U64(1)), (&b"exec"[..], Value::U64(2))]);
    }
}
