//! `kldload send`: send streams of snapshots in a pool.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use zfs::send::{SendOptions, StreamWriter, send_snapshot, send_tree};

use super::place::Place;
use crate::commands::usage;
use crate::failure::Refused;
use crate::image::KeyArgs;
use crate::ui;

/// Write a send stream of a snapshot, for zfs receive
///
/// The stream is that of zfs send -L -e -c; -R adds all datasets below, their snapshots and
/// properties; what was made after the snapshot is left out, with a warning, and what is older and has
/// none is refused, as zfs does. Encrypted datasets are sent as plain text.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kldload send disk.img:rpool/ROOT/debian@install | ssh host zfs receive tank/debian
  kldload send disk.img:tank/srv@monday --from sunday -o srv.zfs
  kldload send disk.img:rpool@install -R -o rpool.zfs")]
pub struct SendArgs {
    /// IMAGE[,IMAGE...]:DATASET@SNAPSHOT
    place: String,
    /// Send the difference to this older snapshot of the dataset
    #[arg(long, value_name = "SNAPSHOT")]
    from: Option<String>,
    /// Send all datasets below too, with their snapshots and properties
    #[arg(short = 'R', long)]
    replicate: bool,
    /// Write to a file, which appears complete or not at all, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    keys: KeyArgs,
}

/// Runs the command.
pub fn send(args: &SendArgs) -> anyhow::Result<ExitCode> {
    if args.from.as_ref().is_some_and(|from| from.contains('#')) {
        usage("--from: bookmarks are not supported, name a snapshot");
    }
    let place = Place::open(&args.place, &args.keys)?;
    let Some((dataset, snapshot)) = place.dataset.name.split_once('@') else {
        usage(format_args!("{} is no snapshot: name one as DATASET@SNAPSHOT", args.place));
    };
    if !place.path.is_empty() {
        usage(format_args!("{}: a stream is of a whole snapshot, not of a part", args.place));
    }
    match &args.output {
        Some(path) => {
            let output = place.output(path)?;
            write(args, &place, (dataset, snapshot), output.writer())
                .with_context(|| format!("writing {}", path.display()))?;
            output.publish()?;
        }
        None if io::stdout().is_terminal() => {
            let what = "a stream is not written to a terminal: use -o FILE, or a pipe";
            return Err(Refused(what.into()).into());
        }
        None => {
            let out = BufWriter::with_capacity(1 << 20, io::stdout().lock());
            write(args, &place, (dataset, snapshot), out)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn write(
    args: &SendArgs,
    place: &Place,
    (dataset, snapshot): (&str, &str),
    out: impl Write,
) -> anyhow::Result<()> {
    let mut stream = StreamWriter::new(out);
    let options = SendOptions::default();
    let from = args.from.as_deref().map(|from| {
        let name = from.strip_prefix(dataset).unwrap_or(from);
        name.strip_prefix('@').unwrap_or(from)
    });
    if args.replicate {
        let left_out = send_tree(&place.pool, dataset, snapshot, from, options, &mut stream)?;
        for name in left_out {
            let why = "it was made after the snapshot, or is below what was";
            ui::warn(&format!("{name}@{snapshot} does not exist and is left out: {why}"));
        }
    } else {
        let older = from.map(|from| {
            let name = format!("{dataset}@{from}");
            place.pool.dataset(&name).with_context(|| format!("cannot send from {name}"))
        });
        let older = older.transpose()?;
        send_snapshot(&place.pool, &place.dataset, older.as_ref(), options, &mut stream)?;
    }
    stream.finish(args.replicate)?;
    Ok(())
}
