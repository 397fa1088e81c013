//! `files/esp-sync` run by `sh` on directories: what a kernel update does to the ESP.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/files/esp-sync");

/// A boot environment, an ESP and a directory of stand-ins for other programs.
struct Machine {
    directory: tempfile::TempDir,
}

struct Outcome {
    ok: bool,
    text: String,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { directory: tempfile::tempdir().unwrap() };
        machine.boot_environment("debian");
        fs::create_dir_all(machine.esp()).unwrap();
        fs::create_dir_all(machine.path("bin")).unwrap();
        // The real one needs a real initramfs; these hold their listing.
        machine.program("lsinitramfs", "cat \"$1\"");
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn esp(&self) -> PathBuf {
        self.path("esp")
    }

    fn program(&self, name: &str, body: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn boot_environment(&self, name: &str) {
        let root = self.path(name);
        for directory in ["boot", "etc/kernel", "usr/lib/systemd/boot/efi", "lib/modules"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        fs::write(root.join("etc/os-release"), "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n")
            .unwrap();
        fs::write(root.join("etc/kernel/cmdline"), "root=ZFS=rpool/ROOT/debian console=tty0 *\n")
            .unwrap();
        self.loader(name, "257.8-1");
    }

    fn loader(&self, name: &str, version: &str) {
        let path = self.path(name).join("usr/lib/systemd/boot/efi/systemd-bootx64.efi");
        fs::write(path, format!("MZ\0#### LoaderInfo: systemd-boot {version} ####\0")).unwrap();
    }

    fn kernel(&self, name: &str, version: &str) {
        let root = self.path(name);
        let modules = root.join("lib/modules").join(version);
        fs::create_dir_all(modules.join("updates/dkms")).unwrap();
        fs::write(modules.join("updates/dkms/zfs.ko.xz"), "").unwrap();
        fs::write(
            root.join("boot").join(format!("vmlinuz-{version}")),
            format!("kernel {version}"),
        )
        .unwrap();
        self.initrd(name, version, "one");
    }

    fn initrd(&self, name: &str, version: &str, text: &str) {
        let listing = format!("{text}\nusr/lib/modules/{version}/updates/dkms/zfs.ko.xz\n");
        fs::write(self.path(name).join("boot").join(format!("initrd.img-{version}")), listing)
            .unwrap();
    }

    fn remove_kernel(&self, name: &str, version: &str) {
        let root = self.path(name);
        fs::remove_file(root.join("boot").join(format!("vmlinuz-{version}"))).unwrap();
        fs::remove_file(root.join("boot").join(format!("initrd.img-{version}"))).unwrap();
        fs::remove_dir_all(root.join("lib/modules").join(version)).unwrap();
    }

    fn sync(&self, name: &str) -> Outcome {
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        let output = Command::new("sh")
            .arg(SCRIPT)
            .args(["--root".as_ref(), self.path(name).as_os_str()])
            .args(["--esp".as_ref(), self.esp().as_os_str()])
            .args(["--dataset", &format!("rpool/ROOT/{name}")])
            .env("PATH", path)
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        Outcome { ok: output.status.success(), text: String::from_utf8(text).unwrap() }
    }

    fn synced(&self, name: &str) -> String {
        let outcome = self.sync(name);
        assert!(outcome.ok, "{}", outcome.text);
        outcome.text
    }

    /// Every file of the ESP, digests shortened, content of text files in full.
    fn listing(&self) -> String {
        fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { walk(&path, found) } else { found.push(path) }
            }
        }
        let mut files = Vec::new();
        walk(&self.esp(), &mut files);
        files.sort();
        files
            .iter()
            .map(|path| format!("{}\n", path.strip_prefix(self.esp()).unwrap().display()))
            .collect()
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.esp().join(path)).unwrap()
    }

    fn content(&self, entry: &str, key: &str) -> String {
        let text = self.read(&format!("loader/entries/{entry}.conf"));
        let value = text.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim();
        fs::read_to_string(self.esp().join(value.trim_start_matches('/'))).unwrap()
    }
}

