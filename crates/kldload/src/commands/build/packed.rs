//! The files of a root, compressed as the pool will hold them: once, so that a build of the same packages for another
//! machine has only its own files to compress.

use anyhow::Context;
use serde_json::json;
use tree::{Blobs, Digest, Tree};
use zfs::{Compression, Packed};

use super::room::room;
use crate::cache::Cache;
use crate::ui::Ui;

/// Changes when the same files are packed otherwise than before.
const VERSION: u32 = 1;
/// Kind of these outputs in the cache.
const KIND: &str = "packed";

/// The files of the root of this key and name, from the cache or packed now; `None` where they are as quickly
/// compressed as read.
pub fn packed(
    (tree, blobs): (&Tree, &dyn Blobs),
    (key, name): (&str, &str),
    compression: Compression,
    cache: &Cache,
    ui: &mut Ui,
) -> anyhow::Result<Option<Packed>> {
    let Compression::Zstd(_) = compression else { return Ok(None) };
    let decides = json!([VERSION, env!("CARGO_PKG_VERSION"), key, compression.to_string()]);
    let key = Digest::of(decides.to_string().as_bytes()).to_string();
    if let Some(path) = cache.find(KIND, &key) {
        match Packed::open(&path, compression) {
            Ok(packed) => return Ok(Some(packed)),
            Err(error) => ui.warn(&format!("{}: {error}; it is made anew", path.display())),
        }
    }
    let begun = cache.begin(KIND, &key)?;
    // Another build may have had its turn before.
    if let Some(Ok(packed)) = begun.made_meanwhile().map(|path| Packed::open(path, compression)) {
        return Ok(Some(packed));
    }
    let size = tree.data_bytes();
    room(cache.directory(), size / 4)?;
    // A root of other packages has most files in common with this one.
    let earlier = cache.list()?.into_iter().filter(|entry| entry.kind == KIND);
    let earlier = earlier.filter_map(|entry| Packed::open(&entry.path, compression).ok());
    let earlier: Vec<Packed> = earlier.collect();
    ui.stage("compressing", size);
    let mut progress = |bytes| ui.advance(bytes);
    Packed::write(begun.directory(), tree, blobs, compression, &earlier, &mut progress)
        .with_context(|| begun.directory().display().to_string())?;
    let path = begun.finish(&format!("{name}: {compression}"))?;
    Ok(Some(Packed::open(&path, compression)?))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tree::{File, Inode, Kind, MemoryBlobs, Metadata};

    use super::*;

    #[test]
    fn files_are_packed_once_and_again_when_they_are_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(&directory.path().join("cache")).unwrap();
        let (mut tree, mut blobs) = (Tree::new(Metadata::default()), MemoryBlobs::default());
        // Not so little that a block pointer holds it.
        let content: Vec<u8> = (0..20_000u32).flat_map(|n| n.to_string().into_bytes()).collect();
        let file = File::dense(content.len() as u64, blobs.insert(content));
        let inode = Inode { metadata: Metadata::default(), kind: Kind::File(file) };
        tree.insert(tree.root(), b"pears", inode).unwrap();

        let nothing = MemoryBlobs::default();
        let pack = |blobs: &MemoryBlobs, key, level| {
            let (asked, mut ui) = ((key, "pears"), Ui::new(true));
            packed((&tree, blobs), asked, Compression::Zstd(level), &cache, &mut ui)
        };
        pack(&blobs, "a", 3).unwrap().unwrap();
        // From the cache, or from another root there.
        pack(&nothing, "a", 3).unwrap().unwrap();
        pack(&nothing, "b", 3).unwrap().unwrap();
        pack(&nothing, "a", 4).unwrap_err();

        for entry in cache.list().unwrap().into_iter().filter(|entry| entry.kept.is_some()) {
            fs::write(entry.path.join("index"), "").unwrap();
        }
        pack(&nothing, "a", 3).unwrap_err();
        pack(&blobs, "a", 3).unwrap().unwrap();
        pack(&nothing, "a", 3).unwrap().unwrap();
        let mut ui = Ui::new(true);
        let off = packed((&tree, &blobs), ("a", "pears"), Compression::Off, &cache, &mut ui);
        assert!(off.unwrap().is_none());
    }
}
