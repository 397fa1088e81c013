//! `kldload export`: a disk becomes images of any format, in one pass.

mod outputs;
mod sink;
mod source;

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use ::image::{ExportError, Source, Space};
use anyhow::Context;
use blk::ReadAt;
use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};
use disk::export::{ImageWriter, Written, ova};
use disk::image::OpenedFile;
use plan::recipe::FileName;
use serde_json::{Value, json};

use super::usage;
use crate::failure::{Invalid, MISMATCH};
use crate::formats::{self, ALL, Format, Settings};
use crate::ui::Ui;
use outputs::{Outputs, Published};
use sink::Sink;

/// Write a disk as images for any hypervisor or cloud
///
/// SOURCE is a raw image, a block device, or a qcow2, VHD, VHDX or VMDK image. It is read once; what is
/// free in its ZFS pool and its EFI system partition is left out and reads as zeros. NAME.json, beside the
/// images, says what was read and has their digests.
#[derive(Debug, Args)]
#[command(after_help = "\
Environment: KEXPORT_NAME is the name of the images, as --name.

Examples:
  kldload export debian.raw qcow2
  kldload export debian.raw all -o images/ --name server --verify
  kldload export server.vmdk qcow2 vhdx --keep-free
  kldload export /dev/sdb raw -o /srv/images
  kldload export server.qcow2 raw -o - | ssh host 'cat >/dev/vg/server'
  kldload export server.qcow2 raw -o /dev/sdc")]
pub struct ExportArgs {
    /// The disk: an image or a block device that nothing uses
    source: PathBuf,
    /// What to write; all is qcow2, raw, vhd, vhdx, vmdk and ova
    #[arg(required = true, num_args = 1.., value_name = "FORMAT")]
    formats: Vec<Wanted>,
    /// Directory for the images; for raw alone also a block device, or - for standard output
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    output: PathBuf,
    /// Name of the images, without ending; kldload-export-YYYYMMDD-HHMMSS (UTC) by default
    #[arg(long)]
    name: Option<FileName>,
    /// Threads that compress; one for each processor by default
    #[arg(short, long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    jobs: Option<usize>,
    /// Read every image back and compare it with the source
    #[arg(long)]
    verify: bool,
    /// Copy free space bit for bit
    #[arg(long)]
    keep_free: bool,
    /// SHA-256 of raw, vhd and vhdx images as well; without it raw and vhd have fs-verity digests
    #[arg(long)]
    sha256: bool,
    /// Replace images of the same name, or what is on the block device
    #[arg(long)]
    force: bool,
    /// Write zeros for what cannot be read, and list it; exit code 5 tells that there was such
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
    /// Processors of the machine in an OVA; 4 by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    cpus: Option<u32>,
    /// Memory of the machine in an OVA, in MiB; 4096 by default
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    memory: Option<u32>,
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
    fn formats(&self) -> Result<Vec<Format>, String> {
        let mut formats = Vec::new();
        for wanted in &self.formats {
            match wanted {
                Wanted::One(format) => formats.push(*format),
                Wanted::All => formats.extend(ALL),
            }
        }
        formats::distinct(formats)
    }

    /// What was asked for and would have no effect on any of `formats`.
    fn without_effect(&self, formats: &[Format]) -> Option<&'static str> {
        let (ova, qcow2) = (formats.contains(&Format::Ova), formats.contains(&Format::Qcow2));
        let identified = formats.iter().any(|format| format.has_identifiers());
        let plain = formats.iter().any(|format| !format.compressed());
        [
            (self.cpus.is_some() && !ova, "--cpus is for an ova"),
            (self.memory.is_some() && !ova, "--memory is for an ova"),
            (self.zstd && !qcow2, "--zstd is for a qcow2"),
            (self.unique && !identified, "--unique is for a vhd, vhdx, vmdk or ova"),
            (self.sha256 && !plain, "--sha256 is for a raw, vhd or vhdx: all others have it"),
        ]
        .into_iter()
        .find_map(|(asked, text)| asked.then_some(text))
    }

    fn name(&self) -> Result<String, String> {
        if let Some(name) = &self.name {
            return Ok(name.to_string());
        }
        // Scripts leave variables empty that they mean not to set.
        if let Some(name) = std::env::var_os("KEXPORT_NAME").filter(|name| !name.is_empty()) {
            let parsed = name.to_string_lossy().parse::<FileName>();
            return parsed
                .map(|name| name.to_string())
                .map_err(|problem| format!("KEXPORT_NAME={}: {problem}", name.display()));
        }
        let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
        Ok(format!("kldload-export-{}", now.strftime("%Y%m%d-%H%M%S")))
    }

    fn settings(&self, source: &Source<'_>, name: &str) -> anyhow::Result<Settings> {
        let mut random = [0; 32];
        if self.unique {
            File::open("/dev/urandom")
                .and_then(|mut file| file.read_exact(&mut random))
                .context("reading /dev/urandom")?;
        }
        let more = if self.unique { &random[..] } else { &[] };
        let mut settings = Settings::new(source, name, more)?;
        settings.zstd = self.zstd;
        let ova::Machine { cpus, memory, .. } = ova::Machine::default();
        settings.machine = ova::Machine {
            name: name.to_owned(),
            cpus: self.cpus.unwrap_or(cpus),
            memory: self.memory.unwrap_or(memory),
        };
        settings.verity = !self.sha256;
        Ok(settings)
    }
}

