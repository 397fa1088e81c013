//! What CI and people run: tests with the real tools as judges, benchmarks.
#![forbid(unsafe_code)]

mod apt;
mod checkout;
mod judge_pool;
mod openzfs;
mod run;

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

#[derive(Debug, Subcommand)]
enum Task {
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
    }
}
