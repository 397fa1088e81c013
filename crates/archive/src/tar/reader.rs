//! The streaming reader: headers in, one [`Entry`] after the other out.

use std::io::{BufRead, BufReader, Read};

use tree::{Device, Extent, Metadata, Timestamp};

use super::EXTENDED_LIMIT;
use super::error::{Problem, TarError};
use super::format::{self, BLOCK, Header};
use super::pax::{self, Extended};
use super::sparse;

/// Large reads keep the number of system calls and checks for progress low.
const BUFFER: usize = 1 << 20;

/// One entry of an archive, all extended headers taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where its own header starts in the archive, in bytes.
    pub offset: u64,
    /// Path as the archive has it; not checked in any way.
    pub path: Vec<u8>,
    /// Attributes; without meaning for a hard link.
    pub metadata: Metadata,
    /// What it is.
    pub kind: EntryKind,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file, whose data follows.
    File {
        /// Length in bytes, holes included.
        size: u64,
        /// Data runs as in [`tree::File::extents`].
        extents: Option<Box<[Extent]>>,
        /// Where its data starts in the archive, in bytes.
        data_offset: u64,
        /// Length of the data in bytes: `size` without holes.
        data_size: u64,
    },
    /// A symbolic link and its target.
    Symlink(Vec<u8>),
    /// One more name for what is at this path.
    HardLink(Vec<u8>),
    /// A character device.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
}

/// Reads the entries of an uncompressed archive from a stream.
#[derive(Debug)]
pub struct Reader<R> {
    input: BufReader<R>,
    /// Position of the next byte of `input`.
    offset: u64,
    /// Bytes handed out by [`Reader::chunk`] that are still in the buffer.
    lent: usize,
    /// Data of the current entry that is still to come, without `lent`.
    remaining: u64,
    global: Extended,
    /// For messages: start of the current header and the entry's path.
    header_offset: u64,
    entry_name: Option<String>,
}

impl<R: Read> Reader<R> {
    /// A reader of the archive that starts here.
    pub fn new(input: R) -> Self {
        Self {
            input: BufReader::with_capacity(BUFFER, input),
            offset: 0,
            lent: 0,
            remaining: 0,
            global: Extended::default(),
            header_offset: 0,
            entry_name: None,
        }
    }

