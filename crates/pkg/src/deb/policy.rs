//! Which version of each package may be chosen: pins, holds, exclusions (apt_preferences(5)).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use thiserror::Error;

use super::packages::Package;
use super::universe::{Entry, IndexInfo, Name, NameId, Universe, VersionId};
use super::version::Version;

/// A pin: for these packages, versions of this origin have that priority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// Names of packages with `*` and `?`, or `src:NAME` for all of a source package. A single `*` is a
    /// general pin, which loses against any of names.
    pub packages: Vec<String>,
    /// Which versions.
    pub target: PinTarget,
    /// The priority: below 0 never chosen, 1 to 99 only if there is nothing else, 100 as backports,
    /// 500 as any, 990 the preferred release, above 1000 even if it is a downgrade.
    pub priority: i32,
}

/// Which versions a pin is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinTarget {
    /// A version, with `*` and `?`.
    Version(String),
    /// Indexes of a suite, called by this name or codename, with `*` and `?`.
    Suite(String),
    /// Indexes of a release: pairs of `o l a n v c` and a pattern; all must match.
    Release(Vec<(char, String)>),
    /// Indexes from a host.
    Origin(String),
}

/// Why a pin cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the pin {0:?} is none of \"version V\", \"release n=SUITE,c=COMPONENT\", \"origin HOST\"")]
pub struct PinError(pub String);

impl PinTarget {
    /// Reads the value of apt's `Pin`: `version 1.2*`, `release n=trixie-backports`, `origin "host"`.
    pub fn parse(text: &str) -> Result<Self, PinError> {
        let bad = || PinError(text.to_owned());
        let (kind, rest) = text.trim().split_once(' ').ok_or_else(bad)?;
        let rest = rest.trim();
        match kind {
            "version" if !rest.is_empty() => Ok(Self::Version(rest.to_owned())),
            "origin" => Ok(Self::Origin(rest.trim_matches('"').to_owned())),
            "release" if rest == "*" => Ok(Self::Release(Vec::new())),
            // A bare word is a version or a suite, as apt reads it.
            "release" if !rest.contains(['=', ',']) && !rest.is_empty() => {
                Ok(match rest.starts_with(|c: char| c.is_ascii_digit()) {
                    true => Self::Release(vec![('v', rest.to_owned())]),
                    false => Self::Suite(rest.to_owned()),
                })
            }
            "release" => {
                let one = |part: &str| -> Option<(char, String)> {
                    let (key, value) = part.trim().split_once('=')?;
                    let mut letters = key.chars();
                    let key = letters.next().filter(|key| "olanvc".contains(*key))?;
                    letters.next().is_none().then(|| (key, value.to_owned()))
                };
                let parts: Option<Vec<_>> = rest.split(',').map(one).collect();
                parts.map(Self::Release).ok_or_else(bad)
            }
            _ => Err(bad()),
        }
    }

    fn matches_index(&self, info: &IndexInfo) -> bool {
        match self {
            Self::Version(_) => false,
            Self::Suite(name) => glob(name, &info.suite) || glob(name, &info.codename),
            Self::Origin(host) => glob(host, &info.site),
            Self::Release(parts) => parts.iter().all(|(key, pattern)| {
                glob(
                    pattern,
                    match key {
                        'o' => &info.origin,
                        'l' => &info.label,
                        'a' => &info.suite,
                        'n' => &info.codename,
                        'v' => &info.version,
                        _ => &info.component,
                    },
                )
            }),
        }
    }
}

impl fmt::Display for PinTarget {
    /// As apt's `Pin` has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "version {version}"),
            Self::Suite(name) => write!(f, "release {name}"),
            Self::Release(parts) if parts.is_empty() => f.write_str("release *"),
            Self::Release(parts) => {
                let parts: Vec<String> =
                    parts.iter().map(|(key, value)| format!("{key}={value}")).collect();
                write!(f, "release {}", parts.join(","))
            }
            Self::Origin(host) => write!(f, "origin \"{host}\""),
        }
    }
}

