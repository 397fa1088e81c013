//! One file or folder for each command: its arguments, then its function.

pub mod boot;
pub mod build;
pub mod darksite;
pub mod export;
pub mod files;
pub mod inspect;
pub mod pool;
pub mod verify;
