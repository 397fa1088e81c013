//! Whether a set of packages holds: independent of how it was found.

use std::collections::BTreeSet;

use super::super::universe::{Target, Universe, VersionId};

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
            let hit = |target: &Target<'_>| {
                let others = set.iter().filter(|&&other| {
                    // A package is never in its own way, as the one or by what it provides.
                    !(negative
                        && universe.entry(other).is_some_and(|other| other.name == entry.name))
                });
                others.into_iter().any(|&other| satisfies(universe, target, other))
            };
            if need.targets.iter().any(hit) == negative {
                found.push(format!("{} {}: {}", package.name, package.version, need.text()));
            }
        }
    }
    found
}

fn satisfies(universe: &Universe<'_>, target: &Target<'_>, id: VersionId) -> bool {
    let (Some(name), Some(entry)) = (target.name, universe.entry(id)) else { return false };
    if entry.name == name && universe.satisfies(target, id) {
        return true;
    }
    // Only what provides the name is worth a look.
    !entry.package.provides.is_empty()
        && universe.name(name).providers.iter().any(|&(provider, version)| {
            provider == id && universe.satisfies_as(target, provider, version)
        })
}
