//! Streams of the snapshots of a pool that is read.
//!
//! The order is that of `zfs send`: objects ascending, of each the record of the object, what is
//! free behind its end, its blocks ascending, its spill block.

use std::io::Write;

use super::record::{Begin, EmbeddedWrite, ObjectRecord, SpillRecord, WriteRecord};
use super::{Record, StreamError, StreamWriter, features};
use crate::blkptr::{BLKPTR_SIZE, BlockPointer};
use crate::dnode::{object_type, objset_type};
use crate::read::walking::Room;
use crate::read::{Dataset, DatasetKind, Object, Objset, Pool, ReadError, zap};

/// `DRR_FLAG_FREERECORDS` and `DRR_FLAG_SPILL_BLOCK`.
const BEGIN_FLAGS: u32 = 4 | 8;
/// `DRR_FLAG_CLONE`: what it goes on from is another dataset's snapshot.
const CLONE: u32 = 1;
/// `DRR_FLAG_CI_DATA`: names were written without regard to case.
const IGNORES_CASE: u32 = 2;
/// `DRR_OBJECT_SPILL`, `DRR_SPILL_UNMODIFIED`.
const HAS_SPILL: u8 = 4;
const UNMODIFIED: u8 = 4;
/// `ZIO_CHECKSUM_OFF`, `ZIO_COMPRESS_OFF`, `ZIO_COMPRESS_LZ4`, `ZIO_COMPRESS_ZSTD`.
const OFF: u8 = 2;
const LZ4: u8 = 15;
const ZSTD: u8 = 16;
/// Bytes of a dnode slot.
const SLOT: u64 = 512;
const WHOLE: u64 = u64::MAX;

/// How blocks are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendOptions {
    /// Compressed blocks as they are on disk (`zfs send -c`).
    pub compressed: bool,
    /// Blocks in block pointers as they are (`zfs send -e`).
    pub embedded: bool,
}

impl Default for SendOptions {
    fn default() -> Self {
        Self { compressed: true, embedded: true }
    }
}

/// Why a snapshot cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The pool cannot be read.
    #[error(transparent)]
    Read(#[from] Box<ReadError>),
    /// The stream cannot be written.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// What was asked for cannot be.
    #[error("cannot send {name}: {problem}")]
    Refused {
        /// The snapshot.
        name: String,
        /// Why.
        problem: &'static str,
    },
}

impl From<ReadError> for SendError {
    fn from(error: ReadError) -> Self {
        Self::Read(Box::new(error))
    }
}

/// Writes the stream of snapshot `to`, all of it or the difference to the older snapshot `from` of
/// the same dataset.
pub fn send_snapshot<W: Write>(
    pool: &Pool,
    to: &Dataset,
    from: Option<&Dataset>,
    options: SendOptions,
    out: &mut StreamWriter<W>,
) -> Result<(), SendError> {
    let refused = |problem| Err(SendError::Refused { name: to.name.clone(), problem });
    if !to.is_snapshot {
        return refused("it is no snapshot");
    }
    if from.is_some_and(|from| {
        !from.is_snapshot || from.directory != to.directory || from.creation_txg >= to.creation_txg
    }) {
        return refused("the other is no older snapshot of the same dataset");
    }
    send_since(pool, to, from, options, out)
}

