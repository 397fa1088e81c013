//! `kldload`: makes ZFS-on-root disk images on a build host.
fn main() {}
