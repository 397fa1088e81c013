//! VHDX images (Hyper-V since 2012).

pub mod format;
