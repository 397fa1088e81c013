//! A mounted directory compared with a tree: every name and everything that a program can see of it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use rustix::fs::SeekFrom as Sparse;
use tree::{Extent, Hasher, Inode, Kind, Tree, Xattrs};
use vm_judge::{Sum, Sums};

/// A hole is kept when whole records of it are not stored. Files of one block are never sparse.
const RECORD: u64 = 128 << 10;

/// Compares `root` with `tree`; adds one line for each difference, and returns what was compared.
pub fn compare(tree: &Tree, sums: &Sums, root: &Path, found: &mut Vec<String>) -> Result<String> {
    let mut names = 0_u64;
    let mut read = vec![false; tree.inode_count()];
    let mut files = Vec::new();
    for entry in tree.walk() {
        let path = if entry.path.is_empty() {
            root.to_owned()
        } else {
            root.join(OsStr::from_bytes(&entry.path))
        };
        names += 1;
        let mut differs =
            |what: String| found.push(format!("/{}: {what}", entry.path.escape_ascii()));
        let stat = match fs::symlink_metadata(&path) {
            Ok(stat) => stat,
            Err(error) => {
                differs(error.to_string());
                continue;
            }
        };
        attributes(entry.inode, &stat, &mut differs);
        if !stat.is_dir() && stat.nlink() != u64::from(tree.links(entry.id)) {
            differs(format!("{} links, not {}", stat.nlink(), tree.links(entry.id)));
        }
        let again = std::mem::replace(&mut read[entry.id.index()], true);
        if again {
            continue;
        }
        if let Err(error) = xattrs(&entry.inode.metadata.xattrs, &path, &mut differs) {
            differs(format!("{error:#}"));
        }
        match &entry.inode.kind {
            Kind::Directory(directory) => {
                let expected: BTreeSet<&[u8]> = directory.iter().map(|(name, _)| name).collect();
                for present in fs::read_dir(&path)? {
                    let name = present?.file_name().into_vec();
                    if !expected.contains(&*name) {
                        differs(format!("has {} which is not in the tree", name.escape_ascii()));
                    }
                }
            }
            Kind::Symlink(target) => {
                let is = fs::read_link(&path)?;
                if is.as_os_str().as_bytes() != &**target {
                    differs(format!("leads to {}", is.display()));
                }
            }
            Kind::File(file) if stat.len() == file.size => files.push((path, file)),
            _ => {}
        }
    }
    let started = Instant::now();
    let bytes = contents(&files, sums, root, found)?;
    Ok(format!("{names} names, {bytes} bytes read in {:.1} s", started.elapsed().as_secs_f64()))
}

/// Compares what is in `files`, on two processors; returns how much was read.
fn contents(
    files: &[(PathBuf, &tree::File)],
    sums: &Sums,
    root: &Path,
    found: &mut Vec<String>,
) -> Result<u64> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<(u64, Vec<String>)> {
        // One for all: to get a new one for each file takes longer than to read the file.
        let mut buffer = vec![0; 1 << 20];
        let (mut bytes, mut found) = (0, Vec::new());
        while let Some((path, file)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let name =
                path.strip_prefix(root).unwrap_or(path).as_os_str().as_bytes().escape_ascii();
            content(path, file, sums, &mut buffer, &mut |what| {
                found.push(format!("/{name}: {what}"))
            })
            .with_context(|| path.display().to_string())?;
            bytes += file.data_size();
        }
        Ok((bytes, found))
    };
    std::thread::scope(|scope| {
        let workers = [scope.spawn(work), scope.spawn(work)];
        let mut bytes = 0;
        for worker in workers {
            let (read, differences) = worker.join().map_err(|_| anyhow!("a reader failed"))??;
            bytes += read;
            found.extend(differences);
        }
        Ok(bytes)
    })
}

fn content(
    path: &Path,
    file: &tree::File,
    sums: &Sums,
    buffer: &mut [u8],
    differs: &mut impl FnMut(String),
) -> Result<()> {
    let whole = [Extent { offset: 0, length: file.size }];
    let runs = file.extents.as_deref().unwrap_or(&whole);
    let mut content = File::open(path)?;
    match sums.0.get(&file.blob) {
        // Slow, but the name of the blob says what it must be.
        None => {
            let mut hash = Hasher::default();
            read_runs(&mut content, runs, buffer, |bytes| hash.update(bytes))?;
            let is = hash.finish();
            if is != file.blob {
                differs(format!("content is {is}, not {}", file.blob));
            }
        }
        Some(&should) => {
            let mut sum = Sum::default();
            read_runs(&mut content, runs, buffer, |bytes| sum.update(bytes))?;
            let is = sum.finish();
            if is != should {
                differs(format!("content has sum {is:016x}, not {should:016x}"));
            }
        }
    }
    if file.extents.is_some() {
        holes(&mut content, runs, file.size, differs)?;
    }
    Ok(())
}

