//! A list of `.deb` files becomes a configured root, without debootstrap, apt or dpkg of this machine.
//!
//! What needs no script is unpacked here, by dpkg's rules and with dpkg's database; then the new root's
//! *own* dpkg, inside a sandbox, does what it alone can do right: preinst scripts, `Pre-Depends`,
//! configuration, triggers. The directory exists only as long as packages are configured; what comes out
//! is a saved tree ([`tree::store`]).
//!
//! The caller's program is started again inside the sandbox with the one argument [`INSIDE`] and must
//! then call [`inside`] before it does anything else.

mod database;
mod facts;
mod inside;
mod late;
mod modules;
mod normalise;
mod order;
mod parallel;
mod place;
mod restore;
mod save;
mod target;
mod unpack;

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, SystemTime};

use host::sandbox::{self, Entered, SandboxError};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tree::Tree;
use tree::store::{self, DirStore, StoreError};

use crate::personalise::{Account, PersonaliseError, Sudo, check_new};
use crate::signing::ModuleKey;

/// The program that runs.
const OURSELVES: &str = "/proc/self/exe";
/// The argument with which a program is started again inside the sandbox.
pub const INSIDE: &str = "sandbox-init";

/// Told where the sandbox is a weaker one.
const SAME_ROOT: &str = "this kernel makes no user namespaces: scripts of packages and recipes run as root of this \
    machine, confined only by what they see and by the capabilities they lack; see the sysctl \
    user.max_user_namespaces";

/// One package, as a lock names it and a store holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// `Package`
    pub name: String,
    /// `Version`
    pub version: String,
    /// `Architecture`: that of the machine, or `all`.
    pub architecture: String,
    /// The `.deb` file; what is in it is not trusted.
    pub deb: PathBuf,
    /// SHA-256 of that file, as the lock has it. It is computed while the file is unpacked: nothing runs
    /// before that of every package was right.
    pub sha256: String,
    /// Nobody asked for it by name: apt may remove it when nothing depends on it any more.
    pub automatic: bool,
}

/// A file to add after all packages are configured, before the scripts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateFile {
    /// Where, from the root; links are followed as the machine would. Missing directories are made.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Its content.
    #[serde(skip)]
    pub content: Vec<u8>,
}

/// A program to run as root in the sandbox, after all packages are configured and all files added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateScript {
    /// What messages call it.
    pub name: String,
    /// The program itself, with `#!` in its first line.
    #[serde(skip)]
    pub content: Vec<u8>,
}

/// A user who is there before the scripts run; everything else about it comes when the root becomes
/// somebody's machine ([`personalise`](crate::personalise)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateAccount {
    /// Login name.
    pub name: String,
    /// Number; one that is free if it is not told.
    pub uid: Option<u32>,
    /// Groups besides the user's own.
    pub groups: Vec<String>,
    /// Login shell.
    pub shell: String,
    /// Home directory; `/home/NAME` if it is not told.
    pub home: Option<String>,
}

impl LateAccount {
    fn account(&self) -> Account {
        Account {
            name: self.name.clone(),
            full_name: String::new(),
            uid: self.uid,
            groups: self.groups.clone(),
            password_hash: None,
            ssh_keys: Vec::new(),
            sudo: Sudo::None,
            shell: self.shell.clone(),
            home: self.home.clone(),
        }
    }
}

/// What is to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// Every package of the root, dependencies included, in any order.
    pub packages: Vec<Package>,
    /// The machine's architecture, as `amd64`.
    pub architecture: String,
    /// `SOURCE_DATE_EPOCH`, in seconds: no file is newer, and scripts are told.
    pub timestamp: i64,
    /// How long one script may take.
    pub script_timeout: Duration,
    /// How many packages are unpacked at the same time; 0: one a processor.
    pub jobs: usize,
    /// Where kernel modules that dkms built are kept and found again.
    pub modules: Option<PathBuf>,
    /// What signs the modules that dkms built; those that are kept are not signed.
    pub signing: Option<ModuleKey>,
    /// The program that is started again inside the sandbox; `None`: the one that runs.
    pub program: Option<PathBuf>,
}

/// What is to be done in a root that [`bootstrap`] made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Late {
    /// As [`Bootstrap::timestamp`].
    pub timestamp: i64,
    /// How long one script may take.
    pub script_timeout: Duration,
    /// Users to make first, by the root's own useradd.
    pub accounts: Vec<LateAccount>,
    /// Files to add before the scripts run.
    pub files: Vec<LateFile>,
    /// Programs to run, in this order.
    pub scripts: Vec<LateScript>,
    /// As [`Bootstrap::program`].
    pub program: Option<PathBuf>,
}

/// What is going on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// Something else is done from now on, in `total` steps (0: nobody knows).
    Stage {
        /// What, in words.
        name: String,
        /// How many [`Event::Step`]s will follow.
        total: u64,
    },
    /// One step of the stage is done, named by its package.
    Step(String),
    /// A line that dpkg or a script printed.
    Said(String),
    /// Something that explains a long wait.
    Note(String),
    /// Something a person should know.
    Warning(String),
}

