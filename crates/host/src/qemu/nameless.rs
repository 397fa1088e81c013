//! Files without a name, for other programs to open: they vanish with the last who holds them.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use super::QemuError;

/// An open file that stands in no directory.
#[derive(Debug)]
pub(super) struct Nameless(File);

impl Nameless {
    /// A new, empty file on the file system of `directory`.
    pub(super) fn new(directory: &Path) -> Result<Nameless, QemuError> {
        let file = tempfile::tempfile_in(directory)
            .map_err(|source| QemuError::File { path: directory.to_owned(), source })?;
        Ok(Nameless(file))
    }

    /// The same with the content of `path`.
    pub(super) fn copy_of(path: &Path, directory: &Path) -> Result<Nameless, QemuError> {
        let mut copy = Nameless::new(directory)?;
        File::open(path)
            .and_then(|mut original| io::copy(&mut original, &mut copy.0))
            .map_err(|source| QemuError::File { path: path.to_owned(), source })?;
        Ok(copy)
    }

    /// The same with the content `bytes`.
    pub(super) fn with(bytes: &[u8], directory: &Path) -> Result<Nameless, QemuError> {
        let mut file = Nameless::new(directory)?;
        io::Write::write_all(&mut file.0, bytes)
            .map_err(|source| QemuError::File { path: directory.to_owned(), source })?;
        Ok(file)
    }

    /// A path under which programs of the same user can open it while we live.
    pub(super) fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()).into()
    }
}
