//! What happens in the sandbox, from packages to a saved tree.

use std::borrow::Cow;
use std::fs;
use std::io::{self, BufRead, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use archive::tar::{self, EntryKind};
use rustix::fs::Mode;
use serde::{Deserialize, Serialize};
use tree::MemoryBlobs;
use tree::scan::{self, Known};
use tree::store::{self, DirStore};

use super::facts::{Facts, PackageFile};
use super::order::{Relations, Run};
use super::parallel::each_with;
use super::place::{Root, parts};
use super::target::Target;
use super::unpack::{Manner, Unpacker};
use super::{Bootstrap, Event, Fault, Late, database, late, modules, normalise, restore, save};

/// What is sent into the sandbox.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Order<'a> {
    /// Makes a root in `work`, a directory for everything, which is emptied first.
    Make { request: Box<Bootstrap>, work: PathBuf },
    /// Makes a root of the saved tree `base` in `work`, as above.
    Finish { base: PathBuf, late: Cow<'a, Late>, work: PathBuf },
    /// Removes a directory with all that is in it.
    Remove(PathBuf),
}

impl Order<'_> {
    /// Writes a line of JSON, then the contents of [`Late`] as they are, each with its length before it: JSON would make
    /// a number of each byte.
    pub fn write(&self, output: &mut impl Write) -> io::Result<()> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        output.write_all(&line)?;
        let Self::Finish { late, .. } = self else { return Ok(()) };
        let files = late.files.iter().map(|file| &file.content);
        for content in files.chain(late.scripts.iter().map(|script| &script.content)) {
            output.write_all(&(content.len() as u64).to_le_bytes())?;
            output.write_all(content)?;
        }
        Ok(())
    }

    fn read(input: &mut impl BufRead) -> io::Result<Self> {
        let mut line = Vec::new();
        input.read_until(b'\n', &mut line)?;
        let mut order: Self = serde_json::from_slice(&line)?;
        if let Self::Finish { late, .. } = &mut order {
            let late = late.to_mut();
            let files = late.files.iter_mut().map(|file| &mut file.content);
            for content in files.chain(late.scripts.iter_mut().map(|script| &mut script.content)) {
                let mut length = [0; 8];
                input.read_exact(&mut length)?;
                let length = u64::from_le_bytes(length);
                if input.take(length).read_to_end(content)? as u64 != length {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
        Ok(order)
    }
}

/// What comes out of it, each on a line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Message {
    Event(Event),
    Done,
    Failed(Fault),
}

/// Where the tree is saved in the directory of [`Order::Make`].
pub(super) const TREE: &str = "tree";
const ROOT: &str = "root";
const ASIDE: &str = "aside";

/// Reads an order and carries it out.
pub(super) fn run() -> bool {
    // What is made here belongs to the root, whatever the user keeps from others.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let output = Mutex::new(io::stdout());
    let send = |message: &Message| {
        let mut line = serde_json::to_vec(message).unwrap_or_default();
        line.push(b'\n');
        let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
        // Who does not listen any more has gone, and we with it.
        let _ = output.write_all(&line).and_then(|()| output.flush());
    };
    let tell = |event| send(&Message::Event(event));
    let order = Order::read(&mut io::stdin().lock());
    let order = order.map_err(|error| Fault::Told(format!("the order: {error}")));
    let result = order.and_then(|order| match order {
        Order::Make { request, work } => in_work(&work, || make(&request, &work, &tell)),
        Order::Finish { base, late, work } => in_work(&work, || finish(&base, &late, &work, &tell)),
        Order::Remove(directory) => fs::remove_dir_all(&directory)
            .map_err(|error| Fault::Told(format!("{}: {error}", directory.display()))),
    });
    let made = result.is_ok();
    send(&result.map_or_else(Message::Failed, |()| Message::Done));
    made
}

/// Makes something in a directory in which nothing but the result stays.
fn in_work(work: &Path, make: impl FnOnce() -> Result<(), Fault>) -> Result<(), Fault> {
    clear(work)?;
    let made = make();
    let cleared = clear(work);
    made.and(cleared)
}

/// Removes what only the making needs. It has owners that exist only in here.
fn clear(work: &Path) -> Result<(), Fault> {
    for name in [ROOT, ASIDE] {
        let path = work.join(name);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Fault::Told(format!("{}: {error}", path.display())));
            }
            _ => {}
        }
    }
    Ok(())
}

