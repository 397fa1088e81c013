//! Profiles: named requests for packages, as data; and an organisation's own package sets.
//!
//! A profile is a table of a TOML file:
//!
//! ```toml
//! [server]
//! description = "a headless machine"
//! extends = "core"          # everything of that profile, before its own
//! essential = true          # all essential packages
//! priority = "standard"     # and all of at least this priority
//! recommends = false        # recommended packages
//! packages = ["openssh-server"]
//! exclude = ["nano"]        # never chosen
//! [server.release.trixie]   # only for this release
//! packages = ["systemd-resolved"]
//! ```
//!
//! What a profile does not say is as in the one it extends. Built in are `core`, `server` and `desktop`
//! for each distribution. A package set is a text file with a package on each line, `#` before comments.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde::Deserialize;
use thiserror::Error;

use crate::recipe::{explained, is_request, line_of, native, nearest, requests};

/// The built-in profiles of each distribution.
const KNOWN: &[(&str, &str)] = &[("debian", include_str!("../data/debian/profiles.toml"))];

/// Longest chain of `extends`.
const CHAIN: usize = 16;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(default)]
    description: String,
    extends: Option<String>,
    essential: Option<bool>,
    priority: Option<String>,
    recommends: Option<bool>,
    #[serde(default, deserialize_with = "requests")]
    packages: Vec<String>,
    #[serde(default)]
    exclude: Vec<String>,
    #[serde(default)]
    release: BTreeMap<String, Part>,
    #[serde(skip)]
    name: String,
    /// The file it is in, and all that this says.
    #[serde(skip)]
    file: String,
    #[serde(skip)]
    text: Arc<str>,
    /// The line with its `extends`.
    #[serde(skip)]
    line: usize,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    #[serde(default, deserialize_with = "requests")]
    packages: Vec<String>,
    #[serde(default)]
    exclude: Vec<String>,
    /// Packages of the profile, or of those it extends, that this release does not have.
    #[serde(default)]
    without: Vec<String>,
}

/// A profile for one release, everything it extends included.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// What it is for, in words.
    pub description: String,
    /// Whether all essential packages are part of it.
    pub essential: bool,
    /// All packages of at least this priority are part of it: `required`, `important`, `standard`.
    pub priority: Option<String>,
    /// Whether recommended packages are taken.
    pub recommends: bool,
    /// Packages, in order, without doubles.
    pub packages: Vec<String>,
    /// Packages that are never chosen.
    pub exclude: Vec<String>,
    /// What is commonly a mistake, with file and line.
    pub warning: Option<String>,
}

/// Profiles by name.
#[derive(Debug, Clone, Default)]
pub struct Profiles {
    tables: BTreeMap<String, Table>,
}

/// Why a profile or set cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProfileError {
    /// There is none of this name.
    #[error("the profile {name:?} is not known; {}", nearest(name, known))]
    Unknown {
        /// The name.
        name: String,
        /// The names that are known.
        known: Vec<String>,
    },
    /// The file is wrong; the message has the line.
    #[error("{file}: {message}")]
    File {
        /// Name of the file.
        file: String,
        /// What is wrong.
        message: String,
    },
    /// Profiles extend each other in a circle.
    #[error("the profile {0:?} extends itself, or more than {CHAIN} others")]
    Circle(String),
    /// A line of a package set is no package.
    #[error("{file}: line {line}: {text:?} is not the name of a package")]
    Set {
        /// Name of the file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is in it.
        text: String,
    },
}

impl Profiles {
    /// The built-in profiles of a distribution; none if it is not known.
    pub fn built_in(distribution: &str) -> Result<Self, ProfileError> {
        let mut profiles = Self::default();
        if let Some((_, text)) = KNOWN.iter().find(|(known, _)| *known == distribution) {
            profiles.add("built-in profiles", text)?;
        }
        Ok(profiles)
    }

