//! One filesystem dataset: from a part of a tree to an object set.
//!
//! The writer walks the objects in order, hands their blocks to the workers and, as the blocks come
//! back in the same order, places them and finishes dnodes. Nothing is kept per file but what
//! [`Numbering`] holds.

use std::collections::{HashSet, VecDeque};
use std::io::Read;
use std::sync::Arc;

use blk::WriteAt;
use tree::{Blobs, Digest, Extent, File, Inode, InodeId, Kind, Tree};

use super::WriteError;
use super::accounting::Accounting;
use super::block::{BlockParams, BlockWriter, Usage};
use super::history::{self, Kept, State};
use super::indirect::{BlockTree, levels_for};
use super::inode::{
    S_IFDIR, S_IFREG, base_znode, device_number, digest_of, dirent_type, slots_for,
};
use super::numbering::{Numbering, Plan, block_size};
use super::objset::{DnodeTable, ObjectSpec};
use super::packed::Packed;
use super::pipeline::{Pipeline, Work};
use crate::blkptr::{BlockKind, BlockPointer};
use crate::compress::Compression;
use crate::dnode::{
    BONUS_SIZE, DNODE_SIZE, FLAG_USEROBJUSED_ACCOUNTED, FLAG_USERUSED_ACCOUNTED, object_type,
    objset_type, volume_object,
};
use crate::sa::{Layouts, Znode, pack_xattrs, registry_zap_entries};
use crate::zap::{self, Entry, ZapOptions, ZapValue};

const MASTER_NODE_OBJECT: u64 = 1;
/// The first object after the master node.
const FIRST_OBJECT: u64 = 2;
/// Objects that describe system attributes, and the unlinked set.
const ATTRIBUTE_OBJECTS: u64 = 4;
/// Version of the ZFS POSIX layer that has system attributes.
const ZPL_VERSION: u64 = 5;

/// What goes into a dataset: the tree below `root`, without what is below `mounts`.
#[derive(Debug, Clone)]
pub struct Content<'a> {
    /// The tree.
    pub tree: &'a Tree,
    /// The directory that becomes the dataset's root.
    pub root: InodeId,
    /// Directories that are mount points of other datasets: they stay, empty.
    pub mounts: HashSet<InodeId>,
}

/// How a dataset's blocks are stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Storage<'a> {
    pub compression: Compression,
    /// Files whose blocks need not be made.
    pub packed: Option<&'a Packed>,
    pub record_size: u32,
    /// Copies of data; metadata has one more.
    pub copies: usize,
    /// Salt of the dataset's ZAP hashes.
    pub salt: u64,
    /// Slots of dnodes: the least, and the most if attributes need them.
    pub slots: (u32, u32),
}

/// A volume: what a block device of `file.size` bytes holds.
#[derive(Debug, Clone)]
pub struct Volume {
    /// Size and content; the size is a multiple of the block size.
    pub file: File,
    /// `volblocksize` in bytes, a power of two from 512 to 128 KiB; OpenZFS takes 16 KiB.
    pub block_size: u32,
}

/// A finished object set.
#[derive(Debug)]
pub(crate) struct WrittenFilesystem {
    pub objset: BlockPointer,
    pub usage: Usage,
    /// Whether blocks above 128 KiB were written.
    pub large_blocks: bool,
    /// Whether zstd blocks were written.
    pub zstd: bool,
    /// Whether dnodes of more than 512 bytes were written.
    pub large_dnodes: bool,
    /// What a later state goes on with, where that was asked for.
    pub state: Option<State>,
}

/// What waits in line, in the order of submission.
enum Pending {
    Begin(BlockTree),
    Block {
        id: u64,
        params: BlockParams,
    },
    End(Box<ObjectSpec>),
    /// An object whose blocks are those of an earlier state.
    Same(Box<ObjectSpec>, Arc<Kept>),
}

/// Writes one dataset.
pub(crate) struct FilesystemWriter<'a, W> {
    out: &'a mut BlockWriter<W>,
    pipeline: &'a mut Pipeline,
    storage: Storage<'a>,
    line: VecDeque<Pending>,
    /// The object whose blocks are coming back, and the usage when it began.
    current: Option<(BlockTree, u64)>,
    dnodes: DnodeTable,
    accounting: Accounting,
    layouts: Layouts,
    progress: &'a mut dyn FnMut(u64),
    large_blocks: bool,
    zstd: bool,
    large_dnodes: bool,
    /// The state before this one.
    past: Option<&'a State>,
    /// What the next state goes on with.
    state: Option<State>,
    /// Only layouts of attributes are collected, nothing is written.
    rehearsing: bool,
}

