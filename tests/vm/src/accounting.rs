//! `zfs userspace` and `zfs groupspace` compared with a count of what is mounted.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::mount::UnmountFlags;

use crate::run;

/// Bytes and objects of each id.
type Count = BTreeMap<u32, (u64, u64)>;

/// Where a dataset is seen alone, with what other mounts cover.
const ALONE: &str = "/run/alone";

/// Compares the accounting of `dataset`, mounted at `root`; returns how many ids it has.
pub fn check(dataset: &str, root: &Path, found: &mut Vec<String>) -> Result<usize> {
    fs::create_dir_all(ALONE)?;
    rustix::mount::mount_bind(root, ALONE).with_context(|| root.display().to_string())?;
    let counted = count(Path::new(ALONE));
    rustix::mount::unmount(ALONE, UnmountFlags::empty()).context(ALONE)?;
    let (users, groups, hidden) = counted?;
    let owners = users.len();
    for (command, count) in [("userspace", users), ("groupspace", groups)] {
        compare(command, dataset, &count, hidden, found)?;
    }
    Ok(owners)
}

/// Counts by user and by group; also whether there are objects that no listing shows.
fn count(root: &Path) -> Result<(Count, Count, bool)> {
    let (mut users, mut groups) = (Count::new(), Count::new());
    let mut hidden = false;
    let mut seen = HashSet::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let stat = fs::symlink_metadata(&path).with_context(|| path.display().to_string())?;
        if !seen.insert(stat.ino()) {
            continue;
        }
        // A dnode is among the blocks that stat(2) tells of, and among what its owner is charged for.
        let used = stat.blocks() * 512;
        for (all, id) in [(&mut users, stat.uid()), (&mut groups, stat.gid())] {
            let one = all.entry(id).or_default();
            one.0 += used;
            one.1 += 1;
        }
        if stat.is_dir() {
            for entry in fs::read_dir(&path)? {
                todo.push(entry?.path());
            }
        }
        // An attribute too large for xattr=sa lives in objects that no listing shows.
        hidden |=
            crate::compare::read_xattrs(&path)?.values().map(|value| value.len()).sum::<usize>()
                > 30_000;
    }
    Ok((users, groups, hidden))
}

fn compare(
    command: &str,
    dataset: &str,
    count: &Count,
    hidden: bool,
    found: &mut Vec<String>,
) -> Result<()> {
    let told = told(command, dataset)?;
    let ids: BTreeSet<u32> = told.keys().chain(count.keys()).copied().collect();
    for id in ids {
        let is = told.get(&id).copied().unwrap_or_default();
        let counted = count.get(&id).copied().unwrap_or_default();
        let right = if hidden { is.0 >= counted.0 && is.1 >= counted.1 } else { is == counted };
        if !right {
            found.push(format!(
                "{command} {dataset}: {id} has {is:?} bytes and objects, a count {counted:?}"
            ));
        }
    }
    Ok(())
}

fn told(command: &str, dataset: &str) -> Result<Count> {
    let mut count = Count::new();
    for line in
        run("zfs", &[command, "-H", "-p", "-n", "-o", "name,used,objused", dataset])?.lines()
    {
        let mut words = line.split_whitespace();
        let mut next = || words.next().with_context(|| format!("{command} says {line:?}"));
        let (id, bytes, objects) = (next()?, next()?, next()?);
        let number = |text: &str| text.parse().unwrap_or_default();
        count
            .insert(id.parse().with_context(|| line.to_owned())?, (number(bytes), number(objects)));
    }
    Ok(count)
}
