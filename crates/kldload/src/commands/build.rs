//! `kldload build`: a recipe, or a root tree, becomes disk images.

mod images;
mod licences;
mod made;
mod packed;
mod products;
mod recipe;
mod record;
mod room;
mod root;

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use bootenv::layout::{Additional, Override};
use clap::Args;
use jiff::Timestamp;
use plan::recipe::FileName;
use plan::{Options, Plan};
use serde_json::json;

use super::usage;
use crate::failure::Invalid;
use crate::formats::Format;
use crate::output::{OutputDirectory, OutputFile, check_targets};
use crate::size;
use crate::ui::Ui;
use products::{Product, Products};

/// Make disk images of a machine that runs from ZFS
///
/// A recipe says what the machine is made of and what it is to be: its packages are brought into the
/// darksite, a root is made of them in a sandbox, and kept for the next build. With --tree, the root is
/// there already. The tree is a tar archive (also compressed, or - for standard input), a directory or a saved
/// tree of a Debian system with kernel, initramfs, ZFS module and systemd-boot. Nothing on this
/// host is changed, and neither root nor ZFS is needed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kldload build recipes/debian-trixie-server.toml
  kldload build server.toml -o out/ -f qcow2,vmdk --lock other.lock
  kldload build --tree debian.tar -o out/
  kldload build --tree debian.tar -o out/ -f raw,qcow2,vmdk --disk-size 20G
  kldload build --tree debian.tar -o out/ -f zfs-stream --pool tank
  kldload build --tree debian.tar -o out/ --property rpool:compression=zstd-9
  kldload build --tree debian.tar -o out/ --dataset var/lib/docker:/var/lib/docker
  kldload build --tree debian.tar -o out/ --manifest out/debian.manifest
  kldload build --tree debian.tar -o out/ --dry-run")]
pub struct BuildArgs {
    /// The recipe (NAME.toml); docs/recipes.md has all its keys
    #[arg(
        value_name = "RECIPE",
        required_unless_present = "tree",
        conflicts_with_all = ["tree", "MachineArgs"]
    )]
    recipe: Option<PathBuf>,
    /// The root file system: tar archive, directory or saved tree
    #[arg(
        long,
        value_name = "TAR|DIR",
        conflicts_with_all = ["lock", "darksite", "no_cache", "DirectoryArgs", "NetworkArgs"]
    )]
    tree: Option<PathBuf>,
    /// Directory for the images; made if it does not exist
    #[arg(short, long, value_name = "DIR", default_value = "out")]
    output: PathBuf,
    /// Formats to write; by default those of the recipe, else qcow2
    #[arg(short, long, value_delimiter = ',')]
    format: Vec<Product>,
    /// Name of the images, without extension; by default that of the recipe or the tree
    #[arg(long)]
    name: Option<FileName>,
    #[command(flatten)]
    recipe_args: recipe::RecipeArgs,
    #[command(flatten)]
    machine: MachineArgs,
    /// Also write the manifest of the tree that the image holds: every path with all attributes
    /// and the SHA-256 of its content, after what the build adds and leaves out
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    manifest: Option<PathBuf>,
    /// Print what would be built and stop
    #[arg(long)]
    dry_run: bool,
    /// Print events and results as JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// What the machine is to be; shared with `kldload pool`.
#[derive(Debug, Args)]
pub struct MachineArgs {
    /// Name of the pool
    #[arg(long, default_value = "rpool")]
    pool: String,
    /// Name of the boot environment
    #[arg(long, value_name = "NAME", default_value = "debian")]
    be: String,
    /// Set a property of a dataset: DATASET:PROPERTY=VALUE
    #[arg(long, value_name = "DATASET:PROPERTY=VALUE")]
    property: Vec<Override>,
    /// Add a dataset: DATASET[:MOUNTPOINT]
    #[arg(long, value_name = "DATASET[:MOUNTPOINT]")]
    dataset: Vec<Additional>,
    /// Name of the machine; by default the network gives one
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// More kernel arguments
    #[arg(long, value_name = "ARGUMENT")]
    kernel_argument: Vec<String>,
    /// Size of the disk, for example 20G; the tree decides by default
    #[arg(long, value_parser = size::parse)]
    disk_size: Option<u64>,
    /// Size of the EFI system partition
    #[arg(long, value_parser = size::parse, default_value = "1G")]
    esp_size: u64,
    /// Changes all identifiers (GUIDs) of the image; the same seed gives the same image
    #[arg(long, default_value = "")]
    seed: String,
}

