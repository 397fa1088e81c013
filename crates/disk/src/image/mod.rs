//! Disk images of any format as a disk: what it is, and the guest's bytes with their holes.

mod cache;
mod error;
mod expand;
mod host;
mod map;

use std::fmt;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use blk::ReadAt;

pub(crate) use cache::Cache;
pub use error::OpenError;
pub(crate) use expand::{inflate, unzstd};
pub(crate) use host::Host;
pub(crate) use map::{Map, Mapped, Place};

use crate::{qcow2, vhd, vhdx, vmdk};

/// A format that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// The bytes themselves.
    Raw,
    /// QEMU copy-on-write, version 2 or 3.
    Qcow2,
    /// Virtual PC, Azure: fixed or dynamic.
    Vhd,
    /// Hyper-V since 2012.
    Vhdx,
    /// VMware.
    Vmdk,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vhd => "VHD",
            Self::Vhdx => "VHDX",
            Self::Vmdk => "VMDK",
        })
    }
}

/// What else an image may need.
pub trait Companions {
    /// Opens a file that lies beside the image. Names with a directory are never asked for.
    fn beside(&self, name: &str) -> io::Result<Box<dyn ReadAt>>;

    /// The image below the `depth`-th one, whose header calls it `name`; `None` if the user
    /// gave none. `raw` says that it must not be anything but raw.
    fn backing(
        &self,
        depth: usize,
        name: &str,
        raw: bool,
    ) -> Result<Option<Box<dyn ReadAt>>, OpenError>;
}

/// No other files: images that need some are refused.
#[derive(Debug, Clone, Copy)]
pub struct Alone;

impl Companions for Alone {
    fn beside(&self, _: &str) -> io::Result<Box<dyn ReadAt>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn backing(&self, _: usize, _: &str, _: bool) -> Result<Option<Box<dyn ReadAt>>, OpenError> {
        Ok(None)
    }
}

/// An opened image.
pub struct Opened {
    /// What the file is.
    pub format: Format,
    /// The guest's disk.
    pub disk: Box<dyn ReadAt>,
    /// All files it is read from, that of the image first; none where [`open`] was given bytes.
    pub files: Vec<OpenedFile>,
}

/// A file that was opened for an image.
#[derive(Debug, Clone)]
pub struct OpenedFile {
    /// By which name.
    pub path: PathBuf,
    /// What it was then; device and inode tell it from others.
    pub metadata: Metadata,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("format", &self.format).finish_non_exhaustive()
    }
}

/// Tells a file's format by its first bytes; a fixed VHD by its last sector.
pub fn recognise(file: &dyn ReadAt) -> io::Result<Format> {
    let size = file.size()?;
    let mut start = [0; 64];
    let length = size.min(start.len() as u64) as usize;
    file.read_exact_at(&mut start[..length], 0)?;
    if start.starts_with(&qcow2::MAGIC_BYTES) {
        return Ok(Format::Qcow2);
    }
    if start.starts_with(&vhdx::format::FILE_SIGNATURE) {
        return Ok(Format::Vhdx);
    }
    if vmdk::is_vmdk(&start) {
        return Ok(Format::Vmdk);
    }
    Ok(if vhd::is_vhd(file)? { Format::Vhd } else { Format::Raw })
}

/// What holds an image, or is one of a kind that is not read: where it is told by which bytes.
const FOREIGN: [(usize, &[u8], &str); 9] = [
    (0, &[0x1f, 0x8b], "something that gzip compressed: unpack it first"),
    (0, b"\xfd7zXZ\0", "something that xz compressed: unpack it first"),
    (0, &[0x28, 0xb5, 0x2f, 0xfd], "something that zstd compressed: unpack it first"),
    (0, b"PK\x03\x04", "a ZIP archive: unpack it first"),
    (257, b"ustar", "a tar archive: unpack it first; the disk of an OVA is the .vmdk inside"),
    (0, b"QED\0", "a QED image: convert it with qemu-img"),
    (64, &[0x7f, 0x10, 0xda, 0xbe], "a VDI image: convert it with qemu-img"),
    (0, b"WithoutFreeSpace", "a Parallels image: convert it with qemu-img"),
    (0, b"WithouFreSpacExt", "a Parallels image: convert it with qemu-img"),
];

/// What `file` is, if nobody can mean it as the bytes of a disk.
fn foreign(file: &dyn ReadAt) -> io::Result<Option<&'static str>> {
    let mut start = [0; 512];
    let length = file.size()?.min(start.len() as u64) as usize;
    file.read_exact_at(&mut start[..length], 0)?;
    let found = FOREIGN.iter().find(|(at, magic, _)| start[*at..].starts_with(magic));
    Ok(found.map(|(_, _, what)| *what))
}

