//! What happens between fork and exec. Only system calls are made here: nothing may allocate, take a
//! lock or panic, as another thread may have held a lock when the process was copied.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_ulong};
use std::io;
use std::os::fd::RawFd;
use std::ptr;

const NAMESPACES: c_int =
    libc::CLONE_NEWNS | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC | libc::CLONE_NEWNET;

fn check(result: c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn failed(code: c_int) -> io::Error {
    io::Error::from_raw_os_error(code)
}

/// Moves the process to new namespaces, tells its number through `say_pid`, waits for its ids at
/// `hear_go`, and becomes root there.
pub(super) fn enter(root: bool, say_pid: RawFd, hear_go: RawFd) -> io::Result<()> {
    // SAFETY: system calls whose pointers are to locals that outlive them.
    unsafe {
        let mut message = [0_u8; 5];
        if libc::unshare(NAMESPACES | libc::CLONE_NEWUSER) == 0 {
            message[0] = 1;
        } else {
            let error = io::Error::last_os_error();
            // Root can do without, where user namespaces are turned off.
            if !root || libc::unshare(NAMESPACES) != 0 {
                return Err(error);
            }
        }
        message[1..].copy_from_slice(&libc::getpid().to_ne_bytes());
        if libc::write(say_pid, message.as_ptr().cast(), message.len()) != message.len() as isize {
            return Err(io::Error::last_os_error());
        }
        let mut go = 0_u8;
        if libc::read(hear_go, ptr::from_mut(&mut go).cast(), 1) != 1 || go != 1 {
            return Err(failed(libc::ECANCELED));
        }
        check(libc::setgroups(0, ptr::null()))?;
        check(libc::setresgid(0, 0, 0))?;
        check(libc::setresuid(0, 0, 0))?;
        check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
        let name = super::HOST_NAME;
        check(libc::sethostname(name.as_ptr().cast(), name.len()))?;
        mount(None, c"/", None, libc::MS_REC | libc::MS_PRIVATE, None)
    }
}

/// One step on the way to a root of its own.
#[derive(Debug)]
pub(super) struct Step {
    pub what: What,
    pub need: Need,
}

/// What follows when a step fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing is run.
    Must,
    /// The same, unless what is asked for does not exist on this machine.
    IfThere,
    /// Nothing.
    May,
}

impl Need {
    fn forgives(self, error: &io::Error) -> bool {
        match self {
            Self::Must => false,
            Self::IfThere => error.raw_os_error() == Some(libc::ENOENT),
            Self::May => true,
        }
    }
}

#[derive(Debug)]
pub(super) enum What {
    /// mount(2).
    Mount {
        source: Option<CString>,
        target: CString,
        kind: Option<CString>,
        flags: c_ulong,
        data: Option<CString>,
    },
    /// A file or directory, with what is mounted below it, at another place too.
    Bind(CString, CString),
    /// The same, where nobody can write to it.
    BindReadOnly(CString, CString),
    /// The first of the two that can be done.
    Either(Box<What>, Box<What>),
    /// An empty file, unless there is something.
    File(CString),
    /// A directory, unless there is something.
    Directory(CString),
    /// A symbolic link: its target, its name.
    Link(CString, CString),
}

fn mount(
    source: Option<&CStr>,
    target: &CStr,
    kind: Option<&CStr>,
    flags: c_ulong,
    data: Option<&CStr>,
) -> io::Result<()> {
    let pointer = |text: Option<&CStr>| text.map_or(ptr::null::<c_char>(), CStr::as_ptr);
    // SAFETY: all pointers are to strings that outlive the call, or null where that is allowed.
    unsafe {
        check(libc::mount(
            pointer(source),
            target.as_ptr(),
            pointer(kind),
            flags,
            pointer(data).cast(),
        ))
    }
}

fn bind(source: &CStr, target: &CStr) -> io::Result<()> {
    mount(Some(source), target, None, libc::MS_BIND | libc::MS_REC, None)
}

