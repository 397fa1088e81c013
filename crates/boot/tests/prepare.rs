//! A small tree made to boot: what the ESP, the entries and the initramfs become.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Read;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use archive::cpio;
use boot::{Options, Problem, REQUIRED_DRIVERS, prepare};
use tree::{Blobs, Directory, File, Inode, Kind, LayeredBlobs, MemoryBlobs, Metadata, Tree};

const VERSION: &str = "6.12.38+deb13-amd64";

struct Root {
    tree: Tree,
    blobs: MemoryBlobs,
}

fn options() -> Options {
    Options {
        dataset: "rpool/ROOT/debian".into(),
        pool: "rpool".into(),
        be: "debian".into(),
        kernel_arguments: vec!["nosmt".into(), "dyndbg=\"file x +p\"".into()],
        timestamp: 1_700_000_000,
    }
}

impl Root {
    fn empty() -> Self {
        let mut root = Self {
            tree: Tree::new(Metadata { mode: 0o755, ..Metadata::default() }),
            blobs: MemoryBlobs::default(),
        };
        let kind = Kind::Symlink(b"usr/lib".as_slice().into());
        root.tree
            .insert(root.tree.root(), b"lib", Inode { metadata: Metadata::default(), kind })
            .unwrap();
        root.put("etc/os-release", "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n");
        root.put(
            "usr/lib/systemd/boot/efi/systemd-bootx64.efi",
            "MZ #### LoaderInfo: systemd-boot 257.8-1 ####",
        );
        root
    }

    fn with_kernel() -> Self {
        let mut root = Self::empty();
        root.put("etc/hostid", "\x01\x02\x03\x04");
        root.kernel(VERSION, &REQUIRED_DRIVERS);
        root
    }

    fn put(&mut self, path: &str, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        let blob = self.blobs.insert(bytes);
        let kind = Kind::File(File::dense(bytes.len() as u64, blob));
        let (parent, name) = path.rsplit_once('/').unwrap();
        let parent = self
            .tree
            .make_directories(parent, &Metadata { mode: 0o755, ..Metadata::default() })
            .unwrap();
        let _ = self.tree.remove(parent, name.as_bytes());
        self.tree
            .insert(
                parent,
                name.as_bytes(),
                Inode { metadata: Metadata { mode: 0o644, ..Metadata::default() }, kind },
            )
            .unwrap();
    }

    fn remove(&mut self, path: &str) {
        let (parent, name) = path.rsplit_once('/').unwrap();
        let parent = self.tree.resolve(parent).unwrap();
        self.tree.remove(parent, name.as_bytes()).unwrap();
    }

    /// A kernel as Debian's packages and zfs-dkms leave it.
    fn kernel(&mut self, version: &str, drivers: &[&str]) {
        let modules = format!("usr/lib/modules/{version}");
        self.put(&format!("boot/vmlinuz-{version}"), format!("kernel {version}"));
        self.put(&format!("{modules}/updates/dkms/zfs.ko.xz"), "zfs");
        self.put(&format!("{modules}/updates/dkms/spl.ko.xz"), "spl");
        self.put(&format!("{modules}/kernel/fs/efivarfs/efivarfs.ko.xz"), "efivarfs");
        self.put(&format!("{modules}/modules.builtin"), "kernel/drivers/virtio/virtio_pci.ko\n");
        let drivers = drivers.iter().filter(|driver| **driver != "virtio_pci");
        let mut paths: Vec<_> =
            drivers.map(|driver| format!("{modules}/kernel/drivers/{driver}.ko.xz")).collect();
        paths.push(format!("{modules}/updates/dkms/zfs.ko.xz"));
        paths.push(format!("{modules}/updates/dkms/spl.ko.xz"));
        self.put(&format!("boot/initrd.img-{version}"), initramfs(&paths));
    }

    fn prepare(&mut self) -> Result<(boot::Esp, MemoryBlobs), String> {
        let mut generated = MemoryBlobs::default();
        match prepare(&mut self.tree, &self.blobs, &mut generated, &options()) {
            Ok(esp) => Ok((esp, generated)),
            Err(problems) => Err(problems.to_string()),
        }
    }
}

