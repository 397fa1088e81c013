//! What CI and people run: tests with the real tools as judges, benchmarks.
#![forbid(unsafe_code)]

mod apt;
mod bench;
mod bench_darksite;
mod bench_export;
mod bench_recipe;
mod bench_zfs;
mod checkout;
mod collide;
mod debian;
mod fuzz;
mod judge_pool;
mod labels;
mod openzfs;
mod run;
mod steps;
mod test;
mod torture;
mod vm;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "What CI and people run", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Benchmark {
    /// A tar archive's way to a finished qcow2, and the pool writer alone
    Build,
    /// The pool reader, verifier, writer and sender beside zdb and tar
    Zfs,
    /// Mirroring and publishing packages beside apt-get download and apt-ftparchive
    Darksite,
    /// A disk as images of every format, beside qemu-img
    Export,
    /// The machine of a recipe from a synced darksite, beside mmdebstrap
    Recipe,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Everything that must hold before a change lands; installs what it needs on Debian
    Test {
        /// Which virtual machines are run
        #[arg(long, value_enum, default_value = "ci")]
        vm: test::Machines,
        /// Only these steps
        #[arg(long, num_args = 1.., value_name = "NAME")]
        only: Vec<String>,
    },
    /// Time our work and the peer's, side by side
    Bench {
        /// What is timed
        name: Benchmark,
        /// Tar archive of the Debian that is built; made when not given
        #[arg(long, env = "KLDLOAD_TEST_TREE")]
        tree: Option<PathBuf>,
        /// Profile of the benchmarks "darksite" and "recipe"
        #[arg(long, default_value = "server")]
        profile: String,
        /// More packages of the benchmark "darksite"
        #[arg(long, value_delimiter = ',', value_name = "NAME")]
        packages: Vec<String>,
    },
    /// Run fuzz targets on what they found before and on good inputs, which are made
    Fuzz {
        /// Which ones; all when none is named
        targets: Vec<String>,
        /// How long each runs
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// Judge a bare pool image with OpenZFS 2.1 and 2.3 in user land; the image stays as it is
    JudgePool {
        /// The image file
        image: PathBuf,
        /// The pool's name
        pool: String,
        /// Only what zdb says about the image as it is
        #[arg(long)]
        quick: bool,
        /// Only this release
        #[arg(long, value_name = "VERSION")]
        openzfs: Option<String>,
        /// Print every object of every dataset, as zdb -ddddd sees them, instead
        #[arg(long)]
        dump: bool,
    },
    /// Judge the pool in an image with a real kernel in a virtual machine; the image stays as it is
    JudgeVm {
        /// The image file; without it the judge is judged
        #[arg(requires_all = ["pool", "content"])]
        image: Option<PathBuf>,
        /// The pool's name
        pool: Option<String>,
        /// The tree that was written: tar archive, directory or saved tree
        #[arg(long)]
        content: Option<PathBuf>,
        /// Tar archive of the Debian whose kernel and OpenZFS judge
        #[arg(long, env = "KLDLOAD_TEST_TREE")]
        tree: PathBuf,
        /// The partition that holds the pool; without it the whole image is the pool
        #[arg(long, conflicts_with = "growth")]
        partition: Option<u32>,
        /// The manifest that the build wrote, when the tree is not what was written
        #[arg(long)]
        manifest: Option<PathBuf>,
        /// How many MiB the disk is larger than the image
        #[arg(long, default_value_t = 0)]
        growth: u64,
    },
    /// Write the torture tree: some of everything a file system may hold
    Torture {
        /// An archive if it ends in .tar (without the socket), else the directory of a saved tree
        output: PathBuf,
        /// Divide the large numbers of names and links
        #[arg(long, default_value_t = 1)]
        scale: u32,
        /// Leave out attributes above 64 KiB, which Linux cannot read back
        #[arg(long)]
        linux: bool,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Test { vm, only } => test::run(vm, &only),
        Task::Bench { name: Benchmark::Build, tree, .. } => {
            apt::install_missing()?;
            bench::build(&tree.map_or_else(debian::tree, Ok)?)
        }
        Task::Bench { name: Benchmark::Export, tree, .. } => {
            apt::install_missing()?;
            bench_export::export(&tree.map_or_else(debian::tree, Ok)?)
        }
        Task::Bench { name: Benchmark::Zfs, tree, .. } => {
            apt::install_missing()?;
            bench_zfs::zfs(&tree.map_or_else(debian::tree, Ok)?)
        }
        Task::Bench { name: Benchmark::Darksite, profile, packages, .. } => {
            apt::install_missing()?;
            bench_darksite::darksite(&profile, &packages)
        }
        Task::Bench { name: Benchmark::Recipe, profile, .. } => {
            apt::install_missing()?;
            bench_recipe::recipe(&profile)
        }
        Task::Fuzz { targets, seconds } => fuzz::fuzz(&targets, seconds),
        Task::JudgePool { image, pool, quick, openzfs, dump } => {
            apt::install_missing()?;
            for user_land in openzfs::user_lands()? {
                if openzfs.as_ref().is_some_and(|version| version != user_land.version) {
                    continue;
                }
                if dump {
                    println!("{}", judge_pool::dump(&user_land, &image, &pool)?);
                    continue;
                }
                let started = Instant::now();
                if quick {
                    judge_pool::judge_as_it_is(&user_land, &image, &pool)?;
                } else {
                    judge_pool::judge(&user_land, &image, &pool)?;
                }
                println!(
                    "OpenZFS {}: good ({:.1} s)",
                    user_land.version,
                    started.elapsed().as_secs_f64()
                );
            }
            Ok(())
        }
        Task::JudgeVm { image, pool, content, tree, partition, manifest, growth } => {
            apt::install_missing()?;
            let directory = tempfile::tempdir()?;
            let described;
            let case = match (&image, &pool, &content) {
                (Some(image), Some(pool), Some(content)) => {
                    described = test::describe(content, directory.path())?;
                    let (manifest, sums) =
                        (manifest.as_ref().unwrap_or(&described.0), &described.1);
                    let growth = growth << 20;
                    vm::Case::Pool { image, partition, pool, manifest, sums, growth }
                }
                _ => vm::Case::Itself,
            };
            vm::Judge::new(&tree)?.judge(case, 300)
        }
        Task::Torture { output, scale, linux } => {
            let options = torture::Options { scale, huge_xattrs: !linux, ..Default::default() };
            torture::write_torture(&options, &output)
        }
    }
}
