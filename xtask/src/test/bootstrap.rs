//! The bootstrap, judged by mmdebstrap on the same packages, by dpkg and apt in the root that came out, and
//! by small packages whose scripts do what they should not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tree::{Kind, Metadata, Tree};

use super::inputs::Inputs;
use crate::apt::{self, PrivateApt};
use crate::run::Run;
use crate::steps::Verdict;
use crate::{checkout, debian};

/// Where the two trees may differ, and why.
#[rustfmt::skip]
const DIFFERENT: &[(&str, &str)] = &[
    ("dev",                                   "mmdebstrap leaves the directory out when asked to leave out devices"),
    ("etc/.pwd.lock",                         "left over from the build"),
    ("etc/apt/apt.conf.d/99mmdebstrap",       "mmdebstrap's own"),
    ("etc/apt/sources.list.d/0000sources.list", "the recipe writes its sources"),
    ("etc/fstab",                             "mmdebstrap's own"),
    ("etc/group-",                            "left over from the build"),
    ("etc/hostname",                          "mmdebstrap copies the build host's"),
    ("etc/machine-id",                        "empty, so that systemd starts as configured"),
    ("etc/passwd-",                           "left over from the build"),
    ("etc/resolv.conf",                       "mmdebstrap copies the build host's"),
    ("etc/shadow",                            "the day of the build, which SOURCE_DATE_EPOCH sets, is another"),
    ("var/cache/apt/archives/lock",           "apt ran outside"),
    ("var/cache/apt/archives/partial",        "apt gives it to _apt when it runs"),
    ("var/cache/debconf/config.dat-old",      "left over from the build"),
    ("var/cache/debconf/templates.dat-old",   "left over from the build"),
    ("var/lib/apt/extended_states",           "nothing is marked here, and apt marks what it was not told"),
    ("var/lib/apt/lists/lock",                "apt ran outside"),
    ("var/lib/apt/lists/partial",             "apt gives it to _apt when it runs"),
    ("var/lib/dpkg/diversions-old",           "left over from the build"),
    ("var/lib/dpkg/lock",                     "left over from the build"),
    ("var/lib/dpkg/lock-frontend",            "left over from the build"),
    ("var/lib/dpkg/status-old",               "left over from the build"),
    ("var/lib/dpkg/triggers/File",            "the order in which packages were unpacked"),
    ("var/lib/dpkg/triggers/Lock",            "left over from the build"),
];

/// Runs the judges.
pub fn bootstrap(inputs: &Inputs) -> Result<Verdict> {
    if !apt::is_root() {
        println!("    only root can look into the root with dpkg");
        return Ok(Verdict::Skipped);
    }
    let scratch = tempfile::tempdir_in(inputs.scratch())?;
    let debs = packages(scratch.path())?;
    Run::new(checkout::cargo())
        .args([
            "build",
            "--quiet",
            "--locked",
            "--release",
            "-p",
            "rootfs",
            "--example",
            "bootstrap",
        ])
        .directory(&checkout::root())
        .limit(Duration::from_secs(1800))
        .text()?;
    let ours = Bootstrap { program: checkout::target().join("release/examples/bootstrap") };

    let output = scratch.path().join("ours");
    ours.run(&debs, &output).text()?;
    let again = scratch.path().join("again");
    ours.run(&debs, &again).env("BOOTSTRAP_JOBS", "1").text()?;
    let manifest = |directory: &Path| fs::read(directory.join("manifest"));
    ensure!(manifest(&output)? == manifest(&again)?, "two runs made two trees");
    println!("    two runs made the same tree");
    compare(&output, &mmdebstrap(scratch.path(), &debs)?)?;
    judge(scratch.path(), &output)?;
    scripts(scratch.path(), &debs, &ours)?;
    modules(scratch.path(), &debs, &ours)?;
    Ok(Verdict::Passed)
}

struct Bootstrap {
    program: PathBuf,
}

impl Bootstrap {
    fn run(&self, debs: &Path, output: &Path) -> Run {
        Run::new(&self.program).arg(debs).arg(output).limit(Duration::from_secs(900))
    }
}

/// The essential packages and apt, in a directory.
fn packages(scratch: &Path) -> Result<PathBuf> {
    let root = scratch.join("apt");
    let apt = PrivateApt::with_sources(&root, &debian::sources()?)?;
    let only = ["install", "--download-only", "--no-install-recommends", "-y", "-q"];
    apt.get(only).args(["?essential", "apt"]).limit(Duration::from_secs(900)).text()?;
    Ok(root.join("cache/archives"))
}

