//! Files that appear whole or not at all.

use std::collections::HashSet;
use std::fs::{File, Metadata};
use std::io::{self, BufWriter, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use blk::{ReadAt, WriteBehind};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open};
use tempfile::TempPath;
use tree::{Digest, Hasher};

use crate::failure::{Invalid, Misused, Refused};
use crate::fleeting::Fleeting;

/// Starts names that only last until a file has its own.
const TEMPORARY: &str = ".kldload-";
/// Bytes that are hashed at once: they stay in a processor's cache.
const HASHED: usize = 1 << 18;

/// Refuses files by which something would be lost, before any is begun: two of one name, one of `sources` or
/// in one of them, a directory; and without `replace` all that are there.
pub fn check_targets(
    targets: &[PathBuf],
    sources: &[PathBuf],
    replace: bool,
) -> anyhow::Result<()> {
    let mut places = HashSet::new();
    for target in targets {
        let place = place_of(target);
        let refused = |what| Err(Refused(format!("{} {what}", target.display())).into());
        if let Ok(there) = target.symlink_metadata() {
            if sources.iter().any(|source| is_source(&place, &there, source)) {
                return refused("is the source or a part of it; take another name");
            }
            if there.is_dir() {
                return refused("is a directory; take another name");
            }
            if !replace {
                return refused("is there already; take another --name, or --force replaces it");
            }
        }
        if !places.insert(place) {
            let what = "would be two of the outputs: give one of them another name";
            return Err(Misused(format!("{} {what}", target.display())).into());
        }
    }
    Ok(())
}

/// One spelling of a path, of which the last part need not exist and is not followed.
fn place_of(path: &Path) -> PathBuf {
    let directory = directory_of(path).canonicalize().ok();
    match directory.zip(path.file_name()) {
        Some((directory, name)) => directory.join(name),
        None => path.to_owned(),
    }
}

/// Whether what is at `place` is `source`, by any of its names, or lies in it.
fn is_source(place: &Path, there: &Metadata, source: &Path) -> bool {
    let same = |known: Metadata| (known.dev(), known.ino()) == (there.dev(), there.ino());
    source.metadata().is_ok_and(same)
        || source.symlink_metadata().is_ok_and(same)
        || source.canonicalize().is_ok_and(|source| source.is_dir() && place.starts_with(source))
}

/// A file without a name, which gets its name when it is complete. If the program ends before,
/// however it ends, nothing is left; but on file systems that know no files without names (NFS, exFAT) it
/// is called `.kldload-` and letters meanwhile, which SIGKILL and a power cut leave behind.
#[derive(Debug)]
pub struct OutputFile {
    file: File,
    path: PathBuf,
    /// Where the file system knows no unnamed files: the temporary name.
    named: Option<Fleeting>,
    /// Whether what has the name by then goes.
    replaces: bool,
}

impl OutputFile {
    /// Begins the file that will be called `path`, in place of what has that name; its directory must
    /// exist.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let directory = directory_of(path);
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let (file, named) = match open(&directory, flags, Mode::from_raw_mode(0o644)) {
            Ok(fd) => (File::from(fd), None),
            Err(_) => {
                let make = |path: &Path| {
                    File::options().read(true).write(true).create_new(true).open(path)
                };
                let (file, name) = temporary(&directory, make)
                    .with_context(|| format!("cannot create a file in {}", directory.display()))?;
                (file, Some(name))
            }
        };
        Ok(Self { file, path: path.to_owned(), named, replaces: true })
    }

    /// Never replaces a file, not even one that comes while this one is written.
    pub fn keeping(self) -> Self {
        Self { replaces: false, ..self }
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// What it will be called.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A buffer that fills the file from front to back.
    pub fn writer(&self) -> BufWriter<Appended<'_>> {
        let appended = Appended { file: &self.file, at: 0, behind: WriteBehind::default() };
        BufWriter::with_capacity(1 << 20, appended)
    }

    /// Gives the file its name.
    pub fn publish(self) -> anyhow::Result<PathBuf> {
        let (path, replaces) = (self.path.clone(), self.replaces);
        match self.place() {
            Ok(()) => Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !replaces => {
                let what = "came while it was written; --force replaces it";
                Err(Refused(format!("{} {what}", path.display())).into())
            }
            Err(error) => Err(error).with_context(|| format!("cannot write {}", path.display())),
        }
    }

    fn place(self) -> io::Result<()> {
        self.file.sync_all()?;
        let unnamed = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let link = |path: &Path| {
            linkat(CWD, &unnamed, CWD, path, AtFlags::SYMLINK_FOLLOW).map_err(io::Error::from)
        };
        let named = match self.named {
            Some(named) => named,
            None if !self.replaces => return link(&self.path),
            // A link cannot replace a file; a rename can. Nobody has the name in between.
            None => temporary(&directory_of(&self.path), link)?.1,
        };
        named.placed(|name| {
            let name = TempPath::try_from_path(name)?;
            let placed = match self.replaces {
                true => name.persist(&self.path),
                false => name.persist_noclobber(&self.path),
            };
            placed.map_err(|error| error.error)
        })
    }
}

