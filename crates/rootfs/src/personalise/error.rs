//! Why a root cannot be made somebody's machine.

use thiserror::Error;

use crate::RootfsError;

/// Why a root cannot be made somebody's machine.
#[derive(Debug, Error)]
pub enum PersonaliseError {
    /// The tree cannot be changed.
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    /// Something that is asked for needs a package.
    #[error("{what} needs {path}, which is not in the root; add the package {package}")]
    Missing {
        /// What is asked for.
        what: String,
        /// The file that is not there.
        path: String,
        /// The package that brings it.
        package: String,
    },
    /// A word that would break the file it is written to.
    #[error("{what} {value:?} has a colon or a control character in it")]
    Word {
        /// What it is.
        what: &'static str,
        /// The word.
        value: String,
    },
    /// No such group.
    #[error("user {user}: there is no group {group} in the root")]
    Group {
        /// The user.
        user: String,
        /// The group.
        group: String,
    },
    /// The number is somebody else's.
    #[error("user {user}: the number {uid} is that of {other}")]
    Uid {
        /// The user.
        user: String,
        /// The number.
        uid: u32,
        /// Whose it is.
        other: String,
    },
    /// No number is left.
    #[error("user {0}: all numbers from 1000 to 59999 are taken")]
    Full(String),
    /// No such owner.
    #[error("file {path}: there is no {kind} {name} in the root")]
    Owner {
        /// The file.
        path: String,
        /// User or group.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// No such unit.
    #[error("there is no unit {0} in the root")]
    Unit(String),
    /// Nothing says when it is to be started.
    #[error("the unit {0} has no [Install] section that says what starts it: it cannot be enabled")]
    NotInstallable(String),
    /// A local unit file is in the way.
    #[error("{0} cannot be masked: it is a file in /etc/systemd/system")]
    Local(String),
}
