//! `kldload`: makes ZFS-on-root disk images on a build host, and boots them.

mod cache;
mod commands;
mod failure;
mod fleeting;
mod formats;
mod image;
mod output;
mod scratch;
mod size;
mod time;
mod ui;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use commands::{
    boot, build, cache as kept, darksite, dump, export, files, inspect, plan, pool, schema, verify,
};

/// Makes disk images that run Linux from ZFS, without root, without a ZFS module.
#[derive(Debug, Parser)]
#[command(name = "kldload", version, about, propagate_version = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Exit codes: 0 ok, 1 failed, 2 usage, 3 invalid input, 4 refused for safety, 5 verification mismatch.

Examples:
  kldload build recipes/debian-trixie-server.toml
  kldload build --tree debian.tar -o out/
  kldload boot --check out/debian.qcow2
  kldload export debian.raw all -o images/ --verify
  kldload inspect disk.img
  kldload cp -r disk.img:rpool/ROOT/debian/ root.tar
  kldload darksite sync server.toml
  kldload plan server.toml";

#[derive(Debug, Subcommand)]
enum Command {
    Build(build::BuildArgs),
    Boot(boot::BootArgs),
    Darksite(darksite::DarksiteArgs),
    Export(export::ExportArgs),
    Inspect(inspect::InspectArgs),
    Ls(files::LsArgs),
    Cat(files::CatArgs),
    Cp(files::CpArgs),
    Send(files::SendArgs),
    Verify(verify::VerifyArgs),
    Plan(plan::PlanArgs),
    Cache(kept::CacheArgs),
    Schema(schema::SchemaArgs),
    #[command(hide = true)]
    Dump(dump::DumpArgs),
    #[command(hide = true)]
    Pool(pool::PoolArgs),
    /// Not for people: the part of a build that runs in the sandbox
    #[command(name = rootfs::bootstrap::INSIDE, hide = true)]
    Inside,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Build(args) => build::run(&args),
        Command::Boot(args) => boot::run(args),
        Command::Darksite(args) => darksite::run(args),
        Command::Export(args) => export::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Ls(args) => files::ls(&args),
        Command::Cat(args) => files::cat(&args),
        Command::Cp(args) => files::cp(&args),
        Command::Send(args) => files::send(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Cache(args) => kept::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Dump(args) => dump::run(&args),
        Command::Pool(args) => pool::run(&args),
        Command::Inside => {
            let made = rootfs::bootstrap::inside();
            Ok(if made { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    };
    failure::heard(result.unwrap_or_else(|error| failure::report(&error)))
}
