//! `IMAGE[,IMAGE...]:DATASET[@SNAPSHOT][/PATH]`.

use std::path::{Path, PathBuf};

use zfs::read::{Dataset, DatasetKind, Datasets, Object, Pool, ReadError, Unreadable};

use crate::commands::usage;
use crate::image::{self, KeyArgs};
use crate::output::{OutputFile, check_targets};
use crate::ui;

/// What an argument names.
#[derive(Debug)]
pub struct Place {
    /// The opened pool.
    pub pool: Pool,
    /// The files it is read from.
    files: Vec<PathBuf>,
    /// The dataset or snapshot.
    pub dataset: Dataset,
    /// The path in it, without a leading slash.
    pub path: Vec<u8>,
    /// Whether the path ended in a slash: what is in the directory is meant.
    pub contents: bool,
}

impl Place {
    /// Opens the pool and finds the dataset.
    pub fn open(text: &str, keys: &KeyArgs) -> anyhow::Result<Self> {
        let Some((images, rest)) = split_images(text).filter(|(images, rest)| {
            !rest.is_empty() && images.iter().all(|image| !image.as_os_str().is_empty())
        }) else {
            usage(format_args!("{text:?} is not IMAGE[,IMAGE...]:DATASET[@SNAPSHOT][/PATH]"))
        };
        let (pool, files) = image::open_pool_files(&images, keys)?;
        let datasets = pool.datasets()?;
        pool.warnings.iter().for_each(|text| ui::warn(text));
        let found = split_dataset(&datasets, rest).map_err(|failed| {
            let name = failed.dataset();
            anyhow::Error::from(failed.error()).context(format!(
                "{rest} may be in a dataset that is not known (files of {name} itself are {name}//PATH)"
            ))
        })?;
        let (dataset, path) = found.ok_or_else(|| {
            let what = format!("dataset {} of pool {}", dataset_part(rest), pool.name);
            ReadError::NotFound { what }
        })?;
        let contents = rest.ends_with('/');
        let path = path.trim_matches('/').as_bytes().to_vec();
        let dataset = dataset.clone();
        Ok(Self { pool, files, dataset, path, contents })
    }

    /// Begins the file `path`, which must not be one that the pool is read from.
    pub fn output(&self, path: &Path) -> anyhow::Result<OutputFile> {
        check_targets(&[path.to_owned()], &self.files, true)?;
        OutputFile::create(path)
    }

    /// The content of the volume that is meant, and its size; `None` for anything else.
    pub fn volume(&self) -> Result<Option<(Object<'_>, u64)>, ReadError> {
        match (self.dataset.kind, self.path.is_empty()) {
            (DatasetKind::Volume, true) => self.pool.volume(&self.dataset).map(Some),
            (DatasetKind::Volume, false) => {
                let (what, expected) =
                    (self.dataset.name.clone(), "a file system: it has no paths");
                Err(ReadError::WrongKind { what, expected })
            }
            _ => Ok(None),
        }
    }

    /// The last part of the path, or of the dataset's name.
    pub fn name(&self) -> String {
        let path = String::from_utf8_lossy(&self.path).into_owned();
        let text = if path.is_empty() { self.dataset.name.clone() } else { path };
        text.rsplit('/').next().unwrap_or_default().to_owned()
    }
}

/// Splits at the first colon before which only files are named, as a file's name may have colons.
fn split_images(text: &str) -> Option<(Vec<PathBuf>, &str)> {
    let images =
        |end: usize| -> Vec<PathBuf> { text[..end].split(',').map(PathBuf::from).collect() };
    let colons: Vec<usize> = text.match_indices(':').map(|(at, _)| at).collect();
    let all_exist = |at: &usize| images(*at).iter().all(|image| Path::new(image).exists());
    let at = colons.iter().copied().find(|at| all_exist(at)).or(colons.first().copied())?;
    Some((images(at), &text[at + 1..]))
}

fn dataset_part(text: &str) -> &str {
    let end = text
        .find('@')
        .map_or(text.len(), |at| text[at..].find('/').map_or(text.len(), |slash| at + slash));
    &text[..end]
}

/// What a text begins with, and the rest of it.
type Split<'d, 't> = Option<(&'d Dataset, &'t str)>;

/// The longest beginning that is a dataset; a snapshot ends it in any case, as does `//`. An error if
/// it may be longer: below what cannot be read there may be datasets, and what is there in the dataset
/// above is not what they have.
fn split_dataset<'d, 't>(
    datasets: &'d Datasets,
    text: &'t str,
) -> Result<Split<'d, 't>, &'d Unreadable> {
    let part = dataset_part(text);
    let part = part.find("//").map_or(part, |at| &part[..at]);
    if part.contains('@') {
        return match (datasets.get(part), datasets.failure(part)) {
            (Some(dataset), _) => Ok(Some((dataset, &text[part.len()..]))),
            (None, Some(failed)) => Err(failed),
            (None, None) => Ok(None),
        };
    }
    let mut end = part.len();
    loop {
        let name = part[..end].trim_end_matches('/');
        let found = datasets.get(name);
        let is_all = part[end..].trim_matches('/').is_empty();
        let failed = datasets.errors.iter().find(|failed| failed.name == name);
        if let Some(failed) = failed.filter(|_| found.is_none() || !is_all) {
            return Err(failed);
        }
        if let Some(dataset) = found {
            return Ok(Some((dataset, &text[end..])));
        }
        let Some(shorter) = part[..end].rfind('/') else { return Ok(None) };
        end = shorter;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let (images, rest) = split_images("a.img,b.img:tank/fs/x:y").unwrap();
        assert_eq!(images, [PathBuf::from("a.img"), PathBuf::from("b.img")]);
        assert_eq!(rest, "tank/fs/x:y");
        assert_eq!(split_images("a.img"), None);
        assert_eq!(dataset_part("tank/fs@one/etc/a@b"), "tank/fs@one");
        assert_eq!(dataset_part("tank/fs"), "tank/fs");
    }
}
