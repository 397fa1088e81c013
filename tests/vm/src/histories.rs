//! Pools with histories, and streams of them: a kernel imports, reads, receives, sends on and destroys.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tree::Tree;
use vm_judge::Sums;

use crate::report::Report;
use crate::{compare, pool, received, run};

/// The pool's name, on one disk and on two.
const POOL: &str = "history";
/// Where streams are received.
const SINK: &str = "sink";
/// Where the stream of the whole pool is.
const WHOLE: &str = "sink/whole";
/// Where a state is mounted.
const PLACE: &str = "/mnt";

/// What datasets and snapshots below the pool hold, by the names of the states.
const STATES: [(&str, &str); 7] = [
    ("fs@a", "a"),
    ("fs@b", "b"),
    ("fs@install", "c"),
    ("fs", "c"),
    ("same", "b"),
    ("other", "d"),
    ("other@install", "d"),
];

/// Judges the pool on `/dev/vda`, the one on the mirror `/dev/vdb` and `/dev/vdc`, and the streams of
/// the first in `/judge`.
pub fn judge(report: &mut Report) -> Result<()> {
    let states = States::read()?;
    import(report, "one disk", &["/dev/vda"])?;
    states.compare(report, POOL, &STATES)?;
    volume(report, POOL)?;
    report.step("zfs diff", differences)?;
    report.step("make a pool", || {
        File::create("/tmp/sink")?.set_len(1 << 30)?;
        run("zpool", &["create", "-O", "canmount=off", "-m", "none", SINK, "/tmp/sink"])
    })?;
    receive_tree(report, &states)?;
    receive_steps(report, &states)?;
    read_back(report, &states)?;
    report.step("scrub what was received", || pool::scrub(SINK))?;
    destroy(report)?;
    run("zpool", &["export", POOL])?;
    import(report, "a mirror", &["/dev/vdb", "/dev/vdc"])?;
    states.compare(report, POOL, &STATES)?;
    volume(report, POOL)?;
    destroy(report)
}

fn import(report: &mut Report, what: &str, disks: &[&str]) -> Result<()> {
    report.step(&format!("import {what}"), || {
        let mut args = vec!["import", "-N"];
        args.extend(disks.iter().flat_map(|disk| ["-d", disk]));
        args.push(POOL);
        run("zpool", &args)?;
        pool::scrub(POOL)
    })
}

/// The whole pool as our replication stream tells it.
fn receive_tree(report: &mut Report, states: &States) -> Result<()> {
    report.step("receive our stream of the whole pool", || {
        receive("/judge/whole", &["-u", WHOLE])?;
        // Snapshots keep their identity, clones their origin.
        for (kind, property) in [("snapshot", "guid"), ("filesystem,volume", "origin")] {
            let list = |root: &str| -> Result<String> {
                let columns = format!("name,{property}");
                let list = run("zfs", &["list", "-H", "-r", "-t", kind, "-o", &columns, root])?;
                Ok(list.replace(root, ""))
            };
            let (here, there) = (list(POOL)?, list(WHOLE)?);
            if here != there {
                bail!("{property} differs, sent\n{here}received\n{there}");
            }
        }
        Ok(String::new())
    })?;
    states.compare(report, WHOLE, &STATES)?;
    volume(report, WHOLE)
}

/// Our library reads the kernel's stream of the whole pool, and of what the kernel received of ours.
fn read_back(report: &mut Report, states: &States) -> Result<()> {
    for root in [POOL, WHOLE] {
        report.findings(
            &format!("our library receives the kernel's stream of {root}"),
            |found| {
                let receiver = received::receive(&format!("{root}@install"))?;
                let mut names = 0;
                for (place, state) in STATES.iter().filter(|(place, _)| place.contains('@')) {
                    let snapshot = format!("{root}/{place}");
                    names += received::compare(&receiver, &snapshot, states.find(state)?.0, found)?;
                }
                Ok(format!("{} snapshots, {names} names", receiver.received().len()))
            },
        )?;
    }
    Ok(())
}

/// Full and incremental streams, ours and the kernel's, in every order.
fn receive_steps(report: &mut Report, states: &States) -> Result<()> {
    let target = |name: &str| format!("{SINK}/{name}");
    report.step("our increment on our stream", || {
        receive("/judge/full", &["-u", &target("ours")])?;
        receive("/judge/next", &["-u", &target("ours")])
    })?;
    report.step("the kernel's increment on our stream", || {
        receive("/judge/full", &["-u", &target("half")])?;
        send(&["-i", "@a", "history/fs@b"], &["-u", &target("half")])
    })?;
    report.step("our increment on the kernel's stream", || {
        send(&["history/fs@a"], &["-u", &target("theirs")])?;
        receive("/judge/next", &["-u", &target("theirs")])
    })?;
    report.step("the kernel sends on what it received", || {
        run("zfs", &["snapshot", &format!("{}@on", target("ours"))])?;
        send(&["-i", "@b", &format!("{}@on", target("ours"))], &["-u", &target("theirs")])
    })?;
    for (name, last) in [("ours", "@on"), ("half", "@b"), ("theirs", "@on")] {
        let places = [("@a", "a"), ("@b", "b"), ("", "b"), (last, "b")];
        let places = places.map(|(snapshot, state)| (format!("{name}{snapshot}"), state));
        let places = places.each_ref().map(|(place, state)| (place.as_str(), *state));
        states.compare(report, SINK, &places)?;
    }
    Ok(())
}

