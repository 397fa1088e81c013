//! The text form of a tree: a manifest that can be read, compared and hashed.
//!
//! The first line is [`HEADER`]; then comes one line for each name, the root first, directories before
//! what is in them, siblings in order of their names' bytes:
//!
//! ```text
//! kldload-tree 1
//! / dir mode=0755 uid=0 gid=0 mtime=0.000000000
//! /bin symlink mode=0777 uid=0 gid=0 mtime=1.000000000 target=usr/bin
//! /dev char mode=0666 uid=0 gid=0 mtime=0.000000000 device=1:3
//! /log file mode=0640 uid=0 gid=4 mtime=-1.500000000 size=8192 blob=HEX data=0+100,4096+1 xattr.user.a=b
//! /log2 link /log
//! end
//! ```
//!
//! Kinds are `dir`, `file`, `symlink`, `char`, `block`, `fifo`, `socket`, and `link`: one more name for
//! the inode whose first name is given. `mtime` is whole seconds, which may be negative, and
//! nanoseconds after them. `data` lists offset and length of each data run of a file with holes; the
//! blob holds them one after the other. Bytes other than printable ASCII, and `\`, `=` and space,
//! are written as `\xNN`.
//!
//! A tree has exactly one manifest, and [`parse`] takes nothing else: two trees are the same when their
//! manifests' digests are.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::str::FromStr;

use thiserror::Error;

use crate::{
    Device, Digest, Directory, Extent, File, Hasher, Inode, InodeId, Kind, Metadata, Timestamp,
    Tree, TreeError,
};

/// First line of every manifest, with the version of the format.
pub const HEADER: &str = "kldload-tree 1";

/// Last line of every manifest.
const END: &str = "end";

/// Why a text is not a manifest.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("line {line}: {problem}")]
pub struct ManifestError {
    /// Number of the line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a line of a manifest.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Problem {
    /// The first line is not [`HEADER`].
    #[error("this is not a tree manifest of version 1; its first line would be {HEADER:?}")]
    Header,
    /// The text ends inside a line.
    #[error("the line is not complete; the manifest is truncated")]
    Truncated,
    /// The line does not have the form of its kind.
    #[error("{0}")]
    Form(String),
    /// The same could be said, and is to be said, in other words.
    #[error("the line is not in canonical form, which is {0:?}")]
    Canonical(String),
    /// The line comes too late, or twice.
    #[error("{0:?} is not in order after the line before it")]
    Order(String),
    /// A name is not possible here.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A link to something that is not the first name of an inode.
    #[error("{0:?} is not the first name of an inode in a line before")]
    Link(String),
}

/// Writes the manifest of `tree`.
pub fn write(tree: &Tree, mut output: impl Write) -> io::Result<()> {
    output.write_all(HEADER.as_bytes())?;
    output.write_all(b"\n")?;
    let mut first_names: HashMap<InodeId, Vec<u8>> = HashMap::new();
    let mut line = Vec::new();
    for entry in tree.walk() {
        line.clear();
        match first_names.get(&entry.id) {
            Some(first) => write_link(&mut line, &entry.path, first),
            None => write_inode(&mut line, &entry.path, entry.inode),
        }
        line.push(b'\n');
        output.write_all(&line)?;
        if tree.links(entry.id) > 1 {
            first_names.entry(entry.id).or_insert(entry.path);
        }
    }
    output.write_all(END.as_bytes())?;
    output.write_all(b"\n")
}

/// SHA-256 of the manifest: the identity of a tree with all its contents.
pub fn digest(tree: &Tree) -> Digest {
    struct Sink(Hasher);
    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut sink = Sink(Hasher::default());
    // A hasher takes everything, so there is no error to report.
    let _: io::Result<()> = write(tree, &mut sink);
    sink.0.finish()
}

/// Reads a manifest.
pub fn parse(text: &[u8]) -> Result<Tree, ManifestError> {
    let mut lines = Lines { rest: text, number: 0 };
    match lines.next() {
        Some(Ok(line)) if line == HEADER.as_bytes() => {}
        _ => return Err(ManifestError { line: 1, problem: Problem::Header }),
    }
    let mut parser = Parser::new();
    loop {
        let result = match lines.next() {
            Some(Ok(line)) if line == END.as_bytes() => break,
            Some(line) => line.and_then(|line| parser.line(line)),
            None => Err(Problem::Truncated),
        };
        result.map_err(|problem| ManifestError { line: lines.number, problem })?;
    }
    let problem = match (&parser.previous, lines.next()) {
        (Some(_), None) => return Ok(parser.tree),
        (None, _) => form("the root directory '/' is missing"),
        (_, Some(_)) => form("the manifest goes on after its end"),
    };
    Err(ManifestError { line: lines.number, problem })
}

struct Lines<'a> {
    rest: &'a [u8],
    number: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<Result<&'a [u8], Problem>> {
        if self.rest.is_empty() {
            return None;
        }
        self.number += 1;
        let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') else {
            self.rest = &[];
            return Some(Err(Problem::Truncated));
        };
        let line = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        Some(Ok(line))
    }
}