/// Makes what is mounted at `target` read-only.
fn read_only(target: &CStr) -> io::Result<()> {
    // SAFETY: the pointers are to the path and to locals, which outlive the calls; zeros are a valid value of
    // either structure.
    unsafe {
        let mut change: libc::mount_attr = std::mem::zeroed();
        change.attr_set = libc::MOUNT_ATTR_RDONLY;
        let (below, size) = (libc::AT_RECURSIVE, size_of::<libc::mount_attr>());
        let (call, path) = (libc::SYS_mount_setattr, target.as_ptr());
        if libc::syscall(call, libc::AT_FDCWD, path, below, &raw mut change, size) == 0 {
            return Ok(());
        }
        // Linux before 5.12. This way says all flags anew, and may take none of those away that a user namespace
        // found there.
        let mut now: libc::statvfs = std::mem::zeroed();
        check(libc::statvfs(target.as_ptr(), &raw mut now))?;
        let mut flags = libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY;
        for (is, flag) in [
            (libc::ST_NOSUID, libc::MS_NOSUID),
            (libc::ST_NODEV, libc::MS_NODEV),
            (libc::ST_NOEXEC, libc::MS_NOEXEC),
            (libc::ST_NOATIME, libc::MS_NOATIME),
            (libc::ST_NODIRATIME, libc::MS_NODIRATIME),
            (libc::ST_RELATIME, libc::MS_RELATIME),
        ] {
            if now.f_flag & is != 0 {
                flags |= flag;
            }
        }
        mount(None, target, None, flags, None)
    }
}

/// What a program may do as root, of the kinds in capabilities(7): what it needs for files, users, processes and the
/// network of its own. Not among them is to mount, which would undo what is mounted to confine it, or anything
/// that reaches what has no namespaces, where there is no user namespace around.
const CAPABILITIES: [u32; 14] = [
    0,  // CAP_CHOWN
    1,  // CAP_DAC_OVERRIDE
    3,  // CAP_FOWNER
    4,  // CAP_FSETID
    5,  // CAP_KILL
    6,  // CAP_SETGID
    7,  // CAP_SETUID
    8,  // CAP_SETPCAP
    10, // CAP_NET_BIND_SERVICE
    12, // CAP_NET_ADMIN
    13, // CAP_NET_RAW
    18, // CAP_SYS_CHROOT
    29, // CAP_AUDIT_WRITE
    31, // CAP_SETFCAP
];

/// Gives all other capabilities up, for this process and whatever it becomes.
fn give_up() -> io::Result<()> {
    /// `_LINUX_CAPABILITY_VERSION_3`: 64 bits in two pieces.
    const VERSION: u32 = 0x2008_0522;
    let kept = |capability: u32| CAPABILITIES.contains(&capability);
    let header = [VERSION, 0];
    // Effective, permitted, inheritable; twice.
    let mut sets = [0_u32; 6];
    // SAFETY: system calls whose pointers are to locals that outlive them, of the sizes that this version has.
    unsafe {
        for capability in (0..64).filter(|&capability| !kept(capability)) {
            // Later ones than this kernel knows are invalid.
            if libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability)) != 0
                && io::Error::last_os_error().raw_os_error() != Some(libc::EINVAL)
            {
                return Err(io::Error::last_os_error());
            }
        }
        check(libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()) as c_int)?;
        let mask = CAPABILITIES.iter().fold(0, |mask, capability| mask | (1 << capability));
        for (at, set) in sets.iter_mut().enumerate() {
            *set &= if at < 3 { mask } else { 0 };
        }
        check(libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) as c_int)
    }
}

fn exists(result: c_int) -> io::Result<()> {
    match check(result) {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        result => result,
    }
}

fn take(what: &What) -> io::Result<()> {
    // SAFETY: all pointers are to strings that outlive the calls.
    unsafe {
        match what {
            What::Mount { source, target, kind, flags, data } => {
                mount(source.as_deref(), target, kind.as_deref(), *flags, data.as_deref())
            }
            What::Bind(source, target) => bind(source, target),
            What::BindReadOnly(source, target) => {
                bind(source, target).and_then(|()| read_only(target))
            }
            What::Either(first, second) => take(first).or_else(|_| take(second)),
            What::File(path) => {
                let flags = libc::O_CREAT | libc::O_CLOEXEC | libc::O_WRONLY | libc::O_NOFOLLOW;
                let file = libc::open(path.as_ptr(), flags, 0o600);
                if file < 0 {
                    return Err(io::Error::last_os_error());
                }
                libc::close(file);
                Ok(())
            }
            What::Directory(path) => exists(libc::mkdir(path.as_ptr(), 0o755)),
            What::Link(target, path) => exists(libc::symlink(target.as_ptr(), path.as_ptr())),
        }
    }
}

