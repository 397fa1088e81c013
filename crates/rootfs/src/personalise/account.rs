//! Accounts, as `useradd` of Debian makes them.

use std::collections::BTreeSet;

use tree::{Blobs, Inode, Kind, Metadata, Tree, Xattrs};

use super::colons::Colons;
use super::sudo::{self, Sudo};
use super::{PersonaliseError, Root};
use crate::{RootfsError, edit};

/// A user to make, or to change if it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Login name.
    pub name: String,
    /// Name for people.
    pub full_name: String,
    /// Number; the first free one if it is not told.
    pub uid: Option<u32>,
    /// Groups besides the user's own; they must be there.
    pub groups: Vec<String>,
    /// Hash of the password; `None`: no password fits, but keys do.
    pub password_hash: Option<String>,
    /// Lines of `authorized_keys`.
    pub ssh_keys: Vec<String>,
    /// What the user may do as root.
    pub sudo: Sudo,
    /// Login shell.
    pub shell: String,
    /// Home directory; `/home/NAME` if it is not told.
    pub home: Option<String>,
}

/// Numbers of people, as in Debian's `login.defs`.
const PEOPLE: std::ops::RangeInclusive<u32> = 1000..=59_999;
/// Subordinate numbers each person gets, and where they begin (`login.defs`).
const SUBORDINATE: (u32, u32) = (100_000, 65_536);
/// No password fits, and yet the account is not locked: SSH takes keys.
const NO_PASSWORD: &str = "*";

/// The four files of accounts.
struct Databases {
    passwd: Colons,
    shadow: Colons,
    group: Colons,
    gshadow: Colons,
}

/// A user's numbers and home.
struct Place {
    uid: u32,
    gid: u32,
    home: String,
}

pub(super) fn accounts(root: &mut Root<'_>, accounts: &[Account]) -> Result<(), PersonaliseError> {
    if accounts.is_empty() {
        return Ok(());
    }
    let mut databases = Databases::read(|path| root.text(path))?;
    let today = (root.editor.time.seconds.max(0) / 86_400).to_string();
    let mut seen = BTreeSet::new();
    for account in accounts {
        if !seen.insert(&account.name) {
            return Err(PersonaliseError::Twice(account.name.clone()));
        }
        check(root, account)?;
        let place = databases.add(account, &today)?;
        home(root, account, &place)?;
        if account.name != "root" {
            subordinate(root, account)?;
        }
        sudo::install(root, account)?;
    }
    for (path, mode, text) in [
        ("etc/passwd", 0o644, databases.passwd.text()),
        ("etc/group", 0o644, databases.group.text()),
        ("etc/shadow", 0o640, databases.shadow.text()),
        ("etc/gshadow", 0o640, databases.gshadow.text()),
    ] {
        root.editor.change(path, mode, &text)?;
    }
    Ok(())
}

/// Whether these can be made in a root in which nothing has run: useradd would refuse the same, but without a word
/// about the recipe. Those that are there already are not made, and what they need may come of scripts.
pub(crate) fn check_new(
    tree: &Tree,
    blobs: &dyn Blobs,
    accounts: &[Account],
) -> Result<(), PersonaliseError> {
    let read = |path: &str| {
        let text = edit::text(tree, |file| blobs.open(&file.blob), path)?;
        Ok(text.unwrap_or_default())
    };
    let mut databases = Databases::read(read)?;
    for account in accounts {
        if databases.passwd.number(&account.name, 2).is_none() {
            databases.add(account, "")?;
        }
    }
    Ok(())
}

