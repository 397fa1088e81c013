//! Disk images as QEMU sees them, and overlays that keep writes away from them.

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
        let json = Program::new("qemu-img").args(["info", "--output=json"]).arg(path).run()?;
        serde_json::from_slice(&json).map_err(|error| QemuError::UnknownImage {
            path: path.to_owned(),
            said: error.to_string(),
        })
    }
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
}
