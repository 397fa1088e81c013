//! Whether a set of packages holds: independent of how it was found.

use std::collections::BTreeSet;

use super::super::universe::{Entry, Target, Universe, VersionId};

/// Every hard relation of `set` that does not hold within it, in words.
pub(super) fn broken(universe: &Universe<'_>, set: &BTreeSet<VersionId>) -> Vec<String> {
    let mut found = Vec::new();
    for &id in set {
        let Some(entry) = universe.entry(id) else { continue };
        let package = &entry.package;
        let relations = universe.relations(id);
        if let Some(why) = &relations.broken {
            found.push(format!("{} {}: {why}", package.name, package.version));
        }
        for need in relations.needs.iter().filter(|need| need.kind.is_critical()) {
            let negative = need.kind.is_negative();
            // A package is never in its own way, as the one or by what it provides.
            let other = |id: VersionId, other: &Entry<'_>| {
                set.contains(&id) && !(negative && other.name == entry.name)
            };
            let hit = |target: &Target<'_>| satisfied(universe, target, &other);
            if need.targets.iter().any(hit) == negative {
                found.push(format!("{} {}: {}", package.name, package.version, need.text()));
            }
        }
    }
    found
}

/// Whether a package that is `meant` satisfies a target.
pub(super) fn satisfied(
    universe: &Universe<'_>,
    target: &Target<'_>,
    meant: &dyn Fn(VersionId, &Entry<'_>) -> bool,
) -> bool {
    let Some(name) = target.name.map(|name| universe.name(name)) else { return false };
    let here = |id: VersionId| universe.entry(id).is_some_and(|entry| meant(id, entry));
    name.versions.iter().any(|&id| here(id) && universe.satisfies(target, id))
        || name
            .providers
            .iter()
            .any(|&(id, version)| here(id) && universe.satisfies_as(target, id, version))
}
