//! A directory for one build alone.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rootfs::bootstrap;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::cache::private;

/// A directory into which nobody else can look, and that goes with this value. If the program is killed, the next
/// one that wants a directory of this name finds it, and empties it first.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    _lock: File,
}

impl Scratch {
    /// Makes `path`, empty; refused while another process uses it.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let failed = || format!("cannot use {}", path.display());
        let lock = loop {
            private(path).with_context(failed)?;
            let lock = File::open(path).with_context(failed)?;
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => bail!("{}: another build is using it", path.display()),
                Err(error) => return Err(std::io::Error::from(error)).with_context(failed),
            }
            // Whoever had it before may have removed it in between.
            let ours = lock.metadata().with_context(failed)?;
            if fs::metadata(path).is_ok_and(|it| (it.dev(), it.ino()) == (ours.dev(), ours.ino())) {
                break lock;
            }
        };
        for entry in fs::read_dir(path).with_context(failed)? {
            bootstrap::remove(&entry.with_context(failed)?.path()).with_context(failed)?;
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // If this fails, the next one does it.
        let _ = bootstrap::remove(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_empty() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(".x.root");
        fs::create_dir_all(path.join("left")).unwrap();
        let scratch = Scratch::create(&path).unwrap();
        assert!(!scratch.path().join("left").exists());
        fs::create_dir(scratch.path().join("root")).unwrap();
        assert!(Scratch::create(&path).unwrap_err().to_string().contains("another build"));
        drop(scratch);
        assert!(!path.exists());
    }
}
