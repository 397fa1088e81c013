//! One file or folder for each command: its arguments, then its function.

pub mod boot;
pub mod build;
pub mod cache;
pub mod darksite;
pub mod dump;
pub mod export;
pub mod files;
pub mod inspect;
pub mod plan;
pub mod pool;
pub mod schema;
pub mod verify;

/// Ends the program as clap does when arguments cannot be meant.
pub fn usage(text: impl std::fmt::Display) -> ! {
    clap::Error::raw(clap::error::ErrorKind::ArgumentConflict, format!("{text}\n")).exit()
}
