//! Reading from vdevs: the copies of mirrors one after the other, removed vdevs through their
//! mapping.
//!
//! Offsets are those of block pointers: bytes in the allocatable area of a top-level vdev.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::fmt;

use blk::{RangeSet, ReadAt};

use super::config::VdevConfig;
use super::error::{CopyFault, CopyProblem};
use super::missing::Missing;
use crate::blkptr::Dva;
use crate::label::DATA_START;
use crate::prelude::*;
use crate::raidz::{self, Column, Geometry};

/// How deep vdevs may lie in each other: `replacing` in `spare` in `mirror`.
const MAX_DEPTH: usize = 8;
/// How often a block may have been moved by removals of vdevs.
const MAX_MOVES: usize = 32;
/// How many copies of a piece of a block are looked at.
const MAX_COPIES: usize = 32;
/// How many ways to put a block together from copies of its pieces are tried at most
/// (`zfs_reconstruct_indirect_combinations_max`).
const MAX_COMBINATIONS: usize = 256;

/// A disk or file of the pool.
#[derive(Clone)]
pub(crate) struct Leaf {
    pub guid: u64,
    /// Its name for messages: the caller's, or the path in the configuration if it is absent.
    pub name: String,
    pub device: Option<Arc<dyn ReadAt>>,
}

/// A vdev that can be read from.
pub(crate) enum Vdev {
    Leaf(Leaf),
    /// All children hold the same bytes.
    Mirror(Vec<Vdev>),
    /// Blocks are striped over the children, with parity.
    Raidz(Geometry, Vec<Vdev>),
    /// A removed vdev.
    Indirect(Mapping),
    /// Nothing that could be read: `hole`, `missing`, an unknown kind.
    Absent(String),
}

impl fmt::Debug for Vdev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leaf(leaf) => f.write_str(&leaf.name),
            Self::Mirror(children) | Self::Raidz(_, children) => {
                f.debug_list().entries(children).finish()
            }
            Self::Indirect(_) => f.write_str("indirect"),
            Self::Absent(name) => write!(f, "absent {name}"),
        }
    }
}

/// A part of a block: vdev, offset and length.
pub(crate) type Piece = (u64, u64, u64);

/// Where the blocks of a removed vdev are now, sorted by where they were.
#[derive(Debug, Default)]
pub(crate) struct Mapping(Vec<(u64, Dva)>);

impl Mapping {
    /// From entries of 24 bytes (`vdev_indirect_mapping_entry_phys_t`), little-endian.
    pub(crate) fn parse(bytes: &[u8], count: usize) -> Self {
        let entries = bytes.chunks_exact(24).take(count).map(|entry| {
            let words = entry.as_chunks::<8>().0;
            let word = |at: usize| words.get(at).map_or(0, |word| u64::from_le_bytes(*word));
            // The highest bit of the source is not part of it.
            (word(0) << 1 >> 1 << 9, Dva::new([word(1), word(2)]))
        });
        let mut entries: Vec<_> = entries.collect();
        entries.sort_unstable_by_key(|(from, _)| *from);
        Self(entries)
    }

    /// The pieces that make up `length` bytes at `offset`.
    fn pieces(&self, mut offset: u64, mut length: u64) -> Option<Vec<Piece>> {
        let mut pieces = Vec::new();
        while length > 0 {
            let at = self.0.partition_point(|(from, _)| *from <= offset).checked_sub(1)?;
            let (from, to) = self.0.get(at)?;
            let into = offset - from;
            let left = to.asize().checked_sub(into).filter(|left| *left > 0)?;
            let piece = left.min(length);
            pieces.push((to.vdev(), to.offset().checked_add(into)?, piece));
            offset = offset.checked_add(piece)?;
            length -= piece;
        }
        Some(pieces)
    }
}

/// The top-level vdevs of a pool, by number.
#[derive(Debug, Default)]
pub(crate) struct Vdevs {
    pub tops: Vec<Vdev>,
}

