//! From a logical block to its stored form, and from there to the disk.

use blk::WriteAt;

use super::WriteError;
use super::alloc::Allocator;
use crate::blkptr::{BlockKind, BlockPointer, EMBEDDED_MAX};
use crate::checksum::{Checksum, fletcher4};
use crate::compress::{Compression, Compressor, is_zero};
use crate::dnode::object_type;
use crate::label;

/// log₂ of the smallest allocation, 4 KiB.
pub(crate) const ASHIFT: u32 = 12;

/// How a block is to be stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockParams {
    pub kind: BlockKind,
    pub compression: Compression,
    /// Copies on disk, 1 to 3.
    pub copies: usize,
    /// Fill count, when the block turns out not to be a hole.
    pub fill: u64,
}

/// A block ready to be placed. The work that workers can do ends here.
#[derive(Debug)]
pub(crate) enum EncodedBlock {
    /// All zeros: takes no space.
    Hole,
    /// So small that the pointer itself holds it.
    Embedded(BlockPointer),
    /// To be written: `data` is as long as the physical size.
    Stored { data: Vec<u8>, lsize: u64, compression: u8, checksum: Checksum },
}

/// Compresses and sums a block; follows `zio_write_compress` of OpenZFS. `data` is reused for the
/// result; its length, the logical size, is a multiple of 512.
pub(crate) fn encode(
    mut data: Vec<u8>,
    params: &BlockParams,
    birth: u64,
    compressor: &mut Compressor,
) -> std::io::Result<EncodedBlock> {
    let lsize = data.len() as u64;
    debug_assert!(lsize > 0 && lsize.is_multiple_of(512));
    if params.compression != Compression::Off && is_zero(&data) {
        return Ok(EncodedBlock::Hole);
    }
    let mut compression = Compression::Off;
    if let Some(small) = compressor.compress(&data, params.compression)? {
        let embeddable = params.kind.level == 0 && !object_type::has_fill(params.kind.object_type);
        if small.len() <= EMBEDDED_MAX && embeddable {
            let on_disk = params.compression.on_disk();
            let pointer = BlockPointer::embedded(params.kind, small, lsize, on_disk, birth);
            return Ok(EncodedBlock::Embedded(pointer));
        }
        let psize = small.len().next_multiple_of(1 << ASHIFT);
        if psize < data.len() {
            data.clear();
            data.extend_from_slice(small);
            data.resize(psize, 0);
            compression = params.compression;
        }
    }
    let checksum = fletcher4(&data);
    Ok(EncodedBlock::Stored { data, lsize, compression: compression.on_disk(), checksum })
}

/// Space taken by blocks, as datasets and dnodes account for it. All in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Allocated, all copies.
    pub allocated: u64,
    /// Physical size, one copy.
    pub compressed: u64,
    /// Logical size of data, physical size of metadata (`BP_GET_UCSIZE`).
    pub uncompressed: u64,
}

impl Usage {
    /// As lists of blocks have them: allocated, compressed, uncompressed.
    pub(crate) fn words(&self) -> [u64; 3] {
        [self.allocated, self.compressed, self.uncompressed]
    }

    /// What the block of a pointer counts.
    pub(crate) fn of(bp: &BlockPointer) -> Self {
        let metadata = bp.level() > 0 || object_type::is_metadata(bp.object_type());
        if bp.is_embedded() {
            let uncompressed = if metadata { 0 } else { bp.embedded_lsize() };
            return Self { uncompressed, ..Self::default() };
        }
        Self {
            allocated: bp.copies(false).map(|dva| dva.asize()).sum(),
            compressed: bp.psize(),
            uncompressed: if metadata { bp.psize() } else { bp.lsize() },
        }
    }
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.allocated += other.allocated;
        self.compressed += other.compressed;
        self.uncompressed += other.uncompressed;
    }
}