fn make(request: &Bootstrap, work: &Path, tell: &(dyn Fn(Event) + Sync)) -> Result<(), Fault> {
    let stage = |name: &str, total: usize| {
        tell(Event::Stage { name: name.to_owned(), total: total as u64 });
    };
    let path = work.join(ROOT);
    fs::DirBuilder::new()
        .mode(0o755)
        .create(&path)
        .map_err(|error| Fault::Told(format!("{}: {error}", path.display())))?;
    let jobs = match request.jobs {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        jobs => jobs,
    };

    stage("reading packages", 0);
    let facts = read_all(request, jobs)?;
    let relations = Relations::new(&facts);
    let essential = relations.essential();

    stage("unpacking", facts.len());
    let root =
        Root::open(&path).map_err(|error| Fault::Told(format!("{}: {error}", path.display())))?;
    unpack(&path, &root, request, &facts, &essential, jobs, tell)?;

    let target = Target {
        root: &path,
        facts: &facts,
        timestamp: request.timestamp,
        limit: request.script_timeout,
        tell,
        aside: work.join(ASIDE),
    };
    target.prepare()?;
    stage("configuring", facts.len());
    configure(&target, &relations, &essential)?;
    let kernels = modules::kernels(&path, &facts)?;
    let kept = target.aside.join("modules");
    let restored = match &request.modules {
        Some(cache) => modules::restore(cache, &kernels, &kept)?,
        None => false,
    };
    if !restored {
        modules::announce(&target, &kernels);
    }
    let compiled = modules::only_source(&facts);
    let keep_early = |event: Event| {
        // What comes after may fail or be killed, and need not compile again then.
        if let (Event::Step(package), Some(cache)) = (&event, &request.modules)
            && compiled == Some(package)
        {
            // If this fails, so does the one below, which tells.
            let _ = modules::keep(cache, &path, &kernels);
        }
        tell(event);
    };
    Target { tell: &keep_early, ..target.clone() }
        .configure_all(restored.then_some(kept.as_path()))?;
    let unfinished = database::unfinished(&path)?;
    if !unfinished.is_empty() {
        let text = format!("dpkg left these packages behind: {}", unfinished.join(", "));
        return Err(Fault::Told(text));
    }
    modules::check(&target, &kernels, &facts)?;
    modules::clear(&path)?;
    if let Some(cache) = &request.modules {
        modules::keep(cache, &path, &kernels)?;
    }
    // Before the initramfs, which has some of them; after they were kept, as others sign with other keys.
    if let Some(key) = &request.signing {
        modules::sign(&target, &kernels, key)?;
    }
    let versions = modules::versions(&path)?;
    stage("making the initramfs", versions.len());
    target.initramfs(&versions)?;
    target.clear()?;
    database::automatic(&path, &request.architecture, &facts)?;
    save_root((&path, &[]), request.timestamp, &Known::default(), None, work, tell)
}

/// Carries out what comes late in a copy of the saved tree `base`.
fn finish(
    base: &Path,
    late: &Late,
    work: &Path,
    tell: &(dyn Fn(Event) + Sync),
) -> Result<(), Fault> {
    let path = work.join(ROOT);
    tell(Event::Stage { name: "copying the root".to_owned(), total: 0 });
    let (tree, blobs) = store::load(base).map_err(|error| Fault::Told(error.to_string()))?;
    let known = restore::restore(&tree, &blobs, &path)?;
    let root =
        Root::open(&path).map_err(|error| Fault::Told(format!("{}: {error}", path.display())))?;
    let target = Target {
        root: &path,
        facts: &[],
        timestamp: late.timestamp,
        limit: late.script_timeout,
        tell,
        aside: work.join(ASIDE),
    };
    target.prepare()?;
    tell(Event::Stage { name: "adding files and running scripts".to_owned(), total: 0 });
    let told = late::run(&target, &root, late)?;
    target.clear()?;
    save_root((&path, &told), late.timestamp, &known, Some(&blobs), work, tell)
}

