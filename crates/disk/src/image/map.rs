//! A guest's disk from a map of extents: all that differs between formats is how the map is read.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use blk::ReadAt;

use super::OpenError;

/// How far one answer of [`ReadAt::next_data`] reaches, in bytes.
const LOOK_AHEAD: u64 = 64 << 20;
/// The largest piece read from the file at once, in bytes.
const PIECE: u64 = 4 << 20;

/// What a part of the guest's disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Zeros, not stored.
    Zeros,
    /// What the backing image has there.
    Below,
    /// Stored at this offset of the file.
    Stored(u64),
    /// `skip` bytes into the `unit` bytes that come from `packed` compressed bytes at `at`.
    Packed { at: u64, packed: u64, unit: u64, skip: u64 },
}

/// How an image maps the guest's disk to its file.
pub(crate) trait Map: Send + Sync {
    /// Bytes of the guest's disk.
    fn size(&self) -> u64;

    /// What lies at `guest`, which is below the size, and for how many bytes (at least one, perhaps
    /// behind the end of the disk) that goes on.
    fn locate(&self, guest: u64) -> Result<(Place, u64), OpenError>;

    /// Reads stored bytes.
    fn stored(&self, buf: &mut [u8], at: u64) -> Result<(), OpenError>;

    /// Expands a compressed unit into exactly `unit`.
    fn expand(&self, at: u64, packed: u64, unit: &mut [u8]) -> Result<(), OpenError>;

    /// The backing image.
    fn below(&self) -> Option<&dyn ReadAt> {
        None
    }
}

/// The disk that a map describes.
pub(crate) struct Mapped<M> {
    map: M,
    /// The compressed unit that was read in parts last.
    unit: Mutex<Option<(u64, Arc<Vec<u8>>)>>,
}

impl<M: Map> Mapped<M> {
    pub(crate) fn new(map: M) -> Self {
        Self { map, unit: Mutex::new(None) }
    }

    /// [`Map::locate`], cut at the end of the disk.
    fn locate(&self, guest: u64) -> Result<(Place, u64), OpenError> {
        let (place, length) = self.map.locate(guest)?;
        Ok((place, length.clamp(1, self.map.size() - guest)))
    }

    fn below(&self, buf: &mut [u8], guest: u64) -> io::Result<()> {
        let Some(below) = self.map.below() else {
            buf.fill(0);
            return Ok(());
        };
        // A backing image may be shorter.
        let there = below.size()?.saturating_sub(guest).min(buf.len() as u64) as usize;
        let (now, behind) = buf.split_at_mut(there);
        behind.fill(0);
        if now.is_empty() { Ok(()) } else { below.read_exact_at(now, guest) }
    }

    fn packed(&self, buf: &mut [u8], place: Place) -> Result<(), OpenError> {
        let Place::Packed { at, packed, unit, skip } = place else { return Ok(()) };
        if skip == 0 && buf.len() as u64 == unit {
            return self.map.expand(at, packed, buf);
        }
        let known = {
            let last = self.unit.lock().unwrap_or_else(PoisonError::into_inner);
            // Units of different lengths may come from the same bytes.
            let same =
                |(key, bytes): &&(u64, Arc<Vec<u8>>)| *key == at && bytes.len() as u64 == unit;
            last.as_ref().filter(same).map(|(_, bytes)| bytes.clone())
        };
        let bytes = match known {
            Some(bytes) => bytes,
            None => {
                let mut bytes = vec![0; unit as usize];
                self.map.expand(at, packed, &mut bytes)?;
                let bytes = Arc::new(bytes);
                *self.unit.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some((at, bytes.clone()));
                bytes
            }
        };
        let start = skip as usize;
        buf.copy_from_slice(&bytes[start..start + buf.len()]);
        Ok(())
    }

    /// Where the first data at or after `from` starts.
    fn data_start(&self, from: u64) -> io::Result<Option<u64>> {
        let (mut at, mut below) = (from, BelowRun::default());
        while at < self.map.size() {
            let (place, length) = self.locate(at)?;
            match place {
                Place::Zeros => {}
                Place::Below => {
                    if let Some(run) = below.at(&self.map, at)?
                        && run.start < at + length
                    {
                        return Ok(Some(run.start.max(at)));
                    }
                }
                Place::Stored(_) | Place::Packed { .. } => return Ok(Some(at)),
            }
            at += length;
        }
        Ok(None)
    }
}

/// The run of data of the backing image that was found last, so that it is asked for once.
#[derive(Default)]
struct BelowRun {
    known: Option<Option<Range<u64>>>,
}

impl BelowRun {
    /// The first run of the backing image that ends behind `at`; `at` ascends.
    fn at<M: Map>(&mut self, map: &M, at: u64) -> io::Result<Option<Range<u64>>> {
        if let Some(known) = &self.known
            && known.as_ref().is_none_or(|run| run.end > at)
        {
            return Ok(known.clone());
        }
        let run = match map.below() {
            Some(below) => below.next_data(at)?,
            None => None,
        };
        self.known = Some(run.clone());
        Ok(run)
    }
}

impl<M: Map> ReadAt for Mapped<M> {
    fn size(&self) -> io::Result<u64> {
        Ok(self.map.size())
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let size = self.map.size();
        if offset.checked_add(buf.len() as u64).is_none_or(|end| end > size) {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{} bytes at offset {offset} do not fit into {size} bytes", buf.len()),
            ));
        }
        let (mut rest, mut guest) = (buf, offset);
        while !rest.is_empty() {
            let (place, length) = self.locate(guest)?;
            let mut length = length.min(rest.len() as u64);
            if let Place::Stored(at) = place {
                // Neighbours in the guest that are neighbours in the file are one read.
                while length < (rest.len() as u64).min(PIECE) {
                    match self.locate(guest + length)? {
                        (Place::Stored(next), more) if next == at.saturating_add(length) => {
                            length = (length + more).min(rest.len() as u64);
                        }
                        _ => break,
                    }
                }
            }
            let (now, later) = rest.split_at_mut(length as usize);
            match place {
                Place::Zeros => now.fill(0),
                Place::Below => self.below(now, guest)?,
                Place::Stored(at) => self.map.stored(now, at)?,
                Place::Packed { .. } => self.packed(now, place)?,
            }
            guest += length;
            rest = later;
        }
        Ok(())
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let Some(start) = self.data_start(offset)? else { return Ok(None) };
        let (limit, mut end) = (self.map.size().min(start.saturating_add(LOOK_AHEAD)), start);
        let mut below = BelowRun::default();
        while end < limit {
            let (place, length) = self.locate(end)?;
            match place {
                Place::Zeros => break,
                Place::Below => match below.at(&self.map, end)? {
                    Some(run) if run.start <= end && run.end > end => {
                        end = run.end.min(end + length);
                    }
                    _ => break,
                },
                Place::Stored(_) | Place::Packed { .. } => end += length,
            }
        }
        Ok(Some(start..end))
    }
}
