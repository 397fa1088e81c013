//! Fetching: several mirrors, retries with growing pauses, resuming by range, limits.
//!
//! What is fetched into the [`Store`] is known by digest and length beforehand, so it does not matter who
//! delivers it: every answer is checked while it arrives, and a wrong one is one more reason to ask
//! again or elsewhere. Nothing here knows what the files are.

mod except;
mod forward;
mod limiter;
mod names;
mod options;
mod problem;
pub mod redirect;
mod sink;
mod transport;

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::mem::{Discriminant, discriminant};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tree::Digest;

use crate::Location;
use crate::parallel::processors;
use crate::store::{Partial, Store, StoreError};
use limiter::Limiter;
pub use options::{Options, Proxies};
pub use problem::{Failure, FetchError, Problem};
use sink::{Large, Sink, Small};
use transport::{Opened, Transport};

/// Bytes read at once.
const CHUNK: usize = 1 << 17;
/// After so many files that nobody has, the others are not tried.
const MOST_FAILURES: usize = 10;
/// An attempt that brought so many bytes more than any before it does not count as a failed one.
const PROGRESS: u64 = 1 << 18;
/// Bytes a second below which a server is as good as silent.
const SLOWEST: f64 = 128.0;
/// How often one looks whether more connections would help.
const LOOK: Duration = Duration::from_millis(10);
/// If all connections wait so many times in a row, one more would.
const LOOKS: usize = 5;
/// The longest pause between two rounds.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A file that is known by its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What people call it: a path in the repository.
    pub name: String,
    /// Where it may be, the preferred place first.
    pub locations: Vec<Location>,
    /// Where it is if none of these delivers it.
    pub archives: Vec<Location>,
    /// Its SHA-256.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
}

