//! System attributes: how inodes ("znodes") store their attributes in a dnode's bonus area and,
//! where that is too small, in a spill block.
//!
//! Spec: `module/zfs/sa.c`, `zfs_sa.c` and `module/os/linux/zfs/{zfs_znode_os,zfs_acl}.c` of
//! OpenZFS. Only the form with system attributes is handled (`DMU_OT_SA`, file systems of version
//! 5), not the fixed `znode_phys_t` before it.

mod acl;
mod layout;
mod registry;
mod xattr;
mod znode;

use thiserror::Error;

pub use layout::{Layouts, SaEncoded, decode};
pub use registry::{Attribute, registry_zap_entries};
pub use xattr::{PackedXattrs, pack_xattrs};
pub use znode::{Znode, flags};

/// Why attributes cannot be written or read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SaError {
    /// An attribute longer than its 16-bit length field can say.
    #[error("{name} has {len} bytes, more than 65535")]
    TooLong {
        /// The attribute.
        name: &'static str,
        /// Its length.
        len: usize,
    },
    /// The attributes together are longer than the largest spill block.
    #[error("the attributes of one inode take {0} bytes, more than 131072")]
    TooLarge(usize),
    /// The header has 10 bits for the layout.
    #[error("more than 1021 different sets of attributes in one dataset")]
    TooManyLayouts,
    /// Not a buffer of system attributes, or one that contradicts itself.
    #[error("the system attributes are damaged: {0}")]
    Damaged(&'static str),
    /// A layout the dataset's `LAYOUTS` does not list.
    #[error("system attribute layout {0} is not in the dataset's list")]
    UnknownLayout(u16),
    /// An attribute the dataset's `REGISTRY` does not list.
    #[error("system attribute {0} is not in the dataset's registry")]
    UnknownAttribute(u16),
}

#[cfg(test)]
mod tests;
