//! A program with a directory as its root, and nothing else of this machine.

use std::ffi::{CString, OsStr, OsString, c_ulong};
use std::io::{self, BufRead, BufReader, PipeReader, Read};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::SandboxError;
use super::setup::{self, Need, Plan, STATUS_FD, Step, What};

/// Longest line that is passed on in one piece, in bytes.
const LINE: u64 = 1 << 14;
/// How many lines an error tells.
const LAST_LINES: usize = 30;

/// Devices a program may use; the machine's own are bound to files.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
];

/// Where the kernel takes orders that hold for all of this machine. They belong to root, and it does not ask which
/// capabilities root has, in which namespace: systemd.exec(5), `ProtectKernelTunables=`.
const KERNEL: [&str; 11] = [
    "acpi",
    "asound",
    "bus",
    "driver",
    "fs",
    "irq",
    "latency_stats",
    "mtrr",
    "scsi",
    "sys",
    "sysrq-trigger",
];

/// What a confined program lets one hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// A line of its output or errors.
    Line(String),
    /// A line about what it is doing; see [`Confined::status_argument`].
    Status(String),
}

/// A program to run inside `root`, from a process that [`enter`](super::enter) started.
///
/// It sees processes of its own only, a `/dev` with what programs expect, `/proc`, and what is bound; it can
/// write to nothing of these that is not its own, and mount nothing. It reads nothing, and has no terminal and no
/// environment but what it is given.
#[derive(Debug, Clone)]
pub struct Confined {
    root: PathBuf,
    program: OsString,
    args: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    binds: Vec<(PathBuf, PathBuf)>,
    status: bool,
}

impl Confined {
    /// `program`, an absolute path inside `root`.
    pub fn new(root: &Path, program: impl AsRef<OsStr>) -> Self {
        Self {
            root: root.to_owned(),
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            environment: Vec::new(),
            binds: Vec::new(),
            status: false,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Lets the program see the file or directory `outside` at `inside`, a path relative to the root at
    /// which there is a file or directory. It cannot write there.
    #[must_use]
    pub fn bind(mut self, outside: impl Into<PathBuf>, inside: impl Into<PathBuf>) -> Self {
        self.binds.push((outside.into(), inside.into()));
        self
    }

    /// Gives the program one more descriptor, on which it tells what it does, a line for each piece of
    /// work; adds the argument that has its number behind `option`, as `--status-fd=`.
    #[must_use]
    pub fn status_argument(mut self, option: &str) -> Self {
        self.status = true;
        self.args.push(format!("{option}{STATUS_FD}").into());
        self
    }

    fn name(&self) -> String {
        let mut name = self.program.to_string_lossy().into_owned();
        for arg in self.args.iter().take(4) {
            name.push(' ');
            name.push_str(&arg.to_string_lossy());
        }
        if self.args.len() > 4 {
            name.push_str(" …");
        }
        name
    }

    /// Runs the program to its end; whatever it started is ended then as well. `limit` is for the time
    /// between two lines of its status, or for the whole of it if it does not tell any.
    pub fn run(self, limit: Duration, hear: &mut dyn FnMut(&Said)) -> Result<(), SandboxError> {
        let program = self.name();
        let failed = |source| SandboxError::Io { program: program.clone(), source };
        let (output, output_end) = io::pipe().map_err(failed)?;
        let (status, status_end) = io::pipe().map_err(failed)?;
        let plan = Plan {
            root: c_path(&self.root).map_err(failed)?,
            steps: self.steps().map_err(failed)?,
            status: self.status.then(|| status_end.as_raw_fd()),
            filter: filter(),
        };
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output_end.try_clone().map_err(failed)?)
            .stderr(output_end)
            .process_group(0);
        let confine = move || setup::confine(&plan);
        // SAFETY: `setup::confine` makes system calls only: it does not allocate and takes no lock.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(confine);
        }
        let child = command.spawn();
        // Only the program may hold the writing ends from now on.
        drop((command, status_end));
        let mut child = match child {
            Ok(child) => child,
            Err(source) => {
                let mut said = String::new();
                // What was said explains the error; where it cannot be read, the error stands alone.
                let _ = output.take(LINE).read_to_string(&mut said);
                return Err(SandboxError::Start { program, source, said });
            }
        };
        let mut heard = Heard { last: Vec::new(), doing: String::new(), hear };
        let in_time = listen(output, status, limit, &mut heard);
        if !in_time {
            end(&mut child);
        }
        let ended = child.wait().map_err(failed)?;
        let Heard { last, doing, .. } = heard;
        let said = last.join("\n");
        match (in_time, ended.success()) {
            (true, true) => Ok(()),
            (true, false) => Err(SandboxError::Failed { program, status: ended, said }),
            (false, _) => Err(SandboxError::TimedOut { program, limit, doing, said }),
        }
    }

