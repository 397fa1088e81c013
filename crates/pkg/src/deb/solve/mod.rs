//! The solver: which packages a request needs, on a system where nothing is installed.
//!
//! [`walk`] goes apt's own way, and its result is taken if every hard relation holds in it; that is nearly
//! always. Where it does not, [`mend`] takes back what is not asked for and does not fit. Where that is not
//! enough, [`crate::solve::sat`] finds a set that holds, or tells why there is none, with the alternatives that
//! the walk took as first choice; recommended packages are then added as far as they fit. [`check`] has the last
//! word, whatever found the set. Results depend on the request and the indexes alone.

mod check;
mod clauses;
mod kept;
mod mend;
mod release;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use thiserror::Error;

use super::packages::{Package, Priority};
use super::policy::{Policy, UnknownName, hint};
use super::universe::{Kind, NameId, Universe, VersionId};
use crate::solve::Explanation;
pub use check::lacking;
use clauses::Clauses;
use walk::{Cause, Walk};

/// The stack of the thread that follows relations; apt's deepest chains are some hundred long.
const STACK: usize = 128 << 20;

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Packages in order: `name`, `name=version`, `name/suite`, or the name of something that exactly
    /// one package provides. The order matters as it does to apt: where an alternative is chosen, what
    /// came before counts.
    pub packages: Vec<String>,
    /// All packages with `Essential: yes` as well, before the others.
    pub essential: bool,
    /// All packages of at least this priority as well, before the others.
    pub priority: Option<Priority>,
    /// Whether recommended packages are taken.
    pub recommends: bool,
    /// Which versions; `name=version` and `name/suite` of `packages` are added to it.
    pub policy: Policy,
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

/// Why a package is in a solution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It was asked for, or is essential, or of the priority.
    Asked,
    /// A package needs or recommends it.
    Needed {
        /// Name of that package.
        by: String,
        /// By which field.
        kind: Kind,
    },
    /// A package of this optional set.
    Optional(String),
}

/// A package of a solution.
#[derive(Debug)]
pub struct Chosen<'u, 'a> {
    /// Its number in the universe.
    pub id: VersionId,
    /// The package.
    pub package: &'u Package<'a>,
    /// Numbers of the indexes that have it; see [`Universe::indexes`].
    pub indexes: &'u [u16],
    /// Why it is here.
    pub reason: Reason,
}

/// Something that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The optional set.
    pub set: String,
    /// Why.
    pub why: String,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the optional set {:?} is left out: {}", self.set, self.why)
    }
}

/// The packages of a request.
#[derive(Debug)]
pub struct Solution<'u, 'a> {
    /// Sorted by name.
    pub packages: Vec<Chosen<'u, 'a>>,
    /// Optional sets that could not be had.
    pub skipped: Vec<Skipped>,
    /// Names in the request's policy that no index has.
    pub unknown: Vec<UnknownName>,
    /// Pins that change nothing, in words.
    pub idle: Vec<String>,
    /// Packages that are not updated because of others that are held, in words.
    pub kept_back: Vec<String>,
    /// Whether apt's own way was enough, so that nothing had to be mended or searched.
    pub direct: bool,
}