fn check(root: &Root<'_>, account: &Account) -> Result<(), PersonaliseError> {
    let home = account.home.as_deref().unwrap_or_default();
    let hash = account.password_hash.as_deref().unwrap_or_default();
    for (what, value) in [
        ("the user", account.name.as_str()),
        ("the name", &account.full_name),
        ("the shell", &account.shell),
        ("the home", home),
    ] {
        if value.contains(|c: char| c == ':' || c.is_control()) {
            return Err(PersonaliseError::Word { what, value: value.to_owned() });
        }
    }
    if hash.contains(|c: char| c == ':' || c.is_control()) {
        let value = account.name.clone();
        return Err(PersonaliseError::Word { what: "the password hash of", value });
    }
    let Ok(shell) = root.editor.tree.resolve(&account.shell) else {
        return Err(PersonaliseError::Missing {
            what: format!("the shell of user {}", account.name),
            path: account.shell.clone(),
            package: account.shell.rsplit('/').next().unwrap_or_default().to_owned(),
        });
    };
    let shell = root.editor.tree.inode(shell);
    let problem = match (&shell.kind, shell.metadata.mode & 0o111) {
        (Kind::File(_), 0) => "nobody may run it",
        (Kind::File(_), _) => return Ok(()),
        _ => "it is no program",
    };
    let (user, shell) = (account.name.clone(), account.shell.clone());
    Err(PersonaliseError::Shell { user, shell, problem })
}

/// Where a user without a `home` lives.
fn home_of(account: &Account) -> String {
    account.home.clone().unwrap_or_else(|| format!("/home/{}", account.name))
}

/// Whether a user may have this group as its own: groups with small numbers are the system's, and being
/// in them gives rights.
fn is_own(gid: u32, uid: Option<u32>) -> bool {
    PEOPLE.contains(&gid) || uid == Some(gid)
}

impl Databases {
    fn read(
        text: impl Fn(&str) -> Result<String, PersonaliseError>,
    ) -> Result<Self, PersonaliseError> {
        let read = |path: &str| text(path).map(|text| Colons::parse(&text));
        Ok(Self {
            passwd: read("etc/passwd")?,
            shadow: read("etc/shadow")?,
            group: read("etc/group")?,
            gshadow: read("etc/gshadow")?,
        })
    }

    fn add(&mut self, account: &Account, today: &str) -> Result<Place, PersonaliseError> {
        let name = account.name.as_str();
        let place = match self.passwd.number(name, 2).zip(self.passwd.number(name, 3)) {
            Some((uid, gid)) => {
                let home = self.passwd.field(name, 5).unwrap_or_default().to_owned();
                // Of root, all the same, only what is told is changed.
                let same = account.uid.map_or(PEOPLE.contains(&uid), |wanted| wanted == uid)
                    && is_own(gid, account.uid)
                    && home_of(account).trim_end_matches('/') == home.trim_end_matches('/');
                if name != "root" && !same {
                    return Err(PersonaliseError::Exists { user: name.to_owned(), uid, gid, home });
                }
                Place { uid, gid, home }
            }
            None => self.make(account, today)?,
        };
        self.passwd.set(name, 6, &account.shell);
        if !account.full_name.is_empty() {
            self.passwd.set(name, 4, &format!("{},,,", account.full_name));
        }
        if let Some(hash) = &account.password_hash {
            self.shadow.set(name, 1, hash);
            self.shadow.set(name, 2, today);
        }
        for group in &account.groups {
            if self.group.number(group, 2).is_none() {
                let (user, group) = (name.to_owned(), group.clone());
                return Err(PersonaliseError::Group { user, group });
            }
            self.group.add_member(group, 3, name);
            self.gshadow.add_member(group, 3, name);
        }
        Ok(place)
    }

    fn make(&mut self, account: &Account, today: &str) -> Result<Place, PersonaliseError> {
        let name = account.name.as_str();
        let free = |uid: u32| {
            self.passwd.name_of(2, uid).is_none() && self.group.name_of(2, uid).is_none()
        };
        let uid = match account.uid {
            Some(uid) => uid,
            None => {
                let full = || PersonaliseError::Full(name.to_owned());
                PEOPLE.into_iter().find(|&uid| free(uid)).ok_or_else(full)?
            }
        };
        if let Some(other) = self.passwd.name_of(2, uid) {
            let (user, other) = (name.to_owned(), other.to_owned());
            return Err(PersonaliseError::Uid { user, uid, other });
        }
        // The group of the same name, which may be there already.
        let gid = match self.group.number(name, 2) {
            Some(gid) if is_own(gid, account.uid) => gid,
            Some(gid) => return Err(PersonaliseError::OwnGroup { user: name.to_owned(), gid }),
            None => {
                let taken = |gid: u32| self.group.name_of(2, gid).is_some();
                let gid = Some(uid).filter(|&gid| !taken(gid));
                let full = || PersonaliseError::Full(name.to_owned());
                let gid = gid.or_else(|| PEOPLE.into_iter().find(|&gid| !taken(gid)));
                let gid = gid.ok_or_else(full)?;
                self.group.put(&[name, "x", &gid.to_string(), ""]);
                self.gshadow.put(&[name, "!", "", ""]);
                gid
            }
        };
        let home = home_of(account);
        self.passwd.put(&[name, "x", &uid.to_string(), &gid.to_string(), "", &home, ""]);
        self.shadow.put(&[name, NO_PASSWORD, today, "0", "99999", "7", "", "", ""]);
        Ok(Place { uid, gid, home })
    }
}

