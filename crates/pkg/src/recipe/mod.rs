//! Recipes: one TOML file says what a machine is made of and what it is to be.
//!
//! A recipe has one reader for each thing it speaks of, and no reader knows the keys of another.
//! [`Document`] hands every reader its own keys and refuses what nobody took, so a mistyped key is found
//! whoever reads. Here is the reader of what concerns packages, [`Packages`]; a machine's own keys are
//! read where machines are planned.
//!
//! ```toml
//! distribution = "debian"
//! release = "trixie"
//! profile = "server"
//! packages = ["postgresql", "zfs-dkms/trixie-backports"]
//! optional = ["firmware-iwlwifi"]    # left out with a warning if it cannot be had
//! exclude = ["nano"]
//! ```
//!
//! Nothing here reads a file: text comes in, values or an error with its line come out.

mod document;
mod fields;
mod inside;
mod packages;
mod pin;

pub(crate) use document::explained;
pub use document::{Document, RecipeError, line_of, nearest};
pub use inside::inside;
pub(crate) use packages::requests;
pub use packages::{Addresses, Packages, is_request, native, without_credentials};
pub use pin::{Pin, PinTarget};
