//! Listing files.

use std::collections::HashSet;
use std::io::{self, Write};

use serde_json::json;
use zfs::read::{Filesystem, Inode, InodeKind, ReadError};

use super::place::Place;
use crate::{time, ui};

/// Prints lines of a listing.
struct Printer<W> {
    out: W,
    as_json: bool,
}

impl<W: Write> Printer<W> {
    fn show<'p>(
        &mut self,
        fs: &Filesystem<'p>,
        name: &[u8],
        inode: &Inode<'p>,
    ) -> anyhow::Result<()> {
        let target = match inode.kind() {
            InodeKind::Symlink => Some(fs.read_link(inode)?.into_vec()),
            _ => None,
        };
        let written = if self.as_json {
            let xattrs = fs.xattrs(inode)?;
            let names = xattrs.keys().map(|name| String::from_utf8_lossy(name).into_owned());
            writeln!(self.out, "{}", line_json(name, inode, target, &names.collect::<Vec<_>>()))
        } else {
            writeln!(self.out, "{}", line(name, inode, target))
        };
        ui::written(written)
    }
}

/// Lists a file, or what is in a directory.
pub fn run(place: &Place, recursive: bool, as_json: bool) -> anyhow::Result<()> {
    let fs = place.pool.filesystem(&place.dataset)?;
    let root = fs.resolve(&place.path, false)?;
    let out = io::BufWriter::new(io::stdout().lock());
    let mut printer = Printer { out, as_json };
    if root.kind() != InodeKind::Directory {
        printer.show(&fs, place.name().as_bytes(), &root)?;
        return ui::written(printer.out.flush());
    }
    // A directory cannot be in two places, and if it is in itself there is no end.
    let mut seen = HashSet::from([root.object.number]);
    let mut todo = vec![(Vec::new(), root)];
    while let Some((path, directory)) = todo.pop() {
        let mut below = Vec::new();
        let (entries, error) = fs.readable_entries(&directory);
        for entry in entries {
            let inode = fs.inode(entry.object)?;
            let mut name: Vec<u8> = path.clone();
            if !name.is_empty() {
                name.push(b'/');
            }
            name.extend_from_slice(&entry.name);
            printer.show(&fs, &name, &inode)?;
            if recursive && inode.kind() == InodeKind::Directory {
                if !seen.insert(inode.object.number) {
                    let (what, name) = (inode.object.describe(), String::from_utf8_lossy(&name));
                    let problem = format!("it is a directory in two places, here as {name:?}");
                    return Err(ReadError::Damaged { what, problem }.into());
                }
                below.push((name, inode));
            }
        }
        if let Some(error) = error {
            return Err(error.into());
        }
        todo.extend(below.into_iter().rev());
    }
    ui::written(printer.out.flush())
}

fn letter(kind: InodeKind) -> char {
    match kind {
        InodeKind::Directory => 'd',
        InodeKind::File => '-',
        InodeKind::Symlink => 'l',
        InodeKind::CharDevice => 'c',
        InodeKind::BlockDevice => 'b',
        InodeKind::Fifo => 'p',
        InodeKind::Socket => 's',
        InodeKind::Unknown => '?',
    }
}

/// `drwxr-xr-t` and the like.
fn mode(inode: &Inode<'_>) -> String {
    let mode = inode.attributes.mode;
    let mut text = String::from(letter(inode.kind()));
    for (shift, special, set, unset) in
        [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')]
    {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => set,
            (true, false) => unset,
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

fn line(name: &[u8], inode: &Inode<'_>, target: Option<Vec<u8>>) -> String {
    let attributes = &inode.attributes;
    let size = match inode.kind() {
        InodeKind::CharDevice | InodeKind::BlockDevice => {
            let device = inode.device();
            format!("{}, {}", device.major, device.minor)
        }
        _ => attributes.size.to_string(),
    };
    let mut text = format!(
        "{} {:>3} {:>5} {:>5} {size:>10} {} {}",
        mode(inode),
        attributes.links,
        attributes.uid,
        attributes.gid,
        time::utc(attributes.mtime.seconds),
        ui::plain(&String::from_utf8_lossy(name)),
    );
    if let Some(target) = target {
        text += &format!(" -> {}", ui::plain(&String::from_utf8_lossy(&target)));
    }
    text
}

fn line_json(
    name: &[u8],
    inode: &Inode<'_>,
    target: Option<Vec<u8>>,
    xattrs: &[String],
) -> serde_json::Value {
    let attributes = &inode.attributes;
    let kind = match inode.kind() {
        InodeKind::Directory => "directory",
        InodeKind::File => "file",
        InodeKind::Symlink => "symlink",
        InodeKind::CharDevice => "character device",
        InodeKind::BlockDevice => "block device",
        InodeKind::Fifo => "fifo",
        InodeKind::Socket => "socket",
        InodeKind::Unknown => "unknown",
    };
    let device = matches!(inode.kind(), InodeKind::CharDevice | InodeKind::BlockDevice)
        .then(|| inode.device())
        .map(|device| json!([device.major, device.minor]));
    json!({
        "path": String::from_utf8_lossy(name),
        "kind": kind,
        "object": inode.object.number,
        "mode": format!("{:04o}", attributes.mode & 0o7777),
        "links": attributes.links,
        "uid": attributes.uid,
        "gid": attributes.gid,
        "size": attributes.size,
        "allocated": inode.object.dnode.used,
        "mtime": [attributes.mtime.seconds, i64::from(attributes.mtime.nanoseconds)],
        "target": target.map(|target| String::from_utf8_lossy(&target).into_owned()),
        "device": device,
        "xattrs": xattrs,
    })
}
