//! resolvo, behind one function.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::fmt::Display;

use resolvo::conflict::{ConflictEdge, ConflictNode};
use resolvo::{
    Candidates, Condition, ConditionId, ConditionalRequirement, Dependencies, DependencyProvider,
    HintDependenciesAvailable, Interner, KnownDependencies, NameId, Problem, Requirement,
    SolvableId, Solver, SolverCache, StringId, UnsolvableOrCancelled, VersionSetId,
    VersionSetUnionId,
};

use super::{Catalogue, Clause, Explanation, Id};

/// A set of packages that holds every clause of `request` and whatever those packages need; sorted.
pub fn solve(catalogue: &dyn Catalogue, request: &[Clause]) -> Result<Vec<Id>, Explanation> {
    let provider = Provider { catalogue, tables: RefCell::new(Tables::default()) };
    let requirements = request.iter().map(|clause| provider.requirement(clause)).collect();
    let mut solver = Solver::new(provider);
    match solver.solve(Problem::new().requirements(requirements)) {
        Ok(solution) => {
            let mut ids: Vec<Id> = solution.into_iter().map(SolvableId::into_raw).collect();
            ids.sort_unstable();
            Ok(ids)
        }
        Err(UnsolvableOrCancelled::Unsolvable(conflict)) => {
            let graph = conflict.graph(&solver);
            Err(explain(solver.provider(), &graph))
        }
        // Nothing here cancels.
        Err(UnsolvableOrCancelled::Cancelled(_)) => Err(Explanation { steps: Vec::new() }),
    }
}

/// Packages of one slot.
struct Set {
    slot: u32,
    packages: Vec<Id>,
    text: String,
}

#[derive(Default)]
struct Tables {
    sets: Vec<Set>,
    unions: Vec<(Vec<VersionSetId>, String)>,
}

struct Provider<'a> {
    catalogue: &'a dyn Catalogue,
    tables: RefCell<Tables>,
}

impl Provider<'_> {
    fn set(&self, slot: u32, packages: Vec<Id>, text: &str) -> VersionSetId {
        let mut tables = self.tables.borrow_mut();
        tables.sets.push(Set { slot, packages, text: text.to_owned() });
        VersionSetId(u32::try_from(tables.sets.len() - 1).unwrap_or(u32::MAX))
    }

    fn requirement(&self, clause: &Clause) -> ConditionalRequirement {
        // Neighbours of one slot are one set, as several versions of one package.
        let mut runs: Vec<(u32, Vec<Id>)> = Vec::new();
        for &id in &clause.candidates {
            let slot = self.catalogue.slot(id);
            match runs.last_mut() {
                Some((last, ids)) if *last == slot => ids.push(id),
                _ => runs.push((slot, vec![id])),
            }
        }
        if runs.is_empty() {
            // A slot behind all others has no package.
            runs.push((self.catalogue.slots(), Vec::new()));
        }
        let mut sets: Vec<VersionSetId> =
            runs.into_iter().map(|(slot, ids)| self.set(slot, ids, &clause.text)).collect();
        let requirement = match (sets.len(), sets.first()) {
            (1, Some(&only)) => Requirement::Single(only),
            _ => {
                let mut tables = self.tables.borrow_mut();
                tables.unions.push((std::mem::take(&mut sets), clause.text.clone()));
                let last = u32::try_from(tables.unions.len() - 1).unwrap_or(u32::MAX);
                Requirement::Union(VersionSetUnionId(last))
            }
        };
        ConditionalRequirement { condition: None, requirement }
    }

    fn with_set<T>(&self, id: VersionSetId, read: impl FnOnce(&Set) -> T) -> Option<T> {
        self.tables.borrow().sets.get(id.0 as usize).map(read)
    }

    fn requirement_text(&self, requirement: Requirement) -> String {
        match requirement {
            Requirement::Single(set) => self.with_set(set, |set| set.text.clone()),
            Requirement::Union(union) => {
                self.tables.borrow().unions.get(union.0 as usize).map(|(_, text)| text.clone())
            }
        }
        .unwrap_or_default()
    }
}

