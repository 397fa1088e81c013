//! A whole disk image: from a disk into every format in one pass.
//!
//! [`Space`] tells which parts of the disk are in use, [`export`](export::export) reads those once,
//! compresses each piece once and hands it to all writers, [`verify`](verify::verify) reads what was
//! written and compares.
#![forbid(unsafe_code)]

mod deflate;
pub mod export;
mod read;
mod space;
pub mod verify;

pub use deflate::Window;
pub use export::{ExportError, Options, export};
pub use read::{BadRange, ReadError, Source};
pub use space::Space;

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
