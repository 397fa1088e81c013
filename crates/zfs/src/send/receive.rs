//! Receiving: streams become file systems and volumes that can be read.
//!
//! Blocks go into a spool as they come; a snapshot is a set of objects and of pointers to their
//! blocks, which the next snapshot begins with. At its end an object set is made of it, so that
//! everything that reads pools reads what was received:
//!
//! ```no_run
//! use zfs::send::Receiver;
//! let spool = tempfile::tempfile()?;
//! spool.set_len(1 << 40)?;
//! let mut receiver = Receiver::new(spool)?;
//! receiver.receive(std::io::BufReader::new(std::fs::File::open("full.stream")?))?;
//! receiver.receive(std::io::BufReader::new(std::fs::File::open("incremental.stream")?))?;
//! let newest = receiver.received().last().unwrap();
//! let filesystem = receiver.filesystem(newest.guid)?;
//! let (tree, blobs) = filesystem.tree(filesystem.root)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Source: OpenZFS `module/zfs/dmu_recv.c`.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use blk::{ReadAt, WriteAt};

use super::record::{Begin, EmbeddedWrite, ObjectRecord, Record, features};
use super::{StreamError, StreamReader};
use crate::blkptr::{BLKPTR_SIZE, BlockKind, BlockPointer, EMBEDDED_MAX};
use crate::checksum::fletcher4;
use crate::codec::{BlockCompression, ByteOrder};
use crate::compress::Compression;
use crate::dnode::{CORE_SIZE, DNODE_SIZE, DNODES_PER_BLOCK, Dnode, object_type, objset_type};
use crate::nvlist::{NvList, decode_xdr};
use crate::read::OLD_ZNODE;
use crate::read::received::{device, volume};
use crate::read::{Filesystem, Object, Objset, ReadError};
use crate::writer::WriteError;
use crate::writer::alloc::Allocator;
use crate::writer::block::{BlockParams, BlockWriter, EncodedBlock};
use crate::writer::indirect::{BlockTree, levels_for};
use crate::writer::objset::DnodeTable;

/// log₂ of the areas of the spool that are filled one after the other.
const AREA_SHIFT: u32 = 30;
/// `DN_MAX_OBJECT`.
const MAX_OBJECT: u64 = 1 << 48;
/// Largest block.
const MAX_BLOCK: u64 = 16 << 20;
const OFF: u8 = 2;
/// `DRR_OBJECT_SPILL`, `DRR_FLAG_SPILL_BLOCK`.
const HAS_SPILL: u8 = 4;
const SPILLS_ARE_ANNOUNCED: u32 = 8;
/// Streams that need more than these are not understood.
const UNDERSTOOD: u64 =
    features::KNOWN & !(features::RAW | features::REDACTED | features::RESUMING);

/// Why a stream cannot be received.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The stream cannot be read, or is damaged.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// What the stream asks for cannot be done.
    #[error("cannot receive {snapshot}: {problem}")]
    Refused {
        /// The snapshot as the stream names it.
        snapshot: String,
        /// Why.
        problem: String,
    },
    /// The spool cannot be written.
    #[error("cannot keep what is received: {0}")]
    Spool(#[from] WriteError),
    /// What was received cannot be read.
    #[error(transparent)]
    Read(#[from] Box<ReadError>),
}

/// A snapshot that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Its name where it was sent from, with the dataset's.
    pub name: String,
    /// Its GUID.
    pub guid: u64,
    /// GUID of the snapshot that it was the difference to, 0 if it came in full.
    pub from_guid: u64,
    /// When it was made, in seconds since 1970.
    pub creation: u64,
    /// Whether it is of a volume.
    pub is_volume: bool,
}

#[derive(Debug, Clone)]
struct State {
    object_type: u8,
    bonus_type: u8,
    block_size: u64,
    slots: u64,
    bonus: Vec<u8>,
    blocks: BTreeMap<u64, BlockPointer>,
    spill: Option<BlockPointer>,
}

type Objects = BTreeMap<u64, Arc<State>>;

/// A snapshot that is coming.
struct Open {
    what: Received,
    objects: Objects,
    spills_announced: bool,
}