/// What is asked of the choice of versions.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Pins in order. Of those that name packages the first that fits a version holds, else the general
    /// ones: for each index the first that matches it, and the highest of all indexes that have the version.
    pub pins: Vec<Pin>,
    /// Names of packages that are never chosen.
    pub excluded: BTreeSet<String>,
    /// Exact versions of packages asked for as `name=version`.
    pub versions: BTreeMap<String, String>,
    /// Exact versions of packages that are held. One that no index has is refused: what would come
    /// instead is what a hold is to prevent.
    pub held: BTreeMap<String, String>,
    /// Versions that the other packages have. They stay where newer ones do not fit what is held.
    pub present: BTreeMap<String, String>,
    /// Suites or codenames that packages asked for as `name/suite` come from.
    pub suites: BTreeMap<String, String>,
}

/// A name of a policy that is no package's, so that nothing comes of it; commonly it is misspelt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownName {
    /// What it stands in: `exclude`, `packages` or `pin`.
    pub what: &'static str,
    /// The name, or a pattern of a pin.
    pub name: String,
    /// Packages that provide what is called so, at most three.
    pub providers: Vec<String>,
    /// Names that are near it.
    pub near: Vec<String>,
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, name, providers, near } = self;
        write!(f, "{what}: there is no package {name:?}, so nothing comes of it")?;
        match &**providers {
            [] => f.write_str(&hint(near)),
            _ => write!(f, "; it is what others provide, as {}", providers.join(", ")),
        }
    }
}

/// The end of a message about a name that is not there.
pub(super) fn hint(near: &[String]) -> String {
    match near {
        [] => String::new(),
        _ => format!("; is one of these meant: {}?", near.join(", ")),
    }
}

