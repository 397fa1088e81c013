//! The dataset layout of a machine: which datasets there are, their properties, what they hold.
//!
//! ```text
//! rpool                canmount=off  mountpoint=none   properties all inherit
//! ├── ROOT             canmount=off  mountpoint=none   org.zfsbootmenu:commandline
//! │   └── debian       canmount=noauto  mountpoint=/   the boot environment, bootfs
//! ├── home root srv opt
//! ├── usr              canmount=off                    only to hold
//! │   └── local
//! └── var              canmount=off                    only to hold
//!     └── log cache spool tmp
//! ```
//!
//! What packages own and the package database stay inside the boot environment, so that a clone or
//! a rollback moves files and database together; what belongs to people and running services lies
//! outside and survives.
//!
//! **Mount points.** The pool's root dataset has `mountpoint=none`, not `/` with `canmount=off`.
//! The latter would save six local properties, but then every container inherits `/…` paths that
//! look like a root: ZFSBootMenu takes each dataset with `mountpoint=/` for a boot environment and
//! searches it for kernels, and a stream received below the pool would mount itself into the
//! running system. Here the boot environments are exactly the datasets with `mountpoint=/`, and a
//! clone needs `mountpoint=/` and `canmount=noauto`, nothing else.
//!
//! **Restrictions.** `var/log` has no programs. `var/spool` and `var/tmp` need no setuid programs
//! and devices; `exec` stays on there because initramfs-tools caches its scripts in a temporary
//! directory of `/var/tmp` and job schedulers start what they spool. `var/cache` is left alone:
//! debconf runs configuration scripts in it, and chroots are kept there.

mod request;

use thiserror::Error;

use crate::name::{NameError, check_boot_environment, check_dataset, check_pool};
use crate::nearest::nearest;
use crate::property::{self, PropertyError};

pub use request::{Additional, Override, RequestError};

/// What the caller decides about a layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Kernel parameters for `org.zfsbootmenu:commandline`; empty: the property is not set.
    pub command_line: String,
    /// The sector size the pool is laid out for, as a power of two: 9 to 16.
    pub ashift: u8,
    /// Whether freed space is told to the disk.
    pub autotrim: bool,
    /// Name of the feature set, a file of `/usr/share/zfs/compatibility.d`.
    pub compatibility: String,
    /// Properties added to or replacing those of the built-in datasets.
    pub overrides: Vec<Override>,
    /// More datasets.
    pub additional: Vec<Additional>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            command_line: String::new(),
            ashift: 12,
            autotrim: true,
            compatibility: "openzfs-2.1-linux".to_owned(),
            overrides: Vec::new(),
            additional: Vec::new(),
        }
    }
}

/// The datasets and properties of one pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Name of the pool.
    pub pool: String,
    /// Pool properties, as `zpool get` prints them: `ashift`, `autotrim`, `bootfs`,
    /// `compatibility`.
    pub pool_properties: Vec<(String, String)>,
    /// Full name of the boot environment.
    pub boot_environment: String,
    /// All datasets, parents before children.
    pub datasets: Vec<Dataset>,
}

/// One file system of a [`Layout`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// Full name.
    pub name: String,
    /// Local properties in the order they were given, as `zfs get -s local` prints them.
    pub properties: Vec<(String, String)>,
    /// The directory of the tree whose content the dataset holds: an absolute path, without a
    /// trailing slash but for `/` itself. `None`: it holds nothing.
    pub mountpoint: Option<String>,
}

impl Dataset {
    /// A local property.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    fn set(&mut self, name: &str, value: String) {
        match self.properties.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.properties.push((name.to_owned(), value)),
        }
    }
}

/// Why there is no such layout.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum LayoutError {
    /// A name that ZFS or the boot refuses.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A property that ZFS refuses.
    #[error("{dataset}: {error}")]
    Property {
        /// The dataset it was asked for.
        dataset: String,
        /// Why.
        error: PropertyError,
    },
    /// A pool property out of range.
    #[error("ashift={0} is not between 9 (512-byte sectors) and 16 (64 KiB)")]
    Ashift(u8),
    /// A feature set that cannot be a file name.
    #[error("compatibility={0:?} is not the name of a file in compatibility.d")]
    Compatibility(String),
    /// An override names a dataset that is not there.
    #[error("there is no dataset {name:?} to set properties of{}", hint(.nearest))]
    UnknownDataset {
        /// What was given.
        name: String,
        /// The dataset that may have been meant.
        nearest: Option<String>,
    },
    /// An additional dataset is there already.
    #[error("dataset {0:?} is in the layout already; use DATASET:mountpoint=PATH to move it")]
    Exists(String),
    /// An additional dataset without a parent.
    #[error("dataset {0:?} has no parent: ask for {1:?} as well")]
    NoParent(String, String),
    /// Something else than the boot environment would be below `ROOT`.
    #[error("dataset {0:?} is below ROOT, where only boot environments live")]
    BelowRoot(String),
    /// A property that makes the boot environment what it is.
    #[error("{dataset}: {property} is {value} for a boot environment and cannot be changed")]
    Fixed {
        /// The boot environment.
        dataset: String,
        /// The property.
        property: &'static str,
        /// The value it has to have.
        value: &'static str,
    },
    /// Two datasets at one place.
    #[error("datasets {0:?} and {1:?} would both be mounted at {2}")]
    SameMountpoint(String, String, String),
    /// A dataset would take package files or kernel file systems out of the boot environment.
    #[error(
        "dataset {dataset:?} cannot be mounted at {mountpoint}: {inside} belongs to the boot \
         environment"
    )]
    Torn {
        /// The dataset.
        dataset: String,
        /// Where it would be mounted.
        mountpoint: String,
        /// The directory that must stay.
        inside: &'static str,
    },
}

