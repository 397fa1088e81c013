//! `kldload pool`: a tree becomes a bare pool, without disk and boot files. For tests of the pool
//! writer and benchmarks.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::build::read_tree;
use crate::output::OutputFile;
use crate::size;
use crate::ui::Ui;

/// Write a tree into a pool of one dataset below the pool's root
#[derive(Debug, Args)]
pub struct PoolArgs {
    /// The tree: tar archive, directory or saved tree
    #[arg(long)]
    tree: PathBuf,
    /// The file that becomes the pool's device
    #[arg(short, long)]
    output: PathBuf,
    /// Size of the device
    #[arg(long, value_parser = size::parse, default_value = "8G")]
    size: u64,
    /// Name of the pool
    #[arg(long, default_value = "tank")]
    name: String,
    /// Properties of the pool's root dataset, NAME=VALUE
    #[arg(long)]
    property: Vec<String>,
    /// Print events and results as JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &PoolArgs) -> anyhow::Result<ExitCode> {
    let mut ui = Ui::new(args.json);
    let spool = std::env::temp_dir();
    let (tree, blobs) = read_tree(&args.tree, &spool, &mut ui)?;
    let properties = args
        .property
        .iter()
        .map(|text| match text.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(anyhow::anyhow!("{text:?} is not NAME=VALUE")),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let dataset = |name: String, properties, content| zfs::Dataset {
        name,
        properties,
        content,
        snapshot: Some("install".to_owned()),
    };
    let content = zfs::Content { tree: &tree, root: tree.root(), mounts: Default::default() };
    let fs = format!("{}/fs", args.name);
    let pool = zfs::Pool {
        name: args.name.clone(),
        seed: tree::manifest::digest(&tree).0,
        timestamp: 1_700_000_000,
        features: zfs::FeatureSet::default(),
        autotrim: false,
        bootfs: Some(fs.clone()),
        history: "kldload pool".to_owned(),
        datasets: vec![
            dataset(args.name.clone(), properties, None),
            dataset(
                fs,
                vec![
                    ("xattr".to_owned(), "sa".to_owned()),
                    ("acltype".to_owned(), "posixacl".to_owned()),
                    ("canmount".to_owned(), "noauto".to_owned()),
                ],
                Some(content),
            ),
        ],
    };
    zfs::check_pool(&pool)?;
    zfs::unreadable_xattrs(&tree).iter().for_each(|xattr| ui.warn(&xattr.to_string()));
    let output = OutputFile::create(&args.output)?;
    output.file().set_len(args.size)?;
    ui.stage("writing pool", 0);
    let summary = zfs::write_pool(output.file(), &pool, &blobs, &mut |bytes| ui.advance(bytes))?;
    let path = output.publish()?;
    ui.result(
        &path.display().to_string(),
        json!({"event": "pool", "path": path, "pool_guid": summary.pool_guid,
               "allocated": summary.allocated}),
    );
    Ok(ExitCode::SUCCESS)
}
