//! Virtual machines in QEMU: described as data, started, driven over their serial console.
//!
//! A machine is a PC (q35) with UEFI firmware or a kernel given from outside, started by whoever
//! runs us, without root. What it writes goes to files that have no name (see [`Overlay`]), so
//! nothing stays behind however the run ends.

mod disk;
mod firmware;
mod machine;
mod nameless;
mod probe;
mod screen;
mod vm;

use std::io;
use std::path::PathBuf;

pub use disk::{ImageInfo, Overlay};
pub use firmware::{Firmware, Variables};
pub use machine::{Boot, Controller, Disk, Machine, Network, Terminal};
pub use probe::{Accelerator, Pace, Probe};
pub use screen::{Picture, Screen};
pub use vm::Vm;

use crate::command::CommandError;

/// The emulator, as it is called everywhere but on RHEL.
pub const QEMU: &str = "qemu-system-x86_64";

/// Why there is no virtual machine.
#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    /// A program that belongs to QEMU is missing or failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// QEMU could not be started, or talking to it failed.
    #[error("cannot run {QEMU}: {0}")]
    Start(io::Error),
    /// QEMU ended without being asked to.
    #[error("{QEMU} ended ({status}): {said}")]
    Ended {
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it said.
        said: String,
    },
    /// The guest that is asked to do nothing did not even do that.
    #[error("{QEMU} cannot run a trivial guest with {accelerator}: {said}")]
    Unusable {
        /// What was tried.
        accelerator: Accelerator,
        /// What it said.
        said: String,
    },
    /// No UEFI firmware for virtual machines is installed.
    #[error("no UEFI firmware for virtual machines found; looked for {}", .tried.join(", "))]
    NoFirmware {
        /// The files that were looked for.
        tried: Vec<String>,
    },
    /// A file could not be read or made.
    #[error("{}: {source}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// `qemu-img` described an image in a way we do not understand.
    #[error("{}: qemu-img does not tell its size and format: {said}", .path.display())]
    UnknownImage {
        /// The image.
        path: PathBuf,
        /// What it said instead.
        said: String,
    },
}