/// The same where `from` may also be the origin of a clone, of whose snapshots `to` is the first.
pub(super) fn send_since<W: Write>(
    pool: &Pool,
    to: &Dataset,
    from: Option<&Dataset>,
    options: SendOptions,
    out: &mut StreamWriter<W>,
) -> Result<(), SendError> {
    let is_clone = from.is_some_and(|from| from.directory != to.directory);
    let objset = pool.objset(to)?;
    let flags = feature_flags(pool, to, options)?;
    let objset_type = match to.kind {
        DatasetKind::Volume => objset_type::ZVOL,
        _ => objset_type::ZFS,
    };
    out.write(&Record::Begin(Begin {
        compound: false,
        features: flags,
        creation: to.creation,
        objset_type: objset_type as u32,
        flags: BEGIN_FLAGS
            | if to.ignores_case { IGNORES_CASE } else { 0 }
            | if is_clone { CLONE } else { 0 },
        to_guid: to.guid,
        from_guid: from.map_or(0, |from| from.guid),
        to_name: to.name.clone().into_bytes(),
        payload: Vec::new(),
    }))?;
    let mut sender = Sender {
        pool,
        objset: &objset,
        since: from.map_or(0, |from| from.creation_txg),
        to_guid: to.guid,
        flags,
        pending: None,
        out,
    };
    sender.objects()?;
    sender.flush()?;
    out.end(to.guid)?;
    Ok(())
}

/// The features that the kernel would set for the snapshot.
fn feature_flags(pool: &Pool, to: &Dataset, options: SendOptions) -> Result<u64, ReadError> {
    let object = pool.mos()?.object(to.object)?;
    let has = |guid: &str| {
        if object.dnode.object_type != object_type::ZAP_METADATA {
            return Ok(false);
        }
        zap::number(&object, guid.as_bytes()).map(|number| number.is_some())
    };
    let mut flags = 0;
    let mut set = |flag: u64, wanted: bool| flags |= if wanted { flag } else { 0 };
    let embedded = options.embedded && pool.feature_is_active("com.delphix:embedded_data");
    set(features::SA_SPILL, to.kind == DatasetKind::Filesystem);
    set(features::EMBED_DATA, embedded && !to.encrypted);
    set(features::COMPRESSED, options.compressed);
    set(
        features::LZ4,
        (embedded || options.compressed) && pool.feature_is_active("org.illumos:lz4_compress"),
    );
    set(features::ZSTD, options.compressed && has("org.freebsd:zstd_compress")?);
    set(features::LARGE_BLOCKS, has("org.open-zfs:large_blocks")?);
    set(features::LARGE_DNODE, has("org.zfsonlinux:large_dnode")?);
    set(features::LONGNAME, has("org.zfsonlinux:longname")?);
    set(features::LARGE_MICROZAP, has("com.klarasystems:large_microzap")?);
    Ok(flags)
}

struct Sender<'a, 'p, W> {
    pool: &'p Pool,
    objset: &'a Objset<'p>,
    /// What was born up to this transaction group is not sent.
    since: u64,
    to_guid: u64,
    flags: u64,
    /// A free record that may still grow.
    pending: Option<Record>,
    out: &'a mut StreamWriter<W>,
}

/// What is found at a place of an object's block tree.
enum Found {
    /// A block of level 0.
    Block(u64, BlockPointer),
    /// So many blocks of nothing.
    Hole(u64, u64),
}

impl<W: Write> Sender<'_, '_, W> {
    fn has(&self, flag: u64) -> bool {
        self.flags & flag != 0
    }

    fn flush(&mut self) -> Result<(), SendError> {
        if let Some(record) = self.pending.take() {
            self.out.write(&record)?;
        }
        Ok(())
    }

    fn write(&mut self, record: &Record) -> Result<(), SendError> {
        self.flush()?;
        Ok(self.out.write(record)?)
    }

    fn free_objects(&mut self, first: u64, count: u64) -> Result<(), SendError> {
        if count == 0 {
            return Ok(());
        }
        if let Some(Record::FreeObjects { first: start, count: have, .. }) = &mut self.pending
            && start.saturating_add(*have) == first
        {
            *have += count;
            return Ok(());
        }
        self.flush()?;
        self.pending = Some(Record::FreeObjects { first, count, to_guid: self.to_guid });
        Ok(())
    }

    fn free(&mut self, object: u64, offset: u64, length: u64) -> Result<(), SendError> {
        if let Some(Record::Free { object: same, offset: start, length: have, .. }) =
            &mut self.pending
            && *same == object
            && start.saturating_add(*have) == offset
        {
            *have = have.saturating_add(length);
            return Ok(());
        }
        self.flush()?;
        let record = Record::Free { object, offset, length, to_guid: self.to_guid };
        if length == WHOLE {
            return self.write(&record);
        }
        self.pending = Some(record);
        Ok(())
    }

