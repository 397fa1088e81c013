//! Versions of a suite also for what packages need that are asked for from it.
//!
//! `name/suite` means that version, and for its dependencies those of the suite where no candidate will do, as
//! apt-get(8) says (`pkgDepCache::SetCandidateRelease`). apt looks no further than one step below a dependency
//! that a candidate meets; here everything that comes from the suite is followed, so that what is newer there down
//! below is found too.

use std::collections::BTreeSet;

use super::super::policy::{Policy, is_from};
use super::super::universe::{Need, Universe, VersionId};
use super::clauses::Clauses;

/// Makes versions of the suites candidates where packages asked for as `name/suite` need them; recommended ones
/// too, if these are taken.
pub(super) fn follow(
    universe: &Universe<'_>,
    policy: &Policy,
    recommends: bool,
    candidates: &mut [Option<VersionId>],
) {
    for (name, suite) in &policy.suites {
        let first = universe.name_id(name).and_then(|id| *candidates.get(id as usize)?);
        let mut todo: Vec<VersionId> = first.into_iter().collect();
        let mut seen = BTreeSet::new();
        while let Some(id) = todo.pop() {
            if !seen.insert(id) {
                continue;
            }
            for need in &universe.relations(id).needs {
                if !need.kind.is_important(recommends) || need.kind.is_negative() {
                    continue;
                }
                let met = Clauses::new(universe, candidates, BTreeSet::new()).all_matching(need);
                if !met.is_empty() {
                    todo.extend(met.iter().filter(|&&id| is_from(universe, id, suite)));
                } else if let Some(id) = in_suite(universe, policy, suite, need)
                    && let Some(entry) = universe.entry(id)
                    && let Some(candidate) = candidates.get_mut(entry.name as usize)
                {
                    *candidate = Some(id);
                    todo.push(id);
                }
            }
        }
    }
}

/// The first version of the suite that meets a need, of a package about whose version nothing else is said.
fn in_suite(
    universe: &Universe<'_>,
    policy: &Policy,
    suite: &str,
    need: &Need<'_>,
) -> Option<VersionId> {
    let free = |name: &str| !policy.overrules_hold(name) && !policy.held.contains_key(name);
    need.targets.iter().find_map(|target| {
        let known = universe.name(target.name?);
        known.versions.iter().copied().find(|&id| {
            free(known.name)
                && is_from(universe, id, suite)
                && universe.satisfies(target, id)
                && policy.priority(universe, id) > 0
        })
    })
}
