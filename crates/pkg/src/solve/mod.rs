//! The engine below the solvers of all families of packages: clauses in, a set of packages out.
//!
//! A family tells what each package requires and what cannot be beside it ([`Catalogue`]); nothing here
//! knows what a version or a relation is. The result is one that satisfies every clause, found by
//! [`sat`]; which of several is found follows the order of the candidates in each clause. Preferences
//! that are not hard (apt's, for example) are the family's own.

pub mod sat;

use std::fmt;

/// A package of a catalogue.
pub type Id = u32;

/// One requirement: at least one of the candidates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clause {
    /// How it is told to people, as `Depends: a (>= 1) | b`.
    pub text: String,
    /// What satisfies it, the preferred first; empty if nothing does.
    pub candidates: Vec<Id>,
}

/// What cannot be in one set with another package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exclusion {
    /// How it is told to people, as `Conflicts: a`.
    pub text: String,
    /// The packages that it keeps away.
    pub packages: Vec<Id>,
}

/// A family's packages, as clauses.
pub trait Catalogue {
    /// How a package is told to people, as `bash 5.2-1`.
    fn label(&self, id: Id) -> String;
    /// Of packages with the same slot at most one is taken: other versions of the same name.
    fn slot(&self, id: Id) -> u32;
    /// Number of slots; all are below it, without many gaps.
    fn slots(&self) -> u32;
    /// All packages of a slot that may be taken.
    fn members(&self, slot: u32) -> Vec<Id>;
    /// What the package needs.
    fn requirements(&self, id: Id) -> Vec<Clause>;
    /// What cannot be beside the package.
    fn exclusions(&self, id: Id) -> Vec<Exclusion>;
}

/// Why a request cannot be had: sentences, each following from the ones before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The chain, from the request to the contradiction.
    pub steps: Vec<String>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.steps.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            write!(f, "  - {step}")?;
        }
        Ok(())
    }
}
