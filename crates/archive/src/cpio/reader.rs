//! Reads archives and whole initramfs images, entry by entry.

use std::io::{self, BufRead, Read};
use std::ops::ControlFlow;

use thiserror::Error;
use tree::Device;

use super::format::{ALIGNMENT, Header, LENGTH, NAME_LIMIT, TRAILER};
use crate::compress::{Format, MAGIC_LENGTH, Peek};

/// Why reading stopped. Offsets are in bytes: in the file, or, where `segment` is given, in what the
/// compressed segment that starts there in the file decompresses to.
#[derive(Debug, Error)]
pub enum CpioError {
    /// Reading failed, or the visitor failed.
    #[error("cannot read the archive: {0}")]
    Io(#[from] io::Error),
    /// Compressed data is damaged.
    #[error("{}: cannot decompress: {source}", place(*.offset, .segment))]
    Decompress {
        /// How much was decompressed before.
        offset: u64,
        /// Where the compressed segment starts.
        segment: Option<u64>,
        /// What the decoder says.
        source: io::Error,
    },
    /// The data ends inside an archive.
    #[error("{}: the data ends inside a cpio archive; it is truncated", place(*.offset, .segment))]
    Truncated {
        /// Where the data ends.
        offset: u64,
        /// The compressed segment.
        segment: Option<u64>,
    },
    /// What should be a header is none.
    #[error("{}: this is not a header of a cpio archive (newc)", place(*.offset, .segment))]
    Header {
        /// Where the header should be.
        offset: u64,
        /// The compressed segment.
        segment: Option<u64>,
    },
    /// A name that is empty, not closed by a NUL, or too long.
    #[error("{}: the name of {length} bytes is not possible", place(*.offset, .segment))]
    Name {
        /// Where the header is.
        offset: u64,
        /// The compressed segment.
        segment: Option<u64>,
        /// Length of the name, its NUL included.
        length: u32,
    },
    /// The sum over a file's data is wrong.
    #[error("{}: the checksum of {name:?} is wrong", place(*.offset, .segment))]
    Checksum {
        /// Where the header is.
        offset: u64,
        /// The compressed segment.
        segment: Option<u64>,
        /// Name of the entry.
        name: String,
    },
    /// Between archives there is something else than zeros and compressed archives.
    #[error("{}: neither a cpio archive (newc) nor one compressed by gzip, xz, zstd, bzip2 or lz4",
        place(*.offset, .segment))]
    Junk {
        /// Where it is.
        offset: u64,
        /// The compressed segment.
        segment: Option<u64>,
    },
}

fn place(offset: u64, segment: &Option<u64>) -> String {
    match segment {
        None => format!("at byte {offset}"),
        Some(segment) => format!("at byte {offset} of the archive compressed at byte {segment}"),
    }
}

/// One entry of an archive.
///
/// Names of one hard-linked file share `device` and `inode`; usually only the last one has data.
pub struct Entry<'a> {
    /// Name as the archive has it; not checked in any way.
    pub path: Vec<u8>,
    /// File type and permissions, as in `st_mode`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime: u32,
    /// Number of links.
    pub links: u32,
    /// Inode number.
    pub inode: u32,
    /// Device the file was on.
    pub device: Device,
    /// What a device node stands for.
    pub rdev: Device,
    /// Length of the data in bytes.
    pub size: u64,
    /// Content of a file or target of a symbolic link; it may be left unread.
    pub data: &'a mut dyn Read,
}

impl std::fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = String::from_utf8_lossy(&self.path);
        write!(f, "Entry {{ {path:?}, mode {:o}, {} bytes }}", self.mode, self.size)
    }
}

/// Type bits of [`Entry::mode`].
const TYPE: u32 = 0o170_000;

impl Entry<'_> {
    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.mode & TYPE == 0o100_000
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.mode & TYPE == 0o040_000
    }

    /// Whether it is a symbolic link, whose target is the data.
    pub fn is_symlink(&self) -> bool {
        self.mode & TYPE == 0o120_000
    }
}

/// What is called for every entry; it may stop the reading early.
pub type Visit<'a> = dyn FnMut(&mut Entry<'_>) -> Result<ControlFlow<()>, CpioError> + 'a;

/// Reads what Linux accepts as an initramfs: any number of archives one after the other, each plain
/// or in a compressed stream (which may hold several), with zeros between them.
pub fn read_initramfs(input: impl Read, visit: &mut Visit<'_>) -> Result<(), CpioError> {
    let mut input = Peek::new(input);
    while let Some(start) = next_start(&mut input)? {
        let offset = input.offset();
        let flow = if start == b'0' && offset.is_multiple_of(ALIGNMENT) {
            read_archive(&mut input, None, visit)?
        } else {
            let format = Format::of(input.peek(MAGIC_LENGTH)?)
                .ok_or(CpioError::Junk { offset, segment: None })?;
            let decoder = format.member(&mut input)?;
            read_segment(&mut Peek::new(decoder), offset, visit)?
        };
        if flow.is_break() {
            break;
        }
    }
    Ok(())
}