    /// Adds the profiles of a TOML file; one of the same name replaces the one that was there. `file` is
    /// for messages.
    pub fn add(&mut self, file: &str, text: &str) -> Result<(), ProfileError> {
        let mut tables: BTreeMap<String, Table> = toml::from_str(text).map_err(|error| {
            let message = explained(text, &error).to_string();
            ProfileError::File { file: file.to_owned(), message }
        })?;
        let whole: Arc<str> = Arc::from(text);
        for (name, table) in &mut tables {
            name.clone_into(&mut table.name);
            file.clone_into(&mut table.file);
            table.text = Arc::clone(&whole);
            table.line = line_of(text, &format!("{name}.extends")).unwrap_or(1);
            let known =
                [None, Some("required"), Some("important"), Some("standard"), Some("optional")];
            if !known.contains(&table.priority.as_deref()) {
                return Err(ProfileError::File {
                    file: file.to_owned(),
                    message: format!(
                        "{name}: priority is {:?}; it can be required, important, standard or optional",
                        table.priority.as_deref().unwrap_or_default()
                    ),
                });
            }
        }
        self.tables.extend(tables);
        Ok(())
    }

    /// Names and descriptions.
    pub fn list(&self) -> impl Iterator<Item = (&str, &str)> {
        self.tables.iter().map(|(name, table)| (&**name, &*table.description))
    }

    /// The profile of this name for the release of this codename.
    pub fn get(&self, name: &str, codename: &str) -> Result<Profile, ProfileError> {
        let chain = self.chain(name)?;
        let mut profile = Profile { name: name.to_owned(), ..Profile::default() };
        if chain.iter().all(|table| table.essential.is_none())
            && let Some(Table { file, line, .. }) = chain.first().copied()
        {
            profile.warning = Some(format!(
                "{file}: line {line}: the profile {name:?} brings no essential packages, and what it makes is no \
                 machine; extends = \"core\" brings them, essential = false says that it is meant so"
            ));
        }
        for table in chain.iter().rev() {
            profile.description.clone_from(&table.description);
            profile.essential = table.essential.unwrap_or(profile.essential);
            profile.recommends = table.recommends.unwrap_or(profile.recommends);
            profile.priority = table.priority.clone().or(profile.priority);
            add(&mut profile.packages, &table.packages);
            add(&mut profile.exclude, &table.exclude);
            if let Some(part) = table.release.get(codename) {
                add(&mut profile.packages, &part.packages);
                add(&mut profile.exclude, &part.exclude);
                profile.packages.retain(|package| !part.without.contains(package));
            }
        }
        Ok(profile)
    }

    /// The profile of this name and those that it extends.
    fn chain(&self, name: &str) -> Result<Vec<&Table>, ProfileError> {
        let mut chain: Vec<&Table> = Vec::new();
        let mut next = Some(name);
        while let Some(one) = next {
            // What a profile extends is not the mistake of who asks for it.
            let blame = |error: ProfileError| match chain.last() {
                Some(Table { file, line, .. }) => ProfileError::File {
                    file: file.clone(),
                    message: format!("line {line}: {error}"),
                },
                None => error,
            };
            if chain.len() == CHAIN {
                return Err(blame(ProfileError::Circle(name.to_owned())));
            }
            let table = self.tables.get(one).ok_or_else(|| {
                let known = self.tables.keys().cloned().collect();
                blame(ProfileError::Unknown { name: one.to_owned(), known })
            })?;
            chain.push(table);
            next = table.extends.as_deref();
        }
        Ok(chain)
    }

