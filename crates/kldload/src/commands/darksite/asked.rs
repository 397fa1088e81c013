//! What is asked for: a recipe or a list of packages, and from where.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::{fmt, io};

use anyhow::Context;
use clap::Args;
use darksite::fetch::Fetcher;
use darksite::lock::{Lock, LockedSuite};
use darksite::packages::{Places, indexes, snapshot};
use darksite::request::{
    Absent, HostMirrors, OptionalSet, Question, Request, ResolveError, host_mirrors, resolve,
};
use darksite::site::{Site, read_lock};
use darksite::source::{Reader, SourceError, SuiteSource};
use darksite::{Location, LocationError, verify};
use jiff::Timestamp;
use pkg::distribution::Distribution;
use pkg::openpgp::Keyring;
use pkg::profile::{Profile, ProfileError, Profiles, parse_set};
use pkg::recipe::{Addresses, Packages, Pin, RecipeError, native, nearest};
use plan::recipe::{FileName, Finding, Output, Recipe};
use tree::Digest;

use super::beside::{read_beside, read_keyring, read_named_keyring, unreadable};
use super::origin::{Origin, of_lines};
use super::shown;
use crate::commands::usage;
use crate::failure::{Invalid, Mismatch};
use crate::ui::Ui;

/// What is never chosen, as recipes and locks call it.
const EXCLUDE: &str = "exclude";
/// Own profiles, beside the recipe.
const PROFILES: &str = "profiles.toml";

/// The recipe, and what is different this time.
#[derive(Debug, Clone, Args)]
pub struct AskedArgs {
    /// A recipe (NAME.toml), or a text file with one package a line
    #[arg(value_name = "RECIPE|LIST")]
    recipe: PathBuf,
    /// Release of the distribution, by codename
    #[arg(long, value_name = "CODENAME")]
    suite: Option<String>,
    /// Profile whose packages are wanted too: core, server, desktop
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Architecture of the packages
    #[arg(long, value_name = "NAME")]
    architecture: Option<String>,
    /// Mirror of the archive; may be given several times, the preferred one first; not with snapshot in the recipe
    #[arg(long, value_name = "URL")]
    mirror: Vec<String>,
    /// Mirror of the archive of security updates; not with snapshot in the recipe
    #[arg(long, value_name = "URL")]
    security_mirror: Vec<String>,
    /// File with the keys to trust instead of the distribution's own
    #[arg(long, value_name = "FILE")]
    keyring: Option<PathBuf>,
    /// Accept a state of the archive that is older than its Valid-Until
    #[arg(long)]
    ignore_valid_until: bool,
    /// The lock file [default: the recipe's name, ending in .lock]
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
}

/// What is asked for, looked up.
#[derive(Debug)]
pub struct Asked {
    path: PathBuf,
    /// What is in it, for errors with their line.
    text: String,
    lock: Option<PathBuf>,
    recipe: Recipe,
    distribution: Distribution,
    keyring: Keyring,
    profiles: Profiles,
    /// What is commonly a mistake in the profile.
    warning: Option<String>,
    request: Request,
    /// Where each package of the request is asked for.
    origins: Vec<(String, Origin)>,
    suites: Vec<SuiteSource>,
}

