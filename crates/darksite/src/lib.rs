//! Offline repositories of official packages, the "darksite".
//!
//! This is the only room that opens network connections. The way of a package: what is asked for ([`request`])
//! becomes a lock, as suites ([`source`]) are verified from the distribution's key to their indexes and the solver
//! chooses; [`mod@lock`] writes down what was chosen, [`fetch`] brings it into the content-addressed [`store`],
//! [`mod@publish`] makes a plain
//! repository of hard links, [`serve`] and [`mod@copy`] hand it out, [`verify`] goes the whole way back.
//! [`site`] is the directory in which all this lies.
//!
//! What is particular to a family of package formats is in a module of its own, [`deb`]; `family` says
//! what such a module must offer. Nothing else knows a format.
#![forbid(unsafe_code)]

pub mod copy;
pub mod deb;
mod family;
pub mod fetch;
pub mod gc;
pub mod keys;
mod location;
pub mod lock;
pub mod packages;
mod parallel;
pub mod publish;
pub mod request;
pub mod sbom;
pub mod seen;
pub mod serve;
pub mod site;
pub mod source;
pub mod store;
pub mod verify;

pub use location::{Location, LocationError};