#[test]
fn an_empty_esp_gets_everything() {
    let machine = Machine::new();
    machine.kernel("debian", "6.12.38+deb13-amd64");
    machine.synced("debian");
    assert_eq!(
        machine.listing(),
        "EFI/BOOT/BOOTX64.EFI\n\
         EFI/systemd/systemd-bootx64.efi\n\
         kldload/initrd-2355c7fcbb78eeafb3083a38214facb2\n\
         kldload/linux-198f5e31da8e42c5f6749ae59602e145\n\
         loader/entries/debian@6.12.38+deb13-amd64.conf\n\
         loader/loader.conf\n"
    );
    assert_eq!(
        machine.read("loader/entries/debian@6.12.38+deb13-amd64.conf"),
        "title Debian GNU/Linux 13 (trixie), debian\n\
         version 6.12.38+deb13-amd64\n\
         sort-key debian\n\
         linux /kldload/linux-198f5e31da8e42c5f6749ae59602e145\n\
         initrd /kldload/initrd-2355c7fcbb78eeafb3083a38214facb2\n\
         options root=ZFS=rpool/ROOT/debian console=tty0 *\n"
    );
    assert_eq!(
        machine.read("loader/loader.conf"),
        "timeout 3\nconsole-mode keep\ndefault debian@*\n"
    );
    assert_eq!(
        fs::read_to_string(machine.path("debian/etc/kernel/entry-token")).unwrap(),
        "debian\n"
    );
    assert_eq!(machine.synced("debian"), "", "the second run has nothing to do");
}

#[test]
fn kernels_come_and_go() {
    let machine = Machine::new();
    machine.kernel("debian", "6.12.9-amd64");
    machine.synced("debian");
    machine.kernel("debian", "6.12.38-amd64");
    machine.kernel("debian", "6.12.38-rt-amd64");
    machine.synced("debian");
    assert!(
        machine
            .read("loader/entries/debian@6.12.38-rt-amd64.conf")
            .contains("sort-key debian-rt\n")
    );
    machine.remove_kernel("debian", "6.12.9-amd64");
    machine.remove_kernel("debian", "6.12.38-rt-amd64");
    machine.synced("debian");
    let listing = machine.listing();
    assert_eq!(listing.matches("loader/entries/").count(), 1, "{listing}");
    assert_eq!(listing.matches("kldload/").count(), 2, "{listing}");
    assert_eq!(machine.content("debian@6.12.38-amd64", "linux"), "kernel 6.12.38-amd64");
    // The last one is not taken away.
    machine.remove_kernel("debian", "6.12.38-amd64");
    assert!(machine.synced("debian").contains("no kernel"));
    assert_eq!(machine.listing(), listing);
}

#[test]
fn boot_environments_share_content_and_leave_each_other_alone() {
    let machine = Machine::new();
    machine.kernel("debian", "6.12.9-amd64");
    machine.synced("debian");
    // A clone brings its origin's arguments along.
    machine.boot_environment("debian-2");
    machine.kernel("debian-2", "6.12.9-amd64");
    machine.synced("debian-2");
    let listing = machine.listing();
    assert_eq!(listing.matches("loader/entries/").count(), 2, "{listing}");
    assert_eq!(listing.matches("kldload/").count(), 2, "{listing}");
    let entry = machine.read("loader/entries/debian-2@6.12.9-amd64.conf");
    assert!(entry.contains("options root=ZFS=rpool/ROOT/debian-2 console=tty0 *\n"), "{entry}");
    assert!(machine.read("loader/loader.conf").contains("default debian@*\n"), "not taken over");

    machine.kernel("debian-2", "6.12.38-amd64");
    machine.remove_kernel("debian-2", "6.12.9-amd64");
    machine.synced("debian-2");
    assert_eq!(machine.content("debian@6.12.9-amd64", "linux"), "kernel 6.12.9-amd64");
    assert_eq!(machine.content("debian-2@6.12.38-amd64", "linux"), "kernel 6.12.38-amd64");
}

