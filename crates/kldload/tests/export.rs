//! `kldload export` as a person runs it: names, refusals, exit codes, and nothing left behind.
#![allow(clippy::unwrap_used)]

mod exporting;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use exporting::{begun, errors, export};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A directory with `disk.raw`: 3 MiB with something in it.
fn directory() -> TempDir {
    let directory = TempDir::new().unwrap();
    let mut bytes = vec![0; 3 << 20];
    bytes[70_000..400_000].copy_from_slice(&b"kldload ".repeat(50_000)[..330_000]);
    fs::write(directory.path().join("disk.raw"), bytes).unwrap();
    directory
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// What `qemu-img` says of an image of the disk `raw`.
fn judge(raw: &Path, image: &Path, format: &str) {
    let program = Path::new("/usr/bin/qemu-img");
    if !program.is_file() {
        assert!(std::env::var_os("CI").is_none(), "qemu-img must judge in CI");
        eprintln!("\n***** SKIPPED: qemu-img is not installed and judged NOTHING *****\n");
        return;
    }
    let run = |args: &[&str], paths: &[&Path]| {
        let output = Command::new(program).args(args).args(paths).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &errors(&output);
        assert!(output.status.success(), "{args:?} {paths:?}: {said}");
        said
    };
    run(&["compare", "-f", "raw", "-F", format], &[raw, image]);
    assert!(run(&["info", "--output=json", "-f", format], &[image]).contains("virtual-size"));
    if matches!(format, "qcow2" | "vhdx" | "vmdk") {
        run(&["check", "-f", format], &[image]);
    }
}

#[test]
fn all_formats_and_their_manifest() {
    let directory = directory();
    let output = export(
        directory.path(),
        &["disk.raw", "all", "gcp", "-o", "out", "--name", "server", "--verify"],
    );
    assert!(output.status.success(), "{}", errors(&output));
    let out = directory.path().join("out");
    let expected = ["json", "ova", "qcow2", "raw", "tar.gz", "vhd", "vhdx", "vmdk"];
    assert_eq!(names(&out), expected.map(|ending| format!("server.{ending}")));
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join("server.json")).unwrap()).unwrap();
    let images = manifest["images"].as_array().unwrap();
    assert_eq!(images.len(), 7);
    for image in images {
        let length = fs::metadata(out.join(image["file"].as_str().unwrap())).unwrap().len();
        assert_eq!(image["length"], length);
        let plain = ["raw", "vhd", "vhdx"].contains(&image["format"].as_str().unwrap());
        assert_eq!(image["sha256"].is_null(), plain, "{image}");
        let tree = ["raw", "vhd"].contains(&image["format"].as_str().unwrap());
        assert_eq!(image["fsverity"].is_null(), !tree, "{image}");
    }
    for (ending, format) in
        [("qcow2", "qcow2"), ("raw", "raw"), ("vhd", "vpc"), ("vhdx", "vhdx"), ("vmdk", "vmdk")]
    {
        judge(&directory.path().join("disk.raw"), &out.join(format!("server.{ending}")), format);
    }
    let raw = fs::read(directory.path().join("disk.raw")).unwrap();
    assert!(fs::read(out.join("server.raw")).unwrap() == raw);
    // Back from each format that is read.
    for ending in ["qcow2", "vhd", "vhdx", "vmdk"] {
        let image = format!("out/server.{ending}");
        let output = export(directory.path(), &[&image, "raw", "--name", ending]);
        assert!(output.status.success(), "{}", errors(&output));
        let back = fs::read(directory.path().join(format!("{ending}.raw"))).unwrap();
        assert!(back[..raw.len()] == raw && back[raw.len()..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn names_come_from_the_clock_or_the_environment() {
    let directory = directory();
    assert!(export(directory.path(), &["disk.raw", "qcow2"]).status.success());
    let made = names(directory.path()).into_iter().find(|name| name.ends_with(".qcow2")).unwrap();
    let digits: String = made.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    assert_eq!(digits, "kldload-export-99999999-999999.qcow9");
    let output = Command::new(env!("CARGO_BIN_EXE_kldload"))
        .args(["export", "disk.raw", "vmdk", "--json"])
        .env("KEXPORT_NAME", "mine")
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert!(output.status.success());
    for (name, code) in [("", 0), ("a/b", 2)] {
        let status = Command::new(env!("CARGO_BIN_EXE_kldload"))
            .args(["export", "disk.raw", "vhdx", "-o", "elsewhere"])
            .env("KEXPORT_NAME", name)
            .current_dir(directory.path())
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(code), "KEXPORT_NAME={name}");
    }
    assert!(directory.path().join("mine.vmdk").is_file());
    let text = String::from_utf8(output.stdout).unwrap();
    let events: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.iter().any(|event| event["event"] == "image" && event["format"] == "vmdk"));
}

#[test]
fn the_same_disk_gives_the_same_bytes() {
    let directory = directory();
    for (name, more) in [("a", None), ("b", None), ("c", Some("--unique"))] {
        let mut args = vec!["disk.raw", "vhd", "vhdx", "ova", "-o", name, "--name", "same"];
        args.extend(more);
        assert!(export(directory.path(), &args).status.success());
    }
    for ending in ["vhd", "vhdx"] {
        let read = |name| fs::read(directory.path().join(name).join(format!("same.{ending}")));
        assert!(read("a").unwrap() == read("b").unwrap(), "{ending}");
        assert!(read("a").unwrap() != read("c").unwrap(), "{ending}");
    }
}

#[test]
fn refusals_leave_nothing() {
    let directory = directory();
    let path = directory.path();
    fs::write(path.join("there.vmdk"), "mine").unwrap();
    fs::write(path.join("bad.qcow2"), [b"QFI\xfb\0\0\0\x03".as_slice(), &[0xff; 600]].concat())
        .unwrap();
    fs::write(path.join("overlay.vmdk"), "# Disk DescriptorFile\nparentCID=12345678\n").unwrap();
    fs::write(path.join("empty.raw"), "").unwrap();
    fs::create_dir(path.join("folder.vmdk")).unwrap();
    fs::write(path.join("signed.json"), "{}").unwrap();
    fs::write(path.join("signed.json.asc"), "").unwrap();
    let before = names(path);
    for (args, code, words) in [
        (vec!["disk.raw", "qcow2", "vmdk", "--name", "there"], 4, "--force"),
        (vec!["bad.qcow2", "raw"], 3, "offset 20"),
        (vec!["overlay.vmdk", "raw"], 3, "overlay"),
        (vec!["missing.raw", "raw"], 1, "missing.raw"),
        (vec!["disk.raw", "floppy"], 2, "possible values"),
        (vec!["disk.raw", "raw", "--name", "a/b"], 2, "-o gives the directory"),
        (vec!["disk.raw", "raw", "--name", "a\nb"], 2, "-o gives the directory"),
        (vec!["disk.raw", "raw", "--name", &"n".repeat(241)], 2, "at most 240 bytes"),
        (vec!["disk.raw", "vhd", "vhd-dynamic"], 2, "the same name"),
        (vec!["disk.raw", "raw", "--name", "disk", "--force"], 4, "is the source"),
        (vec!["disk.raw", "qcow2", "-o", "-"], 2, "only one raw image"),
        (vec!["disk.raw", "raw", "-o", "-", "--verify"], 2, "--verify"),
        (vec!["overlay.vmdk", "raw", "-o", "new/directory"], 3, "overlay"),
        (vec!["disk.raw", "raw", "--backing", "there.vmdk"], 2, "--backing"),
        (vec!["disk.raw", "raw", "--cpus", "2"], 2, "--cpus"),
        (vec!["disk.raw", "vmdk", "--memory", "2048"], 2, "--memory"),
        (vec!["disk.raw", "ova", "--cpus", "0"], 2, "--cpus"),
        (vec!["disk.raw", "ova", "--memory", "0"], 2, "--memory"),
        (vec!["disk.raw", "vhdx", "--zstd"], 2, "--zstd"),
        (vec!["disk.raw", "qcow2", "raw", "gcp", "--unique"], 2, "--unique"),
        (vec!["disk.raw", "qcow2", "-j", "0"], 2, "--jobs"),
        (vec!["disk.raw", "qcow2", "vmdk", "--sha256"], 2, "--sha256"),
        (vec!["disk.raw", "raw", "-o", "-", "--force"], 2, "--force"),
        (vec!["disk.raw", "raw", "-o", "-", "--name", "x"], 2, "--name"),
        (vec!["empty.raw", "vhd"], 3, "empty.raw is empty"),
        (vec!["disk.raw", "raw", "--source-format", "qcow2"], 3, "does not start with QFI"),
        (vec!["disk.raw", "raw", "vmdk", "--name", "folder", "--force"], 4, "is a directory"),
        (vec!["disk.raw", "vhdx", "--name", "signed"], 4, "take another --name"),
        (vec!["disk.raw", "vhdx", "--name", "signed", "--force"], 4, "signed.json.asc signs"),
    ] {
        let output = export(path, &args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", errors(&output));
        assert!(errors(&output).contains(words), "{args:?}: {}", errors(&output));
    }
    assert_eq!(names(path), before);
    assert!(export(path, &["disk.raw", "vmdk", "--name", "there", "--force"]).status.success());
    assert!(fs::read(path.join("there.vmdk")).unwrap().starts_with(b"KDMV"));
}

#[test]
fn no_part_of_the_source_is_replaced() {
    let directory = directory();
    let path = directory.path();
    fs::write(path.join("disk-flat.vmdk"), vec![7; 1 << 20]).unwrap();
    let text = "# Disk DescriptorFile\nRW 2048 FLAT \"disk-flat.vmdk\" 0\n";
    fs::write(path.join("disk.vmdk"), text).unwrap();
    let mut cases = vec![vec!["disk.vmdk", "vmdk", "--name", "disk-flat", "--force"]];
    let overlay = ["create", "-q", "-f", "qcow2", "-F", "raw", "-b", "disk.raw", "top.qcow2"];
    match Command::new("/usr/bin/qemu-img").args(overlay).current_dir(path).output() {
        Ok(made) if made.status.success() => cases.push(vec![
            "top.qcow2",
            "raw",
            "--backing",
            "disk.raw",
            "--name",
            "disk",
            "--force",
        ]),
        _ => assert!(std::env::var_os("CI").is_none(), "qemu-img must be there in CI"),
    }
    let before: Vec<_> =
        names(path).iter().map(|name| (name.clone(), fs::read(path.join(name)).unwrap())).collect();
    for args in cases {
        let output = export(path, &args);
        assert_eq!(output.status.code(), Some(4), "{args:?}: {}", errors(&output));
        assert!(errors(&output).contains("a part of it"), "{args:?}: {}", errors(&output));
    }
    assert_eq!(names(path).len(), before.len());
    assert!(before.iter().all(|(name, bytes)| fs::read(path.join(name)).unwrap() == *bytes));
}

/// 48 batches of 2 MiB, however many threads there are: what they free must serve the others.
#[test]
fn memory_does_not_grow_with_the_threads() {
    let directory = directory();
    let path = directory.path();
    let shrinks = |i: u32| (i.wrapping_mul(2_654_435_761) >> 7) & 0xffff;
    let bytes: Vec<u8> = (0..48_u32 << 20).flat_map(|i| shrinks(i).to_le_bytes()).collect();
    fs::write(path.join("disk.raw"), bytes).unwrap();
    let args = ["disk.raw", "qcow2", "vmdk", "-j", "9999", "--verify"];
    let (child, events) = begun(path, &args, "verifying");
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    events.for_each(drop);
    assert!(child.wait_with_output().unwrap().status.success());
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 150 << 10, "{kib} KiB");
}

#[test]
fn what_comes_in_the_meantime_is_kept() {
    let directory = directory();
    let path = directory.path();
    fs::write(path.join(".a.raw.new"), "a stranger's").unwrap();
    let bytes: Vec<u8> = (0..32_u32 << 20).flat_map(u32::to_le_bytes).collect();
    fs::write(path.join("disk.raw"), bytes).unwrap();
    for (force, code) in [(false, 4), (true, 0)] {
        // The first time there is none.
        let _ = fs::remove_file(path.join("a.raw"));
        let mut args = vec!["disk.raw", "raw", "--name", "a", "--verify"];
        args.extend(force.then_some("--force"));
        let (child, events) = begun(path, &args, "exporting");
        fs::write(path.join("a.raw"), "mine").unwrap();
        events.for_each(drop);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", errors(&output));
        let kept = fs::read(path.join("a.raw")).unwrap() == b"mine";
        assert_eq!(kept, !force);
        assert!(force || errors(&output).contains("--force"), "{}", errors(&output));
        assert_eq!(fs::read(path.join(".a.raw.new")).unwrap(), b"a stranger's");
    }
}

/// All of the images, or none.
#[test]
fn one_that_cannot_be_named_takes_the_others_along() {
    let directory = directory();
    let path = directory.path();
    let bytes: Vec<u8> = (0..32_u32 << 20).flat_map(u32::to_le_bytes).collect();
    fs::write(path.join("disk.raw"), bytes).unwrap();
    let args = ["disk.raw", "raw", "vmdk", "--name", "a", "--verify"];
    let (child, events) = begun(path, &args, "exporting");
    fs::write(path.join("a.json"), "mine").unwrap();
    events.for_each(drop);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", errors(&output));
    assert_eq!(names(path), ["a.json", "disk.raw"]);
    assert_eq!(fs::read(path.join("a.json")).unwrap(), b"mine");
}

#[test]
fn damage_found_while_reading_is_invalid_input() {
    let directory = directory();
    let path = directory.path();
    assert!(export(path, &["disk.raw", "vmdk", "--name", "bad"]).status.success());
    let mut bytes = fs::read(path.join("bad.vmdk")).unwrap();
    // Behind the marker and the zlib header of the first grain: no such kind of block.
    bytes[128 * 512 + 14] = 0xff;
    fs::write(path.join("bad.vmdk"), bytes).unwrap();
    let output = export(path, &["bad.vmdk", "raw", "--name", "out"]);
    assert_eq!(output.status.code(), Some(3), "{}", errors(&output));
    let told = errors(&output);
    assert!(told.contains("not deflate") && told.contains("reading bad.vmdk"), "{told}");
}

#[test]
fn a_raw_image_goes_into_a_pipe() {
    let directory = directory();
    let output = export(directory.path(), &["disk.raw", "raw", "-o", "-"]);
    assert!(output.status.success(), "{}", errors(&output));
    assert!(output.stdout == fs::read(directory.path().join("disk.raw")).unwrap());
    assert_eq!(names(directory.path()), ["disk.raw"]);
}

#[test]
fn a_full_disk_leaves_nothing() {
    let directory = directory();
    // A file may have 100 blocks of 512 bytes: not the images.
    let script = "trap '' XFSZ; ulimit -f 100; exec \"$0\" export disk.raw raw vmdk -o out";
    let output = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_kldload")])
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
    assert!(errors(&output).contains("writing to out: "), "{}", errors(&output));
    assert!(errors(&output).contains("at offset"), "{}", errors(&output));
    assert_eq!(names(directory.path()), ["disk.raw"]);
}

#[test]
fn an_interrupt_leaves_nothing() {
    let directory = directory();
    let mut bytes: Vec<u8> = (0..128_u32 << 18).flat_map(u32::to_le_bytes).collect();
    bytes[0] = 1;
    fs::write(directory.path().join("disk.raw"), bytes).unwrap();
    // Who runs tests in the background of a script has taught them to ignore interrupts.
    let mut child = Command::new("env")
        .args(["--default-signal=INT", env!("CARGO_BIN_EXE_kldload")])
        .args(["export", "disk.raw", "all", "-o", "out", "--json"])
        .current_dir(directory.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The pipe stays open: what comes after must have somewhere to go.
    let mut events = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(events.any(|line| line.contains("\"exporting\"")));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(2), "{status}");
    assert_eq!(names(directory.path()), ["disk.raw"]);
}

#[test]
fn the_disk_of_a_running_machine_is_refused() {
    let directory = directory();
    let path = directory.path();
    // It opens a disk as a machine does, and waits for commands.
    let mut child = match Command::new("/usr/bin/qemu-io")
        .args(["-f", "raw", "disk.raw"])
        .current_dir(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
    {
        Ok(child) => child,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "qemu-io must be there in CI: {error}");
            eprintln!(
                "\n***** SKIPPED: qemu-io is not installed: disks of running machines *****\n"
            );
            return;
        }
    };
    let mut commands = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap());
    commands.write_all(b"length\n").unwrap();
    commands.flush().unwrap();
    answers.read_line(&mut String::new()).unwrap();
    let text = "# Disk DescriptorFile\nRW 2048 FLAT \"disk.raw\" 0\n";
    fs::write(path.join("part.vmdk"), text).unwrap();
    for source in ["disk.raw", "part.vmdk"] {
        let output = export(path, &[source, "qcow2"]);
        assert_eq!(output.status.code(), Some(4), "{}", errors(&output));
        assert!(errors(&output).contains("virtual machine that runs"), "{}", errors(&output));
    }
    assert_eq!(names(path), ["disk.raw", "part.vmdk"]);
    commands.write_all(b"quit\n").unwrap();
    drop(commands);
    child.wait().unwrap();
    assert!(export(path, &["disk.raw", "qcow2"]).status.success());
}

