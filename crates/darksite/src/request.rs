//! What is asked for, in the words of no family; its family makes a lock of it.

use std::collections::{BTreeSet, HashSet};
use std::error::Error as StdError;

use pkg::distribution::DistributionError;
use pkg::recipe::Pin;
use thiserror::Error;

use crate::Location;
use crate::family::family;
use crate::fetch::Report;
use crate::lock::Lock;
use crate::source::{Reader, SourceError, SuiteSource};
use crate::store::Store;

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Packages in order: where there is a choice, what came before may count.
    pub packages: Vec<String>,
    /// Whether all packages come, too, that the distribution calls essential.
    pub essential: bool,
    /// All packages of at least this priority come, too: `required`, `important`, `standard`.
    pub priority: Option<String>,
    /// Whether recommended packages are taken.
    pub recommends: bool,
    /// Names of packages that are never chosen.
    pub excluded: BTreeSet<String>,
    /// Versions that are preferred, or kept away.
    pub pins: Vec<Pin>,
    /// Sets that are added one by one if they can be had without touching what is there.
    pub optional: Vec<OptionalSet>,
}

/// Packages that are wanted together, but not needed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OptionalSet {
    /// What warnings call it.
    pub name: String,
    /// As in [`Request::packages`].
    pub packages: Vec<String>,
}

/// What to resolve.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The distribution, as `debian`.
    pub distribution: &'a str,
    /// The release, by codename.
    pub codename: &'a str,
    /// Its suites, in the order in which its package manager would read them.
    pub suites: &'a [SuiteSource],
    /// What is asked for.
    pub request: &'a Request,
    /// Packages, named with `*` and `?`, that stay as `old` has them.
    pub hold: &'a [String],
    /// The lock before this one.
    pub old: Option<&'a Lock>,
}

/// A lock, and what people should know about it.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The lock.
    pub lock: Lock,
    /// Optional packages that were left out, with the reason; exclusions and pins of packages that no
    /// suite has; packages of an index that cannot be read.
    pub warnings: Vec<String>,
}

/// A package that is asked for and cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absent {
    /// As it is in [`Request::packages`].
    pub asked: String,
    /// Why, with its name.
    pub problem: String,
}

/// A line for each.
fn problems(absent: &[Absent]) -> String {
    let lines: Vec<&str> = absent.iter().map(|one| one.problem.as_str()).collect();
    lines.join("\n")
}

/// Why there is no lock.
#[derive(Debug, Error)]
pub enum ResolveError {
    /// Nobody knows the family.
    #[error(transparent)]
    Distribution(#[from] DistributionError),
    /// A suite cannot be used.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Packages that are asked for cannot be had: all of them, in the order of the request.
    #[error("{}", problems(.0))]
    Packages(Vec<Absent>),
    /// The request cannot be had; the solver of the family says why.
    #[error("{0}")]
    Request(Box<dyn StdError + Send + Sync>),
    /// The solver itself failed.
    #[error("{0}")]
    Solver(Box<dyn StdError + Send + Sync>),
    /// An index tells no digest of a package, so that nobody could verify it.
    #[error("{name} {version} has no SHA-256 in the index of suite {suite}")]
    NoDigest {
        /// The package.
        name: String,
        /// Its version.
        version: String,
        /// The suite.
        suite: String,
    },
}

/// Reads the suites, verified, and chooses the packages.
pub fn resolve(
    reader: &Reader<'_>,
    question: &Question<'_>,
    report: Report<'_>,
) -> Result<Resolved, ResolveError> {
    family(question.distribution)?.resolve(reader, question, report)
}

/// Names of the packages that `request` itself asks for; all others of `lock` came because these need them.
pub fn asked_for(
    request: &Request,
    lock: &Lock,
    store: &Store,
) -> Result<HashSet<String>, ResolveError> {
    Ok(family(&lock.distribution)?.asked_for(request, lock, store)?)
}

/// Tells where a host has suites that are called as releases are (the second argument), with one of these
/// endings, and whether a state of them may be too old.
pub type HostMirrors = Box<dyn Fn(&[&str], &[String]) -> (Vec<Location>, bool)>;

/// Where the package manager of this host has the suites of `distribution`, which must be the host's own.
pub fn host_mirrors(distribution: &str) -> Result<HostMirrors, DistributionError> {
    Ok(family(distribution)?.host_mirrors())
}