#[test]
fn a_new_initramfs_replaces_the_old_one() {
    let machine = Machine::new();
    machine.kernel("debian", "6.12.9-amd64");
    machine.synced("debian");
    machine.initrd("debian", "6.12.9-amd64", "two");
    machine.synced("debian");
    assert!(machine.content("debian@6.12.9-amd64", "initrd").starts_with("two"));
    assert_eq!(machine.listing().matches("kldload/").count(), 2);
}

#[test]
fn a_full_esp_keeps_what_boots() {
    let machine = Machine::new();
    machine.kernel("debian", "6.12.9-amd64");
    machine.synced("debian");
    let before = machine.listing();

    // Found out before anything is copied …
    machine.program(
        "df",
        "echo 'Filesystem 1024-blocks Used Available Capacity Mounted on'; echo 'x 9 9 256 9% /'",
    );
    machine.initrd("debian", "6.12.9-amd64", "two");
    machine.kernel("debian", "6.12.38-amd64");
    let outcome = machine.sync("debian");
    assert!(!outcome.ok);
    assert!(
        outcome
            .text
            .contains("ERROR: the EFI system partition is full: kernel 6.12.38-amd64 needs 2 KiB"),
        "{}",
        outcome.text
    );
    assert_eq!(machine.listing(), before);
    assert!(machine.content("debian@6.12.9-amd64", "initrd").starts_with("one"));

    // … or in the middle.
    machine.program(
        "df",
        "echo 'Filesystem 1024-blocks Used Available Capacity Mounted on'; echo 'x 9 9 99999 9% /'",
    );
    machine.program("cp", "case $2 in */kldload/initrd*) echo half >\"$2\"; echo 'cp: No space left on device' >&2; exit 1;; *) exec /bin/cp \"$@\";; esac");
    let outcome = machine.sync("debian");
    assert!(!outcome.ok);
    assert!(outcome.text.contains("cannot copy kernel 6.12.38-amd64"), "{}", outcome.text);
    assert_eq!(machine.listing(), before);

    fs::remove_file(machine.path("bin/cp")).unwrap();
    machine.synced("debian");
    assert!(machine.content("debian@6.12.9-amd64", "initrd").starts_with("two"));
    assert_eq!(machine.content("debian@6.12.38-amd64", "linux"), "kernel 6.12.38-amd64");
}

#[test]
fn interrupted_and_damaged_content_is_repaired() {
    let machine = Machine::new();
    machine.kernel("debian", "6.12.9-amd64");
    machine.synced("debian");
    let before = machine.listing();
    let linux = before.lines().find(|line| line.contains("linux-")).unwrap();
    fs::write(machine.esp().join(linux), "half").unwrap();
    fs::write(machine.esp().join("kldload/linux-0123.new"), "half").unwrap();
    fs::write(machine.esp().join("loader/entries/debian@6.12.9-amd64.conf.new"), "").unwrap();
    machine.synced("debian");
    assert_eq!(machine.listing(), before);
    assert_eq!(machine.content("debian@6.12.9-amd64", "linux"), "kernel 6.12.9-amd64");
}

#[test]
fn a_kernel_without_zfs_is_not_offered() {
    let machine = Machine::new();
    machine.kernel("debian", "6.12.9-amd64");
    machine.synced("debian");
    let before = machine.listing();
    machine.kernel("debian", "6.12.38-amd64");
    fs::remove_file(machine.path("debian/lib/modules/6.12.38-amd64/updates/dkms/zfs.ko.xz"))
        .unwrap();
    let text = machine.synced("debian");
    assert!(text.contains("WARNING: kernel 6.12.38-amd64 has no ZFS module"), "{text}");
    assert_eq!(machine.listing(), before);

    // Built, but not in the initramfs yet.
    machine.kernel("debian", "6.12.38-amd64");
    fs::write(machine.path("debian/boot/initrd.img-6.12.38-amd64"), "nothing\n").unwrap();
    let text = machine.synced("debian");
    assert!(
        text.contains("WARNING: the initramfs of kernel 6.12.38-amd64 has no ZFS module"),
        "{text}"
    );
    fs::remove_file(machine.path("debian/boot/initrd.img-6.12.38-amd64")).unwrap();
    assert!(machine.synced("debian").contains("update-initramfs -c -k 6.12.38-amd64"));
    assert_eq!(machine.listing(), before);
}

