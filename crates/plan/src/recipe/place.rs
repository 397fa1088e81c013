//! Places of a machine where nothing stays as a recipe tells it: they are refused, so that what is taken is there.

use std::collections::BTreeMap;

use super::{Finding, Machine};

/// Emptied, or mounted over, at each start.
const FLEETING: [&str; 8] = ["dev", "efi", "proc", "run", "sys", "tmp", "var/lock", "var/run"];
/// Written with users.
const ACCOUNTS: [&str; 6] =
    ["etc/passwd", "etc/shadow", "etc/group", "etc/gshadow", "etc/subuid", "etc/subgid"];
/// Links into `/usr` in every Debian of today.
const MERGED: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// What is wrong first with the places of files and homes.
pub(super) fn judge(machine: &Machine) -> Result<(), Finding> {
    let decided = decided(machine);
    for (at, file) in machine.files.iter().enumerate() {
        let path = file.path.as_str();
        let wrong = |problem: String| {
            let problem = format!("{path} would not stay as it is told: {problem}");
            Err(Finding { place: format!("files.{at}.path"), problem })
        };
        let real = real(path);
        if let Some(top) = fleeting(&real) {
            return wrong(format!("/{top} is emptied or mounted over at each start"));
        }
        if let Some(why) = above(&real).find_map(|path| decided.get(path)) {
            return wrong(why.clone());
        }
        // A file where a directory must be.
        let below = format!("{real}/");
        let inside = decided.range(below.clone()..).next();
        if let Some((own, _)) = inside.filter(|(own, _)| own.starts_with(&below)) {
            return wrong(format!("it is the directory of /{own}"));
        }
    }
    for (at, user) in machine.users.iter().enumerate() {
        let Some(home) = &user.home else { continue };
        if let Some(top) = fleeting(&real(home.as_str())) {
            let problem = format!(
                "user {}: home = {:?} would not stay: /{top} is emptied or mounted over at each start",
                user.name,
                home.as_str()
            );
            return Err(Finding { place: format!("users.{at}.home"), problem });
        }
    }
    Ok(())
}

/// Paths that somebody else decides, and who.
fn decided(machine: &Machine) -> BTreeMap<String, String> {
    let ours = boot::own_files().chain(rootfs::firstboot::own_files().map(str::to_owned));
    let ours = ours.map(|path| (path, "kldload decides this file itself".to_owned()));
    let name = machine.hostname.iter().map(|_| "etc/hostname".to_owned());
    let name = name.map(|path| (path, "the key hostname decides this file".to_owned()));
    let accounts = ACCOUNTS.iter().filter(|_| !machine.users.is_empty());
    let accounts = accounts.map(|path| ((*path).to_owned(), "users are written to it".to_owned()));
    ours.chain(name).chain(accounts).collect()
}

/// The path from the root, in `/usr` where that is merged.
fn real(path: &str) -> String {
    let path = path.trim_start_matches('/');
    let top = path.split('/').next().unwrap_or_default();
    if MERGED.contains(&top) { format!("usr/{path}") } else { path.to_owned() }
}

fn fleeting(path: &str) -> Option<&'static str> {
    above(path).find_map(|path| FLEETING.into_iter().find(|top| *top == path))
}

/// A path and all above it, the nearest first.
pub(super) fn above(path: &str) -> impl Iterator<Item = &str> {
    let ends = path.rmatch_indices('/').filter_map(|(end, _)| path.get(..end));
    std::iter::once(path).chain(ends)
}
