//! What builds keep: the output of each step, named by the hash of everything that decided it.
//!
//! ```text
//! .guard                  builders share it, gc has it alone
//! KIND/KEY/               an output, complete
//! KIND/KEY/kept.json      what it is, how large; its time tells when it was last used
//! KIND/.KEY.new/          an output that is being made, or was when the builder was killed
//! modules/KEY/modules/    kernel modules, as `rootfs::bootstrap` keeps them
//! modules/KEY/key         what they were compiled from; its time tells when they were last used
//! ```

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context;
use rootfs::bootstrap;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

/// File in each output that tells what it is.
const KEPT: &str = "kept.json";
/// How the name ends of the file that builders of a key lock.
const TURN: &str = ".turn";
/// Directory of kernel modules, which has its own order.
pub const MODULES: &str = "modules";
/// Kinds that hold what is in machines, also what only root may read there, as files that anybody may read.
const PRIVATE: [&str; 2] = ["roots", "packed"];
/// File that tells what modules were compiled from, written last.
const COMPILED: &str = "key";

/// A cache.
#[derive(Debug)]
pub struct Cache {
    root: PathBuf,
    _guard: File,
}

/// What is known of an output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// In words.
    pub what: String,
    /// Bytes of its files.
    pub bytes: u64,
}

/// An output of the cache.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What kind: `roots`, `packed`, `licences`, `images`, `modules`.
    pub kind: String,
    /// Hash of what decided it; for what is not complete, a name with a dot in front.
    pub key: String,
    /// Where it is.
    pub path: PathBuf,
    /// What it is; `None`: it is not complete.
    pub kept: Option<Kept>,
    /// When it was last used.
    pub used: SystemTime,
}

impl Cache {
    /// The directory where a cache is unless somebody says otherwise.
    pub fn default_directory() -> anyhow::Result<PathBuf> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let path = match (variable("XDG_CACHE_HOME"), variable("HOME")) {
            (Some(cache), _) => PathBuf::from(cache),
            (None, Some(home)) => PathBuf::from(home).join(".cache"),
            (None, None) => anyhow::bail!("neither HOME nor XDG_CACHE_HOME is set: use --cache"),
        };
        Ok(path.join("kldload"))
    }

    /// Opens the cache for building; several may do so at the same time.
    pub fn open(root: &Path) -> anyhow::Result<Self> {
        Self::open_with(root, FlockOperation::LockShared)
    }

    /// Opens it for removing; refused while anybody builds.
    pub fn open_alone(root: &Path) -> anyhow::Result<Self> {
        Self::open_with(root, FlockOperation::NonBlockingLockExclusive)
    }

    fn open_with(root: &Path, operation: FlockOperation) -> anyhow::Result<Self> {
        let failed = || format!("cannot use the cache {}", root.display());
        fs::create_dir_all(root).with_context(failed)?;
        let path = root.join(".guard");
        let guard = File::options().create(true).truncate(false).write(true).open(path);
        let guard = guard.with_context(failed)?;
        for kind in PRIVATE {
            private(&root.join(kind)).with_context(failed)?;
        }
        match flock(&guard, operation) {
            Ok(()) => Ok(Self { root: root.to_owned(), _guard: guard }),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                anyhow::bail!(
                    "{}: a build is using it; try again when it has ended",
                    root.display()
                )
            }
            Err(error) => Err(std::io::Error::from(error)).with_context(failed),
        }
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.root
    }

    /// Where kernel modules are kept.
    pub fn modules(&self) -> PathBuf {
        self.root.join(MODULES)
    }

    /// The output of this key, if it is there. It counts as used now.
    pub fn find(&self, kind: &str, key: &str) -> Option<PathBuf> {
        let path = self.root.join(kind).join(key);
        let kept = File::options().write(true).open(path.join(KEPT)).ok()?;
        // A time that cannot be set makes it look older than it is.
        let _ = kept.set_modified(SystemTime::now());
        Some(path)
    }

    /// An empty directory for the output of this key. Two builds of the same wait for each other.
    pub fn begin(&self, kind: &str, key: &str) -> anyhow::Result<Begun> {
        let directory = self.root.join(kind);
        let failed = || format!("cannot use the cache {}", self.root.display());
        fs::create_dir_all(&directory).with_context(failed)?;
        let turn = File::create(directory.join(format!(".{key}{TURN}"))).with_context(failed)?;
        flock(&turn, FlockOperation::LockExclusive)
            .map_err(std::io::Error::from)
            .with_context(failed)?;
        let new = directory.join(format!(".{key}.new"));
        remove(&new)?;
        remove(&directory.join(format!("..{key}.new.making")))?;
        sweep(&directory)?;
        Ok(Begun { new, path: directory.join(key), _turn: turn })
    }

    /// Keeps an output of one small file.
    pub fn keep(
        &self,
        kind: &str,
        key: &str,
        what: &str,
        file: &str,
        content: &[u8],
    ) -> anyhow::Result<()> {
        let begun = self.begin(kind, key)?;
        let failed = || begun.directory().display().to_string();
        fs::create_dir(begun.directory()).with_context(failed)?;
        fs::write(begun.directory().join(file), content).with_context(failed)?;
        begun.finish(what)?;
        Ok(())
    }

    /// Everything that is kept, and what is left of builds that were killed.
    pub fn list(&self) -> anyhow::Result<Vec<Entry>> {
        let mut found = Vec::new();
        for kind in children(&self.root)? {
            let name = name_of(&kind);
            if !kind.is_dir() {
                continue;
            }
            for path in children(&kind)? {
                let (file, kept) = match name == MODULES {
                    true => (COMPILED, compiled(&path)?),
                    false => {
                        let kept = fs::read(path.join(KEPT)).ok();
                        (KEPT, kept.and_then(|text| serde_json::from_slice(&text).ok()))
                    }
                };
                let at = if kept.is_some() { path.join(file) } else { path.clone() };
                let used = fs::metadata(at).and_then(|metadata| metadata.modified());
                found.push(Entry {
                    kind: name.clone(),
                    key: name_of(&path),
                    kept,
                    used: used.unwrap_or(SystemTime::UNIX_EPOCH),
                    path,
                });
            }
        }
        found.sort_by_key(|entry| std::cmp::Reverse(entry.used));
        Ok(found)
    }

    /// Removes an output. It loses its name first: a killed removal leaves nothing that looks complete.
    pub fn remove(&self, entry: &Entry) -> anyhow::Result<()> {
        let gone =
            entry.path.with_file_name(format!(".{}.gone", entry.key.trim_start_matches('.')));
        if gone != entry.path {
            remove(&gone)?;
            fs::rename(&entry.path, &gone).with_context(|| entry.path.display().to_string())?;
        }
        remove(&gone)
    }
}