/// A loop device over a file, until it is dropped.
struct Loop(String);

impl Loop {
    /// Nothing where loop devices cannot be had: that needs root, and a kernel that has them.
    fn over(image: &Path) -> Option<Self> {
        let output = Command::new("losetup").args(["--find", "--show"]).arg(image).output().ok()?;
        let device = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        output.status.success().then_some(Self(device))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // What stays attached goes when the machine does; the test itself has ended.
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

/// A mount, until it is dropped.
struct Mount<'a>(&'a Path);

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        // As above.
        let _ = Command::new("umount").arg(self.0).status();
    }
}

#[test]
fn what_is_mounted_is_neither_read_nor_written() {
    let directory = directory();
    let path = directory.path();
    let file = path.join("mounted.raw");
    fs::File::create(&file).unwrap().set_len(4 << 20).unwrap();
    let made = Command::new("/usr/sbin/mke2fs").args(["-q", "-t", "ext4"]).arg(&file).status();
    let mount = path.join("mount");
    fs::create_dir(&mount).unwrap();
    let device = made.is_ok_and(|status| status.success()).then(|| Loop::over(&file)).flatten();
    let mounted = device.as_ref().filter(|device| {
        let output = Command::new("mount").args(["-t", "ext4", &device.0]).arg(&mount).output();
        output.is_ok_and(|output| output.status.success())
    });
    let (Some(Loop(name)), Some(_)) = (device.as_ref(), mounted) else {
        eprintln!("\n***** SKIPPED: no loop device or mount here (root?): mounted sources *****\n");
        return;
    };
    let mount = Mount(&mount);
    let before = names(path);
    for (args, words) in [
        ([name, "raw", "-o", "out"], "Unmount it"),
        // Bytes below the mount.
        (["mounted.raw", "raw", "-o", "out"], "losetup -d"),
        (["disk.raw", "raw", "-o", name], "Nothing was written"),
        (["disk.raw", "raw", "--force", &format!("-o{name}")], "Nothing was written"),
    ] {
        let output = export(path, &args);
        assert_eq!(output.status.code(), Some(4), "{args:?}: {}", errors(&output));
        assert!(errors(&output).contains(words), "{args:?}: {}", errors(&output));
    }
    assert_eq!(names(path), before);
    drop(mount);
    let output = export(path, &[name, "raw", "--name", "device"]);
    assert!(output.status.success(), "{}", errors(&output));
    assert!(fs::read(path.join("device.raw")).unwrap() == fs::read(&file).unwrap());
    // Not empty: there is a file system on it.
    let output = export(path, &["disk.raw", "raw", "-o", name]);
    assert_eq!(output.status.code(), Some(4), "{}", errors(&output));
    let output = export(path, &["disk.raw", "raw", "-o", name, "--force", "--sha256"]);
    assert_eq!(output.status.code(), Some(2), "{}", errors(&output));
    let output = export(path, &["disk.raw", "raw", "-o", name, "--force", "--verify"]);
    assert!(output.status.success(), "{}", errors(&output));
    drop(device);
    let raw = fs::read(path.join("disk.raw")).unwrap();
    assert!(fs::read(&file).unwrap()[..raw.len()] == raw);
}

