//! Disk images as QEMU sees them, and overlays that keep writes away from them.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::nameless::Nameless;
use super::{QemuError, machine};
use crate::command::Program;

/// What `qemu-img info` tells about an image.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ImageInfo {
    /// The format by QEMU's name for it: `raw`, `qcow2`, `vmdk`, `vpc`, `vhdx`.
    pub format: String,
    /// The size of the disk that the guest sees, in bytes.
    #[serde(rename = "virtual-size")]
    pub virtual_size: u64,
}

impl ImageInfo {
    /// Asks `qemu-img` about the image at `path`.
    pub fn read(path: &Path) -> Result<ImageInfo, QemuError> {
        let fixed_vhd = is_fixed_vhd(path)
            .map_err(|source| QemuError::File { path: path.to_owned(), source })?;
        // It looks at the beginning only, and takes that one for a raw disk with a footer's worth more.
        Self::ask(path, fixed_vhd.then_some("vpc"))
    }

    /// Asks `qemu-img` about the image at `path`, which has the format that QEMU calls `format`.
    pub fn read_as(path: &Path, format: &str) -> Result<ImageInfo, QemuError> {
        Self::ask(path, Some(format))
    }

    fn ask(path: &Path, format: Option<&str>) -> Result<ImageInfo, QemuError> {
        let told = format.iter().flat_map(|format| ["-f", format]);
        let info = Program::new("qemu-img").args(["info", "--output=json"]).args(told);
        let json = info.arg(as_file(path)).run()?;
        serde_json::from_slice(&json).map_err(|error| QemuError::UnknownImage {
            path: path.to_owned(),
            said: error.to_string(),
        })
    }
}

/// The path of a file in words that QEMU takes for nothing else: what comes before a colon it takes for a
/// protocol, unless a slash comes first.
fn as_file(path: &Path) -> PathBuf {
    if path.is_absolute() { path.to_owned() } else { Path::new(".").join(path) }
}

/// Whether the footer of a virtual hard disk is at the end, and nothing of it at the beginning.
fn is_fixed_vhd(path: &Path) -> io::Result<bool> {
    const COOKIE: [u8; 8] = *b"conectix";
    let mut file = File::open(path)?;
    let Some(footer) = file.seek(SeekFrom::End(0))?.checked_sub(512).filter(|at| *at > 0) else {
        return Ok(false);
    };
    let cookie_at = |at| {
        let mut cookie = [0; COOKIE.len()];
        file.read_exact_at(&mut cookie, at).map(|()| cookie == COOKIE)
    };
    Ok(cookie_at(footer)? && !cookie_at(0)?)
}

/// A throw-away layer over an image: a machine writes here, the image stays as it is.
///
/// It outlives the machine, so it can be started again from it, but not our process.
#[derive(Debug)]
pub struct Overlay {
    file: Nameless,
    size: u64,
}

impl Overlay {
    /// An overlay over the image at `path`, whose disk is larger than the image's by `growth` bytes.
    ///
    /// What is written needs space on the file system of `scratch`.
    pub fn new(
        path: &Path,
        info: &ImageInfo,
        growth: u64,
        scratch: &Path,
    ) -> Result<Overlay, QemuError> {
        // The backing file's name is looked up relative to the overlay, which has no directory.
        let absolute = path
            .canonicalize()
            .map_err(|source| QemuError::File { path: path.to_owned(), source })?;
        let size = info.virtual_size.saturating_add(growth);
        let file = Nameless::new(scratch)?;
        Program::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2", "-F", &info.format, "-b"])
            .arg(absolute)
            .arg(file.path())
            .arg(size.to_string())
            .run()?;
        Ok(Overlay { file, size })
    }

    /// The size of the disk, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The overlay as a disk of a machine.
    #[must_use]
    pub fn disk(&self, controller: machine::Controller) -> machine::Disk {
        machine::Disk { path: self.path(), format: "qcow2".into(), controller }
    }

    fn path(&self) -> PathBuf {
        self.file.path()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_qemu_img_says() {
        let json = r#"{"virtual-size": 3221225472, "filename": "x", "format": "qcow2",
                       "actual-size": 1, "dirty-flag": false}"#;
        let info: ImageInfo = serde_json::from_str(json).unwrap();
        assert_eq!(info.format, "qcow2");
        assert_eq!(info.virtual_size, 3 << 30);
    }

    #[test]
    fn a_colon_makes_no_protocol() {
        assert_eq!(as_file(Path::new("a:b.qcow2")), Path::new("./a:b.qcow2"));
        assert_eq!(as_file(Path::new("/a:b.qcow2")), Path::new("/a:b.qcow2"));
    }
}