/// Judges bytes that were read: the right ones or not.
pub(crate) type Judge<'a> = &'a mut dyn FnMut(&[u8]) -> bool;

impl Vdev {
    /// A vdev of the configuration. `find` gives the device of a GUID.
    pub(crate) fn new(
        config: &VdevConfig,
        find: &dyn Fn(u64) -> Option<Leaf>,
        depth: usize,
    ) -> Result<Self, String> {
        if depth > MAX_DEPTH {
            return Err("nested too deeply".to_owned());
        }
        let children = || config.children.iter().map(|child| Self::new(child, find, depth + 1));
        match &*config.kind {
            "disk" | "file" => Ok(Self::Leaf(find(config.guid).unwrap_or_else(|| Leaf {
                guid: config.guid,
                name: config.name(),
                device: None,
            }))),
            "mirror" | "replacing" | "spare" => {
                Ok(Self::Mirror(children().collect::<Result<_, _>>()?))
            }
            "raidz" if config.expanded => Err("expanded raidz".to_owned()),
            "raidz" => {
                let geometry = Geometry::new(config.children.len(), config.parity, config.ashift)
                    .map_err(|error| error.to_string())?;
                Ok(Self::Raidz(geometry, children().collect::<Result<_, _>>()?))
            }
            "hole" | "missing" | "indirect" => Ok(Self::Absent(config.name())),
            kind => Err(kind.to_owned()),
        }
    }

    /// Reads `length` bytes at `offset` until `judge` accepts what one of the copies says. What was
    /// wrong with those before goes to `faults`. Parity that is not needed is read and compared if
    /// `thorough`.
    fn read(
        &self,
        vdevs: &Vdevs,
        (offset, length): (u64, u64),
        judge: Judge<'_>,
        faults: &mut Vec<CopyFault>,
        thorough: bool,
    ) -> Option<Vec<u8>> {
        match self {
            Self::Leaf(leaf) => leaf.read(offset, length, judge, faults),
            Self::Mirror(children) => children
                .iter()
                .find_map(|child| child.read(vdevs, (offset, length), judge, faults, thorough)),
            Self::Raidz(geometry, children) => {
                read_raidz(vdevs, (geometry, children), (offset, length), judge, faults, thorough)
            }
            Self::Indirect(mapping) => match vdevs.resolve(mapping, offset, length).as_deref() {
                Some(&[(vdev, offset, length)]) => {
                    let top = vdevs.top(vdev, (offset, length), faults)?;
                    top.read(vdevs, (offset, length), judge, faults, thorough)
                }
                Some(pieces) => read_pieces(vdevs, pieces, judge, faults),
                None => {
                    let problem = CopyProblem::Content("the removed vdev has no such block".into());
                    let device = "removed vdev".to_owned();
                    faults.push(CopyFault { device, offset, length, problem });
                    None
                }
            },
            Self::Absent(name) => {
                let (device, problem) = (name.clone(), CopyProblem::Absent);
                faults.push(CopyFault { device, offset, length, problem });
                None
            }
        }
    }

    /// Its name for messages.
    fn name(&self) -> String {
        match self {
            Self::Leaf(leaf) => leaf.name.clone(),
            Self::Absent(name) => name.clone(),
            Self::Mirror(_) | Self::Raidz(..) | Self::Indirect(_) => {
                let names: Vec<_> = self.leaves().map(|leaf| &*leaf.name).collect();
                names.join("+")
            }
        }
    }

    /// The disks and files below.
    pub(crate) fn leaves(&self) -> impl Iterator<Item = &Leaf> {
        let mut todo = vec![self];
        core::iter::from_fn(move || {
            loop {
                match todo.pop()? {
                    Self::Leaf(leaf) => return Some(leaf),
                    Self::Mirror(children) | Self::Raidz(_, children) => {
                        todo.extend(children.iter().rev());
                    }
                    Self::Indirect(_) | Self::Absent(_) => {}
                }
            }
        })
    }

