//! Several devices with the same blocks.

use std::io;

use blk::{ReadAt, WriteAt};

/// Writes go to all, reads to the first. What they have in common is as large as the smallest.
#[derive(Debug)]
pub(crate) struct Mirror<'a, W>(pub &'a [W]);

impl<W: WriteAt> Mirror<'_, W> {
    fn first(&self) -> io::Result<&W> {
        self.0.first().ok_or_else(|| io::Error::other("a pool needs a device"))
    }
}

impl<W: WriteAt> ReadAt for Mirror<'_, W> {
    fn size(&self) -> io::Result<u64> {
        let first = self.first()?.size()?;
        self.0.iter().try_fold(first, |size, device| Ok(size.min(device.size()?)))
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.first()?.read_exact_at(buf, offset)
    }
}

impl<W: WriteAt> WriteAt for Mirror<'_, W> {
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.0.iter().try_for_each(|device| device.write_all_at(buf, offset))
    }
}