/// Names of the files of packages in `directory`.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "deb") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// mmdebstrap's tree of the same packages.
fn mmdebstrap(scratch: &Path, debs: &Path) -> Result<PathBuf> {
    let names: Vec<String> = files(debs)?
        .iter()
        .filter_map(|path| path.file_name()?.to_str()?.split('_').next().map(str::to_owned))
        .collect();
    let list = scratch.join("sources.list");
    fs::write(&list, debian::sources()?)?;
    let tree = scratch.join("theirs.tar");
    Run::new("mmdebstrap")
        .args(["--mode=root", "--variant=custom", "--architectures=amd64", "--skip=output/dev"])
        .args(["--aptopt=APT::Install-Recommends \"false\"", "--aptopt=Acquire::Retries \"3\""])
        .args(debian::proxy()?.map(|proxy| format!("--aptopt=Acquire::http::Proxy \"{proxy}\"")))
        .arg(format!("--include={}", names.join(",")))
        .arg("trixie")
        .arg(&tree)
        .arg(&list)
        .env("LC_ALL", "C.UTF-8")
        .limit(Duration::from_secs(1200))
        .text()?;
    Ok(tree)
}

/// Everything about a name but the time.
fn described(tree: &Tree) -> BTreeMap<String, String> {
    let mut first: BTreeMap<usize, String> = BTreeMap::new();
    let mut described = BTreeMap::new();
    for entry in tree.walk() {
        let path = String::from_utf8_lossy(&entry.path).into_owned();
        let Metadata { mode, uid, gid, xattrs, .. } = &entry.inode.metadata;
        let what = match &entry.inode.kind {
            Kind::Directory(_) => "directory".to_owned(),
            Kind::File(file) => format!("file of {} bytes, {}", file.size, file.blob),
            Kind::Symlink(target) => format!("link to {}", String::from_utf8_lossy(target)),
            other => format!("{other:?}"),
        };
        let same = match &entry.inode.kind {
            Kind::Directory(_) => String::new(),
            _ => format!(", called {}", first.entry(entry.id.index()).or_insert(path.clone())),
        };
        described.insert(path, format!("{mode:04o} {uid}:{gid} {what}{same} {xattrs:?}"));
    }
    described
}

fn compare(ours: &Path, theirs: &Path) -> Result<()> {
    let (ours, _) = tree::store::load(ours)?;
    let (theirs, _) = archive::tar::import(theirs, &std::env::temp_dir(), &|_| {})?;
    let (ours, theirs) = (described(&ours), described(&theirs));
    let paths: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let mut wrong = Vec::new();
    for path in paths {
        let (one, other) = (ours.get(path), theirs.get(path));
        if one != other && !DIFFERENT.iter().any(|(known, _)| known == path) {
            wrong.push(format!("{path}: ours {one:?}, mmdebstrap's {other:?}"));
        }
    }
    if !wrong.is_empty() {
        wrong.truncate(40);
        bail!("the trees differ:\n{}", wrong.join("\n"));
    }
    println!("    {} names are as in mmdebstrap's tree", ours.len());
    Ok(())
}

/// What dpkg and apt say in the root.
fn judge(scratch: &Path, saved: &Path) -> Result<()> {
    let (tree, blobs) = tree::store::load(saved)?;
    let archive = scratch.join("ours.tar");
    let mut output = std::io::BufWriter::new(fs::File::create(&archive)?);
    archive::tar::write(&tree, &blobs, &mut output)?;
    std::io::Write::flush(&mut output)?;
    let root = scratch.join("root");
    fs::create_dir(&root)?;
    Run::new("tar")
        .args(["--xattrs", "--xattrs-include=*", "-xpf"])
        .arg(&archive)
        .arg("-C")
        .arg(&root)
        .text()?;
    // A sub-shell of dpkg writes to it, and devices are not part of a tree.
    Run::new("cp").args(["-a", "/dev/null"]).arg(root.join("dev/null")).text()?;
    let inside = |args: &[&str]| Run::new("chroot").arg(&root).args(args).env("LC_ALL", "C").text();
    for silent in [&["dpkg", "--audit"][..], &["dpkg", "-V"]] {
        let said = inside(silent)?;
        ensure!(said.trim().is_empty(), "{silent:?} says:\n{said}");
    }
    inside(&["apt-get", "check"])?;
    let said = inside(&["apt-get", "--simulate", "autoremove"])?;
    ensure!(said.contains(" 0 to remove "), "apt autoremove says:\n{said}");
    println!("    dpkg --audit, dpkg -V, apt-get check and apt autoremove have nothing to say");
    Ok(())
}

/// A package with this postinst, beside `debs`.
fn package(scratch: &Path, debs: &Path, name: &str, postinst: &str) -> Result<PathBuf> {
    package_with(scratch, debs, name, "", postinst)
}

/// The same with more control fields; files of it may lie in `NAME/package` already.
fn package_with(
    scratch: &Path,
    debs: &Path,
    name: &str,
    fields: &str,
    postinst: &str,
) -> Result<PathBuf> {
    let directory = scratch.join(name);
    let control = directory.join("package/DEBIAN");
    fs::create_dir_all(&control)?;
    let text = format!(
        "Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\n\
         Description: a package of a test\n{fields}"
    );
    fs::write(control.join("control"), text)?;
    let script = control.join("postinst");
    fs::write(&script, format!("#!/bin/sh\nset -e\n{postinst}"))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let all = directory.join("debs");
    fs::create_dir(&all)?;
    for deb in files(debs)? {
        fs::hard_link(&deb, all.join(deb.file_name().context("a file without a name")?))?;
    }
    Run::new("dpkg-deb")
        .args(["--root-owner-group", "-b"])
        .arg(directory.join("package"))
        .arg(all.join(format!("{name}_1_all.deb")))
        .text()?;
    Ok(all)
}