/// Makes a directory, unless it is there, into which nobody else can look.
pub fn private(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    // Those of earlier versions are open.
    match fs::metadata(directory)?.permissions().mode() & 0o077 {
        0 => Ok(()),
        _ => fs::set_permissions(directory, Permissions::from_mode(0o700)),
    }
}

/// What kernel modules these are; `None`: they are not complete.
fn compiled(path: &Path) -> anyhow::Result<Option<Kept>> {
    // Until it has its name, it has one that begins with a dot.
    let Ok(facts) = fs::read_to_string(path.join(COMPILED)) else { return Ok(None) };
    if name_of(path).starts_with('.') {
        return Ok(None);
    }
    let kernel = facts.lines().find_map(|line| line.strip_prefix("kernel ")).unwrap_or_default();
    let sources = facts.lines().filter_map(|line| line.split_once(' '));
    let sources: Vec<String> = sources
        .filter(|(name, _)| name.ends_with("-dkms"))
        .map(|(name, rest)| format!("{name} {}", rest.split(' ').next().unwrap_or_default()))
        .collect();
    let what = format!("{} for {kernel}", sources.join(", "));
    Ok(Some(Kept { what, bytes: size(path)? }))
}

/// An output that is being made.
#[derive(Debug)]
pub struct Begun {
    new: PathBuf,
    path: PathBuf,
    _turn: File,
}

impl Begun {
    /// Where to put it; does not exist yet.
    pub fn directory(&self) -> &Path {
        &self.new
    }

    /// Where it was put by somebody else while this build waited.
    pub fn made_meanwhile(&self) -> Option<&Path> {
        self.path.join(KEPT).is_file().then_some(&*self.path)
    }

    /// Gives it its name. What was there before goes.
    pub fn finish(self, what: &str) -> anyhow::Result<PathBuf> {
        let kept = Kept { what: what.to_owned(), bytes: size(&self.new)? };
        let failed = || self.path.display().to_string();
        fs::write(self.new.join(KEPT), serde_json::to_vec(&kept)?).with_context(failed)?;
        remove(&self.path)?;
        fs::rename(&self.new, &self.path).with_context(failed)?;
        Ok(self.path.clone())
    }
}

