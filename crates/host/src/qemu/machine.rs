//! A virtual machine as data, and the QEMU command line that it means. Nothing is done here.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Accelerator, Firmware, Variables};

/// What a disk is attached to; each needs another driver in the initramfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controller {
    /// `virtio_blk`.
    VirtioBlk,
    /// `virtio_scsi`.
    VirtioScsi,
    /// SATA on the chip set, `ahci`.
    Ahci,
    /// `nvme`.
    Nvme,
    /// VMware's paravirtual SCSI, `vmw_pvscsi`.
    Pvscsi,
}

/// A disk, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The image file. Written to.
    pub path: PathBuf,
    /// Its format, by QEMU's name.
    pub format: String,
    /// Where it is attached.
    pub controller: Controller,
}

/// What a machine starts with.
#[derive(Debug)]
pub enum Boot<'a> {
    /// UEFI, from the first disk.
    Uefi {
        /// The firmware.
        firmware: &'a Firmware,
        /// This machine's variable store.
        variables: &'a Variables,
    },
    /// A kernel from outside, no boot loader.
    Kernel {
        /// The kernel image.
        kernel: PathBuf,
        /// The initramfs, if any.
        initramfs: Option<PathBuf>,
        /// The kernel command line.
        command_line: String,
    },
}

/// What network a machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// A card, DHCP, and nobody else there.
    Isolated,
    /// A card with a way out through this machine.
    User,
}

/// Where the first serial port leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    /// To QEMU's standard input and output, bytes unchanged.
    Pipe,
    /// To the terminal, with QEMU's escape key Ctrl-A (Ctrl-A X ends the machine).
    Interactive,
}

/// A PC: q35 chip set, VGA nobody looks at, one serial port, one network card.
#[derive(Debug)]
pub struct Machine<'a> {
    /// What runs the code.
    pub accelerator: Accelerator,
    /// Memory, in MiB.
    pub memory: u32,
    /// Number of processors.
    pub cpus: u32,
    /// What it starts with.
    pub boot: Boot<'a>,
    /// Its disks, in boot order.
    pub disks: Vec<Disk>,
    /// Its network.
    pub network: Network,
    /// Where the console leads.
    pub terminal: Terminal,
    /// systemd credentials, name and text, handed over as SMBIOS type 11 strings
    /// (systemd.system-credentials(7)).
    pub credentials: Vec<(String, String)>,
    /// Arguments for QEMU after ours.
    pub extra: Vec<OsString>,
}

impl Machine<'_> {
    /// The arguments for QEMU.
    #[must_use]
    pub fn args(&self) -> Vec<OsString> {
        let mut args = Args::default();
        args.words("-no-user-config -nodefaults -display none -vga std -cpu max");
        args.pair(
            "-accel",
            match self.accelerator {
                Accelerator::Kvm => "kvm",
                Accelerator::Tcg => "tcg,thread=multi",
            },
        );
        args.pair("-smp", self.cpus.to_string());
        args.pair("-m", format!("{}M", self.memory));
        args.words("-device virtio-rng-pci");
        args.words(match self.terminal {
            Terminal::Pipe => "-chardev stdio,id=console,signal=off -serial chardev:console",
            Terminal::Interactive => {
                "-chardev stdio,id=console,mux=on,signal=off -serial chardev:console \
                 -mon chardev=console"
            }
        });
        args.words(match self.network {
            Network::Isolated => "-netdev user,id=net,restrict=on",
            Network::User => "-netdev user,id=net",
        });
        args.words("-device virtio-net-pci,netdev=net,romfile=");
        self.boot(&mut args);
        for (number, disk) in self.disks.iter().enumerate() {
            attach(&mut args, number, disk);
        }
        for (name, value) in &self.credentials {
            let string = format!("io.systemd.credential:{name}={value}").replace(',', ",,");
            args.pair("-smbios", format!("type=11,value={string}"));
        }
        args.0.extend(self.extra.iter().cloned());
        args.0
    }

    fn boot(&self, args: &mut Args) {
        match &self.boot {
            Boot::Uefi { firmware, variables } => {
                if let Some(code) = &firmware.code {
                    args.pair("-machine", "q35,pflash0=code,pflash1=variables");
                    args.file("code", "raw", code, true);
                } else {
                    args.pair("-machine", "q35,pflash0=variables");
                }
                args.file("variables", "raw", &variables.path(), false);
            }
            Boot::Kernel { kernel, initramfs, command_line } => {
                args.pair("-machine", "q35");
                args.pair("-kernel", kernel);
                if let Some(initramfs) = initramfs {
                    args.pair("-initrd", initramfs);
                }
                args.pair("-append", command_line);
            }
        }
    }
}

