//! The entries of space maps.
//!
//! Source: the drawings in OpenZFS `include/sys/space_map.h`.

/// What an entry tells of its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// It was allocated.
    Allocate,
    /// It was freed.
    Free,
}

/// One entry of a space map, in units of the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// What happened.
    pub kind: EntryKind,
    /// The top-level vdev; entries of one word have none.
    pub vdev: Option<u64>,
    /// First unit, counted from the start of the map: below 2^63.
    pub offset: u64,
    /// Number of units, 1 to 2^36.
    pub run: u64,
}

/// A long entry without its second word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HalfEntry;

/// The entries in the words of one block. Debugging entries, which also fill up blocks, are left
/// out.
pub fn entries(words: impl Iterator<Item = u64>) -> impl Iterator<Item = Result<Entry, HalfEntry>> {
    let mut words = words;
    let kind = |bit: u64| if bit & 1 == 0 { EntryKind::Allocate } else { EntryKind::Free };
    core::iter::from_fn(move || {
        loop {
            let word = words.next()?;
            match word >> 62 {
                2 => {}
                3 => {
                    let Some(second) = words.next() else { return Some(Err(HalfEntry)) };
                    return Some(Ok(Entry {
                        kind: kind(second >> 63),
                        vdev: Some(word & 0xff_ffff),
                        offset: second << 1 >> 1,
                        run: (word >> 24 & 0xf_ffff_ffff) + 1,
                    }));
                }
                _ => {
                    return Some(Ok(Entry {
                        kind: kind(word >> 15),
                        vdev: None,
                        offset: word >> 16,
                        run: (word & 0x7fff) + 1,
                    }));
                }
            }
        }
    })
}