/// Opens `file` as what it is, or as `format`.
pub fn open(
    file: Box<dyn ReadAt>,
    format: Option<Format>,
    companions: &dyn Companions,
) -> Result<Opened, OpenError> {
    open_at(file, format, companions, 0)
}

fn open_at(
    file: Box<dyn ReadAt>,
    format: Option<Format>,
    companions: &dyn Companions,
    depth: usize,
) -> Result<Opened, OpenError> {
    let failed = |source| OpenError::Io { format: Format::Raw, offset: 0, length: 512, source };
    let format = match format {
        Some(format) => format,
        None => match recognise(&*file).map_err(failed)? {
            Format::Raw => match foreign(&*file).map_err(failed)? {
                Some(what) => return Err(OpenError::Foreign { what }),
                None => Format::Raw,
            },
            format => format,
        },
    };
    let disk = match format {
        Format::Raw => file,
        Format::Qcow2 => qcow2::open(file, companions, depth)?,
        Format::Vhd => vhd::open(file)?,
        Format::Vhdx => vhdx::open(file)?,
        Format::Vmdk => vmdk::open(file, companions)?,
    };
    Ok(Opened { format, disk, files: Vec::new() })
}

/// The files of an image on this machine.
#[derive(Debug)]
pub struct Files {
    /// Where its other files lie; a device has none.
    directory: Option<PathBuf>,
    backing: Vec<PathBuf>,
    opened: Mutex<Vec<OpenedFile>>,
}

/// Opens the image at `path`. `backing` are the images below it, the topmost first: the name an
/// image gives its backing file is not followed, since an image from elsewhere could name anything.
pub fn open_path(
    path: &Path,
    format: Option<Format>,
    backing: &[PathBuf],
) -> Result<Opened, OpenError> {
    open_file(open_plain(path).map_err(OpenError::Open)?, path, format, backing)
}

/// As [`open_path`], with `file` opened already.
pub fn open_file(
    file: File,
    path: &Path,
    format: Option<Format>,
    backing: &[PathBuf],
) -> Result<Opened, OpenError> {
    let mut files =
        Files { directory: None, backing: backing.to_vec(), opened: Mutex::new(Vec::new()) };
    let metadata = files.remember(path, &file).map_err(OpenError::Open)?;
    if !metadata.file_type().is_block_device() {
        files.directory = Some(path.parent().map(Path::to_owned).unwrap_or_default());
    }
    let opened = open(Box::new(file), format, &files)?;
    Ok(Opened {
        files: files.opened.into_inner().unwrap_or_else(PoisonError::into_inner),
        ..opened
    })
}

/// Opens a file or a block device. Whoever opens a pipe waits for somebody at its other end.
fn open_plain(path: &Path) -> io::Result<File> {
    let kind = fs::metadata(path)?.file_type();
    if kind.is_file() || kind.is_block_device() {
        return File::open(path);
    }
    let what = "it is neither a file nor a block device";
    Err(io::Error::new(io::ErrorKind::InvalidInput, what))
}

impl Files {
    fn open(&self, path: &Path) -> io::Result<File> {
        let file = open_plain(path)?;
        self.remember(path, &file)?;
        Ok(file)
    }

    fn remember(&self, path: &Path, file: &File) -> io::Result<Metadata> {
        let metadata = file.metadata()?;
        let opened = OpenedFile { path: path.to_owned(), metadata: metadata.clone() };
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).push(opened);
        Ok(metadata)
    }
}

impl Companions for Files {
    fn beside(&self, name: &str) -> io::Result<Box<dyn ReadAt>> {
        let mut parts = Path::new(name).components();
        let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
        match &self.directory {
            Some(directory) if plain => Ok(Box::new(self.open(&directory.join(name))?)),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "only files in the directory of the image are opened",
            )),
        }
    }

    fn backing(
        &self,
        depth: usize,
        _: &str,
        raw: bool,
    ) -> Result<Option<Box<dyn ReadAt>>, OpenError> {
        let Some(path) = self.backing.get(depth) else { return Ok(None) };
        let below = |source| {
            let (format, name) = (Format::Qcow2, path.display().to_string());
            OpenError::Companion { format, name, source }
        };
        let file = self.open(path).map_err(below)?;
        let format = raw.then_some(Format::Raw);
        let opened = open_at(Box::new(file), format, self, depth + 1);
        Ok(Some(opened.map_err(|error| below(error.into()))?.disk))
    }
}
