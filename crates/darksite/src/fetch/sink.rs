//! Where what arrives goes: into the store without being copied, or into memory.

use super::{CHUNK, Problem, Refused};
use crate::store::Partial;

/// Takes what arrives, where it lies.
pub(super) trait Sink {
    /// Where the next bytes go; some room there always is.
    fn room(&mut self) -> &mut [u8];
    /// Takes the first `length` bytes of the room.
    fn filled(&mut self, length: usize) -> Result<(), Refused>;
}

/// A file that goes to the store, and has `size` bytes.
pub(super) struct Large<'a, 'b> {
    pub partial: &'a mut Partial<'b>,
    pub size: u64,
}

impl Sink for Large<'_, '_> {
    fn room(&mut self) -> &mut [u8] {
        self.partial.room()
    }

    fn filled(&mut self, length: usize) -> Result<(), Refused> {
        if self.partial.length() + length as u64 > self.size {
            return Err(Problem::TooLong { limit: self.size }.into());
        }
        Ok(self.partial.filled(length)?)
    }
}

/// A file that is kept in memory, of at most `limit` bytes.
pub(super) struct Small {
    pub bytes: Vec<u8>,
    room: Vec<u8>,
    limit: u64,
}

impl Small {
    pub(super) fn new(limit: u64) -> Self {
        Self { bytes: Vec::new(), room: vec![0; CHUNK], limit }
    }
}

impl Sink for Small {
    fn room(&mut self) -> &mut [u8] {
        &mut self.room
    }

    fn filled(&mut self, length: usize) -> Result<(), Refused> {
        if (self.bytes.len() + length) as u64 > self.limit {
            return Err(Problem::TooLong { limit: self.limit }.into());
        }
        self.bytes.extend_from_slice(self.room.get(..length).unwrap_or_default());
        Ok(())
    }
}
