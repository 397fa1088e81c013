//! Files packed ahead: the blocks of blobs as a pool stores them, kept in a directory, so that the next
//! pool with the same files neither reads nor compresses them.
//!
//! ```text
//! blocks    stored blocks, one after the other, without the zeros at their ends
//! index     a line that tells what packed them; then for each block, 88 bytes: its blob, where it lies, lengths,
//!           compression, checksum
//! ```

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blk::WriteBehind;
use tree::{Blobs, Digest, Kind, Tree};

use super::WriteError;
use super::block::{BlockParams, EncodedBlock};
use super::numbering::block_size;
use super::pipeline::{Pipeline, Work};
use crate::blkptr::BlockKind;
use crate::checksum::{Checksum, fletcher4};
use crate::compress::Compression;
use crate::dnode::object_type;

/// Name of the file of blocks.
const BLOCKS: &str = "blocks";
/// Name of the file that tells what is in it.
const INDEX: &str = "index";
/// Bytes of the index for one block.
const ENTRY: usize = 88;
/// Files are packed for the record size that datasets have unless they say otherwise.
const RECORD_SIZE: u32 = 128 << 10;

/// Files that were packed.
#[derive(Debug)]
pub struct Packed {
    compression: Compression,
    content: Arc<BlockFile>,
    blocks: Vec<Block>,
    blobs: HashMap<Digest, Range<usize>>,
}

/// The file of blocks.
#[derive(Debug)]
struct BlockFile {
    path: PathBuf,
    file: File,
}

/// Where a block lies, and what it is.
#[derive(Debug, Clone, Copy)]
struct Block {
    offset: u64,
    /// Bytes that are there, the rest are zeros.
    length: u32,
    /// 0: a hole.
    psize: u32,
    lsize: u32,
    /// As in block pointers.
    compression: u8,
    checksum: Checksum,
}

/// A block that is packed, to be fetched by whoever has time.
#[derive(Debug)]
pub(crate) struct PackedBlock {
    content: Arc<BlockFile>,
    block: Block,
}

impl Packed {
    /// Packs the files of `tree` into `directory`, which is made. Left out is what pools rarely have twice: files
    /// with holes, and those so small that a block pointer holds them. What was packed `earlier` in the same way
    /// is copied from there. `progress` is told how many bytes of files were dealt with since it was last
    /// called.
    pub fn write(
        directory: &Path,
        tree: &Tree,
        blobs: &dyn Blobs,
        compression: Compression,
        earlier: &[Self],
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), WriteError> {
        fs::create_dir(directory)?;
        let mut packer = Packer {
            compression,
            earlier,
            blocks: BufWriter::with_capacity(1 << 20, File::create(directory.join(BLOCKS))?),
            behind: WriteBehind::default(),
            index: BufWriter::new(File::create(directory.join(INDEX))?),
            end: 0,
            line: VecDeque::new(),
            open: Vec::new(),
        };
        packer.behind.keep();
        packer.index.write_all(packed_by(compression).as_bytes())?;
        std::thread::scope(|scope| {
            let mut pipeline = Pipeline::start(scope);
            let mut seen = HashSet::new();
            for entry in tree.walk() {
                let Kind::File(file) = &entry.inode.kind else { continue };
                if file.extents.is_none() && file.size > 0 && seen.insert(file.blob) {
                    packer.pack(&mut pipeline, file.blob, file.size, blobs, progress)?;
                }
            }
            while !packer.line.is_empty() {
                packer.complete_one(&mut pipeline)?;
            }
            Ok::<_, WriteError>(())
        })?;
        for file in [packer.blocks, packer.index] {
            file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_data()?;
        }
        Ok(())
    }

