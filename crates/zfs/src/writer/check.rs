//! What is asked of a pool, checked before anything is written.

use std::collections::BTreeMap;

use super::filesystem::Storage;
use super::{Dataset, Pool, Volume, WriteError};
use crate::compress::Compression;
use crate::dnode::MAX_SLOTS;
use crate::ids::Ids;
use crate::property;

/// A pool whose names and properties were found to be sound.
pub(crate) struct CheckedPool<'p, 'a> {
    pub pool: &'p Pool<'a>,
    /// Index of each dataset's parent.
    pub parents: Vec<Option<usize>>,
    /// Each dataset's properties as they lie on disk.
    pub properties: Vec<Vec<(&'p str, property::Value)>>,
    /// Of clones, the dataset and which of its states they begin with.
    pub origins: Vec<Option<(usize, usize)>>,
    /// Whether later states go on from states of the dataset.
    pub has_history: Vec<bool>,
    /// Index of the dataset to boot from.
    pub bootfs: Option<usize>,
}

fn allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b' ')
}

/// What `zpool create` and `zpool import` refuse in the name of a pool (`zpool_name_valid` of OpenZFS
/// `lib/libzfs/libzfs_pool.c`): it must not be taken for a vdev.
fn check_pool_name(name: &str) -> Result<(), &'static str> {
    if !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
        return Err("the name of a pool begins with a letter");
    }
    let vdevs = ["mirror", "raidz", "draid", "spare"];
    if name == "log" || vdevs.iter().any(|vdev| name.starts_with(vdev)) {
        return Err(
            "names of pools that are log, or begin with mirror, raidz, draid or spare, are reserved",
        );
    }
    Ok(())
}

impl<'p, 'a> CheckedPool<'p, 'a> {
    pub(crate) fn new(pool: &'p Pool<'a>) -> Result<Self, WriteError> {
        let mut seen = BTreeMap::new();
        let mut checked = Self {
            pool,
            parents: Vec::new(),
            properties: Vec::new(),
            origins: Vec::new(),
            has_history: Vec::new(),
            bootfs: None,
        };
        for (index, dataset) in pool.datasets.iter().enumerate() {
            let name = &*dataset.name;
            let bad = |reason| WriteError::Dataset { name: name.to_owned(), reason };
            let parts_ok = name.split('/').all(|part| {
                !part.is_empty() && part != "." && part != ".." && part.bytes().all(allowed)
            });
            if name.len() > 200 || !parts_ok {
                return Err(bad("not a dataset name"));
            }
            let parent = match name.rsplit_once('/') {
                None if index == 0 && name == pool.name => {
                    check_pool_name(name).map_err(bad)?;
                    None
                }
                None => return Err(bad("the first dataset, and only it, is named like the pool")),
                Some((parent, _)) => Some(
                    *seen.get(parent).ok_or_else(|| bad("its parent is not listed before it"))?,
                ),
            };
            let earlier = dataset.earlier.iter().map(|state| &state.snapshot);
            let mut snapshots = std::collections::HashSet::new();
            for snapshot in earlier.chain(&dataset.snapshot) {
                if snapshot.is_empty() || snapshot.len() > 50 || !snapshot.bytes().all(allowed) {
                    return Err(bad("not a snapshot name"));
                }
                if !snapshots.insert(snapshot.to_ascii_lowercase()) {
                    return Err(bad("two of its snapshots have the same name"));
                }
            }
            if !dataset.earlier.is_empty() && dataset.content.is_none() {
                return Err(bad("it has earlier snapshots and no content"));
            }
            if let Some(volume) = &dataset.volume {
                check_volume(dataset, volume).map_err(bad)?;
            }
            let origin = match &dataset.origin {
                None => None,
                Some(origin) => Some(checked.origin(origin, &seen).map_err(bad)?),
            };
            if let Some((from, _)) = origin
                && let Some(known) = checked.has_history.get_mut(from)
                && dataset.content.is_some()
            {
                *known = true;
            }
            checked.origins.push(origin);
            let goes_on = origin.is_some() && dataset.content.is_some();
            checked.has_history.push(goes_on || !dataset.earlier.is_empty());
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

    /// The dataset and state that `name`, a snapshot, is of.
    fn origin(
        &self,
        name: &str,
        seen: &BTreeMap<&str, usize>,
    ) -> Result<(usize, usize), &'static str> {
        let (dataset, snapshot) = name.split_once('@').ok_or("its origin is not a snapshot")?;
        let index = *seen.get(dataset).ok_or("its origin is not listed before it")?;
        let of = self.pool.datasets.get(index).ok_or("its origin is not listed before it")?;
        let earlier = of.earlier.iter().position(|state| state.snapshot == snapshot);
        let newest = (of.snapshot.as_deref() == Some(snapshot)).then_some(of.earlier.len());
        Ok((index, earlier.or(newest).ok_or("its origin is not a snapshot of that dataset")?))
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
    pub(crate) fn storage(&self, index: usize, ids: &Ids) -> Storage<'p> {
        let told = self.inherited(index, "compression").and_then(property::compression);
        let compression = match told.map_or_else(Default::default, |(method, _)| method) {
            Compression::Lz4 => self.pool.denser.unwrap_or(Compression::Lz4),
            other => other,
        };
        let record_size = self.inherited(index, "recordsize").and_then(property::record_size);
        let copies = self.inherited(index, "copies").and_then(|text| text.parse().ok());
        Storage {
            compression,
            packed: self.pool.packed,
            record_size: record_size.unwrap_or(128 << 10),
            copies: copies.unwrap_or(1),
            slots: match self.inherited(index, "dnodesize").filter(|_| self.pool.large_dnodes) {
                Some("auto") => (1, MAX_SLOTS),
                Some("1k") => (2, 2),
                Some("2k") => (4, 4),
                Some("4k") => (8, 8),
                Some("8k") => (16, 16),
                Some("16k") => (32, 32),
                _ => (1, 1),
            },
            // Odd, so that it is never 0.
            salt: ids.guid(&format!("salt {}", self.pool.datasets[index].name)) | 1,
        }
    }
}

fn check_volume(dataset: &Dataset<'_>, volume: &Volume) -> Result<(), &'static str> {
    if dataset.content.is_some() || dataset.origin.is_some() || !dataset.earlier.is_empty() {
        return Err("a volume has no files, no origin and no earlier snapshots here");
    }
    let size = u64::from(volume.block_size);
    if !size.is_power_of_two() || !(512..=128 << 10).contains(&size) {
        return Err("the block size of a volume is a power of two from 512 to 128K");
    }
    if volume.file.size == 0 || !volume.file.size.is_multiple_of(size) {
        return Err("the size of a volume is a multiple of its block size");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check_pool_name;

    /// As `zpool_name_valid` of OpenZFS 2.1 answers.
    #[test]
    fn names_of_pools() {
        for name in ["tank", "raid", "logs", "c0t0", "cache", "special", "disk", "tank x", "hole"] {
            assert_eq!(check_pool_name(name), Ok(()), "{name}");
        }
        for name in ["mirror", "mirror-x", "mirrors", "raidz", "raidz1", "draid2", "spares", "log"]
        {
            assert!(check_pool_name(name).unwrap_err().contains("reserved"), "{name}");
        }
        for name in ["", "1tank", "-x", "_x"] {
            assert!(check_pool_name(name).unwrap_err().contains("letter"), "{name}");
        }
    }
}