/// Makes the home directory from `/etc/skel`; what is there already stays.
fn home(root: &mut Root<'_>, account: &Account, place: &Place) -> Result<(), PersonaliseError> {
    let home = place.home.trim_matches('/');
    if account.name != "root" && !root.has(home) {
        root.editor.directory(home, 0o700)?;
        root.editor.give(home, place.uid, place.gid);
        copy_skeleton(root, home, place)?;
    }
    if account.ssh_keys.is_empty() {
        return Ok(());
    }
    let directory = format!("{home}/.ssh");
    root.editor.directory(&directory, 0o700)?;
    root.editor.give(&directory, place.uid, place.gid);
    let path = format!("{directory}/authorized_keys");
    let mut text = root.text(&path)?;
    for key in &account.ssh_keys {
        if !text.lines().any(|line| line == key) {
            text += &format!("{key}\n");
        }
    }
    root.editor.file(&path, 0o600, &text)?;
    root.editor.give(&path, place.uid, place.gid);
    Ok(())
}

fn copy_skeleton(root: &mut Root<'_>, home: &str, place: &Place) -> Result<(), PersonaliseError> {
    let Some(skeleton) = root.editor.tree.get("etc/skel") else { return Ok(()) };
    let mut todo = vec![(skeleton, home.to_owned())];
    while let Some((from, to)) = todo.pop() {
        let entries: Vec<(Vec<u8>, tree::InodeId)> = match root.editor.tree.directory(from) {
            Some(directory) => directory.iter().map(|(name, id)| (name.to_vec(), id)).collect(),
            None => continue,
        };
        let failed = |error| RootfsError::Tree { path: to.clone(), error };
        let parent =
            root.editor.tree.make_directories(&to, &Metadata::default()).map_err(failed)?;
        for (name, id) in entries {
            let Inode { metadata, kind } = root.editor.tree.inode(id).clone();
            let metadata = Metadata {
                uid: place.uid,
                gid: place.gid,
                mtime: root.editor.time,
                xattrs: Xattrs::new(),
                ..metadata
            };
            let is_directory = matches!(kind, Kind::Directory(_));
            let kind =
                if is_directory { Kind::Directory(tree::Directory::default()) } else { kind };
            root.editor.tree.insert(parent, &name, Inode { metadata, kind }).map_err(failed)?;
            if is_directory {
                todo.push((id, format!("{to}/{}", String::from_utf8_lossy(&name))));
            }
        }
    }
    Ok(())
}

/// Numbers for the user's own containers, where the root keeps such files.
fn subordinate(root: &mut Root<'_>, account: &Account) -> Result<(), PersonaliseError> {
    for path in ["etc/subuid", "etc/subgid"] {
        if !root.has(path) {
            continue;
        }
        let mut file = Colons::parse(&root.text(path)?);
        if file.field(&account.name, 1).is_some() {
            continue;
        }
        let end = |fields: Vec<&str>| -> Option<u32> {
            let start: u32 = fields.get(1)?.parse().ok()?;
            start.checked_add(fields.get(2)?.parse().ok()?)
        };
        let (first, count) = SUBORDINATE;
        let start = file.entries().filter_map(end).max().unwrap_or(first).max(first);
        file.put(&[&account.name, &start.to_string(), &count.to_string()]);
        let text = file.text();
        root.editor.change(path, 0o644, &text)?;
    }
    Ok(())
}
