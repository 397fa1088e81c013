//! Offline repositories of official packages, the "darksite".
//!
//! This is the only room that opens network connections. Everything it brings in is checked against a
//! digest while it arrives and kept in a content-addressed [`store`]; [`fetch`] knows mirrors, retries
//! and limits, and nothing about package formats.
#![forbid(unsafe_code)]

pub mod fetch;
mod location;
pub mod store;

pub use location::{Location, LocationError};