/// What happens while files are fetched.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// So many bytes arrived.
    Bytes(u64),
    /// A place failed; another one, or the same after a pause, is asked next. Told once for each server and
    /// kind of problem.
    Retry {
        /// The place.
        location: &'a Location,
        /// Why it failed.
        problem: &'a Problem,
    },
    /// Something that does not stop us.
    Warning(&'a str),
    /// A file is in the store.
    Done(&'a Wanted),
}

/// Receives events, from several threads.
pub type Report<'a> = &'a (dyn Fn(Event<'_>) + Sync);

/// What fetching came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Files that were fetched.
    pub fetched: usize,
    /// Files that were in the store already.
    pub kept: usize,
    /// Bytes of the fetched files.
    pub bytes: u64,
}

/// Fetches files. Connections are kept open between requests.
#[derive(Debug)]
pub struct Fetcher {
    options: Options,
    transport: Transport,
    limiter: Option<Limiter>,
    /// How many files are waited for at this moment.
    waiting: AtomicUsize,
    /// How often in a row each server could not be reached.
    unreachable: Mutex<HashMap<String, u32>>,
    /// Which problems of which servers were told.
    told: Mutex<HashSet<(String, Discriminant<Problem>)>>,
}

impl Fetcher {
    /// A fetcher; no connection is made yet.
    pub fn new(options: Options) -> Result<Self, FetchError> {
        let transport = Transport::new(&options)?;
        let limiter = options.rate.map(Limiter::new);
        let (waiting, unreachable, told) = Default::default();
        Ok(Self { options, transport, limiter, waiting, unreachable, told })
    }

    /// Brings everything that is `wanted` and not there yet into the store, several at a time, and makes
    /// it survive a crash. All that can be had is in the store even when this fails.
    ///
    /// It begins with a connection for each processor. More of them help where the network is slow; where the
    /// processors are, they only share these, and the largest file comes last, alone.
    pub fn all(
        &self,
        store: &Store,
        wanted: &[Wanted],
        report: Report<'_>,
    ) -> Result<Summary, FetchError> {
        let mut missing: Vec<&Wanted> =
            wanted.iter().filter(|file| !store.contains(&file.digest, file.size)).collect();
        let kept = wanted.len() - missing.len();
        // A large file begun last would keep everybody waiting. Equal ones are fetched once.
        missing.sort_by_key(|file| (std::cmp::Reverse(file.size), file.digest));
        missing.dedup_by_key(|file| file.digest);

        let next = AtomicUsize::new(0);
        let errors = Mutex::new(Vec::new());
        let failed = || errors.lock().map_or(usize::MAX, |errors| errors.len());
        let going_on = || failed() < MOST_FAILURES && next.load(Ordering::Relaxed) < missing.len();
        let work = || {
            while going_on()
                && let Some(file) = missing.get(next.fetch_add(1, Ordering::Relaxed))
            {
                match self.one(store, file, report) {
                    Ok(()) => report(Event::Done(file)),
                    Err(error) => {
                        let fatal = matches!(error, FetchError::Store(_));
                        if let Ok(mut errors) = errors.lock() {
                            errors.push(error);
                        }
                        if fatal {
                            // A full disk does not get better by trying.
                            next.store(missing.len(), Ordering::Relaxed);
                        }
                    }
                }
            }
        };
        let most = self.options.threads.min(missing.len());
        let first = processors().min(most);
        thread::scope(|scope| {
            for _ in 1..first {
                scope.spawn(work);
            }
            let more = scope.spawn(move || {
                let (mut begun, mut looks) = (first, 0);
                while begun < most && going_on() {
                    thread::park_timeout(LOOK);
                    let all_wait = self.waiting.load(Ordering::Relaxed) >= begun;
                    looks = if all_wait { looks + 1 } else { 0 };
                    if looks == LOOKS {
                        scope.spawn(work);
                        (begun, looks) = (begun + 1, 0);
                    }
                }
            });
            work();
            more.thread().unpark();
        });
        store.settle()?;
        let errors = errors.into_inner().unwrap_or_else(PoisonError::into_inner);
        match FetchError::of_many(errors) {
            Some(error) => Err(error),
            None => Ok(Summary {
                fetched: missing.len(),
                kept,
                bytes: missing.iter().map(|file| file.size).sum(),
            }),
        }
    }

    fn one(&self, store: &Store, file: &Wanted, report: Report<'_>) -> Result<(), FetchError> {
        let mut partial = store.partial(&file.digest, file.size)?;
        let mut furthest = partial.length();
        let mut ask =
            |locations: &[Location], rounds| {
                self.ask(&file.name, (locations, rounds), report, &mut |location| match self
                    .attempt(location, file, &mut partial, report)
                {
                    Err(Refused::Problem(problem)) => {
                        let progress = partial.length() >= furthest.saturating_add(PROGRESS);
                        furthest = furthest.max(partial.length());
                        Err(Refused::Counted { problem, progress })
                    }
                    result => result,
                })
            };
        let Wanted { locations, archives, .. } = file;
        let rounds = match locations.iter().all(|location| self.is_unreachable(location)) {
            // Somebody waits, and an archive can be asked.
            true if !archives.is_empty() => 1,
            _ => self.options.rounds,
        };
        match ask(locations, rounds) {
            // Not after any hiccup: an archive is slow, and others may not be meant to hear of it.
            Err(FetchError::Failed { first, .. }) if !archives.is_empty() => {
                first.places.iter().for_each(|(place, problem)| self.tell(place, problem, report));
                ask(archives, self.options.rounds).map_err(|error| error.after(first))?;
            }
            asked => asked?,
        }
        Ok(partial.publish()?)
    }

    /// Reads a small file whose digest nobody knows, of at most `limit` bytes, and tells who had it.
    pub fn small(
        &self,
        name: &str,
        locations: &[Location],
        limit: u64,
        report: Report<'_>,
    ) -> Result<(Vec<u8>, Location), FetchError> {
        let mut found = None;
        self.ask(name, (locations, self.options.rounds), report, &mut |location| {
            let opened = self.waited_for(|| self.transport.open(location, 0))?;
            let total = opened.total;
            let mut small = Small::new(limit);
            self.copy(opened, report, &mut small)?;
            let bytes = small.bytes;
            if let Some(total) = total
                && total != bytes.len() as u64
            {
                return Err(Problem::Short { received: bytes.len() as u64, size: total }.into());
            }
            found = Some((bytes, location.clone()));
            Ok(())
        })?;
        found.ok_or_else(|| Failure { name: name.to_owned(), places: Vec::new() }.into())
    }

    /// Asks one place after the other, in rounds, until one delivers.
    fn ask(
        &self,
        name: &str,
        (locations, rounds): (&[Location], u32),
        report: Report<'_>,
        attempt: &mut dyn FnMut(&Location) -> Result<(), Refused>,
    ) -> Result<(), FetchError> {
        let mut places: Vec<(&Location, Option<Problem>)> =
            locations.iter().map(|location| (location, None)).collect();
        // A dead mirror costs its time limit once or twice, not with every file.
        places.sort_by_key(|(location, _)| self.is_unreachable(location));
        let mut failed_rounds = 0;
        // The last problem is not told here: it is in the error.
        let mut untold: Option<(&Location, Problem)> = None;
        let tell = |told: Option<(&Location, Problem)>| {
            if let Some((location, problem)) = told {
                self.tell(location, &problem, report);
            }
        };
        loop {
            let mut any_progress = false;
            let mut worth_asking = false;
            for (location, last) in &mut places {
                let is_final = |problem: &Problem| problem.is_final_at(location);
                if last.as_ref().is_some_and(is_final) {
                    continue;
                }
                tell(untold.take());
                let (problem, progress) = match attempt(location) {
                    Ok(()) => {
                        self.remember(location, None);
                        return Ok(());
                    }
                    Err(Refused::Store(error)) => return Err(error.into()),
                    Err(Refused::Problem(problem)) => (problem, false),
                    Err(Refused::Counted { problem, progress }) => (problem, progress),
                };
                self.remember(location, Some(&problem));
                any_progress |= progress;
                worth_asking |= !is_final(&problem);
                untold = Some((location, problem.clone()));
                *last = Some(problem);
            }
            failed_rounds = if any_progress { 0 } else { failed_rounds + 1 };
            if !worth_asking || failed_rounds >= rounds {
                let places = places
                    .into_iter()
                    .filter_map(|(location, problem)| Some((location.clone(), problem?)));
                return Err(Failure { name: name.to_owned(), places: places.collect() }.into());
            }
            if failed_rounds > 0 {
                tell(untold.take());
                let pause = self.options.pause.saturating_mul(1 << (failed_rounds - 1).min(16));
                thread::sleep(pause.min(LONGEST_PAUSE));
            }
        }
    }

    /// Each kind of problem of a server once: it is the same with a thousand files.
    fn tell(&self, location: &Location, problem: &Problem, report: Report<'_>) {
        let kind = (location.server().to_owned(), discriminant(problem));
        if self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(kind) {
            report(Event::Retry { location, problem });
        }
    }

    fn is_unreachable(&self, location: &Location) -> bool {
        let unreachable = self.unreachable.lock().unwrap_or_else(PoisonError::into_inner);
        unreachable.get(location.server()).is_some_and(|times| *times >= 2)
    }

    fn remember(&self, location: &Location, problem: Option<&Problem>) {
        let mut unreachable = self.unreachable.lock().unwrap_or_else(PoisonError::into_inner);
        match problem {
            Some(Problem::Connection(_) | Problem::Silence(_)) => {
                *unreachable.entry(location.server().to_owned()).or_default() += 1;
            }
            _ => drop(unreachable.remove(location.server())),
        }
    }

    /// Asks one place for what `partial` lacks; after success it is complete and right.
    fn attempt(
        &self,
        location: &Location,
        file: &Wanted,
        partial: &mut Partial<'_>,
        report: Report<'_>,
    ) -> Result<(), Refused> {
        loop {
            let resumed = partial.length() > 0;
            if partial.length() < file.size || !resumed {
                let opened = self.waited_for(|| self.transport.open(location, partial.length()));
                let opened = match opened {
                    Err(Problem::Range) if resumed => {
                        partial.restart()?;
                        continue;
                    }
                    opened => opened?,
                };
                if let Some(total) = opened.total
                    && total != file.size
                {
                    return Err(Problem::OtherSize { found: total, size: file.size }.into());
                }
                if opened.start != partial.length() {
                    partial.restart()?;
                }
                let copied = self.copy(opened, report, &mut Large { partial, size: file.size });
                if let Err(Refused::Problem(Problem::TooLong { .. })) = copied {
                    partial.restart()?;
                }
                copied?;
            }
            if partial.length() < file.size {
                let (received, size) = (partial.length(), file.size);
                return Err(Problem::Short { received, size }.into());
            }
            let found = partial.digest();
            if found == file.digest {
                return Ok(());
            }
            partial.restart()?;
            // What was there before may be to blame.
            if !resumed {
                return Err(Problem::Digest { found, expected: file.digest }.into());
            }
        }
    }

    /// Does what waits for somebody else.
    fn waited_for<T>(&self, work: impl FnOnce() -> T) -> T {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let done = work();
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        done
    }

    fn copy(
        &self,
        mut opened: Opened,
        report: Report<'_>,
        to: &mut dyn Sink,
    ) -> Result<(), Refused> {
        let most = self.limiter.as_ref().map_or(CHUNK, |limiter| limiter.chunk(CHUNK));
        let (mut waited, mut received) = (Duration::ZERO, 0);
        loop {
            // A byte now and then is no silence, and would keep us for ever.
            if waited >= self.options.silence.saturating_mul(2) {
                if received as f64 <= waited.as_secs_f64() * SLOWEST {
                    let slow = format!("{received} bytes in {} s", waited.as_secs());
                    return Err(Problem::Silence(slow).into());
                }
                (waited, received) = (Duration::ZERO, 0);
            }
            let room = to.room();
            let most = most.min(room.len());
            let room = room.get_mut(..most).unwrap_or_default();
            let begun = Instant::now();
            let read = self.waited_for(|| opened.reader.read(room));
            waited += begun.elapsed();
            let read = match read {
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(opened.via.told(Problem::of_io(&error)).into()),
            };
            received += read;
            if let Some(limiter) = &self.limiter {
                limiter.wait(read);
            }
            to.filled(read)?;
            report(Event::Bytes(read as u64));
        }
    }
}

/// Why one attempt brought nothing.
enum Refused {
    /// The place is to blame.
    Problem(Problem),
    /// The same; and whether it brought us forward all the same.
    Counted { problem: Problem, progress: bool },
    /// Our store is.
    Store(StoreError),
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