/// Removes what killed builds of other keys have left in the directory of a kind.
fn sweep(directory: &Path) -> anyhow::Result<()> {
    for path in children(directory)? {
        let name = name_of(&path);
        if !name.starts_with('.') || name.ends_with(TURN) {
            continue;
        }
        let key = name.trim_start_matches('.').split('.').next().unwrap_or_default();
        let turn = File::create(directory.join(format!(".{key}{TURN}")))
            .with_context(|| directory.display().to_string())?;
        // Whoever makes it now has the lock.
        if flock(&turn, FlockOperation::NonBlockingLockExclusive).is_ok() {
            remove(&path)?;
        }
    }
    Ok(())
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn children(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let failed = || path.display().to_string();
    let entries = fs::read_dir(path).with_context(failed)?;
    entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>().with_context(failed)
}

/// Bytes of all files below.
fn size(path: &Path) -> anyhow::Result<u64> {
    let mut total = 0;
    let mut todo = vec![path.to_owned()];
    while let Some(path) = todo.pop() {
        let metadata = fs::symlink_metadata(&path).with_context(|| path.display().to_string())?;
        match metadata.is_dir() {
            true => todo.extend(children(&path)?),
            false => total += metadata.len(),
        }
    }
    Ok(total)
}

fn remove(path: &Path) -> anyhow::Result<()> {
    let failed = || format!("cannot remove {}", path.display());
    match fs::symlink_metadata(path) {
        // A root under construction may be in it.
        Ok(metadata) if metadata.is_dir() => bootstrap::remove(path).with_context(failed),
        Ok(_) => fs::remove_file(path).with_context(failed),
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_appear_complete_and_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path()).unwrap();
        assert!(cache.find("roots", "a").is_none() && cache.list().unwrap().is_empty());
        let begun = cache.begin("roots", "a").unwrap();
        assert!(begun.made_meanwhile().is_none() && !begun.directory().exists());
        fs::create_dir(begun.directory()).unwrap();
        fs::write(begun.directory().join("x"), "12345").unwrap();
        assert!(cache.find("roots", "a").is_none());
        // Nobody removes while somebody builds.
        assert!(Cache::open_alone(directory.path()).is_err());
        let path = begun.finish("pears").unwrap();
        assert_eq!(cache.find("roots", "a"), Some(path));
        let begun = cache.begin("roots", "a").unwrap();
        assert!(begun.made_meanwhile().is_some());
        fs::create_dir(begun.directory()).unwrap();
        // What somebody makes stays when another one begins.
        drop(cache.begin("roots", "b").unwrap());
        assert!(begun.directory().exists());
        drop(begun);
        drop(cache);

        let cache = Cache::open_alone(directory.path()).unwrap();
        let all = cache.list().unwrap();
        let complete: Vec<&Entry> = all.iter().filter(|entry| entry.kept.is_some()).collect();
        assert_eq!(complete.len(), 1);
        assert_eq!(complete[0].kept, Some(Kept { what: "pears".to_owned(), bytes: 5 }));
        assert!(all.iter().any(|entry| entry.key == ".a.new"));
        all.iter().for_each(|entry| cache.remove(entry).unwrap());
        assert!(cache.list().unwrap().is_empty());
    }

    #[test]
    fn nobody_else_can_look_into_roots() {
        let directory = tempfile::tempdir().unwrap();
        let at = |kind: &str| directory.path().join(kind);
        fs::create_dir(at("roots")).unwrap();
        fs::set_permissions(at("roots"), Permissions::from_mode(0o755)).unwrap();
        let cache = Cache::open(directory.path()).unwrap();
        for kind in PRIVATE {
            drop(cache.begin(kind, "a").unwrap());
            assert_eq!(fs::metadata(at(kind)).unwrap().permissions().mode() & 0o777, 0o700);
        }
    }

    #[test]
    fn modules_are_listed_and_go() {
        let directory = tempfile::tempdir().unwrap();
        let modules = directory.path().join(MODULES);
        let key = "kernel 6.12.1-amd64\nconfig 0\ndkms 3.1 all\nzfs-dkms 2.3.2-2 all\n";
        for name in ["a", ".tmpx"] {
            fs::create_dir_all(modules.join(name).join("modules")).unwrap();
            fs::write(modules.join(name).join("modules/zfs.ko"), "12345").unwrap();
            fs::write(modules.join(name).join(COMPILED), key).unwrap();
        }
        let cache = Cache::open_alone(directory.path()).unwrap();
        let all = cache.list().unwrap();
        let complete: Vec<&Entry> = all.iter().filter(|entry| entry.kept.is_some()).collect();
        assert_eq!((all.len(), complete.len(), &*complete[0].kind), (2, 1, MODULES));
        let kept = complete[0].kept.as_ref().unwrap();
        assert_eq!(kept.what, "zfs-dkms 2.3.2-2 for 6.12.1-amd64");
        assert_eq!(kept.bytes, 5 + key.len() as u64);
        all.iter().for_each(|entry| cache.remove(entry).unwrap());
        assert!(cache.list().unwrap().is_empty());
    }

    #[test]
    fn the_next_build_removes_what_a_killed_one_left() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path()).unwrap();
        let roots = directory.path().join("roots");
        let left = [".a.new", "..a.new.making", ".b.new", "..b.new.making", ".c.gone"];
        for name in left {
            fs::create_dir_all(roots.join(name).join("root")).unwrap();
        }
        drop(cache.begin("roots", "a").unwrap());
        assert!(left.iter().all(|name| !roots.join(name).exists()));
    }
}
