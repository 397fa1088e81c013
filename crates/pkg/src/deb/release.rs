//! `Release` files: what a suite of an archive is, and the digests of its indexes (the repository
//! format, apt-secure(8)).
//!
//! Only SHA-256 is read: MD5 and SHA-1 prove nothing, and all archives that apt accepts have it.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use thiserror::Error;
use tree::Digest;

use super::control::{ControlError, Field, paragraphs};
use crate::path::{PathError, check_path};
use crate::text::shortened;

/// A `Release` file; absent fields are empty texts, lists, or `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Release {
    /// `Origin`, as `Debian`
    pub origin: String,
    /// `Label`
    pub label: String,
    /// `Suite`, as `stable`
    pub suite: String,
    /// `Codename`, as `trixie`
    pub codename: String,
    /// `Version`, as `13.1`
    pub version: String,
    /// `Description`
    pub description: String,
    /// `Date`: when it was made.
    pub date: Option<Timestamp>,
    /// `Valid-Until`: after it a mirror that still has this is stale, or is lying.
    pub valid_until: Option<Timestamp>,
    /// `Architectures`
    pub architectures: Vec<String>,
    /// `Components`
    pub components: Vec<String>,
    /// `Acquire-By-Hash`: indexes are at [`IndexFile::by_hash`] too.
    pub acquire_by_hash: bool,
    /// `NotAutomatic`: apt gives its packages priority 1.
    pub not_automatic: bool,
    /// `ButAutomaticUpgrades`: with `NotAutomatic`, priority 100.
    pub but_automatic_upgrades: bool,
    /// `SHA256`: the indexes, sorted by path.
    pub files: Vec<IndexFile>,
}

/// One line of `SHA256`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexFile {
    /// Below the directory of the `Release` file; checked with [`check_path`].
    pub path: String,
    /// Length in bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: Digest,
}

impl IndexFile {
    /// Where the file is by its digest, below the directory of the `Release` file: a name whose content
    /// never changes, so that no update of the mirror comes between.
    pub fn by_hash(&self) -> String {
        let directory = self.path.rsplit_once('/').map_or("", |(directory, _)| directory);
        let slash = if directory.is_empty() { "" } else { "/" };
        format!("{directory}{slash}by-hash/SHA256/{}", self.sha256)
    }
}

/// Why a `Release` file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReleaseError {
    /// It is not a control file.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// It has no or more than one paragraph.
    #[error("a Release file has one paragraph; here are {0}")]
    Paragraphs(usize),
    /// A field has no possible value.
    #[error("line {line}: {field} is {value:?}; {expected}")]
    Value {
        /// Line of the field or of its list.
        line: usize,
        /// The field.
        field: String,
        /// Its value, or one line of it.
        value: String,
        /// What is possible.
        expected: &'static str,
    },
    /// The path of an index is dangerous.
    #[error("line {line}: {source}")]
    Path {
        /// Line of the list.
        line: usize,
        /// What is wrong.
        source: PathError,
    },
    /// A path occurs twice with different content.
    #[error("line {line}: {path} occurs twice with different digests")]
    Twice {
        /// Line of the list.
        line: usize,
        /// The path.
        path: String,
    },
    /// There is no digest in it that proves anything.
    #[error("line {0}: there is no SHA256 list; without it nothing can be verified")]
    NoDigests(usize),
}

