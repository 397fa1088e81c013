//! What keys of a recipe say together, and words that only a list knows: what can be known before anything
//! is fetched or made. Each finding names the place of the value that is wrong.

use std::collections::BTreeSet;
use std::fmt::Debug;

use disk::layout::{DiskLayout, LayoutError};
use pkg::recipe::{Packages, nearest};

use super::{Machine, Network, Output, Recipe, Size, User, place};

// Each list has what any of Debian 12 to 14 knew when it was made. Releases get new zones years later, so the
// lists find mistakes of typing, and the packages of the root have the last word.
/// All names of tzdata, the old ones too.
const TIME_ZONES: &str = include_str!("../../data/time-zones.txt");
/// What glibc can compile (`/usr/share/i18n/SUPPORTED`).
const LOCALES: &str = include_str!("../../data/locales.txt");
/// The layouts of xkb-data (`base.lst`).
const KEYBOARDS: &str = include_str!("../../data/keyboards.txt");

/// What there is to say of a value, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Keys and positions, with dots between.
    pub place: String,
    /// In words.
    pub problem: String,
}

fn wrong<T>(place: impl Into<String>, problem: String) -> Result<T, Finding> {
    Err(Finding { place: place.into(), problem })
}

/// Finds what is wrong first.
pub(super) fn judge(recipe: &Recipe) -> Result<(), Finding> {
    packages(recipe)?;
    sources(recipe)?;
    let machine = &recipe.machine;
    words(machine)?;
    users(machine)?;
    services(machine)?;
    files(machine)?;
    place::judge(machine)?;
    machine.network.iter().try_for_each(Network::judge)?;
    machine.pool.judge()?;
    image(machine)
}

/// The same thing twice is a contradiction, or will be as soon as one of them is changed.
fn distinct<T: Ord + Debug>(
    what: &str,
    all: impl IntoIterator<Item = (String, T)>,
) -> Result<(), Finding> {
    let mut seen = BTreeSet::new();
    for (place, one) in all {
        if seen.contains(&one) {
            return wrong(place, format!("{what} {one:?} is there twice"));
        }
        seen.insert(one);
    }
    Ok(())
}

/// The name of a package in what asks for it.
fn plain(text: &str) -> &str {
    text.split(['=', '/', ':']).next().unwrap_or_default()
}

fn packages(recipe: &Recipe) -> Result<(), Finding> {
    let Packages { packages, exclude, mirror, security_mirror, snapshot, .. } = &recipe.packages;
    for (key, addresses) in [("mirror", mirror), ("security_mirror", security_mirror)] {
        if let (Some(date), false) = (snapshot, addresses.0.is_empty()) {
            let told = "only the public archive of snapshots is; leave one of both out";
            let problem = format!("{addresses} is not asked: with snapshot = \"{date}\", {told}");
            return wrong(key, problem);
        }
    }
    let asked: Vec<&str> = packages.iter().map(|text| plain(text)).collect();
    for (at, name) in exclude.iter().enumerate() {
        let place = format!("exclude.{at}");
        if asked.contains(&plain(name)) {
            return wrong(place, format!("{name:?} is among the packages as well"));
        }
        if recipe.implied_packages().contains(&plain(name)) {
            return wrong(place, format!("{name:?} is what another key of this recipe needs"));
        }
    }
    Ok(())
}

/// Somebody else's recipe takes nothing of this machine but what lies beside it. Its `keyring` may be anywhere: what
/// is trusted gets neither into an image nor into an error.
fn sources(recipe: &Recipe) -> Result<(), Finding> {
    let beside = |file: &str| {
        file.split('/').all(|part| !matches!(part, "" | "..")) && !file.contains(char::is_control)
    };
    let Packages { sets, optional_sets, .. } = &recipe.packages;
    let sets = [("sets", sets), ("optional_sets", optional_sets)].into_iter();
    let sets = sets.flat_map(|(key, files)| {
        let files = files.iter().enumerate();
        files.map(move |(at, file)| (format!("{key}.{at}"), file.as_str()))
    });
    match recipe.files().into_iter().chain(sets).find(|(_, file)| !beside(file)) {
        Some((place, file)) => {
            let told = "files that a recipe names lie beside it, or in a directory there";
            wrong(place, format!("{file:?}: {told}"))
        }
        None => Ok(()),
    }
}

