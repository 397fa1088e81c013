//! Puts into a tree what a machine does by itself: on its first boot new keys and GUIDs, on every
//! boot the pool grows with the disk. Nothing boots later or fails because of it: no other unit
//! waits for these, but the SSH server for its keys.
//!
//! | file | what it does |
//! |---|---|
//! | `kldload-grow.service` | every boot: partition and pool up to the end of the disk |
//! | `kldload-first-boot.service` | once: new pool, disk and partition GUIDs |
//! | `kldload-host-keys.service` | once: SSH host keys, before the SSH server |
//! | `zgenhostid` | a diversion: stock upgrades make no `/etc/hostid` |
//! | `console-setup.service.d` | the console's keymap is made when /tmp has been emptied (Debian 12) |
//! | `systemd-journal-flush.service.d` | the journal waits for the dataset of `/var/log` |
//! | `kldload-resolv-conf.*`, `*.network` | DHCP, when the tree has no network configuration |

use tree::{Blobs, Kind, MemoryBlobs, Timestamp, Tree};

use crate::RootfsError;
use crate::edit::Editor;

/// What the caller decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// The name of the machine; `None` leaves it to the network.
    pub host_name: Option<String>,
    /// Configure DHCP on wired interfaces when the tree configures no network at all.
    pub network_dhcp: bool,
    /// Units that somebody has disabled: they stay so.
    pub disabled: Vec<String>,
}

/// A file that goes into the tree as it is.
struct Shipped {
    path: &'static str,
    mode: u16,
    text: &'static str,
}

macro_rules! shipped {
    ($($path:literal $mode:literal $file:literal)*) => {
        &[$(Shipped {
            path: $path,
            mode: $mode,
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/files/", $file)),
        }),*]
    };
}

// Behind the macro, which it uses.
mod network;

#[rustfmt::skip]
const FILES: &[Shipped] = shipped! {
    "usr/lib/kldload/pool-disk.sh" 0o644 "pool-disk.sh"
    "usr/lib/kldload/grow-gpt" 0o755 "grow-gpt"
    "usr/lib/kldload/grow" 0o755 "grow"
    "usr/lib/kldload/first-boot" 0o755 "first-boot"
    "usr/lib/kldload/host-keys" 0o755 "host-keys"
    "usr/lib/systemd/system/kldload-grow.service" 0o644 "kldload-grow.service"
    "usr/lib/systemd/system/kldload-first-boot.service" 0o644 "kldload-first-boot.service"
    "usr/lib/systemd/system/kldload-host-keys.service" 0o644 "kldload-host-keys.service"
    "usr/lib/systemd/system/console-setup.service.d/10-kldload.conf" 0o644 "console-setup.conf"
    "usr/lib/systemd/system/systemd-journal-flush.service.d/10-kldload.conf" 0o644 "journal-flush.conf"
};

/// Units that are started, with the target that wants them. Of those that are in the tree.
const ENABLED: &[(&str, &str)] = &[
    ("kldload-grow.service", "multi-user.target"),
    ("kldload-first-boot.service", "multi-user.target"),
    ("kldload-host-keys.service", "multi-user.target"),
    // What the presets of zfsutils-linux enable; a bootstrap without systemd may not have done so.
    ("zfs.target", "multi-user.target"),
    ("zfs-load-module.service", "zfs.target"),
    ("zfs-import.target", "zfs.target"),
    ("zfs-import-cache.service", "zfs-import.target"),
    ("zfs-mount.service", "zfs.target"),
    ("zfs-share.service", "zfs.target"),
    ("zfs-volumes.target", "zfs.target"),
    ("zfs-volume-wait.service", "zfs-volumes.target"),
    ("zfs-zed.service", "zfs.target"),
];

const DIVERSIONS: &str = "var/lib/dpkg/diversions";
const ZGENHOSTID: &str = "usr/sbin/zgenhostid";
const ZGENHOSTID_DIVERTED: &str = "usr/sbin/zgenhostid.distrib";

/// Where the kernel's file systems and the boot mount something.
const MOUNTPOINTS: &[(&str, u16)] =
    &[("dev", 0o755), ("proc", 0o555), ("sys", 0o555), ("run", 0o755), ("tmp", 0o1777)];

/// Adds the files to `tree` and their content to `generated`; `blobs` has the tree's own content.
/// Returns the paths written, in order. Doing it twice changes nothing more.
pub fn install(
    tree: &mut Tree,
    blobs: &dyn Blobs,
    generated: &mut MemoryBlobs,
    options: &Options,
    timestamp: Timestamp,
) -> Result<Vec<String>, RootfsError> {
    let mut installer = Installer {
        editor: Editor { tree, generated, time: timestamp },
        blobs,
        disabled: &options.disabled,
        written: Vec::new(),
    };
    for &(path, mode) in MOUNTPOINTS {
        if !installer.editor.has(path) {
            installer.editor.directory(path, mode)?;
            installer.written.push(path.to_owned());
        }
    }
    installer.ship(FILES)?;
    for (unit, target) in ENABLED {
        installer.enable(unit, target)?;
    }
    installer.divert_zgenhostid()?;
    if let Some(name) = &options.host_name {
        installer.host_name(name)?;
    }
    if options.network_dhcp {
        network::install(&mut installer)?;
    }
    Ok(installer.written)
}

