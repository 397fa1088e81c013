//! Another program, run to its end: input, time limit, and its own last words when it fails.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

/// How much of a program's standard error is kept for the error message, in bytes.
const LAST_WORDS: usize = 4096;

/// Why a program did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The program is not on this machine.
    #[error("{program} is not installed (not found in PATH)")]
    NotFound {
        /// The program's name as it was asked for.
        program: String,
    },
    /// It could not be started, or talking to it failed.
    #[error("cannot run {program}: {source}")]
    Io {
        /// The program's name.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// It ended with a status other than 0.
    #[error("{program} failed ({status}){}", said(.stderr))]
    Failed {
        /// The program's name.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it wrote to standard error.
        stderr: String,
    },
    /// It was still running when its time was over, and was killed with all its children.
    #[error("{program} was stopped after {} s{}", .limit.as_secs(), said(.stderr))]
    TimedOut {
        /// The program's name.
        program: String,
        /// The time it was given.
        limit: Duration,
        /// The end of what it wrote to standard error.
        stderr: String,
    },
}

fn said(stderr: &str) -> String {
    match stderr.trim() {
        "" => String::new(),
        text => format!(": {text}"),
    }
}

/// A program to run, with its arguments; nothing passes through a shell.
#[derive(Debug, Clone)]
pub struct Program {
    name: OsString,
    args: Vec<OsString>,
    input: Vec<u8>,
    limit: Option<Duration>,
}

