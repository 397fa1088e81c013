//! apt's own way to a set of packages, on a system where nothing is installed.
//!
//! apt does not search: it marks what is asked for, then follows each relation to the first candidate
//! that can be marked, depth first, and never goes back. Which alternatives and recommended packages a
//! system gets follows from this order, so it is followed here step by step (the behaviour of apt 2.6's
//! internal solver, `pkgDepCache::MarkInstall`). What comes out may be broken; the caller looks.
//!
//! In apt's words: a package is *kept* or *installed*; *protected* ones do not change any more; a
//! candidate that turned out impossible is *discarded*.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::super::packages::Priority;
use super::super::universe::{Kind, NameId, Need, Target, Universe, VersionId};

/// Deepest chain of packages that are followed one from the other, as in apt.
const DEPTH: usize = 3000;

/// Why a package was marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    Asked,
    Needed(VersionId, Kind),
}

#[derive(Debug, Clone, Copy)]
struct State {
    candidate: Option<VersionId>,
    installed: bool,
    protected: bool,
    cause: Cause,
}

/// The state of all packages while apt's way is followed.
#[derive(Debug, Clone)]
pub(super) struct Walk<'u, 'a> {
    pub(super) universe: &'u Universe<'a>,
    states: Vec<State>,
    recommends: bool,
    asked: Vec<NameId>,
}

impl<'u, 'a> Walk<'u, 'a> {
    pub(super) fn new(
        universe: &'u Universe<'a>,
        candidates: &[Option<VersionId>],
        recommends: bool,
    ) -> Self {
        // What cannot be read is never chosen; it is found out when it is looked at.
        let state = |&candidate: &Option<VersionId>| State {
            candidate,
            installed: false,
            protected: false,
            cause: Cause::Asked,
        };
        Self {
            universe,
            states: candidates.iter().map(state).collect(),
            recommends,
            asked: Vec::new(),
        }
    }

    /// Marks the packages as `apt-get install` does with its arguments, in their order.
    pub(super) fn install(&mut self, names: &[NameId]) {
        for &name in names {
            self.protect(name);
            self.mark(name, Cause::Asked, false, 0, true);
        }
        self.asked.extend(names);
        for &name in names {
            self.mark(name, Cause::Asked, true, 0, true);
        }
    }

    /// Takes a set from elsewhere as what is installed and protected, then follows what its packages
    /// recommend, as far as it fits.
    pub(super) fn adopt(&mut self, asked: &[NameId], set: &[VersionId]) {
        self.asked.extend(asked);
        for &id in set {
            if let Some(entry) = self.universe.entry(id)
                && let Some(state) = self.states.get_mut(entry.name as usize)
            {
                *state = State { candidate: Some(id), installed: true, protected: true, ..*state };
            }
        }
        self.find_causes(asked, set);
        // What the set excludes is no candidate: something else may be recommended instead.
        for &id in set {
            for need in self.universe.relations(id).needs.iter().filter(|n| n.kind.is_negative()) {
                for (name, _) in self.solutions(id, need) {
                    if !self.state(name).installed {
                        self.discard(name);
                    }
                }
            }
        }
        for &id in set {
            if let Some(entry) = self.universe.entry(id) {
                self.mark(entry.name, Cause::Asked, true, 0, true);
            }
        }
        self.mend(&set.iter().copied().collect());
    }

    /// Gives each package of a set that was not asked for the first of the set that needs it as cause.
    fn find_causes(&mut self, asked: &[NameId], set: &[VersionId]) {
        let mut known: BTreeSet<NameId> = asked.iter().copied().collect();
        for &id in set {
            for need in &self.universe.relations(id).needs {
                if !need.kind.is_critical() || need.kind.is_negative() {
                    continue;
                }
                for target in &need.targets {
                    for (name, _) in self.matching(id, need.kind, target) {
                        if self.state(name).installed && known.insert(name) {
                            self.change(name, |state| state.cause = Cause::Needed(id, need.kind));
                        }
                    }
                }
            }
        }
    }

    /// Protects everything that is installed now.
    pub(super) fn freeze(&mut self) {
        for state in &mut self.states {
            state.protected |= state.installed;
        }
    }

    /// What is installed.
    pub(super) fn set(&self) -> BTreeSet<VersionId> {
        self.installed().map(|(id, _)| id).collect()
    }

