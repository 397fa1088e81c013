//! Copying out of a pool.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::json;
use tree::{Kind, Tree};
use zfs::read::{Filesystem, FilesystemBlobs, Inode, Object};

use super::place::Place;
use super::{CpArgs, unpack};
use crate::commands::usage;
use crate::failure::Refused;
use crate::fleeting::Fleeting;
use crate::ui;

fn told(path: &Path, as_json: bool) -> anyhow::Result<()> {
    match as_json {
        true => ui::print(&format!("{}\n", json!({"event": "copied", "path": path}))),
        false => Ok(()),
    }
}

/// Where something called `name` goes: into a directory, or to the path itself.
fn target(destination: &Path, name: &str) -> PathBuf {
    if destination.is_dir() { destination.join(name) } else { destination.to_owned() }
}

/// Copies a volume.
pub fn volume(
    place: &Place,
    (object, size): (&Object<'_>, u64),
    destination: &Path,
    as_json: bool,
) -> anyhow::Result<()> {
    let output = place.output(&target(destination, &place.name()))?;
    unpack::pour(object, size, output.file(), &mut Vec::new())
        .with_context(|| format!("copying to {}", output.path().display()))?;
    told(&output.publish()?, as_json)
}

/// Copies one file with its permissions and time.
pub fn file<'p>(
    place: &Place,
    fs: &Filesystem<'p>,
    inode: &Inode<'p>,
    destination: &Path,
    as_json: bool,
) -> anyhow::Result<()> {
    let output = place.output(&target(destination, &place.name()))?;
    let size = inode.attributes.size;
    unpack::pour(&inode.object, size, output.file(), &mut Vec::new())
        .with_context(|| format!("copying to {}", output.path().display()))?;
    let metadata = fs.metadata(inode)?;
    unpack::file_attributes(output.file(), &metadata)?;
    told(&output.publish()?, as_json)
}

/// Copies a directory; tells whether all of it.
pub fn directory<'p>(
    place: &Place,
    fs: &Filesystem<'p>,
    inode: &Inode<'p>,
    args: &CpArgs,
) -> anyhow::Result<bool> {
    let destination = &*args.destination;
    let is_tar = destination.as_os_str() == "-"
        || destination.extension().is_some_and(|extension| extension == "tar");
    if is_tar && !destination.is_dir() {
        if args.skip_bad {
            usage("--skip-bad copies to a directory, not into an archive");
        }
        let (tree, blobs) = fs.tree_of_objects(inode.object.number)?;
        archive(place, tree, &blobs, args)?;
        return Ok(true);
    }
    let path = match (place.contents, destination.is_dir()) {
        (false, true) => destination.join(place.name()),
        _ => destination.to_owned(),
    };
    if path.exists() && fs::read_dir(&path).map_or(true, |mut entries| entries.next().is_some()) {
        let what = "exists and is not an empty directory; name another";
        return Err(Refused(format!("{} {what}", path.display())).into());
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    // `.` and the like have no name that a directory could be renamed to.
    let Some(name) = path.file_name() else {
        bail!("{}: name a directory that does not exist yet", path.display());
    };
    let prefix = format!(".{}.new-", name.to_string_lossy());
    let make = || Ok(tempfile::Builder::new().prefix(&prefix).tempdir_in(&parent)?.keep());
    let unfinished = Fleeting::tree(make)
        .with_context(|| format!("cannot make a directory in {}", parent.display()))?;
    let (source, skip_bad) = (&*args.source, args.skip_bad);
    let asked = unpack::Asked { source, destination: &path, skip_bad };
    let outcome = unpack::directory(fs, inode, unfinished.path(), &asked)?;
    unfinished
        .placed(|unfinished| fs::rename(unfinished, &path))
        .with_context(|| format!("cannot write {}", path.display()))?;
    outcome.notes.iter().for_each(|note| ui::warn(note));
    for (name, error) in &outcome.left_out {
        let source = asked.source_of(name);
        match args.json {
            true => {
                let event = json!({"event": "left out", "source": source, "error": error});
                ui::print(&format!("{event}\n"))?;
            }
            false => eprintln!("{}", ui::plain(&format!("left out: {source}: {error}"))),
        }
    }
    told(&path, args.json)?;
    Ok(outcome.left_out.is_empty())
}

fn archive(
    place: &Place,
    mut tree: Tree,
    blobs: &FilesystemBlobs<'_, '_>,
    args: &CpArgs,
) -> anyhow::Result<()> {
    let destination = &*args.destination;
    remove_sockets(&mut tree)?;
    if destination.as_os_str() == "-" {
        return Ok(archive::tar::write(&tree, blobs, BufWriter::new(io::stdout().lock()))?);
    }
    let output = place.output(destination)?;
    let mut buffered = output.writer();
    let writing = || format!("writing {}", destination.display());
    archive::tar::write(&tree, blobs, &mut buffered).with_context(writing)?;
    buffered.flush().with_context(writing)?;
    drop(buffered);
    told(&output.publish()?, args.json)
}

/// Sockets mean nothing without the process that made them, and tar has none.
fn remove_sockets(tree: &mut Tree) -> anyhow::Result<()> {
    let sockets: Vec<_> = tree
        .walk()
        .filter(|entry| matches!(entry.inode.kind, Kind::Socket))
        .map(|entry| entry.path)
        .collect();
    for path in sockets {
        let at = path.iter().rposition(|&byte| byte == b'/');
        let (directory, name) = at.map_or((&[][..], &*path), |at| (&path[..at], &path[at + 1..]));
        ui::warn(&format!("{}: a socket is left out", String::from_utf8_lossy(&path)));
        if let Some(parent) = tree.get(directory) {
            tree.remove(parent, name)?;
        }
    }
    Ok(())
}