impl Interner for Provider<'_> {
    type NameId = NameId;
    type SolvableId = SolvableId;

    fn display_solvable(&self, solvable: SolvableId) -> impl Display + '_ {
        self.catalogue.label(solvable.into_raw())
    }

    fn display_name(&self, name: NameId) -> impl Display + '_ {
        format!("{name:?}")
    }

    fn display_version_set(&self, set: VersionSetId) -> impl Display + '_ {
        self.with_set(set, |set| set.text.clone()).unwrap_or_default()
    }

    fn display_string(&self, _: StringId) -> impl Display + '_ {
        ""
    }

    fn version_set_name(&self, set: VersionSetId) -> NameId {
        NameId::from_raw(self.with_set(set, |set| set.slot).unwrap_or(self.catalogue.slots()))
    }

    fn solvable_name(&self, solvable: SolvableId) -> NameId {
        NameId::from_raw(self.catalogue.slot(solvable.into_raw()))
    }

    fn version_sets_in_union(
        &self,
        union: VersionSetUnionId,
    ) -> impl Iterator<Item = VersionSetId> {
        let tables = self.tables.borrow();
        tables
            .unions
            .get(union.0 as usize)
            .map(|(sets, _)| sets.clone())
            .unwrap_or_default()
            .into_iter()
    }

    fn resolve_condition(&self, _: ConditionId) -> Condition {
        // No requirement here has a condition.
        Condition::Requirement(VersionSetId(0))
    }
}

impl DependencyProvider for Provider<'_> {
    async fn filter_candidates(
        &self,
        candidates: &[SolvableId],
        set: VersionSetId,
        inverse: bool,
    ) -> Vec<SolvableId> {
        let inside = |id: &SolvableId| {
            self.with_set(set, |set| set.packages.contains(&id.into_raw())).unwrap_or(false)
        };
        candidates.iter().copied().filter(|id| inside(id) != inverse).collect()
    }

    async fn get_candidates(&self, name: NameId) -> Option<Candidates<SolvableId>> {
        if name.into_raw() >= self.catalogue.slots() {
            return None;
        }
        let packages = self.catalogue.members(name.into_raw());
        Some(Candidates {
            candidates: packages.into_iter().map(SolvableId::from_raw).collect(),
            hint_dependencies_available: HintDependenciesAvailable::None,
            ..Candidates::default()
        })
    }

    async fn sort_candidates(&self, _: &SolverCache<Self>, solvables: &mut [SolvableId]) {
        // The order of a clause is kept by its sets; within a slot the family numbers the preferred
        // first.
        solvables.sort_by_key(|id| id.into_raw());
    }

    async fn get_dependencies(&self, solvable: SolvableId) -> Dependencies {
        let id = solvable.into_raw();
        let clauses = self.catalogue.requirements(id);
        let requirements = clauses.iter().map(|clause| self.requirement(clause)).collect();
        let mut constrains = Vec::new();
        for exclusion in self.catalogue.exclusions(id) {
            for package in exclusion.packages {
                // "Constrains" names what may be there: of this slot, anything but the package.
                let slot = self.catalogue.slot(package);
                let mut others = self.catalogue.members(slot);
                others.retain(|&other| other != package);
                constrains.push(self.set(slot, others, &exclusion.text));
            }
        }
        Dependencies::Known(KnownDependencies { requirements, constrains })
    }
}

