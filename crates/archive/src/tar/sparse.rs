//! Maps of sparse files: GNU's old form and PAX forms 0.0, 0.1 and 1.0, checked and made canonical.
//!
//! GNU tar manual, "Storing Sparse Files".

use tree::Extent;

use super::error::Problem;
use super::format::{Field, number};
use super::pax::parse;

/// What PAX records say about a sparse file.
#[derive(Debug, Default, Clone)]
pub(crate) struct SparseRecords {
    /// `GNU.sparse.major` is 1: the map is in front of the data.
    pub(crate) map_in_data: bool,
    pub(crate) name: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    /// The map of forms 0.0 and 0.1.
    pub(crate) map: Option<Vec<Extent>>,
    /// Form 0.0: an offset waits for its length.
    offset: Option<u64>,
}

impl SparseRecords {
    /// Takes in a record whose key starts with `GNU.sparse.`. The error is a reason.
    pub(crate) fn apply(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let number = || parse(value).ok_or("it is not a number in range");
        match &key[b"GNU.sparse.".len()..] {
            b"major" => match value {
                b"0" => self.map_in_data = false,
                b"1" => self.map_in_data = true,
                _ => return Err("this version of sparse files is not known"),
            },
            b"minor" if value.len() == 1 && matches!(value[0], b'0' | b'1') => {}
            b"minor" => return Err("this version of sparse files is not known"),
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = Some(number()?),
            b"offset" => match self.offset.replace(number()?) {
                None => {}
                Some(_) => return Err("an offset without its length came before"),
            },
            b"numbytes" => {
                let offset = self.offset.take().ok_or("no offset came before")?;
                self.map.get_or_insert_default().push(Extent { offset, length: number()? });
            }
            b"numblocks" => {
                self.map.get_or_insert_default();
            }
            b"map" => self.map = Some(parse_map(value)?),
            _ => {}
        }
        Ok(())
    }
}

fn parse_map(value: &[u8]) -> Result<Vec<Extent>, &'static str> {
    let mut map = Vec::new();
    if value.is_empty() {
        return Ok(map);
    }
    let mut numbers = value.split(|&byte| byte == b',');
    while let Some(offset) = numbers.next() {
        let length = numbers.next().ok_or("an offset lacks its length")?;
        let (Some(offset), Some(length)) = (parse(offset), parse(length)) else {
            return Err("it is not a list of numbers");
        };
        map.push(Extent { offset, length });
    }
    Ok(map)
}

/// Appends the pairs of an old GNU header; tells whether the list goes on.
pub(crate) fn old_pairs(bytes: &[u8], map: &mut Vec<Extent>) -> Result<bool, Problem> {
    const OFFSET: Field = Field { name: "sparse offset", range: 0..12 };
    const LENGTH: Field = Field { name: "sparse length", range: 12..24 };
    for pair in bytes.chunks_exact(24) {
        if pair[0] == 0 {
            return Ok(false);
        }
        let read = |field: &Field| {
            u64::try_from(number(field, &pair[field.range.clone()])?)
                .map_err(|_| Problem::Sparse("a number is negative"))
        };
        map.push(Extent { offset: read(&OFFSET)?, length: read(&LENGTH)? });
    }
    Ok(true)
}

/// Checks a map against the file's size and the stored length of its data, drops empty runs and
/// joins touching ones. `None`: the file has no holes.
pub(crate) fn canonical(
    map: Vec<Extent>,
    size: u64,
    stored: u64,
) -> Result<Option<Box<[Extent]>>, Problem> {
    let mut extents: Vec<Extent> = Vec::with_capacity(map.len());
    let (mut end, mut total) = (0_u64, 0_u64);
    for extent in map {
        if extent.offset < end {
            return Err(Problem::Sparse("data runs overlap or are not in order"));
        }
        end = extent
            .offset
            .checked_add(extent.length)
            .filter(|&end| end <= size)
            .ok_or(Problem::Sparse("a data run ends behind the end of the file"))?;
        // Cannot overflow: runs do not overlap and end within `size`.
        total += extent.length;
        match extents.last_mut() {
            _ if extent.length == 0 => {}
            Some(last) if last.offset + last.length == extent.offset => {
                last.length += extent.length;
            }
            _ => extents.push(extent),
        }
    }
    if total != stored {
        return Err(Problem::Sparse("the data runs do not add up to the stored length"));
    }
    if total == size { Ok(None) } else { Ok(Some(extents.into())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(map: &[(u64, u64)], size: u64, stored: u64) -> Option<Option<Vec<(u64, u64)>>> {
        let map = map.iter().map(|&(offset, length)| Extent { offset, length }).collect();
        let extents = canonical(map, size, stored).ok()?;
        Some(extents.map(|list| list.iter().map(|e| (e.offset, e.length)).collect()))
    }

    #[test]
    fn maps_become_canonical() {
        assert_eq!(check(&[(0, 5), (5, 0), (5, 5), (20, 0)], 20, 10), Some(Some(vec![(0, 10)])));
        assert_eq!(check(&[(0, 5), (5, 5)], 10, 10), Some(None));
        assert_eq!(check(&[(0, 5), (7, 0), (7, 1)], 9, 6), Some(Some(vec![(0, 5), (7, 1)])));
        assert_eq!(check(&[(7, 0)], 7, 0), Some(Some(vec![])));
        assert_eq!(check(&[], 0, 0), Some(None));
        assert_eq!(check(&[(0, 5), (4, 5)], 20, 10), None);
        assert_eq!(check(&[(0, 5)], 4, 5), None);
        assert_eq!(check(&[(u64::MAX, 5)], 4, 5), None);
        assert_eq!(check(&[(0, 5)], 9, 4), None);
    }
}
