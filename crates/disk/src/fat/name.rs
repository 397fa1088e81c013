//! Names: which are possible, and the 8.3 alias each needs.

use std::collections::{BTreeMap, BTreeSet};

use zerocopy::{FromZeros, IntoBytes};

use super::format::{ATTR_LONG_NAME, ENTRY_SIZE, LAST_LONG_ENTRY, LONG_UNITS, LongEntry};

/// Base of 8 and extension of 3 bytes, padded with spaces.
pub type ShortName = [u8; 11];

/// What keeps a name off FAT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The name itself, and why.
    Bad(String, &'static str),
    /// Two names that differ only in case.
    Same(String, String),
}

/// Gives each of a directory's names its 8.3 name. Names that are one but for their case get it
/// first, so that no invented alias takes it away.
pub fn assign<'a>(names: &[&'a [u8]]) -> Result<Vec<(&'a str, ShortName)>, Fault> {
    let mut folded: BTreeMap<String, &str> = BTreeMap::new();
    let mut checked = Vec::with_capacity(names.len());
    for bytes in names {
        let name = check(bytes)
            .map_err(|why| Fault::Bad(String::from_utf8_lossy(bytes).into_owned(), why))?;
        if let Some(other) = folded.insert(name.chars().map(fold).collect(), name) {
            return Err(Fault::Same(other.to_owned(), name.to_owned()));
        }
        checked.push((name, as_short(name)));
    }
    let mut taken: BTreeSet<ShortName> = checked.iter().filter_map(|(_, short)| *short).collect();
    let mut next: BTreeMap<ShortName, u32> = BTreeMap::new();
    let alias = |(name, short): (&'a str, Option<ShortName>)| {
        let short = short.unwrap_or_else(|| invent(name, &mut taken, &mut next));
        (name, short)
    };
    Ok(checked.into_iter().map(alias).collect())
}

fn check(bytes: &[u8]) -> Result<&str, &'static str> {
    let name = str::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
    if name.chars().any(|c| c < ' ' || r#""*/:<>?\|"#.contains(c)) {
        return Err(r#"it has a control character or one of "*/:<>?\|"#);
    }
    if name.ends_with(['.', ' ']) {
        return Err("it ends in a dot or a space");
    }
    // UEFI's own driver knows no surrogates.
    if name.chars().any(|c| c > '\u{ffff}') {
        return Err("it has a character above U+FFFF");
    }
    Ok(name)
}

/// One unit for one unit, as FAT drivers compare names.
fn fold(c: char) -> char {
    let mut upper = c.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(single), None) => single,
        _ => c,
    }
}

/// Whether 8.3 names and labels may have it.
pub fn is_short_byte(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"$%'-_@~`!(){}^#&".contains(&byte)
}

fn padded(base: &[u8], extension: &[u8]) -> ShortName {
    let mut short = [b' '; 11];
    short[..base.len()].copy_from_slice(base);
    short[8..8 + extension.len()].copy_from_slice(extension);
    short
}

/// The name as an 8.3 name, if it is one in some case.
fn as_short(name: &str) -> Option<ShortName> {
    let upper = name.to_ascii_uppercase();
    let (base, extension) = upper.rsplit_once('.').unwrap_or((&upper, ""));
    let fits = (1..=8).contains(&base.len()) && extension.len() <= 3;
    let sound = base.bytes().chain(extension.bytes()).all(is_short_byte);
    (fits && sound).then(|| padded(base.as_bytes(), extension.as_bytes()))
}

/// An alias with a numeric tail (`LOADER~1.CON`) that nothing else in the directory has.
fn invent(
    name: &str,
    taken: &mut BTreeSet<ShortName>,
    next: &mut BTreeMap<ShortName, u32>,
) -> ShortName {
    let squeeze = |part: &str, length| -> Vec<u8> {
        let kept = part.chars().filter(|c| !matches!(c, '.' | ' ')).take(length);
        kept.map(|c| match u8::try_from(c.to_ascii_uppercase()) {
            Ok(byte) if is_short_byte(byte) => byte,
            _ => b'_',
        })
        .collect()
    };
    let visible = name.trim_start_matches(['.', ' ']);
    let (base, extension) = visible.rsplit_once('.').unwrap_or((visible, ""));
    let (base, extension) = (squeeze(base, 6), squeeze(extension, 3));
    let number = next.entry(padded(&base, &extension)).or_insert(1);
    loop {
        let tail = format!("~{number}");
        *number += 1;
        let kept = &base[..base.len().min(8 - tail.len())];
        let short = padded(&[kept, tail.as_bytes()].concat(), &extension);
        if taken.insert(short) {
            return short;
        }
    }
}

