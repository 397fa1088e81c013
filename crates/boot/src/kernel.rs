//! The kernels of a tree: image, initramfs and modules that belong together, in order of preference.

use std::cmp::Ordering;

use tree::{InodeId, Kind, Tree};

use crate::Problem;

/// A kernel with everything it boots from; all in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// As `uname -r` says it: `6.12.94+deb13-amd64`.
    pub version: String,
    /// `/boot/vmlinuz-VERSION`.
    pub image: InodeId,
    /// `/boot/initrd.img-VERSION`.
    pub initramfs: InodeId,
    /// `/usr/lib/modules/VERSION`.
    pub modules: InodeId,
}

/// A kernel made for a purpose; never preferred to one for every machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flavour {
    /// For every machine.
    General,
    /// Without drivers for hardware (`-cloud-`).
    Cloud,
    /// For real-time work (`-rt-`).
    RealTime,
}

impl Flavour {
    /// Told from the version.
    pub fn of(version: &str) -> Self {
        if version.contains("-rt-") {
            Self::RealTime
        } else if version.contains("-cloud-") {
            Self::Cloud
        } else {
            Self::General
        }
    }

    /// What an entry's sort key has after the token; the empty one sorts first.
    pub fn sort_suffix(self) -> &'static str {
        match self {
            Self::General => "",
            Self::Cloud => "-cloud",
            Self::RealTime => "-rt",
        }
    }
}

/// Kernel versions, best first: general before special flavours, then newer before older.
pub fn preference(a: &str, b: &str) -> Ordering {
    Flavour::of(a).cmp(&Flavour::of(b)).then_with(|| compare_versions(b, a)).then_with(|| a.cmp(b))
}

/// Debian's version order on one component (deb-version(7)): runs of digits compare as numbers,
/// `~` sorts before the end, letters before everything else.
fn compare_versions(a: &str, b: &str) -> Ordering {
    fn weight(byte: Option<&u8>) -> i32 {
        match byte {
            Some(b'~') => -1,
            None => 0,
            Some(b) if b.is_ascii_digit() => 0,
            Some(b) if b.is_ascii_alphabetic() => i32::from(*b),
            Some(b) => i32::from(*b) + 256,
        }
    }
    fn take_number<'a>(text: &mut &'a [u8]) -> &'a [u8] {
        let end = text.iter().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
        let (number, rest) = text.split_at(end);
        *text = rest;
        let zeros = number.iter().take_while(|&&b| b == b'0').count();
        &number[zeros..]
    }
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while !a.is_empty() || !b.is_empty() {
        let is_text = |text: &[u8]| text.first().is_some_and(|b| !b.is_ascii_digit());
        while is_text(a) || is_text(b) {
            let order = weight(a.first()).cmp(&weight(b.first()));
            if order.is_ne() {
                return order;
            }
            a = a.get(1..).unwrap_or_default();
            b = b.get(1..).unwrap_or_default();
        }
        let (x, y) = (take_number(&mut a), take_number(&mut b));
        let order = x.len().cmp(&y.len()).then_with(|| x.cmp(y));
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

/// Whether a file in `/boot` after `vmlinuz-` is a copy somebody kept, not a kernel.
fn is_leftover(version: &str) -> bool {
    version.is_empty()
        || version.ends_with(".old")
        || version.ends_with(".bak")
        || version.contains(".dpkg-")
}

/// The kernels in `/boot`, best first. A kernel that lacks a part is a problem, not skipped: an
/// image whose newest kernel cannot start is not what was asked for.
pub fn find(tree: &Tree, problems: &mut Vec<Problem>) -> Vec<Kernel> {
    let mut kernels = Vec::new();
    let mut found = false;
    let boot = tree.resolve("boot").ok().and_then(|id| tree.directory(id));
    for (name, _) in boot.into_iter().flat_map(|boot| boot.iter()) {
        let Some(version) = name.strip_prefix(b"vmlinuz-") else { continue };
        let version = match std::str::from_utf8(version) {
            Ok(version) if is_leftover(version) => continue,
            Ok(version) if is_version(version) => version,
            _ => {
                problems.push(Problem::Unreadable {
                    path: format!("/boot/{}", String::from_utf8_lossy(name)),
                    reason: "the version in a kernel's name has only A-Z a-z 0-9 . _ + ~ -".into(),
                });
                continue;
            }
        };
        found = true;
        let image = format!("boot/vmlinuz-{version}");
        let initramfs = format!("boot/initrd.img-{version}");
        let modules = format!("lib/modules/{version}");
        let image = file(tree, &image, problems, || "reinstall the kernel package".into());
        let initramfs = file(tree, &initramfs, problems, || {
            format!("install initramfs-tools and run update-initramfs -c -k {version}")
        });
        let modules = tree.resolve(&modules).ok().filter(|&id| tree.directory(id).is_some());
        if modules.is_none() {
            problems.push(Problem::Missing {
                path: format!("/lib/modules/{version}"),
                hint: format!("install linux-image-{version}"),
            });
        }
        if let (Some(image), Some(initramfs), Some(modules)) = (image, initramfs, modules) {
            kernels.push(Kernel { version: version.into(), image, initramfs, modules });
        }
    }
    if !found {
        problems.push(Problem::NoKernel);
    }
    kernels.sort_by(|a, b| preference(&a.version, &b.version));
    kernels
}

fn is_version(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+~-".contains(&b))
}

/// The regular file at `path`, symbolic links followed.
pub(crate) fn file(
    tree: &Tree,
    path: &str,
    problems: &mut Vec<Problem>,
    hint: impl FnOnce() -> String,
) -> Option<InodeId> {
    let id = tree.resolve(path).ok();
    let id = id.filter(|&id| matches!(&tree.inode(id).kind, Kind::File(file) if file.size > 0));
    if id.is_none() {
        problems.push(Problem::Missing { path: format!("/{path}"), hint: hint() });
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_dpkg_orders_them() {
        let ascending = [
            "6.1.0-9-amd64",
            "6.1.0-37-amd64",
            "6.12~rc1-amd64",
            "6.12-amd64",
            "6.12.9+deb13-amd64",
            "6.12.38+deb13-amd64",
            "6.12.117+deb13-amd64",
            "6.12.0117+deb13-amd64.1",
        ];
        for pair in ascending.windows(2) {
            assert_eq!(compare_versions(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare_versions(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
    }

    #[test]
    fn special_flavours_come_last() {
        let mut versions = [
            "6.13.1+deb13-rt-amd64",
            "6.12.9+deb13-amd64",
            "6.13.1+deb13-cloud-amd64",
            "6.12.38+deb13-amd64",
        ];
        versions.sort_by(|a, b| preference(a, b));
        assert_eq!(
            versions,
            [
                "6.12.38+deb13-amd64",
                "6.12.9+deb13-amd64",
                "6.13.1+deb13-cloud-amd64",
                "6.13.1+deb13-rt-amd64",
            ]
        );
    }
}
