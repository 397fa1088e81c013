//! ar archives in the common form, as `.deb` files are: short names, members in a row.
//!
//! The format is that of `ar(5)`. Not supported: the long names of GNU (`/12`) and BSD (`#1/12`),
//! symbol tables as such (they are members like others), thin archives.

use std::io::{self, Read};

use thiserror::Error;

/// What an archive starts with.
pub const MAGIC: &[u8; 8] = b"!<arch>\n";

const HEADER: usize = 60;

/// One member's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Where its header starts, in bytes of the archive.
    pub offset: u64,
    /// Name without padding and without the slash that GNU puts behind it.
    pub name: String,
    /// Time of modification, in seconds since 1970.
    pub mtime: u64,
    /// Length of the content in bytes.
    pub size: u64,
}

/// Why an archive cannot be read.
#[derive(Debug, Error)]
#[error("at byte {offset}: {problem}")]
pub struct ArError {
    /// Where, in bytes of the archive.
    pub offset: u64,
    /// What is wrong.
    pub problem: ArProblem,
}

/// What is wrong with an archive.
#[derive(Debug, Error)]
pub enum ArProblem {
    /// The first bytes are others.
    #[error("this is not an ar archive: it does not start with \"!<arch>\"")]
    Magic,
    /// The header of a member is damaged.
    #[error("the member's header is damaged: {what} is {value:?}")]
    Header {
        /// Which field.
        what: &'static str,
        /// What is in it.
        value: String,
    },
    /// The archive ends within a member.
    #[error("the archive ends within a member; was the download complete?")]
    Truncated,
    /// The archive could not be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads the members of an archive from a stream, one after the other.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    offset: u64,
    /// Content of the current member that is still to come.
    remaining: u64,
    /// Whether a byte of padding follows it.
    padded: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the archive that starts at the next byte of `input`.
    pub fn new(mut input: R) -> Result<Self, ArError> {
        let mut magic = [0; MAGIC.len()];
        match input.read_exact(&mut magic) {
            Ok(()) if magic == *MAGIC => {}
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                return Err(ArError { offset: 0, problem: error.into() });
            }
            _ => return Err(ArError { offset: 0, problem: ArProblem::Magic }),
        }
        Ok(Self { input, offset: MAGIC.len() as u64, remaining: 0, padded: false })
    }

    /// The next member, `None` after the last. What was not read of the current one is skipped. Its
    /// content is what [`Read`] gives until then.
    pub fn next_member(&mut self) -> Result<Option<Member>, ArError> {
        self.skip().map_err(|problem| ArError { offset: self.offset, problem })?;
        let offset = self.offset;
        self.header(offset).map_err(|problem| ArError { offset, problem })
    }

    fn skip(&mut self) -> Result<(), ArProblem> {
        let rest = self.remaining + u64::from(self.padded);
        let skipped = io::copy(&mut (&mut self.input).take(rest), &mut io::sink())?;
        self.offset += skipped;
        // The padding of the last member is missing in some archives.
        if skipped < self.remaining {
            return Err(ArProblem::Truncated);
        }
        (self.remaining, self.padded) = (0, false);
        Ok(())
    }

    fn header(&mut self, offset: u64) -> Result<Option<Member>, ArProblem> {
        let mut header = Vec::with_capacity(HEADER);
        (&mut self.input).take(HEADER as u64).read_to_end(&mut header)?;
        self.offset += header.len() as u64;
        let Ok(header) = <[u8; HEADER]>::try_from(&header[..]) else {
            return if header.is_empty() { Ok(None) } else { Err(ArProblem::Truncated) };
        };
        let field =
            |from: usize, to: usize| String::from_utf8_lossy(&header[from..to]).into_owned();
        let bad = |what, value| ArProblem::Header { what, value };
        if header[58..] != *b"`\n" {
            return Err(bad("its end", field(58, 60)));
        }
        let number = |what, from, to| {
            let text = field(from, to);
            let digits = text.trim_end_matches(' ');
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(bad(what, text));
            }
            digits.parse::<u64>().map_err(|_| bad(what, digits.to_owned()))
        };
        let size = number("the size", 48, 58)?;
        let mtime = number("the time", 16, 28)?;
        let name = field(0, 16);
        let name = name.trim_end_matches(' ');
        let name = name.strip_suffix('/').unwrap_or(name);
        if name.is_empty() || name.starts_with('/') || name.starts_with("#1/") {
            return Err(bad("the name", field(0, 16)));
        }
        (self.remaining, self.padded) = (size, size % 2 == 1);
        Ok(Some(Member { offset, name: name.to_owned(), mtime, size }))
    }
}

impl<R: Read> Read for Reader<R> {
    /// Content of the current member; an error if the archive ends within it.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.input.read(&mut buffer[..count])?;
        if read == 0 && count > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.offset += read as u64;
        self.remaining -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for (name, content) in members {
            let header = format!("{name:<16}{:<12}0     0     100644  {:<10}`\n", 7, content.len());
            bytes.extend(header.bytes());
            bytes.extend(*content);
            if content.len() % 2 == 1 {
                bytes.push(b'\n');
            }
        }
        bytes
    }

    #[test]
    fn members_read_or_skipped() {
        let bytes = archive(&[("a/", b"odd"), ("skipped", b"12"), ("b", b"even")]);
        let mut reader = Reader::new(&bytes[..]).unwrap();
        let a = reader.next_member().unwrap().unwrap();
        assert_eq!((a.offset, &*a.name, a.mtime, a.size), (8, "a", 7, 3));
        assert_eq!(io::read_to_string(&mut reader).unwrap(), "odd");
        reader.next_member().unwrap().unwrap();
        let b = reader.next_member().unwrap().unwrap();
        assert_eq!(b.name, "b");
        assert_eq!(io::read_to_string(&mut reader).unwrap(), "even");
        assert!(reader.next_member().unwrap().is_none());
    }

    #[test]
    fn damage_is_told_with_its_place() {
        let message = |bytes: &[u8]| {
            let mut reader = match Reader::new(bytes) {
                Ok(reader) => reader,
                Err(error) => return error.to_string(),
            };
            loop {
                match reader.next_member() {
                    Ok(Some(_)) => {}
                    Ok(None) => return "fine".to_owned(),
                    Err(error) => return error.to_string(),
                }
            }
        };
        let good = archive(&[("a", b"odd")]);
        assert_eq!(message(&good), "fine");
        assert_eq!(message(&good[..good.len() - 1]), "fine", "no padding");
        assert!(message(b"!<arc").contains("not an ar archive"));
        assert!(message(&good[..70]).contains("at byte 70: the archive ends within"));
        assert!(message(&good[..30]).contains("at byte 8: the archive ends within"));
        let mut sized = good.clone();
        sized[56..58].copy_from_slice(b"-1");
        assert!(message(&sized).contains("at byte 8: the member's header is damaged: the size is"));
        let mut long = good;
        long[8..10].copy_from_slice(b"/1");
        assert!(message(&long).contains("the name is \"/1"));
    }
}
