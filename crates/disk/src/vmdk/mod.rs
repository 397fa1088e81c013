//! VMDK images (VMware): a descriptor in text, and extents.

mod descriptor;
pub mod format;
mod reader;
mod sparse;

pub(crate) use reader::{is_vmdk, open};