    fn objects(&mut self) -> Result<(), SendError> {
        let objset = self.objset;
        let meta = objset.meta_object();
        let slots = u64::from(meta.dnode.block_size) / SLOT;
        let last = meta.dnode.max_block;
        let mut walk = Walk::new(&meta, self.since);
        while let Some(found) = walk.next()? {
            let (number, bp) = match found {
                Found::Hole(first, count) => {
                    let count = count.min(last.saturating_add(1).saturating_sub(first));
                    self.free_objects(first.saturating_mul(slots), count.saturating_mul(slots))?;
                    continue;
                }
                Found::Block(number, bp) => (number, bp),
            };
            let block = meta.data(&bp)?;
            let first = number.saturating_mul(slots);
            let mut next = first;
            for (_, object) in objset.in_block(first, &block) {
                let object = object?;
                self.free_objects(next, object.number.saturating_sub(next))?;
                self.object(&object)?;
                next = object.number + u64::from(object.dnode.slots);
            }
            self.free_objects(next, (first + slots).saturating_sub(next))?;
        }
        Ok(())
    }

    fn object(&mut self, object: &Object<'_>) -> Result<(), SendError> {
        let dnode = &object.dnode;
        let mut bonus = dnode.bonus.to_vec();
        bonus.resize(bonus.len().next_multiple_of(8), 0);
        self.write(&Record::Object(ObjectRecord {
            object: object.number,
            object_type: u32::from(dnode.object_type),
            bonus_type: u32::from(dnode.bonus_type),
            block_size: dnode.block_size,
            bonus_length: dnode.bonus.len() as u32,
            checksum: dnode.checksum,
            compression: dnode.compression,
            slots: dnode.slots,
            flags: if dnode.spill.is_some() { HAS_SPILL } else { 0 },
            to_guid: self.to_guid,
            bonus,
            ..ObjectRecord::default()
        }))?;
        self.free(object.number, dnode.capacity(), WHOLE)?;
        let spill = dnode.spill.filter(|bp| !bp.is_hole());
        if let Some(bp) = spill.filter(|bp| bp.birth() <= self.since) {
            self.spill(object, &bp, UNMODIFIED)?;
        }
        let size = u64::from(dnode.block_size);
        let mut walk = Walk::new(object, self.since);
        while let Some(found) = walk.next()? {
            match found {
                Found::Hole(first, count) => {
                    if first > dnode.max_block {
                        continue;
                    }
                    let count = count.min(dnode.max_block - first + 1);
                    self.free(
                        object.number,
                        first.saturating_mul(size),
                        count.saturating_mul(size),
                    )?;
                }
                Found::Block(number, bp) => self.block(object, number.saturating_mul(size), &bp)?,
            }
        }
        if let Some(bp) = spill.filter(|bp| bp.birth() > self.since) {
            self.spill(object, &bp, 0)?;
        }
        Ok(())
    }

    fn spill(
        &mut self,
        object: &Object<'_>,
        bp: &BlockPointer,
        flags: u8,
    ) -> Result<(), SendError> {
        let data = object.data(bp)?.to_vec();
        self.write(&Record::Spill(SpillRecord {
            object: object.number,
            length: data.len() as u64,
            to_guid: self.to_guid,
            flags,
            data,
            ..SpillRecord::default()
        }))
    }