/// Where images go.
enum Target {
    Files(Outputs),
    One(Sink),
}

impl Target {
    fn begin(
        args: &ExportArgs,
        formats: &[Format],
        name: &str,
        sources: &[OpenedFile],
    ) -> anyhow::Result<Self> {
        if !Sink::is_meant(&args.output) {
            let files = Outputs::create(&args.output, name, formats, sources, args.force)?;
            return Ok(Self::Files(files));
        }
        if formats != [Format::Raw] {
            usage("only one raw image can go to a block device or standard output");
        }
        let sink = Sink::open(&args.output, sources, args.force)?;
        if sink.is_stream() && (args.verify || args.json || args.sha256) {
            usage("--verify, --json and --sha256 are not possible with -o -");
        }
        if sink.is_stream() && args.force {
            usage("--force is for files and block devices");
        }
        if args.name.is_some() {
            usage("--name is for files, not for a block device or standard output");
        }
        if args.sha256 {
            usage("--sha256 is not possible with a block device");
        }
        Ok(Self::One(sink))
    }

    fn writers(&self, settings: &Settings) -> anyhow::Result<Vec<Box<dyn ImageWriter>>> {
        match self {
            Self::Files(outputs) => outputs.writers(settings),
            Self::One(sink) => Ok(vec![sink.writer(settings.size)?]),
        }
    }

    fn verify(&self, source: &Source<'_>, settings: &Settings, ui: &mut Ui) -> anyhow::Result<()> {
        match self {
            Self::Files(outputs) => outputs.verify(source, &settings.runs, ui),
            Self::One(sink) => sink.verify(source, settings, ui),
        }
    }

    fn finish(
        self,
        written: &[Written],
        sha256: bool,
        manifest: &mut Value,
    ) -> anyhow::Result<Vec<Published>> {
        match self {
            Self::Files(outputs) => {
                let digests = outputs.digests(written, sha256)?;
                outputs.publish(written, &digests, manifest)
            }
            Self::One(sink) => sink.finish(written),
        }
    }
}

/// Runs the command.
pub fn run(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let mut ui = Ui::new(args.json);
    let formats = match args.formats() {
        Ok(formats) => formats,
        Err(text) => usage(text),
    };
    if let Some(text) = args.without_effect(&formats) {
        usage(text);
    }
    let name = match args.name() {
        Ok(name) => name,
        Err(text) => usage(text),
    };
    let opened = source::open(&args.source, args.source_format.map(Into::into), &args.backing)?;
    let needed = |path: &&PathBuf| opened.files.iter().skip(1).any(|file| file.path == **path);
    if let Some(path) = args.backing.iter().find(|path| !needed(path)) {
        usage(format_args!("--backing {}: the source has no such layer", path.display()));
    }
    let disk: Arc<dyn ReadAt> = Arc::from(opened.disk);
    let reading = || format!("reading {}", args.source.display());
    if disk.size().with_context(reading)? == 0 {
        return Err(
            Invalid(format!("{} is empty: there is no disk in it", args.source.display())).into()
        );
    }
    let target = Target::begin(args, &formats, &name, &opened.files)?;

    ui.stage("reading space", 0);
    let space = if args.keep_free { None } else { Some(Space::find(&disk)?) };
    let used = space.as_ref().map(|space| &space.used);
    let source = Source::new(&*disk, used, args.skip_bad).with_context(reading)?;
    let settings = args.settings(&source, &name).with_context(reading)?;
    let (runs, total) = (&settings.runs, settings.total());
    let writing = || format!("writing to {}", args.output.display());
    let writers = target.writers(&settings).with_context(writing)?;
    ui.stage("exporting", total);
    let options = settings.options(&formats, args.jobs);
    let exported = ::image::export(&source, runs, writers, options, &mut ui.totals());
    let written = exported.map_err(|error| {
        let what = if matches!(error, ExportError::Read { .. }) { reading() } else { writing() };
        anyhow::Error::new(error).context(what)
    })?;
    if args.verify {
        ui.stage("verifying", total * formats.len() as u64);
        target.verify(&source, &settings, &mut ui)?;
    }
    ui.stage("finishing", 0);
    let bad = source.bad();
    for bad in &bad {
        let (start, end) = (bad.range.start, bad.range.end);
        ui.warn(&format!("zeros instead of bytes {start} to {end}: {}", bad.error));
    }
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
    let images = target.finish(&written, args.sha256, &mut manifest)?;
    for note in space.iter().flat_map(|space| &space.notes) {
        ui.note(note);
    }
    for image in images {
        ui.result(&image.text, image.value);
    }
    Ok(if bad.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(MISMATCH) })
}
