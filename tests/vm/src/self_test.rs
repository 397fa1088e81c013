//! The judge judged: a pool that the kernel makes itself passes, and each damage to it is found.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use anyhow::{Result, bail};
use rustix::fs::{FileType, Mode, Timespec, Timestamps, XattrFlags, mknodat};

use vm_judge::Sums;

use crate::pool::{self, ROOT};
use crate::report::Report;
use crate::{accounting, compare, in_use, run};

/// Makes a pool in a file in memory and judges the comparison with it.
pub fn judge(report: &mut Report) -> Result<()> {
    report.step("make a pool", || {
        fs::File::create("/tmp/pool")?.set_len(512 << 20)?;
        run(
            "zpool",
            &[
                "create",
                "-O",
                "acltype=posix",
                "-O",
                "xattr=sa",
                "-R",
                ROOT,
                "-m",
                "/",
                "judged",
                "/tmp/pool",
            ],
        )?;
        run("zfs", &["create", "judged/home"])
    })?;
    let root = Path::new(ROOT);
    report.step("fill it", || fill(root))?;
    rustix::fs::sync();
    run("zpool", &["sync", "judged"])?;
    let (tree, blobs) = tree::scan::scan(root, &|_| {})?;
    let sums = Sums::of(&tree, &blobs)?;
    // Another file system is mounted on /home, so that the scan leaves it empty.
    report.findings("a tree equals itself", |found| {
        let text = compare::compare(&tree, &sums, root, found)?;
        found.retain(|line| !line.starts_with("/home: has "));
        Ok(text)
    })?;
    // Without sums every content is compared by its SHA-256.
    report.findings("a tree equals itself by digests", |found| {
        let text = compare::compare(&tree, &Sums::default(), root, found)?;
        found.retain(|line| !line.starts_with("/home: has "));
        Ok(text)
    })?;
    report.findings("accounting", |found| {
        let ids = accounting::check("judged", root, found)?
            + accounting::check("judged/home", &root.join("home"), found)?;
        Ok(format!("{ids} owners"))
    })?;
    let none = Sums::default();
    for damage in DAMAGES {
        report.step(&format!("damage is found: {}", damage.what), || {
            run("zfs", &["snapshot", "judged@before"])?;
            (damage.work)(root)?;
            let mut found = Vec::new();
            compare::compare(&tree, if damage.digests { &none } else { &sums }, root, &mut found)?;
            found.retain(|line| !line.starts_with("/home: has "));
            run("zfs", &["rollback", "judged@before"])?;
            run("zfs", &["destroy", "judged@before"])?;
            // A new inode also has a new time, and a missing name is missed.
            if found.len() > 3 || !found.iter().any(|line| line.contains(damage.finding)) {
                bail!("not {:?} was found but {found:?}", damage.finding);
            }
            Ok(damage.finding.to_owned())
        })?;
    }
    report.step("use judged/home", || in_use::use_dataset("judged/home", &root.join("home")))?;
    upgrades(report)
}

/// A pool with a feature set: an upgrade that enables nothing is noticed, a real one passes once.
fn upgrades(report: &mut Report) -> Result<()> {
    report.step("make an old pool", || {
        fs::File::create("/tmp/old")?.set_len(128 << 20)?;
        run(
            "zpool",
            &["create", "-o", "compatibility=openzfs-2.1-linux", "-m", "none", "old", "/tmp/old"],
        )
    })?;
    let noticed = |what: &str, result: Result<String>| match result {
        Ok(said) => bail!("nobody noticed {what}: {said}"),
        Err(error) => Ok(format!("{error:#}").lines().next().unwrap_or_default().to_owned()),
    };
    report.step("an upgrade that does nothing is noticed", || {
        noticed("that the feature set was kept", pool::upgrade_as_it_is("old"))
    })?;
    report.step("upgrade the old pool", || pool::upgrade("old"))?;
    report.step("a second upgrade is noticed", || {
        noticed("that nothing was left to do", pool::upgrade("old"))
    })
}

