//! `kldload pool`: trees become a bare pool, without disk and boot files. For tests of the pool
//! writer and benchmarks.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::json;
use tree::{Blobs, LayeredBlobs, Tree};

use super::build::read_tree;
use crate::output::OutputFile;
use crate::size;
use crate::ui::Ui;

/// Block size of volumes, that of OpenZFS.
const VOLUME_BLOCK: u32 = 16 << 10;

/// Write trees into a pool with a file system "fs" below the pool's root
#[derive(Debug, Args)]
pub struct PoolArgs {
    /// The tree: tar archive, directory or saved tree
    #[arg(long)]
    tree: PathBuf,
    /// A state that the file system had earlier, and the snapshot that keeps it; the oldest first
    #[arg(long, value_name = "SNAPSHOT=TREE", value_parser = pair)]
    earlier: Vec<(String, PathBuf)>,
    /// A clone "NAME" beside the file system, from its snapshot, perhaps with another tree
    #[arg(long, value_name = "NAME@SNAPSHOT[=TREE]")]
    clone: Vec<String>,
    /// A volume "NAME" beside the file system, with the bytes of a file
    #[arg(long, value_name = "NAME=FILE", value_parser = pair)]
    volume: Vec<(String, PathBuf)>,
    /// The file that becomes the pool's device
    #[arg(short, long)]
    output: PathBuf,
    /// Another file, which becomes the other half of a mirror
    #[arg(long)]
    mirror: Vec<PathBuf>,
    /// Size of the device
    #[arg(long, value_parser = size::parse, default_value = "8G")]
    size: u64,
    /// Name of the pool
    #[arg(long, default_value = "tank")]
    name: String,
    /// Features to enable, by the name of the set: openzfs-2.1-linux, openzfs-2.2, …
    #[arg(long, default_value_t)]
    features: zfs::FeatureSet,
    /// Give dnodes the size that the property dnodesize tells, rather than 512 bytes
    #[arg(long)]
    large_dnodes: bool,
    /// Draw GUIDs from this text as well as from the tree
    #[arg(long, default_value = "")]
    seed: String,
    /// Properties of the pool's root dataset, NAME=VALUE
    #[arg(long)]
    property: Vec<String>,
    /// Print events and results as JSON, one object a line
    #[arg(long)]
    json: bool,
}

fn pair(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or(format!("{text:?} is not NAME=PATH"))?;
    Ok((name.to_owned(), path.into()))
}

fn content(tree: &Tree) -> zfs::Content<'_> {
    zfs::Content { tree, root: tree.root(), mounts: Default::default() }
}

/// Runs the command.
pub fn run(args: &PoolArgs) -> anyhow::Result<ExitCode> {
    let mut ui = Ui::new(args.json);
    let (tree, mut all) = read(&args.tree, &mut ui)?;
    let mut earlier = Vec::new();
    for (snapshot, path) in &args.earlier {
        let (tree, blobs) = read(path, &mut ui)?;
        earlier.push((snapshot.clone(), tree));
        all = both(all, blobs);
    }
    let mut clones = Vec::new();
    for clone in &args.clone {
        let (name, tree) = match clone.split_once('=') {
            None => (clone.as_str(), None),
            Some((name, path)) => {
                let (tree, blobs) = read(Path::new(path), &mut ui)?;
                all = both(all, blobs);
                (name, Some(tree))
            }
        };
        let (name, snapshot) =
            name.split_once('@').with_context(|| format!("{name:?} is not NAME@SNAPSHOT"))?;
        clones.push((name.to_owned(), snapshot.to_owned(), tree));
    }
    let mut volumes = Vec::new();
    let mut files = tree::MemoryBlobs::default();
    for (name, path) in &args.volume {
        let mut bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        bytes.resize(bytes.len().next_multiple_of(VOLUME_BLOCK as usize), 0);
        let size = bytes.len() as u64;
        let file = tree::File::dense(size, files.insert(bytes));
        volumes.push((name.clone(), zfs::Volume { file, block_size: VOLUME_BLOCK }));
    }
    all = both(all, Box::new(files));

    let fs = format!("{}/fs", args.name);
    let beside = |name: &str| format!("{}/{name}", args.name);
    let install = Some("install".to_owned());
    let usual = ["xattr=sa", "acltype=posixacl", "canmount=noauto"];
    let usual = properties(usual)?;
    let root = zfs::Dataset {
        name: args.name.clone(),
        properties: properties(args.property.iter().map(String::as_str))?,
        snapshot: install.clone(),
        ..Default::default()
    };
    let mut datasets = vec![root];
    datasets.push(zfs::Dataset {
        name: fs.clone(),
        properties: usual.clone(),
        content: Some(content(&tree)),
        snapshot: install.clone(),
        earlier: earlier
            .iter()
            .map(|(snapshot, tree)| zfs::State {
                content: content(tree),
                snapshot: snapshot.clone(),
            })
            .collect(),
        ..Default::default()
    });
    datasets.extend(clones.iter().map(|(name, snapshot, tree)| zfs::Dataset {
        name: beside(name),
        properties: usual.clone(),
        content: tree.as_ref().map(content),
        snapshot: install.clone(),
        origin: Some(format!("{fs}@{snapshot}")),
        ..Default::default()
    }));
    datasets.extend(volumes.into_iter().map(|(name, volume)| zfs::Dataset {
        name: beside(&name),
        snapshot: install.clone(),
        volume: Some(volume),
        ..Default::default()
    }));
    let digest = tree::manifest::digest(&tree).0;
    let pool = zfs::Pool {
        name: args.name.clone(),
        seed: match args.seed.as_str() {
            "" => digest,
            seed => tree::Digest::of(&[&digest[..], seed.as_bytes()].concat()).0,
        },
        timestamp: 1_700_000_000,
        features: args.features,
        large_dnodes: args.large_dnodes,
        denser: None,
        packed: None,
        autotrim: false,
        bootfs: Some(fs),
        history: "kldload pool".to_owned(),
        datasets,
    };
    zfs::check_pool(&pool)?;
    zfs::unreadable_xattrs(&tree).iter().for_each(|xattr| ui.warn(&xattr.to_string()));
    let mut outputs = Vec::new();
    for path in [&args.output].into_iter().chain(&args.mirror) {
        let output = OutputFile::create(path)?;
        output.file().set_len(args.size)?;
        outputs.push(output);
    }
    ui.stage("writing pool", 0);
    let devices: Vec<_> = outputs.iter().map(OutputFile::file).collect();
    let summary = zfs::write_mirror(&devices, &pool, &all, &mut |bytes| ui.advance(bytes))?;
    let paths = outputs.into_iter().map(OutputFile::publish).collect::<Result<Vec<_>, _>>()?;
    for path in paths {
        ui.result(
            &path.display().to_string(),
            json!({"event": "pool", "path": path, "pool_guid": summary.pool_guid,
                   "allocated": summary.allocated}),
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path, ui: &mut Ui) -> anyhow::Result<(Tree, Box<dyn Blobs>)> {
    read_tree(path, &std::env::temp_dir(), ui)
}

fn properties<'a>(
    texts: impl IntoIterator<Item = &'a str>,
) -> anyhow::Result<Vec<(String, String)>> {
    let split = |text: &str| match text.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(anyhow::anyhow!("{text:?} is not NAME=VALUE")),
    };
    texts.into_iter().map(split).collect()
}

/// The blobs of two trees.
fn both(upper: Box<dyn Blobs>, lower: Box<dyn Blobs>) -> Box<dyn Blobs> {
    Box::new(LayeredBlobs { upper, lower })
}
