//! Processes apart from this machine: in namespaces of their own, in a root of their own.
//!
//! [`enter`] starts a program as root of a new user namespace, with its own mounts, host name, IPC and a
//! network without devices; [`Confined`] then runs programs inside a directory as their root, each with
//! process numbers of its own, so that nothing a program started outlives it, and without the means to undo this.
//!
//! Neither needs to be root. What an ordinary user needs is told by the error: `newuidmap`,
//! `newgidmap` and a range of subordinate ids.

mod confined;
mod mapping;
mod setup;

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use thiserror::Error;

use crate::command::CommandError;

pub use confined::{Confined, Said};

/// The host name in every sandbox.
pub const HOST_NAME: &str = "localhost";

/// Why something could not run in a sandbox, or did not do what it was asked.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// An ordinary user has no subordinate ids, or too few.
    #[error(
        "{file} gives {user} no {needed} ids in a row, which a root file system needs; run as root: \
         apt-get install uidmap && usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"
    )]
    Ids {
        /// `/etc/subuid` or `/etc/subgid`.
        file: &'static str,
        /// Name or number of the user.
        user: String,
        /// How many are needed.
        needed: u32,
    },
    /// The program that maps them is missing or failed.
    #[error("cannot map subordinate ids: {0}; on Debian the package uidmap brings newuidmap")]
    Map(CommandError),
    /// The kernel refuses namespaces.
    #[error(
        "this kernel lets nobody but root make namespaces ({0}); see the sysctls \
         user.max_user_namespaces, kernel.unprivileged_userns_clone and \
         kernel.apparmor_restrict_unprivileged_userns, or run as root"
    )]
    Namespaces(io::Error),
    /// The program could not be started.
    #[error("cannot start {program} in the sandbox: {source}{}", words(.said))]
    Start {
        /// Its name.
        program: String,
        /// The system's error.
        source: io::Error,
        /// The step of the preparation that failed, if it was one.
        said: String,
    },
    /// Talking to it failed.
    #[error("{program} in the sandbox: {source}")]
    Io {
        /// Its name.
        program: String,
        /// The system's error.
        source: io::Error,
    },
    /// It ended with a status other than 0.
    #[error("{program} failed ({status}){}", words(.said))]
    Failed {
        /// Its name.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it printed.
        said: String,
    },
    /// Its time was over, and it was killed with everything it had started.
    #[error("{program} was stopped: nothing was finished for {} s{}{}", .limit.as_secs(), during(.doing), words(.said))]
    TimedOut {
        /// Its name.
        program: String,
        /// The time that was given for each piece of work.
        limit: Duration,
        /// The last piece of work it told of.
        doing: String,
        /// The end of what it printed.
        said: String,
    },
}

fn words(said: &str) -> String {
    match said.trim() {
        "" => String::new(),
        text => format!("; its last words:\n{text}"),
    }
}

fn during(doing: &str) -> String {
    if doing.is_empty() { String::new() } else { format!(" ({doing})") }
}

/// A program in namespaces of its own.
#[derive(Debug)]
pub struct Entered {
    /// Its process.
    pub child: Child,
    /// Whether its ids are its own. If not, as where root builds and the kernel makes no user namespaces, it is root
    /// of this machine, and only capabilities that [`Confined`] takes away tell its programs from that.
    pub own_ids: bool,
}

/// Starts `program` with `args` as root of new namespaces; it gets pipes as standard input and output,
/// standard error stays ours. It is killed when the thread that called this ends.
///
/// Inside, ids 0 to 65535 exist. Id 0 is who calls this, so that what it leaves belongs to the caller.
pub fn enter<S: AsRef<OsStr>>(program: &Path, args: &[S]) -> Result<Entered, SandboxError> {
    let root = rustix::process::geteuid().is_root();
    // What is missing is known before anything starts.
    let mapping = mapping::Mapping::find()?;
    let failed = |source| SandboxError::Start {
        program: program.display().to_string(),
        source,
        said: String::new(),
    };
    let (mut hear_pid, say_pid) = io::pipe().map_err(failed)?;
    let (hear_go, mut say_go) = io::pipe().map_err(failed)?;
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
    let enter = move || setup::enter(root, say_pid.as_raw_fd(), hear_go.as_raw_fd());
    // SAFETY: `setup::enter` makes system calls only: it does not allocate and takes no lock.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(enter);
    }
    // The child waits for its ids before it becomes `program`, and `spawn` waits for that.
    let mapper = thread::spawn(move || -> Result<bool, SandboxError> {
        let mut told = [0; 5];
        if hear_pid.read_exact(&mut told).is_err() {
            // It did not come so far; `spawn` says why.
            return Ok(false);
        }
        let [user, pid @ ..] = told;
        let own_ids = user == 1;
        let result = if own_ids { mapping.apply(u32::from_ne_bytes(pid)) } else { Ok(()) };
        // If nobody reads this the child is gone, and `spawn` says why.
        let _ = say_go.write_all(&[u8::from(result.is_ok())]);
        result.map(|()| own_ids)
    });
    let child = command.spawn();
    // With it our ends of the pipes go, for which the thread may be waiting.
    drop(command);
    let mapped = mapper.join().unwrap_or(Ok(false));
    match (child, mapped) {
        (Ok(child), Ok(own_ids)) => Ok(Entered { child, own_ids }),
        (_, Err(error)) => Err(error),
        (Err(error), Ok(_)) if refused(&error) => Err(SandboxError::Namespaces(error)),
        (Err(error), Ok(_)) => Err(failed(error)),
    }
}

fn refused(error: &io::Error) -> bool {
    let codes = [libc::EPERM, libc::ENOSPC, libc::EUSERS, libc::ENOSYS, libc::EINVAL];
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}