    /// How many copies of everything there are.
    fn copies(&self) -> usize {
        match self {
            Self::Mirror(children) => children.iter().map(Self::copies).sum(),
            _ => 1,
        }
    }

    /// The name of copy `index` for messages.
    fn copy_name(&self, index: usize) -> String {
        match self {
            Self::Mirror(_) => self.leaves().nth(index).map(|leaf| leaf.name.clone()),
            _ => None,
        }
        .unwrap_or_else(|| self.name())
    }

    /// Reads copy `index` without judging it; `None` if there is none.
    fn read_copy(
        &self,
        vdevs: &Vdevs,
        index: usize,
        (offset, length): (u64, u64),
    ) -> Option<Result<Vec<u8>, CopyFault>> {
        if let Self::Mirror(children) = self {
            let mut index = index;
            for child in children {
                match index.checked_sub(child.copies()) {
                    Some(rest) => index = rest,
                    None => return child.read_copy(vdevs, index, (offset, length)),
                }
            }
            return None;
        }
        if index > 0 {
            return None;
        }
        let mut faults = Vec::new();
        let read = self.read(vdevs, (offset, length), &mut |_| true, &mut faults, false);
        match (read, faults.pop()) {
            (Some(bytes), _) => Some(Ok(bytes)),
            (None, fault) => fault.map(Err),
        }
    }
}

/// Reads a block of a raidz vdev, reconstructing what is absent or wrong.
fn read_raidz(
    vdevs: &Vdevs,
    (geometry, children): (&Geometry, &[Vdev]),
    (offset, length): (u64, u64),
    judge: Judge<'_>,
    faults: &mut Vec<CopyFault>,
    thorough: bool,
) -> Option<Vec<u8>> {
    let name = || children.iter().map(Vdev::name).collect::<Vec<_>>().join("+");
    let map = match geometry.map(offset, length) {
        Ok(map) => map,
        Err(error) => {
            let (device, problem) = (name(), CopyProblem::Content(error.to_string()));
            faults.push(CopyFault { device, offset, length, problem });
            return None;
        }
    };
    let mut unreadable = Vec::new();
    let mut fetch = |column: &Column, buffer: &mut [u8]| {
        let at = (column.offset, column.length);
        let child = children.get(column.child);
        let bytes =
            child.and_then(|child| child.read(vdevs, at, &mut |_| true, &mut unreadable, false));
        match bytes {
            Some(bytes) if bytes.len() == buffer.len() => {
                buffer.copy_from_slice(&bytes);
                true
            }
            _ => false,
        }
    };
    let mut judge = |data: &[u8]| data.get(..length as usize).is_some_and(&mut *judge);
    let outcome = raidz::read(&map, thorough, &mut fetch, &mut judge);
    faults.append(&mut unreadable);
    for fault in outcome.faults.iter().filter(|fault| fault.readable) {
        faults.push(CopyFault {
            device: children.get(fault.column.child).map(Vdev::name).unwrap_or_default(),
            offset: fault.column.offset.saturating_add(DATA_START),
            length: fault.column.length,
            problem: CopyProblem::Checksum,
        });
    }
    let Some(mut data) = outcome.data else {
        let problem = CopyProblem::Checksum;
        faults.push(CopyFault { device: name(), offset, length, problem });
        return None;
    };
    data.truncate(length as usize);
    Some(data)
}

/// What copies of a piece of a block say, and which copies those are.
struct Content {
    bytes: Vec<u8>,
    copies: Vec<usize>,
}

