//! Extended headers: PAX records, and what they say about the entry that follows.
//!
//! POSIX.1-2001 `pax`, "pax Header Block"; vendor records of GNU tar, star and libarchive.

use std::collections::BTreeSet;

use tree::{Timestamp, Xattrs};

use super::acl;
use super::error::Problem;
use super::sparse::SparseRecords;

/// What extended headers said about one entry; `None` leaves the plain header's value.
#[derive(Debug, Default, Clone)]
pub(crate) struct Extended {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) linkpath: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) mtime: Option<Timestamp>,
    pub(crate) devmajor: Option<u32>,
    pub(crate) devminor: Option<u32>,
    pub(crate) xattrs: Xattrs,
    pub(crate) sparse: SparseRecords,
    /// Names of attributes as they were in libarchive's records.
    libarchive: BTreeSet<Vec<u8>>,
}

fn bad(key: &[u8], reason: impl Into<String>) -> Problem {
    let key = &key[..key.len().min(80)];
    Problem::Pax { key: String::from_utf8_lossy(key).into_owned(), reason: reason.into() }
}

/// Takes the first record, `LENGTH KEY=VALUE\n`, off `data`.
fn record<'a>(data: &mut &'a [u8]) -> Result<(&'a [u8], &'a [u8]), Problem> {
    let all = *data;
    let malformed = || bad(all, "it is not of the form 'LENGTH KEY=VALUE' with a new line");
    let space = all.iter().take(20).position(|&byte| byte == b' ').ok_or_else(malformed)?;
    let length = parse::<usize>(&all[..space]).ok_or_else(malformed)?;
    if length <= space + 1 || length > all.len() || all[length - 1] != b'\n' {
        return Err(malformed());
    }
    let body = &all[space + 1..length - 1];
    let equals = body.iter().position(|&byte| byte == b'=').ok_or_else(malformed)?;
    *data = &all[length..];
    Ok((&body[..equals], &body[equals + 1..]))
}

/// A decimal number without sign.
pub(crate) fn parse<T: std::str::FromStr>(bytes: &[u8]) -> Option<T> {
    match bytes.first() {
        Some(b'0'..=b'9') => std::str::from_utf8(bytes).ok()?.parse().ok(),
        _ => None,
    }
}

/// Seconds with a decimal fraction; digits below a nanosecond round down.
fn time(text: &[u8]) -> Option<Timestamp> {
    let (negative, text) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, text),
    };
    let mut parts = text.splitn(2, |&byte| byte == b'.');
    let seconds: u64 = parse(parts.next()?)?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |at: usize| u32::from(fraction.get(at).map_or(0, |byte| byte - b'0'));
    let mut nanoseconds = (0..9).fold(0, |value, at| value * 10 + digit(at));
    if !negative {
        return Some(Timestamp { seconds: i64::try_from(seconds).ok()?, nanoseconds });
    }
    if fraction.iter().skip(9).any(|&byte| byte != b'0') {
        nanoseconds += 1;
    }
    let seconds = 0_i64.checked_sub_unsigned(seconds)?;
    match nanoseconds {
        0 => Some(Timestamp { seconds, nanoseconds: 0 }),
        _ => Some(Timestamp {
            seconds: seconds.checked_sub(1)?,
            nanoseconds: 1_000_000_000 - nanoseconds,
        }),
    }
}

/// `%XX` decoded; with `only`, nothing but those bytes.
fn percent_decode(text: &[u8], only: Option<&[u8]>) -> Vec<u8> {
    let hex = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        if let [b'%', high, low, ..] = text[at..]
            && let (Some(high), Some(low)) = (hex(high), hex(low))
            && only.is_none_or(|only| only.contains(&(high << 4 | low)))
        {
            out.push(high << 4 | low);
            at += 3;
        } else {
            out.push(text[at]);
            at += 1;
        }
    }
    out
}

/// Base 64 with or without padding.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for &byte in text {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' | b'\n' => continue,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    Some(out)
}

impl Extended {
    /// Takes in the records of a PAX header for one entry, over what a global header said.
    pub(crate) fn apply(&mut self, mut data: &[u8]) -> Result<(), Problem> {
        while !data.is_empty() {
            let (key, value) = record(&mut data)?;
            self.apply_record(key, value)?;
        }
        Ok(())
    }

