//! All packages that are there to choose from: several indexes, joined by name.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::packages::{MultiArch, Package, PackageIndex, Rejected};
use super::relation::{ArchQualifier, Dependency, parse_provides, parse_relations};
use super::release::Release;
use super::version::Version;

/// Number of a name: of a package, or of something that packages provide.
pub type NameId = u32;
/// Number of one version of one package.
pub type VersionId = u32;

/// Where an index comes from; what pins look at (apt_preferences(5)).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IndexInfo {
    /// `Origin` of the release (`o=`).
    pub origin: String,
    /// `Label` (`l=`).
    pub label: String,
    /// `Suite` (`a=`).
    pub suite: String,
    /// `Codename` (`n=`).
    pub codename: String,
    /// `Version` (`v=`).
    pub version: String,
    /// The component (`c=`), as `main`.
    pub component: String,
    /// Host of the mirror (`origin`), empty for files.
    pub site: String,
    /// Priority of its packages where nothing is pinned: 500, 100 or 1.
    pub priority: i32,
}

impl IndexInfo {
    /// That of one component of a release.
    pub fn new(release: &Release, component: &str, site: &str) -> Self {
        Self {
            origin: release.origin.clone(),
            label: release.label.clone(),
            suite: release.suite.clone(),
            codename: release.codename.clone(),
            version: release.version.clone(),
            component: component.to_owned(),
            site: site.to_owned(),
            priority: release.default_priority(),
        }
    }
}

impl IndexInfo {
    /// What people call the suite.
    pub fn called(&self) -> &str {
        if self.codename.is_empty() { &self.suite } else { &self.codename }
    }

    /// Whether this is the suite's name or codename.
    pub fn is_called(&self, name: &str) -> bool {
        self.suite == name || self.codename == name
    }
}

/// One version of a package, and which indexes have it.
#[derive(Debug)]
pub struct Entry<'a> {
    /// The package, as the first of these indexes has it.
    pub package: Package<'a>,
    /// Number of its name.
    pub name: NameId,
    /// Numbers of the indexes, in the order they were added; never empty.
    pub indexes: Vec<u16>,
    relations: OnceLock<Box<Relations<'a>>>,
}

/// What a name stands for.
#[derive(Debug)]
pub struct Name<'a> {
    /// The name.
    pub name: &'a str,
    /// The real package's versions, the highest first.
    pub versions: Vec<VersionId>,
    /// Which packages provide it, and as which version.
    pub providers: Vec<(VersionId, Option<Version<'a>>)>,
    /// Whether a version of it is `Essential`.
    pub essential: bool,
    /// Whether a version of it is `Protected`.
    pub protected: bool,
}

/// What kind of need a relation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `Pre-Depends`
    PreDepends,
    /// `Depends`
    Depends,
    /// `Conflicts`
    Conflicts,
    /// `Breaks`
    Breaks,
    /// `Recommends`
    Recommends,
    /// `Suggests`
    Suggests,
}

impl Kind {
    /// The name of the field.
    pub fn field(self) -> &'static str {
        match self {
            Self::PreDepends => "Pre-Depends",
            Self::Depends => "Depends",
            Self::Conflicts => "Conflicts",
            Self::Breaks => "Breaks",
            Self::Recommends => "Recommends",
            Self::Suggests => "Suggests",
        }
    }

    /// Whether packages are kept away, rather than needed.
    pub fn is_negative(self) -> bool {
        matches!(self, Self::Conflicts | Self::Breaks)
    }

    /// Whether a system without it is broken.
    pub fn is_critical(self) -> bool {
        !matches!(self, Self::Recommends | Self::Suggests)
    }

    /// Whether it is followed, where recommended packages are taken or not.
    pub(super) fn is_important(self, recommends: bool) -> bool {
        self.is_critical() || (self == Self::Recommends && recommends)
    }
}

