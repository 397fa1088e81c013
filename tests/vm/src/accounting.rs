//! `zfs userspace` and `zfs groupspace` compared with a count of what is mounted.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};

use crate::run;

/// Bytes and objects of each id.
type Count = BTreeMap<u32, (u64, u64)>;

/// What a dnode adds to what its owner is charged for.
const DNODE: u64 = 512;

/// Compares the accounting of `dataset`, mounted at `root`; returns how many ids it has.
pub fn check(dataset: &str, root: &Path, found: &mut Vec<String>) -> Result<usize> {
    let (mut users, mut groups) = (Count::new(), Count::new());
    let mut hidden = false;
    let top = fs::symlink_metadata(root)?;
    let mut seen = std::collections::HashSet::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let stat = fs::symlink_metadata(&path).with_context(|| path.display().to_string())?;
        if stat.dev() != top.dev() || !seen.insert(stat.ino()) {
            continue;
        }
        let used = DNODE + stat.blocks() * 512;
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
    for (command, count) in [("userspace", users.clone()), ("groupspace", groups)] {
        let told = told(command, dataset)?;
        for id in told.keys().chain(count.keys()) {
            let (is, should) = (told.get(id).copied(), count.get(id).copied());
            if hidden {
                let (is, should) = (is.unwrap_or_default(), should.unwrap_or_default());
                if is.0 < should.0 || is.1 < should.1 {
                    found.push(format!(
                        "{command} {dataset}: id {id} has {is:?}, at least {should:?} is there"
                    ));
                }
            } else if is != should {
                found.push(format!(
                    "{command} {dataset}: id {id} has {is:?} bytes and objects, a count {should:?}"
                ));
            }
        }
    }
    Ok(users.len())
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