/// The contradiction as sentences: edges of the graph in breadth-first order from the request.
fn explain(
    provider: &Provider<'_>,
    graph: &resolvo::conflict::ConflictGraph<SolvableId>,
) -> Explanation {
    let label = |node: &ConflictNode<SolvableId>| match node {
        ConflictNode::Solvable(id) => provider.catalogue.label(id.into_raw()),
        _ => "the request".to_owned(),
    };
    let graph_edges: Vec<_> = graph
        .graph
        .edge_indices()
        .filter_map(|edge| {
            let (from, to) = graph.graph.edge_endpoints(edge)?;
            Some((from, to, *graph.graph.edge_weight(edge)?))
        })
        .collect();
    let mut steps: Vec<String> = Vec::new();
    let mut seen = BTreeSet::from([graph.root_node]);
    let mut todo = VecDeque::from([graph.root_node]);
    let mut conflicts = Vec::new();
    while let Some(at) = todo.pop_front() {
        let Some(from) = graph.graph.node_weight(at) else { continue };
        let mut edges: Vec<_> = graph_edges.iter().filter(|(from, _, _)| *from == at).collect();
        edges.sort_by_key(|(_, to, weight)| (*weight, *to));
        let mut told = BTreeSet::new();
        for (_, to, weight) in edges {
            let Some(node) = graph.graph.node_weight(*to) else { continue };
            match weight {
                ConflictEdge::Requires(requirement) => {
                    if told.insert(*requirement) {
                        let text = provider.requirement_text(*requirement);
                        let nothing = matches!(node, ConflictNode::UnresolvedDependency);
                        let end = if nothing { ", which no package satisfies" } else { "" };
                        steps.push(match from {
                            ConflictNode::Root => format!("{text} is asked for{end}"),
                            _ => format!("{} has {text}{end}", label(from)),
                        });
                    }
                    if seen.insert(*to) {
                        todo.push_back(*to);
                    }
                }
                ConflictEdge::Conflict(resolvo::conflict::ConflictCause::Constrains(set)) => {
                    let text = provider.with_set(*set, |set| set.text.clone()).unwrap_or_default();
                    conflicts.push(format!(
                        "{} has {text}, and so cannot be beside {}",
                        label(from),
                        label(node)
                    ));
                }
                ConflictEdge::Conflict(_) => conflicts.push(format!(
                    "{} is one of several versions of which only one can be",
                    label(node)
                )),
            }
        }
    }
    conflicts.sort();
    conflicts.dedup();
    steps.extend(conflicts);
    Explanation { steps }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packages by number; each with clauses and exclusions.
    struct Toy(Vec<(Vec<Vec<Id>>, Vec<Id>)>);

    impl Catalogue for Toy {
        fn label(&self, id: Id) -> String {
            format!("p{id}")
        }

        fn slot(&self, id: Id) -> u32 {
            id
        }

        fn slots(&self) -> u32 {
            u32::try_from(self.0.len()).unwrap()
        }

        fn members(&self, slot: u32) -> Vec<Id> {
            vec![slot]
        }

        fn requirements(&self, id: Id) -> Vec<Clause> {
            clauses(&self.0[id as usize].0)
        }

        fn exclusions(&self, id: Id) -> Vec<super::super::Exclusion> {
            let packages = self.0[id as usize].1.clone();
            vec![super::super::Exclusion { text: format!("Conflicts: {packages:?}"), packages }]
        }
    }

    fn clauses(clauses: &[Vec<Id>]) -> Vec<Clause> {
        let clause =
            |ids: &Vec<Id>| Clause { text: format!("Depends: {ids:?}"), candidates: ids.clone() };
        clauses.iter().map(clause).collect()
    }

    #[test]
    fn order_is_preference_and_conflicts_hold() {
        let toy = Toy(vec![
            (vec![vec![1, 2]], vec![]),
            (vec![], vec![3]),
            (vec![], vec![]),
            (vec![], vec![]),
        ]);
        assert_eq!(solve(&toy, &clauses(&[vec![0]])).unwrap(), [0, 1]);
        assert_eq!(solve(&toy, &clauses(&[vec![2, 1], vec![0]])).unwrap(), [0, 2]);
        assert_eq!(solve(&toy, &clauses(&[vec![0], vec![3]])).unwrap(), [0, 2, 3]);
    }

    #[test]
    fn contradictions_are_told() {
        let toy = Toy(vec![
            (vec![vec![1]], vec![]),
            (vec![], vec![2]),
            (vec![], vec![]),
            (vec![vec![]], vec![]),
        ]);
        let error = solve(&toy, &clauses(&[vec![0], vec![2]])).unwrap_err();
        assert_eq!(
            error.steps.last().unwrap(),
            "p1 has Conflicts: [2], and so cannot be beside p2"
        );
        assert!(error.steps.contains(&"p0 has Depends: [1]".to_owned()), "{error}");
        let error = solve(&toy, &clauses(&[vec![3]])).unwrap_err();
        assert_eq!(error.steps.last().unwrap(), "p3 has Depends: [], which no package satisfies");
    }
}
