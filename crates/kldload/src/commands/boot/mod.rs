//! `kldload boot`: a disk image in a virtual machine, to use by hand or to be checked.

mod check;
mod guest;
mod report;

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use disk::image::{Format, OpenError, open_path};
use host::command::{CommandError, Program};
use host::console::Login;
use host::qemu::{
    Boot, Controller, Disk, Firmware, ImageInfo, Machine, Network, Overlay, Probe, QEMU, QemuError,
    Terminal, Variables,
};

use crate::failure::Refused;

/// Boot a disk image in a virtual machine, or check that it boots and works.
///
/// The console is the machine's serial port: Ctrl-A X ends the machine, Ctrl-A H shows what else
/// Ctrl-A does. Everything is written to a throw-away layer; the image stays as it is. One whose
/// content is in other files that it names (an overlay) is refused: kldload export makes it whole.
///
/// With --check nobody needs to look: it boots the image as its own first boot, on a disk that is
/// 2 GiB larger than the image, and looks at units, datasets, pool and packages; makes the
/// initramfs anew, reboots, cuts the power while files are written, and looks again. Exit status 0
/// means that all is well, 5 that something is wrong with the image, 1 that it could not be tried.
#[derive(Debug, Args)]
pub struct BootArgs {
    /// The disk image: qcow2, raw, VMDK, VHD, VHDX
    image: PathBuf,

    /// Check the image instead of opening a console
    #[arg(long)]
    check: bool,

    /// Print the result of --check as one JSON document
    #[arg(long, requires = "check")]
    json: bool,

    /// Also write what the console says during --check to FILE
    #[arg(long, value_name = "FILE", requires = "check")]
    keep_log: Option<PathBuf>,

    /// Also keep a picture of the first boot's screen in FILE (PNG): of the greeter, if there is one
    #[arg(long, value_name = "FILE", requires = "check")]
    screenshot: Option<PathBuf>,

    /// Multiply all time limits of --check, for a machine that is busy with other things
    #[arg(long, value_name = "FACTOR", requires = "check", value_parser = parse_factor)]
    timeout_scale: Option<f64>,

    /// Memory of the machine: a number of MiB, or with a suffix M or G
    #[arg(long, value_name = "SIZE", default_value = "2G", value_parser = parse_memory)]
    memory: u32,

    /// Number of processors; by default 2, and 1 without KVM
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=255))]
    cpus: Option<u32>,

    /// What the disk is attached to
    #[arg(long, value_enum, default_value_t = ControllerName::Virtio)]
    controller: ControllerName,

    /// UEFI firmware with its variables in one file, as OVMF.fd; by default what is installed. Only few
    /// have a driver for pvscsi: Debian's ovmf-legacy does, and is taken if it is installed
    #[arg(long, value_name = "FILE")]
    firmware: Option<PathBuf>,

    /// Let the machine write to the image itself
    #[arg(long, conflicts_with = "check")]
    write: bool,

    /// Log in as root on the console without a password (systemd credentials; needs systemd 256)
    #[arg(long, conflicts_with = "check")]
    login: bool,

    /// Where the throw-away layer is kept; it grows with what the machine writes
    /// [default: $TMPDIR or /var/tmp]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,

    /// More arguments for QEMU, after --
    #[arg(last = true, value_name = "QEMU ARGUMENTS")]
    qemu: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ControllerName {
    Virtio,
    VirtioScsi,
    Ahci,
    Nvme,
    Pvscsi,
}

impl std::fmt::Display for ControllerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ControllerName::Virtio => "virtio",
            ControllerName::VirtioScsi => "virtio-scsi",
            ControllerName::Ahci => "ahci",
            ControllerName::Nvme => "nvme",
            ControllerName::Pvscsi => "pvscsi",
        })
    }
}

impl From<ControllerName> for Controller {
    fn from(name: ControllerName) -> Controller {
        match name {
            ControllerName::Virtio => Controller::VirtioBlk,
            ControllerName::VirtioScsi => Controller::VirtioScsi,
            ControllerName::Ahci => Controller::Ahci,
            ControllerName::Nvme => Controller::Nvme,
            ControllerName::Pvscsi => Controller::Pvscsi,
        }
    }
}

/// Runs the command.
pub fn run(args: BootArgs) -> anyhow::Result<ExitCode> {
    // QEMU's own words for a missing image are about block nodes.
    let start = start_of(&args.image).with_context(|| format!("{}", args.image.display()))?;
    if let Some(what_to_do) = archive(&start) {
        bail!("{} is an archive with a disk in it: {what_to_do}", args.image.display());
    }
    if args.check { check::run(&args) } else { console(&args) }
}

/// The first bytes of a file or device.
fn start_of(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut start = Vec::new();
    File::open(path)?.take(512).read_to_end(&mut start)?;
    Ok(start)
}

/// What to do with an archive, which QEMU would take for a raw disk that does not boot.
fn archive(start: &[u8]) -> Option<&'static str> {
    if start.starts_with(&[0x1f, 0x8b]) {
        Some("take it out with tar -xSzf")
    } else if start.get(257..262) == Some(b"ustar") {
        Some("take it out with tar -xf, and boot the VMDK")
    } else {
        None
    }
}

