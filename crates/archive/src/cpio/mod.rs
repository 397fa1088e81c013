//! cpio archives of the "new ASCII" form (newc, magic 070701 and 070702), and the initramfs made of
//! them.
//!
//! Not supported: the older binary and octal forms, which Linux does not take either.

mod format;
mod reader;
mod writer;

pub use reader::{CpioError, Entry, Visit, read_initramfs};
pub use writer::Writer;