fn hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|known| format!("; did you mean {known:?}?")).unwrap_or_default()
}

/// Directories that never leave the boot environment, nor does anything above or below them: what
/// packages own, their databases, and the kernel's own file systems.
const STAYS: &[&str] = &[
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/proc",
    "/run",
    "/sbin",
    "/sys",
    "/usr/bin",
    "/usr/include",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/libx32",
    "/usr/sbin",
    "/usr/share",
    "/usr/src",
    "/var/lib/apt",
    "/var/lib/dkms",
    "/var/lib/dnf",
    "/var/lib/dpkg",
    "/var/lib/kldload",
    "/var/lib/rpm",
    "/var/lib/systemd",
];

/// The datasets beside the boot environment, below the pool's root dataset.
#[rustfmt::skip]
const BESIDE: &[(&str, &[(&str, &str)])] = &[
    ("home",      &[("mountpoint", "/home")]),
    ("root",      &[("mountpoint", "/root")]),
    ("srv",       &[("mountpoint", "/srv")]),
    ("opt",       &[("mountpoint", "/opt")]),
    ("usr",       &[("canmount", "off"), ("mountpoint", "/usr")]),
    ("usr/local", &[]),
    ("var",       &[("canmount", "off"), ("mountpoint", "/var")]),
    ("var/log",   &[("exec", "off"), ("setuid", "off"), ("devices", "off")]),
    ("var/cache", &[]),
    ("var/spool", &[("setuid", "off"), ("devices", "off")]),
    ("var/tmp",   &[("setuid", "off"), ("devices", "off")]),
];

/// What the pool's root dataset hands down.
const INHERITED: &[(&str, &str)] = &[
    ("canmount", "off"),
    ("mountpoint", "none"),
    ("compression", "lz4"),
    ("acltype", "posix"),
    ("xattr", "sa"),
    ("relatime", "on"),
    ("dnodesize", "auto"),
];

fn dataset(name: String, properties: &[(&str, &str)]) -> Dataset {
    let properties =
        properties.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    Dataset { name, properties, mountpoint: None }
}

impl Layout {
    /// The layout of `pool` with the boot environment `be`, changed as `options` ask.
    pub fn new(pool: &str, be: &str, options: &Options) -> Result<Self, LayoutError> {
        check_pool(pool)?;
        check_boot_environment(pool, be)?;
        let boot_environment = format!("{pool}/ROOT/{be}");
        let mut layout = Self {
            pool: pool.to_owned(),
            pool_properties: pool_properties(&boot_environment, options)?,
            datasets: builtin(pool, &boot_environment, &options.command_line)?,
            boot_environment,
        };
        layout.add(&options.additional)?;
        for change in &options.overrides {
            layout.change(change)?;
        }
        layout.place()?;
        Ok(layout)
    }

    fn full_name(&self, name: &str) -> String {
        let inside = name.strip_prefix(&self.pool).is_some_and(|rest| rest.starts_with('/'));
        if inside || name == self.pool { name.to_owned() } else { format!("{}/{name}", self.pool) }
    }

    fn add(&mut self, additional: &[Additional]) -> Result<(), LayoutError> {
        let mut wanted: Vec<(String, &Additional)> =
            additional.iter().map(|request| (self.full_name(&request.dataset), request)).collect();
        // Parents sort before their children, whatever the order of the options.
        wanted.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (name, request) in wanted {
            check_dataset(&name)?;
            if self.datasets.iter().any(|known| known.name == name) {
                return Err(LayoutError::Exists(name));
            }
            if name.starts_with(&format!("{}/ROOT/", self.pool)) {
                return Err(LayoutError::BelowRoot(name));
            }
            let parent = name.rsplit_once('/').map_or("", |(parent, _)| parent);
            if !self.datasets.iter().any(|known| known.name == parent) {
                let parent = parent.to_owned();
                return Err(LayoutError::NoParent(name, parent));
            }
            let mut added = dataset(name, &[]);
            if let Some(mountpoint) = &request.mountpoint {
                set_checked(&mut added, "mountpoint", mountpoint)?;
            }
            self.datasets.push(added);
        }
        Ok(())
    }