/// What `make` makes under a name that nobody has in `directory`.
fn temporary<T>(
    directory: &Path,
    make: impl FnMut(&Path) -> io::Result<T>,
) -> io::Result<(T, Fleeting)> {
    Fleeting::file(|| {
        let made = tempfile::Builder::new().prefix(TEMPORARY).make_in(directory, make)?;
        made.keep().map_err(|error| error.error)
    })
}

/// A file that is written from front to back, and goes to the disk meanwhile.
#[derive(Debug)]
pub struct Appended<'a> {
    file: &'a File,
    at: u64,
    behind: WriteBehind,
}

impl Write for Appended<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = FileExt::write_at(self.file, bytes, self.at)?;
        self.at += written as u64;
        self.behind.wrote(self.file, self.at);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// SHA-256 of a file, holes included, which are not read; `progress` is told of each part's bytes. The
/// position that clones of the file share stays where it is.
pub fn sha256(file: &File, progress: &mut dyn FnMut(u64)) -> io::Result<Digest> {
    // Who looks for holes moves the position.
    let file = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let mut hasher = Hasher::default();
    let (zeros, mut chunk) = (vec![0; HASHED], vec![0; HASHED]);
    let size = file.size()?;
    let mut at = 0;
    while at < size {
        let data = file.next_data(at)?.unwrap_or(size..size);
        for (end, hole) in [(data.start, true), (data.end, false)] {
            while at < end {
                let length = usize::try_from(end - at).unwrap_or(HASHED).min(HASHED);
                if !hole {
                    ReadAt::read_exact_at(&file, &mut chunk[..length], at)?;
                }
                hasher.update(if hole { &zeros[..length] } else { &chunk[..length] });
                at += length as u64;
                progress(length as u64);
            }
        }
    }
    Ok(hasher.finish())
}

/// The directory that outputs go into. Directories that were made for it go away with this value,
/// unless something is in them: a refused or interrupted request leaves no trace.
#[derive(Debug)]
pub struct OutputDirectory {
    path: PathBuf,
    /// The lowest first, as they have to go.
    _made: Vec<Fleeting>,
}

impl OutputDirectory {
    /// Makes `path`, and what is missing above it. A file in its place is a mistake in what is asked, unlike
    /// what only forbids to write there today.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        if let Some(file) =
            path.ancestors().find(|path| path.exists()).filter(|path| path.is_file())
        {
            let told = format!("cannot write to {}: {} is a file", path.display(), file.display());
            return Err(Invalid(told).into());
        }
        let missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
        let mut missing: Vec<_> = path.ancestors().take_while(missing).collect();
        let mut made = Vec::new();
        while let Some(path) = missing.pop() {
            match Fleeting::directory(path) {
                Ok(directory) => made.insert(0, directory),
                // Somebody else makes directories too.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot create {}", path.display()));
                }
            }
        }
        Ok(Self { path: path.to_owned(), _made: made })
    }

    /// Finds out whether files can be made in it. Nothing is left of the attempt.
    pub fn check(&self) -> anyhow::Result<()> {
        OutputFile::create(&self.path.join("check")).map(drop)
    }
}

fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, SeekFrom};

    use super::*;

    /// What the process has read with system calls so far.
    fn read_bytes() -> u64 {
        let text = std::fs::read_to_string("/proc/self/io").unwrap();
        text.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
    }

    #[test]
    fn holes_are_hashed_and_not_read() {
        const SIZE: u64 = 64 << 20;
        let mut file = tempfile::tempfile().unwrap();
        file.set_len(SIZE).unwrap();
        FileExt::write_all_at(&file, b"pears", 3 << 20).unwrap();
        FileExt::write_all_at(&file, b"plums", SIZE - 5).unwrap();
        file.seek(SeekFrom::Start(7)).unwrap();
        let (before, mut progress) = (read_bytes(), 0);
        let found = sha256(&file, &mut |bytes| progress += bytes).unwrap();
        let read = read_bytes() - before;
        assert_eq!((progress, file.stream_position().unwrap()), (SIZE, 7));
        // Other tests read meanwhile, but not that much.
        assert!(read < SIZE / 2, "{read} bytes were read");
        let mut whole = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut whole).unwrap();
        assert_eq!(found, Digest::of(&whole));
        // Data first, a hole at the end; nothing at all.
        file.set_len(0).unwrap();
        assert_eq!(sha256(&file, &mut |_| ()).unwrap(), Digest::of(b""));
        FileExt::write_all_at(&file, b"x", 0).unwrap();
        file.set_len(1 << 20).unwrap();
        whole.truncate(1 << 20);
        whole.fill(0);
        whole[0] = b'x';
        assert_eq!(sha256(&file, &mut |_| ()).unwrap(), Digest::of(&whole));
    }
}
