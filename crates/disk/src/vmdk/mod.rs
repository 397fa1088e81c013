//! VMDK images (VMware): a descriptor in text, and extents.

pub mod format;