/// One alternative, its name looked up.
#[derive(Debug)]
pub struct Target<'a> {
    /// The relation.
    pub dependency: Dependency<'a>,
    /// Number of the name; `None` if nothing in the universe has or provides it.
    pub name: Option<NameId>,
}

/// One clause of a field.
#[derive(Debug)]
pub struct Need<'a> {
    /// Which field it is of.
    pub kind: Kind,
    /// The alternatives in order; a single one for a negative relation.
    pub targets: Vec<Target<'a>>,
}

impl Need<'_> {
    /// As people write it: `Depends: a (>= 1) | b`.
    pub fn text(&self) -> String {
        let one = |target: &Target<'_>| target.dependency.to_string();
        let alternatives: Vec<String> = self.targets.iter().map(one).collect();
        format!("{}: {}", self.kind.field(), alternatives.join(" | "))
    }
}

/// The relations of one package, in the order in which apt looks at them.
#[derive(Debug, Default)]
pub struct Relations<'a> {
    /// All clauses.
    pub needs: Vec<Need<'a>>,
    /// Why some field cannot be read; such a package is never chosen.
    pub broken: Option<String>,
}

/// Packages of several indexes, for one architecture.
#[derive(Debug)]
pub struct Universe<'a> {
    architecture: &'a str,
    indexes: Vec<IndexInfo>,
    names: Vec<Name<'a>>,
    by_name: HashMap<&'a str, NameId>,
    entries: Vec<Entry<'a>>,
    rejected: Vec<(u16, Rejected<'a>)>,
    mentions: OnceLock<Vec<u32>>,
}

impl<'a> Universe<'a> {
    /// An empty one, for packages of `architecture` (`amd64`) and `all`.
    pub fn new(architecture: &'a str) -> Self {
        Self {
            architecture,
            indexes: Vec::new(),
            names: Vec::new(),
            by_name: HashMap::new(),
            entries: Vec::new(),
            rejected: Vec::new(),
            mentions: OnceLock::new(),
        }
    }

    /// Adds the packages of one index. Order matters where nothing else decides: add indexes in the
    /// order in which apt would read them, as its `sources.list` names suites and components. What
    /// another index has too (same version, same digest) becomes one entry.
    pub fn add(&mut self, info: IndexInfo, content: PackageIndex<'a>) {
        let PackageIndex { packages, rejected } = content;
        let index = u16::try_from(self.indexes.len()).unwrap_or(u16::MAX);
        self.indexes.push(info);
        self.mentions = OnceLock::new();
        self.entries.reserve(packages.len());
        for package in packages {
            if package.architecture != self.architecture && package.architecture != "all" {
                continue;
            }
            self.insert(package, index);
        }
        self.rejected.extend(rejected.into_iter().map(|rejected| (index, rejected)));
    }

    fn insert(&mut self, package: Package<'a>, index: u16) {
        let name = self.intern(package.name);
        let Some(known) = self.names.get_mut(name as usize) else { return };
        for &other in &known.versions {
            let Some(entry) = self.entries.get_mut(other as usize) else { continue };
            if entry.package.version.as_str() == package.version.as_str()
                && entry.package.sha256 == package.sha256
            {
                if entry.indexes.last() != Some(&index) {
                    entry.indexes.push(index);
                }
                return;
            }
        }
        let id = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let entries = &self.entries;
        let place = known.versions.partition_point(|&other| {
            entries
                .get(other as usize)
                .is_some_and(|entry| entry.package.version >= package.version)
        });
        known.versions.insert(place, id);
        known.essential |= package.essential;
        known.protected |= package.protected;
        // An index rejects what cannot be read.
        for provided in parse_provides(package.provides).unwrap_or_default() {
            match provided.arch {
                None => {}
                Some(ArchQualifier::Named(arch)) if arch == self.architecture => {}
                Some(_) => continue,
            }
            let virtual_name = self.intern(provided.name);
            if let Some(entry) = self.names.get_mut(virtual_name as usize) {
                entry.providers.push((id, provided.version.map(|(_, version)| version)));
            }
        }
        self.entries.push(Entry {
            package,
            name,
            indexes: vec![index],
            relations: OnceLock::new(),
        });
    }

