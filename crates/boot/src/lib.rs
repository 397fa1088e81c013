//! Kernels, boot entries, the ESP tree and what a booting root must contain.