fn attach(args: &mut Args, number: usize, disk: &Disk) {
    let drive = format!("disk{number}");
    args.file(&drive, &disk.format, &disk.path, false);
    let scsi = |args: &mut Args, adapter: &str| {
        args.pair("-device", format!("{adapter},id=scsi{number}"));
        format!("scsi-hd,bus=scsi{number}.0")
    };
    let device = match disk.controller {
        Controller::VirtioBlk => "virtio-blk-pci".into(),
        Controller::Ahci => format!("ide-hd,bus=ide.{number}"),
        Controller::Nvme => "nvme".into(),
        Controller::VirtioScsi => scsi(args, "virtio-scsi-pci"),
        Controller::Pvscsi => scsi(args, "pvscsi"),
    };
    args.pair("-device", format!("{device},drive={drive},serial={drive},bootindex={}", number + 1));
}

#[derive(Default)]
struct Args(Vec<OsString>);

impl Args {
    fn words(&mut self, words: &str) {
        self.0.extend(words.split_whitespace().map(OsString::from));
    }

    fn pair(&mut self, option: &str, value: impl Into<OsString>) {
        self.0.push(option.into());
        self.0.push(value.into());
    }

    /// A block node, written as JSON because file names may contain anything.
    fn file(&mut self, node: &str, format: &str, path: &Path, read_only: bool) {
        let node = json!({
            "node-name": node,
            "driver": format,
            "read-only": read_only,
            "discard": "unmap",
            "file": {
                "driver": "file",
                "filename": path.to_string_lossy(),
                "discard": "unmap",
            },
        });
        self.pair("-blockdev", node.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(disks: Vec<Disk>, credentials: Vec<(String, String)>) -> String {
        let machine = Machine {
            accelerator: Accelerator::Tcg,
            memory: 2048,
            cpus: 2,
            boot: Boot::Kernel {
                kernel: "/k".into(),
                initramfs: Some("/i".into()),
                command_line: "root=/dev/vda console=ttyS0".into(),
            },
            disks,
            network: Network::Isolated,
            terminal: Terminal::Pipe,
            credentials,
            extra: vec!["-snapshot".into()],
        };
        let args = machine.args();
        let words: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
        words.join("\n")
    }

    fn disk(controller: Controller) -> Vec<Disk> {
        vec![Disk { path: "/a, b\".raw".into(), format: "raw".into(), controller }]
    }

    #[test]
    fn the_whole_line() {
        let line = line(disk(Controller::VirtioBlk), Vec::new());
        assert!(line.starts_with("-no-user-config\n-nodefaults\n"), "{line}");
        assert!(line.contains("-accel\ntcg,thread=multi\n-smp\n2\n-m\n2048M\n"), "{line}");
        assert!(line.contains("-append\nroot=/dev/vda console=ttyS0\n"), "{line}");
        assert!(line.contains(r#""filename":"/a, b\".raw""#), "{line}");
        assert!(line.ends_with("\n-snapshot"), "{line}");
    }

    #[test]
    fn every_controller_carries_the_drive() {
        for (controller, device) in [
            (Controller::VirtioBlk, "virtio-blk-pci,drive=disk0"),
            (Controller::Ahci, "ide-hd,bus=ide.0,drive=disk0"),
            (Controller::Nvme, "nvme,drive=disk0,serial=disk0"),
            (
                Controller::VirtioScsi,
                "virtio-scsi-pci,id=scsi0\n-device\nscsi-hd,bus=scsi0.0,drive=disk0",
            ),
            (Controller::Pvscsi, "pvscsi,id=scsi0\n-device\nscsi-hd,bus=scsi0.0,drive=disk0"),
        ] {
            let line = line(disk(controller), Vec::new());
            assert!(line.contains(device), "{line}");
        }
    }

    #[test]
    fn commas_in_credentials_are_doubled() {
        let line = line(Vec::new(), vec![("a.b".into(), "x,y".into())]);
        assert!(line.contains("-smbios\ntype=11,value=io.systemd.credential:a.b=x,,y"), "{line}");
    }
}