fn escape(out: &mut Vec<u8>, bytes: &[u8]) {
    for &byte in bytes {
        match byte {
            b'\\' | b'=' => out.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
            b'!'..=b'~' => out.push(byte),
            _ => out.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
        }
    }
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.split("\\x");
    let mut out = parts.next()?.as_bytes().to_vec();
    for part in parts {
        out.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        out.extend_from_slice(&part.as_bytes()[2..]);
    }
    Some(out)
}

fn write_path(out: &mut Vec<u8>, path: &[u8]) {
    out.push(b'/');
    escape(out, path);
}

fn write_link(out: &mut Vec<u8>, path: &[u8], first: &[u8]) {
    write_path(out, path);
    out.extend_from_slice(b" link ");
    write_path(out, first);
}

fn write_inode(out: &mut Vec<u8>, path: &[u8], inode: &Inode) {
    let kind = match &inode.kind {
        Kind::Directory(_) => "dir",
        Kind::File(_) => "file",
        Kind::Symlink(_) => "symlink",
        Kind::CharDevice(_) => "char",
        Kind::BlockDevice(_) => "block",
        Kind::Fifo => "fifo",
        Kind::Socket => "socket",
    };
    let Metadata { mode, uid, gid, mtime: Timestamp { seconds, nanoseconds }, xattrs } =
        &inode.metadata;
    write_path(out, path);
    let text =
        format!(" {kind} mode={mode:04o} uid={uid} gid={gid} mtime={seconds}.{nanoseconds:09}");
    out.extend_from_slice(text.as_bytes());
    match &inode.kind {
        Kind::Directory(_) | Kind::Fifo | Kind::Socket => {}
        Kind::File(file) => {
            out.extend_from_slice(format!(" size={} blob={}", file.size, file.blob).as_bytes());
            if let Some(extents) = &file.extents
                && file.data_size() != file.size
            {
                let runs: Vec<String> = extents
                    .iter()
                    .map(|Extent { offset, length }| format!("{offset}+{length}"))
                    .collect();
                out.extend_from_slice(format!(" data={}", runs.join(",")).as_bytes());
            }
        }
        Kind::Symlink(target) => {
            out.extend_from_slice(b" target=");
            escape(out, target);
        }
        Kind::CharDevice(Device { major, minor }) | Kind::BlockDevice(Device { major, minor }) => {
            out.extend_from_slice(format!(" device={major}:{minor}").as_bytes());
        }
    }
    for (name, value) in xattrs {
        out.extend_from_slice(b" xattr.");
        escape(out, name);
        out.push(b'=');
        escape(out, value);
    }
}

struct Parser {
    tree: Tree,
    /// Path of the line before.
    previous: Option<Vec<u8>>,
    /// Paths that are further names of an inode.
    links: HashSet<Vec<u8>>,
}

fn form(message: impl Into<String>) -> Problem {
    Problem::Form(message.into())
}

fn parse_path(text: &str) -> Result<Vec<u8>, Problem> {
    let path = text.strip_prefix('/').ok_or_else(|| form("a path starts with a slash"))?;
    let path = unescape(path).ok_or_else(|| form(format!("{text:?} has a wrong escape")))?;
    // A tree finds names whatever the number of slashes between them.
    if !path.is_empty() && path.split(|&byte| byte == b'/').any(<[u8]>::is_empty) {
        return Err(form(format!("{text:?} has an empty name in it")));
    }
    Ok(path)
}

impl Parser {
    fn new() -> Self {
        Self { tree: Tree::new(Metadata::default()), previous: None, links: HashSet::new() }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Problem> {
        let line = std::str::from_utf8(line).map_err(|_| form("a manifest is ASCII text"))?;
        let (path_text, rest) = line.split_once(' ').unwrap_or((line, ""));
        let path = parse_path(path_text)?;
        if let Some(previous) = &self.previous
            && previous.split(|&byte| byte == b'/').ge(path.split(|&byte| byte == b'/'))
        {
            return Err(Problem::Order(path_text.to_owned()));
        }
        let mut canonical = Vec::with_capacity(line.len());
        if let Some(first) = rest.strip_prefix("link ") {
            let first_path = parse_path(first)?;
            write_link(&mut canonical, &path, &first_path);
            check_canonical(canonical, line)?;
            self.link(&path, &first_path)?;
        } else {
            let inode = parse_inode(rest)?;
            write_inode(&mut canonical, &path, &inode);
            check_canonical(canonical, line)?;
            self.insert(&path, inode)?;
        }
        self.previous = Some(path);
        Ok(())
    }

    fn parent<'a>(&self, path: &'a [u8]) -> Result<(InodeId, &'a [u8]), Problem> {
        let (parent, name) = match path.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&path[..0], path),
        };
        let missing = || TreeError::NotFound(String::from_utf8_lossy(parent).into_owned());
        Ok((self.tree.get(parent).ok_or_else(missing)?, name))
    }

    fn insert(&mut self, path: &[u8], inode: Inode) -> Result<(), Problem> {
        if self.previous.is_none() {
            if !path.is_empty() || !matches!(inode.kind, Kind::Directory(_)) {
                return Err(form("the first entry is the root directory '/'"));
            }
            *self.tree.metadata_mut(self.tree.root()) = inode.metadata;
            return Ok(());
        }
        let (parent, name) = self.parent(path)?;
        self.tree.insert(parent, name, inode)?;
        Ok(())
    }

    fn link(&mut self, path: &[u8], first: &[u8]) -> Result<(), Problem> {
        if self.previous.is_none() {
            return Err(form("the first entry is the root directory '/'"));
        }
        let not_first = || Problem::Link(String::from_utf8_lossy(first).into_owned());
        let id = self.tree.get(first).ok_or_else(not_first)?;
        if self.links.contains(first) {
            return Err(not_first());
        }
        let (parent, name) = self.parent(path)?;
        self.tree.link(parent, name, id)?;
        self.links.insert(path.to_vec());
        Ok(())
    }
}