impl MachineArgs {
    /// The options of the plan; the time comes from `SOURCE_DATE_EPOCH`.
    pub fn options(&self) -> anyhow::Result<Options> {
        Ok(Options {
            pool: self.pool.clone(),
            // As its property says.
            denser: None,
            boot_environment: self.be.clone(),
            overrides: self.property.clone(),
            additional: self.dataset.clone(),
            kernel_arguments: self.kernel_argument.clone(),
            clean: true,
            disabled: Vec::new(),
            host_name: self.hostname.clone(),
            disk_size: self.disk_size,
            esp_size: self.esp_size,
            timestamp: source_date_epoch()?.map(Timestamp::as_second),
            seed: self.seed.clone(),
        })
    }
}

/// `SOURCE_DATE_EPOCH`, if it is set: seconds since 1970, as many as a signature of OpenPGP can tell.
pub fn source_date_epoch() -> anyhow::Result<Option<Timestamp>> {
    let Some(text) = std::env::var_os("SOURCE_DATE_EPOCH") else { return Ok(None) };
    let seconds = text.to_str().and_then(|text| text.parse::<u32>().ok());
    let time = seconds.and_then(|seconds| Timestamp::from_second(seconds.into()).ok());
    let wrong = || {
        Invalid(format!(
            "SOURCE_DATE_EPOCH={} is not a number of seconds since 1970, from 0 to {}",
            text.display(),
            u32::MAX
        ))
    };
    Ok(Some(time.ok_or_else(wrong)?))
}

impl BuildArgs {
    /// Refuses `files`, and the manifest, where writing them would lose something.
    fn check_targets(&self, files: impl IntoIterator<Item = PathBuf>) -> anyhow::Result<()> {
        let targets: Vec<PathBuf> = files.into_iter().chain(self.manifest.clone()).collect();
        // Where a recipe has its lock, unless another is named.
        let lock = self.recipe.as_ref().map(|recipe| recipe.with_extension("lock"));
        let sources = self.recipe.iter().chain(&self.tree).cloned().chain(lock);
        check_targets(&targets, &sources.collect::<Vec<_>>(), true)
    }

    /// The files of a build that is called `name`, but for the manifest.
    fn files(&self, products: &Products, name: &str) -> Vec<PathBuf> {
        let record = |ending| self.output.join(format!("{name}.{ending}"));
        let records = ["json", "json.asc", "spdx.json"].map(record);
        let images = products.all().map(|product| product.path(&self.output, name));
        images.chain(records.into_iter().filter(|_| self.recipe.is_some())).collect()
    }
}

/// Runs the command.
pub fn run(args: &BuildArgs) -> anyhow::Result<ExitCode> {
    if let Err(Invalid(text)) = Products::new(&args.format) {
        usage(text);
    }
    args.check_targets(None)?;
    match (&args.recipe, &args.tree) {
        (Some(recipe), _) => recipe::run(args, recipe),
        (None, Some(tree)) => of_tree(args, tree),
        (None, None) => anyhow::bail!("name a recipe, or a tree with --tree"),
    }
}

