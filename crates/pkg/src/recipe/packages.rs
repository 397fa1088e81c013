//! The keys of a recipe that say which packages, and from where.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use toml::value::Datetime;

use super::{Pin, inside};

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
    /// Packages that must be there: `name`, `name=version` or `name/suite`. A name may end in `:` and the
    /// recipe's own architecture.
    #[serde(deserialize_with = "requests")]
    pub packages: Vec<String>,
    /// Files of further packages, a package a line, beside the recipe.
    pub sets: Vec<String>,
    /// Packages that are left out, with a warning, if they cannot be had.
    #[serde(deserialize_with = "requests")]
    pub optional: Vec<String>,
    /// Files as in `sets`, each of which is left out as a whole if it cannot be had.
    pub optional_sets: Vec<String>,
    /// Packages that must not be there.
    #[serde(deserialize_with = "names")]
    pub exclude: Vec<String>,
    /// Packages, named with `*` and `?`, whose version `kldload darksite update` keeps as the lock has it.
    pub hold: Vec<String>,
    /// Which versions are preferred or kept away, as apt_preferences(5) has it.
    pub pins: Vec<Pin>,
    /// Whether recommended packages are wanted; the profile's own choice if this is not told.
    pub recommends: Option<bool>,
    /// Whether a state that is older than its `Valid-Until` is refused.
    pub check_valid_until: Option<bool>,
    /// File with the keys to trust instead of the distribution's: a path from the recipe's directory, or an absolute one.
    pub keyring: Option<String>,
    /// The state of the archive on a date, from the public archive of snapshots.
    #[serde(deserialize_with = "date", serialize_with = "written")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub snapshot: Option<Timestamp>,
}

/// Lists whose every word is judged, so that an error has the word's line.
pub(crate) fn requests<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(Vec::<Asked>::deserialize(from)?.into_iter().map(|asked| asked.0).collect())
}

fn names<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(Vec::<Named>::deserialize(from)?.into_iter().map(|named| named.0).collect())
}

struct Asked(String);

struct Named(String);

impl<'de> Deserialize<'de> for Asked {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        inside::<_, String, _>(from)
    }
}

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        inside::<_, String, _>(from)
    }
}

impl TryFrom<String> for Asked {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let expected = "packages are asked for as name, name=version or name/suite; names have at \
                        least two of a-z 0-9 + - .";
        if is_request(&text) { Ok(Self(text)) } else { Err(format!("{text:?}: {expected}")) }
    }
}

impl TryFrom<String> for Named {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let expected = "names of packages have at least two of a-z 0-9 + - .";
        if is_name(&text) { Ok(Self(text)) } else { Err(format!("{text:?}: {expected}")) }
    }
}

/// Whether `text` can ask for a package: `name`, `name=version` or `name/suite`.
pub fn is_request(text: &str) -> bool {
    let version = |c: char| c.is_ascii_alphanumeric() || "+-.:~".contains(c);
    let suite = |c: char| c.is_ascii_alphanumeric() || "-._/".contains(c);
    let all = |word: &str, fine: &dyn Fn(char) -> bool| !word.is_empty() && word.chars().all(fine);
    match (text.split_once('='), text.split_once('/')) {
        (Some((name, rest)), _) => is_name(name) && all(rest, &version),
        (None, Some((name, rest))) => is_name(name) && all(rest, &suite),
        (None, None) => is_name(text),
    }
}

/// `text`, which asks for a package or names one, without the architecture that it may tell. Only packages of the
/// recipe's own `architecture` are chosen, so another one is a mistake.
pub fn native(text: &str, architecture: &str) -> Result<String, String> {
    let (name, rest) = text.split_at(text.find(['=', '/']).unwrap_or(text.len()));
    match name.split_once(':') {
        None => Ok(text.to_owned()),
        Some((name, own)) if own == architecture => Ok(format!("{name}{rest}")),
        Some(_) => Err(format!(
            "{text:?}: a machine has packages of one architecture; here it is {architecture}"
        )),
    }
}

/// The names that Debian's policy (5.6.1) permits; dpkg itself reads more. `name:architecture` is one.
fn is_name(text: &str) -> bool {
    let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let plain = |name: &str| {
        name.len() >= 2
            && name.bytes().next().is_some_and(lower)
            && name.bytes().all(|byte| lower(byte) || b"+-.".contains(&byte))
    };
    match text.split_once(':') {
        Some((name, architecture)) => plain(name) && plain(architecture),
        None => plain(text),
    }
}

/// TOML has dates of its own, which have no quotes.
#[derive(Deserialize)]
#[serde(untagged)]
#[serde(expecting = "a date like \"2025-05-20T00:00:00Z\" is expected")]
enum Date {
    Quoted(String),
    Plain(Datetime),
}

fn date<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
    let text = match Date::deserialize(from)? {
        Date::Quoted(text) => text,
        Date::Plain(date) => date.to_string(),
    };
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
        for plain in ["2025-05-20T00:00:00Z", "2025-05-20 02:00:00+02:00"] {
            let snapshot = read(&format!("snapshot = {plain}")).unwrap().snapshot;
            assert_eq!(snapshot, packages.snapshot, "{plain}");
        }
        assert_eq!(read("").unwrap(), Packages::default());
    }

    #[test]
    fn what_can_be_asked_for() {
        for fine in
            ["vim", "g++", "libc6:i386", "0ad", "zfs-dkms/trixie-backports", "bash=5.2.37-2+b5"]
        {
            assert!(is_request(fine), "{fine}");
        }
        for wrong in ["v", "-vim", "vim ", "vim,nano", "vim=1 2", "vim/", "vi_m", "libc6:"] {
            assert!(!is_request(wrong), "{wrong}");
        }
    }

    #[test]
    fn one_architecture() {
        for (text, plain) in [
            ("vim", "vim"),
            ("vim:amd64", "vim"),
            ("vim:amd64=2:9.1-1", "vim=2:9.1-1"),
            ("vim=2:9.1-1", "vim=2:9.1-1"),
            ("vim:amd64/sid", "vim/sid"),
        ] {
            assert_eq!(native(text, "amd64").unwrap(), plain);
        }
        for other in ["vim:i386", "vim:all", "vim:arm64=2:9.1-1"] {
            let error = native(other, "amd64").unwrap_err();
            assert!(error.starts_with(&format!("{other:?}: ")) && error.ends_with("amd64"));
        }
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
            ("release = 1", "line 1: invalid type: integer `1`; text in quotes is expected"),
            ("\nmirror = 1", "line 2: an address or a list of addresses"),
            ("\nrelease =", "line 2: "),
            (
                "packages = [\"vim\",\n\"\"]",
                "line 2: \"\": packages are asked for as name, name=version",
            ),
            ("packages = [\"VIM\"]", "line 1: \"VIM\": packages are asked for"),
            ("packages = [\"vim=\"]", "line 1: \"vim=\": packages are asked for"),
            ("\noptional = [\"v\"]", "line 2: \"v\": packages are asked for"),
            ("exclude = [\n\"vim/sid\"]", "line 2: \"vim/sid\": names of packages have"),
            ("packages = \"vim\"", "line 1: invalid type: string \"vim\"; a list, as"),
            ("backports = 1", "line 1: invalid type: integer `1`; true or false is expected"),
            ("\n\nsnapshot = \"may\"", "line 3: \"may\" is no date: a date like"),
            ("\nsnapshot = 2025-05-20", "line 2: \"2025-05-20\" is no date: a date like"),
            ("\nsnapshot = 1", "line 2: a date like"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error:?} is not {message:?}");
        }
    }
}