fn check_canonical(canonical: Vec<u8>, line: &str) -> Result<(), Problem> {
    if canonical == line.as_bytes() {
        return Ok(());
    }
    Err(Problem::Canonical(String::from_utf8_lossy(&canonical).into_owned()))
}

/// The part of a line behind the path. Order of the attributes, and the form of numbers, are left to
/// the comparison with the canonical line.
fn parse_inode(text: &str) -> Result<Inode, Problem> {
    let (kind, rest) = text.split_once(' ').unwrap_or((text, ""));
    let mut metadata = Metadata::default();
    let (mut size, mut blob, mut extents, mut target, mut device) = (None, None, None, None, None);
    for attribute in rest.split(' ') {
        let wrong = || form(format!("{attribute:?} is not an attribute of a {kind}"));
        let (key, value) = attribute.split_once('=').ok_or_else(wrong)?;
        match (kind, key) {
            (_, "mode") => metadata.mode = mode(value).ok_or_else(wrong)?,
            (_, "uid") => metadata.uid = number(value).ok_or_else(wrong)?,
            (_, "gid") => metadata.gid = number(value).ok_or_else(wrong)?,
            (_, "mtime") => metadata.mtime = time(value).ok_or_else(wrong)?,
            ("file", "size") => size = Some(number(value).ok_or_else(wrong)?),
            ("file", "blob") => blob = Some(value.parse::<Digest>().map_err(form)?),
            ("file", "data") => extents = Some(runs(value).ok_or_else(wrong)?),
            ("symlink", "target") => target = Some(unescape(value).ok_or_else(wrong)?),
            ("char" | "block", "device") => {
                let (major, minor) = value.split_once(':').ok_or_else(wrong)?;
                let major = number(major).ok_or_else(wrong)?;
                device = Some(Device { major, minor: number(minor).ok_or_else(wrong)? });
            }
            _ => {
                let name = key.strip_prefix("xattr.").and_then(unescape).ok_or_else(wrong)?;
                let value = unescape(value).ok_or_else(wrong)?;
                metadata.xattrs.insert(name.into(), value.into());
            }
        }
    }
    let lacks = |what| form(format!("a {kind} needs {what}"));
    let kind = match kind {
        "dir" => Kind::Directory(Directory::default()),
        "file" => {
            let size = size.ok_or_else(|| lacks("size"))?;
            let blob = blob.ok_or_else(|| lacks("blob"))?;
            if let Some(extents) = &extents {
                check_runs(extents, size)?;
            }
            Kind::File(File { size, blob, extents })
        }
        "symlink" => Kind::Symlink(target.ok_or_else(|| lacks("target"))?.into()),
        "char" => Kind::CharDevice(device.ok_or_else(|| lacks("device"))?),
        "block" => Kind::BlockDevice(device.ok_or_else(|| lacks("device"))?),
        "fifo" => Kind::Fifo,
        "socket" => Kind::Socket,
        _ => return Err(form(format!("{kind:?} is not a kind of inode"))),
    };
    Ok(Inode { metadata, kind })
}

fn number<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn mode(text: &str) -> Option<u16> {
    u16::from_str_radix(text, 8).ok().filter(|&mode| mode <= 0o7777)
}

fn time(text: &str) -> Option<Timestamp> {
    let (seconds, nanoseconds) = text.split_once('.')?;
    let nanoseconds = number(nanoseconds).filter(|&nanoseconds| nanoseconds < 1_000_000_000)?;
    Some(Timestamp { seconds: number(seconds)?, nanoseconds })
}

fn runs(text: &str) -> Option<Box<[Extent]>> {
    if text.is_empty() {
        return Some(Box::default());
    }
    let run = |run: &str| {
        let (offset, length) = run.split_once('+')?;
        Some(Extent { offset: number(offset)?, length: number(length)? })
    };
    text.split(',').map(run).collect()
}

/// The promises of [`File::extents`].
fn check_runs(extents: &[Extent], size: u64) -> Result<(), Problem> {
    let mut end = None;
    for extent in extents {
        let after = end.is_none_or(|end| extent.offset > end);
        let new_end = extent.offset.checked_add(extent.length).filter(|&end| end <= size);
        if !after || extent.length == 0 || new_end.is_none() {
            return Err(form("data runs are not ascending, apart, and inside the file"));
        }
        end = new_end;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