/// Why a request has no solution.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SolveError {
    /// No index has the package, or none so that it can be read.
    #[error("there is no package {name:?}{}{}", also(unreadable), hint(near))]
    Missing {
        /// The name.
        name: String,
        /// Versions that cannot be read, in words.
        unreadable: Vec<String>,
        /// Names that are near it.
        near: Vec<String>,
    },
    /// The name is provided by several packages.
    #[error("{name:?} is provided by {}; ask for one of them", providers.join(", "))]
    Virtual {
        /// The name.
        name: String,
        /// The packages.
        providers: Vec<String>,
    },
    /// The package is there, but not in the version that is asked for, or not allowed.
    #[error("{name}: {problem}; there is {}{}", or_nothing(versions), also(unreadable))]
    NoCandidate {
        /// The name.
        name: String,
        /// What is wrong.
        problem: String,
        /// Versions with their suites.
        versions: Vec<String>,
        /// Versions that cannot be read, in words.
        unreadable: Vec<String>,
    },
    /// Relations contradict each other.
    #[error("these packages cannot be installed together:\n{0}")]
    Unsolvable(Explanation),
    /// What was found does not hold: a mistake in this program, told before anybody installs it.
    #[error(
        "the packages that were chosen do not fit together; this is a mistake in kldload:\n  {}",
        .0.join("\n  ")
    )]
    Broken(Vec<String>),
    /// The stack for the search could not be had.
    #[error("the thread of the search, with {mib} MiB of stack: {0}", mib = STACK >> 20)]
    Thread(String),
}

fn or_nothing(words: &[String]) -> String {
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}

/// More to say after a sentence.
fn also(words: &[String]) -> String {
    words.iter().map(|words| format!("; {words}")).collect()
}

/// The closure of a request.
pub fn solve<'u, 'a>(
    universe: &'u Universe<'a>,
    request: &Request,
) -> Result<Solution<'u, 'a>, SolveError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("solve".to_owned()).stack_size(STACK);
        let handle = thread
            .spawn_scoped(scope, || solve_here(universe, request))
            .map_err(|error| SolveError::Thread(error.to_string()))?;
        handle.join().unwrap_or_else(|_| Err(SolveError::Thread("it panicked".to_owned())))
    })
}

fn solve_here<'u, 'a>(
    universe: &'u Universe<'a>,
    request: &Request,
) -> Result<Solution<'u, 'a>, SolveError> {
    let Prepared { policy, candidates, names, kept_back } = prepare(universe, request)?;
    let mut walk = Walk::new(universe, &candidates, request.recommends);
    walk.install(&names);
    walk.sweep();
    let asked: BTreeSet<VersionId> =
        names.iter().filter_map(|&name| *candidates.get(name as usize)?).collect();
    let holds = |walk: &Walk<'_, '_>| walk.broken().is_empty() && asked.is_subset(&walk.set());
    let direct = holds(&walk);
    if !direct {
        let preferred = walk.set();
        walk.mend(&asked);
        walk.sweep();
        if !holds(&walk) {
            let clauses = Clauses::new(universe, &candidates, preferred);
            let set = crate::solve::sat::solve(&clauses, &clauses.asked(&names))
                .map_err(SolveError::Unsolvable)?;
            walk = Walk::new(universe, &candidates, request.recommends);
            walk.adopt(&names, &set);
            walk.sweep();
        }
    }
    let mut skipped = Vec::new();
    let mut extra: BTreeMap<NameId, String> = BTreeMap::new();
    for set in &request.optional {
        match add_optional(&walk, universe, &policy, &candidates, set) {
            Ok((with, names)) => {
                walk = with;
                for name in names {
                    extra.entry(name).or_insert_with(|| set.name.clone());
                }
            }
            Err(why) => skipped.push(Skipped { set: set.name.clone(), why }),
        }
    }
    let broken = check::broken(universe, &walk.set());
    if !broken.is_empty() {
        return Err(SolveError::Broken(broken));
    }
    let mut packages: Vec<Chosen<'u, 'a>> = walk
        .installed()
        .filter_map(|(id, cause)| {
            let entry = universe.entry(id)?;
            let reason = match (extra.get(&entry.name), cause) {
                (Some(set), Cause::Asked) => Reason::Optional(set.clone()),
                (_, Cause::Asked) => Reason::Asked,
                (_, Cause::Needed(by, kind)) => {
                    let by = universe.entry(by).map_or("", |by| by.package.name).to_owned();
                    Reason::Needed { by, kind }
                }
            };
            Some(Chosen { id, package: &entry.package, indexes: &entry.indexes, reason })
        })
        .collect();
    packages.sort_by_key(|chosen| chosen.package.name);
    let (unknown, idle) = (request.policy.unknown(universe), request.policy.idle(universe));
    Ok(Solution { packages, skipped, unknown, idle, kept_back, direct })
}

