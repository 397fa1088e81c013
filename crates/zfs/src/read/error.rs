//! Why a pool cannot be read, and what was wrong although it could.

use alloc::sync::Arc;
use blk::io;
use core::fmt;

use thiserror::Error;

use crate::nvlist::NvError;
use crate::prelude::*;
use crate::sa::SaError;
use crate::zap::ZapError;

/// Why a pool, or something in it, cannot be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// A device has no label that can be used.
    #[error("{device}: no ZFS label: {problem}")]
    NoLabel {
        /// The device, as the caller calls it.
        device: String,
        /// What is wrong with its four labels.
        problem: String,
    },
    /// Devices that hold nothing of a pool, though they have labels.
    #[error("{device}: {problem}: it holds nothing of a pool")]
    NoMember {
        /// The first such device, as the caller calls it.
        device: String,
        /// What it is.
        problem: String,
    },
    /// No device was given.
    #[error("no device was given")]
    NoDevice,
    /// Devices of several pools.
    #[error(
        "{first} belongs to pool {first_pool}, {second} to pool {second_pool}; \
         give the devices of one pool"
    )]
    SeveralPools {
        /// One device.
        first: String,
        /// Its pool.
        first_pool: String,
        /// Another device.
        second: String,
        /// Its pool.
        second_pool: String,
    },
    /// A top-level vdev lacks more devices than it can do without, and what is needed first lies there.
    #[error("pool {pool} cannot be read: {problem}")]
    Devices {
        /// The pool.
        pool: String,
        /// Which vdev, and how many devices it lacks.
        problem: String,
    },
    /// No uberblock is good.
    #[error("pool {pool}: none of the uberblocks on its devices has the right checksum")]
    NoUberblock {
        /// The pool.
        pool: String,
    },
    /// The pool has a version we do not know.
    #[error("pool {pool} has version {version}; known are 1 to 28 and 5000")]
    Version {
        /// The pool.
        pool: String,
        /// Its version.
        version: u64,
    },
    /// The pool uses a feature without which it cannot be read.
    #[error("pool {pool} uses feature {feature}, which this program cannot read")]
    Feature {
        /// The pool.
        pool: String,
        /// The feature's name on disk.
        feature: String,
    },
    /// A kind of vdev that cannot be read.
    #[error("vdev {vdev} is of kind {kind:?}, which this program cannot read")]
    VdevKind {
        /// Number of the top-level vdev.
        vdev: u64,
        /// What its label says.
        kind: String,
    },
    /// A block could not be read from any of its copies.
    #[error(transparent)]
    Block(#[from] Box<BlockError>),
    /// A packed list cannot be unpacked.
    #[error("{what}: {source}")]
    Nvlist {
        /// Which.
        what: String,
        /// What is wrong.
        source: NvError,
    },
    /// A ZAP object cannot be read.
    #[error("{what}: {source}")]
    Zap {
        /// Which object.
        what: String,
        /// What is wrong.
        source: ZapError,
    },
    /// The system attributes of an inode cannot be read.
    #[error("{what}: {source}")]
    Sa {
        /// Which inode.
        what: String,
        /// What is wrong.
        source: SaError,
    },
    /// Something that was read does not make sense.
    #[error("{what} is damaged: {problem}")]
    Damaged {
        /// What.
        what: String,
        /// What is wrong.
        problem: String,
    },
    /// A dataset that was asked for cannot be read.
    #[error("{what}: {source}")]
    Dataset {
        /// Which, or what of it.
        what: String,
        /// Why.
        source: Arc<ReadError>,
    },
    /// A name does not exist.
    #[error("{what} does not exist")]
    NotFound {
        /// What was looked for.
        what: String,
    },
    /// A path leads through something that is not a directory, or a dataset is of another kind.
    #[error("{what} is not {expected}")]
    WrongKind {
        /// What was found.
        what: String,
        /// What it should be.
        expected: &'static str,
    },
    /// The dataset is encrypted and no key was given.
    #[error("{dataset} is encrypted; give its key (--key-file or --passphrase-file)")]
    Encrypted {
        /// The dataset.
        dataset: String,
    },
    /// The keys of a dataset cannot be opened with what was given.
    #[error("the keys of {dataset} cannot be opened: {problem}")]
    Keys {
        /// The dataset.
        dataset: String,
        /// Why.
        problem: String,
    },
    /// Something that this program does not do.
    #[error("{what} is not supported")]
    Unsupported {
        /// What.
        what: String,
    },
}

impl ReadError {
    pub(crate) fn damaged(what: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Damaged { what: what.into(), problem: problem.into() }
    }

    /// Whether the pool's bytes are at fault, rather than the question or this program.
    pub fn is_damage(&self) -> bool {
        if let Self::Dataset { source, .. } = self {
            return source.is_damage();
        }
        matches!(
            self,
            Self::Block(_)
                | Self::Nvlist { .. }
                | Self::Zap { .. }
                | Self::Sa { .. }
                | Self::Damaged { .. }
        )
    }
}

/// A block of which no copy is good.
#[derive(Debug, Error)]
#[error("cannot read {what}: {}", list(problems))]
pub struct BlockError {
    /// The block: kind, level, and where its copies are.
    pub what: String,
    /// What is wrong with each of them.
    pub problems: Vec<CopyFault>,
}

fn list(problems: &[CopyFault]) -> String {
    if problems.is_empty() {
        return "it has no copy".to_owned();
    }
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// One copy of a block that is not good.
#[derive(Debug, Clone)]
pub struct CopyFault {
    /// The device by its name, or the vdev where there is none.
    pub device: String,
    /// Byte offset on the device.
    pub offset: u64,
    /// Bytes there.
    pub length: u64,
    /// What is wrong.
    pub problem: CopyProblem,
}

impl fmt::Display for CopyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, offset, length, problem } = self;
        match problem {
            CopyProblem::Absent => write!(f, "{device} is absent"),
            _ => write!(f, "{device}, {length} bytes at {offset}: {problem}"),
        }
    }
}

/// What is wrong with a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyProblem {
    /// The device is not here.
    Absent,
    /// Reading failed.
    Io(String),
    /// The bytes are not those that were written.
    Checksum,
    /// The checksum is right, but the content is not.
    Content(String),
}

impl fmt::Display for CopyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("the device is absent"),
            Self::Io(error) => f.write_str(error),
            Self::Checksum => f.write_str("the checksum is wrong"),
            Self::Content(what) => f.write_str(what),
        }
    }
}

impl From<&io::Error> for CopyProblem {
    fn from(error: &io::Error) -> Self {
        Self::Io(error.to_string())
    }
}
