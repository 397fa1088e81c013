//! Where things lie: the checkout, and what the tests keep in its `target/` from run to run.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::run::Run;

/// The checkout this program was built from.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Where downloaded and built judges are kept; made when it is missing.
pub fn oracle() -> Result<PathBuf> {
    let path = root().join("target/oracle");
    fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
    Ok(path)
}

/// A cache for builds of recipes, with what this user's own builds have compiled: a kernel module takes minutes.
/// Anything else in it should go when it was looked at: a root takes gigabytes.
pub fn cache() -> Result<PathBuf> {
    let path = oracle()?.join("cache");
    let own = match (std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")) {
        (Some(cache), _) => PathBuf::from(cache),
        (None, home) => PathBuf::from(home.context("HOME is not set")?).join(".cache"),
    };
    let own = own.join("kldload/modules");
    fs::create_dir_all(&own).with_context(|| own.display().to_string())?;
    fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
    let modules = path.join("modules");
    link(&own, &modules).with_context(|| modules.display().to_string())?;
    Ok(path)
}

/// Makes `link` lead to `target`, whatever was there before: modules of a time when they were not shared, or a
/// link to a home that is gone.
fn link(target: &Path, link: &Path) -> io::Result<()> {
    match fs::symlink_metadata(link) {
        Ok(there) if there.is_dir() => fs::remove_dir_all(link)?,
        Ok(_) if fs::read_link(link).is_ok_and(|known| known == target) => return Ok(()),
        Ok(_) => fs::remove_file(link)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    symlink(target, link)
}

/// The cargo that runs us.
pub fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Where cargo builds.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The program, built anew if its code has changed; with the whole workspace, as the tests are, so that
/// libraries are compiled once and not again with other features.
pub fn kldload() -> Result<PathBuf> {
    Run::new(cargo())
        .args(["build", "--quiet", "--locked", "--release", "--workspace"])
        .directory(&root())
        .limit(Duration::from_secs(1800))
        .text()?;
    Ok(target().join("release/kldload"))
}

/// Whether `directory` was completed for `key`, by [`complete`].
pub fn is_complete(directory: &Path, key: &str) -> bool {
    fs::read_to_string(directory.join("complete")).is_ok_and(|text| text == key)
}

/// Marks `directory` as completed for `key`; until then an interrupted run starts over.
pub fn complete(directory: &Path, key: &str) -> Result<()> {
    let mut file = fs::File::create(directory.join("complete"))?;
    file.write_all(key.as_bytes())?;
    Ok(())
}

/// An empty directory at `path`, whatever was there before.
pub fn fresh(path: &Path) -> Result<()> {
    if path.exists() {
        fs::remove_dir_all(path).with_context(|| path.display().to_string())?;
    }
    fs::create_dir_all(path).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_where_it_should_whatever_was_there() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        let leads = || {
            link(&at("home"), &at("modules")).unwrap();
            assert_eq!(fs::read_link(at("modules")).unwrap(), at("home"));
        };
        leads();
        leads();
        fs::remove_file(at("modules")).unwrap();
        symlink(at("gone"), at("modules")).unwrap();
        leads();
        fs::remove_file(at("modules")).unwrap();
        fs::create_dir_all(at("modules/compiled")).unwrap();
        leads();
        fs::remove_file(at("modules")).unwrap();
        fs::write(at("modules"), "").unwrap();
        leads();
    }
}
