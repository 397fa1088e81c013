//! The packages of a universe as clauses for the search.

use std::collections::BTreeSet;

use super::super::universe::{NameId, Need, Target, Universe, VersionId};
use crate::solve::{Catalogue, Clause, Exclusion, Id};

/// Candidates of a universe; only one version of each package is one.
pub(super) struct Clauses<'u, 'a> {
    universe: &'u Universe<'a>,
    candidates: &'u [Option<VersionId>],
    /// First choice where a clause has several candidates.
    preferred: BTreeSet<VersionId>,
}

impl<'u, 'a> Clauses<'u, 'a> {
    pub(super) fn new(
        universe: &'u Universe<'a>,
        candidates: &'u [Option<VersionId>],
        preferred: BTreeSet<VersionId>,
    ) -> Self {
        Self { universe, candidates, preferred }
    }

    /// The request for packages by name.
    pub(super) fn asked(&self, names: &[NameId]) -> Vec<Clause> {
        let clause = |&name: &NameId| Clause {
            text: self.universe.name(name).name.to_owned(),
            candidates: self.candidate(name).into_iter().collect(),
        };
        names.iter().map(clause).collect()
    }

    /// Exactly these packages, as a request.
    pub(super) fn fixed(&self, packages: &BTreeSet<VersionId>) -> Vec<Clause> {
        let clause = |&id: &VersionId| Clause { text: self.label(id), candidates: vec![id] };
        packages.iter().map(clause).collect()
    }

    fn candidate(&self, name: NameId) -> Option<VersionId> {
        self.candidates.get(name as usize).copied().flatten()
    }

    fn is_candidate(&self, id: VersionId) -> bool {
        self.universe.entry(id).is_some_and(|entry| self.candidate(entry.name) == Some(id))
    }

    /// Candidates that a relation is about, without those of the name `but`.
    fn matching(&self, target: &Target<'a>, but: Option<NameId>) -> Vec<VersionId> {
        let Some(name) = target.name else { return Vec::new() };
        let mut found = Vec::new();
        if Some(name) != but
            && let Some(id) = self.candidate(name)
            && self.universe.satisfies(target, id)
        {
            found.push(id);
        }
        for &(provider, version) in &self.universe.name(name).providers {
            let own = self.universe.entry(provider).map(|entry| entry.name);
            if self.is_candidate(provider)
                && (but.is_none() || own != but)
                && self.universe.satisfies_as(target, provider, version)
                && !found.contains(&provider)
            {
                found.push(provider);
            }
        }
        found
    }

    /// Candidates that a need is about.
    pub(super) fn all_matching(&self, need: &Need<'a>) -> Vec<VersionId> {
        let mut found = Vec::new();
        for target in &need.targets {
            for id in self.matching(target, None) {
                if !found.contains(&id) {
                    found.push(id);
                }
            }
        }
        found
    }

    /// Says that another version would do, if there is one, and why it is not taken.
    fn other_version(&self, target: &Target<'a>) -> Option<String> {
        let name = target.name?;
        let known = self.universe.name(name);
        let other = known.versions.iter().find(|id| self.universe.satisfies(target, **id))?;
        let Some(chosen) = self.candidate(name) else {
            return Some(format!(" [{} is excluded, or pinned away]", known.name));
        };
        let version =
            |id| self.universe.entry(id).map_or("", |entry| entry.package.version.as_str());
        let suites = self.universe.suites(*other).join(", ");
        let (other, chosen) = (version(*other), version(chosen));
        Some(format!(" [{} {other} in {suites} would do, but {chosen} is chosen]", known.name))
    }

    fn clause(&self, need: &Need<'a>) -> Clause {
        let mut candidates = self.all_matching(need);
        candidates.sort_by_key(|id| !self.preferred.contains(id));
        let mut text = need.text();
        if candidates.is_empty() {
            for target in &need.targets {
                let name = target.dependency.name;
                text.extend(self.other_version(target));
                for why in self.universe.unreadable(name) {
                    text += &format!(" [{why}]");
                }
            }
        }
        Clause { text, candidates }
    }
}

impl Catalogue for Clauses<'_, '_> {
    fn label(&self, id: Id) -> String {
        self.universe
            .entry(id)
            .map(|entry| format!("{} {}", entry.package.name, entry.package.version))
            .unwrap_or_default()
    }

    fn slot(&self, id: Id) -> u32 {
        self.universe.entry(id).map_or(0, |entry| entry.name)
    }

    fn slots(&self) -> u32 {
        u32::try_from(self.candidates.len()).unwrap_or(u32::MAX)
    }

    fn members(&self, slot: u32) -> Vec<Id> {
        self.candidate(slot).into_iter().collect()
    }

    fn requirements(&self, id: Id) -> Vec<Clause> {
        let relations = self.universe.relations(id);
        let broken =
            relations.broken.iter().map(|why| Clause { text: why.clone(), candidates: Vec::new() });
        let needs = relations.needs.iter();
        let needs = needs.filter(|need| need.kind.is_critical() && !need.kind.is_negative());
        broken.chain(needs.map(|need| self.clause(need))).collect()
    }

    fn exclusions(&self, id: Id) -> Vec<Exclusion> {
        let own = self.universe.entry(id).map(|entry| entry.name);
        let needs = self.universe.relations(id).needs.iter();
        needs
            .filter(|need| need.kind.is_negative())
            .filter_map(|need| {
                let packages = self.matching(need.targets.first()?, own);
                (!packages.is_empty()).then(|| Exclusion { text: need.text(), packages })
            })
            .collect()
    }
}