/// Saves the root in `path`, of which `known` need not be read, and in which all stays that was `told` to be there;
/// what `base` has is shared with it.
fn save_root(
    (path, told): (&Path, &[String]),
    timestamp: i64,
    known: &Known,
    base: Option<&DirStore>,
    work: &Path,
    tell: &(dyn Fn(Event) + Sync),
) -> Result<(), Fault> {
    tell(Event::Stage { name: "saving the tree".to_owned(), total: 0 });
    let (mut tree, blobs) =
        scan::scan_changed(path, known, &|_| {}).map_err(|error| Fault::Told(error.to_string()))?;
    let mut generated = MemoryBlobs::default();
    normalise::normalise(&mut tree, &mut generated, told, timestamp)?;
    save::save(&tree, blobs, generated, base, path, &work.join(TREE))
}

/// The facts of all packages, base-files first and the essential ones before the others.
fn read_all(request: &Bootstrap, jobs: usize) -> Result<Vec<Facts>, Fault> {
    let read = Mutex::new(Vec::new());
    each_with(jobs, &request.packages, |package| {
        let facts = Facts::read(package, &request.architecture)?;
        read.lock().unwrap_or_else(PoisonError::into_inner).push(facts);
        Ok(())
    })?;
    let mut facts = read.into_inner().unwrap_or_else(PoisonError::into_inner);
    facts.sort_by_cached_key(|facts| {
        let name = facts.package.name.clone();
        (name != "base-files", !facts.essential, name)
    });
    for pair in facts.windows(2) {
        if let [one, other] = pair
            && one.package.name == other.package.name
        {
            return Err(Fault::Told(format!("the package {} is there twice", one.package.name)));
        }
    }
    for name in ["base-files", "base-passwd", "dpkg"] {
        if !facts.iter().any(|facts| facts.package.name == name) {
            return Err(Fault::Told(format!(
                "the package {name} is missing; a root needs all essential packages and dpkg"
            )));
        }
    }
    Ok(facts)
}

/// Unpacks everything that needs no script before, and writes dpkg's database for it. Essential packages
/// with such a script are unpacked, too, so that there is something that can run it, but dpkg does not
/// hear of it.
fn unpack(
    path: &Path,
    root: &Root,
    request: &Bootstrap,
    facts: &[Facts],
    essential: &std::collections::BTreeSet<usize>,
    jobs: usize,
    tell: &(dyn Fn(Event) + Sync),
) -> Result<(), Fault> {
    let mut todo = Vec::new();
    for (at, facts) in facts.iter().enumerate() {
        match (facts.preinst, essential.contains(&at)) {
            (false, _) => todo.push((at, Manner::Package)),
            (true, true) => todo.push((at, Manner::Files)),
            (true, false) => todo.push((at, Manner::Later)),
        }
    }
    // base-files is first. Its links must be there before anything goes through them.
    let base = facts.first().ok_or_else(|| Fault::Told("there are no packages".to_owned()))?;
    if !has_merged_links(base)? {
        merged_links(path, &request.architecture)?;
    }
    let unpacker = Unpacker::new(root, facts, request.timestamp);
    let done = |at: usize| {
        if let Some(facts) = facts.get(at) {
            tell(Event::Step(facts.package.name.clone()));
        }
    };
    let (first, rest) = todo.split_at(1.min(todo.len()));
    let mut unpacked = unpacker.run(first, 1, &done)?;
    unpacked.append(&mut unpacker.run(rest, jobs, &done)?);
    unpacker.settle(&mut unpacked);
    unpacked.retain(|at, _| todo.contains(&(*at, Manner::Package)));
    database::create(path, &request.architecture, facts, &unpacked)?;
    for (name, mode) in [("dev", 0o755), ("proc", 0o555), ("sys", 0o555), ("tmp", 0o1777)] {
        let path = path.join(name);
        if !path.exists() {
            fs::create_dir_all(&path)
                .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode)))
                .map_err(|error| Fault::Told(format!("{}: {error}", path.display())))?;
        }
    }
    Ok(())
}

