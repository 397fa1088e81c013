//! Whether a set of packages holds: independent of how it was found.

use std::collections::BTreeSet;

use super::super::universe::{Entry, Target, Universe, VersionId};
use super::{Request, implied, is_implied, take_version};

/// What `set` lacks to be an answer to `request`, in words: packages that are asked for, then hard relations.
/// Which versions it has is its own matter, where none is asked for; optional and recommended packages may be
/// there or not.
pub fn lacking(
    universe: &Universe<'_>,
    request: &Request,
    set: &BTreeSet<VersionId>,
) -> Vec<String> {
    let mut policy = request.policy.clone();
    let wanted: Vec<(&String, String)> =
        request.packages.iter().map(|text| (text, take_version(text, &mut policy))).collect();
    let candidates = policy.candidates(universe);
    let mut found = Vec::new();
    for (text, name) in &wanted {
        let id = universe.name_id(name);
        let met = id.is_some_and(|id| {
            let candidate = candidates.get(id as usize).copied().flatten();
            let known = universe.name(id);
            let mut all = known.versions.iter().chain(known.providers.iter().map(|(id, _)| id));
            match *text == name {
                true => all.any(|id| set.contains(id)),
                false => candidate.is_some_and(|id| set.contains(&id)),
            }
        });
        if !met {
            found.push(format!("{text:?}, which is asked for, is not there"));
        }
    }
    for id in implied(universe, request, &candidates) {
        let versions = &universe.name(id).versions;
        // A version that was held may have been less important.
        let mut entries = versions.iter().filter_map(|id| universe.entry(*id));
        let always = entries.all(|entry| is_implied(request, &entry.package));
        if always && !versions.iter().any(|id| set.contains(id)) {
            let name = universe.name(id).name;
            found.push(format!("{name:?}, which is essential or of the priority, is not there"));
        }
    }
    found.extend(
        broken(universe, set).into_iter().map(|relation| format!("{relation} does not hold")),
    );
    found
}

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
