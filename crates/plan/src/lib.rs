//! From a root tree and options to a plan, and from a plan to a disk image.
