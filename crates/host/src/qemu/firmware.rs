//! UEFI firmware for virtual machines (OVMF), found where distributions put it.

use std::path::{Path, PathBuf};

use super::nameless::Nameless;
use super::{Controller, QemuError};

/// Code and matching variable store, without secure boot, in the order of preference:
/// Debian and Ubuntu, Fedora and RHEL, Arch, openSUSE.
const PLACES: &[(&str, &str)] = &[
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
    ("/usr/share/edk2-ovmf/x64/OVMF_CODE.fd", "/usr/share/edk2-ovmf/x64/OVMF_VARS.fd"),
    ("/usr/share/qemu/ovmf-x86_64-code.bin", "/usr/share/qemu/ovmf-x86_64-vars.bin"),
];

/// EDK II left the drivers of pvscsi and MPT SCSI out in November 2022; Debian's ovmf-legacy has them.
const WITH_PVSCSI: &str = "/usr/share/ovmf/OVMF.legacy.fd";

/// The files of a UEFI firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firmware {
    /// The program; never written. None if it lies in one file with the variables.
    pub code: Option<PathBuf>,
    /// An empty variable store to copy.
    pub variables: PathBuf,
}

impl Firmware {
    /// Finds the installed firmware, for pvscsi one that has a driver for it if there is one.
    pub fn find(controller: Controller) -> Result<Firmware, QemuError> {
        let with_pvscsi = Path::new(WITH_PVSCSI);
        if controller == Controller::Pvscsi && with_pvscsi.is_file() {
            return Ok(Firmware::of_one_file(with_pvscsi));
        }
        PLACES
            .iter()
            .map(|(code, variables)| (Path::new(code), Path::new(variables)))
            .find(|(code, variables)| code.is_file() && variables.is_file())
            .map(|(code, variables)| Firmware {
                code: Some(code.to_owned()),
                variables: variables.to_owned(),
            })
            .ok_or_else(|| QemuError::NoFirmware {
                tried: PLACES.iter().map(|(code, _)| (*code).into()).collect(),
            })
    }

    /// A firmware that is one file, the content of a flash chip: EDK II's `OVMF.fd`.
    #[must_use]
    pub fn of_one_file(path: &Path) -> Firmware {
        Firmware { code: None, variables: path.to_owned() }
    }
}

/// A machine's own copy of the variable store, as its flash chip keeps it from boot to boot.
#[derive(Debug)]
pub struct Variables(Nameless);

impl Variables {
    /// A fresh copy; a throw-away file on the file system of `scratch`.
    pub fn new(firmware: &Firmware, scratch: &Path) -> Result<Variables, QemuError> {
        Nameless::copy_of(&firmware.variables, scratch).map(Variables)
    }

    pub(super) fn path(&self) -> PathBuf {
        self.0.path()
    }
}
