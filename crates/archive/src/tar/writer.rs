//! Writes a tree as a PAX archive: the same bytes for the same tree.

use std::collections::HashMap;
use std::io::{self, Read, Write};

use thiserror::Error;
use tree::{Blobs, Device, Digest, Extent, File, Inode, InodeId, Kind, Metadata, Timestamp, Tree};

use super::acl;
use super::format::{self, BLOCK, Field, Header};

/// Why a tree was not written.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The output failed.
    #[error("cannot write the archive: {0}")]
    Output(io::Error),
    /// The content of a file could not be read.
    #[error("cannot read the content of {path:?}: {source}")]
    Content {
        /// Path in the tree.
        path: String,
        /// The error of its blobs.
        source: io::Error,
    },
    /// A blob is shorter or longer than the tree says.
    #[error("the content of {path:?}, blob {blob}, is not {size} bytes long")]
    Length {
        /// Path in the tree.
        path: String,
        /// The blob.
        blob: Digest,
        /// Its length according to the tree.
        size: u64,
    },
    /// Tar has no sockets.
    #[error("{0:?} is a socket, which tar cannot hold; remove it")]
    Socket(String),
}

/// Writes `tree` in the order of [`Tree::walk`], numeric owners only; attributes as `SCHILY.xattr`
/// and `SCHILY.acl` records, sparse files in GNU's PAX form 1.0.
///
/// [`super::import`] of the archive gives an equal tree, and GNU tar unpacks it.
pub fn write(tree: &Tree, blobs: &dyn Blobs, output: impl Write) -> Result<(), WriteError> {
    let mut writer = Writer { output, buffer: vec![0; 1 << 18] };
    let mut first_names: HashMap<InodeId, Vec<u8>> = HashMap::new();
    for entry in tree.walk() {
        let path = if entry.path.is_empty() { b"./".to_vec() } else { entry.path };
        if let Some(first) = first_names.get(&entry.id) {
            writer.link(&path, first)?;
            continue;
        }
        writer.inode(&path, entry.inode, blobs)?;
        if tree.links(entry.id) > 1 {
            first_names.insert(entry.id, path);
        }
    }
    writer.put(&[0; 2 * BLOCK])?;
    writer.output.flush().map_err(WriteError::Output)
}

struct Writer<W> {
    output: W,
    buffer: Vec<u8>,
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Records for the extended header of one entry.
#[derive(Default)]
struct Records(Vec<u8>);

impl Records {
    /// `LENGTH KEY=VALUE\n`, where the length counts itself.
    fn push(&mut self, key: &[u8], value: &[u8]) {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while rest + length.to_string().len() != length {
            length = rest + length.to_string().len();
        }
        self.0.extend_from_slice(format!("{length} ").as_bytes());
        self.0.extend_from_slice(key);
        self.0.push(b'=');
        self.0.extend_from_slice(value);
        self.0.push(b'\n');
    }
}

/// A header that is filled field by field; what does not fit goes into records.
struct Draft {
    header: Header,
    records: Records,
}

impl Draft {
    fn new(path: &[u8], typeflag: u8) -> Self {
        let mut header = Header([0; BLOCK]);
        header.0[format::MAGIC].copy_from_slice(format::USTAR);
        header.0[format::TYPEFLAG] = typeflag;
        let mut draft = Self { header, records: Records::default() };
        draft.text(&format::NAME, b"path", path);
        draft
    }

    fn text(&mut self, field: &Field, key: &[u8], text: &[u8]) {
        let length = text.len().min(field.range.len());
        self.header.0[field.range.clone()][..length].copy_from_slice(&text[..length]);
        // Record values are UTF-8 by the standard; every reader takes the bytes as they are.
        if length < text.len() {
            self.records.push(key, text);
        }
    }

    /// Octal digits and a NUL, zero if it does not fit; tells whether it did.
    fn number(&mut self, field: &Field, value: u64) -> bool {
        let digits = field.range.len() - 1;
        let fits = value >> (3 * digits) == 0;
        let text = format!("{:0digits$o}", if fits { value } else { 0 });
        self.header.0[field.range.clone()][..digits].copy_from_slice(text.as_bytes());
        fits
    }

    fn number_or_record(&mut self, field: &Field, key: &[u8], value: u64) {
        if !self.number(field, value) {
            self.records.push(key, value.to_string().as_bytes());
        }
    }

    fn metadata(&mut self, metadata: &Metadata) {
        self.number(&format::MODE, metadata.mode.into());
        self.number_or_record(&format::UID, b"uid", metadata.uid.into());
        self.number_or_record(&format::GID, b"gid", metadata.gid.into());
        let Timestamp { seconds, nanoseconds } = metadata.mtime;
        let fits = u64::try_from(seconds).is_ok_and(|value| self.number(&format::MTIME, value));
        if !fits || nanoseconds != 0 {
            self.number(&format::MTIME, u64::try_from(seconds).unwrap_or(0));
            self.records.push(b"mtime", time(metadata.mtime).as_bytes());
        }
        for (name, value) in &metadata.xattrs {
            if let Some((key, text)) = acl_record(name, value) {
                self.records.push(key, text.as_bytes());
                continue;
            }
            let mut key = b"SCHILY.xattr.".to_vec();
            for &byte in name {
                match byte {
                    b'=' => key.extend_from_slice(b"%3D"),
                    b'%' => key.extend_from_slice(b"%25"),
                    _ => key.push(byte),
                }
            }
            self.records.push(&key, value);
        }
    }

