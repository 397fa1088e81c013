//! What a build has made, as names and digests: while the files are what they were, the next build of the
//! same has nothing to do. The images themselves lie in the output directory and nowhere else.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tree::Digest;

use crate::cache::Cache;
use crate::output::sha256;
use crate::ui::Ui;

/// Kind of these entries in the cache.
const KIND: &str = "images";
/// File with the list.
const LIST: &str = "made.json";

/// A file in the output directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Made {
    /// Its name there.
    pub file: String,
    /// Format of the image; `json`, `spdx`, `signature` for what lies beside images.
    pub format: String,
    /// Its length.
    pub size: u64,
    /// Its digest.
    pub sha256: String,
}

/// The key of a build that is decided by `facts` and by this very program, whatever version it claims.
pub fn key(facts: &serde_json::Value) -> io::Result<String> {
    let program = sha256(&File::open("/proc/self/exe")?, &mut |_| ())?;
    Ok(Digest::of(json!([program.to_string(), facts]).to_string().as_bytes()).to_string())
}

/// Whether everything lies in `directory` as a build of this key made it; then its files are told again.
pub fn unchanged(cache: &Cache, key: &str, directory: &Path, ui: &mut Ui) -> anyhow::Result<bool> {
    let Some(list) = cache.find(KIND, key).and_then(|path| fs::read(path.join(LIST)).ok()) else {
        return Ok(false);
    };
    let Ok(list) = serde_json::from_slice::<Vec<Made>>(&list) else { return Ok(false) };
    let same_size = |made: &Made| {
        fs::metadata(directory.join(&made.file)).is_ok_and(|file| file.len() == made.size)
    };
    if !list.iter().all(same_size) {
        return Ok(false);
    }
    ui.stage("comparing what is there", list.iter().map(|made| made.size).sum());
    for made in &list {
        let file = File::open(directory.join(&made.file))?;
        if sha256(&file, &mut |bytes| ui.advance(bytes))?.to_string() != made.sha256 {
            return Ok(false);
        }
    }
    ui.note("everything is there already, and nothing that decides it has changed");
    for made in &list {
        let path = directory.join(&made.file);
        let value = json!({"event": "unchanged", "format": made.format, "path": path});
        ui.result(&path.display().to_string(), value);
    }
    Ok(true)
}

/// Remembers what a build of this key made.
pub fn keep(cache: &Cache, key: &str, what: &str, list: &[Made]) -> anyhow::Result<()> {
    cache.keep(KIND, key, what, LIST, &serde_json::to_vec(list)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_what_they_were() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(&directory.path().join("cache")).unwrap();
        let same =
            |key: &str| unchanged(&cache, key, directory.path(), &mut Ui::new(true)).unwrap();
        assert!(!same("a"));
        let image = directory.path().join("pear.qcow2");
        let made = Made {
            file: "pear.qcow2".to_owned(),
            format: "qcow2".to_owned(),
            size: 5,
            sha256: Digest::of(b"sweet").to_string(),
        };
        keep(&cache, "a", "pear: qcow2", &[made]).unwrap();
        assert!(!same("a"), "the file is not there");
        fs::write(&image, "sweet").unwrap();
        assert!(same("a") && !same("b"));
        for other in ["sour!", "sweets"] {
            fs::write(&image, other).unwrap();
            assert!(!same("a"), "{other}");
        }
    }
}