fn attributes(inode: &Inode, stat: &fs::Metadata, differs: &mut impl FnMut(String)) {
    let kind = stat.file_type();
    let same_kind = match inode.kind {
        Kind::Directory(_) => kind.is_dir(),
        Kind::File(_) => kind.is_file(),
        Kind::Symlink(_) => kind.is_symlink(),
        Kind::CharDevice(_) => kind.is_char_device(),
        Kind::BlockDevice(_) => kind.is_block_device(),
        Kind::Fifo => kind.is_fifo(),
        Kind::Socket => kind.is_socket(),
    };
    if !same_kind {
        differs(format!("is a {kind:?}"));
        return;
    }
    let metadata = &inode.metadata;
    // A symbolic link's mode is what the file system makes of it.
    if !kind.is_symlink() && stat.mode() & 0o7777 != u32::from(metadata.mode) {
        differs(format!("mode {:04o}, not {:04o}", stat.mode() & 0o7777, metadata.mode));
    }
    if (stat.uid(), stat.gid()) != (metadata.uid, metadata.gid) {
        differs(format!(
            "owner {}:{}, not {}:{}",
            stat.uid(),
            stat.gid(),
            metadata.uid,
            metadata.gid
        ));
    }
    let time = (stat.mtime(), stat.mtime_nsec());
    let expected = (metadata.mtime.seconds, i64::from(metadata.mtime.nanoseconds));
    if time != expected {
        differs(format!("modified at {time:?}, not {expected:?}"));
    }
    match &inode.kind {
        Kind::File(file) if stat.len() != file.size => {
            differs(format!("{} bytes, not {}", stat.len(), file.size));
        }
        Kind::CharDevice(device) | Kind::BlockDevice(device) => {
            let number = (rustix::fs::major(stat.rdev()), rustix::fs::minor(stat.rdev()));
            if number != (device.major, device.minor) {
                differs(format!("device {number:?}, not {device:?}"));
            }
        }
        _ => {}
    }
}

/// The extended attributes of what `path` names, links not followed.
pub fn read_xattrs(path: &Path) -> Result<Xattrs> {
    // Linux gives neither more names nor a larger value.
    let mut buffer = vec![0; 1 << 16];
    let length = rustix::fs::llistxattr(path, buffer.as_mut_slice())?;
    let names = buffer[..length].to_vec();
    let mut xattrs = Xattrs::new();
    for name in names.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let size = rustix::fs::lgetxattr(path, name, buffer.as_mut_slice())
            .with_context(|| format!("xattr {}", name.escape_ascii()))?;
        xattrs.insert(name.into(), buffer[..size].into());
    }
    Ok(xattrs)
}

fn xattrs(expected: &Xattrs, path: &Path, differs: &mut impl FnMut(String)) -> Result<()> {
    let are = read_xattrs(path)?;
    for (name, value) in expected {
        match are.get(name) {
            None => differs(format!("xattr {} is missing", name.escape_ascii())),
            Some(is) if is != value => {
                differs(format!("xattr {} is {}", name.escape_ascii(), is.escape_ascii()));
            }
            Some(_) => {}
        }
    }
    for name in are.keys().filter(|name| !expected.contains_key(*name)) {
        differs(format!("xattr {} is not in the tree", name.escape_ascii()));
    }
    Ok(())
}

/// Reads the stored runs of `file`, piece by piece.
fn read_runs(
    file: &mut File,
    runs: &[Extent],
    buffer: &mut [u8],
    mut take: impl FnMut(&[u8]),
) -> Result<()> {
    for run in runs {
        file.seek(SeekFrom::Start(run.offset))?;
        let mut data = file.take(run.length);
        loop {
            match data.read(buffer)? {
                0 => break,
                count => take(&buffer[..count]),
            }
        }
    }
    Ok(())
}

/// Holes read as zeros, and whole records inside them are not stored.
fn holes(
    file: &mut File,
    runs: &[Extent],
    size: u64,
    differs: &mut impl FnMut(String),
) -> Result<()> {
    let mut start = 0;
    let ends = runs.iter().map(|run| (run.offset, run.offset + run.length)).chain([(size, size)]);
    for (end, next) in ends {
        let mut sample = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        file.take((end - start).min(RECORD)).read_to_end(&mut sample)?;
        if sample.iter().any(|&byte| byte != 0) {
            differs(format!("the hole at {start} does not read as zeros"));
        }
        let (first, last) = (start.next_multiple_of(RECORD), end / RECORD * RECORD);
        if first < last {
            match rustix::fs::seek(&*file, Sparse::Data(first)) {
                Ok(data) if data < last => {
                    differs(format!(
                        "{data} is stored though it lies in a hole from {start} to {end}"
                    ));
                }
                Ok(_) | Err(rustix::io::Errno::NXIO) => {}
                Err(error) => return Err(error.into()),
            }
        }
        start = next;
    }
    Ok(())
}
