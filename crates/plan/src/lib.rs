//! From a root tree and what is asked to a plan, and from a plan to a disk.
//!
//! [`Plan::new`] is pure: it decides everything and writes nothing, so that a plan can be read
//! before it acts. [`image::write`] carries it out on a disk image in user space.
#![forbid(unsafe_code)]

mod error;
pub mod image;
mod machine;
pub mod proposal;
pub mod recipe;
mod report;
mod sizes;

pub use error::PlanError;
pub use machine::{Options, Plan};
pub use report::Report;