/// Why there is no root.
#[derive(Debug, Error)]
pub enum BootstrapError {
    /// There is no sandbox.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// Something failed inside the sandbox.
    #[error("{0}")]
    Inside(String),
    /// A package's file is not what it was when it was fetched.
    #[error(
        "{}: damaged: its content has SHA-256 {found}, and not {wanted} as the lock says; delete this file, \
         and the next build or `kldload darksite sync` fetches it again (`kldload darksite verify` looks \
         for more)",
        deb.display()
    )]
    Damaged {
        /// The file.
        deb: PathBuf,
        /// The digest that the lock names.
        wanted: String,
        /// The digest of what is there.
        found: String,
    },
    /// The root would have a date that is still to come.
    #[error(
        "this machine's clock is {} behind the date that the root is to have (SOURCE_DATE_EPOCH, else the \
         lock's): files that scripts write could not be told from those of packages, and useradd takes no \
         date that is to come; set the clock, or an earlier SOURCE_DATE_EPOCH",
        span(*_0)
    )]
    Clock(Duration),
    /// A file or directory outside could not be used.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another process makes the same tree.
    #[error("{}: another process is making this tree", _0.display())]
    Busy(PathBuf),
    /// The process in the sandbox has ended without a word.
    #[error("the process in the sandbox ended ({0}) before it was done")]
    Died(ExitStatus),
    /// The root cannot have what is asked for.
    #[error(transparent)]
    Refused(#[from] PersonaliseError),
    /// What was saved cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What went wrong inside.
#[derive(Debug, Serialize, Deserialize)]
enum Fault {
    /// In words.
    Told(String),
    /// As [`BootstrapError::Damaged`].
    Damaged { deb: PathBuf, wanted: String, found: String },
}

impl Fault {
    /// With what it happened to in front of the words.
    fn of(self, what: impl std::fmt::Display) -> Self {
        match self {
            Self::Told(problem) => Self::Told(format!("{what}: {problem}")),
            damaged @ Self::Damaged { .. } => damaged,
        }
    }
}

impl From<Fault> for BootstrapError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Told(problem) => Self::Inside(problem),
            Fault::Damaged { deb, wanted, found } => Self::Damaged { deb, wanted, found },
        }
    }
}

/// A time that has passed, in the unit in which it is not a number without meaning.
fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [(86_400, "days"), (3600, "hours"), (60, "minutes")];
    let unit = units.into_iter().find(|(unit, _)| seconds >= 2 * unit);
    let (unit, name) = unit.unwrap_or((1, "seconds"));
    format!("{} {name}", seconds / unit)
}

/// Everything that the build writes must be later than the date of the root: what is later is taken for
/// the build's, and programs that go by SOURCE_DATE_EPOCH go by the clock if that is behind.
fn check_clock(timestamp: i64) -> Result<(), BootstrapError> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    match u64::try_from(timestamp).unwrap_or(0).saturating_sub(now.as_secs()) {
        0 => Ok(()),
        behind => Err(BootstrapError::Clock(Duration::from_secs(behind))),
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> BootstrapError + use<> {
    let path = path.to_owned();
    move |source| BootstrapError::Io { path, source }
}

/// Makes the root and saves it as a tree in the directory `output`, which must not exist or be empty, on a
/// file system with owners and extended attributes. The root stands beside it while packages are
/// configured.
pub fn bootstrap(
    request: &Bootstrap,
    output: &Path,
    progress: &mut dyn FnMut(Event),
) -> Result<(Tree, DirStore), BootstrapError> {
    check_clock(request.timestamp)?;
    let mut request = request.clone();
    for package in &mut request.packages {
        package.deb = absolute(&package.deb)?;
    }
    if let Some(modules) = &mut request.modules {
        fs::create_dir_all(&*modules).map_err(at(modules))?;
        *modules = absolute(modules)?;
    }
    let program = request.program.take();
    let order = |work| inside::Order::Make { request: Box::new(request), work };
    make(output, program, order, progress)
}

/// Does in a copy of the tree saved in `base`, which stays as it is, what comes late, and saves the result
/// in `output`, as [`bootstrap`] does. So a script that fails costs no bootstrap.
pub fn finish(
    base: &Path,
    late: &Late,
    output: &Path,
    progress: &mut dyn FnMut(Event),
) -> Result<(Tree, DirStore), BootstrapError> {
    check_clock(late.timestamp)?;
    // Known before anything runs.
    let (tree, blobs) = store::load(base)?;
    let accounts: Vec<Account> = late.accounts.iter().map(LateAccount::account).collect();
    check_new(&tree, &blobs, &accounts)?;
    let (base, late, program) = (absolute(base)?, Cow::Borrowed(late), late.program.clone());
    make(output, program, |work| inside::Order::Finish { base, late, work }, progress)
}

fn absolute(path: &Path) -> Result<PathBuf, BootstrapError> {
    fs::canonicalize(path).map_err(at(path))
}

/// Has an order, which is told its directory, carried out in the sandbox.
fn make<'a>(
    output: &Path,
    program: Option<PathBuf>,
    order: impl FnOnce(PathBuf) -> inside::Order<'a>,
    progress: &mut dyn FnMut(Event),
) -> Result<(Tree, DirStore), BootstrapError> {
    let parent = match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent).map_err(at(parent))?;
    let parent = absolute(parent)?;
    // Known before an hour's work is done.
    if fs::read_dir(output).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(at(output)(io::ErrorKind::DirectoryNotEmpty.into()));
    }
    let name = output.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let work = parent.join(format!(".{name}.making"));
    fs::create_dir_all(&work).map_err(at(&work))?;
    let lock = File::open(&work).map_err(at(&work))?;
    if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Err(BootstrapError::Busy(output.to_owned()));
    }
    let made = work.join(inside::TREE);
    if made.exists() {
        fs::remove_dir_all(&made).map_err(at(&made))?;
    }
    let program = program.unwrap_or_else(|| PathBuf::from(OURSELVES));
    let result = command(&program, &order(work.clone()), progress);
    if result.is_ok() {
        fs::rename(&made, output).map_err(at(output))?;
    }
    // When this fails, the next one removes it.
    let _ = remove_with(&program, &work);
    result?;
    Ok(store::load(output)?)
}

