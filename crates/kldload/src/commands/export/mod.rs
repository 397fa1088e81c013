//! `kldload export`: a disk becomes images of any format, in one pass.

mod outputs;
mod source;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use ::image::{Options, Source, Space};
use anyhow::{Context, ensure};
use blk::ReadAt;
use clap::{Args, ValueEnum};
use disk::export::ova;
use serde_json::json;

use crate::formats::{ALL, Format, Settings};
use crate::ui::Ui;

/// Write a disk as images for any hypervisor or cloud
///
/// SOURCE is a raw image, a block device, or a qcow2, VHD, VHDX or VMDK image. It is read once; what is
/// free in its ZFS pool and its EFI system partition is left out and reads as zeros.
#[derive(Debug, Args)]
#[command(after_help = "\
Environment: KEXPORT_NAME is the name of the images, as --name.

Examples:
  kldload export debian.raw qcow2
  kldload export debian.raw all -o images/ --name server --verify
  kldload export server.vmdk qcow2 vhdx --keep-free
  kldload export /dev/sdb raw -o /srv/images")]
pub struct ExportArgs {
    /// The disk: an image or a block device that nothing uses
    source: PathBuf,
    /// What to write; all is qcow2, raw, vhd, vhdx, vmdk and ova
    #[arg(required = true, num_args = 1.., value_name = "FORMAT")]
    formats: Vec<Wanted>,
    /// Directory for the images
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    output: PathBuf,
    /// Name of the images, without ending; kldload-export-YYYYMMDD-HHMMSS (UTC) by default
    #[arg(long, env = "KEXPORT_NAME")]
    name: Option<String>,
    /// Threads that compress; one for each processor by default
    #[arg(short, long, value_name = "N")]
    jobs: Option<usize>,
    /// Read every image back and compare it with the source
    #[arg(long)]
    verify: bool,
    /// Copy free space bit for bit
    #[arg(long)]
    keep_free: bool,
    /// SHA-256 of raw, vhd and vhdx images as well
    #[arg(long)]
    sha256: bool,
    /// Replace images of the same name
    #[arg(long)]
    force: bool,
    /// Write zeros for what cannot be read, and list it
    #[arg(long)]
    skip_bad: bool,
    /// Draw the identifiers of the images instead of deriving them from the disk
    #[arg(long)]
    unique: bool,
    /// Compress qcow2 with zstd, which needs QEMU 5.1
    #[arg(long)]
    zstd: bool,
    /// Read SOURCE as this format instead of looking
    #[arg(long, value_name = "FORMAT")]
    source_format: Option<SourceFormat>,
    /// The image below a qcow2 overlay; once for each layer, the topmost first
    #[arg(long, value_name = "IMAGE")]
    backing: Vec<PathBuf>,
    /// Processors of the machine in an OVA
    #[arg(long, value_name = "N", default_value_t = 4)]
    cpus: u32,
    /// Memory of the machine in an OVA, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 4096)]
    memory: u32,
    /// Print events and results as JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// Formats, and all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    One(Format),
    All,
}

impl ValueEnum for Wanted {
    fn value_variants<'a>() -> &'a [Self] {
        const EVERY: [Wanted; 9] = [
            Wanted::One(Format::Qcow2),
            Wanted::One(Format::Raw),
            Wanted::One(Format::Vhd),
            Wanted::One(Format::VhdDynamic),
            Wanted::One(Format::Vhdx),
            Wanted::One(Format::Vmdk),
            Wanted::One(Format::Ova),
            Wanted::One(Format::Gcp),
            Wanted::All,
        ];
        &EVERY
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        match self {
            Self::One(format) => format.to_possible_value(),
            Self::All => Some(clap::builder::PossibleValue::new("all")),
        }
    }
}

/// What a source can be read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SourceFormat {
    Raw,
    Qcow2,
    Vhd,
    Vhdx,
    Vmdk,
}

