//! Regular files and block devices through the operating system.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use rustix::fs::{SeekFrom as RawSeek, seek};
use rustix::io::Errno;

use crate::{ReadAt, WriteAt};

impl ReadAt for File {
    fn size(&self) -> io::Result<u64> {
        let metadata = self.metadata()?;
        if metadata.is_file() {
            return Ok(metadata.len());
        }
        // A block device has length 0 in its metadata; its end tells.
        (&mut &*self).seek(SeekFrom::End(0))
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buf, offset)
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let size = self.size()?;
        if offset >= size {
            return Ok(None);
        }
        let start = match seek(self, RawSeek::Data(offset)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(None),
            // The file system cannot tell: everything may be data.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some(offset..size)),
            Err(error) => return Err(error.into()),
        };
        let end = seek(self, RawSeek::Hole(start))?;
        Ok(Some(start..end.min(size)))
    }
}

impl WriteAt for File {
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, buf, offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparse_file_tells_its_data() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 40).unwrap();
        WriteAt::write_all_at(&file, b"x", 1 << 30).unwrap();
        let run = file.next_data(0).unwrap().unwrap();
        assert!(run.contains(&(1 << 30)) && run.end - run.start <= 1 << 20, "{run:?}");
        assert_eq!(file.next_data(run.end).unwrap(), None);
        assert_eq!(ReadAt::size(&file).unwrap(), 1 << 40);
    }
}