impl<'a, W: WriteAt> FilesystemWriter<'a, W> {
    pub(crate) fn new(
        out: &'a mut BlockWriter<W>,
        pipeline: &'a mut Pipeline,
        storage: Storage<'a>,
        progress: &'a mut dyn FnMut(u64),
    ) -> Self {
        out.usage = Usage::default();
        Self {
            out,
            pipeline,
            storage,
            line: VecDeque::new(),
            current: None,
            dnodes: DnodeTable::new(storage.copies + 1),
            accounting: Accounting::default(),
            layouts: Layouts::default(),
            progress,
            large_blocks: false,
            zstd: false,
            large_dnodes: false,
            past: None,
            state: None,
            rehearsing: false,
        }
    }

    /// The same, going on from the state `past`; what the next state needs is kept.
    pub(crate) fn with_history(mut self, past: Option<&'a State>) -> Self {
        self.past = past;
        self.state = Some(State::default());
        self.layouts = past.map(|past| past.layouts.clone()).unwrap_or_default();
        self.out.journal = Some(Vec::new());
        self
    }

    /// Writes everything and gives the object set's pointer.
    pub(crate) fn write(
        mut self,
        content: &Content<'_>,
        blobs: &dyn Blobs,
    ) -> Result<WrittenFilesystem, WriteError> {
        let Content { tree, root, mounts } = content;
        // In histories the objects around attributes keep their numbers, so they come first.
        let after = if self.state.is_some() { ATTRIBUTE_OBJECTS } else { 0 };
        let (least, most) = self.storage.slots;
        let plan = Plan {
            first: self.past.map_or(FIRST_OBJECT + after, |past| past.next),
            slots: &|inode, outside| slots_for(inode, outside, least, most),
            record_size: self.storage.record_size,
            remember: self.state.as_ref().map(|_| self.out.birth),
            past: self.past.map(|past| &past.paths),
        };
        let mut numbering =
            Numbering::new(tree, *root, mounts, &plan).ok_or(WriteError::TooManyObjects)?;
        let attributes = if after > 0 { FIRST_OBJECT } else { numbering.next };
        self.master_node(&numbering, *root, attributes)?;
        if after > 0 {
            self.rehearsing = true;
            for &id in &numbering.order {
                self.inode(tree, id, mounts, &numbering, blobs)?;
            }
            self.rehearsing = false;
            self.attribute_objects(attributes)?;
        }
        for &id in &numbering.order {
            self.inode(tree, id, mounts, &numbering, blobs)?;
        }
        if after == 0 {
            self.attribute_objects(attributes)?;
        }
        while !self.line.is_empty() {
            self.complete_one()?;
        }
        if let Some(state) = &mut self.state {
            state.next = numbering.next;
            state.paths = std::mem::take(&mut numbering.paths);
            state.layouts = self.layouts.clone();
        }
        let copies = self.storage.copies + 1;
        let accounts = self.accounting.write(self.out, copies, self.storage.salt)?;
        self.finish(Some(&accounts))
    }

    /// Writes a volume and gives the object set's pointer.
    pub(crate) fn write_volume(
        mut self,
        volume: &Volume,
        blobs: &dyn Blobs,
    ) -> Result<WrittenFilesystem, WriteError> {
        let spec = |object, object_type| ObjectSpec {
            object,
            object_type,
            pointers: 3,
            ..ObjectSpec::default()
        };
        let file = &volume.file;
        self.storage.record_size = volume.block_size;
        self.file(spec(volume_object::DATA, object_type::ZVOL), file, Bytes::Blob(blobs))?;
        let properties = spec(volume_object::PROPERTIES, object_type::ZVOL_PROP);
        self.zap(properties, &[Entry::new(b"size", file.size)])?;
        while !self.line.is_empty() {
            self.complete_one()?;
        }
        self.finish(None)
    }

    fn master_node(
        &mut self,
        numbering: &Numbering,
        root: InodeId,
        attributes: u64,
    ) -> Result<(), WriteError> {
        let number = |name: &'static str, value| Entry::new(name.as_bytes(), value);
        let entries = [
            number("VERSION", ZPL_VERSION),
            number("SA_ATTRS", attributes),
            number("DELETE_QUEUE", attributes + 3),
            number("ROOT", numbering.object(root)),
            number("normalization", 0),
            number("utf8only", 0),
            number("casesensitivity", 0),
        ];
        self.zap_object(MASTER_NODE_OBJECT, object_type::MASTER_NODE, &entries)
    }

