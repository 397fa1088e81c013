//! A whole archive becomes a tree and its blobs.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use tree::{Blobs, Digest, Hasher, Tree};

use super::blobs::{FileBlobs, Stamp};
use super::build::Builder;
use super::error::{ImportError, Problem, TarError};
use super::reader::{EntryKind, Reader};
use crate::compress::{self, Peek};

/// Imports the archive at `path`.
///
/// The files of an uncompressed archive are read from the archive itself, whenever they are asked
/// for: it must not change meanwhile (a change of size or time is noticed). A compressed one (gzip,
/// xz, zstd or bzip2), or one that is not a regular file, is unpacked into an unnamed temporary
/// file in `spool`, which vanishes with the blobs or the process. `progress` hears how many bytes of
/// `path` have been read so far.
pub fn import(
    path: &Path,
    spool: &Path,
    progress: &dyn Fn(u64),
) -> Result<(Tree, Box<dyn Blobs>), ImportError> {
    let io_error = |source| ImportError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io_error)?;
    let mut start = [0; compress::MAGIC_LENGTH];
    if !file.metadata().map_err(io_error)?.is_file() {
        return import_stream(file, path, spool, progress);
    }
    let length = read_start(&file, &mut start).map_err(io_error)?;
    if compress::Format::of(&start[..length]).is_some() {
        return import_stream(file, path, spool, progress);
    }
    let stamp = Stamp::of(&file).map_err(io_error)?;
    let mut index = HashMap::new();
    let tree = read_tree(Counter::new(&file, progress), &mut InPlace(&mut index))
        .map_err(|failure| failure.with(path, spool))?;
    Ok((tree, Box::new(FileBlobs { file, index, stamp: Some(stamp) })))
}

/// Imports an archive, compressed or not, from a stream that can be read only once, as [`import`]
/// does from a pipe. `name` stands for it in messages.
pub fn import_stream(
    input: impl Read,
    name: &Path,
    spool: &Path,
    progress: &dyn Fn(u64),
) -> Result<(Tree, Box<dyn Blobs>), ImportError> {
    let spool_error = |source| ImportError::Spool { path: spool.to_owned(), source };
    let file = tempfile::tempfile_in(spool).map_err(spool_error)?;
    let mut input = Peek::new(Counter::new(input, progress));
    let input = compress::decoder(&mut input)
        .map_err(|source| ImportError::Io { path: name.to_owned(), source })?;
    let mut sink = Spool { file: &file, index: HashMap::new(), end: 0, length: 0 };
    let tree = read_tree(input, &mut sink).map_err(|failure| failure.with(name, spool))?;
    let index = sink.index;
    Ok((tree, Box::new(FileBlobs { file, index, stamp: None })))
}

fn read_start(file: &File, start: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < start.len() {
        match file.read_at(&mut start[length..], length as u64)? {
            0 => break,
            read => length += read,
        }
    }
    Ok(length)
}

/// Tells how much has been read.
struct Counter<'a, R> {
    input: R,
    count: u64,
    progress: &'a dyn Fn(u64),
}

impl<'a, R> Counter<'a, R> {
    fn new(input: R, progress: &'a dyn Fn(u64)) -> Self {
        Self { input, count: 0, progress }
    }
}

impl<R: Read> Read for Counter<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.count += read as u64;
        (self.progress)(self.count);
        Ok(read)
    }
}

enum Failure {
    Tar(TarError),
    Spool(io::Error),
}

impl Failure {
    fn with(self, archive: &Path, spool: &Path) -> ImportError {
        match self {
            Self::Tar(source) => ImportError::Tar { path: archive.to_owned(), source },
            Self::Spool(source) => ImportError::Spool { path: spool.to_owned(), source },
        }
    }
}

impl From<TarError> for Failure {
    fn from(error: TarError) -> Self {
        Self::Tar(error)
    }
}

/// Where the data of files goes while the archive is read.
trait Sink {
    fn write(&mut self, data: &[u8]) -> io::Result<()>;
    /// The file is complete; its data started at `offset` of the archive.
    fn finish(&mut self, blob: Digest, offset: u64, length: u64);
}

/// Data stays in the archive.
struct InPlace<'a>(&'a mut HashMap<Digest, (u64, u64)>);

impl Sink for InPlace<'_> {
    fn write(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, blob: Digest, offset: u64, length: u64) {
        self.0.entry(blob).or_insert((offset, length));
    }
}

/// Data goes to the end of a temporary file, once per digest.
struct Spool<'a> {
    file: &'a File,
    index: HashMap<Digest, (u64, u64)>,
    /// Where the current file's data starts, and how much of it there is so far.
    end: u64,
    length: u64,
}

impl Sink for Spool<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, self.end + self.length)?;
        self.length += data.len() as u64;
        Ok(())
    }

    fn finish(&mut self, blob: Digest, _: u64, length: u64) {
        if let std::collections::hash_map::Entry::Vacant(entry) = self.index.entry(blob) {
            entry.insert((self.end, length));
            self.end += length;
        }
        self.length = 0;
    }
}

fn read_tree(input: impl Read, sink: &mut impl Sink) -> Result<Tree, Failure> {
    let mut reader = Reader::new(input);
    let mut builder = Builder::new();
    while let Some(entry) = reader.next_entry()? {
        let mut hasher = Hasher::default();
        let is_file = match entry.kind {
            EntryKind::File { data_offset, data_size, .. } => Some((data_offset, data_size)),
            _ => None,
        };
        loop {
            let data = reader.chunk()?;
            if data.is_empty() {
                break;
            }
            hasher.update(data);
            sink.write(data).map_err(Failure::Spool)?;
        }
        let blob = hasher.finish();
        if let Some((offset, length)) = is_file {
            sink.finish(blob, offset, length);
        }
        builder.add(entry, blob).map_err(|problem: Problem| reader.error(problem))?;
    }
    Ok(builder.finish())
}
