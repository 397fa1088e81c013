//! The legacy LZ4 format, which the Linux kernel takes for its initramfs (`lz4 -l`).
//!
//! A magic number, then blocks of 8 MiB, each after its compressed length; it ends where no such
//! length follows. "LZ4 Frame Format Description", "Legacy frame".

use std::io::{self, BufRead, Read};

use super::Peek;

/// The magic number in little-endian order.
pub(crate) const MAGIC: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];

const BLOCK: usize = 8 << 20;
/// Length of the worst compression of a block.
const COMPRESSED_LIMIT: usize = BLOCK + BLOCK / 255 + 16;

/// Decodes one stream.
#[derive(Debug)]
pub(crate) struct Decoder<I> {
    input: I,
    block: Vec<u8>,
    at: usize,
}

impl<I> Decoder<I> {
    pub(crate) fn new(input: I) -> Self {
        Self { input, block: Vec::new(), at: 0 }
    }
}

impl<R: Read> Decoder<&mut Peek<R>> {
    /// Decodes the next block; leaves it empty at the end of the stream.
    fn next_block(&mut self) -> io::Result<()> {
        self.block.clear();
        self.at = 0;
        let length = loop {
            let Ok(word) = <[u8; 4]>::try_from(self.input.peek(4)?) else { return Ok(()) };
            if word == MAGIC {
                self.input.consume(4);
                continue;
            }
            break u32::from_le_bytes(word) as usize;
        };
        // Zeros are padding, and "0707" would be an enormous block.
        if length == 0 || length > COMPRESSED_LIMIT {
            return Ok(());
        }
        self.input.consume(4);
        let mut compressed = Vec::new();
        (&mut *self.input).take(length as u64).read_to_end(&mut compressed)?;
        if compressed.len() < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.block.resize(BLOCK, 0);
        let size = lz4_flex::block::decompress_into(&compressed, &mut self.block)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.block.truncate(size);
        Ok(())
    }
}

impl<R: Read> Read for Decoder<&mut Peek<R>> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.block.len() {
            self.next_block()?;
        }
        let read = (&self.block[self.at..]).read(buffer)?;
        self.at += read;
        Ok(read)
    }
}
