//! Taking packages back until what is left holds.
//!
//! apt's way may end in a broken set although all that is asked for can be had: recommended packages conflict
//! with each other, or with what something else needs. apt has a second step for that (`pkgProblemResolver`),
//! which keeps what counts for more. So the packages that count least go here, with all that needs them.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::super::packages::Priority;
use super::super::universe::{Need, VersionId};
use super::walk::Walk;

impl Walk<'_, '_> {
    /// Takes back what does not fit, but nothing of `keep`. If that is not enough, something stays broken.
    pub(super) fn mend(&mut self, keep: &BTreeSet<VersionId>) {
        loop {
            let broken = self.broken();
            let (kept, lacking): (Vec<_>, Vec<_>) =
                broken.iter().filter(|&&id| self.lacks(id)).partition(|id| keep.contains(id));
            if !kept.is_empty() {
                return;
            }
            let mut gone: Vec<VersionId> = lacking;
            let pairs =
                || broken.iter().flat_map(|&id| self.hits(id).map(move |other| (id, other)));
            let free = |id: &VersionId| !keep.contains(id);
            gone.extend(pairs().filter_map(|(one, other)| match (free(&one), free(&other)) {
                (true, false) => Some(one),
                (false, true) => Some(other),
                _ => None,
            }));
            if gone.is_empty() {
                let ends = pairs().flat_map(|(one, other)| [one, other]).filter(free);
                gone.extend(ends.min_by_key(|&id| self.weight(id)));
            }
            if gone.is_empty() {
                return;
            }
            for id in gone {
                if let Some(entry) = self.universe.entry(id) {
                    self.discard(entry.name);
                }
            }
        }
    }

    /// What counts for less goes first: by what the distribution says of it, then by how many need or recommend it.
    fn weight(&self, id: VersionId) -> (bool, Priority, usize, Reverse<VersionId>) {
        let Some(entry) = self.universe.entry(id) else {
            return (false, Priority::Optional, 0, Reverse(id));
        };
        let known = self.universe.name(entry.name);
        let needs = self.installed().flat_map(|(id, _)| &self.universe.relations(id).needs);
        let names_it = |need: &&Need<'_>| {
            self.is_important(need.kind)
                && !need.kind.is_negative()
                && need.targets.iter().any(|target| target.name == Some(entry.name))
        };
        let count = needs.filter(names_it).count();
        (known.essential || known.protected, entry.package.priority, count, Reverse(id))
    }
}
