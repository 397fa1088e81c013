//! VHD images (Virtual PC, Azure, the first Hyper-V): fixed and dynamic.

pub mod format;
mod reader;

pub(crate) use reader::{is_vhd, open};
