//! VHD images (Virtual PC, Azure, the first Hyper-V): fixed and dynamic.

pub mod format;
