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
    #[error("user {user}: groups: there is no group {group} in the root")]
    Group {
        /// The user.
        user: String,
        /// The group.
        group: String,
    },
    /// The number is somebody else's.
    #[error("user {user}: uid: the number {uid} is that of {other}")]
    Uid {
        /// The user.
        user: String,
        /// The number.
        uid: u32,
        /// Whose it is.
        other: String,
    },
    /// The same user twice.
    #[error("users: {0} is there twice")]
    Twice(String),
    /// The root has another user of this name.
    #[error(
        "user {user}: the root has a user of this name already, with uid {uid}, gid {gid} and home \
         {home:?}, as a package or a script made it; choose another name, or tell uid and home as they are"
    )]
    Exists {
        /// The user.
        user: String,
        /// Its number.
        uid: u32,
        /// That of its group.
        gid: u32,
        /// Its home.
        home: String,
    },
    /// The root has a group of this name, which is for something else.
    #[error(
        "user {user}: a user's own group has the user's name, and the root has a group of this name \
         already, with the number {gid}; choose another name"
    )]
    OwnGroup {
        /// The user.
        user: String,
        /// The group's number.
        gid: u32,
    },
    /// What is there is no shell.
    #[error("user {user}: shell = {shell:?}: {problem}")]
    Shell {
        /// The user.
        user: String,
        /// The path.
        shell: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// What is there is no time zone.
    #[error("time_zone = {0:?}: /usr/share/zoneinfo/{0} of the root is no time zone")]
    NoZone(String),
    /// The root cannot compile this locale.
    #[error(
        "locale = {0:?}: /usr/share/i18n/SUPPORTED of the root (locales) has none of this name"
    )]
    Locale(String),
    /// The keyboards of the root have another name for it, or none.
    #[error("keyboard: {key} = {value:?}: {file} of the root (xkb-data) has none of this name")]
    Keyboard {
        /// The key of the recipe.
        key: &'static str,
        /// What it says.
        value: String,
        /// Where such names are.
        file: String,
    },
    /// No number is left.
    #[error("user {0}: all numbers from 1000 to 59999 are taken")]
    Full(String),
    /// No such owner.
    #[error("file {path}: {key} = {name:?}: there is no such {kind} in the root")]
    Owner {
        /// The file.
        path: String,
        /// The key of the recipe.
        key: &'static str,
        /// User or group.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// No such unit.
    #[error("services: there is no unit {0} in the root")]
    Unit(String),
    /// A second name of a unit.
    #[error("services: {unit} is another name of {of}, which it would leave as it is; name {of}")]
    Alias {
        /// The name.
        unit: String,
        /// The unit.
        of: String,
    },
    /// NetworkManager has one gateway of each family.
    #[error(
        "network: gateways: {0}: NetworkManager, which rules in this root, takes one of IPv4 and one of IPv6"
    )]
    Gateway(std::net::IpAddr),
    /// Nothing says when it is to be started.
    #[error(
        "services: the unit {0} has no [Install] section that says what starts it: it cannot be enabled"
    )]
    NotInstallable(String),
    /// A local unit file is in the way.
    #[error("services: {0} cannot be masked: it is a file in /etc/systemd/system")]
    Local(String),
}