/// Writes blocks to the pool's disk.
#[derive(Debug)]
pub(crate) struct BlockWriter<W> {
    out: W,
    pub(crate) alloc: Allocator,
    /// Birth transaction group of what is written now.
    pub(crate) birth: u64,
    /// Everything written since it was last taken.
    pub(crate) usage: Usage,
    /// Pointers of everything written since it was last taken, where somebody wants them.
    pub(crate) journal: Option<Vec<BlockPointer>>,
    compressor: Compressor,
}

impl<W: WriteAt> BlockWriter<W> {
    pub(crate) fn new(out: W, alloc: Allocator, birth: u64) -> Self {
        let compressor = Compressor::default();
        Self { out, alloc, birth, usage: Usage::default(), journal: None, compressor }
    }

    /// Encodes and places a block in one go: for metadata, which is small.
    pub(crate) fn write(
        &mut self,
        data: Vec<u8>,
        params: &BlockParams,
    ) -> Result<BlockPointer, WriteError> {
        let block = encode(data, params, self.birth, &mut self.compressor)?;
        self.place(block, params)
    }

    /// Allocates and writes an encoded block.
    pub(crate) fn place(
        &mut self,
        block: EncodedBlock,
        params: &BlockParams,
    ) -> Result<BlockPointer, WriteError> {
        let pointer = match block {
            EncodedBlock::Hole => return Ok(BlockPointer::HOLE),
            EncodedBlock::Embedded(pointer) => pointer,
            EncodedBlock::Stored { data, lsize, compression, checksum } => {
                let place = self.allocate(data.len() as u64, params.copies)?;
                self.write_at(&place, &data, lsize, params, compression, checksum)?
            }
        };
        self.usage += Usage::of(&pointer);
        if let Some(journal) = &mut self.journal {
            journal.push(pointer);
        }
        Ok(pointer)
    }

    /// Allocates room for `psize` bytes.
    fn allocate(&mut self, psize: u64, copies: usize) -> Result<Reserved, WriteError> {
        let asize = psize.next_multiple_of(1 << ASHIFT);
        let mut offsets = [0; 3];
        for (copy, offset) in offsets[..copies].iter_mut().enumerate() {
            *offset = self.alloc.allocate(copy, copies, asize)?;
        }
        Ok(Reserved { offsets, copies, asize })
    }

    /// Allocates and accounts for room for a block of metadata that will be stored uncompressed,
    /// before what goes there is known.
    pub(crate) fn reserve(&mut self, psize: u64, copies: usize) -> Result<Reserved, WriteError> {
        let place = self.allocate(psize, copies)?;
        self.usage +=
            Usage { allocated: place.allocated(), compressed: psize, uncompressed: psize };
        Ok(place)
    }

    /// Writes into reserved room.
    pub(crate) fn fill(
        &mut self,
        place: &Reserved,
        data: &[u8],
        params: &BlockParams,
    ) -> Result<BlockPointer, WriteError> {
        let compression = Compression::Off.on_disk();
        self.write_at(place, data, data.len() as u64, params, compression, fletcher4(data))
    }

    fn write_at(
        &mut self,
        place: &Reserved,
        data: &[u8],
        lsize: u64,
        params: &BlockParams,
        compression: u8,
        checksum: Checksum,
    ) -> Result<BlockPointer, WriteError> {
        let offsets = &place.offsets[..place.copies];
        for offset in offsets {
            self.out.write_all_at(data, label::DATA_START + offset)?;
        }
        Ok(BlockPointer::stored(
            params.kind,
            offsets,
            (place.asize, data.len() as u64, lsize),
            compression,
            &checksum,
            self.birth,
            params.fill,
        ))
    }
}

/// Room on the disk for one block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reserved {
    offsets: [u64; 3],
    copies: usize,
    /// Bytes each copy takes.
    asize: u64,
}

impl Reserved {
    /// Bytes that all copies take.
    pub(crate) fn allocated(&self) -> u64 {
        self.asize * self.copies as u64
    }
}
