//! Object sets outside of pools: what a stream brought, in a spool.

use alloc::sync::Arc;

use blk::ReadAt;

use super::block::Blocks;
use super::vdev::{Leaf, Vdev, Vdevs};
use super::{Object, Objset, ReadError, zap};
use crate::blkptr::BlockPointer;
use crate::dnode::volume_object;
use crate::prelude::*;

/// Reads blocks of a spool, which is laid out as a disk of a pool.
#[derive(Debug)]
pub(crate) struct Spool(Blocks);

/// The spool on `device`.
pub(crate) fn device(device: Arc<dyn ReadAt>) -> Spool {
    // What it has now is no measure: all of it is written later, by us.
    let most_bytes = device.size().unwrap_or(u64::MAX);
    let leaf = Leaf { guid: 0, name: "the spool".to_owned(), device: Some(device) };
    let mut blocks = Blocks::new(Vdevs { tops: vec![Vdev::Leaf(leaf)] });
    blocks.most_bytes = most_bytes;
    Spool(blocks)
}

impl Spool {
    /// The object set that `bp` points to.
    pub(crate) fn objset(&self, bp: &BlockPointer) -> Result<Objset<'_>, ReadError> {
        Objset::open(&self.0, "the stream".into(), bp)
    }
}

/// Content and size of a volume.
pub(crate) fn volume<'p>(objset: &Objset<'p>) -> Result<(Object<'p>, u64), ReadError> {
    let properties = objset.object(volume_object::PROPERTIES)?;
    let size =
        zap::number(&properties, b"size")?.ok_or_else(|| properties.damaged("it has no size"))?;
    Ok((objset.object(volume_object::DATA)?, size))
}
