//! The files of a root, compressed as the pool will hold them: once, so that a build of the same packages for another
//! machine has only its own files to compress.

use anyhow::Context;
use serde_json::json;
use tree::{Digest, Kind};
use zfs::{Compression, Packed};

use super::room::room;
use super::root::Root;
use crate::cache::Cache;
use crate::ui::Ui;

/// Changes when the same files are packed otherwise than before.
const VERSION: u32 = 1;
/// Kind of these outputs in the cache.
const KIND: &str = "packed";

/// The files of the root of this key and name, from the cache or packed now; `None` where they are as quickly
/// compressed as read.
pub fn packed(
    root: &Root,
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
    let sizes = root.tree.walk().filter_map(|entry| match &entry.inode.kind {
        Kind::File(file) => Some(file.data_size()),
        _ => None,
    });
    let size = sizes.sum();
    room(cache.directory(), size / 4)?;
    // A root of other packages has most files in common with this one.
    let earlier = cache.list()?.into_iter().filter(|entry| entry.kind == KIND);
    let earlier = earlier.filter_map(|entry| Packed::open(&entry.path, compression).ok());
    let earlier: Vec<Packed> = earlier.collect();
    ui.stage("compressing", size);
    let mut progress = |bytes| ui.advance(bytes);
    Packed::write(begun.directory(), &root.tree, &root.blobs, compression, &earlier, &mut progress)
        .with_context(|| begun.directory().display().to_string())?;
    let path = begun.finish(&format!("{name}: {compression}"))?;
    Ok(Some(Packed::open(&path, compression)?))
}
