//! Whether there is room for what takes long to make.

use std::io;
use std::path::Path;

use anyhow::Context;
use rustix::fs::statvfs;

use crate::size;

/// Refuses to begin what takes at least so many bytes where there is no room for it.
pub fn room(directory: &Path, least: u64) -> anyhow::Result<()> {
    let failed = || format!("cannot use {}", directory.display());
    let space = statvfs(directory).map_err(io::Error::from).with_context(failed)?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    anyhow::ensure!(
        free >= least,
        "{}: {} are free there, and what is to be made takes at least {}",
        directory.display(),
        size::human(free),
        size::human(least)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_asked_for_before() {
        let directory = tempfile::tempdir().unwrap();
        room(directory.path(), 0).unwrap();
        let error = room(directory.path(), u64::MAX).unwrap_err().to_string();
        assert!(error.contains("are free there, and what is to be made takes at least"), "{error}");
    }
}