/// Opens the machine's console on our terminal.
fn console(args: &BootArgs) -> anyhow::Result<ExitCode> {
    let scratch = args.scratch();
    let image = args.image()?;
    let firmware = args.firmware()?;
    let variables = Variables::new(&firmware, &scratch)?;
    let probe = Probe::run(&scratch).map_err(hint)?;
    if let Some(note) = slow(&probe) {
        eprintln!("{note}");
    }
    let overlay;
    let disk = if args.write {
        Disk { path: args.image.clone(), format: image.format, controller: args.controller.into() }
    } else {
        overlay = Overlay::new(&args.image, &image, 0, &scratch).map_err(hint)?;
        overlay.disk(args.controller.into())
    };
    let machine = Machine {
        accelerator: probe.accelerator,
        memory: args.memory,
        cpus: args.cpus.unwrap_or(probe.accelerator.processors()),
        boot: Boot::Uefi { firmware: &firmware, variables: &variables },
        disks: vec![disk],
        network: Network::User,
        terminal: Terminal::Interactive,
        credentials: if args.login { Login::Automatic.credentials() } else { Vec::new() },
        extra: args.qemu.clone(),
    };
    eprintln!(
        "Ctrl-A X ends the machine; {}.",
        if args.write { "it writes to the image" } else { "what it writes is thrown away then" }
    );
    let status = Program::new(QEMU)
        .args(machine.args())
        .run_on_terminal()
        .map_err(|error| hint(error.into()))?;
    if !status.success() {
        bail!("{QEMU} failed ({status})");
    }
    Ok(ExitCode::SUCCESS)
}

impl BootArgs {
    /// What QEMU is to read the image as. It would open whatever other file an image names, and may think that
    /// a disk is an image; our reader decides, as for `export`.
    fn image(&self) -> anyhow::Result<ImageInfo> {
        let name = || self.image.display().to_string();
        let format = match open_path(&self.image, None, &[]) {
            Ok(opened) => match opened.format {
                Format::Raw => "raw",
                Format::Qcow2 => "qcow2",
                Format::Vhd => "vpc",
                Format::Vhdx => "vhdx",
                Format::Vmdk => "vmdk",
            },
            Err(error @ (OpenError::Elsewhere { .. } | OpenError::Companion { .. })) => {
                let error = anyhow::Error::new(error).context(name());
                return Err(Refused(format!("{error:#}")).into());
            }
            Err(error) => return Err(error).with_context(name),
        };
        ImageInfo::read_as(&self.image, format).map_err(hint)
    }

    fn firmware(&self) -> anyhow::Result<Firmware> {
        if let Some(path) = &self.firmware {
            return Ok(Firmware::of_one_file(path));
        }
        let firmware = Firmware::find(self.controller.into()).map_err(hint)?;
        if self.controller == ControllerName::Pvscsi && firmware.code.is_some() {
            eprintln!(
                "Debian's ovmf-legacy is not installed; other builds of OVMF hardly ever find a disk on \
                 pvscsi"
            );
        }
        Ok(firmware)
    }

    fn scratch(&self) -> PathBuf {
        // /tmp is often kept in memory, and a layer may become as large as a disk.
        self.scratch
            .clone()
            .or_else(|| std::env::var_os("TMPDIR").map(PathBuf::from))
            .unwrap_or_else(|| Path::new("/var/tmp").to_owned())
    }
}

/// What a person should know when guests run slowly.
fn slow(probe: &Probe) -> Option<String> {
    probe.without_kvm.as_ref().map(|reason| {
        format!("KVM does not work here ({reason}); going on with TCG, which is much slower")
    })
}

/// An error, with what to install when something is missing.
fn hint(error: QemuError) -> anyhow::Error {
    let missing = matches!(
        error,
        QemuError::NoFirmware { .. } | QemuError::Command(CommandError::NotFound { .. })
    );
    let error = anyhow::Error::new(error);
    if missing {
        error.context(
            "booting needs QEMU, qemu-img and OVMF \
             (Debian: apt install qemu-system-x86 qemu-utils ovmf)",
        )
    } else {
        error
    }
}

/// A memory size in MiB, from a number of MiB or a number with suffix M or G.
fn parse_memory(text: &str) -> Result<u32, String> {
    let (digits, unit) = match text.strip_suffix(['G', 'g']) {
        Some(digits) => (digits, 1024),
        None => (text.strip_suffix(['M', 'm']).unwrap_or(text), 1),
    };
    digits
        .parse::<u32>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .filter(|&mebibytes| mebibytes >= 128)
        .ok_or_else(|| "a size of at least 128M is needed, as 2048M or 2G".into())
}

fn parse_factor(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|factor| (0.01..=1000.0).contains(factor))
        .ok_or_else(|| "a number from 0.01 to 1000 is needed".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_sizes() {
        assert_eq!(parse_memory("2G"), Ok(2048));
        assert_eq!(parse_memory("512M"), Ok(512));
        assert_eq!(parse_memory("768"), Ok(768));
        for text in ["", "G", "12", "-1G", "2T", "9999999G"] {
            assert!(parse_memory(text).is_err(), "{text}");
        }
    }

    #[test]
    fn archives_are_known() {
        let mut start = vec![0; 512];
        assert_eq!(archive(&start), None);
        start[257..262].copy_from_slice(b"ustar");
        assert!(archive(&start).is_some());
        assert!(archive(&[0x1f, 0x8b, 8]).is_some());
        assert_eq!(archive(&[]), None);
    }

    #[test]
    fn factors() {
        assert_eq!(parse_factor("2.5"), Ok(2.5));
        for text in ["", "0", "-1", "NaN", "inf", "x"] {
            assert!(parse_factor(text).is_err(), "{text}");
        }
    }
}