/// Receives streams; what it keeps in memory is the objects of the newest snapshot and their pointers,
/// 128 bytes a block, and those of the one that is coming where they differ.
#[derive(Debug)]
pub struct Receiver<D> {
    out: BlockWriter<Arc<D>>,
    blocks: crate::read::received::Spool,
    /// Object sets of the snapshots by GUID.
    snapshots: BTreeMap<u64, BlockPointer>,
    /// GUID and objects of the newest, from which most streams go on.
    newest: Option<(u64, Objects)>,
    received: Vec<Received>,
    list: Option<NvList>,
}

impl<D: WriteAt + 'static> Receiver<D> {
    /// A receiver that keeps blocks in `spool`, which is as large as they may become: a sparse file.
    pub fn new(spool: D) -> Result<Self, ReceiveError> {
        let spool = Arc::new(spool);
        let areas = spool.size().map_err(WriteError::from)?.div_ceil(1 << AREA_SHIFT);
        let alloc = Allocator::new(AREA_SHIFT, areas.clamp(1, 1 << 20) as usize);
        Ok(Self {
            blocks: device(spool.clone()),
            out: BlockWriter::new(spool, alloc, 1),
            snapshots: BTreeMap::new(),
            newest: None,
            received: Vec::new(),
            list: None,
        })
    }

    /// Receives a stream of one snapshot, or a compound one. What it is the difference to must have
    /// been received before. After an error the snapshots that were complete stay.
    pub fn receive<R: Read>(&mut self, input: R) -> Result<(), ReceiveError> {
        let mut stream = StreamReader::new(input);
        let mut open: Option<Open> = None;
        loop {
            let offset = stream.offset();
            let wrong = |problem: &str| StreamError::Record { offset, problem: problem.to_owned() };
            let Some(record) = stream.next_record()? else { break };
            match (record, &mut open) {
                (Record::Begin(begin), None) if begin.compound => {
                    let list = decode_xdr(&begin.payload);
                    self.list = Some(list.map_err(|_| wrong("its list cannot be read"))?);
                }
                (Record::Begin(begin), None) => open = Some(self.begin(&begin, stream.order())?),
                (Record::Begin(_), Some(_)) => Err(wrong("a snapshot begins inside another"))?,
                // Of the list, or of the whole stream.
                (Record::End(_), None) => {}
                (Record::End(_), Some(_)) => {
                    if let Some(open) = open.take() {
                        self.end(open)?;
                    }
                }
                (_, None) => Err(wrong("it belongs to no snapshot"))?,
                (record, Some(open)) => self.apply(open, record).map_err(|error| match error {
                    Fault::Write(error) => ReceiveError::Spool(error),
                    Fault::Record(problem) => wrong(&problem).into(),
                    Fault::Refused(problem) => {
                        ReceiveError::Refused { snapshot: open.what.name.clone(), problem }
                    }
                })?,
            }
        }
        match open {
            None => Ok(()),
            Some(open) => Err(ReceiveError::Refused {
                snapshot: open.what.name,
                problem: "the stream ends in the middle of it".to_owned(),
            }),
        }
    }

    /// The snapshots that were received, in the order of the streams.
    pub fn received(&self) -> &[Received] {
        &self.received
    }

    /// The list of datasets and properties of the last compound stream.
    pub fn list(&self) -> Option<&NvList> {
        self.list.as_ref()
    }

    /// The file system of the snapshot with that GUID.
    pub fn filesystem(&self, guid: u64) -> Result<Filesystem<'_>, ReadError> {
        Filesystem::open(self.objset(guid)?)
    }

    /// The content of the volume whose snapshot has that GUID, and its size.
    pub fn volume(&self, guid: u64) -> Result<(Object<'_>, u64), ReadError> {
        volume(&self.objset(guid)?)
    }

    pub(super) fn objset(&self, guid: u64) -> Result<Objset<'_>, ReadError> {
        let not_found = || ReadError::NotFound { what: format!("snapshot with GUID {guid}") };
        self.blocks.objset(self.snapshots.get(&guid).ok_or_else(not_found)?)
    }

    /// The objects of a snapshot, read again if it is not the newest.
    fn objects(&self, guid: u64) -> Result<Objects, ReadError> {
        if let Some((newest, objects)) = &self.newest
            && *newest == guid
        {
            return Ok(objects.clone());
        }
        let mut objects = Objects::new();
        for object in self.objset(guid)?.objects() {
            let object = object?;
            let dnode = &object.dnode;
            let state = State {
                object_type: dnode.object_type,
                bonus_type: dnode.bonus_type,
                block_size: u64::from(dnode.block_size),
                slots: u64::from(dnode.slots),
                bonus: dnode.bonus.to_vec(),
                blocks: object.pointers().collect::<Result<_, _>>()?,
                spill: dnode.spill,
            };
            objects.insert(object.number, Arc::new(state));
        }
        Ok(objects)
    }

    fn begin(&self, begin: &Begin, order: ByteOrder) -> Result<Open, ReceiveError> {
        let name = String::from_utf8_lossy(&begin.to_name).into_owned();
        let refuse =
            |problem: String| Err(ReceiveError::Refused { snapshot: name.clone(), problem });
        for (feature, what) in [
            (features::RAW, "it is encrypted (a raw stream)"),
            (features::REDACTED, "it is redacted"),
            (features::RESUMING, "it goes on where another stream was broken off"),
        ] {
            if begin.features & feature != 0 {
                return refuse(what.to_owned());
            }
        }
        if begin.features & !UNDERSTOOD != 0 {
            return refuse(format!("it uses unknown features {:#x}", begin.features & !UNDERSTOOD));
        }
        if order != ByteOrder::Little {
            return refuse("it was sent by a big-endian machine".to_owned());
        }
        let objects = match begin.from_guid {
            0 => Objects::new(),
            from if !self.snapshots.contains_key(&from) => {
                return refuse(format!(
                    "it goes on from a snapshot with GUID {from}, which was not received"
                ));
            }
            from => self.objects(from).map_err(Box::new)?,
        };
        let what = Received {
            guid: begin.to_guid,
            from_guid: begin.from_guid,
            creation: begin.creation,
            is_volume: u64::from(begin.objset_type) == objset_type::ZVOL,
            name,
        };
        Ok(Open { what, objects, spills_announced: begin.flags & SPILLS_ARE_ANNOUNCED != 0 })
    }

    fn apply(&mut self, open: &mut Open, record: Record) -> Result<(), Fault> {
        match record {
            Record::Object(record) => open.object_record(record),
            Record::FreeObjects { first, count, .. } => {
                let end = first.saturating_add(count);
                let gone: Vec<u64> =
                    open.objects.range(first..end.max(first)).map(|(n, _)| *n).collect();
                for number in &gone {
                    open.objects.remove(number);
                }
                Ok(())
            }
            Record::Write(write) => {
                let object = open.object(write.object)?;
                let block = object.block(write.offset, write.logical_size)?;
                let compressed = write.compressed_size > 0;
                let compression = if compressed { write.compression } else { OFF };
                let kind = BlockKind { object_type: object.object_type, level: 0 };
                let pointer = self.store(write.data, write.logical_size, compression, kind)?;
                object.blocks.insert(block, pointer);
                Ok(())
            }
            Record::WriteEmbedded(write) => open.embedded(&write),
            Record::Free { object, offset, length, .. } => {
                let object = open.object(object)?;
                let size = object.block_size;
                let end = offset.saturating_add(length);
                let first = offset.div_ceil(size);
                let last = if end == u64::MAX { u64::MAX } else { end / size };
                let gone: Vec<u64> =
                    object.blocks.range(first..last.max(first)).map(|(block, _)| *block).collect();
                for block in &gone {
                    object.blocks.remove(block);
                }
                Ok(())
            }
            Record::Spill(spill) => {
                let kind = BlockKind { object_type: object_type::SA, level: 0 };
                let object = open.object(spill.object)?;
                object.check_room_for_spill()?;
                object.spill = Some(self.store(spill.data, spill.length, OFF, kind)?);
                Ok(())
            }
            Record::WriteByReference { .. } => {
                Err(fault("deduplicated streams are not understood"))
            }
            Record::ObjectRange { .. } | Record::Redact { .. } => {
                Err(fault("it belongs to a kind of stream that was not announced"))
            }
            Record::Begin(_) | Record::End(_) => Ok(()),
        }
    }

    fn store(
        &mut self,
        data: Vec<u8>,
        lsize: u64,
        compression: u8,
        kind: BlockKind,
    ) -> Result<BlockPointer, Fault> {
        let psize = data.len() as u64;
        let sizes_ok = psize > 0 && psize.is_multiple_of(512) && psize <= lsize;
        if !sizes_ok || lsize > MAX_BLOCK || !lsize.is_multiple_of(512) {
            return Err(fault("a block of an impossible size"));
        }
        if compression == OFF && psize != lsize {
            return Err(fault("a block that is shorter than it should be"));
        }
        known_compression(compression)?;
        let checksum = fletcher4(&data);
        let params = BlockParams { kind, compression: Compression::Off, copies: 1, fill: 1 };
        let block = EncodedBlock::Stored { data, lsize, compression, checksum };
        Ok(self.out.place(block, &params)?)
    }

    /// Makes an object set of the objects.
    fn end(&mut self, open: Open) -> Result<(), ReceiveError> {
        let mut table = DnodeTable::new(1);
        for (number, state) in &open.objects {
            let pointers = state.pointers();
            let max_block_id = state.blocks.keys().next_back().copied().unwrap_or(0);
            let levels = levels_for(max_block_id, pointers);
            let mut tree = BlockTree::new(state.object_type, levels, pointers, 1);
            for (block, pointer) in &state.blocks {
                tree.push(&mut self.out, *block, *pointer)?;
            }
            let roots = tree.finish(&mut self.out)?;
            let dnode = Dnode {
                object_type: state.object_type,
                bonus_type: state.bonus_type,
                bonus: &state.bonus,
                levels,
                block_size: state.block_size as u32,
                max_block_id,
                pointers: &roots,
                spill: state.spill,
                extra_slots: state.slots.saturating_sub(1) as u8,
                ..Dnode::default()
            };
            table.add(&mut self.out, *number, &dnode)?;
        }
        let kind = if open.what.is_volume { objset_type::ZVOL } else { objset_type::ZFS };
        let objset = table.finish(&mut self.out, kind, None, 1)?;
        self.snapshots.insert(open.what.guid, objset);
        self.newest = Some((open.what.guid, open.objects));
        self.received.push(open.what);
        Ok(())
    }
}