    /// The files that [`Packed::write`] has packed in `directory` with that compression; those that another
    /// version has packed, which may do it in another way, are an error. Blocks are checked when they are read.
    pub fn open(directory: &Path, compression: Compression) -> io::Result<Self> {
        let path = directory.join(BLOCKS);
        let file = File::open(&path)?;
        let end = file.metadata()?.len();
        let index = fs::read(directory.join(INDEX))?;
        let wrong = |what: &str| {
            let text = format!("{} {what}", path.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        let damaged = || wrong("does not fit its index");
        let index = index
            .strip_prefix(packed_by(compression).as_bytes())
            .ok_or_else(|| wrong("was packed by another version, or otherwise"))?;
        let (entries, []) = index.as_chunks::<ENTRY>() else { return Err(damaged()) };
        let mut blocks = Vec::with_capacity(entries.len());
        let mut blobs: HashMap<Digest, Range<usize>> = HashMap::new();
        for (at, entry) in entries.iter().enumerate() {
            let (blob, block) = Block::from_bytes(entry);
            let fits = block.length <= block.psize
                && block.psize <= block.lsize
                && block.lsize <= RECORD_SIZE
                && block.offset.checked_add(block.length.into()).is_some_and(|last| last <= end);
            let range = blobs.entry(blob).or_insert(at..at);
            if !fits || range.end != at {
                return Err(damaged());
            }
            range.end = at + 1;
            blocks.push(block);
        }
        Ok(Self { compression, content: Arc::new(BlockFile { path, file }), blocks, blobs })
    }

    /// The blocks of a blob of `size` bytes, if they are here as they are wanted.
    pub(crate) fn blocks(
        &self,
        blob: &Digest,
        size: u64,
        block_size: u64,
        compression: Compression,
    ) -> Option<impl Iterator<Item = PackedBlock> + '_> {
        let blocks = self.blobs.get(blob).and_then(|range| self.blocks.get(range.clone()))?;
        let wanted = compression == self.compression
            && blocks.len() as u64 == size.div_ceil(block_size)
            && blocks.iter().all(|block| u64::from(block.lsize) == block_size);
        let packed = |block: &Block| PackedBlock { content: self.content.clone(), block: *block };
        wanted.then(|| blocks.iter().map(packed))
    }
}

impl PackedBlock {
    /// Bytes that it takes in memory.
    pub(crate) fn size(&self) -> usize {
        self.block.psize as usize
    }

    /// Fetches it, and checks that it is what was packed.
    pub(crate) fn read(&self) -> io::Result<EncodedBlock> {
        let Block { offset, length, psize, lsize, compression, checksum } = self.block;
        if psize == 0 {
            return Ok(EncodedBlock::Hole);
        }
        let mut data = vec![0; psize as usize];
        let path = self.content.path.display();
        let failed = |error: io::Error| {
            io::Error::new(error.kind(), format!("{path}, block at offset {offset}: {error}"))
        };
        self.content.file.read_exact_at(&mut data[..length as usize], offset).map_err(failed)?;
        if fletcher4(&data) != checksum {
            let text = "it is not what was written there; remove the directory of this file";
            return Err(failed(io::Error::new(io::ErrorKind::InvalidData, text)));
        }
        Ok(EncodedBlock::Stored { data, lsize: lsize.into(), compression, checksum })
    }
}

impl Block {
    fn to_bytes(self, blob: &Digest) -> [u8; ENTRY] {
        let mut bytes = [0; ENTRY];
        bytes[..32].copy_from_slice(&blob.0);
        bytes[32..40].copy_from_slice(&self.offset.to_le_bytes());
        let words = [self.length, self.psize, self.lsize, u32::from(self.compression)];
        for (slot, word) in bytes[40..56].as_chunks_mut().0.iter_mut().zip(words) {
            *slot = word.to_le_bytes();
        }
        for (slot, word) in bytes[56..].as_chunks_mut().0.iter_mut().zip(self.checksum) {
            *slot = word.to_le_bytes();
        }
        bytes
    }