impl Asked {
    /// Reads the recipe and everything it names.
    pub fn read(args: &AskedArgs) -> anyhow::Result<Self> {
        let path = &args.recipe;
        let shown = path.display().to_string();
        let text = std::fs::read(path).with_context(|| shown.clone())?;
        let text = in_utf8(text, &shown)?;
        let is_recipe = path.extension().is_some_and(|extension| extension == "toml");
        let mut whole = match is_recipe {
            true => Recipe::parse(&text).with_context(|| shown.clone())?,
            false => Recipe::default(),
        };
        args.change(&mut whole.packages);
        let architecture = whole.packages.architecture.clone();
        let blame = |place: &str, error: &dyn fmt::Display| args.blame(&text, place, error);
        let own: Vec<(String, Origin)> = if is_recipe {
            make_native(&mut whole.packages, &blame)?;
            let packages = whole.packages.packages.iter().enumerate();
            let place = |at| Origin::Recipe(format!("packages.{at}"));
            packages.map(|(at, package)| (package.clone(), place(at))).collect()
        } else {
            let lines = of_lines(&shown, parse_set(&shown, &text, &architecture)?);
            whole.packages.packages = lines.iter().map(|(package, _)| package.clone()).collect();
            lines
        };
        let recipe = &whole.packages;
        let distribution = Distribution::find(&recipe.distribution)
            .map_err(|error| blame("distribution", &error))?;
        distribution.release(&recipe.release).map_err(|error| blame("release", &error))?;
        distribution
            .has_architecture(&recipe.architecture)
            .map_err(|error| blame("architecture", &error))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let named = |place: &str, name: &str| {
            let path = folder.join(name);
            read_beside(folder, &path).map_err(|error| blame(place, &unreadable(&path, &error)))
        };
        let set = |place: String, name: &String| -> anyhow::Result<Vec<(String, Origin)>> {
            let text = named(&place, name)?;
            let file = folder.join(name).display().to_string();
            let text = String::from_utf8(text)
                .map_err(|_| blame(&place, &format!("{file} is not text in UTF-8")))?;
            Ok(of_lines(&file, parse_set(&file, &text, &architecture)?))
        };
        let mut profiles = Profiles::built_in(&recipe.distribution)?;
        let own_profiles = folder.join(PROFILES);
        let file = own_profiles.display().to_string();
        match read_beside(folder, &own_profiles) {
            Ok(text) => profiles.add(&file, &in_utf8(text, &file)?)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                return Err(Invalid(format!("{file}: {error}")).into());
            }
            Err(error) => return Err(anyhow::Error::new(error).context(file)),
        }
        let mut origins: Vec<(String, Origin)> = Vec::new();
        let profile = match &recipe.profile {
            Some(name) => {
                let mut profile =
                    profiles.get(name, &recipe.release).map_err(|error| match error {
                        ProfileError::File { .. } => error.into(),
                        _ => blame("profile", &error),
                    })?;
                let told = profile.packages.clone();
                for text in profile.packages.iter_mut().chain(&mut profile.exclude) {
                    *text = native(text, &architecture).map_err(|problem| {
                        Invalid(format!("{file}: profile {name:?}: {problem}"))
                    })?;
                }
                let told = told.into_iter().map(Origin::Profile);
                origins.extend(profile.packages.iter().cloned().zip(told));
                profile
            }
            // Packages alone make no system: what is essential comes with them.
            None => Profile {
                essential: true,
                priority: Some("required".to_owned()),
                ..Profile::default()
            },
        };
        origins.extend(own);
        let implied = whole.implied_packages().into_iter();
        origins.extend(implied.map(|package| (package.to_owned(), Origin::Implied)));
        for (at, name) in recipe.sets.iter().enumerate() {
            origins.extend(set(format!("sets.{at}"), name)?);
        }
        let mut optional: Vec<OptionalSet> = recipe
            .optional
            .iter()
            .map(|name| OptionalSet { name: name.clone(), packages: vec![name.clone()] })
            .collect();
        for (at, name) in recipe.optional_sets.iter().enumerate() {
            let packages = set(format!("optional_sets.{at}"), name)?.into_iter();
            let packages = packages.map(|(package, _)| package).collect();
            optional.push(OptionalSet { name: name.clone(), packages });
        }
        let excluded = profile.exclude.iter().chain(&recipe.exclude).cloned().collect();
        let request = Request {
            packages: origins.iter().map(|(package, _)| package.clone()).collect(),
            essential: profile.essential,
            priority: profile.priority.clone(),
            recommends: recipe.recommends.unwrap_or(profile.recommends),
            excluded,
            pins: recipe.pins.clone(),
            optional,
        };
        let keyring = match (&args.keyring, &recipe.keyring) {
            (Some(path), _) => read_keyring(path)?,
            (None, Some(name)) => {
                let path = folder.join(name);
                let keys = read_named_keyring(&path);
                keys.map_err(|error| blame("keyring", &unreadable(&path, &error)))?
            }
            (None, None) => distribution.keyring(&recipe.release)?,
        };
        let suites = suites(recipe, &distribution, &blame)?;
        Ok(Self {
            path: path.clone(),
            text,
            lock: args.lock.clone(),
            recipe: whole,
            distribution,
            keyring,
            profiles,
            warning: profile.warning,
            request,
            origins,
            suites,
        })
    }

    /// The recipe's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The error that the value at `place` of the recipe has this problem.
    pub fn blame(&self, place: &str, problem: &dyn fmt::Display) -> anyhow::Error {
        blame(&self.path, &self.text, place, problem)
    }

    /// Tells of a profile that makes no machine.
    pub fn warn_of_profile(&self, ui: &Ui) {
        self.warning.iter().for_each(|warning| ui.warn(warning));
    }

    /// Tells words of the recipe that may be mistyped; the root has the last word.
    pub fn warn_of_unlisted(&self, ui: &Ui) {
        for Finding { place, problem } in self.recipe.unlisted() {
            let told = RecipeError::at(&self.text, &place, problem);
            ui.warn(&format!("{}: {told}", self.path.display()));
        }
    }

    /// The same with images of other formats or another name.
    pub fn with_images(mut self, outputs: Option<Vec<Output>>, name: Option<FileName>) -> Self {
        let image = &mut self.recipe.machine.image;
        image.outputs = outputs.unwrap_or_else(|| std::mem::take(&mut image.outputs));
        image.name = name.or(image.name.take());
        self
    }

    /// The recipe, as the command line changed it.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// What is asked for.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The packages that are asked for by name, those of the profile included.
    pub fn requests(&self) -> &[String] {
        &self.request.packages
    }

    /// The recipe's name without its ending.
    pub fn name(&self) -> String {
        let stem = self.path.file_stem().unwrap_or_default();
        stem.to_string_lossy().into_owned()
    }

    /// Where the lock is, or will be.
    pub fn lock_path(&self) -> PathBuf {
        self.lock.clone().unwrap_or_else(|| self.path.with_extension("lock"))
    }

    /// The lock, if there is one yet. One that was made for something else is refused.
    pub fn fitting_lock(&self, ui: &mut Ui) -> anyhow::Result<Option<Lock>> {
        let lock = self.lock()?;
        lock.iter().try_for_each(|lock| self.check_lock(lock, ui))?;
        Ok(lock)
    }

    /// The lock, if there is one yet, whatever it was made for.
    pub fn lock(&self) -> anyhow::Result<Option<Lock>> {
        let path = self.lock_path();
        Ok(if path.exists() { Some(read_lock(&path)?) } else { None })
    }

    /// Its name among the locks of a darksite: recipes in other directories may be called the same.
    pub fn name_in_site(&self) -> anyhow::Result<String> {
        let path = std::path::absolute(self.lock_path())?;
        let digest = Digest::of(path.as_os_str().as_encoded_bytes()).to_string();
        Ok(format!("{}-{}", self.name(), digest.get(..8).unwrap_or_default()))
    }

    /// Whom to trust.
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The error that the lock cannot be used, and what to do.
    fn refused(&self, problem: &str) -> anyhow::Error {
        let (lock, recipe) = (self.lock_path(), &self.path);
        anyhow::Error::from(Invalid(format!(
            "{}: {problem}; kldload darksite update {} chooses anew, --lock names another file",
            lock.display(),
            recipe.display()
        )))
    }

    /// Refuses a lock from elsewhere whose packages are not all that it was made for, or do not fit together. What
    /// it says of each is verified already.
    pub fn check_whole(&self, lock: &Lock, site: &Site) -> anyhow::Result<()> {
        // Locks of old do not tell what came with the profile.
        let told = !lock.asked.is_empty();
        let request = Request {
            packages: lock.requests.clone(),
            essential: self.request.essential && told,
            priority: self.request.priority.clone().filter(|_| told),
            ..self.request.clone()
        };
        let lacking = verify::lacking(lock, &request, site.store(), &self.keyring)
            .map_err(|problem| Mismatch(format!("{}: {problem}", self.lock_path().display())))?;
        match lacking.split_first() {
            None => Ok(()),
            Some((first, [])) => Err(self.refused(&format!("not whole: {first}"))),
            Some((first, more)) => {
                Err(self.refused(&format!("not whole: {first}, and {} more such", more.len())))
            }
        }
    }

    /// Refuses a lock that was made for something else. What it has beyond that is told.
    pub fn check_lock(&self, lock: &Lock, ui: &mut Ui) -> anyhow::Result<()> {
        let path = self.lock_path();
        let refuse = |problem: String| self.refused(&problem);
        let Packages { release, architecture, .. } = &self.recipe.packages;
        for (what, asked, locked) in [
            ("distribution", &self.distribution.name, &lock.distribution),
            ("release", release, &lock.codename),
            ("architecture", architecture, &lock.architecture),
        ] {
            if asked != locked {
                return Err(refuse(format!("made for {what} {locked}, {asked} is asked for")));
            }
        }
        if let Some(lacking) = self.requests().iter().find(|name| !lock.requests.contains(name)) {
            return Err(refuse(format!("made before {lacking:?} was asked for")));
        }
        let excluded = &self.request.excluded;
        if let Some(unwanted) = lock.packages.iter().find(|one| excluded.contains(&one.name)) {
            return Err(refuse(format!("made before {:?} was excluded", unwanted.name)));
        }
        let pins: Vec<String> = self.request.pins.iter().map(Pin::to_string).collect();
        if let Some(other) = pins.iter().find(|pin| !lock.pins.contains(pin)) {
            return Err(refuse(format!("made before the pin \"{other}\"")));
        }
        if pins != lock.pins {
            return Err(refuse("made with other pins".to_owned()));
        }
        let other = self.other_keys(lock);
        if !other.is_empty() {
            let other: Vec<String> = other.into_iter().collect();
            return Err(refuse(format!("made when the recipe had other {}", other.join(", "))));
        }
        for name in lock.requests.iter().filter(|name| !self.requests().contains(name)) {
            ui.warn(&format!("{}: nobody asks for {name:?} any more", path.display()));
        }
        Ok(())
    }

    /// What decides which packages are chosen, besides those that are asked for and pins, as a lock keeps it.
    fn deciding(&self) -> Vec<(String, String)> {
        let Request { essential, priority, recommends, excluded, optional, .. } = &self.request;
        let mut keys = vec![("essential", essential.to_string())];
        keys.extend(priority.iter().map(|least| ("priority", least.clone())));
        keys.push(("recommends", recommends.to_string()));
        // All suites are read with the same.
        keys.extend(self.suites.first().map(|suite| ("components", suite.components.join(" "))));
        keys.extend(self.recipe.packages.snapshot.map(|date| ("snapshot", date.to_string())));
        keys.extend(excluded.iter().map(|name| (EXCLUDE, name.clone())));
        keys.extend(optional.iter().map(|set| match set.packages.as_slice() {
            [package] if *package == set.name => ("optional", package.clone()),
            packages => ("optional_sets", format!("{}: {}", set.name, packages.join(" "))),
        }));
        keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// The recipe's keys that decide otherwise than they did when `lock` was made.
    fn other_keys(&self, lock: &Lock) -> BTreeSet<String> {
        let names = self.suites.iter().map(|suite| suite.name.as_str());
        let locked = lock.suites.iter().map(|suite| suite.name.as_str());
        let (names, locked): (BTreeSet<&str>, BTreeSet<&str>) = (names.collect(), locked.collect());
        let release = self.distribution.release.get(&self.recipe.packages.release);
        let optional = release.map(|release| release.optional.as_slice()).unwrap_or_default();
        let key = |name: &&str| match optional.iter().any(|suite| suite.name == **name) {
            true => "backports".to_owned(),
            false => "suites".to_owned(),
        };
        let mut other: BTreeSet<String> = names.symmetric_difference(&locked).map(key).collect();
        let deciding = self.deciding();
        let lacking = |all: &[(String, String)], of: &[(String, String)]| -> Vec<String> {
            all.iter().filter(|one| !of.contains(one)).map(|(key, _)| key.clone()).collect()
        };
        // Locks of old do not tell.
        if !lock.asked.is_empty() {
            let new = lacking(&deciding, &lock.asked).into_iter();
            // What is excluded since then matters where the lock has it, which is looked at by itself.
            other.extend(new.filter(|key| key != EXCLUDE));
            other.extend(lacking(&lock.asked, &deciding));
        }
        other
    }

    /// The distribution that the recipe names.
    pub fn distribution(&self) -> &Distribution {
        &self.distribution
    }

    /// Reads the suites and chooses the packages; what is held stays as the lock has it, if there is one.
    pub fn resolve(&self, site: &Site, fetcher: &Fetcher, ui: &mut Ui) -> anyhow::Result<Lock> {
        ui.stage("reading suites", 0);
        let reader = Reader {
            fetcher,
            store: site.store(),
            keyring: &self.keyring,
            seen: &site.seen(&self.distribution.name),
            architecture: &self.recipe.packages.architecture,
            // What is written may claim another time, what is fetched is judged today.
            now: Timestamp::now(),
        };
        let old = self.lock()?;
        let question = Question {
            distribution: &self.distribution.name,
            codename: &self.recipe.packages.release,
            suites: &self.suites,
            request: &self.request,
            hold: &self.recipe.packages.hold,
            old: old.as_ref(),
        };
        let mut resolved = {
            let shared = Mutex::new(&mut *ui);
            let resolved = resolve(&reader, &question, &|event| shown(&shared, event));
            resolved.map_err(|error| self.placed(error))?
        };
        resolved.warnings.iter().for_each(|warning| ui.warn(warning));
        resolved.lock.asked = self.deciding();
        Ok(resolved.lock)
    }

    /// The error, with the files and lines that are to blame for it.
    fn placed(&self, error: ResolveError) -> anyhow::Error {
        match &error {
            ResolveError::Packages(absent) => {
                let lines: Vec<String> = absent.iter().flat_map(|one| self.told(one)).collect();
                Invalid(lines.join("\n")).into()
            }
            ResolveError::Source(SourceError::NoComponent { component, .. }) => {
                let components = &self.recipe.packages.components;
                match components.iter().position(|one| one == component) {
                    Some(at) => self.blame(&format!("components.{at}"), &error),
                    None => error.into(),
                }
            }
            _ => error.into(),
        }
    }

    /// A line for each place in which a package is asked for that cannot be had.
    fn told(&self, Absent { asked, problem }: &Absent) -> Vec<String> {
        let origins = self.origins.iter().filter(|(package, _)| package == asked);
        let told = origins.map(|(_, origin)| {
            let recipe = self.path.display();
            let (file, line) = match origin {
                Origin::Recipe(place) => {
                    let line = RecipeError::at(&self.text, place, String::new()).line;
                    (recipe.to_string(), Some(line))
                }
                Origin::Line { file, line } => (file.clone(), Some(*line)),
                Origin::Implied => (recipe.to_string(), None),
                Origin::Profile(package) => {
                    let Packages { profile, release, .. } = &self.recipe.packages;
                    let name = profile.as_deref().unwrap_or_default();
                    let place = self.profiles.place(name, release, package);
                    place.map_or_else(
                        || (format!("profile {name:?}"), None),
                        |(file, line)| (file.to_owned(), Some(line)),
                    )
                }
            };
            let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
            format!("{file}: {line}{problem}")
        });
        told.collect()
    }

    /// Brings the indexes that a lock names, if this darksite has not seen them yet.
    pub fn bring_indexes(
        &self,
        site: &Site,
        lock: &Lock,
        fetcher: &Fetcher,
        ui: &mut Ui,
    ) -> anyhow::Result<()> {
        let wanted = indexes(lock, &|suite| self.places(suite))?;
        let missing =
            |file: &&darksite::fetch::Wanted| !site.store().contains(&file.digest, file.size);
        let bytes: u64 = wanted.iter().filter(missing).map(|file| file.size).sum();
        if bytes > 0 {
            ui.stage("fetching indexes", bytes);
            let shared = Mutex::new(&mut *ui);
            fetcher.all(site.store(), &wanted, &|event| shown(&shared, event))?;
        }
        Ok(())
    }

    /// Where the files of a suite are.
    pub fn places(&self, suite: &LockedSuite) -> Places {
        let known = self.suites.iter().find(|known| known.name == suite.name);
        let archive = archive_of(&self.distribution, &self.recipe.packages.release, &suite.name);
        let snapshots = archive.and_then(|name| self.distribution.archive.get(name));
        Places {
            mirrors: known.map(|known| known.mirrors.clone()).unwrap_or_default(),
            snapshots: snapshots.and_then(|archive| archive.snapshot.parse().ok()),
        }
    }
}

