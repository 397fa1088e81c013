//! The ACL that says no more than the permission bits. Every inode has one, even where `acltype`
//! is `posix` or `off`.

use crate::prelude::*;

const READ_DATA: u32 = 0x1;
const WRITE_DATA: u32 = 0x2;
const APPEND_DATA: u32 = 0x4;
const READ_NAMED_ATTRS: u32 = 0x8;
const WRITE_NAMED_ATTRS: u32 = 0x10;
const EXECUTE: u32 = 0x20;
const DELETE_CHILD: u32 = 0x40;
const READ_ATTRIBUTES: u32 = 0x80;
const WRITE_ATTRIBUTES: u32 = 0x100;
const READ_ACL: u32 = 0x2_0000;
const WRITE_ACL: u32 = 0x4_0000;
const WRITE_OWNER: u32 = 0x8_0000;
const SYNCHRONIZE: u32 = 0x10_0000;

/// What everybody may do, and what the owner may besides, whatever the permission bits are.
const ALWAYS: u32 = READ_ACL | READ_ATTRIBUTES | READ_NAMED_ATTRS | SYNCHRONIZE;
const OWNER_ALWAYS: u32 = WRITE_ATTRIBUTES | WRITE_OWNER | WRITE_ACL | WRITE_NAMED_ATTRS;

const ALLOW: u16 = 0;
const DENY: u16 = 1;

/// `owner@`
const OWNER: u16 = 0x1000;
/// `group@`: `ACE_GROUP | ACE_IDENTIFIER_GROUP`.
const GROUP: u16 = 0x2040;
/// `everyone@`
const EVERYONE: u16 = 0x4000;

/// Size of an entry for one of these three.
pub const ACE_SIZE: usize = 8;

/// The packed entries (`acl_trivial_access_masks`, `zfs_acl_chmod`): three, and up to three before
/// them where a class may do less than a wider one.
pub fn trivial(mode: u64, directory: bool) -> Vec<u8> {
    let write = WRITE_DATA | APPEND_DATA | if directory { DELETE_CHILD } else { 0 };
    let masks = [(0o4, READ_DATA), (0o2, write), (0o1, EXECUTE)];
    let class = |shift: u32| (mode >> shift) & 0o7;
    let (owner, group, other) = (class(6), class(3), class(0));
    let mask_of = |bits: u64| {
        masks.iter().filter(|(bit, _)| bits & bit != 0).fold(0, |mask, (_, more)| mask | more)
    };
    let restrictions = [
        (ALLOW, OWNER, mask_of(owner & !group & other)),
        (DENY, OWNER, mask_of(!owner & (group | other))),
        (DENY, GROUP, mask_of(!group & other)),
    ];
    let grants = [
        (ALLOW, OWNER, ALWAYS | OWNER_ALWAYS | mask_of(owner)),
        (ALLOW, GROUP, ALWAYS | mask_of(group)),
        (ALLOW, EVERYONE, ALWAYS | mask_of(other)),
    ];
    let restrictions = restrictions.into_iter().filter(|(_, _, mask)| *mask != 0);
    let mut packed = Vec::with_capacity(6 * ACE_SIZE);
    for (kind, who, mask) in restrictions.chain(grants) {
        packed.extend_from_slice(&kind.to_le_bytes());
        packed.extend_from_slice(&who.to_le_bytes());
        packed.extend_from_slice(&mask.to_le_bytes());
    }
    packed
}
