//! `kldload plan`: what a build of a recipe would do.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use darksite::lock::Lock;
use darksite::request::Request;
use jiff::Timestamp;
use pkg::recipe::Pin;
use plan::proposal::{Facts, LockFacts, PackageFacts, Proposal};
use plan::recipe::{FileName, Files};
use serde_json::{Value, json};

use super::build::source_date_epoch;
use super::darksite::asked::{Asked, AskedArgs};
use super::darksite::beside::{read_beside, unreadable};
use crate::failure::Invalid;
use crate::ui::Ui;

/// Print what a build of a recipe would do, without touching anything
///
/// The recipe, the files it names and its lock are read and checked. The digest names all that decides
/// what is built: the same digest is the same machine.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kldload plan recipes/debian-trixie-server.toml
  kldload plan server.toml --json | jq .plan.digest")]
pub struct PlanArgs {
    #[command(flatten)]
    asked: AskedArgs,
    /// Print the plan as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &PlanArgs) -> anyhow::Result<ExitCode> {
    let mut ui = Ui::new(args.json);
    let asked = Asked::read(&args.asked)?;
    let files = read_files(&asked)?;
    asked.warn_of_profile(&ui);
    asked.warn_of_unlisted(&ui);
    let proposal = propose(&asked, &files, asked.fitting_lock(&mut ui)?.as_ref())?;
    let value = json!({"event": "plan", "plan": published(&proposal)?});
    ui.result(proposal.to_string().trim_end(), value);
    Ok(ExitCode::SUCCESS)
}

/// The plan, with the lock if there is one.
pub fn propose(asked: &Asked, files: &Files, lock: Option<&Lock>) -> anyhow::Result<Proposal> {
    let locked = lock.map(|lock| LockFacts {
        digest: tree::Digest::of(lock.to_string().as_bytes()).to_string(),
        packages: lock.packages.len(),
        bytes: lock.size(),
    });
    let packages = PackageFacts {
        digest: tree::Digest::of(chosen_by(asked.request()).to_string().as_bytes()).to_string(),
        requests: asked.requests().to_vec(),
        lock: asked.lock_path().display().to_string(),
        locked,
    };
    let timestamp = source_date_epoch()?.map(Timestamp::as_second);
    let facts = Facts { packages, name: asked.name(), timestamp };
    let proposed = Proposal::new(asked.recipe(), files, facts);
    proposed.with_context(|| asked.path().display().to_string())
}

/// The plan for programs. Contents that the recipe itself has are told by SHA-256 and length: they may be secret, and
/// records are for everybody.
pub fn published(proposal: &Proposal) -> serde_json::Result<Value> {
    let mut value = serde_json::to_value(proposal)?;
    for kind in ["files", "scripts"] {
        let added = value.pointer_mut(&format!("/recipe/{kind}")).and_then(Value::as_array_mut);
        for one in added.into_iter().flatten() {
            let Some(content) = one.pointer_mut("/source/content") else { continue };
            let text = content.as_str().unwrap_or_default().as_bytes();
            let digest = tree::Digest::of(text).to_string();
            *content = json!({"sha256": digest, "length": text.len()});
        }
    }
    Ok(value)
}

/// All that decides which packages are chosen, and which of them apt calls automatic.
fn chosen_by(request: &Request) -> serde_json::Value {
    let Request { packages, essential, priority, recommends, excluded, pins, optional } = request;
    let pins: Vec<String> = pins.iter().map(Pin::to_string).collect();
    let optional: Vec<_> = optional.iter().map(|set| (&set.name, &set.packages)).collect();
    json!([packages, essential, priority, recommends, excluded, pins, optional])
}

/// Reads the files that the recipe names, and finds out whether they are what they should be.
pub fn read_files(asked: &Asked) -> anyhow::Result<Files> {
    let folder = asked.path().parent().unwrap_or(Path::new(""));
    let mut files = Files::new();
    for (place, name) in asked.recipe().files() {
        let path: PathBuf = folder.join(name);
        let content = read_beside(folder, &path);
        let content = content.map_err(|error| asked.blame(&place, &unreadable(&path, &error)))?;
        files.insert(name.to_owned(), content);
    }
    asked.recipe().check(&files).with_context(|| asked.path().display().to_string())?;
    check_name(asked)?;
    Ok(files)
}

/// Whether images can have the recipe's name, where it tells no other.
fn check_name(asked: &Asked) -> Result<(), Invalid> {
    if asked.recipe().machine.image.name.is_some() {
        return Ok(());
    }
    let wrong = |problem: String| {
        let path = asked.path().display();
        Invalid(format!("{path}: {problem}; name in [image] gives another than the recipe's"))
    };
    asked.name().parse::<FileName>().map(drop).map_err(wrong)
}