impl AskedArgs {
    /// A recipe as it is.
    pub fn of(recipe: &Path, lock: Option<&Path>) -> Self {
        Self {
            recipe: recipe.to_owned(),
            suite: None,
            profile: None,
            architecture: None,
            mirror: Vec::new(),
            security_mirror: Vec::new(),
            keyring: None,
            ignore_valid_until: false,
            lock: lock.map(Path::to_owned),
        }
    }

    /// The error that the value at `place` is wrong: of the recipe, or of the option that replaced it.
    fn blame(&self, text: &str, place: &str, problem: &dyn fmt::Display) -> anyhow::Error {
        let option = match place.split('.').next() {
            Some("release") if self.suite.is_some() => Some("--suite"),
            Some("profile") if self.profile.is_some() => Some("--profile"),
            Some("architecture") if self.architecture.is_some() => Some("--architecture"),
            Some("mirror") if !self.mirror.is_empty() => Some("--mirror"),
            Some("security_mirror") if !self.security_mirror.is_empty() => {
                Some("--security-mirror")
            }
            _ => None,
        };
        match option {
            Some(option) => Invalid(format!("{option}: {problem}")).into(),
            None => blame(&self.recipe, text, place, problem),
        }
    }

    /// The command line has the last word.
    fn change(&self, recipe: &mut Packages) {
        if let Some(suite) = &self.suite {
            recipe.release.clone_from(suite);
        }
        if let Some(architecture) = &self.architecture {
            recipe.architecture.clone_from(architecture);
        }
        if self.profile.is_some() {
            recipe.profile.clone_from(&self.profile);
        }
        let options = [("--mirror", &self.mirror), ("--security-mirror", &self.security_mirror)];
        for (option, _) in options.iter().filter(|(_, addresses)| !addresses.is_empty()) {
            if let Some(date) = recipe.snapshot {
                let file = self.recipe.display();
                usage(format_args!(
                    "{option}: {file} has snapshot = \"{date}\", so only the public archive of \
                     snapshots is asked; leave one of both out"
                ));
            }
        }
        if !self.mirror.is_empty() {
            recipe.mirror.0.clone_from(&self.mirror);
        }
        if !self.security_mirror.is_empty() {
            recipe.security_mirror.0.clone_from(&self.security_mirror);
        }
        if self.ignore_valid_until {
            recipe.check_valid_until = Some(false);
        }
    }
}