    /// File and line in which the profile of this name, or one that it extends, asks for `package`.
    pub fn place(&self, name: &str, codename: &str, package: &str) -> Option<(&str, usize)> {
        self.chain(name).ok()?.into_iter().find_map(|table| {
            let at = |list: &[String]| list.iter().position(|one| one == package);
            let part = table.release.get(codename);
            let key = match (at(&table.packages), part.and_then(|part| at(&part.packages))) {
                (Some(at), _) => format!("packages.{at}"),
                (None, Some(at)) => format!("release.{codename}.packages.{at}"),
                (None, None) => return None,
            };
            let line = line_of(&table.text, &format!("{}.{key}", table.name)).unwrap_or(1);
            Some((table.file.as_str(), line))
        })
    }
}

fn add(to: &mut Vec<String>, from: &[String]) {
    for one in from {
        if !to.contains(one) {
            to.push(one.clone());
        }
    }
}

/// Reads a package set: a package on each line (`name`, `name=version`, `name/suite`), `#` before
/// comments. Names may end in `:` and the `architecture`. Each with its first line, from 1. `file` is for messages.
pub fn parse_set(
    file: &str,
    text: &str,
    architecture: &str,
) -> Result<Vec<(usize, String)>, ProfileError> {
    let mut packages = Vec::new();
    let mut seen = HashSet::new();
    // Some editors put a byte order mark there.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (at, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        if !is_request(line) {
            return Err(ProfileError::Set {
                file: file.to_owned(),
                line: at + 1,
                text: line.to_owned(),
            });
        }
        let package = native(line, architecture).map_err(|problem| ProfileError::File {
            file: file.to_owned(),
            message: format!("line {}: {problem}", at + 1),
        })?;
        if seen.insert(package.clone()) {
            packages.push((at + 1, package));
        }
    }
    Ok(packages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_profiles_extend() {
        let profiles = Profiles::built_in("debian").unwrap();
        let core = profiles.get("core", "trixie").unwrap();
        let desktop = profiles.get("desktop", "trixie").unwrap();
        assert!(core.essential && !core.recommends && desktop.essential && desktop.recommends);
        assert_eq!(desktop.priority.as_deref(), Some("standard"));
        assert!(core.packages.iter().all(|package| desktop.packages.contains(package)));
        assert!(core.packages.contains(&"systemd-boot-efi".to_owned()));
        let old = profiles.get("core", "bookworm").unwrap();
        assert!(!old.packages.contains(&"systemd-boot-efi".to_owned()));
    }

    #[test]
    fn own_profiles() {
        let mut profiles = Profiles::built_in("debian").unwrap();
        assert_eq!(profiles.get("desktop", "trixie").unwrap().warning, None);
        let own = "[lab]\nextends = \"server\"\npackages = [\"r-base\"]\nexclude = [\"vim\"]\n[lab.release.forky]\nwithout = \
                   [\"jq\"]\n";
        profiles.add("lab.toml", own).unwrap();
        let lab = profiles.get("lab", "forky").unwrap();
        assert_eq!(lab.packages.last().unwrap(), "r-base");
        assert!(!lab.packages.contains(&"jq".to_owned()) && lab.exclude == ["vim"]);
        assert_eq!(profiles.place("lab", "forky", "r-base"), Some(("lab.toml", 3)));
        assert_eq!(profiles.place("lab", "forky", "jq").unwrap().0, "built-in profiles");
        assert_eq!(profiles.place("lab", "forky", "x"), None);
        let error = profiles.get("lap", "forky").unwrap_err().to_string();
        assert_eq!(error, "the profile \"lap\" is not known; did you mean \"lab\"?");
        profiles.add("x", "[a]\nextends = \"b\"\n[b]\nextends = \"a\"\n").unwrap();
        let error = profiles.get("a", "x").unwrap_err().to_string();
        assert!(error.starts_with("x: line 4: the profile \"a\" extends itself"), "{error}");
        profiles.add("y", "[c]\nextends = \"d\"\n\n[d]\nextends = \"cor\"\n").unwrap();
        let error = profiles.get("c", "x").unwrap_err().to_string();
        let expected = "y: line 5: the profile \"cor\" is not known; did you mean \"core\"?";
        assert_eq!(error, expected);
        let error = profiles.add("x.toml", "[a]\npackage = []\n").unwrap_err().to_string();
        let expected = "x.toml: line 2: unknown key \"package\"; did you mean \"packages\"?";
        assert_eq!(error, expected);
        let error =
            profiles.add("x.toml", "[a]\npackages = [\n\"VIM\"]\n").unwrap_err().to_string();
        assert!(error.starts_with("x.toml: line 3: \"VIM\": packages are asked for"), "{error}");
        let error = profiles.add("x.toml", "[a]\npriority = \"high\"\n").unwrap_err().to_string();
        assert!(error.contains("a: priority is \"high\""), "{error}");
    }

    /// What docs/recipes.md shows is read, and means what it says there.
    #[test]
    fn the_documented_ones() {
        let text = include_str!("../../../docs/recipes.md");
        let (_, text) = text.split_once("\n## Profiles\n").unwrap();
        let (text, _) = text.split_once("\n## ").unwrap();
        let blocks: Vec<&str> = text.split("```toml\n").skip(1).collect();
        let blocks: Vec<&str> =
            blocks.iter().map(|block| block.split_once("```").unwrap().0).collect();
        let [office, mine] = blocks[..] else { panic!("{} examples", blocks.len()) };
        let mut profiles = Profiles::built_in("debian").unwrap();
        profiles.add("profiles.toml", office).unwrap();
        let server = profiles.get("server", "trixie").unwrap();
        let office = profiles.get("office", "trixie").unwrap();
        assert!(office.essential && office.recommends && !server.recommends);
        assert_eq!((office.priority, office.warning), (server.priority, None));
        let asked = |package: &str| office.packages.iter().any(|one| one == package);
        assert!(server.packages.contains(&"needrestart".to_owned()) && !asked("needrestart"));
        assert!(asked("openssh-server") && asked("rsyslog") && asked("linux-sysctl-defaults"));
        assert!(
            !profiles
                .get("office", "forky")
                .unwrap()
                .packages
                .contains(&"linux-sysctl-defaults".to_owned())
        );
        assert_eq!(office.exclude, ["nano"]);

        profiles.add("profiles.toml", mine).unwrap();
        let warned = |name: &str| profiles.get(name, "trixie").unwrap().warning;
        let told = "profiles.toml: line 1: the profile \"mine\" brings no essential packages";
        assert!(warned("mine").unwrap().starts_with(told));
        assert!(!profiles.get("mine", "trixie").unwrap().essential);
        for (more, fine) in [
            ("[mine]\nessential = false\n", true),
            ("[mine]\nessential = true\n", true),
            ("[mine]\nextends = \"core\"\n", true),
            ("[base]\npackages = [\"vim\"]\n\n[mine]\nextends = \"base\"\n", false),
        ] {
            let mut profiles = profiles.clone();
            profiles.add("profiles.toml", more).unwrap();
            assert_eq!(profiles.get("mine", "trixie").unwrap().warning.is_none(), fine, "{more}");
        }
    }

    #[test]
    fn sets() {
        let parse = |text: &str| {
            let lines = parse_set("lab.txt", text, "amd64")?;
            Ok::<_, ProfileError>(lines.into_iter().map(|(_, package)| package).collect::<Vec<_>>())
        };
        let set = parse(
            "\u{feff}# ours\nr-base  # statistics\n\nvim\nr-base:amd64\nzfs/trixie-backports\n",
        );
        assert_eq!(set.unwrap(), ["r-base", "vim", "zfs/trixie-backports"]);
        let error = parse("aa\nb c\n").unwrap_err().to_string();
        assert_eq!(error, "lab.txt: line 2: \"b c\" is not the name of a package");
        let error = parse("aa\nbb:i386\n").unwrap_err().to_string();
        assert!(error.starts_with("lab.txt: line 2: \"bb:i386\": a machine has"), "{error}");
    }
}
