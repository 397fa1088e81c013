//! The newest date that was seen of each suite, so that nobody can lead us back.

use std::fs;
use std::io;
use std::path::PathBuf;

use jiff::Timestamp;

use crate::store::{StoreError, at, write_file};

/// A directory with one file for each suite.
#[derive(Debug, Clone)]
pub struct Seen {
    directory: PathBuf,
    distribution: String,
}

impl Seen {
    /// What was seen of the suites of `distribution`, kept in `directory`.
    pub fn new(directory: impl Into<PathBuf>, distribution: &str) -> Self {
        Self { directory: directory.into(), distribution: distribution.to_owned() }
    }

    /// The file of a suite.
    pub fn file(&self, suite: &str) -> PathBuf {
        self.directory.join(format!("{}_{}", self.distribution, suite.replace('/', "_")))
    }

    /// The newest date of `suite` that was seen; `None` if there is none.
    pub fn date(&self, suite: &str) -> Result<Option<Timestamp>, StoreError> {
        let path = self.file(suite);
        match fs::read_to_string(&path) {
            Ok(text) => match text.trim().parse() {
                Ok(date) => Ok(Some(date)),
                Err(_) => Err(at(&path)(io::Error::other(format!(
                    "{text:?} is not a date; delete the file to accept any"
                )))),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at(&path)(error)),
        }
    }

    /// Remembers a date, if it is newer.
    pub fn remember(&self, suite: &str, date: Timestamp) -> Result<(), StoreError> {
        if self.date(suite)?.is_some_and(|seen| seen >= date) {
            return Ok(());
        }
        fs::create_dir_all(&self.directory).map_err(at(&self.directory))?;
        write_file(&self.file(suite), format!("{date}\n").as_bytes(), 0o644)
    }
}