/// Reads a block that lies in pieces. Pieces have no checksums of their own: what their copies say is
/// put together in one way after the other until the block is right, and then it is known which of
/// them were bad.
///
/// Source: OpenZFS `module/zfs/vdev_indirect.c` (`vdev_indirect_io_start`).
fn read_pieces(
    vdevs: &Vdevs,
    pieces: &[Piece],
    judge: Judge<'_>,
    faults: &mut Vec<CopyFault>,
) -> Option<Vec<u8>> {
    let mut all: Vec<(&Vdev, Vec<Content>)> = Vec::with_capacity(pieces.len());
    for &(vdev, offset, length) in pieces {
        let top = vdevs.top(vdev, (offset, length), faults)?;
        let mut contents: Vec<Content> = Vec::new();
        for index in 0..top.copies().min(MAX_COPIES) {
            match top.read_copy(vdevs, index, (offset, length)) {
                Some(Ok(bytes)) => match contents.iter_mut().find(|known| known.bytes == bytes) {
                    Some(known) => known.copies.push(index),
                    None => contents.push(Content { bytes, copies: vec![index] }),
                },
                Some(Err(fault)) => faults.push(fault),
                None => {}
            }
        }
        if contents.is_empty() {
            return None;
        }
        all.push((top, contents));
    }
    // First what one disk has of all of them.
    let of_copy = |copy: usize| -> Vec<usize> {
        let having = |content: &Content| content.copies.contains(&copy);
        all.iter().map(|(_, contents)| contents.iter().position(having).unwrap_or(0)).collect()
    };
    let copies = all.iter().flat_map(|(_, contents)| contents).flat_map(|content| &content.copies);
    let copies = copies.max().map_or(0, |last| last + 1);
    let ways = all.iter().fold(1, |ways: usize, (_, contents)| ways.saturating_mul(contents.len()));
    let mixed = |mut way: usize| -> Vec<usize> {
        let digit = |(_, contents): &(&Vdev, Vec<Content>)| {
            let digit = way % contents.len();
            way /= contents.len();
            digit
        };
        all.iter().map(digit).collect()
    };
    let mut block = Vec::new();
    let right = (0..copies).map(of_copy).chain((0..ways.min(MAX_COMBINATIONS)).map(mixed)).find(
        |chosen: &Vec<usize>| {
            block.clear();
            for ((_, contents), &at) in all.iter().zip(chosen) {
                let bytes = contents.get(at).map(|content| content.bytes.as_slice());
                block.extend_from_slice(bytes.unwrap_or_default());
            }
            judge(&block)
        },
    );
    let Some(chosen) = right else {
        let (vdev, offset, length) = *pieces.first()?;
        let (device, problem) = (format!("vdev {vdev} and others"), CopyProblem::Checksum);
        faults.push(CopyFault { device, offset, length, problem });
        return None;
    };
    for (((top, contents), chosen), (_, offset, length)) in all.iter().zip(chosen).zip(pieces) {
        let others = contents.iter().enumerate().filter(|(at, _)| *at != chosen);
        for &copy in others.flat_map(|(_, content)| &content.copies) {
            let (device, problem) = (top.copy_name(copy), CopyProblem::Checksum);
            let offset = offset.saturating_add(DATA_START);
            faults.push(CopyFault { device, offset, length: *length, problem });
        }
    }
    Some(block)
}

impl Leaf {
    fn read(
        &self,
        offset: u64,
        length: u64,
        judge: Judge<'_>,
        faults: &mut Vec<CopyFault>,
    ) -> Option<Vec<u8>> {
        let at = offset.saturating_add(DATA_START);
        let mut fault = |problem| {
            faults.push(CopyFault { device: self.name.clone(), offset: at, length, problem });
            None
        };
        let Some(device) = &self.device else {
            return fault(CopyProblem::Absent);
        };
        let mut bytes = vec![0; length as usize];
        match device.read_exact_at(&mut bytes, at) {
            Err(error) => fault(CopyProblem::from(&error)),
            Ok(()) if judge(&bytes) => Some(bytes),
            Ok(()) => fault(CopyProblem::Checksum),
        }
    }
}

