//! The descriptor: lines of text that name the extents of a disk.

use crate::image::{Format, OpenError};

/// The longest descriptor read, in bytes.
pub(super) const MAX_DESCRIPTOR: u64 = 1 << 20;
/// [`Descriptor::parent`] of a disk without one.
const NO_PARENT: u32 = u32::MAX;

/// A run of the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Extent {
    /// Its sectors.
    pub(super) sectors: u64,
    pub(super) kind: Kind,
}

/// Where the sectors of an extent are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nowhere: zeros.
    Zero,
    /// In a file as they are, from a sector on.
    Flat { file: String, offset: u64 },
    /// In a sparse extent.
    Sparse { file: String },
}

/// What a descriptor says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Descriptor {
    pub(super) create_type: String,
    pub(super) extents: Vec<Extent>,
}

impl Descriptor {
    /// Reads the text, up to a NUL if there is one. A disk over another one is refused.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, OpenError> {
        let bytes = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
        let text = String::from_utf8_lossy(bytes);
        let mut found = Self { create_type: String::new(), extents: Vec::new() };
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(extent) = extent(line)? {
                found.extents.push(extent);
                continue;
            }
            let Some((key, value)) = line.split_once('=') else { continue };
            let value = value.trim().trim_matches('"');
            match key.trim() {
                "createType" => found.create_type = value.to_owned(),
                "parentCID" if u32::from_str_radix(value, 16) != Ok(NO_PARENT) => {
                    return Err(OpenError::Elsewhere {
                        format: Format::Vmdk,
                        what: "is an overlay over another image; merge it with that first".into(),
                    });
                }
                _ => {}
            }
        }
        Ok(found)
    }
}

/// `RW 4192256 SPARSE "disk-s001.vmdk"`; `None` for other lines.
fn extent(line: &str) -> Result<Option<Extent>, OpenError> {
    let bad = |why| OpenError::Text {
        format: Format::Vmdk,
        what: format!("the extent line {line:?} {why}"),
    };
    let Some((access, rest)) = line.split_once(char::is_whitespace) else { return Ok(None) };
    if !matches!(access, "RW" | "RDONLY" | "NOACCESS") {
        return Ok(None);
    }
    let (sectors, rest) =
        rest.trim_start().split_once(char::is_whitespace).ok_or_else(|| bad("is too short"))?;
    let sectors: u64 = sectors.parse().map_err(|_| bad("has no number of sectors"))?;
    let (kind, rest) = match rest.trim_start().split_once(char::is_whitespace) {
        Some((kind, rest)) => (kind, rest.trim_start()),
        None => (rest.trim(), ""),
    };
    let quoted = || {
        let inside = rest.strip_prefix('"').and_then(|rest| rest.split_once('"'));
        let (file, behind) = inside.ok_or_else(|| bad("names no file"))?;
        Ok((file.to_owned(), behind.trim()))
    };
    let kind = match kind {
        "ZERO" => Kind::Zero,
        "FLAT" | "VMFS" => {
            let (file, offset) = quoted()?;
            let offset = match offset {
                "" => 0,
                text => text.parse().map_err(|_| bad("has no offset"))?,
            };
            Kind::Flat { file, offset }
        }
        "SPARSE" => Kind::Sparse { file: quoted()?.0 },
        other => {
            return Err(OpenError::Unsupported {
                format: Format::Vmdk,
                what: format!("has an extent of the kind {other:?}, which is not read here"),
            });
        }
    };
    Ok(Some(Extent { sectors, kind }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let text = b"# Disk DescriptorFile\nversion=1\nparentCID=ffffffff\ncreateType=\"custom\"\n\
            RW 10 SPARSE \"a b.vmdk\"\r\nRW 5 FLAT \"b.vmdk\" 7\nNOACCESS 3 ZERO\nddb.x = \"y\"\n\0junk";
        let found = Descriptor::parse(text).unwrap();
        assert_eq!(found.create_type, "custom");
        let kinds: Vec<_> = found.extents.iter().map(|e| (e.sectors, e.kind.clone())).collect();
        assert_eq!(
            kinds,
            [
                (10, Kind::Sparse { file: "a b.vmdk".into() }),
                (5, Kind::Flat { file: "b.vmdk".into(), offset: 7 }),
                (3, Kind::Zero),
            ]
        );
    }

    #[test]
    fn bad_lines() {
        for line in
            ["RW x FLAT \"a\"", "RW 5", "RW 5 FLAT a", "RW 5 FLAT \"a\" b", "RW 5 SESPARSE \"a\""]
        {
            assert!(Descriptor::parse(line.as_bytes()).is_err(), "{line}");
        }
        assert!(Descriptor::parse(b"parentCID=12345678").is_err());
    }
}