impl Release {
    /// Reads the text of a `Release` file, or what an `InRelease` file signs.
    pub fn parse(text: &str) -> Result<Self, ReleaseError> {
        let mut read = paragraphs(text);
        let paragraph = read.next().ok_or(ReleaseError::Paragraphs(0))??;
        if let Some(second) = read.next() {
            second?;
            return Err(ReleaseError::Paragraphs(2 + read.count()));
        }
        let mut release = Self::default();
        let mut digests = false;
        for field in paragraph.fields() {
            let text = || field.value.to_owned();
            let words = || field.value.split_ascii_whitespace().map(str::to_owned).collect();
            match &*field.name.to_ascii_lowercase() {
                "origin" => release.origin = text(),
                "label" => release.label = text(),
                "suite" => release.suite = text(),
                "codename" => release.codename = text(),
                "version" => release.version = text(),
                "description" => release.description = text(),
                "date" => release.date = Some(date(field)?),
                "valid-until" => release.valid_until = Some(date(field)?),
                "architectures" => release.architectures = words(),
                "components" => release.components = words(),
                "acquire-by-hash" => release.acquire_by_hash = yes(field)?,
                "notautomatic" => release.not_automatic = yes(field)?,
                "butautomaticupgrades" => release.but_automatic_upgrades = yes(field)?,
                "sha256" => {
                    release.files = files(field)?;
                    digests = true;
                }
                _ => {}
            }
        }
        if !digests {
            return Err(ReleaseError::NoDigests(paragraph.line));
        }
        Ok(release)
    }

    /// The index at `path`, below the directory of the `Release` file.
    pub fn file(&self, path: &str) -> Option<&IndexFile> {
        let at = self.files.binary_search_by(|file| (*file.path).cmp(path)).ok()?;
        self.files.get(at)
    }

    /// Whether it is the suite that was asked for, by suite or codename (`stable`, `trixie-updates`).
    pub fn is_suite(&self, asked: &str) -> bool {
        let asked = asked.trim_end_matches('/');
        asked == self.suite || asked == self.codename
    }

    /// The pin priority that apt gives to its packages where nothing else is configured
    /// (apt_preferences(5)).
    pub fn default_priority(&self) -> i32 {
        match (self.not_automatic, self.but_automatic_upgrades) {
            (true, true) => 100,
            (true, false) => 1,
            (false, _) => 500,
        }
    }

    /// The text of the file, to be signed. Files are written in their order.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        let date = |date: Option<Timestamp>| date.map(write_date).unwrap_or_default();
        let flag = |flag: bool| if flag { "yes".to_owned() } else { String::new() };
        for (name, value) in [
            ("Origin", self.origin.clone()),
            ("Label", self.label.clone()),
            ("Suite", self.suite.clone()),
            ("Version", self.version.clone()),
            ("Codename", self.codename.clone()),
            ("Date", date(self.date)),
            ("Valid-Until", date(self.valid_until)),
            ("NotAutomatic", flag(self.not_automatic)),
            ("ButAutomaticUpgrades", flag(self.but_automatic_upgrades)),
            ("Acquire-By-Hash", flag(self.acquire_by_hash)),
            ("Architectures", self.architectures.join(" ")),
            ("Components", self.components.join(" ")),
            ("Description", self.description.clone()),
        ] {
            if !value.is_empty() {
                let _ = writeln!(out, "{name}: {value}");
            }
        }
        out.push_str("SHA256:\n");
        for file in &self.files {
            let _ = writeln!(out, " {} {:>8} {}", file.sha256, file.size, file.path);
        }
        out
    }
}

fn value_error(field: &Field<'_>, value: &str, expected: &'static str) -> ReleaseError {
    let value = shortened(value);
    ReleaseError::Value { line: field.line, field: field.name.to_owned(), value, expected }
}

fn yes(field: &Field<'_>) -> Result<bool, ReleaseError> {
    match field.value {
        "yes" => Ok(true),
        "no" => Ok(false),
        other => Err(value_error(field, other, "it can be yes or no")),
    }
}

fn date(field: &Field<'_>) -> Result<Timestamp, ReleaseError> {
    parse_date(field.value).ok_or_else(|| {
        value_error(field, field.value, "a date as \"Sat, 10 May 2025 09:31:35 UTC\" is expected")
    })
}