    /// Takes in the records of a global PAX header. Only owner and time can sensibly hold for all
    /// entries; comments and vendor records are skipped.
    pub(crate) fn apply_global(&mut self, mut data: &[u8]) -> Result<(), Problem> {
        while !data.is_empty() {
            let (key, value) = record(&mut data)?;
            match key {
                b"uid" | b"gid" | b"mtime" => self.apply_record(key, value)?,
                b"path" | b"linkpath" | b"size" => {
                    return Err(bad(key, "it cannot be the same for all entries"));
                }
                _ if is_attribute(key) => {
                    return Err(bad(key, "it is not supported in a global header"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn apply_record(&mut self, key: &[u8], value: &[u8]) -> Result<(), Problem> {
        fn number<T: std::str::FromStr>(key: &[u8], value: &[u8]) -> Result<Option<T>, Problem> {
            // An empty value takes an earlier record back.
            if value.is_empty() {
                return Ok(None);
            }
            let number = parse(value).ok_or_else(|| {
                let value = &value[..value.len().min(80)];
                bad(key, format!("{:?} is not a number in range", String::from_utf8_lossy(value)))
            })?;
            Ok(Some(number))
        }
        let text = || (!value.is_empty()).then(|| value.to_vec());
        match key {
            b"path" => self.path = text(),
            b"linkpath" => self.linkpath = text(),
            b"size" => self.size = number(key, value)?,
            b"uid" => self.uid = number(key, value)?,
            b"gid" => self.gid = number(key, value)?,
            b"mtime" if value.is_empty() => self.mtime = None,
            b"mtime" => {
                let time = time(value).ok_or_else(|| bad(key, "it is not a time in seconds"))?;
                self.mtime = Some(time);
            }
            b"SCHILY.devmajor" => self.devmajor = number(key, value)?,
            b"SCHILY.devminor" => self.devminor = number(key, value)?,
            b"SCHILY.acl.access" | b"SCHILY.acl.default" if !value.is_empty() => {
                let name = match key {
                    b"SCHILY.acl.access" => acl::ACCESS,
                    _ => acl::DEFAULT,
                };
                let acl = acl::from_text(value).map_err(|reason| bad(key, reason))?;
                // An access ACL that says no more than the mode does is not stored by Linux.
                if name == acl::DEFAULT || !acl::is_minimal(&acl) {
                    self.xattrs.insert(name.into(), acl.into());
                }
            }
            b"SCHILY.acl.ace" => {
                return Err(Problem::Unsupported("an NFSv4 access control list".into()));
            }
            b"RHT.security.selinux" => {
                let value = [value, b"\0"].concat();
                self.xattrs.insert((*b"security.selinux").into(), value.into());
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    // GNU tar escapes '=' (and so '%') only, star nothing.
                    if !self.libarchive.contains(name) {
                        self.xattr(key, percent_decode(name, Some(b"=%")), value.to_vec())?;
                    }
                } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
                    let value = base64(value).ok_or_else(|| bad(key, "it is not base 64"))?;
                    // libarchive escapes more, and the same in a SCHILY record beside this one.
                    self.xattrs.remove(&*percent_decode(name, Some(b"=%")));
                    self.libarchive.insert(name.to_vec());
                    self.xattr(key, percent_decode(name, None), value)?;
                } else if key.starts_with(b"GNU.sparse.") {
                    self.sparse.apply(key, value).map_err(|reason| bad(key, reason))?;
                }
            }
        }
        Ok(())
    }

    fn xattr(&mut self, key: &[u8], name: Vec<u8>, value: Vec<u8>) -> Result<(), Problem> {
        if name.is_empty() || name.len() > 255 || name.contains(&0) {
            return Err(bad(key, "the attribute's name is not 1 to 255 bytes without NUL"));
        }
        self.xattrs.insert(name.into(), value.into());
        Ok(())
    }
}

fn is_attribute(key: &[u8]) -> bool {
    let prefixes: [&[u8]; 5] = [
        b"SCHILY.xattr.",
        b"LIBARCHIVE.xattr.",
        b"SCHILY.acl.",
        b"GNU.sparse.",
        b"RHT.security.selinux",
    ];
    prefixes.iter().any(|prefix| key.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let read = |text: &str| time(text.as_bytes()).map(|t| (t.seconds, t.nanoseconds));
        assert_eq!(read("1350244992.023960108"), Some((1350244992, 23960108)));
        assert_eq!(read("5"), Some((5, 0)));
        assert_eq!(read("-1.5"), Some((-2, 500_000_000)));
        assert_eq!(read("-0.0000000001"), Some((-1, 999_999_999)));
        assert_eq!(read("-7"), Some((-7, 0)));
        assert_eq!(read("-9223372036854775808"), Some((i64::MIN, 0)));
        assert_eq!(read("-9223372036854775808.1"), None);
        assert_eq!(read("1.0000000019"), Some((1, 1)));
        for text in ["", "-", "x", "1.x", "1.2.3", "+1", "9223372036854775808"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn records_are_checked() {
        let mut extended = Extended::default();
        extended.apply(b"16 path=a\nb=c/d\n12 size=123\n").unwrap();
        assert_eq!(extended.path.as_deref(), Some(&b"a\nb=c/d"[..]));
        assert_eq!(extended.size, Some(123));
        extended.apply(b"8 path=\n").unwrap();
        assert_eq!(extended.path, None);
        for text in ["x", "3 \n", "4 =\n", "99 path=a\n", "12 size=-12\n", "6 path\n", "0 a=b\n"] {
            let result = Extended::default().apply(text.as_bytes());
            match text {
                "4 =\n" => assert!(result.is_ok()),
                _ => assert!(result.is_err(), "{text:?}"),
            }
        }
    }

    #[test]
    fn attributes() {
        let mut extended = Extended::default();
        extended.apply(b"25 SCHILY.xattr.a%20b=\0\x01\n").unwrap();
        extended.apply(b"30 LIBARCHIVE.xattr.a%20b=AAE\n").unwrap();
        extended.apply(b"25 SCHILY.xattr.a%20b=\0\x01\n").unwrap();
        extended.apply(b"29 SCHILY.xattr.a%3Db%20=v=\0\n").unwrap();
        let expected: Vec<(&[u8], &[u8])> = vec![(b"a b", b"\0\x01"), (b"a=b%20", b"v=\0")];
        let found: Vec<_> = extended.xattrs.iter().map(|(k, v)| (&**k, &**v)).collect();
        assert_eq!(found, expected);
        assert!(Extended::default().apply_global(b"22 SCHILY.xattr.a=val\n").is_err());
    }
}
