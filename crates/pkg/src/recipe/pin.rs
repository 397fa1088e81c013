//! Pins: which versions of packages a recipe prefers, and which it keeps away.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::inside;

/// What wins against all that nothing pins, and is no more than a preference.
const PREFERRED: i16 = 990;

/// For these packages, versions like this one, or of this suite, have that priority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(with = "PinTable")]
pub struct Pin {
    /// Packages: names with `*` and `?`, or `src:NAME` for all that a source package makes.
    pub packages: Vec<String>,
    /// Which of their versions.
    #[serde(flatten)]
    pub target: PinTarget,
    /// Never 0.
    pub priority: i16,
}

/// Which versions a pin is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PinTarget {
    /// A version, with `*` and `?`.
    Version(String),
    /// Those of a suite, called by name or codename.
    Suite(String),
}

impl fmt::Display for Pin {
    /// As locks have it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, pattern) = match &self.target {
            PinTarget::Version(version) => ("version", version),
            PinTarget::Suite(suite) => ("release", suite),
        };
        write!(f, "{} {what} {pattern}: {}", self.priority, self.packages.join(" "))
    }
}

/// A pin: packages, either a version or a suite, and a priority.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PinTable {
    /// Packages: names with `*` and `?`, or `src:NAME` for all that a source package makes.
    #[schemars(with = "Vec<String>")]
    packages: Vec<Pattern<PACKAGE>>,
    /// The versions meant: one, or a pattern with `*` and `?`.
    #[schemars(with = "Option<String>")]
    version: Option<Pattern<VERSION>>,
    /// The suite whose versions are meant, by name or codename.
    #[schemars(with = "Option<String>")]
    suite: Option<Pattern<SUITE>>,
    /// 990 (the default) and more: preferred; 500: like any; 1 to 99: only if there is nothing else;
    /// below 0: never.
    priority: Option<i16>,
}

const PACKAGE: usize = 0;
const VERSION: usize = 1;
const SUITE: usize = 2;

/// A word of a pin, read by itself so that an error has its line.
struct Pattern<const WHAT: usize>(String);

impl<'de, const WHAT: usize> Deserialize<'de> for Pattern<WHAT> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        inside::<_, String, _>(from)
    }
}

impl<const WHAT: usize> TryFrom<String> for Pattern<WHAT> {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        // apt takes regular expressions here too; as a pattern they would silently match nothing.
        let plain = |c: char| c.is_ascii_alphanumeric() || "+-._:~*?".contains(c);
        let slash = |c: char| WHAT == SUITE && c == '/';
        if !word.is_empty() && word.chars().all(|c| plain(c) || slash(c)) {
            return Ok(Self(word));
        }
        let what = match WHAT {
            PACKAGE => "a package",
            VERSION => "a version",
            _ => "a suite",
        };
        Err(format!("{word:?} is not {what}; * and ? are the only patterns"))
    }
}

impl<'de> Deserialize<'de> for Pin {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        inside::<_, PinTable, _>(from)
    }
}

impl TryFrom<PinTable> for Pin {
    type Error = String;

    fn try_from(table: PinTable) -> Result<Self, String> {
        let PinTable { packages, version, suite, priority } = table;
        let target = match (version, suite) {
            (Some(version), None) => PinTarget::Version(version.0),
            (None, Some(suite)) => PinTarget::Suite(suite.0),
            _ => return Err("a pin has either version or suite".to_owned()),
        };
        if packages.is_empty() {
            return Err("a pin without packages; \"*\" means all of them".to_owned());
        }
        let packages = packages.into_iter().map(|pattern| pattern.0).collect();
        match priority.unwrap_or(PREFERRED) {
            0 => Err("a pin cannot have priority 0; below 0 a version is never chosen".to_owned()),
            priority => Ok(Self { packages, target, priority }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Document, Packages};
    use super::*;

    fn read(pin: &str) -> Result<Vec<Pin>, String> {
        let text = format!("profile = \"core\"\n[[pins]]\n{pin}\n");
        let mut document = Document::parse(&text).unwrap();
        document.take::<Packages>().map(|taken| taken.pins).map_err(|error| error.to_string())
    }

    #[test]
    fn pins() {
        let pins =
            read("packages = [\"zfs*\", \"src:zfs-linux\"]\nsuite = \"trixie-backports\"").unwrap();
        let target = PinTarget::Suite("trixie-backports".to_owned());
        assert_eq!((pins[0].packages.len(), &pins[0].target, pins[0].priority), (2, &target, 990));
        assert_eq!(pins[0].to_string(), "990 release trixie-backports: zfs* src:zfs-linux");
        let pins = read("packages = [\"*\"]\nversion = \"1:2.*~deb13?\"\npriority = -1").unwrap();
        assert_eq!(pins[0].target, PinTarget::Version("1:2.*~deb13?".to_owned()));
        assert_eq!(pins[0].to_string(), "-1 version 1:2.*~deb13?: *");
    }

    #[test]
    fn wrong_ones_have_their_line() {
        for (pin, message) in [
            ("packages = [\"a\"]", "line 2: a pin has either version or suite"),
            ("packages = [\"a\"]\nversion = \"1\"\nsuite = \"sid\"", "line 2: a pin has either"),
            ("packages = []\nversion = \"1\"", "line 2: a pin without packages"),
            (
                "packages = [\"/^a/\"]\nversion = \"1\"",
                "line 3: \"/^a/\" is not a package; * and ?",
            ),
            ("packages = [\"a\"]\nversion = \"[12]\"", "line 4: \"[12]\" is not a version"),
            (
                "packages = [\"a\",\n\"b\",\n\"[c]\"]\nsuite = \"a\"",
                "line 5: \"[c]\" is not a package",
            ),
            ("packages = [\"a\"]\nsuite = \"\"", "line 4: \"\" is not a suite"),
            (
                "packages = [\"a\"]\nsuite = \"a\"\npriority = 0",
                "line 2: a pin cannot have priority 0",
            ),
            ("packages = [\"a\"]\nsuite = \"a\"\npriority = 40000", "line 5: "),
            (
                "packages = [\"a\"]\nsuite = \"a\"\n\n[[pins]]\npackages = []\nsuite = \"b\"",
                "line 6: a pin without packages",
            ),
            ("package = [\"a\"]", "line 3: unknown key \"package\"; did you mean \"packages\"?"),
            ("suite = \"a\"", "line 2: missing field `packages`"),
        ] {
            let error = read(pin).unwrap_err();
            assert!(error.starts_with(message), "{pin}: {error}");
        }
    }
}
