//! Which extended attributes an inode stores in itself, and which in a directory.

use tree::Xattrs;

use crate::nvlist::{self, NvList, Value};
use crate::prelude::*;

/// `DXATTR_MAX_ENTRY_SIZE`.
const VALUE_MAX: usize = 32 << 10;
/// `SA_ATTR_MAX_LEN`.
const PACKED_MAX: usize = 65_535;

/// The extended attributes of one inode, divided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackedXattrs<'a> {
    /// The packed list the inode stores itself (`DXATTR`).
    pub sa: Option<Vec<u8>>,
    /// Names and contents of files in its directory of extended attributes.
    pub directory: Vec<(&'a [u8], &'a [u8])>,
}

/// Divides as `zpl_xattr_set` does with `xattr=sa` when the attributes are set in the order of
/// their names: into the list what fits, into the directory the rest.
pub fn pack_xattrs(xattrs: &Xattrs) -> PackedXattrs<'_> {
    let mut packed = PackedXattrs::default();
    let mut list = NvList::new();
    let mut size = nvlist::EMPTY_SIZE;
    for (name, value) in xattrs {
        let entry = Value::from(&**value);
        let new_size = size + nvlist::xdr_pair_size(name, &entry);
        if value.len() <= VALUE_MAX && new_size <= PACKED_MAX {
            list.push(name, entry);
            size = new_size;
        } else {
            packed.directory.push((name, value));
        }
    }
    if size > nvlist::EMPTY_SIZE {
        packed.sa = Some(nvlist::encode_xdr(&list));
    }
    packed
}
