//! OpenZFS on disk, in user space.
