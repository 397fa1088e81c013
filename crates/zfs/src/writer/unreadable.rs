//! Extended attributes that a pool can hold but Linux cannot give back.

use std::fmt;

use tree::Tree;

/// An attribute that is written, but that a Linux machine refuses to read by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableXattr {
    /// Path from the tree's root.
    pub path: String,
    /// The attribute with its namespace.
    pub name: String,
    /// Why it cannot be read.
    pub reason: &'static str,
}

impl fmt::Display for UnreadableXattr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}: attribute {:?} is kept but {}", self.path, self.name, self.reason)
    }
}

/// The attributes of `tree` that Linux will not give back: those of more than 64 KiB
/// (`XATTR_SIZE_MAX`), and those with a namespace behind `user.` (OpenZFS
/// `ZFS_XA_NS_PREFIX_FORBIDDEN`, module/os/linux/zfs/zpl_xattr.c).
pub fn unreadable_xattrs(tree: &Tree) -> Vec<UnreadableXattr> {
    let mut found = Vec::new();
    for entry in tree.walk() {
        for (name, value) in &entry.inode.metadata.xattrs {
            if let Some(reason) = reason(name, value.len()) {
                found.push(UnreadableXattr {
                    path: String::from_utf8_lossy(&entry.path).into_owned(),
                    name: String::from_utf8_lossy(name).into_owned(),
                    reason,
                });
            }
        }
    }
    found
}

fn reason(name: &[u8], size: usize) -> Option<&'static str> {
    const NAMESPACES: [&[u8]; 5] = [b"freebsd:", b"security.", b"system.", b"trusted.", b"user."];
    let inner = name.strip_prefix(b"user.").unwrap_or_default();
    if NAMESPACES.iter().any(|namespace| inner.starts_with(namespace)) {
        return Some("OpenZFS on Linux refuses a name with a namespace behind \"user.\"");
    }
    (size > 64 << 10).then_some("Linux reads no value above 64 KiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_sizes() {
        assert_eq!(reason(b"user.comment", 65536), None);
        assert_eq!(reason(b"security.user.x", 1), None);
        assert!(reason(b"user.user.x", 1).unwrap().contains("namespace"));
        assert!(reason(b"user.freebsd:system:x", 1).unwrap().contains("namespace"));
        assert!(reason(b"trusted.x", 65537).unwrap().contains("64 KiB"));
    }
}