impl Policy {
    /// Holds packages, named with `*` and `?`, at the versions that they have, and remembers those of the
    /// others; tells which of the names are nobody's.
    pub fn hold<'a>(
        &mut self,
        patterns: &[String],
        installed: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    ) -> Vec<String> {
        let mut nobodys = patterns.to_vec();
        for (name, version) in installed {
            if patterns.iter().any(|pattern| glob(pattern, name)) {
                self.held.insert(name.to_owned(), version.to_owned());
                nobodys.retain(|pattern| !glob(pattern, name));
            } else {
                self.present.insert(name.to_owned(), version.to_owned());
            }
        }
        nobodys
    }

    /// Whether something else decides the version of a package that is held.
    pub(super) fn overrules_hold(&self, name: &str) -> bool {
        self.excluded.contains(name)
            || self.versions.contains_key(name)
            || self.suites.contains_key(name)
    }

    /// Pins that change nothing, in words: no index is of their suite, or no package of their version.
    pub fn idle(&self, universe: &Universe<'_>) -> Vec<String> {
        let matches = |pin: &&Pin| match &pin.target {
            PinTarget::Version(version) => {
                universe.entries().iter().any(|Entry { package, .. }| {
                    glob(version, package.version.as_str())
                        && pin.packages.iter().any(|pattern| names(pattern, package))
                })
            }
            target => universe.indexes().iter().any(|info| target.matches_index(info)),
        };
        let idle = self.pins.iter().filter(|pin| !matches(pin));
        idle.map(|pin| {
            let (target, packages) = (&pin.target, pin.packages.join(", "));
            format!("pin: nothing is of {target}, so nothing comes of the pin of {packages}")
        })
        .collect()
    }

    /// The names in it that no index has.
    pub fn unknown(&self, universe: &Universe<'_>) -> Vec<UnknownName> {
        let plain = |name: &str| {
            let id = universe.name_id(name);
            id.is_some_and(|id| !universe.name(id).versions.is_empty())
        };
        let excluded = self.excluded.iter().filter(|name| !plain(name));
        let asked = self.versions.keys().chain(self.suites.keys()).filter(|name| !plain(name));
        let pinned = self.pins.iter().flat_map(|pin| &pin.packages);
        let pinned = pinned.filter(|pattern| {
            !universe.entries().iter().any(|entry| names(pattern, &entry.package))
        });
        let named = |what| move |name: &String| UnknownName::new(universe, what, name);
        let mut unknown: Vec<UnknownName> = excluded.map(named("exclude")).collect();
        unknown.extend(asked.map(named("packages")));
        unknown.extend(pinned.map(named("pin")));
        unknown
    }

    /// For each name the version that may be chosen; `None` where there is none.
    pub fn candidates(&self, universe: &Universe<'_>) -> Vec<Option<VersionId>> {
        let general: Vec<&Pin> = self.pins.iter().filter(|pin| is_general(pin)).collect();
        let special: Vec<&Pin> = self.pins.iter().filter(|pin| !is_general(pin)).collect();
        let by_index: Vec<i32> = universe
            .indexes()
            .iter()
            .map(|info| {
                let pin = general.iter().find(|pin| pin.target.matches_index(info));
                pin.map_or(info.priority, |pin| pin.priority)
            })
            .collect();
        (0..universe.names().len())
            .map(|id| {
                let id = NameId::try_from(id).unwrap_or(NameId::MAX);
                self.candidate(universe, id, &by_index, &special)
            })
            .collect()
    }

    fn candidate(
        &self,
        universe: &Universe<'_>,
        id: NameId,
        by_index: &[i32],
        special: &[&Pin],
    ) -> Option<VersionId> {
        let name = universe.name(id);
        if name.versions.is_empty() || self.excluded.contains(name.name) {
            return None;
        }
        if let Some(wanted) = self.versions.get(name.name) {
            return with_version(universe, name, wanted);
        }
        if let Some(suite) = self.suites.get(name.name) {
            return name.versions.iter().copied().find(|&id| is_from(universe, id, suite));
        }
        if let Some(wanted) = self.held.get(name.name) {
            return with_version(universe, name, wanted);
        }
        let mut best: Option<(i32, VersionId)> = None;
        for &version in &name.versions {
            let Some(entry) = universe.entry(version) else { continue };
            let priority = priority(universe, entry, by_index, special);
            if priority > 0 && best.is_none_or(|(other, _)| priority > other) {
                best = Some((priority, version));
            }
        }
        best.map(|(_, version)| version)
    }

    /// The priority of one version, as `apt-cache policy` shows it.
    pub fn priority(&self, universe: &Universe<'_>, version: VersionId) -> i32 {
        let general: Vec<&Pin> = self.pins.iter().filter(|pin| is_general(pin)).collect();
        let special: Vec<&Pin> = self.pins.iter().filter(|pin| !is_general(pin)).collect();
        let of_index = |info: &IndexInfo| {
            let pin = general.iter().find(|pin| pin.target.matches_index(info));
            pin.map_or(info.priority, |pin| pin.priority)
        };
        let by_index: Vec<i32> = universe.indexes().iter().map(of_index).collect();
        universe.entry(version).map_or(0, |entry| priority(universe, entry, &by_index, &special))
    }
}

/// Whether a version is in a suite, called by its name or codename.
pub(super) fn is_from(universe: &Universe<'_>, version: VersionId, suite: &str) -> bool {
    let entry = universe.entry(version);
    entry.is_some_and(|entry| universe.infos(entry).any(|info| info.is_called(suite)))
}

/// The version of a package that is equal to this one.
pub(super) fn with_version(
    universe: &Universe<'_>,
    name: &Name<'_>,
    wanted: &str,
) -> Option<VersionId> {
    let wanted = Version::parse(wanted).ok()?;
    let same =
        |id: &VersionId| universe.entry(*id).is_some_and(|entry| entry.package.version == wanted);
    name.versions.iter().copied().find(same)
}

