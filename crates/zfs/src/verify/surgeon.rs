//! Changes a pool behind its own back: a block is changed where it lies, and so is every pointer
//! above it, up to the uberblock, so that all checksums are right and only the meaning is wrong.
//!
//! For tests, of pools on one device, and what no snapshot shares.
#![allow(clippy::unwrap_used, reason = "only tests use it, and they are to fail")]

use std::sync::Arc;

use blk::{Memory, ReadAt, WriteAt};

use crate::blkptr::{BLKPTR_SIZE, BlockKind, BlockPointer};
use crate::checksum::{fletcher4, seal_label_block};
use crate::codec::{BlockCompression, decompress};
use crate::compress::{Compression, Compressor};
use crate::dnode::{DNODE_SIZE, DNODES_PER_BLOCK, object_type};
use crate::label::DATA_START;
use crate::nvlist::{NvList, decode_xdr, encode_xdr};
use crate::read::{Device, Pool, label_offsets};

/// The ring of uberblocks in a label, of so many bytes.
const RING_AT: u64 = 128 << 10;
const RING_SIZE: u64 = 128 << 10;
const TXG_AT: usize = 16;
const ROOT_AT: usize = 40;
/// The configuration in a label.
const CONFIG_AT: u64 = 16 << 10;
const CONFIG_SIZE: usize = 112 << 10;

/// A pool in memory that is changed.
#[derive(Debug)]
pub struct Surgeon {
    /// Where it lies.
    pub device: Arc<Memory>,
}

/// The word at a byte offset.
pub fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Changes the word at a byte offset.
pub fn change(bytes: &mut [u8], at: usize, to: impl FnOnce(u64) -> u64) {
    let new = to(word(bytes, at));
    bytes[at..at + 8].copy_from_slice(&new.to_le_bytes());
}

impl Surgeon {
    /// The pool as it is now.
    pub fn pool(&self) -> Pool {
        Pool::open(&[Device { name: "memory".to_owned(), data: self.device.clone() }]).unwrap()
    }

    /// Flips a bit of a copy of a block without amending its checksum.
    #[cfg(test)]
    pub(crate) fn flip(&self, bp: &BlockPointer, copy: usize) {
        let at = DATA_START + bp.copies(false).nth(copy).unwrap().offset() + 100;
        let mut byte = [0];
        self.device.read_exact_at(&mut byte, at).unwrap();
        self.device.write_all_at(&[byte[0] ^ 1], at).unwrap();
    }

    /// Changes the dnode of an object of the MOS.
    pub fn mos(&self, object: u64, work: &mut dyn FnMut(&mut [u8])) {
        let pool = self.pool();
        let size = 1 << pool.vdevs[0].ashift.clamp(10, 13);
        let at = RING_AT + pool.uberblock.txg * size % RING_SIZE;
        let mut slot = vec![0; size as usize];
        self.device.read_exact_at(&mut slot, at).unwrap();
        self.pointer(&mut slot[ROOT_AT..], &mut |objset| self.dnode(objset, object, work));
        for label in label_offsets(self.device.size().unwrap()) {
            seal_label_block(&mut slot, label + at);
            self.device.write_all_at(&slot, label + at).unwrap();
        }
    }

    /// Adds a newer uberblock whose root is lost.
    pub fn lose_newest(&self) {
        let pool = self.pool();
        let (txg, size) = (pool.uberblock.txg, 1 << pool.vdevs[0].ashift.clamp(10, 13));
        let at = |txg: u64| RING_AT + txg * size % RING_SIZE;
        let mut slot = vec![0; size as usize];
        self.device.read_exact_at(&mut slot, at(txg)).unwrap();
        change(&mut slot, TXG_AT, |txg| txg + 1);
        change(&mut slot, ROOT_AT + 8 * 12, |sum| sum + 1);
        for label in label_offsets(self.device.size().unwrap()) {
            seal_label_block(&mut slot, label + at(txg + 1));
            self.device.write_all_at(&slot, label + at(txg + 1)).unwrap();
        }
    }

    /// Changes the configuration in a label.
    pub fn label(&self, number: usize, work: &dyn Fn(NvList) -> NvList) {
        let at = label_offsets(self.device.size().unwrap())[number] + CONFIG_AT;
        let mut area = vec![0; CONFIG_SIZE];
        self.device.read_exact_at(&mut area, at).unwrap();
        let config = encode_xdr(&work(decode_xdr(&area).unwrap()));
        area.fill(0);
        area[..config.len()].copy_from_slice(&config);
        seal_label_block(&mut area, at);
        self.device.write_all_at(&area, at).unwrap();
    }

