//! Addressable bytes: positioned reads and writes on files, windows and memory.
//!
//! This room knows nothing of what lies on the bytes (partitions, file systems, image formats);
//! those build on the two traits here. All offsets and lengths are in bytes.
//!
//! Without the feature `std`, which is on by default, the room is `no_std` with `alloc`: the traits,
//! [`Window`] and [`RangeSet`].
#![forbid(unsafe_code)]
#![cfg_attr(not(any(test, feature = "std")), no_std)]

extern crate alloc;

#[cfg(feature = "std")]
mod file;
#[cfg(not(feature = "std"))]
pub mod io;
#[cfg(feature = "std")]
mod memory;
mod range_set;
mod window;
#[cfg(feature = "std")]
mod write_behind;

#[cfg(feature = "std")]
pub use std::io;

#[cfg(feature = "std")]
pub use memory::Memory;
pub use range_set::RangeSet;
pub use window::Window;
#[cfg(feature = "std")]
pub use write_behind::WriteBehind;

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use core::ops::Range;

/// Bytes that can be read at any offset.
pub trait ReadAt: Send + Sync {
    /// The length in bytes.
    fn size(&self) -> io::Result<u64>;

    /// Fills `buf` from `offset`; reading past the end is an error of kind `UnexpectedEof`.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// The first run of bytes at or after `offset` that may hold something other than zeros,
    /// or `None` when only holes follow. Implementations that cannot tell answer "everything".
    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let size = self.size()?;
        Ok((offset < size).then_some(offset..size))
    }
}

/// Bytes that can be written at any offset below [`ReadAt::size`].
pub trait WriteAt: ReadAt {
    /// Writes all of `buf` at `offset`; writing past the end is an error of kind `WriteZero`.
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
}

macro_rules! read_through {
    ($($pointer:ty),*) => {$(
        impl<T: ReadAt + ?Sized> ReadAt for $pointer {
            fn size(&self) -> io::Result<u64> {
                (**self).size()
            }
            fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
                (**self).read_exact_at(buf, offset)
            }
            fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
                (**self).next_data(offset)
            }
        }
    )*};
}

read_through!(&T, Box<T>, Arc<T>);

impl<T: WriteAt + ?Sized> WriteAt for &T {
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        (**self).write_all_at(buf, offset)
    }
}

impl<T: WriteAt + ?Sized> WriteAt for Arc<T> {
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        (**self).write_all_at(buf, offset)
    }
}

/// Checks that `len` bytes at `offset` lie inside `size`, with the error kind the traits promise.
fn in_bounds(offset: u64, len: usize, size: u64, kind: io::ErrorKind) -> io::Result<()> {
    match offset.checked_add(len as u64) {
        Some(end) if end <= size => Ok(()),
        _ => Err(io::Error::new(
            kind,
            format!("{len} bytes at offset {offset} do not fit into {size} bytes"),
        )),
    }
}
