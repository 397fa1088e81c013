//! Everything that touches this machine: processes, and virtual machines with their consoles.
//!
//! This is the only room that starts processes, and the only one where `unsafe` may stand.
//! - [`command`] runs a program to its end, with a time limit.
//! - [`console`] understands what a machine says on its serial line; it is pure but for the reader.
//! - [`qemu`] describes, starts and drives virtual machines.
//! - [`sandbox`] runs programs in namespaces and a root of their own.

pub mod command;
pub mod console;
pub mod qemu;
pub mod sandbox;
