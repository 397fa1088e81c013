//! From a request to a lock: suites are read, the solver chooses, and what it chose is written down.

use pkg::deb::{IndexInfo, Rejected, Request, SolveError, Universe, parse_packages, solve};
use thiserror::Error;

use super::component;
use super::source::{Reader, SuiteSource, SuiteState};
use crate::fetch::Report;
use crate::lock::{Blob, Lock, LockedPackage};
use crate::source::{SourceError, read_index};

/// Most packages of an index that are named because they cannot be read.
const MOST_WORDS: usize = 10;

/// A lock, and what people should know about it.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The lock.
    pub lock: Lock,
    /// Optional packages that were left out, with the reason; exclusions and pins of packages that no
    /// suite has; packages of an index that cannot be read.
    pub warnings: Vec<String>,
}

/// Why there is no lock.
#[derive(Debug, Error)]
pub enum ResolveError {
    /// A suite cannot be used.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The request cannot be had.
    #[error(transparent)]
    Solve(#[from] SolveError),
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

/// What to resolve.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The distribution, as `debian`.
    pub distribution: &'a str,
    /// The release, by codename.
    pub codename: &'a str,
    /// Its suites, in the order in which apt would read them.
    pub suites: &'a [SuiteSource],
    /// What is asked of the solver.
    pub request: &'a Request,
}

/// Reads the suites, verified, and chooses the packages.
pub fn resolve(
    reader: &Reader<'_>,
    question: &Question<'_>,
    report: Report<'_>,
) -> Result<Resolved, ResolveError> {
    let states: Vec<SuiteState> = question
        .suites
        .iter()
        .map(|suite| reader.suite(suite, report))
        .collect::<Result<_, _>>()?;
    choose(reader, question, &states)
}

fn choose(
    reader: &Reader<'_>,
    question: &Question<'_>,
    states: &[SuiteState],
) -> Result<Resolved, ResolveError> {
    let mut origins = Vec::new();
    let mut texts = Vec::new();
    for state in states {
        for index in &state.locked.indexes {
            texts.push(read_index(reader.store, index)?);
            origins.push((state, index));
        }
    }
    let mut universe = Universe::new(reader.architecture);
    for ((state, index), text) in origins.iter().zip(&texts) {
        universe.add(IndexInfo::new(&state.release, component(index), ""), parse_packages(text));
    }
    let solution = solve(&universe, question.request)?;
    let mut packages = Vec::with_capacity(solution.packages.len());
    for chosen in &solution.packages {
        let package = chosen.package;
        let Some((state, index)) =
            chosen.indexes.first().and_then(|&at| origins.get(usize::from(at)))
        else {
            continue;
        };
        let suite = state.locked.name.clone();
        let (name, version) = (package.name.to_owned(), package.version.as_str().to_owned());
        let (Some(digest), Some(size)) = (package.sha256, package.size) else {
            return Err(ResolveError::NoDigest { name, version, suite });
        };
        packages.push(LockedPackage {
            name,
            architecture: package.architecture.to_owned(),
            version,
            blob: Blob { digest, size },
            suite,
            component: component(index).to_owned(),
            path: package.filename.to_owned(),
        });
    }
    let mut lock = Lock {
        asked: Vec::new(),
        distribution: question.distribution.to_owned(),
        codename: question.codename.to_owned(),
        architecture: reader.architecture.to_owned(),
        requests: question.request.packages.clone(),
        pins: question.request.policy.pins.iter().map(ToString::to_string).collect(),
        suites: states.iter().map(|state| state.locked.clone()).collect(),
        packages,
    };
    lock.sort();
    let mut warnings = Vec::new();
    for (at, (state, index)) in origins.iter().enumerate() {
        let rejected = universe.rejected().filter(|(of, _)| usize::from(*of) == at);
        let rejected: Vec<&Rejected<'_>> = rejected.map(|(_, rejected)| rejected).collect();
        warnings.extend(passed_over(&state.locked.name, &index.path, &rejected));
    }
    warnings.extend(solution.skipped.iter().map(ToString::to_string));
    warnings.extend(solution.unknown.iter().map(ToString::to_string));
    warnings.extend(solution.idle);
    warnings.extend(solution.kept_back);
    Ok(Resolved { lock, warnings })
}

/// Words for packages of an index that cannot be read; not for each if they are many.
fn passed_over(suite: &str, path: &str, rejected: &[&Rejected<'_>]) -> Vec<String> {
    let one = |one: &&Rejected<'_>| {
        let (label, error) = (one.label(), &one.error);
        format!("suite {suite}: {path}: {error}; {label} is passed over")
    };
    let mut words: Vec<String> = rejected.iter().take(MOST_WORDS).map(one).collect();
    if let Some(more) = rejected.len().checked_sub(MOST_WORDS).filter(|more| *more > 0) {
        words.push(format!("suite {suite}: {path}: {more} more packages cannot be read"));
    }
    words
}