/// Why a record cannot be applied.
enum Fault {
    Write(WriteError),
    Record(String),
    /// The record is sound, but what it asks for cannot be done.
    Refused(String),
}

impl From<WriteError> for Fault {
    fn from(error: WriteError) -> Self {
        Self::Write(error)
    }
}

fn fault(problem: &str) -> Fault {
    Fault::Record(problem.to_owned())
}

fn known_compression(number: u8) -> Result<(), Fault> {
    match BlockCompression::from_number(number) {
        Ok(_) => Ok(()),
        Err(_) => Err(Fault::Record(format!("compression {number} is not known"))),
    }
}

/// Bonus bytes of a dnode of `slots` slots that has one block pointer, and a spill block or none.
fn bonus_room(slots: u64, has_spill: bool) -> usize {
    let pointers = if has_spill { 2 } else { 1 };
    (slots as usize * DNODE_SIZE).saturating_sub(CORE_SIZE + pointers * BLKPTR_SIZE)
}

/// The generation of the inode in a bonus area: it tells a file from one that later has its number.
///
/// Source: `zpl_get_file_info` in OpenZFS `module/zfs/zfs_quota.c`.
fn generation(bonus_type: u8, bonus: &[u8]) -> Option<u64> {
    let at = match bonus_type {
        OLD_ZNODE => 64,
        object_type::SA => 16 + usize::from(*bonus.get(5)? >> 2) * 8,
        _ => return None,
    };
    bonus.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

/// Whether it is a spill block. OpenZFS since 2.3 sends one that is embedded as if it were the block before the
/// last of a file of all 2⁶⁴ bytes, in blocks of its size, where it lies inside a pool (openzfs/zfs#19091).
fn is_spill(write: &EmbeddedWrite) -> bool {
    write.length > 0 && write.offset == write.length.wrapping_mul(2).wrapping_neg()
}

impl State {
    fn check_room_for_spill(&self) -> Result<(), Fault> {
        match self.bonus.len() > bonus_room(self.slots, true) {
            true => Err(fault("a spill block of an object that has no room for one")),
            false => Ok(()),
        }
    }

    /// Whether it is the same file in larger or smaller blocks, of which only those that changed
    /// will come.
    fn changes_block_size(&self, before: &Self) -> bool {
        let plain = object_type::PLAIN_FILE_CONTENTS;
        // A single block comes anew when its size changes.
        let several = before.blocks.keys().next_back().is_some_and(|last| *last > 0);
        let same = generation(self.bonus_type, &self.bonus)
            == generation(before.bonus_type, &before.bonus);
        (self.object_type, before.object_type) == (plain, plain)
            && self.block_size != before.block_size
            && several
            && same
    }

    /// Number of the block of `size` bytes at `offset`.
    fn block(&self, offset: u64, size: u64) -> Result<u64, Fault> {
        if size != self.block_size || !offset.is_multiple_of(size) {
            return Err(fault("what it holds is not one block of its object"));
        }
        Ok(offset / size)
    }

    /// Block pointers that the dnode has room for, at most three.
    fn pointers(&self) -> usize {
        let room = bonus_room(self.slots, self.spill.is_some());
        (1 + room.saturating_sub(self.bonus.len()) / BLKPTR_SIZE).min(3)
    }
}

impl Open {
    fn object(&mut self, number: u64) -> Result<&mut State, Fault> {
        match self.objects.get_mut(&number) {
            Some(object) => Ok(Arc::make_mut(object)),
            None => Err(Fault::Record(format!("there is no object {number}"))),
        }
    }

    fn embedded(&mut self, write: &EmbeddedWrite) -> Result<(), Fault> {
        let object = self.object(write.object)?;
        let (object_type, size, block) = match is_spill(write) {
            true => {
                object.check_room_for_spill()?;
                (object_type::SA, write.length, None)
            }
            false => {
                let block = object.block(write.offset, write.length)?;
                (object.object_type, object.block_size, Some(block))
            }
        };
        let lsize = u64::from(write.logical_size);
        let payload = write.data.get(..write.size as usize).unwrap_or_default();
        let size_ok = !payload.is_empty() && payload.len() <= EMBEDDED_MAX;
        if write.kind != 0 || !size_ok || lsize != size || !lsize.is_multiple_of(512) {
            return Err(fault("an embedded block that makes no sense"));
        }
        known_compression(write.compression)?;
        let kind = BlockKind { object_type, level: 0 };
        let pointer = BlockPointer::embedded(kind, payload, lsize, write.compression, 1);
        if let Some(block) = block {
            object.blocks.insert(block, pointer);
        } else {
            object.spill = Some(pointer);
        }
        Ok(())
    }

    fn object_record(&mut self, record: ObjectRecord) -> Result<(), Fault> {
        let (number, slots) = (record.object, u64::from(record.slots.max(1)));
        let block = DNODES_PER_BLOCK as u64;
        let size = u64::from(record.block_size);
        let has_spill = record.flags & HAS_SPILL != 0;
        let length = record.bonus_length as usize;
        let (Ok(kind), Ok(bonus_type)) =
            (u8::try_from(record.object_type), u8::try_from(record.bonus_type))
        else {
            return Err(fault("an object of an unknown type"));
        };
        if number == 0
            || number >= MAX_OBJECT
            || number % block + slots > block
            || size == 0
            || size > MAX_BLOCK
            || !size.is_multiple_of(512)
            || length > bonus_room(slots, has_spill)
            || length > record.bonus.len()
            || kind == 0
        {
            return Err(fault("an object whose number or sizes are impossible"));
        }
        // What lies where its dnode is now was freed.
        let gone: Vec<u64> = self
            .objects
            .range(number.saturating_sub(block - 1)..number + slots)
            .filter(|(other, state)| **other > number || **other + state.slots > number)
            .map(|(other, _)| *other)
            .filter(|other| *other != number)
            .collect();
        for other in &gone {
            self.objects.remove(other);
        }
        let before = self.objects.remove(&number);
        let mut bonus = record.bonus;
        bonus.truncate(length);
        let mut state = State {
            object_type: kind,
            bonus_type,
            block_size: size,
            slots,
            bonus,
            blocks: BTreeMap::new(),
            spill: None,
        };
        if before.as_ref().is_some_and(|before| state.changes_block_size(before)) {
            return Err(Fault::Refused(format!(
                "object {number} has blocks of {size} bytes in it, and other ones in what it goes on \
                 from: one was sent with large blocks (zfs send -L), the other without"
            )));
        }
        if let Some(before) = before
            && (before.object_type, before.block_size, before.slots) == (kind, size, slots)
        {
            let before = Arc::unwrap_or_clone(before);
            state.blocks = before.blocks;
            let keeps_spill = has_spill || !self.spills_announced;
            let has_room = length <= bonus_room(slots, true);
            state.spill = before.spill.filter(|_| keeps_spill && has_room);
        }
        self.objects.insert(number, Arc::new(state));
        Ok(())
    }
}