#[test]
fn what_is_no_disk_is_not_taken_for_one() {
    let directory = directory();
    let at = |name: &str| directory.path().join(name);
    let output = export(directory.path(), &["disk.raw", "ova", "gcp", "--name", "made"]);
    assert!(output.status.success(), "{}", errors(&output));
    mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let vdi = [&[0; 64][..], &0xbeda_107f_u32.to_le_bytes(), &[0; 4028]].concat();
    fs::write(at("disk.vdi"), vdi).unwrap();
    for (source, code, message) in [
        ("made.ova", 3, "made.ova: this is a tar archive"),
        ("made.tar.gz", 3, "made.tar.gz: this is something that gzip compressed"),
        ("disk.vdi", 3, "disk.vdi: this is a VDI image: convert it with qemu-img"),
        ("pipe", 1, "pipe: cannot open it: it is neither a file nor a block device"),
        (".", 1, ".: cannot open it: it is neither a file nor a block device"),
    ] {
        let output = export(directory.path(), &[source, "raw", "-o", "out", "--json"]);
        assert_eq!(output.status.code(), Some(code), "{}", errors(&output));
        assert!(errors(&output).contains(message), "{}", errors(&output));
        let told = String::from_utf8(output.stdout).unwrap();
        let last: serde_json::Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
        assert_eq!((&last["event"], &last["code"]), (&"error".into(), &code.into()));
        assert!(last["text"].as_str().unwrap().contains(message), "{last}");
    }
    // Whoever says so gets the bytes.
    let asked = ["disk.vdi", "raw", "-o", "out", "--name", "x", "--source-format", "raw"];
    let output = export(directory.path(), &asked);
    assert!(output.status.success(), "{}", errors(&output));
    assert!(fs::read(at("out/x.raw")).unwrap() == fs::read(at("disk.vdi")).unwrap());
}