impl Vdevs {
    fn top(
        &self,
        vdev: u64,
        (offset, length): (u64, u64),
        faults: &mut Vec<CopyFault>,
    ) -> Option<&Vdev> {
        let top = usize::try_from(vdev).ok().and_then(|at| self.tops.get(at));
        if top.is_none() {
            let problem = CopyProblem::Content("there is no such vdev".to_owned());
            faults.push(CopyFault { device: format!("vdev {vdev}"), offset, length, problem });
        }
        top
    }

    /// The mapping of a vdev that was removed.
    fn mapping(&self, vdev: u64) -> Option<&Mapping> {
        match usize::try_from(vdev).ok().and_then(|at| self.tops.get(at)) {
            Some(Vdev::Indirect(mapping)) => Some(mapping),
            _ => None,
        }
    }

    /// Where `length` bytes at `offset` of a removed vdev are now: in order, and not on others that
    /// were removed. `None` if a mapping does not tell.
    fn resolve(&self, mapping: &Mapping, offset: u64, length: u64) -> Option<Vec<Piece>> {
        let mut found: Vec<Piece> = Vec::new();
        let below = |mapping: &Mapping, offset: u64, length: u64, moves: usize| {
            let pieces = mapping.pieces(offset, length)?;
            Some(pieces.into_iter().rev().map(move |piece| (piece, moves)))
        };
        let mut todo: Vec<_> = below(mapping, offset, length, 1)?.collect();
        while let Some(((vdev, offset, length), moves)) = todo.pop() {
            match (self.mapping(vdev), found.last_mut()) {
                (Some(_), _) if moves >= MAX_MOVES => return None,
                (Some(mapping), _) => todo.extend(below(mapping, offset, length, moves + 1)?),
                // What lies together is read together.
                (None, Some((last, start, size)))
                    if *last == vdev && start.checked_add(*size) == Some(offset) =>
                {
                    *size = size.saturating_add(length);
                }
                (None, _) => found.push((vdev, offset, length)),
            }
        }
        Some(found)
    }

    /// Where the bytes at a place of a removed vdev are now. `None` if the vdev was not removed.
    pub(crate) fn moved(&self, vdev: u64, offset: u64, length: u64) -> Option<Vec<Piece>> {
        let mapping = self.mapping(vdev)?;
        Some(self.resolve(mapping, offset, length).unwrap_or_default())
    }

    /// Reads the first `length` bytes at `dva` until `judge` accepts what one of the copies says.
    pub(crate) fn read(
        &self,
        dva: Dva,
        length: u64,
        judge: Judge<'_>,
        faults: &mut Vec<CopyFault>,
    ) -> Option<Vec<u8>> {
        let at = (dva.offset(), length);
        self.top(dva.vdev(), at, faults)?.read(self, at, judge, faults, false)
    }

    /// Reads every copy at `dva`, gives each to `judge` and tells what was wrong with which.
    pub(crate) fn scrub(
        &self,
        dva: Dva,
        length: u64,
        judge: Judge<'_>,
        faults: &mut Vec<CopyFault>,
    ) {
        let at = (dva.offset(), length);
        let Some(top) = self.top(dva.vdev(), at, faults) else { return };
        top.scrub(self, at, judge, faults);
    }
}

impl Vdev {
    fn scrub(&self, vdevs: &Vdevs, at: (u64, u64), judge: Judge<'_>, faults: &mut Vec<CopyFault>) {
        match self {
            Self::Mirror(children) => {
                children.iter().for_each(|child| child.scrub(vdevs, at, judge, faults));
            }
            Self::Indirect(mapping) => match vdevs.resolve(mapping, at.0, at.1).as_deref() {
                Some(&[(vdev, offset, length)]) => {
                    if let Some(top) = vdevs.top(vdev, (offset, length), faults) {
                        top.scrub(vdevs, (offset, length), judge, faults);
                    }
                }
                // Of pieces all copies are read anyway.
                _ => {
                    self.read(vdevs, at, judge, faults, true);
                }
            },
            _ => {
                self.read(vdevs, at, judge, faults, true);
            }
        }
    }

