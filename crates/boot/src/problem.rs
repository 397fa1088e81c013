//! What can be wrong with a tree that should boot, and what to do about it.

use std::fmt;
use std::io;

use thiserror::Error;
use tree::TreeError;

/// One reason why the tree would not boot.
#[derive(Debug, Error)]
pub enum Problem {
    /// An option has a value that no boot entry can hold.
    #[error("{option} {value:?}: {reason}")]
    Option {
        /// Which option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What is wrong and what is allowed.
        reason: &'static str,
    },
    /// `/boot` holds no `vmlinuz-VERSION`.
    #[error("the tree has no kernel (/boot/vmlinuz-VERSION): install linux-image-amd64")]
    NoKernel,
    /// A file the boot needs is not there.
    #[error("{path} is missing: {hint}")]
    Missing {
        /// Its path in the tree.
        path: String,
        /// What to install or run.
        hint: String,
    },
    /// No ZFS module was built for a kernel.
    #[error(
        "kernel {version} has no ZFS module (/lib/modules/{version}/**/zfs.ko): install zfs-dkms \
         and linux-headers-{version} and look at `dkms status`"
    )]
    NoZfsModule {
        /// The kernel.
        version: String,
    },
    /// An initramfs lacks drivers.
    #[error(
        "{path} lacks the drivers {}: set MODULES=most in /etc/initramfs-tools/initramfs.conf, or \
         name them in /etc/initramfs-tools/modules, and run update-initramfs -u -k {version}",
        drivers.join(", ")
    )]
    MissingDrivers {
        /// The initramfs.
        path: String,
        /// Its kernel.
        version: String,
        /// Names of the modules.
        drivers: Vec<&'static str>,
    },
    /// An initramfs cannot be read.
    #[error("{path}: {source}; run update-initramfs -u -k all")]
    Initramfs {
        /// Its path in the tree.
        path: String,
        /// Where and why.
        source: archive::cpio::CpioError,
    },
    /// A file is not what its name says.
    #[error("{path}: {reason}")]
    Unreadable {
        /// Its path in the tree.
        path: String,
        /// What the reader says.
        reason: String,
    },
    /// The bytes of a file cannot be read.
    #[error("{path}: cannot read its bytes: {source}")]
    Io {
        /// Its path in the tree.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file of ours cannot be put into the tree.
    #[error("cannot put /{path} into the tree: {source}")]
    Tree {
        /// Its path.
        path: String,
        /// Why.
        source: TreeError,
    },
}

/// Everything that is wrong, one line each; never empty.
#[derive(Debug)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}
