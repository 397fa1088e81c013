//! Laying attributes out in a bonus area and a spill block.

use super::{Attribute, SaError};
use crate::prelude::*;

const MAGIC: u32 = 0x2F_505A;
/// Magic, layout and header size, the first variable length.
const HEADER: usize = 8;
/// The bonus area gives up this much for the pointer to a spill block.
const BLKPTR: usize = 128;
const SPILL_UNIT: usize = 512;
/// `SPA_OLD_MAXBLOCKSIZE`.
const SPILL_MAX: usize = 128 << 10;
/// Layouts 0 and 1 are not stored: the old znode and an empty buffer.
const FIRST_LAYOUT: usize = 2;
const LAYOUT_BITS: u32 = 10;

/// The sets of attributes, in their orders, that buffers of one dataset have. Numbers are given in
/// the order of first use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layouts(Vec<Box<[u16]>>);

impl Layouts {
    /// No layouts.
    pub fn new() -> Self {
        Self::default()
    }

    fn number(&mut self, attributes: &[(Attribute, &[u8])]) -> Result<u16, SaError> {
        let wanted = attributes.iter().map(|(attribute, _)| attribute.number());
        let known = self.0.iter().position(|layout| layout.iter().copied().eq(wanted.clone()));
        let index = known.unwrap_or(self.0.len());
        let number = u16::try_from(index + FIRST_LAYOUT).ok();
        let number = number.filter(|number| number >> LAYOUT_BITS == 0);
        let number = number.ok_or(SaError::TooManyLayouts)?;
        if known.is_none() {
            self.0.push(wanted.collect());
        }
        Ok(number)
    }

    /// The attributes of a layout.
    pub fn get(&self, number: u16) -> Option<&[u16]> {
        let index = usize::from(number).checked_sub(FIRST_LAYOUT)?;
        self.0.get(index).map(|layout| &**layout)
    }

    /// The content of the `LAYOUTS` ZAP: names and their arrays of 16-bit integers.
    pub fn zap_entries(&self) -> impl Iterator<Item = (String, &[u16])> {
        (FIRST_LAYOUT..).zip(&self.0).map(|(number, layout)| (number.to_string(), &**layout))
    }
}

/// The attributes of one inode, ready to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaEncoded {
    /// The bonus area; its length is the dnode's bonus length.
    pub bonus: Vec<u8>,
    /// The spill block, a multiple of 512 bytes, if one is needed.
    pub spill: Option<Vec<u8>>,
}

/// What one buffer comes to.
struct Sizes {
    header: usize,
    /// Bytes of all attributes asked about, spilled ones too.
    total: usize,
    /// The first attribute that goes to the spill block.
    spill_at: Option<usize>,
}

/// `sa_find_sizes` for a bonus area. Which attribute spills decides where later kernels look for
/// it, so the rule is kept as it is: an attribute spills if it reaches into the last 128 bytes and
/// it or a later one does not fit even with them.
fn bonus_sizes(attributes: &[(Attribute, &[u8])], capacity: usize) -> Sizes {
    let (mut total, mut variable) = (0_usize, 0);
    let (mut header, mut extra_header) = (HEADER, 0);
    let (mut first_in_the_way, mut spills) = (None, false);
    for (at, (attribute, value)) in attributes.iter().enumerate() {
        total = total.next_multiple_of(8) + value.len();
        if spills {
            continue;
        }
        variable += usize::from(attribute.length().is_none());
        // The header has room for the first length.
        let lengthens = attribute.length().is_none() && variable > 1;
        let longer_header = header + if lengthens { 2 } else { 0 };
        let in_the_way = first_in_the_way.is_none()
            && total + longer_header.next_multiple_of(8) > capacity.saturating_sub(BLKPTR);
        if lengthens {
            if total + longer_header >= capacity {
                first_in_the_way.get_or_insert(at);
                spills = true;
                continue;
            }
            header = longer_header;
            if first_in_the_way.is_some() || in_the_way {
                extra_header += 2;
            }
        }
        if in_the_way {
            first_in_the_way = Some(at);
        }
        spills = total + header.next_multiple_of(8) > capacity;
    }
    if spills {
        header -= extra_header;
    }
    Sizes {
        header: header.next_multiple_of(8),
        total,
        spill_at: first_in_the_way.filter(|_| spills),
    }
}