    fn device(&mut self, device: Device) {
        self.number_or_record(&format::DEVMAJOR, b"SCHILY.devmajor", device.major.into());
        self.number_or_record(&format::DEVMINOR, b"SCHILY.devminor", device.minor.into());
    }
}

/// ACLs go into records of their own, in which `tar x --acls` looks for them. Those that text cannot
/// say, or that a reader would drop for saying nothing, stay plain attributes.
fn acl_record(name: &[u8], value: &[u8]) -> Option<(&'static [u8], String)> {
    match name {
        acl::ACCESS if !acl::is_minimal(value) => {
            Some((b"SCHILY.acl.access", acl::to_text(value)?))
        }
        acl::DEFAULT => Some((b"SCHILY.acl.default", acl::to_text(value)?)),
        _ => None,
    }
}

/// A decimal number of seconds, as people write it: `-1.5` for half a second before `-1`.
fn time(time: Timestamp) -> String {
    let Timestamp { seconds, nanoseconds } = time;
    let text = match (seconds < 0, nanoseconds) {
        (_, 0) => return seconds.to_string(),
        (false, _) => format!("{seconds}.{nanoseconds:09}"),
        (true, _) => {
            let whole = (seconds + 1).unsigned_abs();
            format!("-{whole}.{:09}", 1_000_000_000 - nanoseconds)
        }
    };
    text.trim_end_matches('0').to_owned()
}

impl<W: Write> Writer<W> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.output.write_all(bytes).map_err(WriteError::Output)
    }

    fn pad(&mut self, length: u64) -> Result<(), WriteError> {
        let padding = length.next_multiple_of(BLOCK as u64) - length;
        self.put(&[0; BLOCK][..padding as usize])
    }

    /// Writes the extended header, if there is need for one, and the header.
    fn headers(&mut self, draft: Draft) -> Result<(), WriteError> {
        let Draft { header, records: Records(records) } = draft;
        if !records.is_empty() {
            let mut extended = Draft::new(b"pax", b'x');
            extended.number(&format::MODE, 0o644);
            extended.number(&format::SIZE, records.len() as u64);
            self.header(extended.header)?;
            self.put(&records)?;
            self.pad(records.len() as u64)?;
        }
        self.header(header)
    }

    fn header(&mut self, mut header: Header) -> Result<(), WriteError> {
        let sum = format!("{:06o}\0 ", header.sum());
        header.0[format::CHECKSUM.range.clone()].copy_from_slice(sum.as_bytes());
        self.put(&header.0)
    }

    fn link(&mut self, path: &[u8], first: &[u8]) -> Result<(), WriteError> {
        let mut draft = Draft::new(path, b'1');
        draft.text(&format::LINKNAME, b"linkpath", first);
        self.headers(draft)
    }

    fn inode(&mut self, path: &[u8], inode: &Inode, blobs: &dyn Blobs) -> Result<(), WriteError> {
        let typeflag = match &inode.kind {
            Kind::Directory(_) => b'5',
            Kind::File(_) => b'0',
            Kind::Symlink(_) => b'2',
            Kind::CharDevice(_) => b'3',
            Kind::BlockDevice(_) => b'4',
            Kind::Fifo => b'6',
            Kind::Socket => return Err(WriteError::Socket(lossy(path))),
        };
        let mut draft = Draft::new(path, typeflag);
        draft.metadata(&inode.metadata);
        match &inode.kind {
            Kind::File(file) => return self.file(path, draft, file, blobs),
            Kind::Symlink(target) => draft.text(&format::LINKNAME, b"linkpath", target),
            Kind::CharDevice(device) | Kind::BlockDevice(device) => draft.device(*device),
            Kind::Directory(_) | Kind::Fifo | Kind::Socket => {}
        }
        self.headers(draft)
    }

    fn file(
        &mut self,
        path: &[u8],
        mut draft: Draft,
        file: &File,
        blobs: &dyn Blobs,
    ) -> Result<(), WriteError> {
        let data_size = file.data_size();
        let map = match &file.extents {
            Some(extents) if data_size != file.size => {
                draft.records.push(b"GNU.sparse.major", b"1");
                draft.records.push(b"GNU.sparse.minor", b"0");
                draft.records.push(b"GNU.sparse.name", path);
                draft.records.push(b"GNU.sparse.realsize", file.size.to_string().as_bytes());
                sparse_map(extents, file.size)
            }
            _ => Vec::new(),
        };
        let stored = map.len() as u64 + data_size;
        draft.number_or_record(&format::SIZE, b"size", stored);
        self.headers(draft)?;
        self.put(&map)?;
        self.data(path, file.blob, data_size, blobs)?;
        self.pad(stored)
    }

    fn data(
        &mut self,
        path: &[u8],
        blob: Digest,
        size: u64,
        blobs: &dyn Blobs,
    ) -> Result<(), WriteError> {
        let content = |source| WriteError::Content { path: lossy(path), source };
        let mut reader = blobs.open(&blob).map_err(content)?;
        let mut length = 0;
        loop {
            let read = match reader.read(&mut self.buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(content(error)),
            };
            length += read as u64;
            if length > size || (read == 0 && length != size) {
                return Err(WriteError::Length { path: lossy(path), blob, size });
            }
            if read == 0 {
                return Ok(());
            }
            self.output.write_all(&self.buffer[..read]).map_err(WriteError::Output)?;
        }
    }
}

/// The map in front of the data of a sparse file, padded to blocks.
fn sparse_map(extents: &[Extent], size: u64) -> Vec<u8> {
    let mut extents = extents.to_vec();
    // GNU tar makes a hole at the end from an empty run there.
    if extents.last().is_none_or(|last| last.offset + last.length < size) {
        extents.push(Extent { offset: size, length: 0 });
    }
    let mut map = format!("{}\n", extents.len());
    for Extent { offset, length } in extents {
        map += &format!("{offset}\n{length}\n");
    }
    let mut map = map.into_bytes();
    map.resize(map.len().next_multiple_of(BLOCK), 0);
    map
}