/// Scripts that fail, hang, ask, leave something running, fill the disk, and reach for the machine outside.
fn scripts(scratch: &Path, debs: &Path, ours: &Bootstrap) -> Result<()> {
    let all = package(scratch, debs, "fails", "echo the reason is this\nexit 7\n")?;
    let error = match ours.run(&all, &scratch.join("fails/out")).text() {
        Ok(_) => bail!("a script failed, and nothing came of it"),
        Err(error) => error.to_string(),
    };
    for word in ["the reason is this", "exit status 7", "fails"] {
        ensure!(error.contains(word), "the error does not say {word:?}: {error}");
    }
    let all = package(scratch, debs, "hangs", "echo for ever\nsleep 3600\n")?;
    let run = ours.run(&all, &scratch.join("hangs/out")).env("BOOTSTRAP_LIMIT", "45");
    let error = match run.text() {
        Ok(_) => bail!("a script hung, and nothing came of it"),
        Err(error) => error.to_string(),
    };
    for word in ["for ever", "45 s", "half-configured"] {
        ensure!(error.contains(word), "the error does not say {word:?}: {error}");
    }
    let marker = scratch.join("outside");
    let quiet = format!(
        "setsid sleep 3600 &\n\
         start-stop-daemon --start --background --exec /usr/bin/tail -- -f /dev/null\n\
         if read answer; then exit 1; fi\n\
         if echo x >/proc/sys/kernel/hostname-of-nobody; then exit 1; fi\n\
         if touch {0}; then exit 1; fi\n\
         touch /inside\n",
        marker.display()
    );
    let all = package(scratch, debs, "quiet", &quiet)?;
    let output = scratch.join("quiet/out");
    ours.run(&all, &output).text()?;
    let (tree, _) = tree::store::load(&output)?;
    ensure!(tree.get("inside").is_some() && !marker.exists(), "a script wrote where it should not");
    // Large enough for the root, and for no root.
    for (size, postinst, words) in [
        ("700M", "dd if=/dev/zero of=/var/large bs=1M\n", ["No space left on device", "fills"]),
        (
            "700M",
            "dd if=/dev/zero of=/var/large bs=1M || true\n",
            // dpkg cannot write down that the script succeeded.
            ["No space left on device", "unrecoverable"],
        ),
        ("64M", "true\n", ["No space left on device", "os error 28"]),
    ] {
        let disk = SmallDisk::mount(&scratch.join("small"), size)?;
        let all = package(scratch, debs, "fills", postinst)?;
        let error = match ours.run(&all, &disk.0.join("out")).text() {
            Ok(_) => bail!("a disk of {size} was full, and nothing came of it"),
            Err(error) => error.to_string(),
        };
        for word in words {
            ensure!(error.contains(word), "{size}: the error does not say {word:?}: {error}");
        }
        let left = fs::read_dir(&disk.0)?.map(|entry| Ok(entry?.file_name()));
        let left = left.collect::<std::io::Result<Vec<_>>>()?;
        ensure!(left.is_empty(), "{size}: {left:?} stay on a full disk");
        fs::remove_dir_all(scratch.join("fills"))?;
    }
    println!("    scripts that fail, hang, ask, stay, fill the disk and reach out are dealt with");
    Ok(())
}

/// What was compiled stays when a later package fails.
fn modules(scratch: &Path, debs: &Path, ours: &Bootstrap) -> Result<()> {
    fs::create_dir_all(scratch.join("pear-dkms/package/usr/lib/modules/6.0/kernel"))?;
    let module = "pear/1/6.0/x86_64/module";
    let build = format!("cd /var/lib && mkdir -p dkms/{module} && echo x >dkms/{module}/pear.ko\n");
    let all = package(scratch, debs, "pear-dkms", &build)?;
    let all = package_with(scratch, &all, "late", "Depends: pear-dkms\n", "exit 7\n")?;
    let cache = scratch.join("modules");
    let output = ours.run(&all, &scratch.join("late/out")).arg(&cache).output()?;
    ensure!(!output.status.success(), "a script failed, and nothing came of it");
    let kept = fs::read_dir(&cache)?.next().context("nothing was kept")??.path();
    ensure!(kept.join("modules").join(module).join("pear.ko").is_file(), "{}", kept.display());
    println!("    what dkms compiled is kept, though a later script fails");
    Ok(())
}

/// A file system in memory with little room, until dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: &Path, size: &str) -> Result<Self> {
        fs::create_dir_all(path)?;
        let mount =
            Run::new("mount").args(["-t", "tmpfs", "-o"]).arg(format!("size={size},mode=755"));
        mount.args(["small"]).arg(path).text()?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Err(error) = Run::new("umount").arg(&self.0).text() {
            println!("    {} stays mounted: {error}", self.0.display());
        }
    }
}