/// The error that the value at `place` of a recipe has this problem.
fn blame(path: &Path, text: &str, place: &str, problem: &dyn fmt::Display) -> anyhow::Error {
    let error = RecipeError::at(text, place, problem.to_string());
    anyhow::Error::new(error).context(path.display().to_string())
}

fn in_utf8(bytes: Vec<u8>, file: &str) -> Result<String, Invalid> {
    String::from_utf8(bytes).map_err(|_| Invalid(format!("{file}: it is not text in UTF-8")))
}

/// Names of packages without the recipe's own architecture, which says nothing new; with another one there is
/// none.
fn make_native(
    recipe: &mut Packages,
    blame: &dyn Fn(&str, &dyn fmt::Display) -> anyhow::Error,
) -> anyhow::Result<()> {
    let Packages { architecture, packages, optional, exclude, .. } = recipe;
    for (key, list) in [("packages", packages), ("optional", optional), (EXCLUDE, exclude)] {
        for (at, text) in list.iter_mut().enumerate() {
            *text = native(text, architecture)
                .map_err(|problem| blame(&format!("{key}.{at}"), &problem))?;
        }
    }
    Ok(())
}

/// The keys of a distribution's releases, or those in a file.
pub fn keyring(lock: &Lock, file: Option<&Path>) -> anyhow::Result<Keyring> {
    match file {
        Some(path) => read_keyring(path),
        None => Ok(Distribution::find(&lock.distribution)?.keyring(&lock.codename)?),
    }
}