fn words(machine: &Machine) -> Result<(), Finding> {
    // Regions are directories of zones.
    if let Some(zone) = &machine.time_zone
        && let Some(one) = TIME_ZONES
            .lines()
            .find(|one| one.strip_prefix(zone.as_str()).is_some_and(|rest| rest.starts_with('/')))
    {
        let told = format!("{:?} has time zones in it, as {one}, and is none", zone.as_str());
        return wrong("time_zone", told);
    }
    for (at, argument) in machine.kernel_arguments.iter().enumerate() {
        if argument.as_str().starts_with("root=") {
            let told = "the root is the boot environment's dataset; [pool] names it";
            return wrong(format!("kernel_arguments.{at}"), format!("{argument}: {told}"));
        }
    }
    Ok(())
}

/// Words that no list has: they may be mistyped, or newer than the lists.
pub(super) fn unlisted(machine: &Machine) -> Vec<Finding> {
    let zone = machine.time_zone.iter().map(|zone| ("time_zone", zone.as_str(), TIME_ZONES));
    let locale = machine.locale.iter().map(|locale| ("locale", locale.as_str(), LOCALES));
    let locale =
        locale.filter(|(_, locale, _)| rootfs::personalise::locale::script(locale).is_some());
    let layouts = machine.keyboard.iter().flat_map(|keyboard| keyboard.layout.split(','));
    let layouts = layouts.map(|layout| ("keyboard.layout", layout, KEYBOARDS));
    let finding = |(place, word, list): (&str, &str, &'static str)| {
        let list: Vec<&str> = list.lines().collect();
        if list.contains(&word) {
            return None;
        }
        // Hundreds of words help nobody.
        let near = Some(nearest(word, &list)).filter(|near| near.starts_with("did you mean"));
        let hint = near.map_or_else(|| ".".to_owned(), |near| format!("; {near}"));
        let problem = format!(
            "{place} = {word:?}: no Debian from 12 to 14 had this when the list was made{hint} The \
             packages of the root decide"
        );
        Some(Finding { place: place.to_owned(), problem })
    };
    zone.chain(locale).chain(layouts).filter_map(finding).collect()
}

fn users(machine: &Machine) -> Result<(), Finding> {
    let users = || machine.users.iter().enumerate();
    distinct(
        "the user",
        users().map(|(at, user)| (format!("users.{at}.name"), user.name.as_str())),
    )?;
    let home = |user: &User| match (&user.home, user.name.as_str()) {
        (Some(home), _) => home.to_string(),
        (None, "root") => "/root".to_owned(),
        (None, name) => format!("/home/{name}"),
    };
    let homes = users().map(|(at, user)| {
        let key = if user.home.is_some() { "home" } else { "name" };
        (format!("users.{at}.{key}"), home(user))
    });
    distinct("the home", homes)?;
    let uids = users().filter_map(|(at, user)| Some((format!("users.{at}.uid"), user.uid?)));
    distinct("the uid", uids)?;
    for (at, user) in users() {
        let groups = user.groups.iter().enumerate();
        let groups =
            groups.map(|(group, name)| (format!("users.{at}.groups.{group}"), name.as_str()));
        distinct(&format!("user {}: the group", user.name), groups)?;
    }
    Ok(())
}

fn services(machine: &Machine) -> Result<(), Finding> {
    let services = &machine.services;
    let lists =
        [("enable", &services.enable), ("disable", &services.disable), ("mask", &services.mask)];
    for (key, units) in lists {
        let units = units.iter().enumerate();
        distinct(
            "the unit",
            units.map(|(at, unit)| (format!("services.{key}.{at}"), unit.as_str())),
        )?;
    }
    // What is disabled may be masked as well.
    for (key, units) in &lists[1..] {
        if let Some(at) = units.iter().position(|unit| services.enable.contains(unit)) {
            let unit = &units[at];
            return wrong(format!("services.{key}.{at}"), format!("{unit} is enabled as well"));
        }
    }
    Ok(())
}

