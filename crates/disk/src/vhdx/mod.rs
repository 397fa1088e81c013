//! VHDX images (Hyper-V since 2012).

pub mod format;
mod log;
mod reader;

pub(crate) use reader::open;