fn time(seconds: i64, nanoseconds: i64) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    Timestamps { last_access: time, last_modification: time }
}

fn set_time(path: &Path, seconds: i64, nanoseconds: i64) -> Result<()> {
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    Ok(rustix::fs::utimensat(rustix::fs::CWD, path, &time(seconds, nanoseconds), flags)?)
}

fn fill(root: &Path) -> Result<String> {
    let etc = root.join("etc");
    fs::create_dir(&etc)?;
    for number in 0..200 {
        fs::write(
            etc.join(format!("file {number}")),
            vec![b'a' + (number % 26) as u8; number * 700],
        )?;
    }
    fs::hard_link(etc.join("file 7"), etc.join("file seven"))?;
    symlink("/etc/file 7", root.join("link"))?;
    let sparse = fs::File::create(root.join("sparse"))?;
    sparse.set_len(1 << 34)?;
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"middle", 1 << 33)?;
    let device = rustix::fs::makedev(8, 3);
    mknodat(
        rustix::fs::CWD,
        root.join("block"),
        FileType::BlockDevice,
        Mode::from_raw_mode(0o660),
        device,
    )?;
    mknodat(rustix::fs::CWD, root.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
    rustix::fs::setxattr(etc.join("file 9"), "user.note", b"nine", XattrFlags::empty())?;
    rustix::fs::setxattr(etc.join("file 9"), "system.posix_acl_access", ACL, XattrFlags::empty())?;
    rustix::fs::setxattr(
        etc.join("file 10"),
        "security.capability",
        CAPABILITY,
        XattrFlags::empty(),
    )?;
    std::os::unix::fs::chown(etc.join("file 11"), Some(4_000_000_000), Some(1234))?;
    fs::set_permissions(etc.join("file 12"), fs::Permissions::from_mode(0o4755))?;
    set_time(&etc.join("file 13"), -86_400, 123_456_789)?;
    Ok(String::new())
}

/// user::rw- user:1000:r-- group::r-- mask::r-- other::r-- in the kernel's form.
const ACL: &[u8] =
    b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x04\0\xe8\x03\0\0\x04\0\x04\0\xff\xff\xff\xff\
\x10\0\x04\0\xff\xff\xff\xff\x20\0\x04\0\xff\xff\xff\xff";

/// cap_net_raw+ep
const CAPABILITY: &[u8] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

struct Damage {
    what: &'static str,
    /// What must be found.
    finding: &'static str,
    /// Whether contents are compared by digests.
    digests: bool,
    work: fn(&Path) -> Result<()>,
}

/// Changes `path` with `work` and sets its time of modification back, so that only the change is left.
fn quietly(path: &Path, work: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let was = fs::symlink_metadata(path)?;
    work(path)?;
    use std::os::unix::fs::MetadataExt;
    set_time(path, was.mtime(), was.mtime_nsec())
}

