//! Takes out of a tree what must not be the same on two machines, or belongs to the build.
//!
//! Each rule is one row with its reason. Rules name only what packages and services make at run
//! time; no file of a package is touched, so `dpkg --verify` stays silent. Copies inside an
//! initramfs are the boot room's business.
//!
//! `/etc/machine-id` becomes *empty*. Missing, or with the word `uninitialized`, it would make
//! systemd treat the start as a first boot of a factory-reset system: it applies all presets, which
//! in Debian enables every installed unit, and systemd-firstboot asks its questions on the console.
//! Empty, systemd makes a new id and starts as configured.

use tree::{File, Kind, MemoryBlobs, Timestamp, Tree};

use crate::RootfsError;
use crate::edit::Editor;
use crate::glob::find;
use crate::told;

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The name goes, with a directory everything below it.
    Remove,
    /// The file stays with its owner and mode, and has no content any more.
    Empty,
    /// Its content is replaced by this text.
    Replace(&'static str),
}

/// One rule: a pattern (`*` inside a component; a last `**` means all regular files below), what
/// to do with what it matches, and why.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Paths it is about.
    pub pattern: &'static str,
    /// What is done.
    pub action: Action,
    /// Why, for people.
    pub reason: &'static str,
}

const fn remove(pattern: &'static str, reason: &'static str) -> Rule {
    Rule { pattern, action: Action::Remove, reason }
}

const fn empty(pattern: &'static str, reason: &'static str) -> Rule {
    Rule { pattern, action: Action::Empty, reason }
}

const KEY: &str = "private keys are made on the machine, never copied";
const LEASE: &str = "addresses and client identities belong to one machine";
const BUILD: &str = "left over from the build";
const LOG: &str = "the machine starts with empty logs";
const CACHE: &str = "made again from the network, and stale by then";
const SEED: &str = "two machines must not start with the same random numbers";
const POOL: &str = "names the pools and disks of another machine";
const BACKUP: &str = "may hold passwords that were changed since";
const HISTORY: &str = "what was typed while building";

/// All rules, in the order they are applied.
#[rustfmt::skip]
pub const RULES: &[Rule] = &[
    empty ("etc/machine-id",                     "systemd makes a new one on the machine"),
    remove("var/lib/dbus/machine-id",            "D-Bus falls back to /etc/machine-id"),
    remove("etc/hostid",                         "a pool that saw no host id can be imported anywhere without -f"),
    remove("etc/hostname",                       "the name of the build host"),
    remove("etc/zfs/zpool.cache",                POOL),
    remove("etc/zfs/zfs-list.cache/*",           POOL),
    remove("etc/lvm/archive/*",                  POOL),
    remove("etc/lvm/backup/*",                   POOL),
    remove("etc/nvme/hostnqn",                   "one storage host has one name"),
    remove("etc/nvme/hostid",                    "one storage host has one name"),
    Rule { pattern: "etc/iscsi/initiatorname.iscsi", action: Action::Replace("GenerateName=yes\n"), reason: "one storage host has one name" },

    remove("etc/ssh/ssh_host_*_key",             KEY),
    remove("etc/ssh/ssh_host_*_key.pub",         KEY),
    remove("etc/ssl/private/ssl-cert-snakeoil.key", KEY),
    remove("etc/ssl/certs/ssl-cert-snakeoil.pem", KEY),
    remove("var/lib/dkms/mok.key",               KEY),
    remove("var/lib/shim-signed/mok/*",          KEY),
    remove("var/lib/systemd/credential.secret",  KEY),
    remove("var/lib/NetworkManager/secret_key",  KEY),

    remove("var/lib/systemd/random-seed",        SEED),
    remove("var/lib/urandom/random-seed",        SEED),
    remove("var/lib/random-seed",                SEED),

    remove("var/lib/dhcp/*.lease*",              LEASE),
    remove("var/lib/dhclient/*",                 LEASE),
    remove("var/lib/dhcpcd/*",                   LEASE),
    remove("var/lib/NetworkManager/*lease*",     LEASE),
    remove("var/lib/NetworkManager/timestamps",  LEASE),
    remove("var/lib/NetworkManager/seen-bssids", LEASE),
    remove("var/lib/systemd/network/*",          LEASE),
    remove("etc/udev/rules.d/70-persistent-net.rules", LEASE),
    remove("var/lib/cloud/instance",             LEASE),
    remove("var/lib/cloud/instances/*",          LEASE),
    remove("var/lib/cloud/data/*",               LEASE),
    remove("var/lib/cloud/sem/*",                LEASE),

    remove("etc/passwd-",                        BACKUP),
    remove("etc/shadow-",                        BACKUP),
    remove("etc/group-",                         BACKUP),
    remove("etc/gshadow-",                       BACKUP),
    remove("etc/subuid-",                        BACKUP),
    remove("etc/subgid-",                        BACKUP),
    remove("var/backups/**",                     BACKUP),
    empty ("var/cache/debconf/passwords.dat",    "answers to password questions are no longer needed"),

    remove("etc/.pwd.lock",                      BUILD),
    remove("etc/apt/apt.conf.d/99mmdebstrap",    BUILD),
    remove("var/lib/dkms/*/*/build",             BUILD),
    remove("var/lib/dkms/*/*/*/*/log",           BUILD),
    remove("var/lib/systemd/timers/*",           BUILD),
    // Debian's /var/lock is a link to /run/lock: directories stay.
    remove("run/**",                             BUILD),
    remove("tmp/*",                              BUILD),
    remove("var/tmp/*",                          BUILD),
    remove("root/.*_history",                    HISTORY),
    remove("root/.lesshst",                      HISTORY),
    remove("root/.viminfo",                      HISTORY),
    remove("root/.wget-hsts",                    HISTORY),
    remove("root/.cache",                        HISTORY),

    remove("var/lib/apt/lists/**",               CACHE),
    remove("var/cache/apt/**",                   CACHE),
    remove("var/cache/ldconfig/aux-cache",       CACHE),

    // Login records keep their groups and modes.
    empty ("var/log/btmp*",                      LOG),
    empty ("var/log/wtmp*",                      LOG),
    empty ("var/log/lastlog",                    LOG),
    empty ("var/log/faillog",                    LOG),
    remove("var/log/journal/*",                  LOG),
    remove("var/log/**",                         LOG),
];

