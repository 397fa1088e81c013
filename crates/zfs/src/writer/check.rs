//! What is asked of a pool, checked before anything is written.

use std::collections::BTreeMap;

use super::filesystem::Storage;
use super::{Pool, WriteError};
use crate::ids::Ids;
use crate::property;

/// A pool whose names and properties were found to be sound.
pub(crate) struct CheckedPool<'p, 'a> {
    pub pool: &'p Pool<'a>,
    /// Index of each dataset's parent.
    pub parents: Vec<Option<usize>>,
    /// Each dataset's properties as they lie on disk.
    pub properties: Vec<Vec<(&'p str, property::Value)>>,
    /// Index of the dataset to boot from.
    pub bootfs: Option<usize>,
}

impl<'p, 'a> CheckedPool<'p, 'a> {
    pub(crate) fn new(pool: &'p Pool<'a>) -> Result<Self, WriteError> {
        let mut seen = BTreeMap::new();
        let mut checked = Self { pool, parents: Vec::new(), properties: Vec::new(), bootfs: None };
        for (index, dataset) in pool.datasets.iter().enumerate() {
            let name = &*dataset.name;
            let bad = |reason| WriteError::Dataset { name: name.to_owned(), reason };
            let allowed =
                |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b' ');
            let parts_ok = name.split('/').all(|part| {
                !part.is_empty() && part != "." && part != ".." && part.bytes().all(allowed)
            });
            if name.len() > 200 || !parts_ok {
                return Err(bad("not a dataset name"));
            }
            let parent = match name.rsplit_once('/') {
                None if index == 0 && name == pool.name => None,
                None => return Err(bad("the first dataset, and only it, is named like the pool")),
                Some((parent, _)) => Some(
                    *seen.get(parent).ok_or_else(|| bad("its parent is not listed before it"))?,
                ),
            };
            if let Some(snapshot) = &dataset.snapshot
                && (snapshot.is_empty() || snapshot.len() > 50 || !snapshot.bytes().all(allowed))
            {
                return Err(bad("not a snapshot name"));
            }
            if seen.insert(name, index).is_some() {
                return Err(bad("listed twice"));
            }
            let mut properties: Vec<(&str, property::Value)> = Vec::new();
            for (property, value) in &dataset.properties {
                if properties.iter().any(|(known, _)| known == property) {
                    return Err(bad("the same property is set twice"));
                }
                let value = property::encode(property, value)
                    .map_err(|source| WriteError::Property { dataset: name.to_owned(), source })?;
                properties.push((property, value));
            }
            checked.parents.push(parent);
            checked.properties.push(properties);
        }
        if pool.datasets.is_empty() {
            let reason = "a pool has at least the dataset named like it";
            return Err(WriteError::Dataset { name: pool.name.clone(), reason });
        }
        if let Some(bootfs) = &pool.bootfs {
            let index = seen.get(bootfs.as_str());
            checked.bootfs = Some(*index.ok_or_else(|| WriteError::Bootfs(bootfs.clone()))?);
        }
        Ok(checked)
    }

    /// The value of a property where it is set: on the dataset or its nearest ancestor.
    fn inherited(&self, mut index: usize, property: &str) -> Option<&'p str> {
        loop {
            let properties = &self.pool.datasets[index].properties;
            if let Some((_, value)) = properties.iter().find(|(name, _)| name == property) {
                return Some(value);
            }
            index = self.parents[index]?;
        }
    }

    /// How a dataset's blocks are stored, by its properties and those it inherits.
    pub(crate) fn storage(&self, index: usize, ids: &Ids) -> Storage {
        let compression = self.inherited(index, "compression").and_then(property::compression);
        let record_size = self.inherited(index, "recordsize").and_then(property::record_size);
        let copies = self.inherited(index, "copies").and_then(|text| text.parse().ok());
        Storage {
            compression: compression.map_or_else(Default::default, |(method, _)| method),
            record_size: record_size.unwrap_or(128 << 10),
            copies: copies.unwrap_or(1),
            // Odd, so that it is never 0.
            salt: ids.guid(&format!("salt {}", self.pool.datasets[index].name)) | 1,
        }
    }
}
