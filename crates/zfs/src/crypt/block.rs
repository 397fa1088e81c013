//! Opening stored blocks.

use super::auth::{DnodeParts, OBJSET, Pointer, dnode_covered};
use super::{CryptError, Keys};
use crate::codec::ByteOrder;
use crate::dnode::CORE_SIZE;
use crate::prelude::*;
use crate::read::object_type::is_encrypted;

/// `DMU_OT_DNODE`.
const DNODE: u8 = 10;
impl Keys {
    /// Opens a stored block of level 0 (its size on disk counts, its checksum was checked): decrypts
    /// it in place, or judges the MAC of one that is authenticated only. `pointer` is the sixteen
    /// words of its block pointer.
    pub fn open(&self, pointer: &[u64; 16], data: &mut [u8]) -> Result<(), CryptError> {
        let pointer = Pointer(pointer);
        match pointer.object_type() {
            OBJSET => self.verify_objset(data, pointer.order()),
            kind if !is_encrypted(kind) => {
                if self.mac(&[data]) == pointer.mac() {
                    Ok(())
                } else {
                    Err(CryptError::WrongMac)
                }
            }
            DNODE => self.open_dnodes(pointer, data),
            _ => {
                let cipher = self.cipher(pointer.salt())?;
                if cipher.decrypt(&pointer.iv(), &[], data, &pointer.mac()) {
                    Ok(())
                } else {
                    Err(CryptError::WrongMac)
                }
            }
        }
    }

    /// Of dnodes only the bonus is secret; all bonuses of a block are one message.
    fn open_dnodes(&self, pointer: Pointer<'_>, data: &mut [u8]) -> Result<(), CryptError> {
        let DnodeBlock { mut secret, extra, places } =
            split_dnodes(data, pointer.order(), self.version)?;
        let cipher = self.cipher(pointer.salt())?;
        if !cipher.decrypt(&pointer.iv(), &extra, &mut secret, &pointer.mac()) {
            return Err(CryptError::WrongMac);
        }
        put_back(data, &secret, &places);
        Ok(())
    }
}

/// A block of dnodes taken apart.
pub(super) struct DnodeBlock {
    /// The secret parts, one after the other.
    pub secret: Vec<u8>,
    /// What else the MAC covers.
    pub extra: Vec<u8>,
    /// Where in the block the secret parts are.
    pub places: Vec<core::ops::Range<usize>>,
}

pub(super) fn split_dnodes(
    data: &[u8],
    order: ByteOrder,
    version: u64,
) -> Result<DnodeBlock, CryptError> {
    const IMPOSSIBLE: CryptError = CryptError::Block("a dnode reaches out of its block");
    let (mut secret, mut extra, mut places) = (Vec::new(), Vec::new(), Vec::new());
    let mut at = 0;
    while at < data.len() {
        let dnode = data.get(at..).unwrap_or_default();
        let parts = DnodeParts::new(dnode).ok_or(IMPOSSIBLE)?;
        dnode_covered(dnode, &parts, order, version, false, &mut extra);
        let core = dnode.first_chunk::<CORE_SIZE>().ok_or(IMPOSSIBLE)?;
        let bonus = dnode.get(parts.bonus.clone()).ok_or(IMPOSSIBLE)?;
        // Type, type of the bonus, length of the bonus.
        if core[0] != 0 && is_encrypted(core[4]) && core[10..12] != [0, 0] {
            secret.extend_from_slice(bonus);
            places.push(at + parts.bonus.start..at + parts.bonus.end);
        } else {
            extra.extend_from_slice(bonus);
        }
        at += parts.length;
    }
    Ok(DnodeBlock { secret, extra, places })
}

pub(super) fn put_back(data: &mut [u8], secret: &[u8], places: &[core::ops::Range<usize>]) {
    let mut from = 0;
    for place in places {
        let length = place.len();
        let bytes = secret.get(from..from + length);
        if let Some((to, bytes)) = data.get_mut(place.clone()).zip(bytes) {
            to.copy_from_slice(bytes);
        }
        from += length;
    }
}
