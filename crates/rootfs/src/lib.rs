//! What is done to a root tree before it becomes an image.
//!
//! [`identity::clean`] takes out what must differ between machines; [`firstboot::install`] puts in
//! what makes it again on the machine, and what keeps the pool growing with its disk;
//! [`personalise::personalise`] makes it one person's machine. All change
//! a [`tree::Tree`] in memory and add to a [`tree::MemoryBlobs`]; nothing here reads a clock or
//! touches the build host.
#![forbid(unsafe_code)]

pub mod bootstrap;
mod edit;
pub mod firstboot;
mod glob;
pub mod identity;
pub mod personalise;
pub mod signing;
mod told;

use thiserror::Error;

/// Why a root tree could not be changed.
#[derive(Debug, Error)]
pub enum RootfsError {
    /// The tree has something in the way.
    #[error("cannot write {path} into the tree: {error}")]
    Tree {
        /// Where, relative to the root.
        path: String,
        /// What is wrong there.
        error: tree::TreeError,
    },
    /// A file of the tree that must be read could not be.
    #[error("cannot read {path} of the tree: {error}")]
    Read {
        /// Where, relative to the root.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// A host name that is none.
    #[error(
        "{0:?} is not a host name: labels of a-z 0-9 - with at most 63 characters, with dots between"
    )]
    HostName(String),
}
