//! Pools made by a real kernel, for the tests of this crate's inner parts.

#[path = "../tests/common/images.rs"]
mod images;

use std::sync::Arc;

use crate::read::{Device, Pool};

/// The devices of a pool, from its images.
pub(crate) fn devices(names: &[&str]) -> Option<Vec<Device>> {
    let fixtures = images::fixtures()?;
    let device = |name: &&str| Device {
        name: name.to_string(),
        data: Arc::new(images::partition(&fixtures, name)),
    };
    Some(names.iter().map(device).collect())
}

/// The pool on images.
pub(crate) fn pool(names: &[&str]) -> Option<Pool> {
    Some(Pool::open(&devices(names)?).unwrap())
}
