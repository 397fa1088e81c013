//! `kldload build RECIPE`: from official packages to the finished machine.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use darksite::keys;
use darksite::site::Site;
use plan::Plan;
use rootfs::bootstrap::BootstrapError;
use rootfs::personalise::{AptArchive, AptSources, PersonaliseError, personalise};
use serde_json::json;
use tree::{LayeredBlobs, MemoryBlobs, Timestamp};

use super::licences::licences;
use super::products::{Product, Products};
use super::room::room;
use super::{BuildArgs, finished, made, packed, record, root, source_date_epoch};
use crate::cache::Cache;
use crate::commands::cache::DirectoryArgs;
use crate::commands::darksite::asked::{Asked, AskedArgs};
use crate::commands::darksite::sync::{self, NetworkArgs};
use crate::commands::plan::{propose, published, read_files};
use crate::output::OutputDirectory;
use crate::ui::Ui;

/// What only builds of recipes take.
#[derive(Debug, Args)]
pub struct RecipeArgs {
    /// The lock file [default: the recipe's name, ending in .lock]
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
    /// The darksite's directory, else that of KLDLOAD_DARKSITE; made if it does not exist
    #[arg(long, value_name = "DIR", default_value_os_t = usual_darksite())]
    darksite: PathBuf,
    #[command(flatten)]
    cache: DirectoryArgs,
    /// Make everything anew, and keep nothing
    #[arg(long)]
    no_cache: bool,
    #[command(flatten)]
    network: NetworkArgs,
}

/// To clap, what the environment has is as if it was asked for, and then nobody who has the variable could use `--tree`.
fn usual_darksite() -> PathBuf {
    let told = std::env::var_os("KLDLOAD_DARKSITE").filter(|directory| !directory.is_empty());
    told.map_or_else(|| PathBuf::from("darksite"), PathBuf::from)
}