    /// What is installed, by number of the name.
    pub(super) fn installed(&self) -> impl Iterator<Item = (VersionId, Cause)> + '_ {
        self.states
            .iter()
            .filter(|state| state.installed)
            .filter_map(|state| Some((state.candidate?, state.cause)))
    }

    fn state(&self, name: NameId) -> State {
        let nothing =
            State { candidate: None, installed: false, protected: true, cause: Cause::Asked };
        self.states.get(name as usize).copied().unwrap_or(nothing)
    }

    fn change(&mut self, name: NameId, change: impl FnOnce(&mut State)) {
        if let Some(state) = self.states.get_mut(name as usize) {
            change(state);
        }
    }

    fn protect(&mut self, name: NameId) {
        self.change(name, |state| state.protected = true);
    }

    pub(super) fn discard(&mut self, name: NameId) {
        self.change(name, |state| {
            state.installed = false;
            state.candidate = None;
        });
    }

    /// Packages whose candidate satisfies a target (or is hit by it, for a negative one).
    fn matching(
        &self,
        owner: VersionId,
        kind: Kind,
        target: &Target<'a>,
    ) -> Vec<(NameId, VersionId)> {
        let mut found = Vec::new();
        let Some(name) = target.name else { return found };
        let own = self.universe.entry(owner).map(|entry| entry.name);
        let ignorable = |name| kind.is_negative() && Some(name) == own;
        let known = self.universe.name(name);
        if let Some(candidate) = self.state(name).candidate
            && !ignorable(name)
            && self.universe.satisfies(target, candidate)
        {
            found.push((name, candidate));
        }
        for &(provider, version) in &known.providers {
            let Some(entry) = self.universe.entry(provider) else { continue };
            if self.state(entry.name).candidate == Some(provider)
                && !ignorable(entry.name)
                && self.universe.satisfies_as(target, provider, version)
                && !found.contains(&(entry.name, provider))
            {
                found.push((entry.name, provider));
            }
        }
        found
    }

    /// Whether a need holds for what is installed now.
    fn holds(&self, owner: VersionId, need: &Need<'a>) -> bool {
        let installed = need.targets.iter().any(|target| {
            self.matching(owner, need.kind, target)
                .iter()
                .any(|&(name, _)| self.state(name).installed)
        });
        installed != need.kind.is_negative()
    }

    pub(super) fn is_important(&self, kind: Kind) -> bool {
        kind.is_important(self.recommends)
    }

    /// Whether what an installed package needs (recommended packages too) is not there.
    fn is_broken(&self, id: VersionId) -> bool {
        let needs = &self.universe.relations(id).needs;
        needs.iter().any(|need| self.is_important(need.kind) && !self.holds(id, need))
    }

    /// Installed packages of which a critical need does not hold.
    pub(super) fn broken(&self) -> Vec<VersionId> {
        let broken = |&id: &VersionId| self.lacks(id) || self.hits(id).next().is_some();
        self.installed().map(|(id, _)| id).filter(broken).collect()
    }

    /// Whether something that a package cannot do without is not there.
    pub(super) fn lacks(&self, id: VersionId) -> bool {
        let relations = self.universe.relations(id);
        let missing = |need: &Need<'a>| {
            need.kind.is_critical() && !need.kind.is_negative() && !self.holds(id, need)
        };
        relations.broken.is_some() || relations.needs.iter().any(missing)
    }

    /// Installed packages that a package conflicts with.
    pub(super) fn hits(&self, id: VersionId) -> impl Iterator<Item = VersionId> {
        let negative =
            self.universe.relations(id).needs.iter().filter(|need| need.kind.is_negative());
        let matching = negative.flat_map(move |need| {
            need.targets.iter().flat_map(move |target| self.matching(id, need.kind, target))
        });
        matching.filter(|&(name, _)| self.state(name).installed).map(|(_, id)| id)
    }

    /// Candidates for a need, in apt's order of preference.
    fn solutions(&self, owner: VersionId, need: &Need<'a>) -> Vec<(NameId, VersionId)> {
        let mut all: Vec<(NameId, VersionId)> = Vec::new();
        for target in &need.targets {
            let mut found = self.matching(owner, need.kind, target);
            self.sort(target, &mut found);
            all.extend(found);
        }
        all.dedup();
        if !need.kind.is_negative() {
            all.retain(|&(name, _)| {
                let state = self.state(name);
                !state.protected || state.installed
            });
        }
        all
    }

    /// apt's order among the packages that satisfy one alternative.
    fn sort(&self, target: &Target<'a>, found: &mut [(NameId, VersionId)]) {
        if found.len() < 2 {
            return;
        }
        let key = |&(name, id): &(NameId, VersionId)| {
            let known = self.universe.name(name);
            let priority =
                self.universe.entry(id).map_or(Priority::Optional, |e| e.package.priority);
            (
                !self.state(name).protected,
                Some(name) != target.name,
                !known.essential,
                !known.protected,
                Reverse(priority),
            )
        };
        // Going through all relations of all packages is only done where nothing else decides.
        let mentioned = |&(name, _): &(NameId, VersionId)| {
            Reverse(self.universe.mentions().get(name as usize).copied().unwrap_or(0))
        };
        found.sort_by(|a, b| key(a).cmp(&key(b)).then_with(|| mentioned(a).cmp(&mentioned(b))));
    }

    /// Marks one package for installation and, if `follow`, what it needs. Says whether it worked.
    fn mark(
        &mut self,
        name: NameId,
        cause: Cause,
        follow: bool,
        depth: usize,
        by_user: bool,
    ) -> bool {
        let state = self.state(name);
        if depth > DEPTH || (!by_user && !state.installed && state.protected) {
            return false;
        }
        let Some(id) = state.candidate else { return false };
        if !state.protected && state.installed && !self.is_broken(id) {
            return true;
        }
        if follow && !self.is_possible(name, id) {
            return false;
        }
        let install = |state: &mut State| {
            if !state.installed {
                state.installed = true;
                state.cause = cause;
            }
        };
        if by_user {
            self.change(name, install);
        }
        let early = !state.protected && !by_user;
        let mut failed = false;
        let mut wanted = Vec::new();
        if follow {
            let mut unwanted = Vec::new();
            for (at, need) in self.universe.relations(id).needs.iter().enumerate() {
                if !self.is_important(need.kind) || (!state.protected && self.holds(id, need)) {
                    continue;
                }
                if need.kind.is_negative() { &mut unwanted } else { &mut wanted }.push(at);
            }
            if !self.remove_conflicts(id, &unwanted, state.protected, by_user) {
                if early {
                    return false;
                }
                failed = true;
            }
        }
        self.change(name, install);
        if !follow {
            return !failed;
        }
        self.protect(name);
        if !self.install_needs(id, &wanted, state.protected, depth, by_user) {
            failed = true;
        }
        if !state.protected {
            self.change(name, |state| state.protected = false);
        }
        if failed && early {
            self.discard(name);
        }
        !failed
    }

    /// Whether each critical need can hold with what is installed or still a candidate. If not, the
    /// package is no candidate any more.
    fn is_possible(&mut self, name: NameId, id: VersionId) -> bool {
        let relations = self.universe.relations(id);
        let possible = relations.broken.is_none()
            && relations.needs.iter().all(|need| {
                !need.kind.is_critical()
                    || need.kind.is_negative()
                    || need
                        .targets
                        .iter()
                        .any(|target| !self.matching(id, need.kind, target).is_empty())
            });
        if !possible && !self.state(name).protected {
            self.discard(name);
        }
        possible
    }

    /// Undoes what conflicts with a package; of a protected package, for good.
    fn remove_conflicts(
        &mut self,
        id: VersionId,
        unwanted: &[usize],
        protected: bool,
        by_user: bool,
    ) -> bool {
        let needs = &self.universe.relations(id).needs;
        let mut failed = false;
        for need in unwanted.iter().filter_map(|&at| needs.get(at)) {
            for (name, _) in self.solutions(id, need) {
                let state = self.state(name);
                if state.installed && state.protected {
                    failed = true;
                    if !protected && !by_user {
                        return false;
                    }
                    continue;
                }
                self.change(name, |state| state.installed = false);
                if protected {
                    self.discard(name);
                    self.protect(name);
                }
            }
        }
        !failed
    }

    fn install_needs(
        &mut self,
        id: VersionId,
        wanted: &[usize],
        protected: bool,
        depth: usize,
        by_user: bool,
    ) -> bool {
        let mut failed = false;
        let needs = &self.universe.relations(id).needs;
        for need in wanted.iter().filter_map(|&at| needs.get(at)) {
            let critical = need.kind.is_critical();
            let cause = Cause::Needed(id, need.kind);
            let holds = self.holds(id, need);
            if holds && !(protected && critical) {
                continue;
            }
            let solutions = self.solutions(id, need);
            let only = solutions.len() == 1;
            if holds {
                // What a protected package cannot do without is protected as well.
                if let (true, Some(&(name, _))) = (only, solutions.first())
                    && !self.state(name).protected
                {
                    self.protect(name);
                    failed |= !self.mark(name, cause, true, depth + 1, false);
                }
                continue;
            }
            let mut found = false;
            for (name, version) in solutions {
                if self.state(name).candidate != Some(version) {
                    continue;
                }
                if protected && critical && only {
                    if !self.mark(name, cause, false, depth + 1, false) {
                        continue;
                    }
                    self.protect(name);
                }
                if self.mark(name, cause, true, depth + 1, false) {
                    found = true;
                    break;
                }
            }
            if !found && critical {
                failed = true;
                if !protected && !by_user {
                    break;
                }
            }
        }
        !failed
    }

    /// Undoes what was marked on the way and led nowhere: what nothing installed needs, recommends or
    /// suggests.
    pub(super) fn sweep(&mut self) {
        let mut useful: BTreeSet<NameId> = BTreeSet::new();
        let roots = self.states.iter().enumerate().filter_map(|(at, state)| {
            let name = NameId::try_from(at).ok()?;
            let known = self.universe.name(name);
            let root = known.essential || known.protected || self.asked.contains(&name);
            (state.installed && root).then_some(name)
        });
        let mut todo: Vec<NameId> = roots.collect();
        useful.extend(&todo);
        while let Some(name) = todo.pop() {
            let Some(id) = self.state(name).candidate else { continue };
            for need in &self.universe.relations(id).needs {
                if need.kind.is_negative() {
                    continue;
                }
                for target in &need.targets {
                    for (other, _) in self.matching(id, need.kind, target) {
                        if self.state(other).installed && useful.insert(other) {
                            todo.push(other);
                        }
                    }
                }
            }
        }
        for (at, state) in self.states.iter_mut().enumerate() {
            let kept = NameId::try_from(at).is_ok_and(|name| useful.contains(&name));
            state.installed &= kept;
        }
    }
}
