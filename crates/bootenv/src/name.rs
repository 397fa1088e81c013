//! What pools, datasets and boot environments may be called.
//!
//! The rules are those of OpenZFS (`module/zcommon/zfs_namecheck.c`, and the reserved names of
//! `zpool_name_valid` in `lib/libzfs/libzfs_pool.c`), and stricter where a kernel command line
//! carries the name: no spaces. Pools and boot environments are also in names of files on the ESP, and so have
//! no colon; what `boot` takes is the same, and a test in `plan` holds both together.

use thiserror::Error;

/// Bytes a dataset name may have: `ZFS_MAX_DATASET_NAME_LEN` is 256 with the final NUL.
const MAX_NAME: usize = 255;
/// A pool name leaves room for `/$ORIGIN@$ORIGIN` behind it.
const MAX_POOL_NAME: usize = 256 - 2 - 2 * "$ORIGIN".len() - 1;
/// `zfs_max_dataset_nesting`: the number of slashes stays below it.
const MAX_NESTING: usize = 50;
/// The name of a boot entry has the kernel's version behind that of the boot environment, in 255 characters.
const MAX_BOOT_ENVIRONMENT: usize = 128;

/// Why a name cannot be used.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum NameError {
    /// The name, or a part of it between slashes, is empty.
    #[error("{0:?} has an empty component; names are like rpool/var/log")]
    Empty(String),
    /// The name is longer than ZFS stores.
    #[error("{name:?} has {length} bytes, ZFS allows {limit}")]
    TooLong {
        /// The name.
        name: String,
        /// Its length in bytes.
        length: usize,
        /// The most that is allowed.
        limit: usize,
    },
    /// More levels than the kernel follows.
    #[error("{0:?} is nested deeper than {MAX_NESTING} levels")]
    TooDeep(String),
    /// A character that ZFS does not allow.
    #[error("{name:?} has the character {character:?}; allowed are A-Z a-z 0-9 - _ . :")]
    Character {
        /// The name.
        name: String,
        /// The first bad character.
        character: char,
    },
    /// ZFS allows it, the kernel command line does not.
    #[error("{0:?} has a space, which root= on a kernel command line cannot carry")]
    Space(String),
    /// ZFS allows it, FAT does not.
    #[error("{0:?} has a colon, which no file of the ESP can have in its name")]
    Colon(String),
    /// A boot environment whose files would be hidden.
    #[error("the name of the boot environment {0:?} begins with a dot")]
    Hidden(String),
    /// A component `.` or `..`.
    #[error("{0:?} has a component . or ..")]
    Dots(String),
    /// A pool name that begins with something else than a letter.
    #[error("the pool name {0:?} must begin with a letter")]
    NoLetter(String),
    /// A pool name that `zpool` reads as a kind of vdev.
    #[error("the pool name {0:?} is reserved: it is or begins with {1:?}, a kind of vdev")]
    Reserved(String, &'static str),
}

fn check_characters(name: &str) -> Result<(), NameError> {
    for character in name.chars() {
        match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.' | ':' => {}
            ' ' => return Err(NameError::Space(name.to_owned())),
            _ => return Err(NameError::Character { name: name.to_owned(), character }),
        }
    }
    Ok(())
}

/// The names that boot have no colon.
fn check_colon(name: &str) -> Result<(), NameError> {
    if name.contains(':') { Err(NameError::Colon(name.to_owned())) } else { Ok(()) }
}

fn check_length(name: &str, limit: usize) -> Result<(), NameError> {
    if name.len() > limit {
        return Err(NameError::TooLong { name: name.to_owned(), length: name.len(), limit });
    }
    Ok(())
}