/// Runs the command.
pub fn run(args: &BuildArgs, path: &Path) -> anyhow::Result<ExitCode> {
    let mut ui = Ui::new(args.json);
    let asked = Asked::read(&AskedArgs::of(path, args.recipe_args.lock.as_deref()))?;
    let asked = asked.with_images(Product::outputs(&args.format), args.name.clone());
    let recipe = asked.recipe();
    let files = read_files(&asked)?;
    asked.warn_of_profile(&ui);
    asked.warn_of_unlisted(&ui);
    let context = || path.display().to_string();
    let wanted: Vec<Product> = recipe.machine.image.outputs.iter().map(|&one| one.into()).collect();
    let products = Products::new(&wanted)?;
    if args.dry_run {
        let proposal = propose(&asked, &files, asked.fitting_lock(&mut ui)?.as_ref())?;
        let value = json!({"event": "plan", "plan": published(&proposal)?});
        ui.result(proposal.to_string().trim_end(), value);
        return Ok(ExitCode::SUCCESS);
    }

    let now = source_date_epoch()?.unwrap_or_else(jiff::Timestamp::now);
    // What cannot be written is known before anything is fetched or made.
    let directory = OutputDirectory::create(&args.output)?;
    directory.check()?;
    let site = Site::open(&args.recipe_args.darksite)?;
    let _guard = site.guard()?;
    let fetcher = args.recipe_args.network.fetcher()?;
    let lock = sync::bring(&asked, &site, &fetcher, &mut ui)?;
    let proposal = propose(&asked, &files, Some(&lock))?;
    let time = root::timestamp(&lock)?;

    let cache = match args.recipe_args.no_cache {
        true => None,
        false => Some(Cache::open(&args.recipe_args.cache.directory()?)?),
    };
    let request = root::request(&asked, &files, &lock, &site, time)?;
    let name = proposal.name.clone();
    args.check_targets(args.files(&products, &name))?;
    let signer = keys::signing_key(&site.keys(), now)?;
    let formats: Vec<&str> = products.all().map(Product::name).collect();
    let signed_by = signer.fingerprint().to_string();
    let decides = json!([proposal.digest, request.key(), time, name, formats, signed_by]);
    let key = made::key(&decides)?;
    if let (Some(cache), None) = (&cache, &args.manifest)
        && made::unchanged(cache, &key, &args.output, &mut ui)?
    {
        return Ok(ExitCode::SUCCESS);
    }
    // Images hold what the packages hold, hardly better compressed: with less than half of it, why begin?
    room(&args.output, lock.size() / 2)?;
    let root = root::root(&request, &asked.name(), cache.as_ref(), &args.output, &mut ui);
    let root = root.map_err(|error| refused(&asked, error))?;

    let packed = match &cache {
        None => None,
        Some(cache) => {
            let (content, compression) =
                ((&root.tree, &root.blobs as _), recipe.machine.image.compression());
            packed::packed(content, (&request.key(), &asked.name()), compression, cache, &mut ui)?
        }
    };

    ui.stage("personalising", 0);
    let mut tree = root.tree;
    let mut generated = MemoryBlobs::default();
    let machine = recipe.personal(&files, Some(sources(&asked)?)).with_context(context)?;
    let stamp = Timestamp { seconds: time, nanoseconds: 0 };
    let personal = personalise(&mut tree, &root.blobs, &mut generated, &machine, stamp);
    personal.map_err(|error| refused(&asked, error.into()))?;
    let blobs = LayeredBlobs { upper: generated, lower: root.blobs };

    ui.stage("planning", 0);
    let plan = Plan::new(tree, &blobs, &recipe.options(Some(time)))?;
    plan.report().warnings.iter().for_each(|warning| ui.warn(warning));
    let images = finished(&plan, &blobs, packed.as_ref(), &products, args, &name, &mut ui)?;
    let licenses = &licences(&lock, &site, cache.as_ref(), &mut ui)?;
    let facts =
        record::Facts { proposal: &proposal, lock: &lock, licenses, plan: &plan, images: &images };
    let made = record::write(&facts, &site, (&signer, now), &args.output, &name, &mut ui)?;
    if let Some(cache) = &cache {
        made::keep(cache, &key, &format!("{name}: {}", formats.join(", ")), &made)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The same error, with the line of the recipe where that asks for what the root cannot be.
fn refused(asked: &Asked, error: anyhow::Error) -> anyhow::Error {
    let error = match error.downcast::<BootstrapError>() {
        Ok(BootstrapError::Refused(error)) => error.into(),
        Ok(error) => error.into(),
        Err(error) => error,
    };
    match error.downcast::<PersonaliseError>() {
        Ok(error) => match asked.recipe().place_of(&error) {
            Some(place) => asked.blame(&place, &error),
            None => anyhow::Error::new(error).context(asked.path().display().to_string()),
        },
        Err(error) => error,
    }
}

/// The distribution's own archives, whatever mirror this build uses.
fn sources(asked: &Asked) -> anyhow::Result<AptSources> {
    let packages = &asked.recipe().packages;
    let distribution = asked.distribution();
    let release = distribution.release(&packages.release)?;
    let components = match packages.components.is_empty() {
        true => release.components.clone(),
        false => packages.components.clone(),
    };
    let mut archives: Vec<AptArchive> = Vec::new();
    let optional = release.optional.iter().filter(|_| packages.backports);
    for suite in release.suites.iter().chain(optional) {
        let archive = distribution
            .archive
            .get(&suite.archive)
            .with_context(|| format!("{} has no archive {}", distribution.name, suite.archive))?;
        match archives.iter_mut().find(|known| known.uri == archive.mirror) {
            Some(known) => known.suites.push(suite.name.clone()),
            None => archives.push(AptArchive {
                uri: archive.mirror.clone(),
                suites: vec![suite.name.clone()],
                components: components.clone(),
            }),
        }
    }
    Ok(AptSources { distribution: distribution.name.clone(), archives })
}