    fn change(&mut self, change: &Override) -> Result<(), LayoutError> {
        let name = self.full_name(&change.dataset);
        let is_boot_environment = name == self.boot_environment;
        let Some(index) = self.datasets.iter().position(|known| known.name == name) else {
            let known = self.datasets.iter().map(|known| &*known.name);
            let nearest = nearest(&name, known).map(str::to_owned);
            return Err(LayoutError::UnknownDataset { name, nearest });
        };
        let target = &mut self.datasets[index];
        set_checked(target, &change.property, &change.value)?;
        let fixed = [("canmount", "noauto"), ("mountpoint", "/")];
        for (property, value) in fixed {
            if is_boot_environment && target.property(property) != Some(value) {
                return Err(LayoutError::Fixed { dataset: name, property, value });
            }
        }
        Ok(())
    }

    /// The value of an inherited property: the nearest local one on the way to the pool. A mount
    /// point continues with the names below the dataset that has it.
    fn mountpoint(&self, name: &str) -> Option<String> {
        let mut at = name;
        loop {
            let local = self.datasets.iter().find(|known| known.name == at)?.property("mountpoint");
            match local {
                Some("none" | "legacy") => return None,
                Some("/") => return Some(format!("/{}", name[at.len()..].trim_start_matches('/'))),
                Some(path) => return Some(format!("{path}{}", &name[at.len()..])),
                None => at = at.rsplit_once('/')?.0,
            }
        }
    }

    /// Decides which directory of the tree each dataset takes.
    fn place(&mut self) -> Result<(), LayoutError> {
        let mut places: Vec<Option<String>> = Vec::new();
        for known in &self.datasets {
            let is_boot_environment = known.name == self.boot_environment;
            // `noauto` is not mounted at boot, so files put there would be missing; the boot
            // environment is mounted by the initramfs.
            let mounted = known.property("canmount").unwrap_or("on") == "on" || is_boot_environment;
            let mountpoint = if mounted { self.mountpoint(&known.name) } else { None };
            if let (Some(mountpoint), false) = (&mountpoint, is_boot_environment) {
                check_place(&known.name, mountpoint)?;
                let taken = places.iter().position(|place| place.as_ref() == Some(mountpoint));
                if let Some(index) = taken {
                    return Err(LayoutError::SameMountpoint(
                        self.datasets[index].name.clone(),
                        known.name.clone(),
                        mountpoint.clone(),
                    ));
                }
            }
            places.push(mountpoint);
        }
        for (known, place) in self.datasets.iter_mut().zip(places) {
            known.mountpoint = place;
        }
        Ok(())
    }
}

fn check_place(dataset: &str, mountpoint: &str) -> Result<(), LayoutError> {
    let below = |path: &str, above: &str| {
        path == above
            || above == "/"
            || path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
    };
    match STAYS.iter().find(|stays| below(stays, mountpoint) || below(mountpoint, stays)) {
        Some(inside) => Err(LayoutError::Torn {
            dataset: dataset.to_owned(),
            mountpoint: mountpoint.to_owned(),
            inside,
        }),
        None => Ok(()),
    }
}

fn set_checked(target: &mut Dataset, name: &str, value: &str) -> Result<(), LayoutError> {
    let value = property::canonical(name, value)
        .map_err(|error| LayoutError::Property { dataset: target.name.clone(), error })?;
    target.set(name, value);
    Ok(())
}

fn pool_properties(
    boot_environment: &str,
    options: &Options,
) -> Result<Vec<(String, String)>, LayoutError> {
    if !(9..=16).contains(&options.ashift) {
        return Err(LayoutError::Ashift(options.ashift));
    }
    let set = &options.compatibility;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.,".contains(&byte);
    if set.is_empty() || !set.bytes().all(plain) || set.starts_with('.') {
        return Err(LayoutError::Compatibility(set.clone()));
    }
    let autotrim = if options.autotrim { "on" } else { "off" };
    Ok([
        ("ashift", &*options.ashift.to_string()),
        ("autotrim", autotrim),
        ("bootfs", boot_environment),
        ("compatibility", set),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into())
}

fn builtin(pool: &str, be: &str, command_line: &str) -> Result<Vec<Dataset>, LayoutError> {
    let none = [("canmount", "off"), ("mountpoint", "none")];
    let mut root = dataset(format!("{pool}/ROOT"), &none);
    if !command_line.is_empty() {
        set_checked(&mut root, "org.zfsbootmenu:commandline", command_line)?;
    }
    let mut datasets = vec![
        dataset(pool.to_owned(), INHERITED),
        root,
        dataset(be.to_owned(), &[("canmount", "noauto"), ("mountpoint", "/")]),
    ];
    for (name, properties) in BESIDE {
        datasets.push(dataset(format!("{pool}/{name}"), properties));
    }
    Ok(datasets)
}

#[cfg(test)]
mod tests;
