//! What the kinds of objects are called, and how their blocks change byte order.
//!
//! Source: OpenZFS `include/sys/dmu.h`, `module/zfs/dmu.c` (`dmu_ot`).

use crate::prelude::*;

/// How the bytes of a block change between byte orders (`dmu_object_byteswap_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Swap {
    Bytes,
    U16,
    U32,
    U64,
    Zap,
    Dnode,
    Objset,
    Znode,
    /// ACLs: entries of mixed sizes. They are kept as they are.
    Acl,
}

struct Info {
    swap: Swap,
    encrypted: bool,
    name: &'static str,
}

const fn info(swap: Swap, name: &'static str) -> Info {
    Info { swap, encrypted: false, name }
}

const fn crypt(swap: Swap, name: &'static str) -> Info {
    Info { swap, encrypted: true, name }
}

const TABLE: [Info; 54] = [
    info(Swap::Bytes, "unallocated"),
    info(Swap::Zap, "object directory"),
    info(Swap::U64, "object array"),
    info(Swap::Bytes, "packed nvlist"),
    info(Swap::U64, "packed nvlist size"),
    info(Swap::U64, "bpobj"),
    info(Swap::U64, "bpobj header"),
    info(Swap::U64, "SPA space map header"),
    info(Swap::U64, "SPA space map"),
    crypt(Swap::U64, "ZIL intent log"),
    crypt(Swap::Dnode, "DMU dnode"),
    info(Swap::Objset, "DMU objset"),
    info(Swap::U64, "DSL directory"),
    info(Swap::Zap, "DSL directory child map"),
    info(Swap::Zap, "DSL dataset snap map"),
    info(Swap::Zap, "DSL props"),
    info(Swap::U64, "DSL dataset"),
    info(Swap::Znode, "ZFS znode"),
    crypt(Swap::Acl, "ZFS V0 ACL"),
    crypt(Swap::Bytes, "ZFS plain file"),
    crypt(Swap::Zap, "ZFS directory"),
    info(Swap::Zap, "ZFS master node"),
    crypt(Swap::Zap, "ZFS delete queue"),
    crypt(Swap::Bytes, "zvol object"),
    info(Swap::Zap, "zvol prop"),
    crypt(Swap::Bytes, "other uint8[]"),
    crypt(Swap::U64, "other uint64[]"),
    info(Swap::Zap, "other ZAP"),
    info(Swap::Zap, "persistent error log"),
    info(Swap::Bytes, "SPA history"),
    info(Swap::U64, "SPA history offsets"),
    info(Swap::Zap, "Pool properties"),
    info(Swap::Zap, "DSL permissions"),
    crypt(Swap::Acl, "ZFS ACL"),
    crypt(Swap::Bytes, "ZFS SYSACL"),
    crypt(Swap::Bytes, "FUID table"),
    info(Swap::U64, "FUID table size"),
    info(Swap::Zap, "DSL dataset next clones"),
    info(Swap::Zap, "scan work queue"),
    crypt(Swap::Zap, "ZFS user/group/project used"),
    crypt(Swap::Zap, "ZFS user/group/project quota"),
    info(Swap::Zap, "snapshot refcount tags"),
    info(Swap::Zap, "DDT ZAP algorithm"),
    info(Swap::Zap, "DDT statistics"),
    crypt(Swap::Bytes, "System attributes"),
    crypt(Swap::Zap, "SA master node"),
    crypt(Swap::Zap, "SA attr registration"),
    crypt(Swap::Zap, "SA attr layouts"),
    info(Swap::Zap, "scan translations"),
    crypt(Swap::Bytes, "deduplicated block"),
    info(Swap::Zap, "DSL deadlist map"),
    info(Swap::U64, "DSL deadlist map hdr"),
    info(Swap::Zap, "DSL dir clones"),
    info(Swap::U64, "bpobj subobj"),
];

/// `DMU_OT_NEWTYPE`: the type itself says how it is swapped.
const NEW_TYPE: u8 = 0x80;
const NEW_METADATA: u8 = 0x40;
const NEW_ENCRYPTED: u8 = 0x20;

fn new_swap(object_type: u8) -> Swap {
    match object_type & 0x1f {
        1 => Swap::U16,
        2 => Swap::U32,
        3 => Swap::U64,
        4 => Swap::Zap,
        5 => Swap::Dnode,
        6 => Swap::Objset,
        7 => Swap::Znode,
        8 | 9 => Swap::Acl,
        _ => Swap::Bytes,
    }
}

/// How blocks of a type change byte order.
pub(crate) fn swap(object_type: u8) -> Swap {
    if object_type & NEW_TYPE != 0 {
        return new_swap(object_type);
    }
    TABLE.get(usize::from(object_type)).map_or(Swap::Bytes, |info| info.swap)
}

/// Whether blocks of a type are encrypted in encrypted datasets.
pub(crate) fn is_encrypted(object_type: u8) -> bool {
    if object_type & NEW_TYPE != 0 {
        return object_type & NEW_ENCRYPTED != 0;
    }
    TABLE.get(usize::from(object_type)).is_some_and(|info| info.encrypted)
}

/// What `zdb` calls a type.
pub fn name(object_type: u8) -> String {
    if object_type & NEW_TYPE != 0 {
        let swap = match new_swap(object_type) {
            Swap::Bytes => "uint8",
            Swap::U16 => "uint16",
            Swap::U32 => "uint32",
            Swap::U64 => "uint64",
            Swap::Zap => "zap",
            Swap::Dnode => "dnode",
            Swap::Objset => "objset",
            Swap::Znode => "znode",
            Swap::Acl => "acl",
        };
        let metadata = if object_type & NEW_METADATA != 0 { "metadata" } else { "data" };
        return format!("bswap {swap} {metadata}");
    }
    match TABLE.get(usize::from(object_type)) {
        Some(info) => info.name.to_owned(),
        None => format!("type {object_type}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_where_dmu_h_has_them() {
        assert_eq!(name(10), "DMU dnode");
        assert_eq!(name(19), "ZFS plain file");
        assert_eq!(name(44), "System attributes");
        assert_eq!(name(53), "bpobj subobj");
        assert_eq!(swap(0x80 | 0x40 | 4), Swap::Zap);
        assert!(is_encrypted(19) && !is_encrypted(21));
    }
}