/// The archives inside one compressed stream that starts at `segment`.
fn read_segment<R: Read>(
    input: &mut Peek<R>,
    segment: u64,
    visit: &mut Visit<'_>,
) -> Result<ControlFlow<()>, CpioError> {
    let segment = Some(segment);
    loop {
        let start = next_start(input);
        let offset = input.offset();
        match start.map_err(|source| CpioError::Decompress { offset, segment, source })? {
            None => return Ok(ControlFlow::Continue(())),
            Some(b'0') if offset.is_multiple_of(ALIGNMENT) => {
                if read_archive(input, segment, visit)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Some(_) => return Err(CpioError::Junk { offset, segment }),
        }
    }
}

/// Skips zeros; the next byte, if there is one.
fn next_start<R: Read>(input: &mut Peek<R>) -> io::Result<Option<u8>> {
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok(None);
        }
        let zeros = buffer.iter().take_while(|&&byte| byte == 0).count();
        let next = buffer.get(zeros).copied();
        input.consume(zeros);
        if next.is_some() {
            return Ok(next);
        }
    }
}

/// One archive up to its trailer.
fn read_archive<R: Read>(
    input: &mut Peek<R>,
    segment: Option<u64>,
    visit: &mut Visit<'_>,
) -> Result<ControlFlow<()>, CpioError> {
    let mut input = Place { input, segment };
    loop {
        let offset = input.input.offset();
        let mut bytes = [0; LENGTH];
        input.read_exact(&mut bytes)?;
        let header = Header::parse(&bytes).ok_or(CpioError::Header { offset, segment })?;
        let name_error = CpioError::Name { offset, segment, length: header.name_size };
        if !(2..=NAME_LIMIT).contains(&header.name_size) {
            return Err(name_error);
        }
        let mut path = vec![0; header.name_size as usize];
        input.read_exact(&mut path)?;
        if path.pop() != Some(0) || path.contains(&0) {
            return Err(name_error);
        }
        input.align()?;
        if path == TRAILER {
            return Ok(ControlFlow::Continue(()));
        }
        let name = String::from_utf8_lossy(&path).into_owned();
        let mut data = Data { input: &mut input, remaining: header.size.into(), sum: 0 };
        let flow = visit(&mut Entry {
            path,
            mode: header.mode,
            uid: header.uid,
            gid: header.gid,
            mtime: header.mtime,
            links: header.links,
            inode: header.inode,
            device: header.device,
            rdev: header.rdev,
            size: header.size.into(),
            data: &mut data,
        })?;
        if flow.is_break() {
            return Ok(flow);
        }
        data.skip()?;
        if header.has_sum && header.size > 0 && data.sum != header.sum {
            return Err(CpioError::Checksum { offset, segment, name });
        }
        input.align()?;
    }
}

/// The input with what messages need.
struct Place<'a, R> {
    input: &'a mut Peek<R>,
    segment: Option<u64>,
}

impl<R: Read> Place<'_, R> {
    fn failed(&self, source: io::Error) -> CpioError {
        let (offset, segment) = (self.input.offset(), self.segment);
        match segment {
            _ if source.kind() == io::ErrorKind::UnexpectedEof => {
                CpioError::Truncated { offset, segment }
            }
            None => CpioError::Io(source),
            Some(_) => CpioError::Decompress { offset, segment, source },
        }
    }

    fn read_exact(&mut self, bytes: &mut [u8]) -> Result<(), CpioError> {
        self.input.read_exact(bytes).map_err(|error| self.failed(error))
    }

    fn align(&mut self) -> Result<(), CpioError> {
        let offset = self.input.offset();
        let padding = offset.next_multiple_of(ALIGNMENT) - offset;
        self.read_exact(&mut [0; ALIGNMENT as usize][..padding as usize])
    }
}

/// The data of one entry; an early end is an error.
struct Data<'a, 'b, R> {
    input: &'a mut Place<'b, R>,
    remaining: u64,
    sum: u32,
}

impl<R: Read> Data<'_, '_, R> {
    fn skip(&mut self) -> Result<(), CpioError> {
        match io::copy(self, &mut io::sink()) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.input.failed(error)),
        }
    }
}

impl<R: Read> Read for Data<'_, '_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        let read = self.input.input.read(&mut buffer[..wanted])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.remaining -= read as u64;
        self.sum = buffer[..read].iter().fold(self.sum, |sum, &b| sum.wrapping_add(b.into()));
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
