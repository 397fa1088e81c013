//! Every object of a pool as our reader and as zdb see it: `kldload dump` beside `zdb -Pddddd`.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

/// Lines of an object, by dataset and number.
type Objects = BTreeMap<(String, String), Vec<String>>;

/// What of an inode is compared; zdb writes each after one tab. It also prints times, as local ones.
const ATTRIBUTES: [&str; 11] =
    ["path", "uid", "gid", "gen", "mode", "size", "parent", "links", "pflags", "xattr", "rdev"];
/// Objects that are told of when they differ.
const MAX_TOLD: usize = 5;

/// Compares the objects in both texts; tells how many there are.
pub fn compare(ours: &str, theirs: &str) -> Result<usize> {
    // zdb of 2.1 does not show spill blocks.
    let tells_spills = theirs.lines().any(is_spill);
    let (mut ours, theirs) = (objects(ours), objects(theirs));
    if !tells_spills {
        ours.values_mut().for_each(|lines| lines.retain(|line| !is_spill(line)));
    }
    let keys = ours.keys().chain(theirs.keys().filter(|key| !ours.contains_key(*key)));
    let different: Vec<_> = keys.filter(|key| ours.get(*key) != theirs.get(*key)).collect();
    if different.is_empty() && !ours.is_empty() {
        return Ok(ours.len());
    }
    let mut text = format!("{} of {} objects differ", different.len(), theirs.len());
    for key in different.into_iter().take(MAX_TOLD) {
        let (ours, theirs) = (ours.get(key), theirs.get(key));
        text.push_str(&format!("\n{key:?}: we {ours:#?}\nzdb {theirs:#?}"));
    }
    bail!("{text}")
}

fn is_spill(line: &str) -> bool {
    line.starts_with("Spill block:")
}

/// The comparable lines of both programs, their spaces made equal.
fn objects(text: &str) -> Objects {
    let mut objects = Objects::new();
    let mut dataset = String::new();
    let mut key = (String::new(), String::new());
    let (mut is_object, mut is_bonus, mut is_block) = (false, false, false);
    for line in text.lines() {
        if let Some(header) = line.strip_prefix("Dataset ") {
            dataset = header.split(" [").next().unwrap_or_default().to_owned();
            // What follows are pointers; of the MOS zdb knows more than its own dataset.
            let end = if dataset == "mos" { "ID 0" } else { " objects" };
            let header = header.find(end).map_or(header, |at| &header[..at + end.len()]);
            let header = vec![header.to_owned()];
            key = (dataset.clone(), String::new());
            objects.insert(key.clone(), header);
            continue;
        }
        let even = line.split_whitespace().collect::<Vec<_>>().join(" ");
        if is_object {
            let number = even.split(' ').next().unwrap_or_default().to_owned();
            key = (dataset.clone(), number);
            objects.insert(key.clone(), vec![even]);
            (is_object, is_bonus) = (false, true);
            continue;
        }
        if even.starts_with("Object lvl iblk") {
            (is_object, is_block) = (true, false);
            continue;
        }
        let Some(lines) = objects.get_mut(&key) else { continue };
        let without_checksum = even.split(" cksum=").next().unwrap_or_default();
        let first = line.strip_prefix('\t').and_then(|rest| rest.split_whitespace().next());
        let one_tab = first.is_some() && !line.starts_with("\t\t");
        if line == "Indirect blocks:" {
            is_block = true;
        } else if line.is_empty() {
            is_block = false;
        } else if is_block || is_spill(line) {
            lines.push(without_checksum.to_owned());
        } else if is_bonus && even.contains(" bonus ")
            || one_tab && first.is_some_and(|first| ATTRIBUTES.contains(&first))
            || one_tab && (even.starts_with("dnode ") || even.starts_with("SA xattrs:"))
        {
            lines.push(even);
        }
        is_bonus = false;
    }
    objects.values_mut().for_each(forget_ambiguous_path);
    objects
}

/// Which of several names in a directory zdb finds depends on their hashes.
fn forget_ambiguous_path(lines: &mut Vec<String>) {
    let value = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name));
    let is_directory = value("mode ").is_some_and(|mode| mode.len() == 5 && mode.starts_with('4'));
    let links = value("links ").and_then(|links| links.parse().ok()).unwrap_or(1);
    if links > 1 && !is_directory {
        lines.retain(|line| !line.starts_with("path "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZDB: &str = "\
Dataset tank/fs [ZPL], ID 54, cr_txg 4, 98304, 7 objects, rootbp DVA[0]=<0:4000:1000>

    Object  lvl   iblk   dblk  dsize  dnsize  lsize   %full  type
         2    2  131072  131072  262144     512  262144  100.00  ZFS plain file
                                               168   bonus  System attributes
\tdnode flags: USED_BYTES USERUSED_ACCOUNTED \n\tdnode maxblkid: 1
\tpath\t/a
\tuid     0
\tatime\tTue Nov 14 22:13:20 2023
\tmode\t100644
\tlinks\t1
Indirect blocks:
               0 L1  0:14000:1000 20000L/1000P F=2 B=4/4 cksum=1:2:3:4
               0  L0 0:15000:20000 20000L/20000P F=1 B=4/4 cksum=1:2:3:4

\t\tsegment [0000000000000000, 0000000000040000) size 262144
";

    #[test]
    fn lines_that_count() {
        let ours = "Dataset tank/fs [ZPL], ID 54, cr_txg 4, 98304, 7 objects\n\nObject lvl iblk\n2 2 131072 \
                    131072 262144 512 262144 100.00 ZFS plain file\n 168 bonus System attributes\n\tdnode flags: \
                    USED_BYTES USERUSED_ACCOUNTED\n\tdnode maxblkid: 1\n\tpath\t/a\n\tuid 0\n\tmode\t100644\n\tlinks \
                    1\nIndirect blocks:\n 0 L1 0:14000:1000 20000L/1000P F=2 B=4/4\n0 L0 0:15000:20000 \
                    20000L/20000P F=1 B=4/4\n";
        assert_eq!(compare(ours, ZDB).unwrap(), 2);
        let error = compare(&ours.replace("uid 0", "uid 1"), ZDB).unwrap_err().to_string();
        assert!(error.starts_with("1 of 2 objects differ") && error.contains("uid 1"), "{error}");
        assert!(compare("", "").is_err());
    }
}
