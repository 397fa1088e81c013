//! Packages as data: formats, version order, relations, indexes, signatures, the solver.
//!
//! Pure: functions take bytes and text and give values. Nothing here opens a file, a connection or a
//! process; who has the bytes (a mirror, a store, a test) hands them in.
//!
//! [`deb`] is everything that is particular to Debian's formats. What other families of packages will
//! share lives beside it, so that adding one touches no file of another.
#![forbid(unsafe_code)]

pub mod deb;
pub mod distribution;
pub mod openpgp;
pub mod path;
pub mod profile;
pub mod recipe;
pub mod solve;
mod text;