    /// The next entry, or `None` after the last one. Data of the current entry that was not read
    /// is skipped.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        self.next_inner().map_err(|problem| self.error(problem))
    }

    /// The next piece of the current file's data, empty at its end.
    pub fn chunk(&mut self) -> Result<&[u8], TarError> {
        self.give_back();
        if self.remaining == 0 {
            return Ok(&[]);
        }
        if let Err(problem) = self.fill() {
            return Err(self.error(problem));
        }
        let buffer = self.input.buffer();
        self.lent = buffer.len().min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        self.remaining -= self.lent as u64;
        Ok(&buffer[..self.lent])
    }

    /// An error about the current entry.
    pub(crate) fn error(&self, problem: Problem) -> TarError {
        TarError { offset: self.header_offset, entry: self.entry_name.clone(), problem }
    }

    fn give_back(&mut self) {
        self.input.consume(self.lent);
        self.offset += self.lent as u64;
        self.lent = 0;
    }

    /// Makes sure that the buffer is not empty.
    fn fill(&mut self) -> Result<(), Problem> {
        if self.input.fill_buf()?.is_empty() {
            return Err(Problem::Truncated);
        }
        Ok(())
    }

    fn block(&mut self) -> Result<[u8; BLOCK], Problem> {
        let mut block = [0; BLOCK];
        self.read(&mut block)?;
        Ok(block)
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<(), Problem> {
        self.input.read_exact(bytes).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => Problem::Truncated,
            _ => Problem::Io(error),
        })?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Skips what is left of the current entry's data, and its padding.
    fn finish_entry(&mut self) -> Result<(), Problem> {
        self.give_back();
        let mut rest = self.remaining;
        self.remaining = 0;
        // The offset of the data's end is a multiple of the block size after the padding.
        rest += (self.offset + rest).next_multiple_of(BLOCK as u64) - (self.offset + rest);
        while rest > 0 {
            self.fill()?;
            let step = self.input.buffer().len().min(usize::try_from(rest).unwrap_or(usize::MAX));
            self.input.consume(step);
            self.offset += step as u64;
            rest -= step as u64;
        }
        Ok(())
    }

    fn next_inner(&mut self) -> Result<Option<Entry>, Problem> {
        self.finish_entry()?;
        self.entry_name = None;
        let mut extended = self.global.clone();
        // Length of all extended headers of the entry, in bytes.
        let mut extended_size = 0;
        loop {
            self.header_offset = self.offset;
            if self.offset == 0 && self.input.fill_buf()?.is_empty() {
                return Err(Problem::NotTar);
            }
            let header = Header(self.block().map_err(|problem| match problem {
                Problem::Truncated if self.offset == 0 => Problem::NotTar,
                problem => problem,
            })?);
            if header.0 == [0; BLOCK] {
                if extended_size > 0 {
                    return Err(Problem::Truncated);
                }
                self.end()?;
                return Ok(None);
            }
            if !header.checksum_is_right() {
                let first = self.header_offset == 0;
                return Err(if first { Problem::NotTar } else { Problem::Checksum });
            }
            match header.typeflag() {
                b'x' | b'X' => {
                    let payload = self.payload(&header, &mut extended_size)?;
                    extended.apply(&payload)?;
                }
                b'g' => {
                    let payload = self.payload(&header, &mut 0)?;
                    self.global.apply_global(&payload)?;
                    extended.apply_global(&payload)?;
                }
                b'L' => {
                    let payload = self.payload(&header, &mut extended_size)?;
                    extended.path = Some(format::until_nul(&payload).to_vec());
                }
                b'K' => {
                    let payload = self.payload(&header, &mut extended_size)?;
                    extended.linkpath = Some(format::until_nul(&payload).to_vec());
                }
                // The name of the volume, without data.
                b'V' => {}
                _ => return self.entry(&header, extended).map(Some),
            }
        }
    }

    /// After the zero block of the end only zeros may come.
    fn end(&mut self) -> Result<(), Problem> {
        loop {
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() {
                return Ok(());
            }
            if let Some(at) = buffer.iter().position(|&byte| byte != 0) {
                self.header_offset = self.offset + at as u64;
                return Err(Problem::TrailingData);
            }
            let length = buffer.len();
            self.input.consume(length);
            self.offset += length as u64;
        }
    }

    /// The data of an extended header; `total` counts those of one entry.
    fn payload(&mut self, header: &Header, total: &mut u64) -> Result<Vec<u8>, Problem> {
        let size: u64 = header.unsigned(&format::SIZE)?;
        *total = total.saturating_add(size);
        if *total > EXTENDED_LIMIT {
            return Err(Problem::HugeHeader(*total));
        }
        // Grows as data arrives: a lie about the size costs no memory.
        let mut payload = Vec::new();
        let read = (&mut self.input).take(size).read_to_end(&mut payload)?;
        self.offset += read as u64;
        if read as u64 != size {
            return Err(Problem::Truncated);
        }
        self.finish_entry()?;
        Ok(payload)
    }

    fn entry(&mut self, header: &Header, extended: Extended) -> Result<Entry, Problem> {
        let Extended { path, linkpath, size, uid, gid, mtime, xattrs, sparse, .. } = extended;
        let path = sparse.name.clone().or(path).unwrap_or_else(|| header.path());
        self.entry_name = Some(String::from_utf8_lossy(&path).into_owned());
        let seconds_of_header = || header.number(&format::MTIME);
        let metadata = Metadata {
            // Some writers store the file type as well.
            mode: (header.unsigned::<u32>(&format::MODE)? & 0o7777) as u16,
            uid: uid.map_or_else(|| header.unsigned(&format::UID), Ok)?,
            gid: gid.map_or_else(|| header.unsigned(&format::GID), Ok)?,
            mtime: match mtime {
                Some(mtime) => mtime,
                None => Timestamp { seconds: seconds_of_header()?, nanoseconds: 0 },
            },
            xattrs,
        };
        let size = || size.map_or_else(|| header.unsigned(&format::SIZE), Ok);
        let target = || linkpath.unwrap_or_else(|| header.text(&format::LINKNAME).to_vec());
        let device = || -> Result<Device, Problem> {
            let number = |value: Option<u32>, field, limit: u32| -> Result<u32, Problem> {
                let value: u32 = match value {
                    Some(value) => value,
                    None if header.has_devices() => header.unsigned(field)?,
                    None => 0,
                };
                if value < limit {
                    return Ok(value);
                }
                Err(Problem::Number { field: field.name, value: value.to_string() })
            };
            Ok(Device {
                major: number(extended.devmajor, &format::DEVMAJOR, 1 << 12)?,
                minor: number(extended.devminor, &format::DEVMINOR, 1 << 20)?,
            })
        };
        let kind = match header.typeflag() {
            // Before POSIX, a directory was a file with a slash at the end of its name.
            0 if path.ends_with(b"/") => EntryKind::Directory,
            0 | b'0' | b'7' => self.file(size()?, sparse)?,
            b'S' => self.old_sparse_file(header, size()?)?,
            b'1' => match size()? {
                0 => EntryKind::HardLink(target()),
                size => return Err(Problem::LinkWithData(size)),
            },
            b'2' => EntryKind::Symlink(target()),
            b'3' => EntryKind::CharDevice(device()?),
            b'4' => EntryKind::BlockDevice(device()?),
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            other => {
                let flag = char::from(other).escape_default();
                return Err(Problem::Unsupported(format!("an entry of type '{flag}'")));
            }
        };
        Ok(Entry { offset: self.header_offset, path, metadata, kind })
    }

    fn file(&mut self, stored: u64, records: sparse::SparseRecords) -> Result<EntryKind, Problem> {
        let mut stored = stored;
        let (size, extents) = match (records.map_in_data, records.map) {
            (true, _) => {
                let size = records.size.ok_or(Problem::Sparse("the file's size is missing"))?;
                let (map, length) = self.map_in_data(stored)?;
                stored -= length;
                (size, sparse::canonical(map, size, stored)?)
            }
            (false, Some(map)) => {
                let size = records.size.ok_or(Problem::Sparse("the file's size is missing"))?;
                (size, sparse::canonical(map, size, stored)?)
            }
            (false, None) => (stored, None),
        };
        Ok(self.file_with_data(size, extents, stored))
    }

    fn file_with_data(
        &mut self,
        size: u64,
        extents: Option<Box<[Extent]>>,
        stored: u64,
    ) -> EntryKind {
        self.remaining = stored;
        EntryKind::File { size, extents, data_offset: self.offset, data_size: stored }
    }

    fn old_sparse_file(&mut self, header: &Header, stored: u64) -> Result<EntryKind, Problem> {
        let size = header.unsigned(&format::SPARSE_SIZE)?;
        let mut map = Vec::new();
        let mut goes_on = sparse::old_pairs(&header.0[format::SPARSE_IN_HEADER], &mut map)?
            && header.0[format::SPARSE_MORE] != 0;
        while goes_on {
            let block = self.block()?;
            goes_on = sparse::old_pairs(&block[format::SPARSE_IN_BLOCK], &mut map)?
                && block[format::SPARSE_BLOCK_MORE] != 0;
            self.check_map(map.len())?;
        }
        let extents = sparse::canonical(map, size, stored)?;
        Ok(self.file_with_data(size, extents, stored))
    }

    /// The map of PAX form 1.0: lines of decimal numbers (count, then offset and length of each
    /// run) padded to blocks. Also returns its length in bytes.
    fn map_in_data(&mut self, stored: u64) -> Result<(Vec<Extent>, u64), Problem> {
        const MALFORMED: Problem = Problem::Sparse("it is not a list of numbers");
        let start = self.offset;
        let mut line = Vec::new();
        let mut number = || -> Result<u64, Problem> {
            loop {
                let mut byte = [0];
                self.read(&mut byte)?;
                if self.offset - start > stored {
                    return Err(Problem::Sparse("it is longer than the data"));
                }
                match byte[0] {
                    b'\n' => break,
                    digit if line.len() < 20 => line.push(digit),
                    _ => return Err(MALFORMED),
                }
            }
            let number = pax::parse(&line).ok_or(MALFORMED);
            line.clear();
            number
        };
        let count = number()?;
        let mut map = Vec::new();
        for _ in 0..count {
            map.push(Extent { offset: number()?, length: number()? });
            if map.len() > MAP_LIMIT {
                break;
            }
        }
        self.check_map(map.len())?;
        self.finish_entry()?;
        let length = self.offset - start;
        if length > stored {
            return Err(Problem::Sparse("it is longer than the data"));
        }
        Ok((map, length))
    }

    fn check_map(&self, length: usize) -> Result<(), Problem> {
        if length > MAP_LIMIT {
            return Err(Problem::Sparse("it has more than a million data runs"));
        }
        Ok(())
    }
}

/// Data runs of one file; with it the memory for a hostile map is bounded.
const MAP_LIMIT: usize = 1_000_000;

#[cfg(test)]
mod tests;
