//! Programs in sandboxes, with this machine's own shell inside.
#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use host::sandbox::{self, Confined, Said, SandboxError};

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
    let result = program.run(Duration::from_millis(limit), &mut |said| heard.push(said.clone()));
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
    let mut child = match sandbox::enter(Path::new("/bin/sh"), &["-c", text]) {
        Ok(child) => child,
        Err(error) => {
            eprintln!("\n***** SKIPPED: no sandbox here: {error} *****\n");
            return;
        }
    };
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(said, "0\nlocalhost\n1\n");
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
