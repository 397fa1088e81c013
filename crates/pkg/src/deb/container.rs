//! `.deb` files (deb(5)): an ar archive of `debian-binary`, `control.tar.*` and `data.tar.*`.
//!
//! Read from a stream in one pass: [`Deb::open`] takes in the control files, [`Deb::data`] then hands
//! the decompressed tar of the files to whoever unpacks it. Members whose name starts with `_` are
//! passed over, as dpkg does. Not supported: the format before 2.0, `data.tar.lzma`.

use std::io::{self, Read};

use archive::ar::{self, ArError, Member};
use archive::compress::{self, Peek};
use archive::tar::{self, EntryKind, TarError};
use thiserror::Error;

/// Most bytes of control files together; Debian's largest have some MiB of `md5sums`.
const CONTROL_LIMIT: u64 = 64 << 20;

/// Why a `.deb` cannot be read.
#[derive(Debug, Error)]
pub enum DebError {
    /// It is not an ar archive, or a damaged one.
    #[error(transparent)]
    Ar(#[from] ArError),
    /// A tar archive in it is damaged.
    #[error("{member}: {source}")]
    Tar {
        /// Name of the member.
        member: String,
        /// What is wrong.
        source: TarError,
    },
    /// A member cannot be read or decompressed.
    #[error("{member}: {source}")]
    Io {
        /// Name of the member.
        member: String,
        /// The error.
        source: io::Error,
    },
    /// Another member was expected.
    #[error("at byte {offset}: the member {found:?} where {expected} was expected")]
    Member {
        /// Where the member starts.
        offset: u64,
        /// Its name.
        found: String,
        /// What should be there.
        expected: &'static str,
    },
    /// The archive ends too early.
    #[error("the archive ends before {0}")]
    Missing(&'static str),
    /// `debian-binary` is of a format that is not known.
    #[error("debian-binary says {0:?}; only format 2 is known")]
    Format(String),
    /// A member is compressed in a way that is not known.
    #[error("{0}: this compression is not known")]
    Compression(String),
    /// The control files are too large.
    #[error("{0}: control files of more than {limit} MiB", limit = CONTROL_LIMIT >> 20)]
    TooLarge(String),
    /// There is no control file, or it is no text.
    #[error("{0}: there is no file \"control\", or it is not UTF-8")]
    NoControl(String),
}

/// One file of `control.tar`: `control`, a maintainer script, `conffiles`, `md5sums` …
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlFile {
    /// Its name, without directory.
    pub name: String,
    /// Permission bits.
    pub mode: u32,
    /// Its content.
    pub content: Vec<u8>,
}

/// An opened `.deb`, its control files read.
#[derive(Debug)]
pub struct Deb<R> {
    archive: ar::Reader<R>,
    member: String,
    files: Vec<ControlFile>,
    control: String,
}

impl<R: Read> Deb<R> {
    /// Reads up to the end of the control files.
    pub fn open(input: R) -> Result<Self, DebError> {
        let mut archive = ar::Reader::new(input)?;
        let first = next(&mut archive, "debian-binary")?;
        if first.name != "debian-binary" {
            return Err(unexpected(first, "debian-binary"));
        }
        let mut format = Vec::new();
        let io_error = |source| DebError::Io { member: "debian-binary".to_owned(), source };
        (&mut archive).take(first.size.min(64)).read_to_end(&mut format).map_err(io_error)?;
        if !format.starts_with(b"2.") {
            return Err(DebError::Format(String::from_utf8_lossy(&format).trim().to_owned()));
        }
        let member = next(&mut archive, "control.tar")?;
        check_name(&member, "control.tar", &["", ".gz", ".xz", ".zst"])?;
        let files = read_control(&mut archive, &member)?;
        let control = files
            .iter()
            .find(|file| file.name == "control")
            .and_then(|file| String::from_utf8(file.content.clone()).ok())
            .ok_or_else(|| DebError::NoControl(member.name.clone()))?;
        Ok(Self { archive, member: member.name, files, control })
    }

    /// The text of `control`; for [`paragraphs`](super::paragraphs) and
    /// [`Package::from_paragraph`](super::Package::from_paragraph).
    pub fn control(&self) -> &str {
        &self.control
    }

    /// All control files in the order of the archive.
    pub fn files(&self) -> &[ControlFile] {
        &self.files
    }

    /// The control file of this name.
    pub fn file(&self, name: &str) -> Option<&ControlFile> {
        self.files.iter().find(|file| file.name == name)
    }

    /// Name of the member that the control files came from, as `control.tar.xz`.
    pub fn control_member(&self) -> &str {
        &self.member
    }

    /// Gives the decompressed tar archive of the package's files to `read`, and returns what that
    /// returns. What `read` leaves is not looked at.
    pub fn data<T>(mut self, read: impl FnOnce(&mut dyn Read) -> T) -> Result<T, DebError> {
        let member = next(&mut self.archive, "data.tar")?;
        check_name(&member, "data.tar", &["", ".gz", ".xz", ".zst", ".bz2"])?;
        let mut peek = Peek::new((&mut self.archive).take(member.size));
        let mut decoder = compress::decoder(&mut peek)
            .map_err(|source| DebError::Io { member: member.name, source })?;
        Ok(read(&mut *decoder))
    }
}

/// The next member that means something.
fn next<R: Read>(archive: &mut ar::Reader<R>, wanted: &'static str) -> Result<Member, DebError> {
    loop {
        let member = archive.next_member()?.ok_or(DebError::Missing(wanted))?;
        if !member.name.starts_with('_') {
            return Ok(member);
        }
    }
}

fn unexpected(member: Member, expected: &'static str) -> DebError {
    DebError::Member { offset: member.offset, found: member.name, expected }
}

fn check_name(member: &Member, stem: &'static str, endings: &[&str]) -> Result<(), DebError> {
    match member.name.strip_prefix(stem) {
        Some(ending) if endings.contains(&ending) => Ok(()),
        Some(_) => Err(DebError::Compression(member.name.clone())),
        None => Err(unexpected(member.clone(), stem)),
    }
}

fn read_control<R: Read>(
    archive: &mut ar::Reader<R>,
    member: &Member,
) -> Result<Vec<ControlFile>, DebError> {
    let Member { name, size, .. } = member;
    let io_error = |source| DebError::Io { member: name.clone(), source };
    let tar_error = |source| DebError::Tar { member: name.clone(), source };
    let mut peek = Peek::new(archive.take(*size));
    let decoder = compress::decoder(&mut peek).map_err(io_error)?;
    let mut reader = tar::Reader::new(decoder.take(2 * CONTROL_LIMIT));
    let mut files = Vec::new();
    let mut total = 0;
    while let Some(entry) = reader.next_entry().map_err(tar_error)? {
        let EntryKind::File { data_size, .. } = entry.kind else { continue };
        total += data_size;
        if total > CONTROL_LIMIT || files.len() > 4096 {
            return Err(DebError::TooLarge(name.clone()));
        }
        let mut content = Vec::new();
        loop {
            let chunk = reader.chunk().map_err(tar_error)?;
            if chunk.is_empty() {
                break;
            }
            content.extend_from_slice(chunk);
        }
        let path = String::from_utf8_lossy(&entry.path).into_owned();
        let name = path.strip_prefix("./").unwrap_or(&path).to_owned();
        files.push(ControlFile { name, mode: u32::from(entry.metadata.mode) & 0o7777, content });
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tar archive with one file.
    fn tar(name: &str, content: &[u8]) -> Vec<u8> {
        let mut block = vec![0; 512];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[100..107].copy_from_slice(b"0000644");
        block[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        block[156] = b'0';
        block[257..265].copy_from_slice(b"ustar\x0000");
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block.extend(content);
        block.resize(block.len().next_multiple_of(512) + 1024, 0);
        block
    }

    fn deb(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = ar::MAGIC.to_vec();
        for (name, content) in members {
            bytes.extend(
                format!("{name:<16}0           0     0     100644  {:<10}`\n", content.len())
                    .bytes(),
            );
            bytes.extend(*content);
            bytes.resize(bytes.len().next_multiple_of(2), b'\n');
        }
        bytes
    }

    #[test]
    fn members_in_their_order() {
        let (control, data) = (tar("./control", b"Package: a\n"), tar("./usr/x", b"x"));
        let bytes = deb(&[
            ("debian-binary", b"2.0\n"),
            ("_later", b"odd"),
            ("control.tar", &control),
            ("data.tar", &data),
            ("after", b""),
        ]);
        let deb = Deb::open(&bytes[..]).unwrap();
        assert_eq!((deb.control(), deb.control_member()), ("Package: a\n", "control.tar"));
        assert_eq!(deb.file("control").unwrap().mode, 0o644);
        let read = deb.data(|tar| io::read_to_string(tar).unwrap().len()).unwrap();
        assert_eq!(read, data.len());
    }

    #[test]
    fn what_is_no_deb() {
        let control = tar("control", b"x");
        let nothing = tar("x", b"");
        let binary = ("debian-binary", &b"2.0\n"[..]);
        for (members, message) in [
            (vec![], "ends before debian-binary"),
            (vec![("x", &b""[..])], "the member \"x\" where debian-binary"),
            (vec![("debian-binary", b"3.0\n")], "says \"3.0\""),
            (vec![binary], "ends before control.tar"),
            (vec![binary, ("control.tar.lz", b"")], "control.tar.lz: this compression"),
            (vec![binary, ("data.tar", b"")], "where control.tar was"),
            (vec![binary, ("control.tar", &nothing)], "no file \"control\""),
            (vec![binary, ("control.tar", &control[..600])], "control.tar: "),
        ] {
            let error = Deb::open(&deb(&members)[..]).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
        let whole = deb(&[binary, ("control.tar", &control), ("data.tar.lzma", b"")]);
        let error = Deb::open(&whole[..]).unwrap().data(|_| ()).unwrap_err().to_string();
        assert!(error.contains("data.tar.lzma: this compression"));
    }
}