/// The long entries that `name` needs before its own; none when the 8.3 name says it all.
pub fn long_entries(name: &str, short: &ShortName) -> Vec<LongEntry> {
    if name.bytes().all(|byte| !byte.is_ascii_lowercase()) && as_short(name).as_ref() == Some(short)
    {
        return Vec::new();
    }
    let mut units: Vec<u16> = name.encode_utf16().collect();
    if !units.len().is_multiple_of(LONG_UNITS) {
        units.push(0);
        units.resize(units.len().next_multiple_of(LONG_UNITS), 0xffff);
    }
    let checksum = short.iter().fold(0_u8, |sum, &byte| sum.rotate_right(1).wrapping_add(byte));
    let mut entries: Vec<LongEntry> = (1..)
        .zip(units.chunks_exact(LONG_UNITS))
        .map(|(order, units)| {
            let mut entry = LongEntry::new_zeroed();
            entry.order = order;
            entry.attributes = ATTR_LONG_NAME;
            entry.checksum = checksum;
            entry.units_0 = std::array::from_fn(|index| units[index].into());
            entry.units_5 = std::array::from_fn(|index| units[5 + index].into());
            entry.units_11 = std::array::from_fn(|index| units[11 + index].into());
            entry
        })
        .collect();
    if let Some(last) = entries.last_mut() {
        last.order |= LAST_LONG_ENTRY;
    }
    entries.reverse();
    entries
}

/// Appends an entry's bytes.
pub fn push(out: &mut Vec<u8>, entry: &(impl IntoBytes + zerocopy::Immutable)) {
    debug_assert_eq!(size_of_val(entry), ENTRY_SIZE);
    out.extend_from_slice(entry.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aliases(names: &[&str]) -> Vec<String> {
        let bytes: Vec<_> = names.iter().map(|name| name.as_bytes()).collect();
        let assigned = assign(&bytes).unwrap();
        assigned.into_iter().map(|(_, short)| String::from_utf8(short.to_vec()).unwrap()).collect()
    }

    #[test]
    fn aliases_are_unique() {
        assert_eq!(
            aliases(&["BOOTX64.EFI", "loader.conf", "loader.config", "LOADER~1.CON", "systemd"]),
            ["BOOTX64 EFI", "LOADER~2CON", "LOADER~3CON", "LOADER~1CON", "SYSTEMD    "]
        );
        assert_eq!(
            aliases(&[".a b", "..x.tar.gz", "größe", "+", "a.b.c", "x.", "漢字.漢字"][..5]),
            ["AB~1       ", "XTAR~1  GZ ", "GR__E~1    ", "_~1        ", "AB~1    C  "]
        );
        let many: Vec<String> = (0..1200).map(|n| format!("same-start-{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let aliases = aliases(&many);
        assert_eq!(aliases[8], "SAME-S~9   ");
        assert_eq!(aliases[9], "SAME-~10   ");
        assert_eq!(aliases[1199], "SAM~1200   ");
        assert_eq!(aliases.iter().collect::<BTreeSet<_>>().len(), 1200);
    }

    #[test]
    fn bad_names_are_refused() {
        for name in ["a:b", "a?", "a\n", "dot.", "space ", "😀", "a\\b"] {
            assert!(matches!(assign(&[name.as_bytes()]), Err(Fault::Bad(..))), "{name}");
        }
        assert!(matches!(assign(&[b"\xff"]), Err(Fault::Bad(..))));
        assert_eq!(assign(&[b"A", b"a"]), Err(Fault::Same("A".into(), "a".into())));
        let (big, small) = ("GRÖSSE", "größe");
        assert!(assign(&[big.as_bytes(), small.as_bytes()]).is_ok());
        let (big, small) = ("GRÖẞE-LANG", "grÖẞe-lang");
        assert!(matches!(assign(&[big.as_bytes(), small.as_bytes()]), Err(Fault::Same(..))));
    }

    #[test]
    fn long_entries_are_filled() {
        assert!(long_entries("BOOTX64.EFI", b"BOOTX64 EFI").is_empty());
        assert_eq!(long_entries("efi", b"EFI        ").len(), 1);
        let entries = long_entries("thirteen-unit", b"THIRTE~1   ");
        assert_eq!((entries.len(), entries[0].order), (1, 0x41));
        let entries = long_entries("fourteen-units", b"FOURTE~1   ");
        assert_eq!((entries.len(), entries[0].order, entries[1].order), (2, 0x42, 1));
        let units: Vec<u16> = entries[0].units_0.iter().map(|unit| unit.get()).collect();
        assert_eq!(units, [b's'.into(), 0, 0xffff, 0xffff, 0xffff]);
    }
}
