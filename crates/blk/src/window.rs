//! A part of something larger: a partition of a disk, a member of an archive.

use alloc::format;
use core::ops::Range;

use crate::{ReadAt, WriteAt, in_bounds, io};

/// `size` bytes of `inner` from `start` on, addressed from zero.
#[derive(Debug, Clone, Copy)]
pub struct Window<T> {
    inner: T,
    start: u64,
    size: u64,
}

impl<T: ReadAt> Window<T> {
    /// A window that must lie inside `inner`.
    pub fn new(inner: T, range: Range<u64>) -> io::Result<Self> {
        let size = inner.size()?;
        if range.start > range.end || range.end > size {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("bytes {}..{} do not lie inside {size} bytes", range.start, range.end),
            ));
        }
        Ok(Self { inner, start: range.start, size: range.end - range.start })
    }
}

impl<T: ReadAt> ReadAt for Window<T> {
    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        in_bounds(offset, buf.len(), self.size, io::ErrorKind::UnexpectedEof)?;
        self.inner.read_exact_at(buf, self.start + offset)
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        if offset >= self.size {
            return Ok(None);
        }
        let run = self.inner.next_data(self.start + offset)?;
        let end = self.start + self.size;
        Ok(run
            .filter(|run| run.start < end)
            .map(|run| run.start - self.start..run.end.min(end) - self.start))
    }
}

impl<T: WriteAt> WriteAt for Window<T> {
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        in_bounds(offset, buf.len(), self.size, io::ErrorKind::WriteZero)?;
        self.inner.write_all_at(buf, self.start + offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Memory;

    #[test]
    fn nothing_leaves_the_window() {
        let memory = Memory::zeroed(100);
        let window = Window::new(&memory, 10..20).unwrap();
        window.write_all_at(b"0123456789", 0).unwrap();
        assert_eq!(window.write_all_at(b"01", 9).unwrap_err().kind(), io::ErrorKind::WriteZero);
        assert_eq!(
            window.write_all_at(b"0", u64::MAX).unwrap_err().kind(),
            io::ErrorKind::WriteZero
        );
        let mut buf = [0; 2];
        assert_eq!(
            window.read_exact_at(&mut buf, 9).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
        assert_eq!(&memory.into_bytes()[9..21], b"\x000123456789\0");
        assert!(Window::new(Memory::zeroed(5), 3..6).is_err());
    }
}
