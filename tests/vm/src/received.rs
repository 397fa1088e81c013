//! A kernel's replication stream, read back into trees by the crate `zfs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufReader;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use tree::{Kind, Metadata, Tree, WalkEntry};
use zfs::send::Receiver;

/// Room for what is received.
const SPOOL: u64 = 1 << 30;

/// Receives `snapshot` and all below it as `zfs send -R -L -e -c -p` sends them.
pub fn receive(snapshot: &str) -> Result<Receiver<File>> {
    let spool = File::options()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open("/tmp/spool")
        .context("/tmp/spool")?;
    spool.set_len(SPOOL)?;
    let mut receiver = Receiver::new(spool)?;
    let mut sender = Command::new("/usr/sbin/zfs")
        .args(["send", "-R", "-L", "-e", "-c", "-p", snapshot])
        .stdout(Stdio::piped())
        .spawn()?;
    receiver.receive(BufReader::new(sender.stdout.take().context("zfs send has no output")?))?;
    let status = sender.wait()?;
    if !status.success() {
        bail!("zfs send -R {snapshot}: {status}");
    }
    Ok(receiver)
}

/// Compares what was received of a snapshot with the tree that it should be.
pub fn compare(
    receiver: &Receiver<File>,
    snapshot: &str,
    expected: &Tree,
    found: &mut Vec<String>,
) -> Result<usize> {
    let received = receiver.received().iter().find(|received| received.name == snapshot);
    let received = received.with_context(|| format!("{snapshot} was not received"))?;
    let filesystem = receiver.filesystem(received.guid)?;
    let (tree, _) = filesystem.tree(filesystem.root)?;
    let (is, should) = (shown(&tree), shown(expected));
    for path in is.keys().chain(should.keys()).collect::<BTreeSet<_>>() {
        let (is, should) = (is.get(path), should.get(path));
        if is != should {
            found.push(format!("{snapshot}: {path}: {is:?}, not {should:?}"));
        }
    }
    Ok(is.len())
}

/// All that a tree tells of each path: contents by their SHA-256.
fn shown(tree: &Tree) -> BTreeMap<String, String> {
    let line = |entry: WalkEntry<'_>| {
        let kind = match &entry.inode.kind {
            Kind::Directory(_) => "directory".to_owned(),
            Kind::File(file) => format!("{} {} {}", file.size, file.blob, tree.links(entry.id)),
            kind => format!("{kind:?}"),
        };
        let metadata = match &entry.inode.kind {
            // A symbolic link's mode is what the file system makes of it.
            Kind::Symlink(_) => Metadata { mode: 0, ..entry.inode.metadata.clone() },
            _ => entry.inode.metadata.clone(),
        };
        (entry.path.escape_ascii().to_string(), format!("{metadata:?} {kind}"))
    };
    tree.walk().map(line).collect()
}