/// The names of all packages that a request asks for, in order: essential ones, those of its priority,
/// its own. As arguments of `apt-get install` they mean the same to apt.
pub fn asked<'a>(universe: &Universe<'a>, request: &Request) -> Result<Vec<&'a str>, SolveError> {
    let Prepared { names, .. } = prepare(universe, request)?;
    Ok(names.into_iter().map(|name| universe.name(name).name).collect())
}

/// A request, looked up in a universe.
struct Prepared {
    policy: Policy,
    /// For each name the version that may be chosen.
    candidates: Vec<Option<VersionId>>,
    /// What is asked for, in order.
    names: Vec<NameId>,
    kept_back: Vec<String>,
}

fn prepare(universe: &Universe<'_>, request: &Request) -> Result<Prepared, SolveError> {
    let mut policy = request.policy.clone();
    let wanted: Vec<String> =
        request.packages.iter().map(|text| take_version(text, &mut policy)).collect();
    let mut candidates = policy.candidates(universe);
    release::follow(universe, &policy, request.recommends, &mut candidates);
    for name in policy.held.keys().filter(|name| !policy.overrules_hold(name)) {
        let id = universe.name_id(name);
        if id.and_then(|id| candidates.get(id as usize).copied().flatten()).is_none() {
            return Err(no_candidate(universe, &policy, name));
        }
    }
    let kept_back = kept::keep_back(universe, &policy, &mut candidates);
    let mut names = implied(universe, request, &candidates);
    for name in wanted {
        names.push(resolve(universe, &policy, &candidates, &name)?);
    }
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(*name));
    Ok(Prepared { policy, candidates, names, kept_back })
}

/// The name in `name`, `name=version`, `name/suite`; the rest goes to the policy.
fn take_version(text: &str, policy: &mut Policy) -> String {
    if let Some((name, version)) = text.split_once('=') {
        policy.versions.insert(name.to_owned(), version.to_owned());
        return name.to_owned();
    }
    if let Some((name, suite)) = text.split_once('/') {
        policy.suites.insert(name.to_owned(), suite.to_owned());
        return name.to_owned();
    }
    text.to_owned()
}

/// Essential packages and those of the priority, by name.
fn implied(
    universe: &Universe<'_>,
    request: &Request,
    candidates: &[Option<VersionId>],
) -> Vec<NameId> {
    let mut essential = BTreeMap::new();
    let mut others = BTreeMap::new();
    for (name, candidate) in candidates.iter().enumerate() {
        let Some(entry) = candidate.and_then(|id| universe.entry(id)) else { continue };
        let Ok(name) = NameId::try_from(name) else { continue };
        if !is_implied(request, &entry.package) {
            continue;
        }
        let first = request.essential && entry.package.essential;
        let of = if first { &mut essential } else { &mut others };
        of.insert(entry.package.name, name);
    }
    essential.into_values().chain(others.into_values()).collect()
}

/// Whether a package is asked for as it is essential, or of the priority.
fn is_implied(request: &Request, package: &Package<'_>) -> bool {
    request.essential && package.essential
        || request.priority.is_some_and(|least| package.priority >= least)
}

