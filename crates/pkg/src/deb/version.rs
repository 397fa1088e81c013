//! Versions and their order (deb-version(7)): exactly dpkg's.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use thiserror::Error;

/// A version: `[epoch:]upstream[-revision]`.
///
/// Equality and order are those of dpkg, so versions that are written in different ways can be equal:
/// `1.0`, `0:1.0-0` and `1.00`.
#[derive(Debug, Clone, Copy)]
pub struct Version<'a> {
    text: &'a str,
    epoch: u32,
    upstream: &'a str,
    revision: &'a str,
}

/// Why a text is not a version.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is not a version: {problem}")]
pub struct VersionError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl<'a> Version<'a> {
    /// The version `0`.
    pub const ZERO: Self = Self { text: "0", epoch: 0, upstream: "0", revision: "" };

    /// Reads a version; blanks around it do not count.
    pub fn parse(text: &'a str) -> Result<Self, VersionError> {
        let text = text.trim_ascii();
        let bad = |problem| Err(VersionError { text: crate::text::shortened(text), problem });
        let (epoch, rest) = match text.split_once(':') {
            None => (0, text),
            Some((epoch, rest)) => {
                if epoch.is_empty() || !epoch.bytes().all(|byte| byte.is_ascii_digit()) {
                    return bad("the epoch, before the colon, is not a number");
                }
                match epoch.parse::<u32>() {
                    Ok(epoch) if i32::try_from(epoch).is_ok() => (epoch, rest),
                    _ => return bad("the epoch is too large"),
                }
            }
        };
        let (upstream, revision) = match rest.rsplit_once('-') {
            None => (rest, ""),
            Some((_, "")) => return bad("nothing is behind the last hyphen"),
            Some(parts) => parts,
        };
        if upstream.is_empty() {
            return bad("the upstream version is missing");
        }
        let common = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'+' | b'~');
        if !upstream.bytes().all(|byte| common(byte) || matches!(byte, b'-' | b':')) {
            return bad("the upstream version has letters, digits and .+-~: only");
        }
        if !revision.bytes().all(common) {
            return bad("the revision has letters, digits and .+~ only");
        }
        Ok(Self { text, epoch, upstream, revision })
    }

    /// The version as it was written.
    pub fn as_str(&self) -> &'a str {
        self.text
    }

    /// The number before the colon, 0 without one.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// What is between epoch and revision.
    pub fn upstream(&self) -> &'a str {
        self.upstream
    }

    /// What is behind the last hyphen; empty without one.
    pub fn revision(&self) -> &'a str {
        self.revision
    }
}

/// Where a character sorts among those that are no digits: `~` before the end, letters before others.
fn order(byte: Option<&u8>) -> i32 {
    match byte {
        None => 0,
        Some(byte) if byte.is_ascii_digit() => 0,
        Some(b'~') => -1,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    }
}

/// Order of upstream versions, or of revisions.
fn compare_part(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    let digit = |bytes: &[u8]| bytes.first().is_some_and(u8::is_ascii_digit);
    while !a.is_empty() || !b.is_empty() {
        while (!a.is_empty() && !digit(a)) || (!b.is_empty() && !digit(b)) {
            match order(a.first()).cmp(&order(b.first())) {
                Ordering::Equal => {}
                unequal => return unequal,
            }
            a = a.get(1..).unwrap_or_default();
            b = b.get(1..).unwrap_or_default();
        }
        let number;
        let other;
        (number, a) = split_number(a);
        (other, b) = split_number(b);
        match number.len().cmp(&other.len()).then_with(|| number.cmp(other)) {
            Ordering::Equal => {}
            unequal => return unequal,
        }
    }
    Ordering::Equal
}

/// The digits at the start without leading zeros, and the rest.
fn split_number(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(bytes.len());
    let (digits, rest) = bytes.split_at(end);
    let zeros = digits.iter().position(|&byte| byte != b'0').unwrap_or(digits.len());
    (digits.get(zeros..).unwrap_or_default(), rest)
}

impl Ord for Version<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.text == other.text {
            return Ordering::Equal;
        }
        self.epoch
            .cmp(&other.epoch)
            .then_with(|| compare_part(self.upstream, other.upstream))
            .then_with(|| compare_part(self.revision, other.revision))
    }
}

impl PartialOrd for Version<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version<'_> {}

impl Hash for Version<'_> {
    /// Of the epoch only: what is written in different ways can be equal.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.epoch.hash(state);
    }
}

impl fmt::Display for Version<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn order_of_the_manual() {
        let sorted = [
            "0~~",
            "0~~a",
            "0~",
            "0",
            "0a",
            "0+",
            "1.0~rc1-1",
            "1.0-1",
            "1.0-1+b1",
            "1.0-1.1",
            "1.0-2",
            "1.0-10",
            "1.0a-1",
            "1.0+dfsg-1",
            "1.0.1",
            "1.1",
            "1.10",
            "9999999999999999999999",
            "1:0",
        ];
        for (at, a) in sorted.iter().enumerate() {
            for (other, b) in sorted.iter().enumerate() {
                let (a, b) = (Version::parse(a).unwrap(), Version::parse(b).unwrap());
                assert_eq!(a.cmp(&b), at.cmp(&other), "{a} {b}");
            }
        }
        let equal =
            ["1.0", "0:1.0", "1.0-0", "1.00-00", "01.0"].map(|v| Version::parse(v).unwrap());
        assert!(equal.iter().all(|version| *version == equal[0]));
    }

    #[test]
    fn what_is_no_version() {
        for (text, problem) in [
            ("", "missing"),
            ("1:", "missing"),
            (":1", "not a number"),
            ("a:1", "not a number"),
            ("4294967296:1", "too large"),
            ("2147483648:1", "too large"),
            ("1-", "behind the last hyphen"),
            ("1_0", "upstream version has"),
            ("1 0", "upstream version has"),
            ("0:1-a:b", "revision has"),
        ] {
            let error = Version::parse(text).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }

    proptest! {
        #[test]
        fn order_is_total(texts in prop::array::uniform3("[0-9][a-b0-2.+~]{0,6}(-[a-b0-2~]{1,3})?")) {
            let [a, b, c] = texts.each_ref().map(|text| Version::parse(text).unwrap());
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
        }
    }
}
