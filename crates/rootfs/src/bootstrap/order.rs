//! In which order packages with a preinst script are unpacked, and what must be configured before.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::Facts;

/// One run of dpkg; numbers are places in the list of packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Run {
    /// Unpack these.
    Unpack(Vec<usize>),
    /// Configure these.
    Configure(Vec<usize>),
}

/// Who satisfies a relation in a closed set of packages.
#[derive(Debug)]
pub(super) struct Relations<'a> {
    facts: &'a [Facts],
    by_name: BTreeMap<&'a str, Vec<usize>>,
}

impl<'a> Relations<'a> {
    pub fn new(facts: &'a [Facts]) -> Self {
        let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, package) in facts.iter().enumerate() {
            for (place, name) in package.provides.iter().enumerate() {
                let known = by_name.entry(name).or_default();
                // A package of that name goes before those that stand for it.
                if place == 0 {
                    known.insert(0, at);
                } else if !known.contains(&at) {
                    known.push(at);
                }
            }
        }
        Self { facts, by_name }
    }

    /// The first alternative that is in the set.
    fn satisfying(&self, clause: &[String]) -> Option<usize> {
        clause.iter().find_map(|name| self.by_name.get(name.as_str())?.first().copied())
    }

    fn targets(&self, clauses: &[Vec<String>]) -> Vec<usize> {
        clauses.iter().filter_map(|clause| self.satisfying(clause)).collect()
    }

    /// These packages and everything they depend on, in whatever way.
    pub fn closure(&self, start: impl IntoIterator<Item = usize>) -> BTreeSet<usize> {
        let mut todo: Vec<usize> = start.into_iter().collect();
        let mut found = BTreeSet::new();
        while let Some(at) = todo.pop() {
            let Some(facts) = self.facts.get(at) else { continue };
            if found.insert(at) {
                todo.extend(self.targets(&facts.pre_depends));
                todo.extend(self.targets(&facts.depends));
            }
        }
        found
    }

    /// The essential packages with all their dependencies.
    pub fn essential(&self) -> BTreeSet<usize> {
        let essential = self.facts.iter().enumerate().filter(|(_, facts)| facts.essential);
        self.closure(essential.map(|(at, _)| at))
    }

    /// The runs that unpack `waiting`, where `configured` is configured already and everything else
    /// unpacked: before a package is unpacked its `Pre-Depends` are configured.
    pub fn runs(&self, waiting: &BTreeSet<usize>, configured: &BTreeSet<usize>) -> Vec<Run> {
        let mut state = State {
            relations: self,
            waiting: waiting.clone(),
            begun: BTreeSet::new(),
            configured: configured.clone(),
            runs: Vec::new(),
        };
        for &at in waiting {
            state.unpack(at);
        }
        state.runs
    }
}

struct State<'a> {
    relations: &'a Relations<'a>,
    waiting: BTreeSet<usize>,
    /// Packages whose turn has come; in a circle nothing is waited for twice.
    begun: BTreeSet<usize>,
    configured: BTreeSet<usize>,
    runs: Vec<Run>,
}

impl State<'_> {
    /// Depth is bounded by the number of packages, as each begins once.
    fn unpack(&mut self, at: usize) {
        if !self.waiting.contains(&at) || !self.begun.insert(at) {
            return;
        }
        let Some(facts) = self.relations.facts.get(at) else { return };
        let wanted = self.relations.targets(&facts.pre_depends);
        let mut first = self.relations.closure(wanted);
        first.retain(|other| !self.configured.contains(other) && *other != at);
        for &other in &first {
            self.unpack(other);
        }
        first.retain(|other| !self.waiting.contains(other) && !self.configured.contains(other));
        if !first.is_empty() {
            self.configured.extend(&first);
            self.runs.push(Run::Configure(first.into_iter().collect()));
        }
        self.waiting.remove(&at);
        match self.runs.last_mut() {
            Some(Run::Unpack(packages)) => packages.push(at),
            _ => self.runs.push(Run::Unpack(vec![at])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::Package;

    fn package(name: &str, preinst: bool, pre_depends: &[&str], depends: &[&str]) -> Facts {
        let package = Package {
            name: name.to_owned(),
            version: "1".to_owned(),
            architecture: "all".to_owned(),
            deb: "x".into(),
            sha256: String::new(),
            automatic: false,
        };
        let clauses = |names: &[&str]| names.iter().map(|&name| vec![name.to_owned()]).collect();
        Facts {
            package,
            essential: name == "base",
            same: false,
            preinst,
            provides: vec![name.to_owned(), "anything".to_owned()],
            pre_depends: clauses(pre_depends),
            depends: clauses(depends),
            replaces: String::new(),
        }
    }

    #[test]
    fn pre_dependencies_are_configured_first() {
        let facts = [
            package("base", false, &[], &["lib"]),
            package("lib", false, &[], &[]),
            package("plain", true, &["base"], &[]),
            package("late", true, &["early"], &[]),
            package("early", true, &["base"], &["more"]),
            package("more", false, &[], &["early"]),
            package("round", true, &["about"], &[]),
            package("about", true, &["round"], &[]),
        ];
        let relations = Relations::new(&facts);
        let essential = relations.essential();
        assert_eq!(essential, BTreeSet::from([0, 1]));
        let waiting = BTreeSet::from([2, 3, 4, 6, 7]);
        let runs = relations.runs(&waiting, &essential);
        assert_eq!(
            runs,
            [
                Run::Unpack(vec![2, 4]),
                Run::Configure(vec![4, 5]),
                Run::Unpack(vec![3, 7]),
                Run::Configure(vec![7]),
                Run::Unpack(vec![6]),
            ]
        );
        assert_eq!(relations.satisfying(&["anything".to_owned()]), Some(0));
    }
}
