//! What comes after all packages are configured: files, users and scripts of whoever asks.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;

use rustix::fs::Timespec;

use super::place::{Attributes, Root, parts};
use super::target::{OURS, Target};
use super::{Fault, Late, LateFile};

/// Makes the users, adds the files and runs the scripts, in this order. Returns the paths of files and new homes,
/// which stay whatever else the scripts leave behind.
pub(super) fn run(target: &Target<'_>, root: &Root, late: &Late) -> Result<Vec<String>, Fault> {
    let passwd = target.root.join("etc/passwd");
    let users = fs::read_to_string(&passwd)
        .map_err(|error| Fault::Told(format!("{}: {error}", passwd.display())))?;
    let mut told: Vec<String> = Vec::new();
    for account in &late.accounts {
        let known = |line: &str| line.split(':').next() == Some(account.name.as_str());
        if !users.lines().any(known) {
            target.add_user(account)?;
            let home = account.home.clone().unwrap_or_else(|| format!("/home/{}", account.name));
            told.push(home.trim_matches('/').to_owned());
        }
    }
    for file in &late.files {
        add(root, file, target.timestamp)
            .map_err(|error| Fault::Told(format!("{}: {error}", file.path)))?;
        told.push(file.path.trim_matches('/').to_owned());
    }
    for (number, script) in late.scripts.iter().enumerate() {
        let inside = format!("{OURS}/script-{number}");
        let path = target.root.join(&inside);
        fs::write(&path, &script.content)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
            .map_err(|error| Fault::Told(format!("{}: {error}", path.display())))?;
        let program = target.without_services(target.program(&format!("/{inside}")))?;
        target
            .run(program)
            .map_err(|fault| fault.of(format_args!("the script {}", script.name)))?;
    }
    Ok(told)
}

fn add(root: &Root, file: &LateFile, timestamp: i64) -> io::Result<()> {
    let refused = || io::Error::new(io::ErrorKind::InvalidInput, "this is no path of a file");
    let relative = file.path.trim_start_matches('/').as_bytes();
    let parts = parts(relative).ok_or_else(refused)?;
    let (name, parents) = parts.split_last().ok_or_else(refused)?;
    let place = root.make_place(parents)?;
    if place.kind(name)?.is_some() {
        place.remove(name)?;
    }
    let mut new = place.create(name)?;
    new.write(&file.content)?;
    new.finish(&Attributes {
        mode: file.mode & 0o7777,
        uid: 0,
        gid: 0,
        mtime: Timespec { tv_sec: timestamp, tv_nsec: 0 },
    })
}
