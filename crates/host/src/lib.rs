//! Everything that touches this machine: processes, QEMU, users.