/// The archive that has a suite.
fn archive_of<'a>(distribution: &'a Distribution, codename: &str, suite: &str) -> Option<&'a str> {
    let release = distribution.release.get(codename)?;
    let mut all = release.suites.iter().chain(&release.optional);
    all.find(|known| known.name == suite).map(|known| known.archive.as_str())
}

/// The suites to read, each with its mirrors: of the recipe, else `KLDLOAD_MIRROR`, else what this host
/// itself uses, else the distribution's own.
fn suites(
    recipe: &Packages,
    distribution: &Distribution,
    blame: &dyn Fn(&str, &dyn fmt::Display) -> anyhow::Error,
) -> anyhow::Result<Vec<SuiteSource>> {
    let codename = &recipe.release;
    let release = distribution.release(codename)?;
    let components = match recipe.components.is_empty() {
        true => release.components.clone(),
        false => recipe.components.clone(),
    };
    let environment = from_environment(&std::env::var("KLDLOAD_MIRROR").unwrap_or_default())?;
    let of_this_host = of_this_host(distribution)?;
    let codenames: Vec<String> = distribution.release.keys().cloned().collect();
    let optional = release.optional.iter().filter(|_| recipe.backports);
    let mut suites = Vec::new();
    let known: Vec<_> = release.suites.iter().chain(optional).collect();
    for (at, name) in recipe.suites.iter().enumerate() {
        let names: Vec<&str> = known.iter().map(|suite| suite.name.as_str()).collect();
        if !names.contains(&name.as_str()) {
            let near = nearest(name, &names);
            let problem = format!("{} {codename} has no suite {name:?}; {near}", distribution.name);
            return Err(blame(&format!("suites.{at}"), &problem));
        }
    }
    let chosen = |name: &String| recipe.suites.is_empty() || recipe.suites.contains(name);
    for suite in known.into_iter().filter(|suite| chosen(&suite.name)) {
        let archive = distribution
            .archive
            .get(&suite.archive)
            .with_context(|| format!("{} has no archive {}", distribution.name, suite.archive))?;
        let is_main = suite.archive == "main";
        let (key, asked) = match is_main {
            true => ("mirror", &recipe.mirror),
            false => ("security_mirror", &recipe.security_mirror),
        };
        let suffix = suite.name.strip_prefix(codename.as_str()).unwrap_or_default();
        let (mut of_host, host_checks) = of_this_host(&[suffix], &codenames);
        if of_host.is_empty() {
            // Who has another suite of this archive may have this one too. If not, the built-in mirror does.
            let suffixes = endings(distribution, &suite.archive);
            of_host = of_this_host(&suffixes, &codenames).0;
            of_host.extend((!of_host.is_empty()).then(|| archive.mirror.parse()).transpose()?);
        }
        let from_environment = environment.as_ref().filter(|_| is_main);
        let (mirrors, check): (Vec<Location>, bool) = if let Some(date) = recipe.snapshot {
            (vec![snapshot(&archive.snapshot.parse()?, date)], false)
        } else if !asked.0.is_empty() {
            (locations(asked).map_err(|error| blame(key, &error))?, true)
        } else if let Some(address) = from_environment {
            (address.clone(), true)
        } else if !of_host.is_empty() {
            (of_host, host_checks)
        } else {
            (vec![archive.mirror.parse()?], true)
        };
        suites.push(SuiteSource {
            name: suite.name.clone(),
            mirrors,
            components: components.clone(),
            check_valid_until: recipe.check_valid_until.unwrap_or(check),
            check_rollback: recipe.snapshot.is_none(),
        });
    }
    Ok(suites)
}