/// The package that a name of the request means.
fn resolve(
    universe: &Universe<'_>,
    policy: &Policy,
    candidates: &[Option<VersionId>],
    name: &str,
) -> Result<NameId, SolveError> {
    let candidate = |id: NameId| candidates.get(id as usize).copied().flatten();
    let missing = || {
        let unreadable = universe.unreadable(name);
        // It is not misspelt if some index has it.
        let near = if unreadable.is_empty() { universe.near(name) } else { Vec::new() };
        let near = near.into_iter().map(str::to_owned).collect();
        SolveError::Missing { name: name.to_owned(), unreadable, near }
    };
    let id = universe.name_id(name).ok_or_else(missing)?;
    if candidate(id).is_some() {
        return Ok(id);
    }
    let known = universe.name(id);
    if !known.versions.is_empty() {
        return Err(no_candidate(universe, policy, name));
    }
    let providers: BTreeMap<&str, NameId> = known
        .providers
        .iter()
        .filter_map(|&(version, _)| universe.entry(version).map(|entry| (version, entry)))
        .filter(|(version, entry)| candidate(entry.name) == Some(*version))
        .map(|(_, entry)| (entry.package.name, entry.name))
        .collect();
    match (providers.len(), providers.first_key_value()) {
        (1, Some((_, &only))) => Ok(only),
        (0, _) => Err(missing()),
        _ => Err(SolveError::Virtual {
            name: name.to_owned(),
            providers: providers.into_keys().map(str::to_owned).collect(),
        }),
    }
}

/// Why no version of a package may be chosen, and which there are.
fn no_candidate(universe: &Universe<'_>, policy: &Policy, name: &str) -> SolveError {
    let known = universe.name_id(name).map(|id| &universe.name(id).versions);
    let versions = known.into_iter().flatten().filter_map(|&version| {
        let entry = universe.entry(version)?;
        let suites = universe.suites(version);
        let priority = policy.priority(universe, version);
        Some(format!("{} in {} (priority {priority})", entry.package.version, suites.join(", ")))
    });
    let problem = if policy.excluded.contains(name) {
        "it is asked for and excluded".to_owned()
    } else if let Some(version) = policy.versions.get(name) {
        format!("version {version} is not there")
    } else if let Some(suite) = policy.suites.get(name) {
        format!("it is not in {suite}")
    } else if let Some(version) = policy.held.get(name) {
        format!("it is held at {version}, which no suite has any more")
    } else {
        "pins keep every version of it away".to_owned()
    };
    SolveError::NoCandidate {
        name: name.to_owned(),
        problem,
        versions: versions.collect(),
        unreadable: universe.unreadable(name),
    }
}

/// The walk with an optional set added, and the names of the set; or why it cannot be.
fn add_optional<'u, 'a>(
    walk: &Walk<'u, 'a>,
    universe: &'u Universe<'a>,
    policy: &Policy,
    candidates: &[Option<VersionId>],
    set: &OptionalSet,
) -> Result<(Walk<'u, 'a>, Vec<NameId>), String> {
    let mut names = Vec::new();
    for name in &set.packages {
        let mut own = policy.clone();
        let plain = take_version(name, &mut own);
        if plain != *name {
            return Err(format!("{name}: an optional package cannot ask for a version of its own"));
        }
        names.push(resolve(universe, policy, candidates, name).map_err(|error| error.to_string())?);
    }
    let before = walk.set();
    let mut with = walk.clone();
    with.freeze();
    with.install(&names);
    with.sweep();
    let after = with.set();
    let fits = with.broken().is_empty()
        && before.is_subset(&after)
        && names.iter().all(|&name| {
            candidates.get(name as usize).copied().flatten().is_some_and(|id| after.contains(&id))
        });
    if fits {
        return Ok((with, names));
    }
    // Why: what is there and the set, as one request.
    let clauses = Clauses::new(universe, candidates, before.clone());
    let mut asked = clauses.asked(&names);
    asked.extend(clauses.fixed(&before));
    match crate::solve::sat::solve(&clauses, &asked) {
        Ok(solution) => {
            // A search finds what apt's way does not.
            let mut with = walk.clone();
            with.freeze();
            with.adopt(&names, &solution);
            with.sweep();
            Ok((with, names))
        }
        Err(explanation) => Err(format!("it does not fit to what is installed:\n{explanation}")),
    }
}
