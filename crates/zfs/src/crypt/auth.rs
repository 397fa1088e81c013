//! What of block pointers and dnodes MACs cover: all that a raw send carries over.

use sha2::{Digest, Sha512};

use super::cipher::MAC;
use super::{CryptError, Keys};
use crate::blkptr::BLKPTR_SIZE;
use crate::codec::ByteOrder;
use crate::dnode::CORE_SIZE;
use crate::prelude::*;

/// `DMU_OT_OBJSET`.
pub(super) const OBJSET: u8 = 11;
/// Size of a dnode slot.
pub(super) const SLOT: usize = 512;
/// The only flag of a dnode that is carried over: it has a spill block.
pub(super) const SPILL: u8 = 4;

/// Fields of an object set's block.
const TYPE_AT: usize = 704;
const FLAGS_AT: usize = 712;
const PORTABLE_MAC_AT: usize = 720;
const LOCAL_MAC_AT: usize = 752;
const ACCOUNTING_AT: [usize; 3] = [1024, 1536, 2048];
const ACCOUNTED: u64 = 1;

/// The fields of a block pointer that matter here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pointer<'a>(pub &'a [u64; 16]);

impl Pointer<'_> {
    pub(super) fn order(self) -> ByteOrder {
        if self.0[6] >> 63 != 0 { ByteOrder::Little } else { ByteOrder::Big }
    }
    pub(super) fn object_type(self) -> u8 {
        (self.0[6] >> 48) as u8
    }
    pub(super) fn level(self) -> u64 {
        self.0[6] >> 56 & 0x1f
    }
    fn is_hole(self) -> bool {
        self.0[6] >> 39 & 1 == 0 && self.0[0] == 0 && self.0[1] == 0
    }
    pub(super) fn salt(self) -> [u8; 8] {
        self.order().bytes(self.0[4])
    }
    pub(super) fn iv(self) -> [u8; 12] {
        let mut iv = [0; 12];
        iv[..8].copy_from_slice(&self.order().bytes(self.0[5]));
        let last = (self.0[11] >> 32) as u32;
        iv[8..].copy_from_slice(&match self.order() {
            ByteOrder::Little => last.to_le_bytes(),
            ByteOrder::Big => last.to_be_bytes(),
        });
        iv
    }
    pub(super) fn mac(self) -> [u8; MAC] {
        let mut mac = [0; MAC];
        if self.object_type() != OBJSET {
            mac[..8].copy_from_slice(&self.order().bytes(self.0[14]));
            mac[8..].copy_from_slice(&self.order().bytes(self.0[15]));
        }
        mac
    }

    /// What MACs cover of it (`blkptr_auth_buf_t`): properties, MAC, and in version 1 padding.
    fn covered(self, version: u64, out: &mut Vec<u8>) {
        const DEDUP: u64 = 1 << 62;
        const CHECKSUM: u64 = 0xff << 40;
        const PSIZE: u64 = 0xffff << 16;
        const COMPRESSION: u64 = 0x7f << 32;
        let properties = self.0[6];
        let properties = match version {
            0 => properties & !(DEDUP | CHECKSUM | PSIZE),
            _ if self.is_hole() => 0,
            _ if self.level() != 0 => {
                properties & !(1 << 63 | COMPRESSION | PSIZE | DEDUP | CHECKSUM)
            }
            _ => properties & !(DEDUP | CHECKSUM),
        };
        out.extend_from_slice(&properties.to_le_bytes());
        out.extend_from_slice(&self.mac());
        if version != 0 {
            out.extend_from_slice(&[0; 8]);
        }
    }
}

/// Block pointer `bytes`, stored in byte order `order`.
fn words(bytes: &[u8], order: ByteOrder) -> [u64; 16] {
    let mut words = [0; 16];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = order.u64(*bytes);
    }
    words
}

/// The parts of a dnode, which may be several slots long.
pub(super) struct DnodeParts {
    /// Whole length in bytes.
    pub length: usize,
    /// Where the room for the bonus is.
    pub bonus: core::ops::Range<usize>,
}

