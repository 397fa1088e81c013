//! The key that signs what is published, made on first use.
//!
//! `keys/secret.asc` (mode 0600) is what signs; `keys/public.asc` is for those who verify. A key to come
//! waits in `keys/next/` until machines know its public half, and then takes the place of the one before
//! (docs/darksite.md).

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use pkg::openpgp::{KeyError, Keyring, SigningKey};
use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

use crate::store::{StoreError, at, write_file};

/// File of the private key.
pub const SECRET: &str = "secret.asc";
/// File of the public key.
pub const PUBLIC: &str = "public.asc";
/// Directory of the key to come.
pub const NEXT: &str = "next";
/// The key's user id.
const USER: &str = "kldload darksite";

/// Why there is no key.
#[derive(Debug, Error)]
pub enum KeysError {
    /// A file failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key in the file cannot be used.
    #[error("{}: {source}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: KeyError,
    },
    /// Others may read it.
    #[error(
        "{}: mode {mode:04o} lets others read the private key; make sure that nobody did, then: chmod \
         600 {}",
        path.display(),
        path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It was there, and machines may know it.
    #[error(
        "{}: it is lost, the secret of the key {fingerprint}; put your copy of it back, mode 600; if there is none, \
         remove {}: a new key is made then, and until machines have its public half they refuse what it signs",
        path.display(),
        public.display()
    )]
    Lost {
        /// The file that is not there.
        path: PathBuf,
        /// The file that is: its public half.
        public: PathBuf,
        /// Which key that is, or why nobody can tell.
        fingerprint: String,
    },
}

/// The key in `directory`; made, and kept there, if there was none before.
pub fn signing_key(directory: &Path, now: Timestamp) -> Result<SigningKey, KeysError> {
    kept_key(directory, None, now)
}

/// The key to come of those in `directory`, as [`signing_key`]. Where the last one took the place of that before,
/// another one is made.
pub fn next_key(directory: &Path, now: Timestamp) -> Result<SigningKey, KeysError> {
    kept_key(&directory.join(NEXT), Some(&directory.join(SECRET)), now)
}

/// Which key has its public half in `directory`, though no secret is there, nor where it may have `moved` to.
fn lost(directory: &Path, moved: Option<&Path>) -> Result<Option<String>, KeysError> {
    let path = directory.join(PUBLIC);
    let public = match fs::read(&path) {
        Ok(public) => public,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(&path)(error).into()),
    };
    let moved = moved.and_then(|path| fs::read_to_string(path).ok());
    let moved = moved.and_then(|armor| SigningKey::parse(&armor).ok());
    let moved = moved.map(|key| key.fingerprint());
    let name = match Keyring::parse(&public) {
        Ok(keys) => keys.keys().into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(", "),
        Err(error) => format!("whose public half cannot be read ({error})"),
    };
    Ok(Some(name).filter(|name| moved.as_ref() != Some(name)))
}

/// The key in `directory`; `moved` is the file where its secret may have gone.
fn kept_key(
    directory: &Path,
    moved: Option<&Path>,
    now: Timestamp,
) -> Result<SigningKey, KeysError> {
    let path = directory.join(SECRET);
    let bad = |source| KeysError::Key { path: path.clone(), source };
    let key = match fs::metadata(&path) {
        Ok(found) if found.mode() & 0o077 != 0 => {
            let mode = found.mode() & 0o7777;
            return Err(KeysError::Open { path, mode });
        }
        Ok(_) => {
            let armor = fs::read_to_string(&path).map_err(at(&path))?;
            SigningKey::parse(&armor).map_err(bad)?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(directory);
            made.map_err(at(directory))?;
            // Of two processes that begin at the same time, the second takes the key of the first.
            let alone = fs::File::open(directory).map_err(at(directory))?;
            flock(&alone, FlockOperation::LockExclusive)
                .map_err(|error| at(directory)(error.into()))?;
            if path.exists() {
                return kept_key(directory, moved, now);
            }
            if let Some(fingerprint) = lost(directory, moved)? {
                return Err(KeysError::Lost { path, public: directory.join(PUBLIC), fingerprint });
            }
            // Signatures must not be older than the key, whatever clock makes them.
            let before = now.saturating_sub(SignedDuration::from_hours(24)).unwrap_or(now);
            let key = SigningKey::generate(USER, before).map_err(bad)?;
            write_file(&path, key.to_armor().map_err(bad)?.as_bytes(), 0o600)?;
            key
        }
        Err(error) => return Err(at(&path)(error).into()),
    };
    let public = key.public_armor().map_err(bad)?;
    let beside = directory.join(PUBLIC);
    if fs::read(&beside).ok().as_deref() != Some(public.as_bytes()) {
        write_file(&beside, public.as_bytes(), 0o644)?;
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_next_one_takes_its_place_and_another_follows() {
        let directory = tempfile::tempdir().unwrap();
        let keys = directory.path();
        let now = "2025-05-20T12:00:00Z".parse().unwrap();
        let first = signing_key(keys, now).unwrap().fingerprint();
        let second = next_key(keys, now).unwrap().fingerprint();
        let secret = keys.join(NEXT).join(SECRET);
        fs::rename(&secret, keys.join(SECRET)).unwrap();
        assert_eq!(signing_key(keys, now).unwrap().fingerprint(), second);
        let third = next_key(keys, now).unwrap().fingerprint();
        assert!(third != first && third != second);
        // Machines may know this one, and nobody moved it.
        fs::remove_file(&secret).unwrap();
        let error = next_key(keys, now).unwrap_err().to_string();
        assert!(error.contains(&third), "{error}");
    }

    #[test]
    fn made_once_and_for_one_person() {
        let directory = tempfile::tempdir().unwrap();
        let keys = directory.path().join("keys");
        let now = "2025-05-20T12:00:00Z".parse().unwrap();
        let first = signing_key(&keys, now).unwrap();
        let secret = keys.join(SECRET);
        assert_eq!(fs::metadata(&secret).unwrap().mode() & 0o777, 0o600);
        assert_eq!(signing_key(&keys, now).unwrap().fingerprint(), first.fingerprint());
        fs::remove_file(keys.join(PUBLIC)).unwrap();
        signing_key(&keys, now).unwrap();
        assert!(keys.join(PUBLIC).exists());

        fs::set_permissions(&secret, fs::Permissions::from_mode(0o640)).unwrap();
        let error = signing_key(&keys, now).unwrap_err().to_string();
        assert!(error.contains("mode 0640"), "{error}");
        // Machines know it, so that no other takes its place before somebody says so.
        let kept = fs::read_to_string(&secret).unwrap();
        fs::remove_file(&secret).unwrap();
        let error = signing_key(&keys, now).unwrap_err().to_string();
        assert!(error.contains(&first.fingerprint()) && error.contains(SECRET), "{error}");
        write_file(&secret, kept.as_bytes(), 0o600).unwrap();
        assert_eq!(signing_key(&keys, now).unwrap().fingerprint(), first.fingerprint());
        fs::remove_file(&secret).unwrap();
        fs::remove_file(keys.join(PUBLIC)).unwrap();
        assert_ne!(signing_key(&keys, now).unwrap().fingerprint(), first.fingerprint());
        fs::write(&secret, "rubbish").unwrap();
        assert!(signing_key(&keys, now).unwrap_err().to_string().contains(SECRET));
    }
}