    fn steps(&self) -> io::Result<Vec<Step>> {
        let mut steps = Vec::new();
        let at = |path: &str| c_path(&self.root.join(path));
        let must = |what| Step { what, need: Need::Must };
        let may = |what| Step { what, need: Need::May };
        let fresh = |kind: &str, target: CString, flags: c_ulong, data: &str| {
            Ok::<_, io::Error>(What::Mount {
                source: Some(CString::new(kind)?),
                target,
                kind: Some(CString::new(kind)?),
                flags,
                data: Some(CString::new(data)?),
            })
        };
        let quiet = libc::MS_NOSUID | libc::MS_NOEXEC;
        steps.push(must(What::Bind(c_path(&self.root)?, c_path(&self.root)?)));
        steps.push(must(fresh("tmpfs", at("dev")?, quiet, "mode=755,size=16m")?));
        for device in DEVICES {
            let inside = at(&format!("dev/{device}"))?;
            let outside = CString::new(format!("/dev/{device}"))?;
            steps.push(must(What::File(inside.clone())));
            steps.push(may(What::Bind(outside, inside)));
        }
        for (target, name) in LINKS {
            steps.push(must(What::Link(CString::new(target)?, at(&format!("dev/{name}"))?)));
        }
        steps.push(must(What::Directory(at("dev/pts")?)));
        let terminals = "newinstance,ptmxmode=0666,mode=620,gid=5";
        steps.push(may(fresh("devpts", at("dev/pts")?, quiet, terminals)?));
        steps.push(must(What::Directory(at("dev/shm")?)));
        steps.push(must(fresh("tmpfs", at("dev/shm")?, quiet | libc::MS_NODEV, "mode=1777")?));
        // In a container that hides parts of /proc a new one cannot be mounted.
        let processes = fresh("proc", at("proc")?, quiet | libc::MS_NODEV, "")?;
        let same = What::Bind(CString::new("/proc")?, at("proc")?);
        steps.push(must(What::Either(Box::new(processes), Box::new(same))));
        for name in KERNEL {
            let path = at(&format!("proc/{name}"))?;
            let what = What::BindReadOnly(path.clone(), path);
            steps.push(Step { what, need: Need::IfThere });
        }
        for (outside, inside) in &self.binds {
            let inside = c_path(&self.root.join(inside.strip_prefix("/").unwrap_or(inside)))?;
            steps.push(must(What::BindReadOnly(c_path(outside)?, inside)));
        }
        Ok(steps)
    }
}

fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

struct Heard<'a> {
    last: Vec<String>,
    doing: String,
    hear: &'a mut dyn FnMut(&Said),
}

/// Listens until both pipes are closed; `false` when nothing was finished within `limit`.
fn listen(output: PipeReader, status: PipeReader, limit: Duration, heard: &mut Heard<'_>) -> bool {
    let (say, said) = sync_channel(256);
    let also = say.clone();
    thread::spawn(move || lines(output, Said::Line, &say));
    thread::spawn(move || lines(status, Said::Status, &also));
    let mut deadline = Instant::now() + limit;
    loop {
        match said.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(message) => {
                match &message {
                    Said::Line(line) => {
                        heard.last.push(line.clone());
                        if heard.last.len() > LAST_LINES {
                            heard.last.remove(0);
                        }
                        // Who talks without end must not escape the limit.
                        if Instant::now() > deadline {
                            return false;
                        }
                    }
                    Said::Status(line) => {
                        heard.doing.clone_from(line);
                        deadline = Instant::now() + limit;
                    }
                }
                (heard.hear)(&message);
            }
            Err(RecvTimeoutError::Timeout) => return false,
            Err(RecvTimeoutError::Disconnected) => return true,
        }
    }
}

fn lines(pipe: PipeReader, kind: fn(String) -> Said, say: &SyncSender<Said>) {
    let mut pipe = BufReader::new(pipe);
    loop {
        let mut line = Vec::new();
        match (&mut pipe).take(LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if say.send(kind(line)).is_err() {
            return;
        }
    }
}

/// Ends the program: with the process that waits for it, the first process of its numbers is killed by
/// the kernel, and with that everything else.
fn end(child: &mut Child) {
    // The only possible failure is that it has ended by itself.
    let _ = child.kill();
}

/// The start of a system call's description that a filter sees.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

#[cfg(target_arch = "x86_64")]
const OURS: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const OURS: u32 = 0xc000_00b7;

/// A filter that lets everything pass, but turns calls that wait for the disk into nothing: if the machine
/// stops, the root is made anew anyway.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn filter() -> Vec<libc::sock_filter> {
    const WAITING: [libc::c_long; 6] = [
        libc::SYS_fsync,
        libc::SYS_fdatasync,
        libc::SYS_sync,
        libc::SYS_syncfs,
        libc::SYS_sync_file_range,
        libc::SYS_msync,
    ];
    let load = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    let compare = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    let end = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let count = WAITING.len() as u8;
    let mut filter = vec![
        step(load, 0, 0, ARCHITECTURE),
        step(compare, 0, count + 1, OURS),
        step(load, 0, 0, NUMBER),
    ];
    for (at, call) in WAITING.iter().enumerate() {
        // From here to the last instruction: the calls after this one, then the one that lets pass.
        filter.push(step(compare, count - at as u8, 0, *call as u32));
    }
    filter.push(step(end, 0, 0, libc::SECCOMP_RET_ALLOW));
    filter.push(step(end, 0, 0, libc::SECCOMP_RET_ERRNO));
    filter
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn filter() -> Vec<libc::sock_filter> {
    Vec::new()
}
