//! `kldload dump`: every object of a pool, as zdb shows them. For tests of the reader.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use zfs::dump::objects;
use zfs::read::Dataset;

use crate::image::{self, KeyArgs};
use crate::ui;

/// Print every object of every dataset, as zdb -Pddddd does
#[derive(Debug, Args)]
pub struct DumpArgs {
    /// The images of the pool's disks
    #[arg(required = true, num_args = 1..)]
    images: Vec<PathBuf>,
    #[command(flatten)]
    keys: KeyArgs,
}

/// Runs the command.
pub fn run(args: &DumpArgs) -> anyhow::Result<ExitCode> {
    let pool = image::open_pool(&args.images, &args.keys)?;
    let datasets = pool.datasets()?.datasets;
    let with_content = datasets.iter().filter(|dataset| dataset.has_content()).map(Some);
    let mut out = BufWriter::new(io::stdout().lock());
    let mut failure = None;
    for dataset in std::iter::once(None).chain(with_content) {
        let mut tell = |text: &str| {
            failure = failure.take().or(out.write_all(text.as_bytes()).err());
        };
        let name = dataset.map_or("the MOS", |dataset: &Dataset| &dataset.name);
        objects(&pool, dataset, &mut tell).with_context(|| format!("dumping {name}"))?;
        if let Some(error) = failure.take() {
            ui::written(Err(error))?;
        }
    }
    ui::written(out.flush())?;
    Ok(ExitCode::SUCCESS)
}
