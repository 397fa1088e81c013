//! What stays at the version that it has because something else is held.
//!
//! A held package may need others as they are, and newer ones of others may need it newer. apt then keeps
//! those back as well; without that, a single hold of a library would make every request unsolvable.

use std::collections::{BTreeMap, BTreeSet};

use super::super::policy::{Policy, with_version};
use super::super::universe::{Entry, NameId, Need, Universe, VersionId};
use super::check::satisfied;

/// Takes the present version of each package whose candidate does not fit what is held, and of what those
/// need; tells of each in words.
pub(super) fn keep_back(
    universe: &Universe<'_>,
    policy: &Policy,
    candidates: &mut [Option<VersionId>],
) -> Vec<String> {
    let find = |(name, version): (&String, &String)| {
        let id = universe.name_id(name).filter(|_| !policy.overrules_hold(name))?;
        Some((id, with_version(universe, universe.name(id), version)?))
    };
    let mut fixed: BTreeSet<VersionId> =
        policy.held.iter().filter_map(find).map(|(_, version)| version).collect();
    if fixed.is_empty() {
        return Vec::new();
    }
    let mut present: BTreeMap<NameId, VersionId> = policy.present.iter().filter_map(find).collect();
    let mut said = Vec::new();
    loop {
        let tried = Tried { universe, candidates, fixed: &fixed };
        let back: Vec<(NameId, VersionId, VersionId)> = present
            .iter()
            .filter_map(|(&name, &old)| Some((name, old, tried.candidate(name)?)))
            .filter(|&(_, old, new)| new != old && (!tried.fits(new) || tried.is_needed(old)))
            .collect();
        if back.is_empty() {
            return said;
        }
        for (name, old, new) in back {
            present.remove(&name);
            fixed.insert(old);
            if let Some(candidate) = candidates.get_mut(name as usize) {
                *candidate = Some(old);
            }
            if let (Some(old), Some(new)) = (universe.entry(old), universe.entry(new)) {
                let (name, old, new) = (old.package.name, old.package.version, new.package.version);
                said.push(format!("{name} is kept back at {old}: {new} does not fit what is held"));
            }
        }
    }
}

/// The candidates as they are, of which some cannot change any more.
struct Tried<'t, 'u, 'a> {
    universe: &'u Universe<'a>,
    candidates: &'t [Option<VersionId>],
    fixed: &'t BTreeSet<VersionId>,
}

impl<'u, 'a> Tried<'_, 'u, 'a> {
    fn candidate(&self, name: NameId) -> Option<VersionId> {
        self.candidates.get(name as usize).copied().flatten()
    }

    /// The relations of a package without which it does not work, or with which: `negative`.
    fn needs(&self, id: VersionId, negative: bool) -> impl Iterator<Item = &'u Need<'a>> {
        let needs = self.universe.relations(id).needs.iter();
        needs.filter(move |need| need.kind.is_critical() && need.kind.is_negative() == negative)
    }

    /// Whether one of those that are `meant` is what a relation asks for.
    fn meets(&self, need: &Need<'_>, meant: impl Fn(VersionId) -> bool) -> bool {
        let meant = |id: VersionId, _: &Entry<'_>| meant(id);
        need.targets.iter().any(|target| satisfied(self.universe, target, &meant))
    }

    fn is_candidate(&self, id: VersionId) -> bool {
        self.universe.entry(id).is_some_and(|entry| self.candidate(entry.name) == Some(id))
    }

    /// Whether a candidate can be together with what is fixed.
    fn fits(&self, id: VersionId) -> bool {
        self.needs(id, false).all(|need| self.meets(need, |other| self.is_candidate(other)))
            && !self
                .needs(id, true)
                .any(|need| self.meets(need, |other| self.fixed.contains(&other)))
            && !self
                .fixed
                .iter()
                .any(|&other| self.needs(other, true).any(|need| self.meets(need, |hit| hit == id)))
    }

    /// Whether what is fixed needs this very version.
    fn is_needed(&self, id: VersionId) -> bool {
        self.fixed.iter().any(|&other| {
            self.needs(other, false).any(|need| {
                !self.meets(need, |candidate| self.is_candidate(candidate))
                    && self.meets(need, |one| one == id)
            })
        })
    }
}