    /// Puts the disks that lack nothing before others in each mirror: where raidz reads a column, no
    /// checksum tells a disk that is being replaced from the one that takes its place.
    pub(crate) fn prefer_whole(&mut self, missing: &Missing) {
        match self {
            Self::Mirror(children) => {
                children.sort_by_key(|child| {
                    child.leaves().any(|leaf| missing.contains_key(&leaf.guid))
                });
                children.iter_mut().for_each(|child| child.prefer_whole(missing));
            }
            Self::Raidz(_, children) => {
                children.iter_mut().for_each(|child| child.prefer_whole(missing));
            }
            Self::Leaf(_) | Self::Indirect(_) | Self::Absent(_) => {}
        }
    }

    /// Adds what each vdev lacks, by the names that faults have.
    pub(crate) fn name_missing(&self, missing: &Missing, named: &mut BTreeMap<String, RangeSet>) {
        let txgs = self.leaves().filter_map(|leaf| missing.get(&leaf.guid));
        let mut txgs = txgs.flat_map(RangeSet::iter).peekable();
        if txgs.peek().is_some() {
            named.entry(self.name()).or_default().extend(txgs);
        }
        if let Self::Mirror(children) | Self::Raidz(_, children) = self {
            children.iter().for_each(|child| child.name_missing(missing, named));
        }
    }
}

#[cfg(test)]
mod tests {
    use blk::{Memory, WriteAt};

    use super::*;

    /// 1 KiB at 0 of a removed vdev lies in two pieces on a mirror, the second before the first.
    #[test]
    fn pieces_of_a_block_are_put_together_from_what_is_good_of_each() {
        let disk = |name: &str| {
            let memory = Arc::new(Memory::zeroed((DATA_START + 4096) as usize));
            memory.write_all_at(&[1; 512], DATA_START + 2048).unwrap();
            memory.write_all_at(&[2; 512], DATA_START + 512).unwrap();
            let device: Arc<dyn ReadAt> = memory.clone();
            (memory, Vdev::Leaf(Leaf { guid: 0, name: name.to_owned(), device: Some(device) }))
        };
        let ((a, one), (b, two)) = (disk("a"), disk("b"));
        let entry = |from: u64, to: u64| [from >> 9, 1, to >> 9].map(u64::to_le_bytes).concat();
        let mapping = [entry(0, 2048), entry(512, 512)].concat();
        let mapping = Vdev::Indirect(Mapping::parse(&mapping, 2));
        let vdevs = Vdevs { tops: vec![Vdev::Mirror(vec![one, two]), mapping] };
        let dva = Dva::new([1 << 32 | 2, 0]);
        let expected = [[1; 512], [2; 512]].concat();
        let read = |faults: &mut Vec<CopyFault>| {
            vdevs.read(dva, 1024, &mut |bytes| *bytes == *expected, faults)
        };
        let mut faults = Vec::new();
        assert_eq!(vdevs.moved(1, 0, 1024), Some(vec![(0, 2048, 512), (0, 512, 512)]));
        assert_eq!(read(&mut faults).as_deref(), Some(&*expected));
        assert!(faults.is_empty(), "{faults:?}");
        // No disk has both pieces any more.
        a.write_all_at(&[9], DATA_START + 2048).unwrap();
        b.write_all_at(&[9], DATA_START + 512).unwrap();
        assert_eq!(read(&mut faults).as_deref(), Some(&*expected));
        let told: Vec<_> = faults.iter().map(|fault| (&*fault.device, fault.offset)).collect();
        assert_eq!(told, [("a", DATA_START + 2048), ("b", DATA_START + 512)]);
        a.write_all_at(&[9], DATA_START + 512).unwrap();
        assert_eq!(read(&mut faults), None);
        // What no mapping tells.
        assert_eq!(vdevs.moved(1, 512, 1024), Some(Vec::new()));
    }
}
