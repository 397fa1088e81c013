//! Dataset layout and boot environments.
//!
//! [`layout`] is the one definition of the datasets that make a machine; the image builder and the
//! installer both take it from here. Everything in it is pure: it names datasets and properties and
//! touches no pool.
#![forbid(unsafe_code)]

pub mod layout;
mod name;
mod nearest;
pub mod property;

pub use name::{NameError, check_boot_environment, check_dataset, check_pool};
