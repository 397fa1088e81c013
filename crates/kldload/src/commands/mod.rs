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