    fn block(
        &mut self,
        object: &Object<'_>,
        offset: u64,
        bp: &BlockPointer,
    ) -> Result<(), SendError> {
        let compression = bp.compression();
        let known = match compression {
            LZ4 => self.has(features::LZ4),
            ZSTD => self.has(features::ZSTD),
            _ => true,
        };
        if bp.is_embedded() && bp.embedded_type() == 0 && known && self.has(features::EMBED_DATA) {
            let mut data = bp.embedded_payload();
            let size = data.len() as u32;
            data.resize(data.len().next_multiple_of(8), 0);
            return self.write(&Record::WriteEmbedded(EmbeddedWrite {
                object: object.number,
                offset,
                length: u64::from(object.dnode.block_size),
                to_guid: self.to_guid,
                compression,
                kind: 0,
                logical_size: bp.lsize() as u32,
                size,
                data,
            }));
        }
        let as_stored = self.has(features::COMPRESSED)
            && known
            && compression != OFF
            && !bp.is_embedded()
            && !bp.is_big_endian()
            && !bp.uses_crypt()
            && !is_metadata(bp.object_type());
        let (compression, data) = if as_stored {
            (compression, self.pool.blocks.raw(bp)?)
        } else {
            (0, object.data(bp)?.to_vec())
        };
        self.write(&Record::Write(WriteRecord {
            object: object.number,
            object_type: u32::from(object.dnode.object_type),
            offset,
            logical_size: bp.lsize(),
            to_guid: self.to_guid,
            checksum: OFF,
            compression,
            compressed_size: if as_stored { data.len() as u64 } else { 0 },
            data,
            ..WriteRecord::default()
        }))
    }
}

/// Whether blocks of a type are metadata; those are always sent uncompressed.
///
/// Source: `dmu_ot` in OpenZFS `module/zfs/dmu.c`.
fn is_metadata(object_type: u8) -> bool {
    match object_type {
        // Types that say themselves what they are.
        0x80.. => object_type & 0x40 != 0,
        // Files, volumes, other bytes and words, deduplicated blocks.
        19 | 23 | 25 | 26 | 49 => false,
        _ => true,
    }
}

/// A block tree in order, without what was born before.
struct Walk<'o, 'p> {
    object: &'o Object<'p>,
    since: u64,
    /// For its indirect blocks.
    left: Room,
    /// Level, number within the level, pointer.
    stack: Vec<(u8, u64, BlockPointer)>,
}

impl<'o, 'p> Walk<'o, 'p> {
    fn new(object: &'o Object<'p>, since: u64) -> Self {
        let level = object.dnode.levels - 1;
        let pointers = object.dnode.pointers.iter().enumerate().rev();
        let stack = pointers.map(|(at, bp)| (level, at as u64, *bp)).collect();
        Self { object, since, left: object.source.blocks.room(), stack }
    }

    fn next(&mut self) -> Result<Option<Found>, ReadError> {
        let shift = self.object.dnode.pointers_shift();
        while let Some((level, number, bp)) = self.stack.pop() {
            if bp.is_hole() {
                // One without a birth was a hole always, or is of a time when holes had none.
                if bp.birth() != 0 && bp.birth() <= self.since {
                    continue;
                }
                let span = u32::from(level) * shift;
                let Some(first) = number.checked_mul(1u64.checked_shl(span).unwrap_or(0)) else {
                    continue;
                };
                let count = 1u64.checked_shl(span).unwrap_or(u64::MAX);
                return Ok(Some(Found::Hole(first, count)));
            }
            if bp.birth() <= self.since {
                continue;
            }
            if level == 0 {
                return Ok(Some(Found::Block(number, bp)));
            }
            if bp.level() != level {
                return Err(self.object.damaged("a block of the wrong level is in its tree"));
            }
            let block = self.object.source.read(&bp)?;
            if !self.left.take(&bp) {
                return Err(self.object.has_too_many_blocks());
            }
            let Some(first) = number.checked_mul(1 << shift) else { continue };
            let below = block.chunks_exact(BLKPTR_SIZE).filter_map(BlockPointer::from_bytes);
            let below: Vec<_> = (first..).zip(below).collect();
            self.stack.extend(below.into_iter().rev().map(|(number, bp)| (level - 1, number, bp)));
        }
        Ok(None)
    }
}
