//! Reading blocks by their pointers: copies, gang blocks, checksums, decompression, byte order.
//!
//! Source: OpenZFS `module/zfs/zio.c`, `module/zfs/zio_checksum.c`.

use alloc::sync::Arc;

use blk::ReadAt;

use super::cache::Cache;
use super::error::{BlockError, CopyFault, CopyProblem, ReadError};
use super::vdev::{Vdev, Vdevs};
use super::{object_type, swap};
use crate::blkptr::{BLKPTR_SIZE, BlockPointer, Dva};
use crate::codec::{BlockCompression, ByteOrder, Checksum, Checksums, CodecError, decompress};
use crate::crypt::Keys;
use crate::dnode::object_type::{OBJSET, PLAIN_FILE_CONTENTS};
use crate::prelude::*;
use crate::sync::Mutex;

/// Memory for blocks of metadata.
const CACHE_SIZE: usize = 64 << 20;
/// How deep gang blocks may nest; each level splits a block in three or more.
const MAX_GANG_DEPTH: usize = 12;
/// Size of a gang header, unless `dynamic_gang_header` is active.
const GANG_HEADER: u64 = 512;
/// What a block takes at least.
const SMALLEST_BLOCK: u64 = 512;
/// Length of the trailer of a block with a checksum of its own.
const ECK_SIZE: usize = 40;
/// Most faults kept; a dead disk has millions.
const MAX_FAULTS: usize = 10_000;
/// `DMU_OT_ZVOL`.
const ZVOL: u8 = 23;

/// Reads blocks of one pool.
#[derive(Debug)]
pub(crate) struct Blocks {
    pub vdevs: Vdevs,
    /// Judges blocks; without the pool's salt until that is read.
    pub checksums: Checksums,
    /// Whether gang headers may be larger than a sector.
    pub dynamic_gangs: bool,
    /// Many times as many bytes as the devices have, holes apart. Blocks of a kind that is never shared take
    /// less; pointers that lead in circles seem to take more.
    pub most_bytes: u64,
    cache: Cache,
    faults: Mutex<Vec<CopyFault>>,
}

/// Room that each pool has: what is allocated may be a hole of the file that it lies in.
const LEAST_ROOM: u64 = 256 << 20;

/// How much of a device there really is: the size of a sparse file costs nothing.
fn bytes_in(device: &dyn ReadAt) -> blk::io::Result<u64> {
    let (mut sum, mut at): (u64, u64) = (0, 0);
    while let Some(run) = device.next_data(at)? {
        sum = sum.saturating_add(run.end.saturating_sub(run.start));
        if run.end <= at {
            break;
        }
        at = run.end;
    }
    Ok(sum)
}

/// What a block takes at least of [`Blocks::most_bytes`].
pub(crate) fn least_bytes(bp: &BlockPointer) -> u64 {
    let first = bp.copies(is_encrypted(bp)).next();
    first.map_or(0, |dva| dva.asize()).max(SMALLEST_BLOCK)
}

/// Room for the blocks of an object that no others share, as indirect ones: pointers that lead in circles come to
/// its end.
#[derive(Debug, Default)]
pub(crate) struct Room(u64);

impl Room {
    /// Whether there is room for this block too, which is taken.
    pub(crate) fn take(&mut self, bp: &BlockPointer) -> bool {
        let left = self.0.checked_sub(least_bytes(bp));
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }

    /// Whether there is none left at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.0 == 0
    }
}

/// Whether the pointer's block is encrypted, rather than authenticated or plain.
pub(crate) fn is_encrypted(bp: &BlockPointer) -> bool {
    bp.uses_crypt() && bp.level() == 0 && object_type::is_encrypted(bp.object_type())
}

/// The byte order of the machine that wrote the block.
pub(crate) fn order(bp: &BlockPointer) -> ByteOrder {
    if bp.is_big_endian() { ByteOrder::Big } else { ByteOrder::Little }
}

/// The block for messages.
pub(crate) fn describe(bp: &BlockPointer) -> String {
    let mut text = format!("L{} {}", bp.level(), object_type::name(bp.object_type()));
    for dva in bp.copies(is_encrypted(bp)) {
        text += &format!(" {dva}");
    }
    text
}

