//! Names that only last while the program runs: a signal that ends it takes them along.

use std::fs;
use std::io;
use std::os::raw::c_int;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// What ends a program whose user or machine has had enough of it.
const ENDING: [c_int; 3] = [SIGHUP, SIGINT, SIGTERM];

type Remove = fn(&Path) -> io::Result<()>;

/// The names, in the order in which they came.
#[derive(Debug)]
struct Names {
    list: Vec<(PathBuf, Remove)>,
    watched: bool,
}

static NAMES: Mutex<Names> = Mutex::new(Names { list: Vec::new(), watched: false });

fn names() -> MutexGuard<'static, Names> {
    NAMES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A name that goes when this value does, or when SIGHUP, SIGINT or SIGTERM ends the program.
#[derive(Debug)]
pub struct Fleeting(PathBuf);

impl Fleeting {
    /// The name of the file that `make` makes.
    pub fn file<T>(make: impl FnOnce() -> io::Result<(T, PathBuf)>) -> io::Result<(T, Self)> {
        Self::new(|path| fs::remove_file(path), make)
    }

    /// Makes a directory at `path`, which stays if something is in it at the end.
    pub fn directory(path: &Path) -> io::Result<Self> {
        let make = || Ok((fs::create_dir(path)?, path.to_owned()));
        Self::new(|path| fs::remove_dir(path), make).map(|((), name)| name)
    }

    /// The directory that `make` makes, with all that will be in it.
    pub fn tree(make: impl FnOnce() -> io::Result<PathBuf>) -> io::Result<Self> {
        Self::new(remove_tree, || Ok(((), make()?))).map(|((), name)| name)
    }

    fn new<T>(
        remove: Remove,
        make: impl FnOnce() -> io::Result<(T, PathBuf)>,
    ) -> io::Result<(T, Self)> {
        // A signal waits until the name is known.
        let mut names = names();
        if !names.watched {
            watch()?;
            names.watched = true;
        }
        let (made, path) = make()?;
        names.list.push((path.clone(), remove));
        Ok((made, Self(path)))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Lets `place` give it the name under which it stays.
    pub fn placed(self, place: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
        let mut names = names();
        place(&self.0)?;
        names.list.retain(|(path, _)| *path != self.0);
        Ok(())
    }
}

impl Drop for Fleeting {
    fn drop(&mut self) {
        // While a signal takes everything along, this waits for the end: no error of ours is told then.
        let mut names = names();
        if let Some(at) = names.list.iter().position(|(path, _)| *path == self.0) {
            let (path, remove) = names.list.remove(at);
            // What cannot be removed is in the way of nobody.
            let _ = remove(&path);
        }
    }
}

/// Starts a thread that waits for the signals which end this program: not for those that whoever
/// started it wants ignored, as nohup(1) does.
fn watch() -> io::Result<()> {
    let ignored = ignored()?;
    let ending = ENDING.iter().filter(|signal| ignored >> (*signal - 1) & 1 == 0);
    let mut signals = Signals::new(ending)?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            // Held to the end: nothing gets a name any more.
            let names = names();
            names.list.iter().rev().for_each(|(path, remove)| drop(remove(path)));
            // Only fails for signals that it does not know.
            let _ = emulate_default_handler(signal);
        }
    })?;
    Ok(())
}

/// The signals that this program ignores, signal 1 in the lowest bit (proc_pid_status(5)).
fn ignored() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .ok_or_else(|| io::Error::other("/proc/self/status has no SigIgn"))
}

/// Removes a directory with all in it, even while other threads are putting more there: these fail as
/// soon as their directory is gone.
fn remove_tree(path: &Path) -> io::Result<()> {
    let mut attempts = 100;
    loop {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && attempts > 0 => {
                attempts -= 1;
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_goes_with_its_value_unless_it_is_placed() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let file =
            |name: &str| Fleeting::file(|| Ok((fs::File::create(at(name))?, at(name)))).unwrap().1;
        drop(file("gone"));
        file("first").placed(|path| fs::rename(path, at("placed"))).unwrap();
        let refused = file("refused").placed(|path| fs::rename(path, at("missing/directory")));
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::NotFound);

        let (empty, full) = (at("empty"), at("full"));
        let (empty, full) = (Fleeting::directory(&empty), Fleeting::directory(&full));
        fs::write(at("full/file"), "").unwrap();
        drop((empty.unwrap(), full.unwrap()));
        let tree = Fleeting::tree(|| fs::create_dir(at("tree")).map(|()| at("tree"))).unwrap();
        fs::write(tree.path().join("file"), "").unwrap();
        drop(tree);

        let mut left: Vec<_> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["full", "placed"]);
    }
}
