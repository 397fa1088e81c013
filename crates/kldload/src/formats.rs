//! The formats of disk images: their names, their files, their writers.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::thread;

use ::image::{ExportError, Options, Source, Window};
use anyhow::Context;
use clap::ValueEnum;
use disk::export::{
    Compression, DynamicVhd, FixedVhd, Gcp, Identity, ImageWriter, Ova, Qcow2, Raw, Runs, Vhdx,
    Vmdk, WriteError, ova,
};
use tree::Hasher;

/// Bytes at both ends of a disk from which identifiers come that are written before the rest is read:
/// partition tables, with the GUIDs of disk and partitions, lie there.
const ENDS: u64 = 1 << 20;

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
    /// fs-verity digests of raw and fixed VHD.
    pub verity: bool,
}

impl Settings {
    /// For the disk of `source`, in images called `name`. Identifiers come from the disk, and `more`.
    pub fn new(source: &Source<'_>, name: &str, more: &[u8]) -> anyhow::Result<Self> {
        Ok(Self {
            size: source.size(),
            identity: identity(source, more)?,
            zstd: false,
            machine: ova::Machine { name: name.to_owned(), ..ova::Machine::default() },
            runs: source.runs().context("looking for data")?,
            verity: false,
        })
    }

    /// Bytes that are read.
    pub fn total(&self) -> u64 {
        self.runs.iter().map(|run| run.end - run.start).sum()
    }

    /// How one pass serves all of `formats`, with `jobs` threads or one for each processor.
    pub fn options(&self, formats: &[Format], jobs: Option<usize>) -> Options {
        let deflated =
            |format: &Format| format.compressed() && !(self.zstd && *format == Format::Qcow2);
        let small = formats.contains(&Format::Qcow2) && !self.zstd;
        let window = if small { Window::Small } else { Window::Large };
        Options {
            jobs: jobs.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from)),
            deflate: formats.iter().any(deflated).then_some(window),
            crc: formats.iter().any(|format| format.has_crc()),
            leaves: self.verity && formats.iter().any(|format| format.has_verity()),
        }
    }
}

/// Where the identifiers of images come from: the disk, and `more`.
fn identity(source: &Source<'_>, more: &[u8]) -> anyhow::Result<Identity> {
    let mut digest = Hasher::default();
    digest.update(more);
    let size = source.size();
    digest.update(&size.to_le_bytes());
    for start in [0, size.saturating_sub(ENDS)] {
        let mut bytes = vec![0; ENDS.min(size) as usize];
        source.read(&mut bytes, start).map_err(ExportError::from)?;
        digest.update(&bytes);
    }
    Ok(Identity(digest.finish().0))
}

/// `formats` without repetitions; those that would have the same file are an error.
pub fn distinct(formats: impl IntoIterator<Item = Format>) -> Result<Vec<Format>, String> {
    let mut distinct: Vec<Format> = Vec::new();
    for format in formats {
        if distinct.contains(&format) {
            continue;
        }
        if let Some(other) = distinct.iter().find(|other| other.extension() == format.extension()) {
            let (one, two) = (other.name(), format.name());
            return Err(format!(
                "{one} and {two} would have the same name; write them one by one, under two names"
            ));
        }
        distinct.push(format);
    }
    Ok(distinct)
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

    /// Whether its writer can tell an fs-verity digest.
    fn has_verity(self) -> bool {
        matches!(self, Self::Raw | Self::Vhd)
    }

    /// Whether it holds identifiers.
    pub fn has_identifiers(self) -> bool {
        !matches!(self, Self::Qcow2 | Self::Raw | Self::Gcp)
    }

    /// Whether its writer wants the CRC-32 of pieces: for a checksum, or for an identifier.
    fn has_crc(self) -> bool {
        matches!(self, Self::Gcp | Self::Vhd | Self::VhdDynamic | Self::Vhdx)
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
            Self::Raw => {
                let raw = Raw::new(file, size)?;
                Box::new(if settings.verity { raw.with_verity() } else { raw })
            }
            Self::Vhd => {
                let vhd = FixedVhd::new(file, size, identity)?;
                Box::new(if settings.verity { vhd.with_verity() } else { vhd })
            }
            Self::VhdDynamic => Box::new(DynamicVhd::new(file, size, identity)?),
            Self::Vhdx => Box::new(Vhdx::new(file, size, identity)?),
            Self::Vmdk => Box::new(Vmdk::new(file, size, &format!("{name}.vmdk"), &identity)?),
            Self::Ova => {
                let machine = settings.machine.clone();
                Box::new(Ova::new(file, size, settings.total(), machine, &identity)?)
            }
            Self::Gcp => {
                Box::new(Gcp::new(file, size, settings.runs.clone(), &::image::export::zeros())?)
            }
        })
    }
}
