//! What to mirror: the part of a recipe that the darksite reads.
//!
//! ```toml
//! [darksite]
//! suite = "trixie"
//! profile = "server"
//! packages = ["postgresql"]
//! sets = ["lab.txt"]                 # files beside the recipe, a package a line
//! optional = ["firmware-iwlwifi"]    # left out with a warning if they cannot be had
//! ```

use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use thiserror::Error;

use crate::Location;

/// What to mirror.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Recipe {
    /// The distribution, as `debian`.
    pub distribution: String,
    /// Its release, by codename.
    pub suite: String,
    /// The architecture of the packages, as `amd64`.
    pub architecture: String,
    /// Suites to read, if not all that the distribution has: another darksite has only one.
    pub suites: Vec<String>,
    /// Components to read; the distribution's own choice if there are none.
    pub components: Vec<String>,
    /// Mirrors of the archive, the preferred one first.
    pub mirror: Addresses,
    /// Mirrors of the archive of security updates.
    pub security_mirror: Addresses,
    /// Whether backports may be used, with the low priority that their archive gives them.
    pub backports: bool,
    /// A profile's packages: `core`, `server`, `desktop`.
    pub profile: Option<String>,
    /// Packages that must be there.
    pub packages: Vec<String>,
    /// Files of further packages, a package a line, beside the recipe.
    pub sets: Vec<String>,
    /// Packages that are left out, with a warning, if they cannot be had.
    pub optional: Vec<String>,
    /// Files as in `sets`, each of which is left out as a whole if it cannot be had.
    pub optional_sets: Vec<String>,
    /// Packages that must not be there.
    pub exclude: Vec<String>,
    /// Whether recommended packages are wanted; the profile's own choice if this is not told.
    pub recommends: Option<bool>,
    /// Whether a state that is older than its `Valid-Until` is refused.
    pub check_valid_until: Option<bool>,
    /// File with the keys to trust instead of the distribution's, beside the recipe.
    pub keyring: Option<String>,
    /// The state of the archive on a date, from the public archive of snapshots.
    #[serde(deserialize_with = "date")]
    pub snapshot: Option<Timestamp>,
}

fn date<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
    let text = String::deserialize(from)?;
    let expected = "a date like \"2025-05-20T00:00:00Z\" is expected";
    text.parse().map(Some).map_err(|_| D::Error::custom(format!("{text:?} is no date: {expected}")))
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            distribution: "debian".to_owned(),
            suite: "trixie".to_owned(),
            architecture: "amd64".to_owned(),
            suites: Vec::new(),
            components: Vec::new(),
            mirror: Addresses::default(),
            security_mirror: Addresses::default(),
            backports: false,
            profile: None,
            packages: Vec::new(),
            sets: Vec::new(),
            optional: Vec::new(),
            optional_sets: Vec::new(),
            exclude: Vec::new(),
            recommends: None,
            check_valid_until: None,
            keyring: None,
            snapshot: None,
        }
    }
}

/// One address or several.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "OneOrMany")]
pub struct Addresses(pub Vec<String>);

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl From<OneOrMany> for Addresses {
    fn from(addresses: OneOrMany) -> Self {
        match addresses {
            OneOrMany::One(address) => Self(vec![address]),
            OneOrMany::Many(addresses) => Self(addresses),
        }
    }
}

impl Addresses {
    /// The addresses, checked.
    pub fn locations(&self) -> Result<Vec<Location>, crate::LocationError> {
        self.0.iter().map(|address| address.parse()).collect()
    }
}

/// Why a recipe cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {problem}")]
pub struct RecipeError {
    /// Line of the file, from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: String,
}

/// Keys of the recipe, for suggestions.
const KEYS: [&str; 19] = [
    "distribution",
    "suite",
    "suites",
    "architecture",
    "components",
    "mirror",
    "security-mirror",
    "backports",
    "profile",
    "packages",
    "sets",
    "optional",
    "optional-sets",
    "exclude",
    "recommends",
    "check-valid-until",
    "keyring",
    "snapshot",
    "darksite",
];

/// Reads a recipe in TOML: the table `[darksite]`, or the whole file if there is none.
pub fn parse_recipe(text: &str) -> Result<Recipe, RecipeError> {
    #[derive(Deserialize)]
    struct File {
        darksite: Option<toml::Value>,
    }
    let error = |error: toml::de::Error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = text.get(..start).map_or(1, |before| before.matches('\n').count() + 1);
        RecipeError { line, problem: explained(error.message()) }
    };
    let whole: File = toml::from_str(text).map_err(error)?;
    match whole.darksite {
        // Read again from the text, so that places in it are known.
        Some(_) => {
            #[derive(Deserialize)]
            struct Table {
                darksite: Recipe,
            }
            toml::from_str::<Table>(text).map(|table| table.darksite).map_err(error)
        }
        None => toml::from_str(text).map_err(error),
    }
}

/// Adds the nearest key to serde's message about an unknown one.
fn explained(message: &str) -> String {
    let message = message.lines().next().unwrap_or_default();
    let unknown = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
    let Some(unknown) = unknown else { return message.to_owned() };
    let nearest = KEYS.iter().min_by_key(|key| distance(unknown, key));
    match nearest.filter(|key| distance(unknown, key) <= unknown.len().max(3) / 2) {
        Some(key) => format!("unknown key {unknown:?}; did you mean {key:?}?"),
        None => format!("unknown key {unknown:?}; there are {}", KEYS.join(", ")),
    }
}

/// How many letters must be changed, added or removed.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (at, letter) in from.chars().enumerate() {
        let mut diagonal = at;
        let mut left = at + 1;
        for (other, above) in to.iter().zip(row.iter_mut().skip(1)) {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = *above;
            left = changed.min(left + 1).min(*above + 1);
            *above = left;
        }
        if let Some(first) = row.first_mut() {
            *first = at + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes() {
        let recipe = parse_recipe(
            "suite = \"bookworm\"\nmirror = \"file:/srv\"\nsecurity-mirror = [\"http://a\", \"http://b\"]\n\
             packages = [\"vim\"]\nsnapshot = \"2025-05-20T00:00:00Z\"\n",
        )
        .unwrap();
        assert_eq!((recipe.suite.as_str(), recipe.distribution.as_str()), ("bookworm", "debian"));
        assert_eq!(recipe.security_mirror.locations().unwrap().len(), 2);
        assert_eq!(recipe.snapshot.unwrap().as_second(), 1_747_699_200);
        let inside = "[image]\nsize = 1\n[darksite]\nprofile = \"server\"\n";
        assert_eq!(parse_recipe(inside).unwrap().profile.as_deref(), Some("server"));
        assert_eq!(parse_recipe("").unwrap(), Recipe::default());
    }

    #[test]
    fn errors_name_the_line_and_the_nearest_key() {
        for (text, message) in [
            (
                "suite = \"x\"\npackage = []\n",
                "line 2: unknown key \"package\"; did you mean \"packages\"?",
            ),
            (
                "[darksite]\nmiror = \"x\"\n",
                "line 2: unknown key \"miror\"; did you mean \"mirror\"?",
            ),
            ("zzzzzzzz = 1", "line 1: unknown key \"zzzzzzzz\"; there are distribution"),
            ("suite = 1", "line 1: invalid type: integer `1`, expected a string"),
            ("\nsuite =", "line 2: "),
        ] {
            let error = parse_recipe(text).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error:?} is not {message:?}");
        }
    }
}
