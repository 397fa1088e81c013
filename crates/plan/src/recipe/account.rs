//! `[[users]]`: who can log in.

use pkg::recipe::inside;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::text::{AbsolutePath, Name, PasswordHash, SshKey};
use super::word::{Word, word};

/// A user. `root` is there already; what is told of it is changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(with = "Table")]
pub struct User {
    /// Login name.
    pub name: Name,
    /// Name for people.
    pub full_name: String,
    /// Number; the first free one from 1000 if it is not told.
    pub uid: Option<u32>,
    /// Groups besides the user's own.
    pub groups: Vec<Name>,
    /// Password, hashed as crypt(5) does. Without one, nobody can log in with a password.
    pub password_hash: Option<PasswordHash>,
    /// File with that hash, beside the recipe.
    pub password_hash_file: Option<String>,
    /// Public keys that may log in with SSH.
    pub ssh_keys: Vec<SshKey>,
    /// File with more of them, a key a line, beside the recipe.
    pub ssh_keys_file: Option<String>,
    /// What the user may do as root.
    pub sudo: Sudo,
    /// Login shell.
    pub shell: AbsolutePath,
    /// Home directory; `/home/NAME` if it is not told.
    pub home: Option<AbsolutePath>,
}

/// What a user may do as root, with `sudo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sudo {
    /// Nothing, unless by a group.
    #[default]
    None,
    /// Everything, with the user's password.
    Password,
    /// Everything.
    NoPassword,
}

impl Word for Sudo {
    const ALL: &'static [Self] = &[Self::None, Self::Password, Self::NoPassword];

    fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Password => "password",
            Self::NoPassword => "no_password",
        }
    }
}

impl<'de> Deserialize<'de> for Sudo {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        word(from)
    }
}

/// A user.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
struct Table {
    /// Login name.
    name: Name,
    /// Name for people.
    #[serde(default)]
    full_name: String,
    /// Number; the first free one from 1000 if it is not told.
    uid: Option<u32>,
    /// Groups besides the user's own.
    #[serde(default)]
    groups: Vec<Name>,
    /// Password, hashed as crypt(5) does. Without one, nobody can log in with a password.
    password_hash: Option<PasswordHash>,
    /// File with that hash, beside the recipe.
    password_hash_file: Option<String>,
    /// Public keys that may log in with SSH.
    #[serde(default)]
    ssh_keys: Vec<SshKey>,
    /// File with more of them, a key a line, beside the recipe.
    ssh_keys_file: Option<String>,
    /// What the user may do as root.
    #[serde(default)]
    sudo: Sudo,
    /// Login shell.
    shell: Option<AbsolutePath>,
    /// Home directory; `/home/NAME` if it is not told.
    home: Option<AbsolutePath>,
}

impl<'de> Deserialize<'de> for User {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        inside::<_, Table, _>(from)
    }
}

impl TryFrom<Table> for User {
    type Error = String;

    fn try_from(table: Table) -> Result<Self, String> {
        let name = &table.name;
        if table.password_hash.is_some() && table.password_hash_file.is_some() {
            return Err(format!(
                "user {name}: password_hash and password_hash_file exclude each other"
            ));
        }
        if table.full_name.contains(|c: char| c.is_control() || ":,=".contains(c)) {
            return Err(format!(
                "user {name}: full_name has a comma, a colon or a control character"
            ));
        }
        if table.uid.is_some_and(|uid| !(1..=60_000).contains(&uid)) {
            return Err(format!("user {name}: uid is not between 1 and 60000"));
        }
        if name.as_str() == "root" && (table.uid.is_some() || table.home.is_some()) {
            return Err("user root: uid and home cannot be changed".to_owned());
        }
        if table.sudo == Sudo::Password
            && table.password_hash.is_none()
            && table.password_hash_file.is_none()
        {
            return Err(format!("user {name}: sudo with a password needs a password_hash"));
        }
        let shell = match table.shell {
            Some(shell) => shell,
            None => "/bin/bash".to_owned().try_into()?,
        };
        Ok(Self {
            name: table.name,
            full_name: table.full_name,
            uid: table.uid,
            groups: table.groups,
            password_hash: table.password_hash,
            password_hash_file: table.password_hash_file,
            ssh_keys: table.ssh_keys,
            ssh_keys_file: table.ssh_keys_file,
            sudo: table.sudo,
            shell,
            home: table.home,
        })
    }
}
