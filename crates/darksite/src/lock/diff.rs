//! What changed between two locks.

use std::collections::BTreeMap;
use std::fmt;

use pkg::distribution::DistributionError;

use super::{Lock, LockedPackage};
use crate::family::{Family, family};

/// How a package changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// A newer version that comes from a suite of security updates.
    Security,
    /// A newer version.
    Upgraded,
    /// An older version.
    Downgraded,
    /// The same version with other content.
    Rebuilt,
    /// It was not there.
    Added,
    /// It is not there any more.
    Removed,
}

impl Change {
    /// One word for people and programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Security => "security",
            Self::Upgraded => "upgraded",
            Self::Downgraded => "downgraded",
            Self::Rebuilt => "rebuilt",
            Self::Added => "added",
            Self::Removed => "removed",
        }
    }
}

/// One package that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// How.
    pub change: Change,
    /// Its name, with `:ARCHITECTURE` where the name alone would be ambiguous.
    pub name: String,
    /// The version before, if it was there.
    pub old: Option<String>,
    /// The version now, if it is there.
    pub new: Option<String>,
    /// The suite it comes from now, or came from.
    pub suite: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (old, new) = (self.old.as_deref().unwrap_or("-"), self.new.as_deref().unwrap_or("-"));
        write!(f, "{} {} {old} -> {new} ({})", self.change.word(), self.name, self.suite)
    }
}

/// What changed from `old` to `new`, both of one distribution: security updates first, then by kind and
/// name.
pub fn difference(old: &Lock, new: &Lock) -> Result<Vec<Difference>, DistributionError> {
    let family = family(&new.distribution)?;
    let before = newest(old, family);
    let after = newest(new, family);
    let mut found = Vec::new();
    for (name, package) in &after {
        let change = match before.get(name) {
            None => Change::Added,
            Some(old) if old.version == package.version => {
                if old.blob == package.blob {
                    continue;
                }
                Change::Rebuilt
            }
            Some(old) if is_older(package, old, family) => Change::Downgraded,
            Some(_) if family.is_security(&package.suite) => Change::Security,
            Some(_) => Change::Upgraded,
        };
        found.push(Difference {
            change,
            name: name.clone(),
            old: before.get(name).map(|package| package.version.clone()),
            new: Some(package.version.clone()),
            suite: package.suite.clone(),
        });
    }
    for (name, package) in before.iter().filter(|(name, _)| !after.contains_key(*name)) {
        found.push(Difference {
            change: Change::Removed,
            name: name.clone(),
            old: Some(package.version.clone()),
            new: None,
            suite: package.suite.clone(),
        });
    }
    found.sort_by(|a, b| (a.change, &a.name).cmp(&(b.change, &b.name)));
    Ok(found)
}

/// The newest version of each name. A package may go from one architecture to any
/// and back.
fn newest<'a>(lock: &'a Lock, family: &dyn Family) -> BTreeMap<String, &'a LockedPackage> {
    let mut found: BTreeMap<String, &LockedPackage> = BTreeMap::new();
    let all = family.any_architecture();
    for package in &lock.packages {
        let native = [lock.architecture.as_str(), all].contains(&package.architecture.as_str());
        let name = match native {
            true => package.name.clone(),
            false => format!("{}:{}", package.name, package.architecture),
        };
        let newer = found.get(&name).is_none_or(|known| is_older(known, package, family));
        if newer {
            found.insert(name, package);
        }
    }
    found
}

fn is_older(one: &LockedPackage, other: &LockedPackage, family: &dyn Family) -> bool {
    family.compare_versions(&one.version, &other.version).is_lt()
}