fn files(machine: &Machine) -> Result<(), Finding> {
    let paths = || {
        machine
            .files
            .iter()
            .enumerate()
            .map(|(at, file)| (format!("files.{at}.path"), file.path.as_str()))
    };
    distinct("the file", paths())?;
    let all: BTreeSet<&str> = paths().map(|(_, path)| path).collect();
    for (place, path) in paths() {
        if let Some(file) = place::above(path).skip(1).find(|path| all.contains(path)) {
            return wrong(place, format!("{path} cannot be: {file} is a file of this recipe"));
        }
    }
    Ok(())
}

/// FAT32 counts sectors in 32 bits.
const MAX_ESP: u64 = u32::MAX as u64 * disk::gpt::SECTOR / (1 << 20) * (1 << 20);
/// The longest file of Linux.
const MAX_DISK: u64 = i64::MAX as u64;

fn image(machine: &Machine) -> Result<(), Finding> {
    let image = &machine.image;
    if image.outputs.is_empty() {
        let known: Vec<&str> = Output::ALL.iter().map(|output| output.name()).collect();
        let told = format!("no output is asked for; known are {}", known.join(", "));
        return wrong("image.outputs", told);
    }
    let of = |output| image.outputs.iter().position(|one| *one == output);
    if let (Some(fixed), Some(dynamic)) = (of(Output::Vhd), of(Output::VhdDynamic)) {
        let told =
            "vhd and vhd-dynamic would have the same name; write them one by one, under two names";
        return wrong(format!("image.outputs.{}", fixed.max(dynamic)), told.to_owned());
    }
    let esp = image.esp_size.0;
    if esp > MAX_ESP {
        let most = MAX_ESP >> 20;
        let problem = format!("an ESP of {esp} bytes is not possible: FAT32 takes at most {most}M");
        return wrong("image.esp_size", problem);
    }
    if esp < disk::fat::MIN_SIZE {
        let least = disk::fat::MIN_SIZE >> 20;
        let told = "kernels and their initramfs need hundreds of MiB more";
        let problem =
            format!("an ESP of {esp} bytes is not possible: FAT32 takes {least}M, and {told}");
        return wrong("image.esp_size", problem);
    }
    if let Some(Size(size)) = image.disk_size
        && size > MAX_DISK
    {
        let problem =
            format!("a disk of {size} bytes is not possible: a file has at most {MAX_DISK}");
        return wrong("image.disk_size", problem);
    }
    for output in &image.outputs {
        let Some(most) = output.max_disk() else { continue };
        let told = |what: String| {
            let (name, most) = (output.name(), most >> 30);
            format!("{what} cannot be written as {name}, which takes at most {most}G")
        };
        match image.disk_size {
            Some(Size(size)) if size > most => {
                return wrong("image.disk_size", told(format!("a disk of {size} bytes")));
            }
            None if matches!(DiskLayout::new(most, esp), Err(LayoutError::TooSmall { .. })) => {
                return wrong("image.esp_size", told(format!("an ESP of {esp} bytes")));
            }
            _ => {}
        }
    }
    // Without a size, the tree decides, and any disk will do here.
    let disk = image.disk_size.map_or_else(|| (esp * 2).max(1 << 40), |size| size.0);
    match DiskLayout::new(disk / 512 * 512, esp) {
        _ if !disk.is_multiple_of(512) => {
            wrong("image.disk_size", LayoutError::DiskSize { size: disk }.to_string())
        }
        Ok(_) => Ok(()),
        Err(error @ LayoutError::TooSmall { .. }) => wrong("image.disk_size", error.to_string()),
        Err(error) => wrong("image.esp_size", error.to_string()),
    }
}