/// Whether a gang header may have these parts. Together they are as long as the block, so one is as
/// long only if it is the only one; that of a nested header would lead on for ever.
///
/// Source: `zio_write_gang_block` in OpenZFS `module/zfs/zio.c`.
fn are_parts_of(bp: &BlockPointer, parts: &[BlockPointer]) -> bool {
    let nested = |part: &BlockPointer| part.copies(is_encrypted(part)).any(|dva| dva.is_gang());
    parts.iter().map(BlockPointer::psize).sum::<u64>() <= bp.psize()
        && parts.iter().all(|part| part.psize() < bp.psize() || !nested(part))
}

/// Of encrypted blocks the other half of the checksum is the MAC; the headers of those that are in parts
/// have half a sum as well, though no MAC.
fn has_half_a_sum(bp: &BlockPointer) -> bool {
    bp.uses_crypt() && bp.object_type() != OBJSET
}

fn gang_fault(dva: Dva, what: &str) -> CopyFault {
    let (device, offset) = (format!("vdev {}", dva.vdev()), dva.offset());
    CopyFault { device, offset, length: GANG_HEADER, problem: CopyProblem::Content(what.into()) }
}

impl Blocks {
    /// Room for the blocks of one object.
    pub(crate) fn room(&self) -> Room {
        Room(self.most_bytes)
    }

    pub(crate) fn new(vdevs: Vdevs) -> Self {
        let devices =
            vdevs.tops.iter().flat_map(Vdev::leaves).filter_map(|leaf| leaf.device.as_ref());
        let bytes = devices.map(|device| bytes_in(&**device).unwrap_or(u64::MAX));
        Self {
            most_bytes: bytes.fold(0, u64::saturating_add).saturating_mul(8).max(LEAST_ROOM),
            vdevs,
            checksums: Checksums::new(None),
            dynamic_gangs: false,
            cache: Cache::new(CACHE_SIZE),
            faults: Mutex::default(),
        }
    }

    /// What was wrong with copies of blocks that could be read all the same, so far.
    pub(crate) fn faults(&self) -> Vec<CopyFault> {
        self.faults.lock().clone()
    }

    fn note(&self, faults: Vec<CopyFault>) {
        if faults.is_empty() {
            return;
        }
        let mut noted = self.faults.lock();
        for fault in faults {
            // Of a device that is not there this is true of every block.
            let is_known = fault.problem == CopyProblem::Absent
                && noted
                    .iter()
                    .any(|it| it.problem == CopyProblem::Absent && it.device == fault.device);
            if noted.len() < MAX_FAULTS && !is_known {
                noted.push(fault);
            }
        }
    }

