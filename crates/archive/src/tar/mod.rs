//! Tar archives.
//!
//! [`import`] reads a whole archive into a [`tree::Tree`]; [`Reader`] is the stream of entries
//! below it; [`fn@write`] writes one. Read are POSIX `ustar` and `pax`, GNU tar's own forms (long names, base-256 numbers, old
//! sparse files) and the records of star and libarchive for extended attributes and ACLs. Owners are
//! taken from the numbers; names of users and groups are not looked at, and where an ACL has nothing
//! else it is refused.
//!
//! What an archive may say is narrower than what `tar x` accepts, because a tree is the artefact that
//! machines are made of and an archive that means different things to different tools is not one:
//! - Paths are relative without `..`; a leading `./` is fine. No path leads through a symbolic link.
//!   (Symbolic links themselves may point anywhere: nothing here follows them.)
//! - A path occurs once. Only a directory may come again: `tar -r` does that, and a directory may
//!   come after what is in it; the last entry's attributes hold. Parents that never come are made
//!   with mode 0755, owner 0 and time 0.
//! - The target of a hard link comes before it.
//! - The archive ends with a zero block and nothing but zeros after it.
//!
//! Not supported: multi-volume archives, incremental dumps' deletions, NFSv4 ACLs, concatenated
//! archives (`tar -i`).

mod acl;
mod blobs;
mod build;
mod error;
mod format;
mod import;
mod pax;
mod reader;
mod sparse;
mod writer;

pub use error::{ImportError, Problem, TarError};
pub use import::{import, import_stream};
pub use reader::{Entry, EntryKind, Reader};
pub use writer::{WriteError, write};

/// Largest extended headers of one entry together, in bytes; attributes of one file must fit.
const EXTENDED_LIMIT: u64 = 16 << 20;
