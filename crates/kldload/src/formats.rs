//! The formats of disk images: their names, their files, their writers.

use std::fs::File;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use disk::export::{
    Compression, DynamicVhd, FixedVhd, Gcp, Identity, ImageWriter, Ova, Qcow2, Raw, Runs, Vhdx,
    Vmdk, WriteError, ova,
};

/// An image format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// QEMU, KVM, Proxmox, OpenStack: compressed
    Qcow2,
    /// The bare disk, as a sparse file
    Raw,
    /// Azure: fixed VHD of whole MiB
    Vhd,
    /// Dynamic VHD
    VhdDynamic,
    /// Hyper-V, second generation
    Vhdx,
    /// VMware: stream-optimised
    Vmdk,
    /// VMware and VirtualBox: appliance with one disk
    Ova,
    /// Google Cloud: disk.raw in a tar.gz
    Gcp,
}

/// What `all` means.
pub const ALL: [Format; 6] =
    [Format::Qcow2, Format::Raw, Format::Vhd, Format::Vhdx, Format::Vmdk, Format::Ova];

/// What writers need besides the disk.
#[derive(Debug)]
pub struct Settings {
    /// Bytes of the disk.
    pub size: u64,
    /// Where identifiers come from.
    pub identity: Identity,
    /// zstd instead of deflate in qcow2.
    pub zstd: bool,
    /// The machine in an OVA.
    pub machine: ova::Machine,
    /// Pieces that are written.
    pub runs: Runs,
}

impl Format {
    /// The ending of its files.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Qcow2 => "qcow2",
            Self::Raw => "raw",
            Self::Vhd | Self::VhdDynamic => "vhd",
            Self::Vhdx => "vhdx",
            Self::Vmdk => "vmdk",
            Self::Ova => "ova",
            Self::Gcp => "tar.gz",
        }
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::VhdDynamic => "vhd-dynamic",
            Self::Gcp => "gcp",
            other => other.extension(),
        }
    }

    /// Its file in a directory.
    pub fn path(self, directory: &Path, name: &str) -> PathBuf {
        directory.join(format!("{name}.{}", self.extension()))
    }

    /// Whether it holds compressed data.
    pub fn compressed(self) -> bool {
        matches!(self, Self::Qcow2 | Self::Vmdk | Self::Ova | Self::Gcp)
    }

    /// Its writer.
    pub fn writer(
        self,
        file: File,
        name: &str,
        settings: &Settings,
    ) -> Result<Box<dyn ImageWriter>, WriteError> {
        let (size, identity) = (settings.size, settings.identity);
        let compression = if settings.zstd { Compression::Zstd(3) } else { Compression::Deflate };
        Ok(match self {
            Self::Qcow2 => Box::new(Qcow2::new(file, size, compression)?),
            Self::Raw => Box::new(Raw::new(file, size)?),
            Self::Vhd => Box::new(FixedVhd::new(file, size, identity)?),
            Self::VhdDynamic => Box::new(DynamicVhd::new(file, size, identity)?),
            Self::Vhdx => Box::new(Vhdx::new(file, size, identity)?),
            Self::Vmdk => Box::new(Vmdk::new(file, size, &format!("{name}.vmdk"), &identity)?),
            Self::Ova => Box::new(Ova::new(file, size, settings.machine.clone(), &identity)?),
            Self::Gcp => {
                Box::new(Gcp::new(file, size, settings.runs.clone(), &::image::export::zeros())?)
            }
        })
    }
}