    fn intern(&mut self, name: &'a str) -> NameId {
        if let Some(&id) = self.by_name.get(name) {
            return id;
        }
        let id = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.push(Name {
            name,
            versions: Vec::new(),
            providers: Vec::new(),
            essential: false,
            protected: false,
        });
        self.by_name.insert(name, id);
        id
    }

    /// The architecture it is for.
    pub fn architecture(&self) -> &'a str {
        self.architecture
    }

    /// The indexes, in the order they were added.
    pub fn indexes(&self) -> &[IndexInfo] {
        &self.indexes
    }

    /// All names, by number.
    pub fn names(&self) -> &[Name<'a>] {
        &self.names
    }

    /// All entries, by number.
    pub fn entries(&self) -> &[Entry<'a>] {
        &self.entries
    }

    /// Packages that cannot be read, each with the number of its index.
    pub fn rejected(&self) -> impl Iterator<Item = (u16, &Rejected<'a>)> {
        self.rejected.iter().map(|(index, rejected)| (*index, rejected))
    }

    /// Why versions of a package are not there although indexes have them, in words.
    pub(super) fn unreadable(&self, name: &str) -> Vec<String> {
        let of_name = self.rejected().filter(|(_, rejected)| rejected.name == name);
        let words = of_name.map(|(index, rejected)| {
            let info = self.indexes.get(usize::from(index));
            let (suite, component) = info.map_or(("", ""), |info| (info.called(), &info.component));
            let (label, error) = (rejected.label(), &rejected.error);
            format!("{label} in {suite}/{component} cannot be read: {error}")
        });
        words.collect()
    }

    /// What the suites are called that have a version.
    pub(super) fn suites(&self, version: VersionId) -> Vec<&str> {
        let entry = self.entry(version);
        entry.into_iter().flat_map(|entry| self.infos(entry)).map(IndexInfo::called).collect()
    }

    /// The indexes that have a version.
    pub(super) fn infos(&self, entry: &Entry<'_>) -> impl Iterator<Item = &IndexInfo> {
        entry.indexes.iter().filter_map(|&index| self.indexes.get(usize::from(index)))
    }

    /// Number of a name that a package has or provides.
    pub fn name_id(&self, name: &str) -> Option<NameId> {
        self.by_name.get(name).copied()
    }

    /// What a name stands for.
    pub(crate) fn name(&self, id: NameId) -> &Name<'a> {
        static NOTHING: Name<'static> = Name {
            name: "",
            versions: Vec::new(),
            providers: Vec::new(),
            essential: false,
            protected: false,
        };
        self.names.get(id as usize).unwrap_or(&NOTHING)
    }

    /// The entry of a number that this universe gave out.
    pub(crate) fn entry(&self, id: VersionId) -> Option<&Entry<'a>> {
        self.entries.get(id as usize)
    }

    /// The relations of a package, read when first asked.
    pub fn relations(&self, id: VersionId) -> &Relations<'a> {
        static NOTHING: Relations<'static> = Relations { needs: Vec::new(), broken: None };
        let Some(entry) = self.entries.get(id as usize) else { return &NOTHING };
        entry.relations.get_or_init(|| Box::new(self.read_relations(&entry.package)))
    }

    fn read_relations(&self, package: &Package<'a>) -> Relations<'a> {
        let mut relations = Relations::default();
        for (kind, field) in [
            (Kind::PreDepends, package.pre_depends),
            (Kind::Depends, package.depends),
            (Kind::Conflicts, package.conflicts),
            (Kind::Breaks, package.breaks),
            (Kind::Recommends, package.recommends),
            (Kind::Suggests, package.suggests),
        ] {
            match parse_relations(field) {
                Ok(clauses) => {
                    for clause in clauses {
                        self.add_need(&mut relations.needs, kind, clause);
                    }
                }
                Err(error) => {
                    relations.broken = Some(format!("its {}: {error}", kind.field()));
                }
            }
        }
        relations
    }

    fn add_need(&self, needs: &mut Vec<Need<'a>>, kind: Kind, clause: Vec<Dependency<'a>>) {
        let mut targets: Vec<Target<'a>> = clause
            .into_iter()
            .filter(|dependency| dependency.is_for(self.architecture))
            .map(|dependency| Target { name: self.name_id(dependency.name), dependency })
            .collect();
        if kind.is_negative() {
            // Alternatives make no sense here; each is one of its own.
            needs.extend(targets.drain(..).map(|target| Need { kind, targets: vec![target] }));
        } else if !targets.is_empty() {
            needs.push(Need { kind, targets });
        }
    }

    /// Whether a version of the real package satisfies a relation to its name.
    pub fn satisfies(&self, target: &Target<'_>, id: VersionId) -> bool {
        let Some(entry) = self.entry(id) else { return false };
        self.qualifies(target, entry.package.multi_arch)
            && target
                .dependency
                .version
                .is_none_or(|(operator, wanted)| operator.holds(entry.package.version, wanted))
    }

    /// Whether something that provides the relation's name as `provided` satisfies it.
    pub fn satisfies_as(
        &self,
        target: &Target<'_>,
        provider: VersionId,
        provided: Option<Version<'_>>,
    ) -> bool {
        let Some(entry) = self.entry(provider) else { return false };
        self.qualifies(target, entry.package.multi_arch)
            && match (target.dependency.version, provided) {
                (None, _) => true,
                (Some((operator, wanted)), Some(version)) => operator.holds(version, wanted),
                (Some(_), None) => false,
            }
    }

    fn qualifies(&self, target: &Target<'_>, multi_arch: MultiArch) -> bool {
        match target.dependency.arch {
            None | Some(ArchQualifier::Native) => true,
            Some(ArchQualifier::Any) => multi_arch == MultiArch::Allowed,
            Some(ArchQualifier::Named(arch)) => arch == self.architecture,
        }
    }

    /// When each name was first mentioned, going through all packages and their relations in the order
    /// of the indexes. apt numbers packages so, and lets the number decide at last.
    pub(crate) fn mentions(&self) -> &[u32] {
        self.mentions.get_or_init(|| {
            let mut order = vec![u32::MAX; self.names.len()];
            let mut next = 0;
            let mut mention = |name: &str| {
                if let Some(&id) = self.by_name.get(name)
                    && let Some(place) = order.get_mut(id as usize)
                    && *place == u32::MAX
                {
                    *place = next;
                    next += 1;
                }
            };
            for entry in &self.entries {
                let package = &entry.package;
                mention(package.name);
                for field in [
                    package.pre_depends,
                    package.depends,
                    package.conflicts,
                    package.breaks,
                    package.recommends,
                    package.suggests,
                    package.replaces,
                    package.enhances,
                    package.provides,
                ] {
                    if field.is_empty() {
                        continue;
                    }
                    for word in field.split([',', '|']) {
                        let word = word.trim_ascii();
                        let end = word.find([' ', '(', '[', '<', '\n', '\t']).unwrap_or(word.len());
                        mention(word.get(..end).unwrap_or_default());
                    }
                }
            }
            order
        })
    }

    /// The packages' names that are nearest to a name that does not exist, at most three.
    pub fn near(&self, name: &str) -> Vec<&'a str> {
        let mut near: Vec<(usize, &str)> = self
            .names
            .iter()
            .filter(|entry| !entry.versions.is_empty() || !entry.providers.is_empty())
            .filter(|entry| entry.name.len().abs_diff(name.len()) <= 3)
            .map(|entry| (strsim::osa_distance(name, entry.name), entry.name))
            .filter(|(distance, _)| *distance <= 1 + name.len() / 5)
            .collect();
        near.sort_unstable();
        near.truncate(3);
        near.into_iter().map(|(_, name)| name).collect()
    }
}