/// Login records that the rule for all logs must leave, emptied.
const KEPT_LOGS: &[&[u8]] =
    &[b"var/log/btmp", b"var/log/wtmp", b"var/log/lastlog", b"var/log/faillog"];

/// One change made by [`clean`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Path from the root; bytes that are no UTF-8 are replaced.
    pub path: String,
    /// What was done.
    pub action: Action,
    /// The reason of the rule.
    pub reason: &'static str,
}

/// What [`clean`] did, in the order of the rules.
pub type Report = Vec<Change>;

/// Applies all [`RULES`], and takes the build host's name servers out of `/etc/resolv.conf`. What somebody
/// `told` to be there (paths from the root) stays as it is, with all that is below. New files get `timestamp`;
/// replaced content goes to `generated`.
pub fn clean(
    tree: &mut Tree,
    generated: &mut MemoryBlobs,
    told: &[String],
    timestamp: Timestamp,
) -> Result<Report, RootfsError> {
    let mut report = Report::new();
    // dkms makes both. A certificate alone is of the key that a recipe names.
    if tree.get("var/lib/dkms/mok.key").is_some() {
        apply(tree, generated, told, &remove("var/lib/dkms/mok.pub", KEY), &mut report)?;
    }
    for rule in RULES {
        apply(tree, generated, told, rule, &mut report)?;
    }
    // A link belongs to whoever manages the file; a file was copied from the build host.
    let resolv_conf = find(tree, "etc/resolv.conf");
    if resolv_conf.iter().any(|found| matches!(tree.inode(found.id).kind, Kind::File(_))) {
        let rule = remove("etc/resolv.conf", "the name servers of the build host");
        apply(tree, generated, told, &rule, &mut report)?;
    }
    if tree.resolve("etc").is_ok() && tree.get("etc/machine-id").is_none() {
        let mut editor = Editor { tree, generated, time: timestamp };
        editor.file("etc/machine-id", 0o444, "")?;
        report.push(Change {
            path: "etc/machine-id".to_owned(),
            action: Action::Empty,
            reason: "an empty file, not a missing one, lets systemd start as configured",
        });
    }
    Ok(report)
}

fn apply(
    tree: &mut Tree,
    generated: &mut MemoryBlobs,
    told: &[String],
    rule: &Rule,
    report: &mut Report,
) -> Result<(), RootfsError> {
    for found in find(tree, rule.pattern) {
        let path = String::from_utf8_lossy(&found.path).into_owned();
        let failed = |error| RootfsError::Tree { path: path.clone(), error };
        let text = match rule.action {
            Action::Remove if KEPT_LOGS.contains(&&*found.path) => continue,
            Action::Remove => {
                if told::remove(tree, &found, told).map_err(failed)? {
                    report.push(Change { path, action: rule.action, reason: rule.reason });
                }
                continue;
            }
            _ if told::covers(told, &found.path) => continue,
            Action::Empty => "",
            Action::Replace(text) => text,
        };
        let blob = generated.insert(text.as_bytes());
        let wanted = Kind::File(File::dense(text.len() as u64, blob));
        let is_file = matches!(tree.inode(found.id).kind, Kind::File(_));
        if is_file && tree.inode(found.id).kind != wanted {
            tree.set_kind(found.id, wanted).map_err(failed)?;
            report.push(Change { path, action: rule.action, reason: rule.reason });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