/// What `zfs diff` must say of the first two states.
fn differences() -> Result<String> {
    let text =
        mounted("history/fs", || run("zfs", &["diff", "-H", "history/fs@a", "history/fs@b"]))?;
    for line in ["M\t/mnt/large/1", "-\t/mnt/large/2", "-\t/mnt/small/0", "-\t/mnt/small/198"] {
        if !text.lines().any(|found| found == line) {
            bail!("there is no {line:?} in\n{text}");
        }
    }
    Ok(format!("{} lines", text.lines().count()))
}

/// Does something while a dataset or snapshot is mounted to read.
fn mounted<T>(dataset: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    mount(dataset, PLACE, "zfs", MountFlags::RDONLY, None).context("mount")?;
    let done = work();
    unmount(PLACE, UnmountFlags::empty()).context("umount")?;
    done
}

/// Everything goes, one after the other, and the pool stays sound.
fn destroy(report: &mut Report) -> Result<()> {
    report.step("destroy", || {
        run("zfs", &["promote", "history/same"])?;
        for dataset in ["other", "fs", "same@a", "same", "vol"] {
            run("zfs", &["destroy", "-r", &format!("{POOL}/{dataset}")])?;
        }
        run("zpool", &["sync", POOL])?;
        pool::scrub(POOL)
    })
}

/// The volume's bytes. Its device has a name of udev's, which is not here: a stream has them too.
fn volume(report: &mut Report, pool: &str) -> Result<()> {
    report.step(&format!("volume of {pool}"), || {
        let sent = output(&["send", &format!("{pool}/vol@install")])?;
        let expected = fs::read("/judge/volume").context("/judge/volume")?;
        for (number, block) in expected.chunks(8 << 10).enumerate() {
            if !sent.windows(block.len()).any(|window| window == block) {
                bail!("block {number} of the volume is not in the kernel's stream of it");
            }
        }
        Ok(format!("{} bytes", expected.len()))
    })
}

fn output(args: &[&str]) -> Result<Vec<u8>> {
    let output = Command::new("/usr/sbin/zfs").args(args).output().context("zfs")?;
    if !output.status.success() {
        bail!("zfs {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.stdout)
}

/// `zfs receive` of a file.
fn receive(stream: &str, args: &[&str]) -> Result<String> {
    let stream = File::open(stream).with_context(|| stream.to_owned())?;
    receive_from(Stdio::from(stream), args)
}

fn receive_from(input: Stdio, args: &[&str]) -> Result<String> {
    let done = Command::new("/usr/sbin/zfs").arg("receive").args(args).stdin(input).output()?;
    if !done.status.success() {
        bail!("zfs receive {}: {}", args.join(" "), String::from_utf8_lossy(&done.stderr));
    }
    Ok(String::new())
}

/// `zfs send` into `zfs receive`.
fn send(send: &[&str], receive: &[&str]) -> Result<String> {
    let args = [&["send", "-L", "-e", "-c"][..], send].concat();
    let mut sender = Command::new("/usr/sbin/zfs").args(&args).stdout(Stdio::piped()).spawn()?;
    let stream = sender.stdout.take().context("zfs send has no output")?;
    let received = receive_from(Stdio::from(stream), receive);
    let status = sender.wait()?;
    if !status.success() {
        bail!("zfs {}: {status}", args.join(" "));
    }
    received
}

/// The trees that were written.
struct States(Vec<(&'static str, Tree, Sums)>);

impl States {
    fn read() -> Result<Self> {
        let read = |name: &'static str| -> Result<_> {
            let path = format!("/judge/manifest-{name}");
            let tree = tree::manifest::parse(&fs::read(&path).with_context(|| path.clone())?)
                .with_context(|| path.clone())?;
            let path = format!("/judge/sums-{name}");
            let sums = fs::read_to_string(&path).with_context(|| path.clone())?;
            let sums = Sums::parse(&sums).map_err(|line| anyhow!("{path}: {line}"))?;
            Ok((name, tree, sums))
        };
        Ok(Self(["a", "b", "c", "d"].into_iter().map(read).collect::<Result<_>>()?))
    }

    fn find(&self, state: &str) -> Result<(&Tree, &Sums)> {
        let found = self.0.iter().find(|(name, ..)| *name == state);
        found.map(|(_, tree, sums)| (tree, sums)).context("no such state")
    }

    /// Mounts each of `places` below `pool` and compares it with its state.
    fn compare(&self, report: &mut Report, pool: &str, places: &[(&str, &str)]) -> Result<()> {
        for (place, state) in places {
            let dataset = format!("{pool}/{place}");
            let (tree, sums) = self.find(state)?;
            report.findings(&format!("{dataset} is as it was"), |found| {
                mounted(&dataset, || compare::compare(tree, sums, Path::new(PLACE), found))
            })?;
        }
        Ok(())
    }
}