fn of_tree(args: &BuildArgs, tree: &Path) -> anyhow::Result<ExitCode> {
    let mut ui = Ui::new(args.json);
    let name = args.name.as_ref().map(ToString::to_string).map_or_else(|| image_name(tree), Ok)?;
    let usual = [Product::Image(Format::Qcow2)];
    let wanted: &[Product] = if args.format.is_empty() { &usual } else { &args.format };
    let products = Products::new(wanted)?;
    let options = args.machine.options()?;
    let directory = OutputDirectory::create(&args.output)?;
    directory.check()?;
    args.check_targets(args.files(&products, &name))?;

    let (tree, blobs) = read_tree(tree, &args.output, &mut ui)?;
    ui.stage("planning", 0);
    let plan = Plan::new(tree, &blobs, &options)?;
    let report = plan.report();
    report.warnings.iter().for_each(|warning| ui.warn(warning));
    if args.dry_run {
        let value = json!({"event": "plan", "plan": report});
        ui.result(report.to_string().trim_end(), value);
        return Ok(ExitCode::SUCCESS);
    }

    finished(&plan, &blobs, None, &products, args, &name, &mut ui)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the images and the stream of a plan, and its manifest where that is asked for.
fn finished(
    plan: &Plan,
    blobs: &dyn tree::Blobs,
    packed: Option<&zfs::Packed>,
    products: &Products,
    args: &BuildArgs,
    name: &str,
    ui: &mut Ui,
) -> anyhow::Result<Vec<(Product, PathBuf)>> {
    args.check_targets(args.files(products, name))?;
    let manifest = match &args.manifest {
        Some(path) => {
            let output = OutputFile::create(path)?;
            write_manifest(plan, output.file())
                .with_context(|| format!("cannot write {}", path.display()))?;
            Some(output)
        }
        None => None,
    };
    let raw = OutputFile::create(&Format::Raw.path(&args.output, name))?;
    raw.file().set_len(plan.disk_size()).with_context(|| {
        let (directory, size) = (args.output.display(), plan.disk_size());
        format!(
            "cannot make a disk of {size} bytes in {directory}: the file system may have a limit"
        )
    })?;
    ui.stage("writing pool", plan.data_bytes());
    let mut progress = |bytes| ui.advance(bytes);
    let summary = plan::image::write(plan, blobs, packed, raw.file(), &mut progress)
        .with_context(|| format!("making the disk in {}", args.output.display()))?;
    let stream = match products.stream {
        true => Some(write_stream(plan, raw.file(), &args.output, name, ui)?),
        false => None,
    };
    let written = images::write(raw, &products.images, &args.output, name, ui)?;
    ui.stage("finishing", 0);
    let mut made = Vec::new();
    for (format, output) in written {
        let path = output.publish()?;
        ui.result(
            &path.display().to_string(),
            json!({
                "event": "image",
                "format": format.name(),
                "path": path,
                "disk_size": plan.disk_size(),
                "pool_guid": summary.pool_guid,
                "pool_allocated": summary.allocated,
            }),
        );
        made.push((Product::Image(format), path));
    }
    if let Some((output, size)) = stream {
        let path = output.publish()?;
        let value = json!({"event": "stream", "path": path, "size": size});
        ui.result(&path.display().to_string(), value);
        made.push((Product::Stream, path));
    }
    if let Some(output) = manifest {
        let path = output.publish()?;
        ui.result(&path.display().to_string(), json!({"event": "manifest", "path": path}));
    }
    Ok(made)
}

/// Writes the stream of the pool on the finished disk `raw`; tells its length.
fn write_stream(
    plan: &Plan,
    raw: &fs::File,
    directory: &Path,
    name: &str,
    ui: &mut Ui,
) -> anyhow::Result<(OutputFile, u64)> {
    ui.stage("writing stream", 0);
    let output = OutputFile::create(&Product::Stream.path(directory, name))?;
    let size = plan::image::send(plan, raw.try_clone()?, output.writer())
        .with_context(|| format!("writing {}", output.path().display()))?;
    Ok((output, size))
}

fn write_manifest(plan: &Plan, file: &fs::File) -> io::Result<()> {
    let mut output = BufWriter::new(file);
    tree::manifest::write(plan.tree(), &mut output)?;
    output.flush()
}

/// Reads the tree, which may be standard input.
pub fn read_tree(
    path: &Path,
    spool: &Path,
    ui: &mut Ui,
) -> anyhow::Result<(tree::Tree, Box<dyn tree::Blobs>)> {
    let size = fs::metadata(path).map_or(0, |metadata| metadata.len());
    ui.stage("reading tree", size);
    let ui = std::cell::RefCell::new((ui, 0));
    let progress = |done: u64| {
        let (ui, before) = &mut *ui.borrow_mut();
        ui.advance(done.saturating_sub(*before));
        *before = done;
    };
    if path.as_os_str() == "-" {
        let name = Path::new("standard input");
        return Ok(archive::tar::import_stream(std::io::stdin().lock(), name, spool, &progress)?);
    }
    Ok(archive::open(path, spool, &progress)?)
}

fn image_name(tree: &Path) -> anyhow::Result<String> {
    let name = tree.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.filter(|name| name != "-").unwrap_or_else(|| "image".to_owned());
    let stem = name.split(".tar").next().unwrap_or_default();
    ensure!(!stem.is_empty(), "{} gives the image no name: use --name", tree.display());
    Ok(stem.to_owned())
}