/// Whether base-files brings `/bin` as a link itself (since Debian 13).
fn has_merged_links(base: &Facts) -> Result<bool, Fault> {
    let fault = |problem: String| Fault::Told(format!("{}: {problem}", base.package.name));
    let mut file = PackageFile::open(&base.package)?;
    let deb = file.deb()?;
    let found = deb.data(|data| {
        let mut reader = tar::Reader::new(data);
        while let Some(entry) = reader.next_entry()? {
            if parts(&entry.path).is_some_and(|parts| parts == [b"bin"]) {
                return Ok(matches!(entry.kind, EntryKind::Symlink(_)));
            }
        }
        Ok::<_, tar::TarError>(false)
    });
    let found = found.map_err(|error| fault(error.to_string()));
    file.checked(found.and_then(|found| found.map_err(|error| fault(error.to_string()))))
}

/// The links of a merged `/usr`, as debootstrap makes them where packages do not.
fn merged_links(path: &Path, architecture: &str) -> Result<(), Fault> {
    let more: &[&str] = match architecture {
        "amd64" => &["lib32", "lib64", "libx32"],
        "i386" => &["lib64", "libx32"],
        _ => &[],
    };
    for name in ["bin", "sbin", "lib"].iter().chain(more) {
        let target = format!("usr/{name}");
        fs::create_dir_all(path.join(&target))
            .and_then(|()| symlink(&target, path.join(name)))
            .map_err(|error| Fault::Told(format!("{}: {error}", path.join(name).display())))?;
    }
    Ok(())
}

/// What is configured before anything else.
const FIRST: [&str; 2] = ["base-passwd", "base-files"];

/// Configures the essential packages, then lets dpkg unpack what needs a script before.
fn configure(
    target: &Target<'_>,
    relations: &Relations<'_>,
    essential: &std::collections::BTreeSet<usize>,
) -> Result<(), Fault> {
    let named = |name: &str| target.facts.iter().position(|facts| facts.package.name == name);
    let preinst = |at: &usize| target.facts.get(*at).is_some_and(|facts| facts.preinst);
    let again: Vec<usize> = essential.iter().copied().filter(preinst).collect();
    if !again.is_empty() {
        target.unpack(&again, true)?;
    }
    // Users and groups come first: everything else may give files to them.
    for name in FIRST {
        if let Some(at) = named(name) {
            target.configure(&[at], true)?;
        }
    }
    let done = |at: &usize| FIRST.iter().any(|name| named(name) == Some(*at));
    let all: Vec<usize> = essential.iter().copied().filter(|at| !done(at)).collect();
    target.configure(&all, false)?;

    let waiting = (0..target.facts.len()).filter(|at| !essential.contains(at)).filter(preinst);
    for run in relations.runs(&waiting.collect(), essential) {
        match run {
            Run::Unpack(packages) => target.unpack(&packages, false)?,
            Run::Configure(packages) => target.configure(&packages, false)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bootstrap::{LateFile, LateScript};

    #[test]
    fn contents_go_into_the_sandbox_as_they_are() {
        let content: Vec<u8> = (0..1 << 20).map(|at| (at % 251) as u8).collect();
        let file = |content| LateFile { path: "etc/x".to_owned(), mode: 0o600, content };
        let late = Late {
            timestamp: 7,
            script_timeout: Duration::from_secs(1),
            accounts: Vec::new(),
            files: vec![file(content.clone()), file(Vec::new())],
            scripts: vec![LateScript { name: "s".to_owned(), content: b"#!/bin/sh\n".to_vec() }],
            program: None,
        };
        let order = Order::Finish {
            base: PathBuf::from("base"),
            late: Cow::Owned(late),
            work: PathBuf::from("work"),
        };
        let mut sent = Vec::new();
        order.write(&mut sent).unwrap();
        assert!(sent.len() < content.len() + 1000, "{}", sent.len());
        assert_eq!(Order::read(&mut sent.as_slice()).unwrap(), order);
        sent.pop();
        assert!(Order::read(&mut sent.as_slice()).is_err());
        let order = Order::Remove(PathBuf::from("x"));
        let mut sent = Vec::new();
        order.write(&mut sent).unwrap();
        assert_eq!(Order::read(&mut sent.as_slice()).unwrap(), order);
    }
}
