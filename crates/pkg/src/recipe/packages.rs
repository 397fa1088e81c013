//! The keys of a recipe that say which packages, and from where.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Pin;

/// Which packages a recipe wants, and from where.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Packages {
    /// The distribution, as `debian`.
    pub distribution: String,
    /// Its release, by codename.
    pub release: String,
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
    /// A profile's packages: `core`, `server`, `desktop`, or one of profiles.toml beside the recipe.
    pub profile: Option<String>,
    /// Packages that must be there: `name`, `name=version` or `name/suite`.
    pub packages: Vec<String>,
    /// Files of further packages, a package a line, beside the recipe.
    pub sets: Vec<String>,
    /// Packages that are left out, with a warning, if they cannot be had.
    pub optional: Vec<String>,
    /// Files as in `sets`, each of which is left out as a whole if it cannot be had.
    pub optional_sets: Vec<String>,
    /// Packages that must not be there.
    pub exclude: Vec<String>,
    /// Packages, named with `*` and `?`, whose version `kldload darksite update` keeps as the lock has it.
    pub hold: Vec<String>,
    /// Which versions are preferred or kept away, as apt_preferences(5) has it.
    pub pins: Vec<Pin>,
    /// Whether recommended packages are wanted; the profile's own choice if this is not told.
    pub recommends: Option<bool>,
    /// Whether a state that is older than its `Valid-Until` is refused.
    pub check_valid_until: Option<bool>,
    /// File with the keys to trust instead of the distribution's, beside the recipe.
    pub keyring: Option<String>,
    /// The state of the archive on a date, from the public archive of snapshots.
    #[serde(deserialize_with = "date", serialize_with = "written")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub snapshot: Option<Timestamp>,
}

fn date<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
    let text = String::deserialize(from)?;
    let expected = "a date like \"2025-05-20T00:00:00Z\" is expected";
    let wrong = |_| de::Error::custom(format!("{text:?} is no date: {expected}"));
    text.parse().map(Some).map_err(wrong)
}

fn written<S: Serializer>(date: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
    match date {
        Some(date) => to.collect_str(date),
        None => to.serialize_none(),
    }
}

impl Default for Packages {
    fn default() -> Self {
        Self {
            distribution: "debian".to_owned(),
            release: "trixie".to_owned(),
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
            hold: Vec::new(),
            pins: Vec::new(),
            recommends: None,
            check_valid_until: None,
            keyring: None,
            snapshot: None,
        }
    }
}

/// One address or several.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(from = "OneOrMany", into = "Vec<String>")]
#[schemars(with = "OneOrMany")]
pub struct Addresses(pub Vec<String>);

/// One address or several.
#[derive(Deserialize, JsonSchema)]
#[schemars(inline)]
#[serde(untagged)]
#[serde(expecting = "an address or a list of addresses")]
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

/// What is shown and recorded names nobody's password.
impl From<Addresses> for Vec<String> {
    fn from(addresses: Addresses) -> Self {
        addresses.0.iter().map(|address| without_credentials(address)).collect()
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Vec::from(self.clone()).join(" "))
    }
}

/// The address without what stands before `@` in its authority.
pub fn without_credentials(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::super::{Document, RecipeError};
    use super::*;

    fn read(text: &str) -> Result<Packages, RecipeError> {
        let mut document = Document::parse(text)?;
        let packages = document.take()?;
        document.finish().map(|()| packages)
    }

    #[test]
    fn recipes() {
        let packages = read(
            "release = \"bookworm\"\nmirror = \"file:/srv\"\nsecurity_mirror = [\"http://a\", \"http://b\"]\n\
             packages = [\"vim\"]\nsnapshot = \"2025-05-20T00:00:00Z\"\n",
        )
        .unwrap();
        assert_eq!(
            (&*packages.release, &*packages.distribution, &*packages.mirror.0),
            ("bookworm", "debian", &["file:/srv".to_owned()][..])
        );
        assert_eq!(packages.security_mirror.0.len(), 2);
        let secret = read("release = \"x\"\nmirror = \"http://me:s3cret@h/debian\"\n").unwrap();
        assert_eq!(secret.mirror.to_string(), "http://h/debian");
        assert_eq!(Vec::from(secret.mirror), ["http://h/debian"]);
        assert_eq!(packages.snapshot.unwrap().as_second(), 1_747_699_200);
        assert_eq!(read("").unwrap(), Packages::default());
    }

    #[test]
    fn errors_name_line_and_value() {
        for (text, message) in [
            (
                "release = \"x\"\npackage = []\n",
                "line 2: unknown key \"package\"; did you mean \"packages\"?",
            ),
            ("miror = \"x\"\n", "line 1: unknown key \"miror\"; did you mean \"mirror\"?"),
            ("zzzzzzzz = 1", "line 1: unknown key \"zzzzzzzz\"; known are architecture"),
            ("release = 1", "line 1: invalid type: integer `1`, expected a string"),
            ("\nmirror = 1", "line 2: an address or a list of addresses"),
            ("\nrelease =", "line 2: "),
            ("\n\nsnapshot = \"may\"", "line 3: \"may\" is no date: a date like"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error:?} is not {message:?}");
        }
    }
}
