//! Opens a sparse extent, or the files that a descriptor names.

use std::io;
use std::ops::Range;

use blk::{ReadAt, Window};

use super::descriptor::{Descriptor, Kind, MAX_DESCRIPTOR};
use super::format::{DESCRIPTOR_LINE, MAGIC, MAGIC_COWD, SECTOR};
use super::sparse::{MAX_DIRECTORY, Sparse};
use crate::image::{Companions, Format, Host, Mapped, OpenError};

/// Whether a file that starts with `start` is one.
pub(crate) fn is_vmdk(start: &[u8]) -> bool {
    start.starts_with(&MAGIC)
        || start.starts_with(&MAGIC_COWD)
        || start.trim_ascii_start().starts_with(DESCRIPTOR_LINE.as_bytes())
}

/// Opens an image.
pub(crate) fn open(
    file: Box<dyn ReadAt>,
    companions: &dyn Companions,
) -> Result<Box<dyn ReadAt>, OpenError> {
    let host = Host::new(file, Format::Vmdk)?;
    let mut magic = [0; 4];
    host.read_padded(&mut magic, 0)?;
    match magic {
        MAGIC => {
            let header = Sparse::header(&host)?;
            let size = header.descriptor_size.get().saturating_mul(SECTOR);
            if header.descriptor_offset.get() != 0 && size != 0 {
                let at = header.descriptor_offset.get().saturating_mul(SECTOR);
                let fits = size <= MAX_DESCRIPTOR;
                host.require(fits, 36, "the descriptor's size", size, "that is too long")?;
                // What it says of extents is this file; only a parent matters.
                Descriptor::parse(&host.bytes(at, size, "the descriptor")?)?;
            }
            Ok(Box::new(Mapped::new(Sparse::open(host, &mut { MAX_DIRECTORY })?)))
        }
        MAGIC_COWD => Err(host.unsupported(
            "is a sparse one of an old ESX; convert it with vmkfstools or qemu-img first",
        )),
        _ => open_descriptor(&host, companions),
    }
}

fn open_descriptor(host: &Host, companions: &dyn Companions) -> Result<Box<dyn ReadAt>, OpenError> {
    if host.size() > MAX_DESCRIPTOR {
        return Err(host.unsupported("is a descriptor of more than 1 MiB"));
    }
    let descriptor = Descriptor::parse(&host.bytes(0, host.size(), "the descriptor")?)?;
    if descriptor.extents.is_empty() {
        let kind = &descriptor.create_type;
        return Err(host.unsupported(format!("is a descriptor ({kind:?}) without extents")));
    }
    let mut parts = Vec::new();
    let (mut end, mut room) = (0_u64, MAX_DIRECTORY);
    for extent in descriptor.extents {
        let size = extent.sectors.checked_mul(SECTOR);
        let next = size.and_then(|size| end.checked_add(size));
        let (Some(size), Some(next)) = (size, next) else {
            return Err(host.unsupported("has extents that are larger than any disk"));
        };
        let open = |name: &str| {
            companions.beside(name).map_err(|source| OpenError::Companion {
                format: Format::Vmdk,
                name: name.to_owned(),
                source,
            })
        };
        let part: Option<Box<dyn ReadAt>> = match extent.kind {
            Kind::Zero => None,
            Kind::Flat { file: name, offset } => {
                let start = offset.saturating_mul(SECTOR);
                let window = Window::new(open(&name)?, start..start.saturating_add(size));
                Some(Box::new(window.map_err(|source| OpenError::Companion {
                    format: Format::Vmdk,
                    name,
                    source,
                })?))
            }
            Kind::Sparse { file: name } => {
                let sparse = Sparse::open(Host::new(open(&name)?, Format::Vmdk)?, &mut room)?;
                let window = Window::new(Mapped::new(sparse), 0..size);
                Some(Box::new(window.map_err(|source| OpenError::Companion {
                    format: Format::Vmdk,
                    name,
                    source,
                })?))
            }
        };
        if size > 0 {
            parts.push(Part { range: end..next, disk: part });
        }
        end = next;
    }
    Ok(Box::new(Joined { parts, size: end }))
}

struct Part {
    range: Range<u64>,
    /// `None`: zeros.
    disk: Option<Box<dyn ReadAt>>,
}

/// Extents, one behind the other.
struct Joined {
    parts: Vec<Part>,
    size: u64,
}

impl Joined {
    /// The part with `offset`, and those behind it.
    fn from(&self, offset: u64) -> impl Iterator<Item = &Part> {
        let first = self.parts.partition_point(|part| part.range.end <= offset);
        self.parts[first..].iter()
    }
}

impl ReadAt for Joined {
    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let (mut rest, mut at) = (buf, offset);
        let mut parts = self.from(offset);
        while !rest.is_empty() {
            let Some(part) = parts.next() else {
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            let length = (part.range.end - at).min(rest.len() as u64) as usize;
            let (now, later) = rest.split_at_mut(length);
            match &part.disk {
                Some(disk) => disk.read_exact_at(now, at - part.range.start)?,
                None => now.fill(0),
            }
            at += length as u64;
            rest = later;
        }
        Ok(())
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let mut at = offset;
        for part in self.from(offset) {
            let start = part.range.start;
            if let Some(disk) = &part.disk
                && let Some(run) = disk.next_data(at - start)?
            {
                return Ok(Some(start + run.start..start + run.end));
            }
            at = part.range.end;
        }
        Ok(None)
    }
}