    /// Whether `data` has the checksum of the pointer; an error for one that is not known.
    pub(crate) fn is_right(&self, bp: &BlockPointer, data: &[u8]) -> Result<bool, CodecError> {
        let kind = Checksum::from_number(bp.checksum_type())?;
        match self.checksums.verify(kind, data, order(bp), &bp.checksum(), has_half_a_sum(bp)) {
            Ok(()) => Ok(true),
            Err(CodecError::Mismatch { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The block as it is stored: compressed, perhaps encrypted, its checksum verified.
    pub(crate) fn raw(&self, bp: &BlockPointer) -> Result<Vec<u8>, ReadError> {
        if bp.is_embedded() {
            return Ok(bp.embedded_payload());
        }
        let mut faults = Vec::new();
        match self.raw_nested(bp, 0, &mut faults) {
            Ok(data) => {
                self.note(faults);
                Ok(data)
            }
            Err(Some(what)) => Err(ReadError::Unsupported { what }),
            Err(None) => Err(Box::new(BlockError { what: describe(bp), problems: faults }).into()),
        }
    }

    /// The error is a checksum that is not known, or none if no copy is good.
    fn raw_nested(
        &self,
        bp: &BlockPointer,
        depth: usize,
        faults: &mut Vec<CopyFault>,
    ) -> Result<Vec<u8>, Option<String>> {
        let mut unknown = None;
        for dva in bp.copies(is_encrypted(bp)) {
            // Of nested headers that lead nowhere there may be more than can be tried.
            if faults.len() > MAX_FAULTS {
                break;
            }
            let found = if dva.is_gang() {
                self.gang(bp, dva, depth, faults)?
            } else {
                let mut judge = |data: &[u8]| {
                    self.is_right(bp, data).unwrap_or_else(|what| {
                        unknown = Some(what.to_string());
                        false
                    })
                };
                self.vdevs.read(dva, bp.psize(), &mut judge, faults)
            };
            if let Some(what) = unknown {
                return Err(Some(what));
            }
            if let Some(data) = found {
                return Ok(data);
            }
        }
        Err(None)
    }

    /// A block that lies in parts, to which the header at `dva` points.
    fn gang(
        &self,
        bp: &BlockPointer,
        dva: Dva,
        depth: usize,
        faults: &mut Vec<CopyFault>,
    ) -> Result<Option<Vec<u8>>, Option<String>> {
        if depth >= MAX_GANG_DEPTH {
            faults.push(gang_fault(dva, "gang blocks are nested too deeply"));
            return Ok(None);
        }
        let Some(parts) = self.gang_parts(bp, dva, faults) else { return Ok(None) };
        let mut data = Vec::new();
        for part in parts {
            match self.raw_nested(&part, depth + 1, faults) {
                Ok(bytes) => data.extend_from_slice(&bytes),
                Err(None) => return Ok(None),
                Err(unknown) => return Err(unknown),
            }
        }
        data.resize(bp.psize() as usize, 0);
        Ok(Some(data))
    }

    /// The pointers in the gang header at `dva`.
    pub(crate) fn gang_parts(
        &self,
        bp: &BlockPointer,
        dva: Dva,
        faults: &mut Vec<CopyFault>,
    ) -> Option<Vec<BlockPointer>> {
        // The header's checksum is salted with the place and time of the first copy.
        let first = bp.copies(is_encrypted(bp)).next()?;
        let (vdev, offset, birth) = (first.vdev(), first.offset(), bp.physical_birth());
        let verifier = Checksums::gang_verifier(vdev, offset, birth);
        let mut sizes = vec![GANG_HEADER];
        if self.dynamic_gangs {
            let larger = (10..18).map(|shift| 1 << shift).filter(|size| *size <= dva.asize());
            sizes.splice(0..0, larger.rev());
        }
        // How large the header is, no pointer tells: that it is not what was tried is no fault.
        let mut tried = Vec::new();
        for size in sizes {
            let mut big_endian = false;
            let mut judge = |data: &[u8]| {
                let kind = Checksum::GangHeader;
                let half = has_half_a_sum(bp);
                let judged = self.checksums.verify_in_block(kind, data, &verifier, half);
                big_endian = judged == Ok(ByteOrder::Big);
                judged.is_ok()
            };
            let mut found = Vec::new();
            let Some(mut header) = self.vdevs.read(dva, size, &mut judge, &mut found) else {
                tried.extend(found);
                continue;
            };
            faults.extend(found);
            header.truncate(header.len() - ECK_SIZE);
            if big_endian {
                swap::block(0, 1, &mut header);
            }
            let parts = header.chunks_exact(BLKPTR_SIZE).filter_map(BlockPointer::from_bytes);
            let parts: Vec<_> = parts.filter(|part| !part.is_hole()).collect();
            if !are_parts_of(bp, &parts) {
                faults.push(gang_fault(dva, "the parts are longer than the block"));
                return None;
            }
            return Some(parts);
        }
        faults.extend(tried);
        None
    }

    /// Judges every copy of a block. Tells what is wrong with which, and whether none is good.
    pub(crate) fn scrub(&self, bp: &BlockPointer) -> (Vec<CopyFault>, bool) {
        let mut faults = Vec::new();
        let good = self.scrub_nested(bp, 0, &mut faults);
        (faults, !good)
    }

    fn scrub_nested(&self, bp: &BlockPointer, depth: usize, faults: &mut Vec<CopyFault>) -> bool {
        let mut any = bp.is_embedded();
        let mut first: Option<Vec<BlockPointer>> = None;
        for dva in bp.copies(is_encrypted(bp)) {
            if dva.is_gang() {
                let Some(parts) = self.gang_parts(bp, dva, faults) else { continue };
                // The copies of a header are the same, so its parts are judged once.
                if let Some(first) = &first {
                    if *first != parts {
                        faults.push(gang_fault(dva, "it is not the header that the first copy is"));
                    }
                    continue;
                }
                if depth >= MAX_GANG_DEPTH {
                    faults.push(gang_fault(dva, "gang blocks are nested too deeply"));
                    continue;
                }
                // All parts are looked at, whatever is wrong with the first.
                let mut whole = true;
                for part in &parts {
                    whole &= self.scrub_nested(part, depth + 1, faults);
                }
                any |= whole;
                first = Some(parts);
                continue;
            }
            let mut judge = |data: &[u8]| {
                let right = self.is_right(bp, data).unwrap_or(false);
                any |= right;
                right
            };
            self.vdevs.scrub(dva, bp.psize(), &mut judge, faults);
        }
        any
    }

    /// The content of a block, little-endian, with `keys` decrypted and its MAC verified. Metadata is
    /// kept for whoever asks next.
    pub(crate) fn read(
        &self,
        bp: &BlockPointer,
        keys: Option<&Keys>,
    ) -> Result<Arc<[u8]>, ReadError> {
        // Embedded pointers have no address that could tell them apart.
        let cached = !bp.is_embedded() && !is_content(bp);
        let words = bp.words();
        // What was read without keys is another block: the bonuses of dnodes are encrypted in it.
        let last = if keys.is_some() { !words[12] } else { words[12] };
        let key = [words[0], words[1], words[6], last];
        if cached && let Some(block) = self.cache.get(&key) {
            return Ok(block);
        }
        let block: Arc<[u8]> = self.finish(bp, self.decrypted(bp, keys)?)?.into();
        if cached {
            self.cache.insert(key, block.clone());
        }
        Ok(block)
    }

    /// Fills `piece` with what a block of content has from byte `from` on; zeros come after its end.
    pub(crate) fn read_into(
        &self,
        bp: &BlockPointer,
        keys: Option<&Keys>,
        from: usize,
        piece: &mut [u8],
    ) -> Result<(), ReadError> {
        let raw = self.decrypted(bp, keys)?;
        if from == 0 && piece.len() as u64 == bp.lsize() {
            return self.unpack(bp, &raw, piece);
        }
        fill(piece, self.finish(bp, raw)?.get(from..).unwrap_or_default());
        Ok(())
    }

    /// The block, still compressed.
    fn decrypted(&self, bp: &BlockPointer, keys: Option<&Keys>) -> Result<Vec<u8>, ReadError> {
        let mut raw = self.raw(bp)?;
        if bp.level() == 0
            && let Some(keys) = keys
        {
            keys.open(bp.words(), &mut raw)
                .map_err(|error| ReadError::damaged(describe(bp), error.to_string()))?;
        }
        Ok(raw)
    }

    /// What [`Self::raw`] gave, decompressed.
    fn finish(&self, bp: &BlockPointer, raw: Vec<u8>) -> Result<Vec<u8>, ReadError> {
        let is_stored =
            BlockCompression::from_number(bp.compression()) == Ok(BlockCompression::Off);
        let is_ready = is_stored && !bp.is_embedded() && !bp.is_big_endian();
        if is_ready && raw.len() as u64 == bp.lsize() {
            return Ok(raw);
        }
        let mut block = vec![0; bp.lsize() as usize];
        self.unpack(bp, &raw, &mut block)?;
        Ok(block)
    }

    /// Decompresses what [`Self::raw`] gave into `block`, which is as long as the block.
    fn unpack(&self, bp: &BlockPointer, raw: &[u8], block: &mut [u8]) -> Result<(), ReadError> {
        if bp.is_embedded() && bp.embedded_type() != 0 {
            return Err(ReadError::Unsupported { what: "a block left out by redaction".into() });
        }
        BlockCompression::from_number(bp.compression())
            .and_then(|kind| decompress(kind, raw, block))
            .map_err(|error| ReadError::damaged(describe(bp), error.to_string()))?;
        if bp.is_big_endian() {
            swap::block(bp.object_type(), bp.level(), block);
        }
        Ok(())
    }
}

/// Whether the block is a part of a file or a volume, which is read once, and not metadata.
pub(crate) fn is_content(bp: &BlockPointer) -> bool {
    bp.level() == 0 && matches!(bp.object_type(), PLAIN_FILE_CONTENTS | ZVOL)
}

/// Fills `piece` from the start of `bytes`, and with zeros.
pub(crate) fn fill(piece: &mut [u8], bytes: &[u8]) {
    let length = piece.len().min(bytes.len());
    let (piece, zeros) = piece.split_at_mut(length);
    piece.copy_from_slice(bytes.get(..length).unwrap_or_default());
    zeros.fill(0);
}

#[cfg(test)]
mod tests {
    use blk::{Memory, WriteAt};
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::label::DATA_START;
    use crate::read::vdev::Leaf;

    const OFFSET: u64 = 0x1000;
    const BIRTH: u64 = 9;

    fn pointer(address: u64, crypt: u64, object_type: u64) -> BlockPointer {
        let mut words = [0; 16];
        // A sector, uncompressed, fletcher-4, little-endian.
        (words[0], words[1], words[10]) = (1, address, BIRTH);
        words[6] = 1 << 63 | crypt << 61 | object_type << 48 | 7 << 40 | 2 << 32;
        BlockPointer::from_words(words)
    }

    /// A device of a tebibyte of which nearly all is a hole.
    struct Sparse;

    impl ReadAt for Sparse {
        fn size(&self) -> blk::io::Result<u64> {
            Ok(1 << 40)
        }

        fn read_exact_at(&self, buf: &mut [u8], _: u64) -> blk::io::Result<()> {
            buf.fill(0);
            Ok(())
        }

        fn next_data(&self, offset: u64) -> blk::io::Result<Option<core::ops::Range<u64>>> {
            let runs = [0..512 << 10, 1 << 30..(1 << 30) + 4096];
            Ok(runs
                .into_iter()
                .find(|run| offset < run.end)
                .map(|run| run.start.max(offset)..run.end))
        }
    }

    #[test]
    fn holes_have_room_for_nothing() {
        let leaf = Leaf { guid: 1, name: "disk".into(), device: Some(Arc::new(Sparse)) };
        let blocks = Blocks::new(Vdevs { tops: vec![Vdev::Leaf(leaf)] });
        assert_eq!(blocks.most_bytes, LEAST_ROOM);
    }

    /// OpenZFS folds the sum of the header, as that of any block of an encrypted dataset; `ztest` found it.
    #[test]
    fn the_gang_header_of_an_encrypted_block_has_half_a_sum() {
        let part = pointer(OFFSET, 0, 0);
        let whole = pointer(1 << 63 | OFFSET >> 9, 1, 19);
        let mut header = part.to_bytes().to_vec();
        header.resize(GANG_HEADER as usize - ECK_SIZE, 0);
        header.extend(0x0210_da7a_b10c_7a11_u64.to_le_bytes());
        let place = header.len();
        let verifier = Checksums::gang_verifier(0, OFFSET, BIRTH);
        header.extend(verifier.iter().flat_map(|word| word.to_le_bytes()));
        let sum = ByteOrder::Big.words(&Sha256::digest(&header).into());
        let halves = [sum[0] ^ sum[2], sum[1] ^ sum[3], 0, 0];
        header.truncate(place);
        header.extend(halves.iter().flat_map(|word| word.to_le_bytes()));

        let disk = Memory::zeroed(8 << 20);
        disk.write_all_at(&header, DATA_START + OFFSET).unwrap();
        let leaf = Leaf { guid: 1, name: "disk".into(), device: Some(Arc::new(disk)) };
        let blocks = Blocks::new(Vdevs { tops: vec![Vdev::Leaf(leaf)] });
        let dva = whole.copies(true).next().unwrap();
        let mut faults = Vec::new();
        let parts = blocks.gang_parts(&whole, dva, &mut faults);
        assert_eq!(parts.map(|parts| parts.len()), Some(1), "{faults:?}");
        // Of one that is not encrypted all of the sum counts.
        let plain = pointer(1 << 63 | OFFSET >> 9, 0, 19);
        assert!(blocks.gang_parts(&plain, dva, &mut faults).is_none());
    }
}