    /// Changes the block with the object set of a dataset.
    pub fn objset(&self, dataset: &str, work: &mut dyn FnMut(&mut [u8])) {
        let object = self.pool().dataset(dataset).unwrap().object;
        self.mos(object, &mut |dnode| {
            let bonus = 64 + BLKPTR_SIZE * usize::from(dnode[3]);
            self.pointer(&mut dnode[bonus + 128..], work);
        });
    }

    /// Changes the dnode of an object of a dataset.
    pub fn object(&self, dataset: &str, object: u64, work: &mut dyn FnMut(&mut [u8])) {
        self.objset(dataset, &mut |objset| self.dnode(objset, object, work));
    }

    fn dnode(&self, objset: &mut [u8], object: u64, work: &mut dyn FnMut(&mut [u8])) {
        let (block, slot) =
            (object / DNODES_PER_BLOCK as u64, object as usize % DNODES_PER_BLOCK * DNODE_SIZE);
        self.block(objset, block, &mut |dnodes| work(&mut dnodes[slot..slot + DNODE_SIZE]));
    }

    /// Changes a data block of the object whose dnode is given.
    pub fn block(&self, dnode: &mut [u8], block: u64, work: &mut dyn FnMut(&mut [u8])) {
        let level = dnode[2] - 1;
        let at = 64 + (block >> (10 * level)) as usize * BLKPTR_SIZE;
        self.descend(&mut dnode[at..at + BLKPTR_SIZE], level, block, work);
    }

    fn descend(&self, bytes: &mut [u8], level: u8, block: u64, work: &mut dyn FnMut(&mut [u8])) {
        self.pointer(bytes, &mut |content| {
            if level == 0 {
                return work(content);
            }
            let at = (block >> (10 * (level - 1)) & 1023) as usize * BLKPTR_SIZE;
            self.descend(&mut content[at..at + BLKPTR_SIZE], level - 1, block, work);
        });
    }

    /// Changes the block that the pointer at the start of `bytes` points to, and the pointer.
    pub(crate) fn pointer(&self, bytes: &mut [u8], work: &mut dyn FnMut(&mut [u8])) {
        let bp = BlockPointer::from_bytes(bytes).unwrap();
        let new = self.rewrite(&bp, work);
        bytes[..BLKPTR_SIZE].copy_from_slice(&new.to_bytes());
    }

    fn rewrite(&self, bp: &BlockPointer, work: &mut dyn FnMut(&mut [u8])) -> BlockPointer {
        let mut raw = bp.embedded_payload();
        if !bp.is_embedded() {
            raw = vec![0; bp.psize() as usize];
            let at = DATA_START + bp.copies(false).next().unwrap().offset();
            self.device.read_exact_at(&mut raw, at).unwrap();
        }
        let mut block = raw.clone();
        let compressed = bp.compression() == Compression::Lz4.on_disk();
        if compressed {
            let kind = BlockCompression::from_number(15).unwrap();
            block = vec![0; bp.lsize() as usize];
            decompress(kind, &raw, &mut block).unwrap();
        }
        work(&mut block);
        if compressed {
            let mut compressor = Compressor::default();
            let small = compressor.compress(&block, Compression::Lz4).unwrap().unwrap();
            assert!(small.len() <= raw.len().max(if bp.is_embedded() { 112 } else { 0 }));
            if bp.is_embedded() {
                let kind = BlockKind { object_type: bp.object_type(), level: bp.level() };
                return BlockPointer::embedded(kind, small, bp.lsize(), 15, bp.birth());
            }
            block = small.to_vec();
        }
        block.resize(raw.len(), 0);
        for dva in bp.copies(false) {
            self.device.write_all_at(&block, DATA_START + dva.offset()).unwrap();
        }
        let mut words = *bp.words();
        let mut sum = fletcher4(&block);
        // Half of it gives way to the MAC.
        if bp.uses_crypt() && bp.object_type() != object_type::OBJSET {
            sum = [sum[0] ^ sum[2], sum[1] ^ sum[3], words[14], words[15]];
        }
        words[12..].copy_from_slice(&sum);
        BlockPointer::from_words(words)
    }
}
