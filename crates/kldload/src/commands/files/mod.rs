//! `kldload ls`, `cat`, `cp` and `send`: files and snapshots out of a pool.

mod copy;
mod list;
mod place;
mod send;
mod unpack;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use zfs::read::{InodeKind, Object, ReadError};

use place::Place;

pub use send::{SendArgs, send};

use crate::commands::usage;
use crate::failure::MISMATCH;
use crate::image::KeyArgs;
use crate::ui;

/// How much is copied at once.
const PIECE: usize = 1 << 20;

/// List files in a pool
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kldload ls disk.img:rpool/ROOT/debian/etc
  kldload ls -r disk.img:rpool/home@first
  kldload ls a.img,b.img:tank/srv --json")]
pub struct LsArgs {
    /// IMAGE[,IMAGE...]:DATASET[@SNAPSHOT][/PATH]
    place: String,
    #[command(flatten)]
    keys: KeyArgs,
    /// List what is below directories too
    #[arg(short, long)]
    recursive: bool,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// Print a file of a pool, or a volume
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kldload cat disk.img:rpool/ROOT/debian/etc/hostname
  kldload cat disk.img:rpool/swap > swap.raw")]
pub struct CatArgs {
    /// IMAGE[,IMAGE...]:DATASET[@SNAPSHOT][/PATH]
    place: String,
    #[command(flatten)]
    keys: KeyArgs,
}

/// Copy files out of a pool
///
/// With -r the destination is a directory, which appears complete or not at all, or an archive if
/// its name ends in .tar. SRC/ copies what is in a directory, SRC the directory itself. A volume is
/// copied as a raw disk. To - is to standard output: a file as it is, with -r an archive.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kldload cp disk.img:rpool/ROOT/debian/etc/hostname .
  kldload cp -r disk.img:rpool/ROOT/debian/ root/
  kldload cp -r disk.img:rpool/ROOT/debian@install/ root.tar
  kldload cp -r --skip-bad damaged.img:rpool/home/ home/
  kldload cp disk.img:rpool/vol vol.raw")]
pub struct CpArgs {
    /// IMAGE[,IMAGE...]:DATASET[@SNAPSHOT][/PATH]
    source: String,
    /// Where to
    #[arg(default_value = ".")]
    destination: PathBuf,
    #[command(flatten)]
    keys: KeyArgs,
    /// Copy directories with all below
    #[arg(short, long)]
    recursive: bool,
    /// Leave out what cannot be read, and list it; exit code 5 tells that something was left out
    #[arg(long, requires = "recursive")]
    skip_bad: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Runs `ls`.
pub fn ls(args: &LsArgs) -> anyhow::Result<ExitCode> {
    let place = Place::open(&args.place, &args.keys)?;
    list::run(&place, args.recursive, args.json)?;
    Ok(ExitCode::SUCCESS)
}

/// Runs `cat`.
pub fn cat(args: &CatArgs) -> anyhow::Result<ExitCode> {
    let place = Place::open(&args.place, &args.keys)?;
    if let Some((object, size)) = place.volume()? {
        print(&object, size)?;
    } else {
        let fs = place.pool.filesystem(&place.dataset)?;
        let inode = fs.resolve(&place.path, true)?;
        if inode.kind() != InodeKind::File {
            let what = args.place.clone();
            return Err(ReadError::WrongKind { what, expected: "a file" }.into());
        }
        print(&inode.object, inode.attributes.size).with_context(|| args.place.clone())?;
    }
    tell_faults(&place);
    Ok(ExitCode::SUCCESS)
}

/// What was read all the same, from another copy.
fn tell_faults(place: &Place) {
    for fault in place.pool.faults() {
        ui::warn(&format!("a bad copy was not used: {fault}"));
    }
}

/// Prints the first `size` bytes of an object.
fn print(object: &Object<'_>, size: u64) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let mut buffer = vec![0; PIECE];
    let mut at = 0;
    while at < size {
        let length = (size - at).min(PIECE as u64) as usize;
        object.read_at(at, &mut buffer[..length])?;
        ui::written(out.write_all(&buffer[..length]))?;
        at += length as u64;
    }
    ui::written(out.flush())
}

/// Runs `cp`.
pub fn cp(args: &CpArgs) -> anyhow::Result<ExitCode> {
    let place = Place::open(&args.source, &args.keys)?;
    let to_stdout = args.destination.as_os_str() == "-";
    if let Some((object, size)) = place.volume()? {
        match to_stdout {
            true => print(&object, size)?,
            false => copy::volume(&place, (&object, size), &args.destination, args.json)?,
        }
        tell_faults(&place);
        return Ok(ExitCode::SUCCESS);
    }
    let fs = place.pool.filesystem(&place.dataset)?;
    let inode = fs.resolve(&place.path, true)?;
    let mut all = true;
    match (inode.kind(), args.recursive) {
        (InodeKind::Directory, true) => all = copy::directory(&place, &fs, &inode, args)?,
        (InodeKind::Directory, false) => {
            usage(format_args!("{} is a directory: use -r", args.source))
        }
        (InodeKind::File, _) if to_stdout => {
            print(&inode.object, inode.attributes.size).with_context(|| args.source.clone())?
        }
        (InodeKind::File, _) => copy::file(&place, &fs, &inode, &args.destination, args.json)
            .with_context(|| args.source.clone())?,
        _ => {
            let what = args.source.clone();
            return Err(ReadError::WrongKind { what, expected: "a file or directory" }.into());
        }
    }
    tell_faults(&place);
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::from(MISMATCH) })
}