/// `KLDLOAD_MIRROR`: addresses with blanks between, the preferred one first. Empty is as if it were not set.
fn from_environment(value: &str) -> anyhow::Result<Option<Vec<Location>>> {
    let addresses: Result<Vec<Location>, _> = value.split_whitespace().map(str::parse).collect();
    Ok(Some(addresses.context("KLDLOAD_MIRROR")?).filter(|addresses| !addresses.is_empty()))
}

/// How the names of an archive's suites end, after those of their releases.
fn endings<'a>(distribution: &'a Distribution, archive: &str) -> Vec<&'a str> {
    let releases = distribution.release.iter();
    let all = releases.flat_map(|(codename, release)| {
        let suites = release.suites.iter().chain(&release.optional);
        let suites = suites.filter(|suite| suite.archive == archive);
        suites.filter_map(|suite| suite.name.strip_prefix(codename.as_str()))
    });
    all.collect()
}

fn locations(addresses: &Addresses) -> Result<Vec<Location>, LocationError> {
    addresses.0.iter().map(|address| address.parse()).collect()
}

/// What this host itself uses, if it is of the same distribution.
fn of_this_host(distribution: &Distribution) -> anyhow::Result<HostMirrors> {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let same = text.lines().any(|line| {
        line.strip_prefix("ID=").is_some_and(|id| id.trim_matches('"') == distribution.name)
    });
    Ok(if same { host_mirrors(&distribution.name)? } else { Box::new(|_, _| (Vec::new(), true)) })
}
