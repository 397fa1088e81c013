//! Send streams: what `zfs send` writes and `zfs receive` reads.
//!
//! A stream is a row of records of 312 bytes, some with a payload. `BEGIN … END` is one snapshot,
//! full or against an older one. A compound stream (`zfs send -R`) is a `BEGIN` with a list of
//! datasets and properties and an `END`, the streams of the snapshots, and a last `END`. A running
//! fletcher-4 over everything since the last `BEGIN` is in each record.
//!
//! [`StreamReader`] reads and checks, [`StreamWriter`] writes records, [`send_snapshot`] makes the
//! stream of a snapshot of a pool that is read, [`send_tree`] that of a whole tree of datasets and
//! [`send_pool`] that of all of them. [`Receiver`] makes file systems out of streams again;
//! [`interrupted`] tells where a kernel's receive was broken off.
//!
//! Source: OpenZFS `include/sys/zfs_ioctl.h`, `module/zfs/dmu_send.c`, `module/zfs/dmu_recv.c`.

mod decode;
mod encode;
mod interrupted;
mod produce;
mod reader;
mod receive;
mod record;
#[cfg(test)]
mod tests;
mod tree;
mod writer;

pub use interrupted::{Interrupted, interrupted};
pub use produce::{SendError, SendOptions, send_snapshot};
pub use reader::StreamReader;
pub use receive::{ReceiveError, Received, Receiver};
pub use record::{
    Begin, CryptParameters, EmbeddedWrite, End, ObjectRecord, Record, SpillRecord, WriteRecord,
    features,
};
pub use tree::{send_pool, send_tree};
pub use writer::StreamWriter;

/// Why a stream cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// Reading or writing failed.
    #[error("send stream, at byte {offset}: {source}")]
    Io {
        /// How far the stream was read or written.
        offset: u64,
        /// Why.
        source: std::io::Error,
    },
    /// It does not begin as a stream does.
    #[error("this is no ZFS send stream: it begins with {found:016x}")]
    NotAStream {
        /// What is in the place of the magic.
        found: u64,
    },
    /// A record that makes no sense.
    #[error("send stream, record at byte {offset}: {problem}")]
    Record {
        /// Where it begins.
        offset: u64,
        /// What is wrong.
        problem: String,
    },
    /// The running checksum does not match.
    #[error("send stream, record at byte {offset}: the checksum is wrong; the stream is damaged")]
    Checksum {
        /// Where it begins.
        offset: u64,
    },
}
