//! Space allocation: each metaslab fills from its start, each copy of a block in another part of
//! the disk.
//!
//! A metaslab's allocated space is always a prefix of it, which one space-map entry describes.
//! Copies 2 and 3 of metadata begin a third and two thirds into the disk, so that one damaged area
//! does not take all copies.
//!
//! Image formats may store equal clusters once. So that they find them, each copy of what has several fills
//! metaslabs of its own, one after the other in the same order; and blocks that are multiples of [`WHOLE`], as
//! all large content that does not compress, lie at multiples of it: kernel and initramfs are on the ESP too.

/// The unit in which large content lies: a cluster of qcow2.
const WHOLE: u64 = 64 << 10;

/// Nothing is left for a block of `needed` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoSpace {
    pub needed: u64,
}

/// Hands out space; offsets count from the start of the allocatable area.
#[derive(Debug)]
pub(crate) struct Allocator {
    metaslab_size: u64,
    /// Bytes allocated in each metaslab.
    allocated: Vec<u64>,
    /// The metaslab that each stream is filling: single blocks, single blocks of whole units, copies 0, 1 and 2.
    current: [usize; 5],
}

impl Allocator {
    /// `count` metaslabs, all free.
    pub(crate) fn new(metaslab_shift: u32, count: usize) -> Self {
        Self {
            metaslab_size: 1 << metaslab_shift,
            allocated: vec![0; count],
            current: [0, 1, 5, 2, 4].map(|sixths| count * sixths / 6),
        }
    }

    /// Allocates `asize` bytes for copy 0, 1 or 2 of `copies`.
    pub(crate) fn allocate(
        &mut self,
        copy: usize,
        copies: usize,
        asize: u64,
    ) -> Result<u64, NoSpace> {
        let stream = match copies {
            1 => usize::from(asize.is_multiple_of(WHOLE)),
            _ => 2 + copy,
        };
        if !self.fits(self.current[stream], asize) {
            self.current[stream] =
                self.next_metaslab(stream, asize).ok_or(NoSpace { needed: asize })?;
        }
        let metaslab = self.current[stream];
        let offset = metaslab as u64 * self.metaslab_size + self.allocated[metaslab];
        self.allocated[metaslab] += asize;
        Ok(offset)
    }

    /// Bytes allocated in each metaslab, from its start.
    pub(crate) fn metaslabs(&self) -> &[u64] {
        &self.allocated
    }

    /// Bytes allocated in all.
    pub(crate) fn total(&self) -> u64 {
        self.allocated.iter().sum()
    }

    fn fits(&self, metaslab: usize, asize: u64) -> bool {
        self.allocated[metaslab] + asize <= self.metaslab_size
    }

    /// The next untouched metaslab after the stream's current one; when there is none, any with room.
    fn next_metaslab(&self, stream: usize, asize: u64) -> Option<usize> {
        let count = self.allocated.len();
        let after = (1..=count).map(|step| (self.current[stream] + step) % count);
        after
            .clone()
            .find(|&m| self.allocated[m] == 0 && !self.current.contains(&m) && self.fits(m, asize))
            .or_else(|| after.clone().find(|&m| self.fits(m, asize)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_never_straddle_and_everything_can_be_used() {
        let mut alloc = Allocator::new(17, 16);
        let mut seen = std::collections::HashSet::new();
        let mut total = 0;
        for step in 0.. {
            let asize = 4096 * (1 + step % 9);
            let (copy, copies) = [(0, 1), (0, 3), (1, 3), (2, 3)][step as usize % 4];
            match alloc.allocate(copy, copies, asize) {
                Ok(offset) => {
                    assert_eq!(offset >> 17, (offset + asize - 1) >> 17);
                    for unit in offset / 4096..(offset + asize) / 4096 {
                        assert!(seen.insert(unit));
                    }
                    total += asize;
                }
                Err(NoSpace { needed }) => {
                    assert_eq!(needed, asize);
                    break;
                }
            }
        }
        assert_eq!(alloc.total(), total);
        assert!(total > 15 << 17);
    }
}
