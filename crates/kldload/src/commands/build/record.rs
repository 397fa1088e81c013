//! What lies beside the images: the record of the build, the bill of materials, a signature.
//!
//! `NAME.json` names everything that decided the machine and everything that came out, by SHA-256;
//! `NAME.json.asc` is a detached OpenPGP signature by the darksite's key; `NAME.spdx.json` lists packages.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use darksite::lock::Lock;
use darksite::sbom::{Licenses, spdx};
use darksite::site::Site;
use jiff::Timestamp;
use pkg::openpgp::SigningKey;
use plan::Plan;
use plan::proposal::Proposal;
use serde_json::{Value, json};
use tree::Digest;

use super::made::Made;
use super::products::Product;
use crate::commands::plan::published;
use crate::output::{OutputFile, sha256};
use crate::ui::Ui;

/// What is recorded.
#[derive(Debug)]
pub struct Facts<'a> {
    /// What was asked.
    pub proposal: &'a Proposal,
    /// The packages.
    pub lock: &'a Lock,
    /// What they say of their licences.
    pub licenses: &'a Licenses,
    /// The machine.
    pub plan: &'a Plan,
    /// What came out.
    pub images: &'a [(Product, PathBuf)],
}

/// Writes the three files into `directory`; tells all that lies there now, the images first.
pub fn write(
    facts: &Facts<'_>,
    site: &Site,
    (key, now): (&SigningKey, Timestamp),
    directory: &Path,
    name: &str,
    ui: &mut Ui,
) -> anyhow::Result<Vec<Made>> {
    let document = spdx(facts.lock, name, site.store(), facts.licenses)?;
    let materials = format!("{}\n", serde_json::to_string_pretty(&document)?);
    let materials_path = directory.join(format!("{name}.spdx.json"));
    let bytes = facts.images.iter().map(|(_, path)| size(path)).sum::<io::Result<u64>>()?;
    ui.stage("hashing images", bytes);
    let mut made = Vec::new();
    for (product, path) in facts.images {
        let digest = sha256(&File::open(path)?, &mut |bytes| ui.advance(bytes))?;
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        made.push(Made {
            file,
            format: product.name().to_owned(),
            size: size(path)?,
            sha256: digest.to_string(),
        });
    }
    let record = record(facts, &made, &materials)?;
    let text = format!("{}\n", serde_json::to_string_pretty(&record)?);
    let signature = key.detach_sign(text.as_bytes(), now)?;
    let path = directory.join(format!("{name}.json"));
    let signature_path = directory.join(format!("{name}.json.asc"));
    for (format, path, text) in [
        ("spdx", &materials_path, &materials),
        ("json", &path, &text),
        ("signature", &signature_path, &signature),
    ] {
        let output = OutputFile::create(path)?;
        let mut file = output.file();
        file.write_all(text.as_bytes())?;
        output.publish()?;
        made.push(Made {
            file: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            format: format.to_owned(),
            size: text.len() as u64,
            sha256: Digest::of(text.as_bytes()).to_string(),
        });
    }
    ui.result(
        &path.display().to_string(),
        json!({
            "event": "record", "path": path, "signature": signature_path, "sbom": materials_path,
            "digest": facts.proposal.digest, "key": key.fingerprint(),
        }),
    );
    Ok(made)
}

fn record(facts: &Facts<'_>, images: &[Made], materials: &str) -> serde_json::Result<Value> {
    let lock = facts.lock;
    let packages: Vec<Value> = lock
        .packages
        .iter()
        .map(|package| {
            json!({
                "name": package.name, "version": package.version,
                "architecture": package.architecture, "sha256": package.blob.digest.to_string(),
            })
        })
        .collect();
    let mut plan = published(facts.proposal)?;
    Ok(json!({
        "kldload": env!("CARGO_PKG_VERSION"),
        "digest": facts.proposal.digest,
        "recipe": plan["recipe"].take(),
        "files": facts.proposal.files,
        "lock": Digest::of(lock.to_string().as_bytes()).to_string(),
        "sbom": Digest::of(materials.as_bytes()).to_string(),
        "tree": tree::manifest::digest(facts.plan.tree()).to_string(),
        "disk_size": facts.plan.disk_size(),
        "files_size": facts.plan.data_bytes(),
        "images": images,
        "packages": packages,
    }))
}

fn size(path: &Path) -> io::Result<u64> {
    Ok(path.metadata()?.len())
}