/// Removes a directory in which a bootstrap was going on when its process was killed: what lies there may
/// belong to ids that exist only in the sandbox.
pub fn remove(directory: &Path) -> Result<(), BootstrapError> {
    remove_with(Path::new(OURSELVES), directory)
}

fn remove_with(program: &Path, directory: &Path) -> Result<(), BootstrapError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let directory = fs::canonicalize(directory).map_err(at(directory))?;
            command(program, &inside::Order::Remove(directory), &mut |_| ())
        }
        result => result.map_err(at(directory)),
    }
}

/// Starts the process in the sandbox and listens to it.
fn command(
    program: &Path,
    order: &inside::Order<'_>,
    progress: &mut dyn FnMut(Event),
) -> Result<(), BootstrapError> {
    let Entered { mut child, own_ids } = sandbox::enter(program, &[INSIDE])?;
    if !own_ids {
        progress(Event::Warning(SAME_ROOT.to_owned()));
    }
    if let Some(mut input) = child.stdin.take() {
        // If it is gone, its status tells more.
        let _ = order.write(&mut input);
    }
    let mut result = None;
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            match serde_json::from_slice(&line) {
                Ok(inside::Message::Event(event)) => progress(event),
                Ok(inside::Message::Done) => result = Some(Ok(())),
                Ok(inside::Message::Failed(fault)) => result = Some(Err(fault.into())),
                // Nothing else writes there.
                Err(_) => {}
            }
        }
    }
    let status = child.wait().map_err(at(program))?;
    result.unwrap_or(Err(BootstrapError::Died(status)))
}

/// The other half of [`bootstrap`], inside the sandbox: reads the request from standard input, tells
/// events on standard output. Returns whether the root was made.
pub fn inside() -> bool {
    inside::run()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without a sandbox: nothing has begun.
    #[test]
    fn accounts_are_judged_before_anything_runs() {
        let directory = tempfile::tempdir().unwrap();
        let mut blobs = tree::MemoryBlobs::default();
        let mut root = Tree::new(tree::Metadata::default());
        let mut editor = crate::edit::Editor {
            tree: &mut root,
            generated: &mut blobs,
            time: tree::Timestamp::default(),
        };
        editor.file("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\n").unwrap();
        editor.file("etc/group", 0o644, "root:x:0:\nadm:x:4:\n").unwrap();
        let base = directory.path().join("base");
        store::save(&base, &root, &blobs).unwrap();
        let account = |name: &str, groups: &[&str]| LateAccount {
            name: name.to_owned(),
            uid: None,
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
            shell: "/bin/sh".to_owned(),
            home: None,
        };
        let late = Late {
            timestamp: 0,
            script_timeout: Duration::from_secs(1),
            accounts: vec![account("alice", &["adm"]), account("bob", &["alice", "nosuchgroup"])],
            files: Vec::new(),
            scripts: Vec::new(),
            program: None,
        };
        let made = finish(&base, &late, &directory.path().join("made"), &mut |_| ());
        let Err(BootstrapError::Refused(PersonaliseError::Group { user, group })) = made else {
            panic!("{made:?}")
        };
        assert_eq!((user.as_str(), group.as_str()), ("bob", "nosuchgroup"));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn no_root_of_a_date_that_is_to_come() {
        let now =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
        check_clock(now - 1).unwrap();
        check_clock(-1).unwrap();
        let error = check_clock(now + 3 * 86_400 + 60).unwrap_err().to_string();
        assert!(error.starts_with("this machine's clock is 3 days behind"), "{error}");
        assert!(check_clock(i64::MAX).is_err());
        assert_eq!(span(Duration::from_secs(119)), "119 seconds");
        assert_eq!(span(Duration::from_secs(7200)), "2 hours");
    }
}
