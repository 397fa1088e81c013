//! Programs in sandboxes, with this machine's own shell inside.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use host::sandbox::{self, Confined, Entered, Said, SandboxError};

/// A root with this machine's `/usr`, and nothing else.
fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for name in ["usr", "dev", "proc", "tmp"] {
        fs::create_dir(root.path().join(name)).unwrap();
    }
    for name in ["bin", "sbin", "lib", "lib64"] {
        symlink(format!("usr/{name}"), root.path().join(name)).unwrap();
    }
    root
}

/// Runs a script in a root (dash knows no descriptors above 9); `None` where this is not possible.
fn script(root: &Path, text: &str, limit: u64) -> Option<(Result<(), SandboxError>, Vec<Said>)> {
    run(root, text, limit, |program| program)
}

/// The same, of a program that is told more.
fn run(
    root: &Path,
    text: &str,
    limit: u64,
    more: impl FnOnce(Confined) -> Confined,
) -> Option<(Result<(), SandboxError>, Vec<Said>)> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("\n***** SKIPPED: only root can confine without a sandbox around *****\n");
        return None;
    }
    let mut heard = Vec::new();
    let program = Confined::new(root, "/usr/bin/bash")
        .args(["-c", text, "sh"])
        .env("PATH", "/usr/bin:/usr/sbin")
        .bind("/usr", "usr")
        .status_argument("");
    let result =
        more(program).run(Duration::from_millis(limit), &mut |said| heard.push(said.clone()));
    if let Err(SandboxError::Start { source, said, .. }) = &result
        && source.raw_os_error() == Some(1)
    {
        eprintln!("\n***** SKIPPED: no namespaces here: {source} {said} *****\n");
        return None;
    }
    Some((result, heard))
}

fn line(text: &str) -> Said {
    Said::Line(text.to_owned())
}

#[test]
fn a_program_of_a_new_user_namespace_is_root() {
    let text = "id -u; cat /proc/sys/kernel/hostname; grep -c : /proc/net/dev";
    let Entered { mut child, own_ids } = match sandbox::enter(Path::new("/bin/sh"), &["-c", text]) {
        Ok(entered) => entered,
        Err(error) => {
            eprintln!("\n***** SKIPPED: no sandbox here: {error} *****\n");
            return;
        }
    };
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(said, "0\nlocalhost\n1\n");
    assert!(own_ids);
}

#[test]
fn a_root_of_its_own() {
    let root = root();
    let text = "echo $$; ls /; test -w /dev/null && test -L /dev/fd && echo devices; \
                read answer || echo nobody; echo now >&512; touch /tmp/made /made; sync";
    let Some((result, heard)) = script(root.path(), text, 20_000) else { return };
    result.unwrap();
    let lines: Vec<&Said> = heard.iter().filter(|said| matches!(said, Said::Line(_))).collect();
    let wanted =
        ["2", "bin", "dev", "lib", "lib64", "proc", "sbin", "tmp", "usr", "devices", "nobody"];
    assert_eq!(lines, wanted.map(line).iter().collect::<Vec<_>>());
    assert!(heard.contains(&Said::Status("now".to_owned())));
    assert!(root.path().join("made").exists() && !Path::new("/made").exists());
    assert_eq!(fs::read_dir(root.path().join("dev")).unwrap().count(), 0, "mounts are not seen");
}

#[test]
fn failures_have_last_words() {
    let root = root();
    let Some((result, _)) = script(root.path(), "echo because; exit 3", 20_000) else { return };
    let error = result.unwrap_err().to_string();
    assert!(error.contains("exit status: 3") && error.ends_with("because"), "{error}");
}

#[test]
fn what_hangs_is_ended_with_all_its_children() {
    let root = root();
    let begin = Instant::now();
    let text = "echo work >&512; echo waiting; sleep 600 & sleep 600";
    let Some((result, _)) = script(root.path(), text, 700) else { return };
    let error = result.unwrap_err().to_string();
    assert!(error.contains("(work)") && error.ends_with("waiting"), "{error}");
    // A daemon ends with what started it.
    let (result, _) = script(root.path(), "setsid sleep 600 & exit 0", 20_000).unwrap();
    result.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(60));
}

/// Tells each file of this machine that it can open for writing, whatever it does before. Root of a user namespace has
/// the same number where root builds, and that is all that the kernel asks for in `/proc/sys`.
const REACH_OUT: &str = r#"
try() {
    for file in "$1/sys/kernel/core_pattern" "$1/sysrq-trigger" /tmp/bound; do
        ( exec 3>>"$file" ) 2>/dev/null && echo "$2: $file is open"
    done
}
try /proc "as it is"
umount -l /proc/sys /proc/sysrq-trigger /tmp/bound
try /proc "without what is mounted there"
for path in /proc /proc/sys /proc/sysrq-trigger /tmp/bound; do mount -o remount,bind,rw $path; done
try /proc "mounted anew"
mkdir -p /tmp/proc
mount -t proc proc /tmp/proc && try /tmp/proc "another one"
mknod /tmp/device b 1 0 && echo "a device"
export -f try
unshare --user --map-root-user --mount --pid --fork bash -c '
    mount -t proc proc /tmp/proc && try /tmp/proc "in namespaces"
    umount -l /proc/sys /tmp/bound; try /proc "in namespaces, without what is mounted there"'
echo tried
"#;

fn reach_out() {
    let root = root();
    // Where flags of mounts are usual, which a user namespace must keep.
    let outside = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
    fs::write(root.path().join("tmp/bound"), "").unwrap();
    fs::write(outside.path(), "pears").unwrap();
    let bind = |program: Confined| program.bind(outside.path(), "tmp/bound");
    let Some((result, heard)) = run(root.path(), REACH_OUT, 20_000, bind) else { return };
    result.unwrap();
    let open = |said: &&Said| match said {
        Said::Line(line) => line.ends_with("is open") || line == "a device",
        Said::Status(_) => false,
    };
    assert_eq!(heard.iter().filter(open).collect::<Vec<_>>(), Vec::<&Said>::new());
    assert_eq!(heard.last(), Some(&line("tried")));
    assert_eq!(fs::read(outside.path()).unwrap(), b"pears");
}

/// Which sandboxes are around the test when it starts itself again.
const AROUND: &str = "KLDLOAD_TEST_AROUND";

/// Starts the test below again in a sandbox, after these commands.
fn again(before: &str, around: &str, with_own_ids: bool) {
    let name = "nothing_of_this_machine_can_be_written_to";
    let text = format!("{before} {AROUND}={around} exec \"$0\" --exact {name} --nocapture");
    let this = std::env::current_exe().unwrap();
    let args = ["-c", &text, this.to_str().unwrap()];
    let Entered { mut child, own_ids } = match sandbox::enter(Path::new("/bin/sh"), &args) {
        Ok(entered) => entered,
        Err(error) => {
            eprintln!("\n***** SKIPPED: no sandbox here: {error} *****\n");
            return;
        }
    };
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success(), "{around}: {said}");
    assert!(said.contains("1 passed"), "{around}: {said}");
    assert_eq!(own_ids, with_own_ids, "{around}");
}

#[test]
fn nothing_of_this_machine_can_be_written_to() {
    let around = std::env::var(AROUND).unwrap_or_default();
    match around.as_str() {
        "" => {
            again("", "one", true);
            // A sandbox in which root cannot make another one with ids of its own.
            again("echo 0 >/proc/sys/user/max_user_namespaces;", "none-allowed", true);
        }
        "none-allowed" => again("", "one", false),
        _ => {}
    }
    reach_out();
}