/// `sa_find_sizes` for a spill block.
fn spill_sizes(attributes: &[(Attribute, &[u8])]) -> Sizes {
    let total = attributes
        .iter()
        .fold(0_usize, |total, (_, value)| total.next_multiple_of(8) + value.len());
    let variable = attributes.iter().filter(|(attribute, _)| attribute.length().is_none()).count();
    let header = (HEADER + 2 * variable.saturating_sub(1)).next_multiple_of(8);
    Sizes { header, total, spill_at: None }
}

fn fill(attributes: &[(Attribute, &[u8])], layout: u16, header: usize, buffer: &mut [u8]) {
    buffer[..4].copy_from_slice(&MAGIC.to_le_bytes());
    let layout_and_header = layout | ((header / 8) as u16) << LAYOUT_BITS;
    buffer[4..6].copy_from_slice(&layout_and_header.to_le_bytes());
    let (mut length_at, mut at) = (6, header);
    for (attribute, value) in attributes {
        if attribute.length().is_none() {
            let length = value.len() as u16;
            buffer[length_at..length_at + 2].copy_from_slice(&length.to_le_bytes());
            length_at += 2;
        }
        buffer[at..at + value.len()].copy_from_slice(value);
        at = (at + value.len()).next_multiple_of(8);
    }
}

/// `sa_build_layouts`: stores attributes in their order. `capacity` is the size of the dnode's
/// bonus area in bytes, a multiple of 8 and at least 256; values of fixed length have that length.
pub fn encode(
    attributes: &[(Attribute, &[u8])],
    capacity: usize,
    layouts: &mut Layouts,
) -> Result<SaEncoded, SaError> {
    for (attribute, value) in attributes {
        debug_assert!(attribute.length().is_none_or(|len| usize::from(len) == value.len()));
        if value.len() > usize::from(u16::MAX) {
            return Err(SaError::TooLong { name: attribute.name(), len: value.len() });
        }
    }
    let sizes = bonus_sizes(attributes, capacity);
    if sizes.total > SPILL_MAX {
        return Err(SaError::TooLarge(sizes.total));
    }
    let whole = sizes.header + sizes.total;
    let Some(spill_at) = sizes.spill_at else {
        let mut bonus = vec![0; whole];
        fill(attributes, layouts.number(attributes)?, sizes.header, &mut bonus);
        return Ok(SaEncoded { bonus, spill: None });
    };

    let (kept, spilled) = attributes.split_at(spill_at);
    let mut bonus = vec![0; whole.min(capacity - BLKPTR)];
    fill(kept, layouts.number(kept)?, sizes.header, &mut bonus);

    let sizes = spill_sizes(spilled);
    let used = sizes.header + sizes.total;
    if used > SPILL_MAX {
        return Err(SaError::TooLarge(used));
    }
    let mut spill = vec![0; used.next_multiple_of(SPILL_UNIT)];
    fill(spilled, layouts.number(spilled)?, sizes.header, &mut spill);
    Ok(SaEncoded { bonus, spill: Some(spill) })
}

/// Reads the attributes of a bonus area or spill block, which may be hostile: number and value of
/// each, in order.
///
/// `layout` gives the attributes of a layout, `length` the length of an attribute, 0 if variable;
/// both as the dataset's own ZAPs list them.
pub fn decode<'a, 'l>(
    buffer: &'a [u8],
    layout: impl Fn(u16) -> Option<&'l [u16]>,
    length: impl Fn(u16) -> Option<u16>,
) -> Result<Vec<(u16, &'a [u8])>, SaError> {
    let u16_at = |at: usize| {
        let bytes = buffer.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map(|bytes| u16::from_le_bytes(*bytes)).ok_or(SaError::Damaged("it is cut off"))
    };
    if buffer.get(..4) != Some(&MAGIC.to_le_bytes()) {
        return Err(SaError::Damaged("its magic number is wrong"));
    }
    let layout_and_header = u16_at(4)?;
    let number = layout_and_header & ((1 << LAYOUT_BITS) - 1);
    let mut at = usize::from(layout_and_header >> LAYOUT_BITS) * 8;
    let mut length_at = 6;
    let mut attributes = Vec::new();
    for &attribute in layout(number).ok_or(SaError::UnknownLayout(number))? {
        let mut len = length(attribute).ok_or(SaError::UnknownAttribute(attribute))?;
        if len == 0 {
            len = u16_at(length_at)?;
            length_at += 2;
        }
        let end = at + usize::from(len);
        let value = buffer.get(at..end).ok_or(SaError::Damaged("a value is cut off"))?;
        attributes.push((attribute, value));
        at = end.next_multiple_of(8);
    }
    Ok(attributes)
}