impl DnodeParts {
    /// Of the dnode at the start of `bytes`.
    pub(super) fn new(bytes: &[u8]) -> Option<Self> {
        let length = (usize::from(*bytes.get(12)?) + 1) * SLOT;
        let spill = bytes.get(7)? & SPILL != 0;
        let start = CORE_SIZE + usize::from(*bytes.get(3)?) * BLKPTR_SIZE;
        let end = length - if spill { BLKPTR_SIZE } else { 0 };
        if start > end || length > bytes.len() {
            return None;
        }
        Some(Self { length, bonus: start..end })
    }
}

/// What MACs cover of a dnode apart from its bonus. `portable` dnodes are brought to little-endian
/// first, those of encrypted blocks are not.
pub(super) fn dnode_covered(
    dnode: &[u8],
    parts: &DnodeParts,
    order: ByteOrder,
    version: u64,
    portable: bool,
    out: &mut Vec<u8>,
) {
    let mut core = [0; CORE_SIZE];
    if let Some(bytes) = dnode.first_chunk::<CORE_SIZE>() {
        core = *bytes;
    }
    core[7] &= SPILL;
    core[24..32].fill(0);
    if portable && order == ByteOrder::Big {
        core[8..10].reverse();
        core[10..12].reverse();
        core[16..24].reverse();
    }
    out.extend_from_slice(&core);
    let pointers = dnode.get(CORE_SIZE..parts.bonus.start).unwrap_or_default();
    let spill = dnode.get(parts.bonus.end..parts.length).unwrap_or_default();
    for bytes in pointers.chunks_exact(BLKPTR_SIZE).chain(spill.chunks_exact(BLKPTR_SIZE)) {
        Pointer(&words(bytes, order)).covered(version, out);
    }
}

/// Judges an indirect block (decompressed, in its own byte order) by the sum of the MACs below it
/// that its pointer holds. No key is needed, so the format's version is not known: both are tried.
pub fn verify_indirect(pointer: &[u64; 16], block: &[u8]) -> Result<(), CryptError> {
    let pointer = Pointer(pointer);
    let right = [1, 0].into_iter().any(|version| {
        let mut hash = Sha512::new();
        let mut covered = Vec::with_capacity(32);
        for bytes in block.chunks_exact(BLKPTR_SIZE) {
            covered.clear();
            Pointer(&words(bytes, pointer.order())).covered(version, &mut covered);
            hash.update(&covered);
        }
        hash.finalize().starts_with(&pointer.mac())
    });
    if right { Ok(()) } else { Err(CryptError::WrongMac) }
}

impl Keys {
    /// Judges the block of an object set, in byte order `order`, by its two MACs: the portable one
    /// covers the dnodes, the local one the accounting of space.
    pub(super) fn verify_objset(&self, block: &[u8], order: ByteOrder) -> Result<(), CryptError> {
        const SHORT: CryptError = CryptError::Block("the object set's block is too short");
        let word = |at: usize| {
            let bytes = block.get(at..).and_then(|rest| rest.first_chunk());
            bytes.map(|bytes| order.u64(*bytes)).ok_or(SHORT)
        };
        let stored = |at: usize| block.get(at..at + 32).ok_or(SHORT);
        let add = |at: usize, out: &mut Vec<u8>| {
            let dnode = block.get(at..at + SLOT).ok_or(SHORT)?;
            let parts = DnodeParts::new(dnode)
                .ok_or(CryptError::Block("a dnode of the object set is impossible"))?;
            dnode_covered(dnode, &parts, order, self.version, true, out);
            Ok(())
        };
        // The type is big-endian here, everything else little-endian: so the format has it.
        let mut covered = word(TYPE_AT)?.to_be_bytes().to_vec();
        covered.extend_from_slice(&[0; 8]);
        add(0, &mut covered)?;
        if stored(PORTABLE_MAC_AT)? != self.mac::<32>(&[&covered]) {
            return Err(CryptError::WrongMac);
        }
        let flags = word(FLAGS_AT)?;
        let mut covered = flags.to_le_bytes().to_vec();
        let mut any = false;
        for at in ACCOUNTING_AT {
            if block.get(at).is_some_and(|kind| *kind != 0) {
                add(at, &mut covered)?;
                any = true;
            }
        }
        let local =
            if any && flags & ACCOUNTED != 0 { self.mac::<32>(&[&covered]) } else { [0; 32] };
        if stored(LOCAL_MAC_AT)? != local {
            return Err(CryptError::WrongMac);
        }
        Ok(())
    }
}