/// Whether a pool may be called `name`.
pub fn check_pool(name: &str) -> Result<(), NameError> {
    check_length(name, MAX_POOL_NAME)?;
    if name.is_empty() {
        return Err(NameError::Empty(name.to_owned()));
    }
    check_characters(name)?;
    check_colon(name)?;
    if !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
        return Err(NameError::NoLetter(name.to_owned()));
    }
    for prefix in ["mirror", "raidz", "draid", "spare"] {
        if name.starts_with(prefix) {
            return Err(NameError::Reserved(name.to_owned(), prefix));
        }
    }
    if name == "log" {
        return Err(NameError::Reserved(name.to_owned(), "log"));
    }
    Ok(())
}

/// Whether `name` is a full dataset name: a pool, and components behind slashes.
pub fn check_dataset(name: &str) -> Result<(), NameError> {
    check_length(name, MAX_NAME)?;
    if name.matches('/').count() >= MAX_NESTING {
        return Err(NameError::TooDeep(name.to_owned()));
    }
    for (level, component) in name.split('/').enumerate() {
        match component {
            "" => return Err(NameError::Empty(name.to_owned())),
            "." | ".." => return Err(NameError::Dots(name.to_owned())),
            _ if level == 0 => check_pool(component)?,
            _ => check_characters(component)?,
        }
    }
    Ok(())
}

/// Whether `name` is one component that can name a boot environment of `pool`.
pub fn check_boot_environment(pool: &str, name: &str) -> Result<(), NameError> {
    if let Some(character) = name.chars().find(|&character| character == '/') {
        return Err(NameError::Character { name: name.to_owned(), character });
    }
    check_dataset(&format!("{pool}/ROOT/{name}"))?;
    check_colon(name)?;
    if name.starts_with('.') {
        return Err(NameError::Hidden(name.to_owned()));
    }
    check_length(name, MAX_BOOT_ENVIRONMENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pool_names() {
        for good in ["rpool", "r", "tank-1", "a.b-c_d", "logs", "c0t0d0", &"p".repeat(239)] {
            assert_eq!(check_pool(good), Ok(()), "{good}");
        }
        let bad = [
            ("", "has an empty component"),
            ("1pool", "must begin with a letter"),
            ("-x", "must begin with a letter"),
            ("my pool", "has a space"),
            ("a/b", "has the character '/'"),
            ("my:pool", "has a colon"),
            ("pöl", "has the character 'ö'"),
            ("mirror", "begins with \"mirror\""),
            ("raidz2", "begins with \"raidz\""),
            ("draidy", "begins with \"draid\""),
            ("spares", "begins with \"spare\""),
            ("log", "begins with \"log\""),
            (&"p".repeat(240), "has 240 bytes, ZFS allows 239"),
        ];
        for (name, message) in bad {
            let error = check_pool(name).unwrap_err().to_string();
            assert!(error.contains(message), "{name}: {error}");
        }
    }

    #[test]
    fn dataset_names() {
        for good in ["rpool", "rpool/a/1", "rpool/...", "rpool/a:b"] {
            assert_eq!(check_dataset(good), Ok(()), "{good}");
        }
        let deep = "rpool/".to_owned() + &vec!["x"; 50].join("/");
        let long = format!("rpool/{}", "x".repeat(250));
        for bad in
            ["rpool/", "/rpool", "rpool//a", "rpool/.", "rpool/../x", "rpool/a@b", &deep, &long]
        {
            assert!(check_dataset(bad).is_err(), "{bad}");
        }
        assert!(check_dataset(&deep[..deep.len() - 2]).is_ok());
        assert!(check_dataset(&long[..255]).is_ok());
    }

    #[test]
    fn boot_environment_names() {
        assert_eq!(check_boot_environment("rpool", "debian-13.2"), Ok(()));
        let long = "a".repeat(MAX_BOOT_ENVIRONMENT + 1);
        for bad in ["", ".", "..", "a/b", "a b", "a@b", "a%b", "a:b", ".hid", &long] {
            assert!(check_boot_environment("rpool", bad).is_err(), "{bad}");
        }
    }
}