#[test]
fn entries_of_others_are_not_touched() {
    let machine = Machine::new();
    machine.kernel("debian", "6.12.9-amd64");
    let entries = machine.esp().join("loader/entries");
    fs::create_dir_all(&entries).unwrap();
    fs::create_dir_all(machine.esp().join("kldload")).unwrap();
    // A pool of another name with a boot environment of this name, and somebody's own entry.
    let foreign = "linux /kldload/linux-foreign\noptions root=ZFS=tank/ROOT/debian\n";
    fs::write(entries.join("debian@6.12.9-amd64.conf"), foreign).unwrap();
    fs::write(entries.join("debian@5.0-amd64.conf"), foreign).unwrap();
    fs::write(entries.join("mine.conf"), "efi \\KLDLOAD\\mine.efi\n").unwrap();
    for name in ["linux-foreign", "mine.efi", "unused"] {
        fs::write(machine.esp().join("kldload").join(name), "").unwrap();
    }
    let outcome = machine.sync("debian");
    assert!(!outcome.ok);
    assert!(outcome.text.contains("starts another root"), "{}", outcome.text);
    assert_eq!(machine.read("loader/entries/debian@6.12.9-amd64.conf"), foreign);
    assert_eq!(machine.read("loader/entries/debian@5.0-amd64.conf"), foreign);
    let listing = machine.listing();
    assert!(listing.contains("kldload/linux-foreign\nkldload/mine.efi\nloader/"), "{listing}");
}

#[test]
fn the_boot_loader_only_gets_newer() {
    let machine = Machine::new();
    machine.kernel("debian", "6.12.9-amd64");
    machine.synced("debian");
    machine.loader("debian", "257.13-1");
    machine.synced("debian");
    assert!(machine.read("EFI/BOOT/BOOTX64.EFI").contains("257.13-1"));
    machine.loader("debian", "257.9-1");
    machine.synced("debian");
    assert!(machine.read("EFI/systemd/systemd-bootx64.efi").contains("257.13-1"));
    fs::write(machine.esp().join("EFI/BOOT/BOOTX64.EFI"), "ZFSBootMenu").unwrap();
    machine.loader("debian", "258-1");
    machine.synced("debian");
    assert_eq!(machine.read("EFI/BOOT/BOOTX64.EFI"), "ZFSBootMenu");
    assert!(machine.read("EFI/systemd/systemd-bootx64.efi").contains("258-1"));
}

#[test]
fn wrong_use_is_refused() {
    let run = |arguments: &[&str]| {
        let output = Command::new("sh").arg(SCRIPT).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(run(&["--help"]).0, Some(0));
    let (code, text) = run(&["--bogus"]);
    assert!(code == Some(1) && text.contains("unknown argument: --bogus"), "{text}");
    let (code, text) = run(&["--esp"]);
    assert!(code == Some(1) && text.contains("needs a value"), "{text}");
    let (code, text) = run(&["--dataset", "rpool", "--esp", "/nonexistent"]);
    assert!(code == Some(1) && text.contains("not a boot environment"), "{text}");
    let (code, text) = run(&["--dataset", "rpool/ROOT/a b", "--esp", "/nonexistent"]);
    assert!(code == Some(1) && text.contains("has a character"), "{text}");
    let (code, text) = run(&["--dataset", "rpool/ROOT/a", "--esp", "/nonexistent"]);
    assert!(code == Some(1) && text.contains("not a directory"), "{text}");
    // A root on another file system is none of our business: a container, a build.
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(run(&["--root", directory.path().to_str().unwrap()]), (Some(0), String::new()));
}
