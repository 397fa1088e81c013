//! From a request to a lock: suites are read, the solver chooses, and what it chose is written down.

use std::collections::HashSet;

use pkg::deb::{
    self, IndexInfo, Pin, PinTarget, Policy, Priority, Rejected, SolveError, Universe,
    parse_packages, solve,
};
use pkg::recipe;

use super::component;
use super::source::SuiteState;
use crate::fetch::{Event, Report};
use crate::lock::{Blob, Lock, LockedPackage};
use crate::request::{Absent, Question, Request, ResolveError, Resolved};
use crate::source::{Reader, SourceError, read_index};
use crate::store::Store;

/// Most packages of an index that are named because they cannot be read.
const MOST_WORDS: usize = 10;
/// After so many packages that cannot be had, the others are not looked up: it is another distribution's list.
const MOST_ABSENT: usize = 100;

/// Reads the suites, verified, and chooses the packages.
pub(super) fn resolve(
    reader: &Reader<'_>,
    question: &Question<'_>,
    report: Report<'_>,
) -> Result<Resolved, ResolveError> {
    let mut request = in_solvers_words(question.request);
    hold(question, &mut request.policy, report);
    let states: Vec<SuiteState> = question
        .suites
        .iter()
        .map(|suite| reader.suite(suite, report))
        .collect::<Result<_, _>>()?;
    choose(reader, question, &request, &states)
}

impl From<SolveError> for ResolveError {
    fn from(error: SolveError) -> Self {
        match error {
            SolveError::Broken(_) | SolveError::Thread(_) => Self::Solver(error.into()),
            _ => Self::Request(error.into()),
        }
    }
}

fn hold(question: &Question<'_>, policy: &mut Policy, report: Report<'_>) {
    let Some(lock) = question.old else { return };
    let locked = lock.packages.iter().map(|one| (one.name.as_str(), one.version.as_str()));
    for name in policy.hold(question.hold, locked) {
        let idle = format!("hold: the lock has no package {name:?}, so nothing comes of it");
        report(Event::Warning(&idle));
    }
}

/// A request as the solver takes it; nothing is held.
pub(super) fn in_solvers_words(request: &Request) -> deb::Request {
    let Request { packages, essential, priority, recommends, excluded, pins, optional } = request;
    let policy = Policy {
        excluded: excluded.clone(),
        pins: pins.iter().map(pin).collect(),
        ..Policy::default()
    };
    let optional = optional
        .iter()
        .map(|set| deb::OptionalSet { name: set.name.clone(), packages: set.packages.clone() });
    deb::Request {
        packages: packages.clone(),
        essential: *essential,
        priority: priority.as_deref().map(Priority::named),
        recommends: *recommends,
        policy,
        optional: optional.collect(),
    }
}

fn pin(pin: &recipe::Pin) -> Pin {
    let target = match &pin.target {
        recipe::PinTarget::Version(version) => PinTarget::Version(version.clone()),
        recipe::PinTarget::Suite(suite) => PinTarget::Suite(suite.clone()),
    };
    Pin { packages: pin.packages.clone(), target, priority: pin.priority.into() }
}

/// What apt calls manual: asked for by name, by profile, or as it is essential or of the profile's priority. apt
/// removes none of them by itself.
pub(super) fn asked_for(
    request: &Request,
    lock: &Lock,
    store: &Store,
) -> Result<HashSet<String>, SourceError> {
    let plain = |name: &String| name.split(['=', '/', ':']).next().unwrap_or_default().to_owned();
    let mut manual: HashSet<String> = request.packages.iter().map(plain).collect();
    manual.extend(request.optional.iter().flat_map(|set| &set.packages).map(plain));
    let least = request.priority.as_deref().map(Priority::named);
    for index in lock.suites.iter().flat_map(|suite| &suite.indexes) {
        let text = read_index(store, index)?;
        let packages = parse_packages(&text).packages;
        let asked = packages.iter().filter(|package| {
            package.essential && request.essential
                || least.is_some_and(|least| package.priority >= least)
        });
        manual.extend(asked.map(|package| package.name.to_owned()));
    }
    Ok(manual)
}

fn choose(
    reader: &Reader<'_>,
    question: &Question<'_>,
    request: &deb::Request,
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
    let solution = solve(&universe, request).map_err(|error| refused(&universe, request, error))?;
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
        pins: question.request.pins.iter().map(ToString::to_string).collect(),
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

/// What to say of a request that has no solution. Names are looked up before anything is solved, and the solver tells
/// the first that is wrong; who has mistyped three should not need three runs to know.
fn refused(universe: &Universe<'_>, request: &deb::Request, error: SolveError) -> ResolveError {
    let mut rest = request.clone();
    let mut absent: Vec<Absent> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let (SolveError::Missing { name, .. }
        | SolveError::Virtual { name, .. }
        | SolveError::NoCandidate { name, .. }) = &error
        else {
            // Only names are told where some are wrong.
            return if absent.is_empty() { error.into() } else { ResolveError::Packages(absent) };
        };
        let is_meant = |asked: &String| asked.split(['=', '/']).next() == Some(name.as_str());
        let (wrong, others) = rest.packages.into_iter().partition(is_meant);
        let wrong: Vec<String> = wrong;
        rest.packages = others;
        if wrong.is_empty() {
            // One that is held, and that nobody asked for.
            return if absent.is_empty() { error.into() } else { ResolveError::Packages(absent) };
        }
        for asked in wrong {
            if !absent.iter().any(|one| one.asked == asked) {
                let problem = without_suite(universe, &asked, &error);
                let problem = problem.unwrap_or_else(|| error.to_string());
                absent.push(Absent { asked, problem });
            }
        }
        if absent.len() >= MOST_ABSENT {
            break;
        }
        next = deb::asked(universe, &rest).err();
    }
    ResolveError::Packages(absent)
}

/// What to say of `name/suite`, where no suite is called so.
fn without_suite(universe: &Universe<'_>, asked: &str, error: &SolveError) -> Option<String> {
    let (name, suite) = asked.split_once('/')?;
    let infos = universe.indexes();
    let is_read = infos.iter().any(|info| info.is_called(suite));
    if is_read || !matches!(error, SolveError::NoCandidate { .. }) {
        return None;
    }
    let mut known: Vec<&str> = infos.iter().map(IndexInfo::called).collect();
    known.dedup();
    Some(format!("{name}: no suite {suite} is read; there are {}", known.join(", ")))
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
