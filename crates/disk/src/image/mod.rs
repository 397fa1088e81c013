//! Disk images of any format as a disk: what it is, and the guest's bytes with their holes.

mod cache;
mod error;
mod expand;
mod host;
mod map;

use std::fmt;
use std::fs::{File, Metadata};
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
    let format = match format {
        Some(format) => format,
        None => recognise(&*file).map_err(|source| OpenError::Io {
            format: Format::Raw,
            offset: 0,
            length: 64,
            source,
        })?,
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
    let file = File::open(path).map_err(|source| companion(format, path, source))?;
    open_file(file, path, format, backing)
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
    let metadata = files.remember(path, &file).map_err(|source| companion(format, path, source))?;
    if !metadata.file_type().is_block_device() {
        files.directory = Some(path.parent().map(Path::to_owned).unwrap_or_default());
    }
    let opened = open(Box::new(file), format, &files)?;
    Ok(Opened {
        files: files.opened.into_inner().unwrap_or_else(PoisonError::into_inner),
        ..opened
    })
}

fn companion(format: Option<Format>, path: &Path, source: io::Error) -> OpenError {
    let format = format.unwrap_or(Format::Raw);
    OpenError::Companion { format, name: path.display().to_string(), source }
}

impl Files {
    fn open(&self, path: &Path) -> io::Result<File> {
        let file = File::open(path)?;
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
        let file =
            self.open(path).map_err(|source| companion(Some(Format::Qcow2), path, source))?;
        let format = raw.then_some(Format::Raw);
        Ok(Some(open_at(Box::new(file), format, self, depth + 1)?.disk))
    }
}
