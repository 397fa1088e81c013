//! `kldload darksite serve`: the repository over HTTP.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use darksite::serve::Server;
use darksite::site::{KEY_FILE, LOCK_FILE, read_lock};
use serde_json::json;

use super::Common;
use crate::failure::Invalid;
use crate::ui::{self, Ui};

/// Serve the newest snapshot over HTTP, for reading only, until interrupted
///
/// Snapshots are also at /snapshots/ID/. A repository made by kldload darksite copy can be served too:
/// name it with --dir.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kldload darksite serve
  kldload darksite serve --listen 0.0.0.0:3142 --dir /srv/darksite")]
pub struct ServeArgs {
    #[command(flatten)]
    common: Common,
    /// Address or name of this host, and port, to listen at
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:3142", value_parser = place)]
    listen: String,
    /// Print each request and its status
    #[arg(short, long)]
    verbose: bool,
}

/// Something to listen at; whether this host has it shows later.
fn place(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            Ok(text.to_owned())
        }
        _ => Err("an address or a name, and a port, are expected, as in localhost:3142".to_owned()),
    }
}

/// Runs the command.
pub fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let mut ui = Ui::new(args.common.json);
    let directory = &args.common.dir;
    let repository = match directory.join("snapshots").is_dir() {
        true => args.common.existing()?.repository(None)?,
        false if directory.join(LOCK_FILE).is_file() => directory.clone(),
        false => {
            let neither =
                format!("{} is neither a darksite nor a copy of one", directory.display());
            return Err(Invalid(neither).into());
        }
    };
    let lock = read_lock(&repository.join(LOCK_FILE))?;
    let server = Server::bind(args.listen.as_str(), directory)
        .with_context(|| format!("cannot listen at {}", args.listen))?;
    let address = server.address()?;
    let (json, verbose) = (args.common.json, args.verbose);
    ui.result(
        &format!(
            "serving {} at http://{address}/, for apt:\n\
             deb [signed-by=/etc/apt/keyrings/{KEY_FILE}] http://{address}/ {} {}",
            directory.display(),
            lock.codename,
            components(&repository, &lock.codename).join(" "),
        ),
        json!({"event": "serving", "address": address.to_string(), "codename": lock.codename}),
    );
    // Who cannot hear of it may know the address all the same.
    if let Some(unheard) = ui::unheard() {
        ui::warn(&unheard.to_string());
    }
    server.run(move |path, status| {
        // Who no longer listens to what is logged may still want the files.
        let _ = if json {
            writeln!(
                io::stdout(),
                "{}",
                json!({"event": "request", "path": path, "status": status})
            )
        } else if verbose {
            writeln!(io::stderr(), "{status} {}", path.escape_debug())
        } else {
            Ok(())
        };
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The components of a published suite.
fn components(repository: &std::path::Path, codename: &str) -> Vec<String> {
    let entries = std::fs::read_dir(repository.join("dists").join(codename));
    let mut names: Vec<String> = entries
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort_by_key(|name| (name != "main", name.clone()));
    names
}