fn files(field: &Field<'_>) -> Result<Vec<IndexFile>, ReleaseError> {
    let mut files = Vec::new();
    for line in field.lines().filter(|line| !line.is_empty()) {
        let bad = || value_error(field, line, "lines of digest, size and path are expected");
        let mut words = line.split_ascii_whitespace();
        let (Some(digest), Some(size), Some(path), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(bad());
        };
        let sha256 = digest.to_ascii_lowercase().parse().map_err(|_| bad())?;
        let size = size.parse().map_err(|_| bad())?;
        let path =
            check_path(path).map_err(|source| ReleaseError::Path { line: field.line, source })?;
        files.push(IndexFile { path: path.to_owned(), size, sha256 });
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup();
    for pair in files.windows(2) {
        if let [a, b] = pair
            && a.path == b.path
        {
            return Err(ReleaseError::Twice { line: field.line, path: a.path.clone() });
        }
    }
    Ok(files)
}

/// Reads a date as archives write it: `Sat, 10 May 2025 09:31:35 UTC`, or RFC 2822.
fn parse_date(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let zoned = ["UTC", "GMT", "Z"]
        .into_iter()
        .find_map(|zone| text.strip_suffix(zone))
        .map(|time| format!("{}+0000", time.trim_end().to_owned() + " "));
    rfc2822::DateTimeParser::new().parse_timestamp(zoned.as_deref().unwrap_or(text)).ok()
}

/// Writes a date as archives do: `Sat, 10 May 2025 09:31:35 UTC`.
pub fn write_date(date: Timestamp) -> String {
    date.strftime("%a, %d %b %Y %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn text() -> String {
        format!(
            "Origin: Debian\nSuite: stable\nCodename: trixie\nDate: Sat, 10 May 2025 09:31:35 UTC\n\
             Valid-Until: Sat, 17 May 2025 09:31:35 UTC\nAcquire-By-Hash: yes\nArchitectures: all amd64\n\
             Components: main contrib\nMD5Sum:\n d41d8cd98f00b204e9800998ecf8427e 0 x\nSHA256:\n {EMPTY} \
             0 main/binary-amd64/Packages.xz\n {EMPTY} 0 main/binary-amd64/Packages\n"
        )
    }

    #[test]
    fn fields() {
        let release = Release::parse(&text()).unwrap();
        assert!(
            release.is_suite("stable") && release.is_suite("trixie") && !release.is_suite("sid")
        );
        assert_eq!(release.date.unwrap().as_second(), 1_746_869_495);
        assert_eq!(release.components, ["main", "contrib"]);
        assert!(release.acquire_by_hash && release.default_priority() == 500);
        let file = release.file("main/binary-amd64/Packages.xz").unwrap();
        assert_eq!(file.by_hash(), format!("main/binary-amd64/by-hash/SHA256/{EMPTY}"));
        assert!(release.file("x").is_none());
        assert_eq!(Release::parse(&release.to_text()).unwrap(), release);
    }

    #[test]
    fn dates() {
        let date = parse_date("Sat, 10 May 2025 09:31:35 UTC").unwrap();
        assert_eq!(write_date(date), "Sat, 10 May 2025 09:31:35 UTC");
        assert_eq!(parse_date("Sat, 10 May 2025 11:31:35 +0200"), Some(date));
        assert_eq!(parse_date("Sat, 1 Nov 2025  9:31:35 GMT"), None);
        assert!(parse_date("Sat, 1 Nov 2025 09:31:35 GMT").is_some());
        assert_eq!(parse_date("yesterday"), None);
    }

    #[test]
    fn errors() {
        for (from, to, message) in [
            ("Sat, 10", "Tomorrow, 10", "line 4: Date is"),
            ("main/binary-amd64/Packages\n", "../x\n", "line 11: the path \"../x\" has a part"),
            (" 0 main", " 0 0 main", "lines of digest, size and path"),
            ("SHA256:", "SHA512:", "line 1: there is no SHA256 list"),
            ("Packages.xz", "Packages", "fine"),
            ("0 main/binary-amd64/Packages.xz", "1 main/binary-amd64/Packages", "occurs twice"),
            ("Codename", "\nCodename", "one paragraph; here are 2"),
            ("Acquire-By-Hash: yes", "Acquire-By-Hash: true", "it can be yes or no"),
        ] {
            let result = Release::parse(&text().replacen(from, to, 1));
            let error = result.map_or_else(|error| error.to_string(), |_| "fine".to_owned());
            assert!(error.contains(message), "{error}");
        }
        assert_eq!(Release::parse("").unwrap_err(), ReleaseError::Paragraphs(0));
    }
}
