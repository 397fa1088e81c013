//! A buffered reader that can look ahead and knows its position.

use std::io::{self, BufRead, Read};

/// Buffers `R` so that the next bytes can be looked at, however small its reads are.
#[derive(Debug)]
pub struct Peek<R> {
    input: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    offset: u64,
}

impl<R: Read> Peek<R> {
    /// Buffers `input`, whose next byte is byte 0.
    pub fn new(input: R) -> Self {
        Self { input, buffer: vec![0; 1 << 17].into(), start: 0, end: 0, offset: 0 }
    }

    /// Position of the next byte.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next `count` bytes (at most 128 KiB); fewer only at the end.
    pub fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        let count = count.min(self.buffer.len());
        if self.start + count > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        while self.end - self.start < count {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(0) => break,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(&self.buffer[self.start..self.end.min(self.start + count)])
    }
}

impl<R: Read> BufRead for Peek<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            self.end = self.input.read(&mut self.buffer)?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, count: usize) {
        let count = count.min(self.end - self.start);
        self.start += count;
        self.offset += count as u64;
    }
}

impl<R: Read> Read for Peek<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte a read.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = buffer.len().min(1);
            self.0.read(&mut buffer[..count])
        }
    }

    #[test]
    fn looks_ahead_over_small_reads() {
        let data: Vec<u8> = (0..300_000).map(|at| at as u8).collect();
        let mut peek = Peek::new(Slow(&data));
        let mut at = 0;
        while at < data.len() {
            let end = (at + 7).min(data.len());
            assert_eq!(peek.peek(7).unwrap(), &data[at..end]);
            let mut two = [0; 2];
            let read = peek.read(&mut two).unwrap();
            assert_eq!(two[..read], data[at..at + read]);
            at += read;
            assert_eq!(peek.offset(), at as u64);
        }
        assert!(peek.peek(1).unwrap().is_empty());
    }
}