/// Paths that belong to what is added here: no other file stays there.
pub fn own_files() -> impl Iterator<Item = &'static str> {
    FILES.iter().chain(network::files()).map(|shipped| shipped.path).chain([
        ZGENHOSTID,
        ZGENHOSTID_DIVERTED,
        DIVERSIONS,
    ])
}

/// Whether a unit is one of those that are added here.
pub(crate) fn is_own_unit(unit: &str) -> bool {
    own_files().any(|path| path.strip_prefix("usr/lib/systemd/system/") == Some(unit))
}

/// Whether Linux and the DNS would take `name` as the name of a machine.
pub fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    // HOST_NAME_MAX of Linux.
    name.len() <= 64 && name.split('.').all(label)
}

struct Installer<'a> {
    editor: Editor<'a>,
    blobs: &'a dyn Blobs,
    disabled: &'a [String],
    written: Vec<String>,
}

impl Installer<'_> {
    fn file(&mut self, path: &str, mode: u16, text: &str) -> Result<(), RootfsError> {
        self.editor.file(path, mode, text)?;
        self.written.push(path.to_owned());
        Ok(())
    }

    fn ship(&mut self, files: &[Shipped]) -> Result<(), RootfsError> {
        files.iter().try_for_each(|shipped| self.file(shipped.path, shipped.mode, shipped.text))
    }

    fn is_disabled(&self, unit: &str) -> bool {
        self.disabled.iter().any(|disabled| disabled == unit)
    }

    /// What `systemctl enable` does, for a unit that is in the tree.
    fn enable(&mut self, unit: &str, target: &str) -> Result<(), RootfsError> {
        if self.is_disabled(unit) {
            return Ok(());
        }
        let path = format!("etc/systemd/system/{target}.wants/{unit}");
        let found = format!("usr/lib/systemd/system/{unit}");
        let masked = self.editor.tree.get(format!("etc/systemd/system/{unit}")).is_some();
        if self.editor.has(&found) && !masked && self.editor.tree.get(&path).is_none() {
            self.editor.symlink(&path, &format!("/{found}"))?;
            self.written.push(path);
        }
        Ok(())
    }

    /// Renames zgenhostid as `dpkg-divert --local --rename --add` does and puts ours in its place.
    fn divert_zgenhostid(&mut self) -> Result<(), RootfsError> {
        let record = format!("/{ZGENHOSTID}\n/{ZGENHOSTID_DIVERTED}\n:\n");
        let Some(diversions) = self.editor.read(self.blobs, DIVERSIONS)? else { return Ok(()) };
        let known = diversions.lines().step_by(3).any(|name| name == format!("/{ZGENHOSTID}"));
        let tree = &mut *self.editor.tree;
        let Some(original) = tree.get(ZGENHOSTID).filter(|_| !known) else { return Ok(()) };
        if matches!(tree.inode(original).kind, Kind::Directory(_)) {
            return Ok(());
        }
        let failed = |error| RootfsError::Tree { path: ZGENHOSTID_DIVERTED.to_owned(), error };
        let directory = tree.get("usr/sbin").unwrap_or(tree.root());
        tree.link(directory, b"zgenhostid.distrib", original).map_err(failed)?;
        self.written.push(ZGENHOSTID_DIVERTED.to_owned());
        self.file(ZGENHOSTID, 0o755, include_str!("../files/zgenhostid"))?;
        self.file(DIVERSIONS, 0o644, &(diversions + &record))
    }

    fn host_name(&mut self, name: &str) -> Result<(), RootfsError> {
        if !is_host_name(name) {
            return Err(RootfsError::HostName(name.to_owned()));
        }
        self.file("etc/hostname", 0o644, &format!("{name}\n"))?;
        // Debian's convention, for programs that look their own name up; no address is known yet.
        let hosts = self.editor.read(self.blobs, "etc/hosts")?.unwrap_or_default();
        let mut hosts: Vec<&str> =
            hosts.lines().filter(|line| !line.starts_with("127.0.1.1")).collect();
        let short = name.split('.').next().unwrap_or(name);
        let names = if short == name { name.to_owned() } else { format!("{name} {short}") };
        let own = format!("127.0.1.1\t{names}");
        let after_localhost = hosts.iter().position(|line| line.starts_with("127.0.0.1"));
        hosts.insert(after_localhost.map_or(0, |index| index + 1), &own);
        self.editor.change("etc/hosts", 0o644, &(hosts.join("\n") + "\n"))?;
        self.written.push("etc/hosts".to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