const DAMAGES: &[Damage] = &[
    Damage {
        what: "one byte of content",
        finding: "/etc/file 150: content has sum",
        digests: false,
        work: |root| {
            quietly(&root.join("etc/file 150"), |path| {
                let file = fs::OpenOptions::new().write(true).open(path)?;
                Ok(std::os::unix::fs::FileExt::write_all_at(&file, b"!", 77_777)?)
            })
        },
    },
    Damage {
        what: "one byte of content, by digests",
        finding: "/etc/file 150: content is",
        digests: true,
        work: |root| {
            quietly(&root.join("etc/file 150"), |path| {
                let file = fs::OpenOptions::new().write(true).open(path)?;
                Ok(std::os::unix::fs::FileExt::write_all_at(&file, b"!", 77_777)?)
            })
        },
    },
    Damage {
        what: "one nanosecond",
        finding: "/etc/file 13: modified",
        digests: false,
        work: |root| set_time(&root.join("etc/file 13"), -86_400, 123_456_788),
    },
    Damage {
        what: "a mode",
        finding: "/etc/file 12: mode 0755, not 4755",
        digests: false,
        work: |root| {
            Ok(fs::set_permissions(root.join("etc/file 12"), fs::Permissions::from_mode(0o755))?)
        },
    },
    Damage {
        what: "an owner",
        finding: "/etc/file 11: owner 4000000001",
        digests: false,
        work: |root| {
            Ok(std::os::unix::fs::chown(root.join("etc/file 11"), Some(4_000_000_001), None)?)
        },
    },
    Damage {
        what: "an extended attribute",
        finding: "/etc/file 9: xattr user.note is ten",
        digests: false,
        work: |root| {
            Ok(rustix::fs::setxattr(
                root.join("etc/file 9"),
                "user.note",
                b"ten",
                XattrFlags::empty(),
            )?)
        },
    },
    Damage {
        what: "an extended attribute too many",
        finding: "/etc/file 8: xattr user.note is not in",
        digests: false,
        work: |root| {
            Ok(rustix::fs::setxattr(
                root.join("etc/file 8"),
                "user.note",
                b"",
                XattrFlags::empty(),
            )?)
        },
    },
    Damage {
        what: "a capability",
        finding: "/etc/file 10: xattr security.capability is missing",
        digests: false,
        work: |root| Ok(rustix::fs::removexattr(root.join("etc/file 10"), "security.capability")?),
    },
    Damage {
        what: "an access control list",
        finding: "/etc/file 9: xattr system.posix_acl_access is missing",
        digests: false,
        work: |root| {
            Ok(rustix::fs::removexattr(root.join("etc/file 9"), "system.posix_acl_access")?)
        },
    },
    Damage {
        what: "a missing hard link",
        finding: "/etc/file 7: 1 links",
        digests: false,
        work: |root| quietly(&root.join("etc"), |etc| Ok(fs::remove_file(etc.join("file seven"))?)),
    },
    Damage {
        what: "a hard link that is a copy",
        finding: "/etc/file 7: 1 links",
        digests: false,
        work: |root| {
            quietly(&root.join("etc"), |etc| {
                fs::remove_file(etc.join("file seven"))?;
                fs::copy(etc.join("file 7"), etc.join("file seven"))?;
                Ok(())
            })
        },
    },
    Damage {
        what: "a filled hole",
        finding: "/sparse: 1048576 is stored",
        digests: false,
        work: |root| {
            quietly(&root.join("sparse"), |path| {
                run("zfs", &["set", "compression=off", "judged"])?;
                let file = fs::OpenOptions::new().write(true).open(path)?;
                std::os::unix::fs::FileExt::write_all_at(&file, &[0; 1 << 20], 1 << 20)?;
                rustix::fs::sync();
                Ok(())
            })
        },
    },
    Damage {
        what: "a file too many",
        finding: "/: has extra",
        digests: false,
        work: |root| quietly(root, |root| Ok(fs::write(root.join("extra"), "")?)),
    },
    Damage {
        what: "another link target",
        finding: "/link: leads to /etc/file 8",
        digests: false,
        work: |root| {
            quietly(root, |root| {
                fs::remove_file(root.join("link"))?;
                Ok(symlink("/etc/file 8", root.join("link"))?)
            })
        },
    },
    Damage {
        what: "another device number",
        finding: "/block: device (8, 4)",
        digests: false,
        work: |root| {
            quietly(root, |root| {
                fs::remove_file(root.join("block"))?;
                let device = rustix::fs::makedev(8, 4);
                let mode = Mode::from_raw_mode(0o660);
                Ok(mknodat(
                    rustix::fs::CWD,
                    root.join("block"),
                    FileType::BlockDevice,
                    mode,
                    device,
                )?)
            })
        },
    },
];