/// Writes to standard error which step failed.
fn say(step: &Step) {
    let mut what = &step.what;
    while let What::Either(first, _) = what {
        what = first;
    }
    let (word, path) = match what {
        What::Mount { target, .. } | What::Bind(_, target) => (c"cannot mount ", target),
        What::BindReadOnly(_, target) => (c"cannot mount read-only ", target),
        What::File(path) | What::Directory(path) | What::Link(_, path) => (c"cannot make ", path),
        What::Either(..) => return,
    };
    for text in [word, path, c"\n"] {
        // SAFETY: the bytes of the string. There is nowhere to tell that this failed.
        unsafe {
            libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.count_bytes());
        }
    }
}

/// Where a confined program tells what it is doing.
pub(super) const STATUS_FD: RawFd = 512;

/// Everything for [`confine`], made before the process is copied.
#[derive(Debug)]
pub(super) struct Plan {
    pub root: CString,
    pub steps: Vec<Step>,
    /// Becomes [`STATUS_FD`].
    pub status: Option<RawFd>,
    /// A program for the kernel's system call filter; empty: none.
    pub filter: Vec<libc::sock_filter>,
}

/// Splits the process in three: one that waits for the others, a first process of new process numbers
/// that waits for orphans, and one that returns from here, inside its root.
pub(super) fn confine(plan: &Plan) -> io::Result<()> {
    // SAFETY: system calls; processes that must not go on leave with `_exit`.
    unsafe {
        check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
        check(libc::unshare(libc::CLONE_NEWPID | libc::CLONE_NEWNS))?;
        match libc::fork() {
            -1 => return Err(io::Error::last_os_error()),
            0 => {}
            first => wait_for(first),
        }
        check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
        // Nothing that is mounted from here on may be seen elsewhere.
        mount(None, c"/", None, libc::MS_REC | libc::MS_PRIVATE, None)?;
        for step in &plan.steps {
            if let Err(error) = take(&step.what)
                && !step.need.forgives(&error)
            {
                say(step);
                return Err(error);
            }
        }
        check(libc::chdir(plan.root.as_ptr()))?;
        let here = c".".as_ptr();
        if libc::syscall(libc::SYS_pivot_root, here, here) != 0 {
            return Err(io::Error::last_os_error());
        }
        check(libc::umount2(here, libc::MNT_DETACH))?;
        check(libc::chdir(c"/".as_ptr()))?;
        if !plan.filter.is_empty() {
            let program = libc::sock_fprog {
                len: plan.filter.len() as u16,
                filter: plan.filter.as_ptr().cast_mut(),
            };
            let mode = libc::SECCOMP_MODE_FILTER as c_ulong;
            // Without it everything works, only slower.
            let _ = libc::prctl(libc::PR_SET_SECCOMP, mode, ptr::from_ref(&program));
        }
        // After all that needs them. The first process can do no more than the program, which may look at it then.
        give_up()?;
        match libc::fork() {
            -1 => return Err(io::Error::last_os_error()),
            0 => {}
            main => wait_for(main),
        }
        libc::setsid();
        libc::umask(0o022);
        if let Some(status) = plan.status
            && libc::dup2(status, STATUS_FD) < 0
        {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

/// Waits until `child` has ended, collects orphans meanwhile, and ends as it did.
///
/// # Safety
///
/// Only for a copied process that has nothing else to do.
unsafe fn wait_for(child: libc::pid_t) -> ! {
    // SAFETY: system calls only; the pointer is to a local.
    unsafe {
        // The pipe on which our own `spawn` waits for the exec must not stay open here.
        libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32);
        loop {
            let mut status = 0;
            let ended = libc::waitpid(-1, &raw mut status, 0);
            if ended == child {
                if libc::WIFEXITED(status) {
                    libc::_exit(libc::WEXITSTATUS(status));
                }
                libc::_exit(128 + libc::WTERMSIG(status));
            }
            if ended < 0 && io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
                libc::_exit(125);
            }
        }
    }
}
