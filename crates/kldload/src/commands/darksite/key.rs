//! `kldload darksite key`: the key that signs what is published, and the one to come.

use std::process::ExitCode;

use clap::Args;
use darksite::keys::{NEXT, PUBLIC, next_key, signing_key};
use jiff::Timestamp;
use serde_json::json;

use super::Common;
use crate::ui::Ui;

/// Tell which key signs what is published, or make the one that will
///
/// A key that does not exist yet is made; of one that did, whose secret is lost, this is said.
/// With --next it signs nothing before its secret half is moved
/// over that of the current key, so that machines can know it by then.
#[derive(Debug, Args)]
#[command(after_help = "\
To change the key:
  kldload darksite key --next
  cat darksite/keys/public.asc darksite/keys/next/public.asc > darksite.asc
  (that file to /etc/apt/keyrings/ of all machines)
  mv darksite/keys/next/secret.asc darksite/keys/secret.asc
  kldload darksite sync server.toml")]
pub struct KeyArgs {
    #[command(flatten)]
    common: Common,
    /// The key to come, in keys/next/
    #[arg(long)]
    next: bool,
}

/// Runs the command.
pub fn run(args: &KeyArgs) -> anyhow::Result<ExitCode> {
    let mut ui = Ui::new(args.common.json);
    let (directory, now) = (args.common.existing()?.keys(), Timestamp::now());
    let (key, public) = match args.next {
        true => (next_key(&directory, now)?, directory.join(NEXT).join(PUBLIC)),
        false => (signing_key(&directory, now)?, directory.join(PUBLIC)),
    };
    let fingerprint = key.fingerprint();
    ui.result(
        &format!("{fingerprint}\n{}", public.display()),
        json!({"event": "key", "fingerprint": fingerprint, "public": public}),
    );
    Ok(ExitCode::SUCCESS)
}