    /// The objects that describe system attributes, and the empty delete queue. They come last
    /// because only now is it known which layouts are in use.
    fn attribute_objects(&mut self, first: u64) -> Result<(), WriteError> {
        let master = [Entry::new(b"REGISTRY", first + 1), Entry::new(b"LAYOUTS", first + 2)];
        self.zap_object(first, object_type::SA_MASTER_NODE, &master)?;
        let registry: Vec<_> = registry_zap_entries().collect();
        self.zap_object(first + 1, object_type::SA_ATTR_REGISTRATION, &registry)?;
        let layouts = self.layouts.clone();
        let layouts: Vec<_> = layouts.zap_entries().collect();
        let layouts: Vec<_> = layouts
            .iter()
            .map(|(name, attributes)| Entry {
                name: name.as_bytes(),
                value: ZapValue::U16s(attributes),
            })
            .collect();
        self.zap_object(first + 2, object_type::SA_ATTR_LAYOUTS, &layouts)?;
        self.zap_object(first + 3, object_type::UNLINKED_SET, &[])
    }

    /// An object without owner whose content is a ZAP.
    fn zap_object(
        &mut self,
        object: u64,
        object_type: u8,
        entries: &[Entry<'_>],
    ) -> Result<(), WriteError> {
        let spec = ObjectSpec {
            object,
            object_type,
            pointers: 3,
            flags: FLAG_USERUSED_ACCOUNTED | FLAG_USEROBJUSED_ACCOUNTED,
            ..ObjectSpec::default()
        };
        self.zap(spec, entries)
    }

    fn zap(&mut self, mut spec: ObjectSpec, entries: &[Entry<'_>]) -> Result<(), WriteError> {
        if self.rehearsing {
            return Ok(());
        }
        if self.state.is_some() {
            let content = history::Content::Zap(digest_of(entries));
            if let Some(kept) = self.same(spec.object, &content) {
                return self.keep(spec, kept);
            }
            spec.content = Some(content);
        }
        let options = ZapOptions::new(self.storage.salt);
        let zap = zap::encode(entries, &options)
            .map_err(|source| WriteError::Zap { object: spec.object, source })?;
        let params = self.metadata_params(spec.object_type);
        spec.block_size = zap.block_size;
        spec.max_block_id = (zap.data.len() as u64 / u64::from(zap.block_size)).saturating_sub(1);
        self.begin(&spec);
        for (id, block) in zap.data.chunks(zap.block_size as usize).enumerate() {
            self.encode(id as u64, block.to_vec(), params)?;
        }
        self.end(spec)
    }

    fn metadata_params(&self, object_type: u8) -> BlockParams {
        BlockParams {
            kind: BlockKind { object_type, level: 0 },
            compression: Compression::Lz4,
            copies: self.storage.copies + 1,
            fill: 1,
        }
    }

    fn inode(
        &mut self,
        tree: &Tree,
        id: InodeId,
        mounts: &HashSet<InodeId>,
        numbering: &Numbering,
        blobs: &dyn Blobs,
    ) -> Result<(), WriteError> {
        let inode = tree.inode(id);
        let object = numbering.object(id);
        let packed = pack_xattrs(&inode.metadata.xattrs);
        let generation = numbering.generation(id).unwrap_or(self.out.birth);
        let slots = numbering.slots(id);
        let mut znode = base_znode(inode, generation);
        znode.parent = numbering.parent(id);
        znode.links = numbering.links(id);
        znode.dxattr = packed.sa.as_deref();
        znode.xattr_dir = numbering.attribute_directory(id);
        match &inode.kind {
            Kind::Directory(directory) => {
                let none = tree::Directory::default();
                let directory = if mounts.contains(&id) { &none } else { directory };
                let entries: Vec<_> = directory
                    .iter()
                    .map(|(name, child)| {
                        let kind = dirent_type(&tree.inode(child).kind);
                        Entry::new(name, kind << 60 | numbering.object(child))
                    })
                    .collect();
                let subdirectories =
                    directory.iter().filter(|(_, child)| tree.directory(*child).is_some()).count();
                znode.links = 2 + subdirectories as u64;
                znode.size = 2 + entries.len() as u64;
                let spec =
                    self.znode_spec(object, object_type::DIRECTORY_CONTENTS, slots, &znode)?;
                self.zap(spec, &entries)?;
            }
            Kind::File(file) => {
                znode.size = file.size;
                let spec =
                    self.znode_spec(object, object_type::PLAIN_FILE_CONTENTS, slots, &znode)?;
                self.file(spec, file, Bytes::Blob(blobs))?;
            }
            Kind::Symlink(target) => {
                znode.size = target.len() as u64;
                znode.symlink = Some(target);
                self.empty_object(object, slots, &znode)?;
            }
            Kind::CharDevice(device) | Kind::BlockDevice(device) => {
                znode.rdev = Some(device_number(*device));
                self.empty_object(object, slots, &znode)?;
            }
            Kind::Fifo | Kind::Socket => self.empty_object(object, slots, &znode)?,
        }
        if let Some(directory) = znode.xattr_dir {
            self.attribute_directory((object, generation), directory, inode, &packed.directory)?;
        }
        Ok(())
    }

    /// Extended attributes too large for the system attributes: a hidden directory of files.
    fn attribute_directory(
        &mut self,
        (owner, generation): (u64, u64),
        directory: u64,
        inode: &Inode,
        attributes: &[(&[u8], &[u8])],
    ) -> Result<(), WriteError> {
        let mut entries = Vec::new();
        for (index, (name, _)) in attributes.iter().enumerate() {
            let object = directory + 1 + index as u64;
            entries.push(Entry::new(name, (S_IFREG >> 12) << 60 | object));
        }
        let mut znode = base_znode(inode, generation);
        znode.mode = S_IFDIR | 0o1777;
        znode.parent = owner;
        znode.links = 2;
        znode.size = 2 + entries.len() as u64;
        znode.is_xattr = true;
        let spec = self.znode_spec(directory, object_type::DIRECTORY_CONTENTS, 1, &znode)?;
        self.zap(spec, &entries)?;
        for (index, (_, value)) in attributes.iter().enumerate() {
            znode.mode = S_IFREG | 0o644;
            znode.parent = directory;
            znode.links = 1;
            znode.size = value.len() as u64;
            let object = directory + 1 + index as u64;
            let spec = self.znode_spec(object, object_type::PLAIN_FILE_CONTENTS, 1, &znode)?;
            let compared = self.state.is_some() && !self.rehearsing;
            let digest = if compared { Digest::of(value) } else { Digest([0; 32]) };
            let file = File::dense(value.len() as u64, digest);
            self.file(spec, &file, Bytes::Value(value))?;
        }
        Ok(())
    }

    fn znode_spec(
        &mut self,
        object: u64,
        object_type: u8,
        slots: u32,
        znode: &Znode<'_>,
    ) -> Result<ObjectSpec, WriteError> {
        let extra_slots = slots.saturating_sub(1) as u8;
        self.large_dnodes |= extra_slots > 0;
        let encoded = znode
            .encode(BONUS_SIZE + DNODE_SIZE * usize::from(extra_slots), &mut self.layouts)
            .map_err(|source| WriteError::Attributes { object, source })?;
        Ok(ObjectSpec {
            object,
            object_type,
            pointers: 1,
            flags: FLAG_USERUSED_ACCOUNTED | FLAG_USEROBJUSED_ACCOUNTED,
            block_size: 512,
            max_block_id: 0,
            bonus_type: object_type::SA,
            bonus: encoded.bonus,
            spill: encoded.spill,
            owner: Some((znode.uid, znode.gid)),
            extra_slots,
            content: None,
        })
    }

    fn empty_object(
        &mut self,
        object: u64,
        slots: u32,
        znode: &Znode<'_>,
    ) -> Result<(), WriteError> {
        let spec = self.znode_spec(object, object_type::PLAIN_FILE_CONTENTS, slots, znode)?;
        if self.rehearsing {
            return Ok(());
        }
        self.begin(&spec);
        self.end(spec)
    }

    /// The blocks of an earlier state, if the object has the same content as there.
    fn same(&self, object: u64, content: &history::Content) -> Option<Arc<Kept>> {
        let kept = self.past?.objects.get(&object)?;
        (kept.content == *content).then(|| kept.clone())
    }

    /// An object with the blocks that it had in the state before.
    fn keep(&mut self, mut spec: ObjectSpec, kept: Arc<Kept>) -> Result<(), WriteError> {
        spec.block_size = kept.block_size;
        spec.max_block_id = kept.max_block_id;
        self.line.push_back(Pending::Same(Box::new(spec), kept));
        while self.line.len() > 4096 {
            self.complete_one()?;
        }
        Ok(())
    }

    /// A regular file: blocks of the record size, or one smaller block. A volume: blocks of its
    /// block size.
    fn file(
        &mut self,
        mut spec: ObjectSpec,
        file: &File,
        bytes: Bytes<'_>,
    ) -> Result<(), WriteError> {
        if self.rehearsing {
            return Ok(());
        }
        if self.state.is_some() {
            let content = history::Content::File(file.clone());
            if let Some(kept) = self.same(spec.object, &content) {
                (self.progress)(file.data_size());
                return self.keep(spec, kept);
            }
            spec.content = Some(content);
        }
        let record = u64::from(self.storage.record_size);
        let whole = [Extent { offset: 0, length: file.size }];
        let extents = match &file.extents {
            Some(extents) => extents,
            None if file.size == 0 => &[][..],
            None => &whole[..],
        };
        let is_volume = spec.object_type == object_type::ZVOL;
        let block_size = match is_volume {
            true => record,
            false => block_size(file.size, self.storage.record_size),
        };
        spec.block_size = block_size as u32;
        let data_end = extents.last().map_or(0, |extent| extent.offset + extent.length);
        spec.max_block_id = data_end.saturating_sub(1) / block_size;
        self.large_blocks |= block_size > 128 << 10;
        let params = BlockParams {
            kind: BlockKind { object_type: spec.object_type, level: 0 },
            compression: self.storage.compression,
            copies: self.storage.copies,
            fill: 1,
        };
        let Storage { compression, packed, .. } = self.storage;
        if let (Bytes::Blob(_), None, Some(packed)) = (&bytes, &file.extents, packed)
            && let Some(blocks) = packed.blocks(&file.blob, file.size, block_size, compression)
        {
            self.begin(&spec);
            for (id, block) in (0..).zip(blocks) {
                self.submit(id, Work::Fetch(block), params)?;
            }
            (self.progress)(file.size);
            return self.end(spec);
        }
        let mut blob = match bytes {
            Bytes::Value(value) => Box::new(value) as Box<dyn Read>,
            Bytes::Blob(blobs) => Box::new(
                blobs
                    .open(&file.blob)
                    .map_err(|source| WriteError::Blob { blob: file.blob, source })?,
            ),
        };
        let object = spec.object;
        let short = |source| WriteError::ShortBlob { blob: file.blob, object, source };
        self.begin(&spec);
        let mut block: Option<(u64, Vec<u8>)> = None;
        for extent in extents {
            let mut at = extent.offset;
            let end = extent.offset + extent.length;
            while at < end {
                let id = at / block_size;
                if let Some((full, data)) = block.take_if(|(open, _)| *open != id) {
                    self.encode(full, data, params)?;
                }
                let (_, data) = block.get_or_insert_with(|| (id, vec![0; block_size as usize]));
                let from = (at % block_size) as usize;
                let length = (end - at).min(block_size - from as u64) as usize;
                blob.read_exact(&mut data[from..from + length]).map_err(short)?;
                at += length as u64;
                (self.progress)(length as u64);
            }
        }
        if let Some((id, data)) = block {
            self.encode(id, data, params)?;
        }
        if blob.read(&mut [0; 1]).map_err(short)? != 0 {
            return Err(WriteError::LongBlob { blob: file.blob, size: file.data_size() });
        }
        self.end(spec)
    }

    fn begin(&mut self, spec: &ObjectSpec) {
        let levels = levels_for(spec.max_block_id, spec.pointers);
        let copies = self.storage.copies + 1;
        let tree = BlockTree::new(spec.object_type, levels, spec.pointers, copies);
        self.line.push_back(Pending::Begin(tree));
    }

    fn encode(&mut self, id: u64, data: Vec<u8>, params: BlockParams) -> Result<(), WriteError> {
        self.submit(id, Work::Encode { data, params, birth: self.out.birth }, params)
    }

    fn submit(&mut self, id: u64, work: Work, params: BlockParams) -> Result<(), WriteError> {
        while self.pipeline.is_full(work.size()) {
            self.complete_one()?;
        }
        self.pipeline.submit(work)?;
        self.line.push_back(Pending::Block { id, params });
        Ok(())
    }

    fn end(&mut self, spec: ObjectSpec) -> Result<(), WriteError> {
        self.line.push_back(Pending::End(Box::new(spec)));
        // Objects without blocks must not pile up behind a slow block.
        while self.line.len() > 4096 {
            self.complete_one()?;
        }
        Ok(())
    }

    /// Finishes what is first in line.
    fn complete_one(&mut self) -> Result<(), WriteError> {
        match self.line.pop_front() {
            None => Ok(()),
            Some(Pending::Begin(tree)) => {
                self.set_others_aside();
                self.current = Some((tree, self.out.usage.allocated));
                Ok(())
            }
            Some(Pending::Block { id, params }) => {
                let block = self.pipeline.take()?;
                let pointer = self.out.place(block, &params)?;
                self.zstd |= pointer.compression() == Compression::Zstd(0).on_disk();
                match &mut self.current {
                    Some((tree, _)) => tree.push(self.out, id, pointer),
                    None => Ok(()),
                }
            }
            Some(Pending::End(spec)) => {
                let Some((tree, before)) = self.current.take() else { return Ok(()) };
                let (spill, spill_used) = self.spill(&spec)?;
                let levels = tree.levels();
                let pointers = tree.finish(self.out)?;
                let used = self.out.usage.allocated - before;
                let blocks = self.out.journal.as_mut().map(std::mem::take);
                if let (Some(state), Some(mut blocks)) = (&mut self.state, blocks) {
                    if let Some(at) =
                        spill.and_then(|spill| blocks.iter().position(|bp| *bp == spill))
                    {
                        state.others.push(blocks.remove(at));
                    }
                    match spec.content.clone() {
                        None => state.others.append(&mut blocks),
                        Some(content) => {
                            let kept = Kept {
                                content,
                                levels,
                                block_size: spec.block_size,
                                max_block_id: spec.max_block_id,
                                used: used - spill_used,
                                pointers: pointers.clone(),
                                blocks,
                            };
                            state.objects.insert(spec.object, Arc::new(kept));
                        }
                    }
                }
                self.dnode(&spec, levels, used, &pointers, spill)
            }
            Some(Pending::Same(spec, kept)) => {
                self.set_others_aside();
                let (spill, spill_used) = self.spill(&spec)?;
                self.dnode(&spec, kept.levels, kept.used + spill_used, &kept.pointers, spill)?;
                if let Some(state) = &mut self.state {
                    state.objects.insert(spec.object, kept);
                }
                Ok(())
            }
        }
    }

    /// Writes the spill block of an object, and tells what it takes.
    fn spill(&mut self, spec: &ObjectSpec) -> Result<(Option<BlockPointer>, u64), WriteError> {
        let Some(data) = spec.spill.clone() else { return Ok((None, 0)) };
        let before = self.out.usage.allocated;
        let params = self.metadata_params(object_type::SA);
        let pointer = self.out.write(data, &params)?;
        Ok((Some(pointer), self.out.usage.allocated - before))
    }

    fn dnode(
        &mut self,
        spec: &ObjectSpec,
        levels: u8,
        used: u64,
        pointers: &[BlockPointer],
        spill: Option<BlockPointer>,
    ) -> Result<(), WriteError> {
        if let Some((uid, gid)) = spec.owner {
            self.accounting.add(uid, gid, used);
        }
        let dnode = spec.dnode(levels, used, pointers, spill);
        self.dnodes.add(self.out, spec.object, &dnode)
    }

    /// What was written since the last object belongs to none.
    fn set_others_aside(&mut self) {
        if let (Some(state), Some(journal)) = (&mut self.state, &mut self.out.journal) {
            state.others.append(journal);
        }
    }

    fn finish(mut self, accounts: Option<&[Vec<u8>; 3]>) -> Result<WrittenFilesystem, WriteError> {
        self.set_others_aside();
        let Self { out, storage, dnodes, large_blocks, zstd, large_dnodes, mut state, .. } = self;
        let os_type = if accounts.is_some() { objset_type::ZFS } else { objset_type::ZVOL };
        let objset = dnodes.finish(out, os_type, accounts, storage.copies + 1)?;
        if let (Some(state), Some(mut journal)) = (&mut state, out.journal.take()) {
            state.others.append(&mut journal);
        }
        let usage = out.usage;
        Ok(WrittenFilesystem { objset, usage, large_blocks, zstd, large_dnodes, state })
    }
}

/// Where the content of a file comes from.
enum Bytes<'a> {
    Blob(&'a dyn Blobs),
    Value(&'a [u8]),
}