impl From<SourceFormat> for disk::image::Format {
    fn from(format: SourceFormat) -> Self {
        match format {
            SourceFormat::Raw => Self::Raw,
            SourceFormat::Qcow2 => Self::Qcow2,
            SourceFormat::Vhd => Self::Vhd,
            SourceFormat::Vhdx => Self::Vhdx,
            SourceFormat::Vmdk => Self::Vmdk,
        }
    }
}

impl ExportArgs {
    fn formats(&self) -> anyhow::Result<Vec<Format>> {
        let mut formats: Vec<Format> = Vec::new();
        for wanted in &self.formats {
            let more: &[Format] = match wanted {
                Wanted::One(format) => &[*format],
                Wanted::All => &ALL,
            };
            for &format in more {
                if !formats.contains(&format) {
                    formats.push(format);
                }
            }
        }
        let both = formats.contains(&Format::Vhd) && formats.contains(&Format::VhdDynamic);
        ensure!(!both, "vhd and vhd-dynamic would have the same name; export them one by one");
        Ok(formats)
    }

    fn name(&self) -> anyhow::Result<String> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => {
                let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
                format!("kldload-export-{}", now.strftime("%Y%m%d-%H%M%S"))
            }
        };
        let plain = !name.is_empty() && !name.contains('/') && !name.starts_with('.');
        ensure!(plain, "{name:?} cannot be the name of an image; -o gives the directory");
        Ok(name)
    }
}

/// Runs the command.
pub fn run(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let mut ui = Ui::new(args.json);
    let (formats, name) = (args.formats()?, args.name()?);
    let opened = source::open(&args.source, args.source_format.map(Into::into), &args.backing)?;
    let disk: Arc<dyn ReadAt> = Arc::from(opened.disk);
    let outputs = outputs::Outputs::create(&args.output, &name, &formats, args.force)?;

    ui.stage("reading space", 0);
    let space = if args.keep_free { None } else { Some(Space::find(&disk)?) };
    let used = space.as_ref().map(|space| &space.used);
    let source = Source::new(&*disk, used, args.skip_bad)
        .with_context(|| format!("reading {}", args.source.display()))?;
    let runs = source.runs().with_context(|| format!("reading {}", args.source.display()))?;
    let total: u64 = runs.iter().map(|run| run.end - run.start).sum();

    let settings = Settings {
        size: source.size(),
        identity: source::identity(&source, args.unique)?,
        zstd: args.zstd,
        machine: ova::Machine { name: name.clone(), cpus: args.cpus, memory: args.memory },
        runs: runs.clone(),
    };
    let jobs = args.jobs.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
    let options = Options {
        jobs,
        deflate: formats.iter().any(|f| f.compressed() && !(args.zstd && *f == Format::Qcow2)),
        crc: formats.contains(&Format::Gcp),
    };
    ui.stage("exporting", total);
    let writers = outputs.writers(&settings)?;
    let mut before = 0;
    let written = ::image::export(&source, &runs, writers, options, &mut |done| {
        ui.advance(done - before);
        before = done;
    })?;
    if args.verify {
        ui.stage("verifying", total * formats.len() as u64);
        outputs.verify(&source, &runs, &mut ui)?;
    }
    ui.stage("finishing", 0);
    let bad = source.bad();
    for bad in &bad {
        let (start, end) = (bad.range.start, bad.range.end);
        ui.warn(&format!("zeros instead of bytes {start} to {end}: {}", bad.error));
    }
    let digests = outputs.digests(&written, args.sha256)?;
    let mut manifest = json!({
        "source": args.source,
        "source_format": opened.format.to_string(),
        "disk_size": source.size(),
        "read": total,
        "free_space": space.as_ref().map(|space| &space.notes),
        "bad": bad.iter().map(|bad| json!({
            "start": bad.range.start, "end": bad.range.end, "error": bad.error,
        })).collect::<Vec<_>>(),
        "verified": args.verify,
    });
    let images = outputs.publish(&written, &digests, &mut manifest)?;
    for note in space.iter().flat_map(|space| &space.notes) {
        ui.note(note);
    }
    for image in images {
        ui.result(&image.text, image.value);
    }
    Ok(ExitCode::SUCCESS)
}
