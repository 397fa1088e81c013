//! Reading from vdevs: the copies of mirrors one after the other, removed vdevs through their
//! mapping.
//!
//! Offsets are those of block pointers: bytes in the allocatable area of a top-level vdev.

use std::fmt;
use std::sync::Arc;

use blk::ReadAt;

use super::config::VdevConfig;
use super::error::{CopyFault, CopyProblem};
use crate::blkptr::Dva;
use crate::label::DATA_START;
use crate::raidz::{self, Column, Geometry};

/// How deep vdevs may lie in each other: `replacing` in `spare` in `mirror`.
const MAX_DEPTH: usize = 8;
const THOROUGH: How = How { moves: 0, thorough: true };
/// How often a block may have been moved by removals of vdevs.
const MAX_MOVES: usize = 32;

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

    /// The pieces that make up `length` bytes at `offset`: vdev, offset and length of each.
    fn pieces(&self, mut offset: u64, mut length: u64) -> Option<Vec<(u64, u64, u64)>> {
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

/// How to read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct How {
    /// How often the block was found to have been moved.
    moves: usize,
    /// Whether parity is read and compared where it is not needed.
    thorough: bool,
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
    /// wrong with those before goes to `faults`.
    fn read(
        &self,
        vdevs: &Vdevs,
        (offset, length): (u64, u64),
        judge: Judge<'_>,
        faults: &mut Vec<CopyFault>,
        how: How,
    ) -> Option<Vec<u8>> {
        match self {
            Self::Leaf(leaf) => leaf.read(offset, length, judge, faults),
            Self::Mirror(children) => children
                .iter()
                .find_map(|child| child.read(vdevs, (offset, length), judge, faults, how)),
            Self::Raidz(geometry, children) => {
                read_raidz(vdevs, (geometry, children), (offset, length), judge, faults, how)
            }
            Self::Indirect(mapping) => {
                let Some(pieces) = mapping.pieces(offset, length).filter(|_| how.moves < MAX_MOVES)
                else {
                    let problem = CopyProblem::Content("the removed vdev has no such block".into());
                    let device = "removed vdev".to_owned();
                    faults.push(CopyFault { device, offset, length, problem });
                    return None;
                };
                read_pieces(vdevs, &pieces, judge, faults, How { moves: how.moves + 1, ..how })
            }
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
        std::iter::from_fn(move || {
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

    /// Reads copy `index` without judging it; `None` if there is none.
    fn read_copy(
        &self,
        vdevs: &Vdevs,
        index: usize,
        (offset, length): (u64, u64),
        how: How,
    ) -> Option<Result<Vec<u8>, CopyFault>> {
        if let Self::Mirror(children) = self {
            let mut index = index;
            for child in children {
                match index.checked_sub(child.copies()) {
                    Some(rest) => index = rest,
                    None => return child.read_copy(vdevs, index, (offset, length), how),
                }
            }
            return None;
        }
        if index > 0 {
            return None;
        }
        let mut faults = Vec::new();
        let read = self.read(vdevs, (offset, length), &mut |_| true, &mut faults, how);
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
    how: How,
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
            child.and_then(|child| child.read(vdevs, at, &mut |_| true, &mut unreadable, how));
        match bytes {
            Some(bytes) if bytes.len() == buffer.len() => {
                buffer.copy_from_slice(&bytes);
                true
            }
            _ => false,
        }
    };
    let mut judge = |data: &[u8]| data.get(..length as usize).is_some_and(&mut *judge);
    let outcome = raidz::read(&map, how.thorough, &mut fetch, &mut judge);
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

/// Reads a block that lies in pieces. Pieces have no checksums of their own, so copy `n` of each
/// makes copy `n` of the block.
fn read_pieces(
    vdevs: &Vdevs,
    pieces: &[(u64, u64, u64)],
    judge: Judge<'_>,
    faults: &mut Vec<CopyFault>,
    how: How,
) -> Option<Vec<u8>> {
    if let [(vdev, offset, length)] = *pieces {
        let top = vdevs.top(vdev, (offset, length), faults)?;
        return top.read(vdevs, (offset, length), judge, faults, how);
    }
    for index in 0..MAX_MOVES {
        let mut block = Vec::new();
        let mut any = false;
        for &(vdev, offset, length) in pieces {
            let top = vdevs.top(vdev, (offset, length), faults)?;
            let copies = top.copies().max(1);
            any |= index < copies;
            match top.read_copy(vdevs, index % copies, (offset, length), how) {
                Some(Ok(bytes)) => block.extend_from_slice(&bytes),
                Some(Err(fault)) => {
                    faults.push(fault);
                    break;
                }
                None => break,
            }
        }
        let whole: u64 = pieces.iter().map(|(_, _, length)| length).sum();
        if block.len() as u64 == whole {
            if judge(&block) {
                return Some(block);
            }
            let (vdev, offset, length) = *pieces.first()?;
            let device = format!("vdev {vdev} and others");
            let problem = CopyProblem::Checksum;
            faults.push(CopyFault { device, offset, length, problem });
        }
        if !any {
            break;
        }
    }
    None
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

    /// Where the bytes at a place of a removed vdev are now: vdev, offset and length of each piece.
    /// `None` if the vdev was not removed.
    pub(crate) fn moved(
        &self,
        vdev: u64,
        offset: u64,
        length: u64,
    ) -> Option<Vec<(u64, u64, u64)>> {
        let removed = |vdev: u64| match usize::try_from(vdev).ok().and_then(|at| self.tops.get(at))
        {
            Some(Vdev::Indirect(mapping)) => Some(mapping),
            _ => None,
        };
        removed(vdev)?;
        let (mut found, mut todo) = (Vec::new(), vec![(vdev, offset, length, 0)]);
        while let Some((vdev, offset, length, moves)) = todo.pop() {
            match removed(vdev).filter(|_| moves < MAX_MOVES) {
                None => found.push((vdev, offset, length)),
                Some(mapping) => {
                    let pieces = mapping.pieces(offset, length).unwrap_or_default();
                    todo.extend(pieces.into_iter().map(|(v, o, l)| (v, o, l, moves + 1)));
                }
            }
        }
        Some(found)
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
        self.top(dva.vdev(), at, faults)?.read(self, at, judge, faults, How::default())
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
            Self::Indirect(mapping) => match mapping.pieces(at.0, at.1).as_deref() {
                Some(&[(vdev, offset, length)]) => {
                    if let Some(top) = vdevs.top(vdev, (offset, length), faults)
                        && !matches!(top, Self::Indirect(_))
                    {
                        top.scrub(vdevs, (offset, length), judge, faults);
                    } else {
                        self.read(vdevs, at, judge, faults, THOROUGH);
                    }
                }
                _ => {
                    self.read(vdevs, at, judge, faults, THOROUGH);
                }
            },
            _ => {
                self.read(vdevs, at, judge, faults, THOROUGH);
            }
        }
    }
}
