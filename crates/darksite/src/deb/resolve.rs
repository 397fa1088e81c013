//! From a request to a lock: suites are read, the solver chooses, and what it chose is written down.

use pkg::deb::{IndexInfo, Request, SolveError, Universe, parse_packages, solve};
use thiserror::Error;

use super::component;
use super::source::{Reader, SuiteSource, SuiteState};
use crate::fetch::Report;
use crate::lock::{Blob, Lock, LockedPackage};
use crate::source::{SourceError, read_index};

/// A lock, and what people should know about it.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The lock.
    pub lock: Lock,
    /// Optional packages that were left out, with the reason; exclusions and pins of packages that no
    /// suite has.
    pub warnings: Vec<String>,
}

/// Why there is no lock.
#[derive(Debug, Error)]
pub enum ResolveError {
    /// A suite cannot be used.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// An index cannot be read.
    #[error("suite {suite}: index {path}: {reason}")]
    Index {
        /// The suite.
        suite: String,
        /// The index.
        path: String,
        /// What is wrong.
        reason: String,
    },
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
        let bad = |reason: String| ResolveError::Index {
            suite: state.locked.name.clone(),
            path: index.path.clone(),
            reason,
        };
        let packages = parse_packages(text).map_err(|error| bad(error.to_string()))?;
        let info = IndexInfo::new(&state.release, component(index), "");
        universe.add(info, packages).map_err(|error| bad(error.to_string()))?;
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
        distribution: question.distribution.to_owned(),
        codename: question.codename.to_owned(),
        architecture: reader.architecture.to_owned(),
        requests: question.request.packages.clone(),
        suites: states.iter().map(|state| state.locked.clone()).collect(),
        packages,
    };
    lock.sort();
    let skipped = solution.skipped.iter().map(ToString::to_string);
    let warnings = skipped.chain(solution.unknown.iter().map(ToString::to_string)).collect();
    Ok(Resolved { lock, warnings })
}