impl Program {
    /// The program called `name`: a path, or a name that is looked up in `PATH`.
    pub fn new(name: impl AsRef<OsStr>) -> Program {
        Program { name: name.as_ref().to_owned(), args: Vec::new(), input: Vec::new(), limit: None }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Program {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Program {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Gives the program `input` to read; without this it reads nothing.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Program {
        self.input = input.into();
        self
    }

    /// Kills the program and everything it started when it runs longer than `limit`.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Program {
        self.limit = Some(limit);
        self
    }

    /// Runs to the end and returns what the program wrote to standard output.
    ///
    /// The program gets a process group of its own; whatever is left of the group when the program
    /// ends is killed, so nothing it started stays behind.
    pub fn run(self) -> Result<Vec<u8>, CommandError> {
        let mut command = Command::new(&self.name);
        command
            .args(&self.args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn().map_err(|source| self.not_started(source))?;
        let feeder = child.stdin.take().map(|mut pipe| {
            let input = self.input.clone();
            // A program may end without reading its input; that it did is for its status to say.
            thread::spawn(move || pipe.write_all(&input).is_ok())
        });
        let stdout = child.stdout.take().map(|pipe| thread::spawn(|| read_all(pipe)));
        let stderr = child.stderr.take().map(|pipe| thread::spawn(|| last_words(pipe)));

        let ended = wait(&mut child, self.limit).map_err(|source| self.io(source))?;
        let stdout = join(stdout).map_err(|source| self.io(source))?;
        let stderr = String::from_utf8_lossy(&join(stderr).map_err(|source| self.io(source))?)
            .trim()
            .to_owned();
        if let Some(feeder) = feeder {
            let _ = feeder.join();
        }
        match (ended, self.limit) {
            (Some(status), _) if status.success() => Ok(stdout),
            (Some(status), _) => {
                Err(CommandError::Failed { program: self.display(), status, stderr })
            }
            (None, limit) => Err(CommandError::TimedOut {
                program: self.display(),
                limit: limit.unwrap_or_default(),
                stderr,
            }),
        }
    }

    /// Runs on our own terminal, in our own process group, and returns how the program ended.
    pub fn run_on_terminal(self) -> Result<ExitStatus, CommandError> {
        let mut command = Command::new(&self.name);
        command.args(&self.args);
        die_with_parent(&mut command);
        command.status().map_err(|source| self.not_started(source))
    }

    fn display(&self) -> String {
        self.name.to_string_lossy().into_owned()
    }

    fn not_started(&self, source: io::Error) -> CommandError {
        if source.kind() == io::ErrorKind::NotFound {
            CommandError::NotFound { program: self.display() }
        } else {
            self.io(source)
        }
    }

    fn io(&self, source: io::Error) -> CommandError {
        CommandError::Io { program: self.display(), source }
    }
}

/// Makes the kernel kill the command when the thread that starts it is gone, however that happens.
pub(crate) fn die_with_parent(command: &mut Command) {
    let arm =
        || rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(Into::into);
    // SAFETY: the closure makes one prctl(2) call and neither allocates nor takes a lock.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(arm);
    }
}

/// Waits for `child`, at most `limit`; `None` means that its time was over. Its group is gone after.
pub(crate) fn wait(child: &mut Child, limit: Option<Duration>) -> io::Result<Option<ExitStatus>> {
    let ended = exited_within(child, limit);
    // Before the child is reaped its number cannot belong to anybody else.
    kill_group(child);
    let status = child.wait()?;
    Ok(ended?.then_some(status))
}

/// Whether `child` has ended, waiting at most `limit` for it; it is not reaped by this.
pub(crate) fn exited_within(child: &Child, limit: Option<Duration>) -> io::Result<bool> {
    let handle: OwnedFd = pidfd_open(pid(child), PidfdFlags::empty())?;
    let deadline = limit.map(|limit| Instant::now() + limit);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        match poll(&mut [PollFd::new(&handle, PollFlags::IN)], timeout.as_ref()) {
            Ok(count) => return Ok(count > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Kills the process group that `child` leads.
pub(crate) fn kill_group(child: &Child) {
    // The only possible failure is that nobody is left.
    let _ = kill_process_group(pid(child), Signal::KILL);
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

type Reader = thread::JoinHandle<io::Result<Vec<u8>>>;

fn join(reader: Option<Reader>) -> io::Result<Vec<u8>> {
    match reader.map(thread::JoinHandle::join) {
        None => Ok(Vec::new()),
        Some(Ok(result)) => result,
        Some(Err(_)) => Err(io::Error::other("the thread that read its output failed")),
    }
}

fn read_all(mut pipe: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    pipe.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads to the end and keeps only the last [`LAST_WORDS`] bytes.
pub(crate) fn last_words(mut pipe: impl Read) -> io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let count = match pipe.read(&mut chunk) {
            Ok(0) => return Ok(kept),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        kept.extend_from_slice(&chunk[..count]);
        if kept.len() > LAST_WORDS {
            kept.drain(..kept.len() - LAST_WORDS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Program {
        Program::new("/bin/sh").args(["-c", script])
    }

    #[test]
    fn output_and_input_pass_through() {
        let input = vec![b'x'; 300_000];
        assert_eq!(Program::new("cat").input(input.clone()).run().unwrap(), input);
    }

    #[test]
    fn a_failure_carries_the_last_words() {
        let error = shell("echo first >&2; echo last >&2; exit 3").run().unwrap_err();
        assert_eq!(error.to_string(), "/bin/sh failed (exit status: 3): first\nlast");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Program::new("no-such-program-at-all").run().unwrap_err();
        assert!(matches!(error, CommandError::NotFound { .. }), "{error}");
        assert!(error.to_string().contains("no-such-program-at-all"));
    }

    #[test]
    fn the_time_limit_ends_the_whole_group() {
        let before = Instant::now();
        let error = shell("echo working >&2; sleep 60 & sleep 60")
            .time_limit(Duration::from_millis(300))
            .run()
            .unwrap_err();
        assert!(matches!(error, CommandError::TimedOut { .. }), "{error}");
        assert!(error.to_string().ends_with(": working"), "{error}");
        assert!(before.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn children_left_behind_are_ended_too() {
        let before = Instant::now();
        let output = shell("sleep 60 & echo done").run().unwrap();
        assert_eq!(output, b"done\n");
        assert!(before.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_program_that_ignores_its_input_is_no_failure() {
        shell("exit 0").input(vec![0; 1_000_000]).run().unwrap();
    }
}