impl UnknownName {
    fn new(universe: &Universe<'_>, what: &'static str, name: &str) -> Self {
        let known = universe.name_id(name).map(|id| universe.name(id));
        let provided = known.into_iter().flat_map(|known| &known.providers);
        let mut providers: Vec<String> = provided
            .filter_map(|&(version, _)| universe.entry(version))
            .map(|entry| entry.package.name.to_owned())
            .collect();
        providers.sort_unstable();
        providers.dedup();
        providers.truncate(3);
        let near = universe.near(name).into_iter().map(str::to_owned).collect();
        Self { what, name: name.to_owned(), providers, near }
    }
}

/// Whether a pattern of a pin is about a package.
fn names(pattern: &str, package: &Package<'_>) -> bool {
    match pattern.strip_prefix("src:") {
        Some(source) => glob(source, package.source),
        None => glob(pattern, package.name),
    }
}

fn is_general(pin: &Pin) -> bool {
    pin.packages.iter().any(|pattern| pattern == "*")
        && !matches!(pin.target, PinTarget::Version(_))
}

fn priority(universe: &Universe<'_>, entry: &Entry<'_>, by_index: &[i32], special: &[&Pin]) -> i32 {
    let package = &entry.package;
    let fits = |pin: &&&Pin| {
        pin.packages.iter().any(|pattern| names(pattern, package))
            && match &pin.target {
                PinTarget::Version(pattern) => glob(pattern, package.version.as_str()),
                target => universe.infos(entry).any(|info| target.matches_index(info)),
            }
    };
    // A pin of names is for the version, wherever else it may be.
    if let Some(pin) = special.iter().find(fits) {
        return pin.priority;
    }
    let of_indexes =
        entry.indexes.iter().filter_map(|&index| by_index.get(usize::from(index)).copied());
    of_indexes.max().unwrap_or(0)
}

/// Whether a pattern with `*` (anything) and `?` (one character) matches all of `text`.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                back = Some((p, t));
                p += 1;
            }
            Some(byte) if *byte == b'?' || Some(byte) == text.get(t) => {
                p += 1;
                t += 1;
            }
            _ => match back {
                Some((star, from)) => {
                    back = Some((star, from + 1));
                    p = star + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, text, matches) in [
            ("*", "", true),
            ("linux-*", "linux-image-amd64", true),
            ("*-amd64", "linux-image-amd64", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a*b*c", "aXbXbc", true),
            ("a*b*d", "aXbXbc", false),
            ("", "a", false),
        ] {
            assert_eq!(glob(pattern, text), matches, "{pattern} {text}");
        }
    }

    #[test]
    fn pins() {
        assert_eq!(
            PinTarget::parse("release n=trixie-backports, c=main"),
            Ok(PinTarget::Release(vec![('n', "trixie-backports".into()), ('c', "main".into())]))
        );
        assert_eq!(PinTarget::parse("version 1.*"), Ok(PinTarget::Version("1.*".into())));
        assert_eq!(
            PinTarget::parse("origin \"x.example\""),
            Ok(PinTarget::Origin("x.example".into()))
        );
        for (text, suite) in
            [("release sid", true), ("release unstable", true), ("release a=sid", false)]
        {
            let info = IndexInfo {
                suite: "unstable".into(),
                codename: "sid".into(),
                ..IndexInfo::default()
            };
            assert_eq!(PinTarget::parse(text).unwrap().matches_index(&info), suite, "{text}");
        }
        for text in [
            "version 1.*",
            "release sid",
            "release v=13",
            "release n=a,c=b",
            "origin \"x\"",
            "release *",
        ] {
            assert_eq!(PinTarget::parse(text).unwrap().to_string(), text);
        }
        PinTarget::parse("release q=1").unwrap_err();
        PinTarget::parse("x").unwrap_err();
    }
}