    fn from_bytes(bytes: &[u8; ENTRY]) -> (Digest, Self) {
        let mut blob = Digest([0; 32]);
        blob.0.copy_from_slice(&bytes[..32]);
        let word =
            |at: usize| bytes[at..].first_chunk().map_or(0, |word| u32::from_le_bytes(*word));
        let long =
            |at: usize| bytes[at..].first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
        let block = Self {
            offset: long(32),
            length: word(40),
            psize: word(44),
            lsize: word(48),
            compression: bytes[52],
            checksum: [long(56), long(64), long(72), long(80)],
        };
        (blob, block)
    }
}

/// What decides how files are packed, as the first line of the index.
fn packed_by(compression: Compression) -> String {
    let library = zstd::zstd_safe::version_number();
    format!("{} zstd-library-{library} {compression}\n", env!("CARGO_PKG_VERSION"))
}

/// Packs.
struct Packer<'e> {
    compression: Compression,
    earlier: &'e [Packed],
    blocks: BufWriter<File>,
    behind: WriteBehind,
    index: BufWriter<File>,
    /// Where the next block will lie.
    end: u64,
    /// Of each block that is under way its blob, its size, and whether it is the blob's last one.
    line: VecDeque<(Digest, u32, bool)>,
    /// Blocks of the blob whose blocks are coming back; `None` where one cannot be packed.
    open: Vec<Option<Block>>,
}

impl Packer<'_> {
    fn pack(
        &mut self,
        pipeline: &mut Pipeline,
        blob: Digest,
        size: u64,
        blobs: &dyn Blobs,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), WriteError> {
        let failed = |source| WriteError::Blob { blob, source };
        let block_size = block_size(size, RECORD_SIZE);
        let (earlier, compression) = (self.earlier, self.compression);
        let mut known = earlier.iter();
        if let Some(blocks) = known.find_map(|p| p.blocks(&blob, size, block_size, compression)) {
            let mut blocks = blocks.peekable();
            while let Some(block) = blocks.next() {
                let last = blocks.peek().is_none();
                self.submit(pipeline, Work::Fetch(block), (blob, block_size as u32, last))?;
            }
            progress(size);
            return Ok(());
        }
        let mut content = blobs.open(&blob).map_err(failed)?;
        let params = BlockParams {
            kind: BlockKind { object_type: object_type::PLAIN_FILE_CONTENTS, level: 0 },
            compression,
            copies: 1,
            fill: 1,
        };
        let mut left = size;
        while left > 0 {
            let length = left.min(block_size);
            let mut data = vec![0; block_size as usize];
            content.read_exact(&mut data[..length as usize]).map_err(failed)?;
            left -= length;
            let work = Work::Encode { data, params, birth: 0 };
            self.submit(pipeline, work, (blob, block_size as u32, left == 0))?;
            progress(length);
        }
        if content.read(&mut [0; 1]).map_err(failed)? != 0 {
            return Err(WriteError::LongBlob { blob, size });
        }
        Ok(())
    }

    fn submit(
        &mut self,
        pipeline: &mut Pipeline,
        work: Work,
        block: (Digest, u32, bool),
    ) -> Result<(), WriteError> {
        while pipeline.is_full(work.size()) {
            self.complete_one(pipeline)?;
        }
        pipeline.submit(work)?;
        self.line.push_back(block);
        Ok(())
    }

    /// Takes back the block that is first in line.
    fn complete_one(&mut self, pipeline: &mut Pipeline) -> Result<(), WriteError> {
        let Some((blob, block_size, last)) = self.line.pop_front() else { return Ok(()) };
        let block = match pipeline.take()? {
            EncodedBlock::Embedded(_) => None,
            EncodedBlock::Hole => Some(Block {
                offset: self.end,
                length: 0,
                psize: 0,
                lsize: block_size,
                compression: 0,
                checksum: [0; 4],
            }),
            EncodedBlock::Stored { data, compression, checksum, .. } => {
                let used = data.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
                self.blocks.write_all(&data[..used])?;
                let offset = self.end;
                self.end += used as u64;
                self.behind.wrote(self.blocks.get_ref(), self.end);
                Some(Block {
                    offset,
                    length: used as u32,
                    psize: data.len() as u32,
                    lsize: block_size,
                    compression,
                    checksum,
                })
            }
        };
        self.open.push(block);
        if last {
            let blocks: Option<Vec<Block>> = self.open.drain(..).collect();
            for block in blocks.into_iter().flatten() {
                self.index.write_all(&block.to_bytes(&blob))?;
            }
        }
        Ok(())
    }
}
