//! Offline repositories of official packages, the "darksite".
//!
//! This is the only room that opens network connections. The way of a package: [`source`] verifies a
//! suite from the distribution's key to its indexes, [`resolve`] chooses, [`mod@lock`] writes down what was
//! chosen, [`fetch`] brings it into the content-addressed [`store`], [`mod@publish`] makes a plain apt
//! repository of hard links, [`serve`] and [`mod@copy`] hand it out, [`verify`] goes the whole way back.
//! [`site`] is the directory in which all this lies. [`fetch`] and [`store`] know nothing of package
//! formats.
#![forbid(unsafe_code)]

pub mod apt_sources;
pub mod copy;
pub mod fetch;
pub mod gc;
pub mod keys;
mod location;
pub mod lock;
pub mod packages;
pub mod publish;
pub mod resolve;
pub mod sbom;
pub mod seen;
pub mod serve;
pub mod site;
pub mod source;
pub mod store;
pub mod verify;

pub use location::{Location, LocationError};