fn initramfs(modules: &[String]) -> Vec<u8> {
    let mut archive = cpio::Writer::new(Vec::new());
    for directory in ["etc", "scripts", "scripts/local-top", "usr", "usr/lib", "usr/sbin"] {
        archive.directory(directory, 0o755).unwrap();
    }
    for path in modules {
        archive.file(path, 0o644, b"module").unwrap();
    }
    archive.file("scripts/zfs", 0o644, b"").unwrap();
    archive.file("usr/sbin/zpool", 0o755, b"").unwrap();
    archive.file("etc/hostid", 0o644, b"\x01\x02\x03\x04").unwrap();
    archive.file("scripts/local-top/ORDER", 0o644, b"/scripts/local-top/zfs \"$@\"\n").unwrap();
    archive.finish().unwrap()
}

fn bytes(tree: &Tree, blobs: &dyn Blobs, path: &str) -> Vec<u8> {
    let Kind::File(file) = &tree.inode(tree.resolve(path).unwrap()).kind else { panic!("{path}") };
    let mut bytes = Vec::new();
    blobs.open(&file.blob).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

fn text(tree: &Tree, blobs: &dyn Blobs, path: &str) -> String {
    String::from_utf8(bytes(tree, blobs, path)).unwrap()
}

fn files(tree: &Tree) -> String {
    let is_directory = |kind: &Kind| matches!(kind, Kind::Directory(directory) if *directory != Directory::default());
    tree.walk()
        .filter(|entry| !is_directory(&entry.inode.kind))
        .map(|entry| {
            format!("{:o} {}\n", entry.inode.metadata.mode, String::from_utf8(entry.path).unwrap())
        })
        .collect()
}

#[test]
fn the_esp_of_one_kernel() {
    let mut root = Root::with_kernel();
    let (esp, generated) = root.prepare().unwrap();
    let blobs = LayeredBlobs { upper: generated, lower: root.blobs };
    let entry = text(&esp.tree, &blobs, "loader/entries/debian@6.12.38+deb13-amd64.conf");
    let initrd = entry.split("initrd-").nth(1).unwrap().split('\n').next().unwrap();
    assert_eq!(
        files(&esp.tree),
        format!(
            "644 EFI/BOOT/BOOTX64.EFI\n\
             644 EFI/systemd/systemd-bootx64.efi\n\
             644 kldload/initrd-{initrd}\n\
             644 kldload/linux-198f5e31da8e42c5f6749ae59602e145\n\
             644 loader/entries/debian@6.12.38+deb13-amd64.conf\n\
             644 loader/loader.conf\n"
        )
    );
    assert_eq!(
        entry,
        format!(
            "title Debian GNU/Linux 13 (trixie), debian\n\
             version 6.12.38+deb13-amd64\n\
             sort-key debian\n\
             linux /kldload/linux-198f5e31da8e42c5f6749ae59602e145\n\
             initrd /kldload/initrd-{initrd}\n\
             options root=ZFS=rpool/ROOT/debian console=tty0 console=ttyS0,115200n8 nosmt dyndbg=\"file x +p\"\n"
        )
    );
    assert_eq!(
        text(&esp.tree, &blobs, "loader/loader.conf"),
        "timeout 3\nconsole-mode keep\ndefault debian@*\n"
    );
    let initramfs = bytes(&esp.tree, &blobs, &format!("kldload/initrd-{initrd}"));
    assert_eq!(initramfs, bytes(&root.tree, &blobs, "boot/initrd.img-6.12.38+deb13-amd64"));
    assert_eq!(esp.bytes, 13 * 32768, "6 files and 7 directories of a cluster each");
    assert_eq!(esp.update_bytes, 2 * 32768);
    assert_eq!(esp.kernels[0].version, VERSION);
    assert_eq!(
        esp.warnings,
        [
            "/boot/initrd.img-6.12.38+deb13-amd64 lacks the optional driver ena",
            "/boot/initrd.img-6.12.38+deb13-amd64 lacks the optional driver virtio_net"
        ]
    );
}

#[test]
fn the_root_keeps_hooks_and_no_host_id() {
    let mut root = Root::with_kernel();
    let (_, generated) = root.prepare().unwrap();
    let listing = files(&root.tree);
    for expected in [
        "755 efi\n",
        "755 etc/initramfs/post-update.d/kldload\n",
        "644 etc/kernel/cmdline\n",
        "644 etc/kernel/entry-token\n",
        "644 etc/kernel/install.conf\n",
        "755 etc/kernel/postinst.d/zz-kldload\n",
        "755 etc/kernel/postrm.d/zz-kldload\n",
        "755 usr/lib/kernel/install.d/90-kldload.install\n",
        "644 usr/lib/kldload/boot-disk\n",
        "755 usr/lib/kldload/esp-sync\n",
        "755 usr/lib/systemd/system-generators/kldload-esp\n",
        "755 usr/share/initramfs-tools/hooks/kldload\n",
        "755 usr/share/initramfs-tools/scripts/local-top/kldload\n",
    ] {
        assert!(listing.contains(expected), "{expected} in\n{listing}");
    }
    assert!(!listing.contains("hostid"), "{listing}");
    let cmdline = text(&root.tree, &generated, "etc/kernel/cmdline");
    assert_eq!(
        cmdline,
        "root=ZFS=rpool/ROOT/debian console=tty0 console=ttyS0,115200n8 nosmt dyndbg=\"file x +p\"\n"
    );
    for entry in root.tree.walk().filter(|entry| entry.path.starts_with(b"usr/lib/kldload")) {
        assert_eq!(entry.inode.metadata.mtime.seconds, 1_700_000_000);
    }
}

#[test]
fn the_initramfs_is_extended_once() {
    let mut root = Root::with_kernel();
    let before = bytes(&root.tree, &root.blobs, "boot/initrd.img-6.12.38+deb13-amd64");
    let (esp, generated) = root.prepare().unwrap();
    assert_eq!(
        esp.kernels[0].appended,
        [
            "scripts/local-top/kldload",
            "usr/lib/kldload/boot-disk",
            "scripts/local-top/ORDER",
            "etc/hostid",
            "usr/lib/modules/6.12.38+deb13-amd64/kernel/fs/efivarfs/efivarfs.ko.xz",
        ]
    );
    let after = bytes(&root.tree, &generated, "boot/initrd.img-6.12.38+deb13-amd64");
    assert!(after.starts_with(&before));
    assert!(after.len().is_multiple_of(512));
    let mut seen = Vec::new();
    cpio::read_initramfs(&after[before.len()..], &mut |entry| {
        let mut data = String::new();
        if entry.is_file()
            && entry.path != b"scripts/local-top/kldload"
            && entry.path != b"usr/lib/kldload/boot-disk"
        {
            entry.data.read_to_string(&mut data)?;
        }
        seen.push(format!("{:o} {} {data:?}", entry.mode, String::from_utf8_lossy(&entry.path)));
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    assert_eq!(
        seen,
        [
            "40755 usr/lib/kldload \"\"",
            "40755 usr/lib/modules \"\"",
            "40755 usr/lib/modules/6.12.38+deb13-amd64 \"\"",
            "40755 usr/lib/modules/6.12.38+deb13-amd64/kernel \"\"",
            "40755 usr/lib/modules/6.12.38+deb13-amd64/kernel/fs \"\"",
            "40755 usr/lib/modules/6.12.38+deb13-amd64/kernel/fs/efivarfs \"\"",
            "100755 scripts/local-top/kldload \"\"",
            "100644 usr/lib/kldload/boot-disk \"\"",
            "100644 scripts/local-top/ORDER \"/scripts/local-top/zfs \\\"$@\\\"\\n/scripts/local-top/kldload \\\"$@\\\"\\n[ -e /conf/param.conf ] && . /conf/param.conf\\n\"",
            "100644 etc/hostid \"\"",
            "100644 usr/lib/modules/6.12.38+deb13-amd64/kernel/fs/efivarfs/efivarfs.ko.xz \"efivarfs\"",
        ]
    );

    // The prepared tree prepared again: the same bytes.
    let mut again = root.tree.clone();
    let both = LayeredBlobs { upper: generated, lower: root.blobs };
    let second = prepare(&mut again, &both, &mut MemoryBlobs::default(), &options()).unwrap();
    assert_eq!(second.kernels[0].appended, Vec::<String>::new());
    assert_eq!(files(&second.tree), files(&esp.tree));
}

#[test]
fn kernels_in_order_of_preference() {
    let mut root = Root::with_kernel();
    for version in ["6.12.9+deb13-amd64", "6.13.1+deb13-rt-amd64", "6.12.117+deb13-amd64"] {
        root.kernel(version, &REQUIRED_DRIVERS);
    }
    root.put("boot/vmlinuz-6.1.0-9-amd64.old", "kept by hand");
    let (esp, generated) = root.prepare().unwrap();
    let versions: Vec<_> = esp.kernels.iter().map(|kernel| kernel.version.as_str()).collect();
    assert_eq!(
        versions,
        ["6.12.117+deb13-amd64", VERSION, "6.12.9+deb13-amd64", "6.13.1+deb13-rt-amd64"]
    );
    let entry = text(&esp.tree, &generated, "loader/entries/debian@6.13.1+deb13-rt-amd64.conf");
    assert!(entry.contains("sort-key debian-rt\n"), "{entry}");
}

#[test]
fn every_problem_is_named_and_nothing_is_changed() {
    let refused = |root: &mut Root, expected: &str| {
        let before = root.tree.clone();
        let text = root.prepare().map(|_| ()).unwrap_err();
        assert_eq!(text, expected);
        assert!(root.tree == before);
    };
    let mut root = Root::empty();
    root.remove("usr/lib/systemd/boot/efi/systemd-bootx64.efi");
    refused(
        &mut root,
        "/usr/lib/systemd/boot/efi/systemd-bootx64.efi is missing: install systemd-boot-efi\n\
         the tree has no kernel (/boot/vmlinuz-VERSION): install linux-image-amd64",
    );

    let mut root = Root::with_kernel();
    root.remove("boot/initrd.img-6.12.38+deb13-amd64");
    refused(
        &mut root,
        "/boot/initrd.img-6.12.38+deb13-amd64 is missing: install initramfs-tools and run update-initramfs -c -k 6.12.38+deb13-amd64",
    );

    let mut root = Root::with_kernel();
    root.remove("usr/lib/modules/6.12.38+deb13-amd64");
    refused(
        &mut root,
        "/lib/modules/6.12.38+deb13-amd64 is missing: install linux-image-6.12.38+deb13-amd64",
    );

    let mut root = Root::with_kernel();
    root.kernel(VERSION, &["ahci", "virtio_blk", "vmw_pvscsi", "xen_blkfront", "sd_mod"]);
    refused(
        &mut root,
        "/boot/initrd.img-6.12.38+deb13-amd64 lacks the drivers nvme, virtio_scsi, mptspi, hv_storvsc: \
         set MODULES=most in /etc/initramfs-tools/initramfs.conf, or name them in \
         /etc/initramfs-tools/modules, and run update-initramfs -u -k 6.12.38+deb13-amd64",
    );

    // Modules of another kernel do not count.
    let mut root = Root::with_kernel();
    let modules =
        ["zfs", "spl"].map(|module| format!("usr/lib/modules/6.12.9/updates/dkms/{module}.ko"));
    root.put("boot/initrd.img-6.12.38+deb13-amd64", initramfs(&modules));
    let text = root.prepare().map(|_| ()).unwrap_err();
    assert!(text.starts_with("/boot/initrd.img-6.12.38+deb13-amd64: zfs.ko for 6.12.38+deb13-amd64 is missing: install zfs-initramfs and run"), "{text}");

    let mut root = Root::with_kernel();
    root.remove("usr/lib/modules/6.12.38+deb13-amd64/updates");
    refused(
        &mut root,
        "kernel 6.12.38+deb13-amd64 has no ZFS module (/lib/modules/6.12.38+deb13-amd64/**/zfs.ko): \
         install zfs-dkms and linux-headers-6.12.38+deb13-amd64 and look at `dkms status`",
    );

    let mut root = Root::with_kernel();
    root.put("boot/initrd.img-6.12.38+deb13-amd64", "junk");
    let text = root.prepare().map(|_| ()).unwrap_err();
    assert!(
        text.starts_with("/boot/initrd.img-6.12.38+deb13-amd64: at byte 0: neither a cpio archive"),
        "{text}"
    );
}

#[test]
fn options_no_entry_can_hold_are_refused() {
    let wrong = |change: &dyn Fn(&mut Options)| {
        let mut root = Root::with_kernel();
        let mut options = options();
        change(&mut options);
        let result = prepare(&mut root.tree, &root.blobs, &mut MemoryBlobs::default(), &options);
        let problems = result.unwrap_err().0;
        assert!(
            problems.iter().all(|problem| matches!(problem, Problem::Option { .. })),
            "{problems:?}"
        );
        problems[0].to_string()
    };
    assert!(wrong(&|o| o.be = "de:bian".into()).starts_with("boot environment \"de:bian\""));
    assert!(wrong(&|o| o.be = "other".into()).contains("not the name of the boot environment"));
    assert!(wrong(&|o| o.pool = "tank".into()).starts_with("dataset \"rpool/ROOT/debian\""));
    assert!(wrong(&|o| o.dataset = "rpool//debian".into()).starts_with("dataset"));
    for argument in ["root=/dev/sda", "a  b", " a", "a\nb", "é", ""] {
        let text = wrong(&|o| o.kernel_arguments = vec![argument.into()]);
        assert!(text.starts_with("kernel argument"), "{text}");
    }
}

/// `esp-sync` on the machine and `prepare` at the build write the same ESP.
#[test]
fn the_running_machine_finds_nothing_to_do() {
    let mut root = Root::with_kernel();
    root.kernel("6.13.1+deb13-rt-amd64", &REQUIRED_DRIVERS);
    let (esp, generated) = root.prepare().unwrap();
    let blobs = LayeredBlobs { upper: generated, lower: root.blobs };
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    unpack(&root.tree, &blobs, &at("root"));
    unpack(&esp.tree, &blobs, &at("esp"));
    // The host may have the real one or not; names in a cpio archive are plain text.
    fs::create_dir(at("bin")).unwrap();
    let listing = "#!/bin/sh\ngrep -a -o 'usr/lib/modules/[^[:cntrl:]]*/zfs\\.ko' \"$1\"\n";
    fs::write(at("bin/lsinitramfs"), listing).unwrap();
    fs::set_permissions(at("bin/lsinitramfs"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", at("bin").display(), std::env::var("PATH").unwrap());
    let run = || {
        let output = Command::new("sh")
            .env("PATH", &path)
            .arg(at("root/usr/lib/kldload/esp-sync"))
            .arg("--root")
            .arg(at("root"))
            .arg("--esp")
            .arg(at("esp"))
            .args(["--dataset", "rpool/ROOT/debian"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    assert_eq!(run(), "");
    // And makes the same from nothing.
    fs::remove_dir_all(at("esp")).unwrap();
    fs::create_dir(at("esp")).unwrap();
    run();
    for entry in esp.tree.walk() {
        if let Kind::File(_) = entry.inode.kind {
            let path = String::from_utf8(entry.path).unwrap();
            assert_eq!(
                fs::read(at("esp").join(&path)).unwrap(),
                bytes(&esp.tree, &blobs, &path),
                "{path}"
            );
        }
    }
}

fn unpack(tree: &Tree, blobs: &dyn Blobs, to: &Path) {
    for entry in tree.walk() {
        let path = String::from_utf8(entry.path).unwrap();
        let target = to.join(&path);
        match &entry.inode.kind {
            Kind::Directory(_) => fs::create_dir_all(&target).unwrap(),
            Kind::Symlink(link) => {
                std::os::unix::fs::symlink(std::str::from_utf8(link).unwrap(), &target).unwrap()
            }
            _ => {
                fs::write(&target, bytes(tree, blobs, &path)).unwrap();
                fs::set_permissions(
                    &target,
                    fs::Permissions::from_mode(entry.inode.metadata.mode.into()),
                )
                .unwrap();
            }
        }
    }
}
