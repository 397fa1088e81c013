//! What licences packages name: their copyright files, read out of the `.deb`s in the store.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::sync::{Mutex, PoisonError};

use archive::tar::{EntryKind, Reader, TarError};
use pkg::deb::{self, Deb, DebError, spdx_expression};
use tree::Digest;

use crate::lock::{Lock, LockedPackage};
use crate::parallel::each;
use crate::sbom::{ExtractedLicense, License, Licenses, SbomError, plain};
use crate::store::{Store, at};

/// Longest copyright file looked at, in bytes: of a part the licences would be incomplete.
const LIMIT: usize = 4 << 20;

/// What a package has at `/usr/share/doc/NAME/copyright`.
enum Copyright {
    Text(String),
    /// The directory is a link to that of another package.
    Of(String),
}

/// Of the packages of `lock`, by their digests; `advance` hears of bytes that were read.
pub(super) fn read(
    lock: &Lock,
    store: &Store,
    advance: &(dyn Fn(u64) + Sync),
) -> Result<Licenses, SbomError> {
    let found = Mutex::new(Ok(HashMap::new()));
    let found_now = || found.lock().unwrap_or_else(PoisonError::into_inner);
    each(&lock.packages, |package| {
        // One that cannot be read is enough.
        if found_now().is_err() {
            return;
        }
        let result = copyright(package, store);
        advance(package.blob.size);
        let mut found = found_now();
        match (result, found.as_mut()) {
            (Ok(Some(copyright)), Ok(found)) => {
                found.insert(package.name.as_str(), copyright);
            }
            (Err(error), Ok(_)) => *found = Err(error),
            _ => {}
        }
    });
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner)?;
    let text = |name: &str| match found.get(name)? {
        Copyright::Text(text) => Some(text),
        Copyright::Of(other) => match found.get(other.as_str())? {
            Copyright::Text(text) => Some(text),
            Copyright::Of(_) => None,
        },
    };
    let known = lock.packages.iter().filter_map(|package| {
        let copyright = deb::Copyright::parse(text(&package.name)?)?;
        let mut extracted = Vec::new();
        let declared = spdx_expression(&copyright.names, &mut |name| {
            let license = extract(name, &copyright, &package.name);
            extracted.push(license.clone());
            license.id
        });
        let named = copyright.names.into_iter().collect::<Vec<_>>().join("; ");
        Some((package.blob.digest, License { declared, named, extracted }))
    });
    Ok(known.collect())
}

/// A licence that SPDX does not know. Packages give the same name to different texts, and so the text is in
/// the identifier.
fn extract(name: &str, copyright: &deb::Copyright, package: &str) -> ExtractedLicense {
    let text = match copyright.text(name) {
        Some(text) => text.to_owned(),
        None => format!("/usr/share/doc/{package}/copyright names {name:?} and has no text of it."),
    };
    let digest = Digest::of(text.as_bytes()).to_string();
    let plain: String = plain(name).chars().take(40).collect();
    let id = format!("LicenseRef-{plain}-{}", digest.get(..12).unwrap_or_default());
    ExtractedLicense { id, name: name.to_owned(), text }
}

fn copyright(package: &LockedPackage, store: &Store) -> Result<Option<Copyright>, SbomError> {
    let bad = |reason: DebError| SbomError::Package {
        path: package.path.clone(),
        reason: reason.to_string(),
    };
    let path = store.path(&package.blob.digest);
    let file = File::open(&path).map_err(at(&path))?;
    let deb = Deb::open(BufReader::with_capacity(1 << 17, file)).map_err(bad)?;
    let found = deb.data(|data| find(data, &package.name)).map_err(bad)?;
    found.map_err(|source| bad(DebError::Tar { member: "data.tar".to_owned(), source }))
}

fn find(data: &mut dyn Read, name: &str) -> Result<Option<Copyright>, TarError> {
    let directory = format!("usr/share/doc/{name}");
    let wanted = format!("{directory}/copyright");
    let mut reader = Reader::new(data);
    while let Some(entry) = reader.next_entry()? {
        let path = entry.path.strip_prefix(b"./").unwrap_or(&entry.path);
        match entry.kind {
            EntryKind::Symlink(target) if path == directory.as_bytes() => {
                let target = String::from_utf8_lossy(&target).into_owned();
                let other = target.rsplit('/').next().unwrap_or_default();
                return Ok(Some(Copyright::Of(other.to_owned())));
            }
            EntryKind::File { .. } if path == wanted.as_bytes() => {
                let mut content = Vec::new();
                loop {
                    let chunk = reader.chunk()?;
                    if chunk.is_empty() {
                        break;
                    }
                    if content.len() + chunk.len() > LIMIT {
                        return Ok(None);
                    }
                    content.extend_from_slice(chunk);
                }
                return Ok(Some(Copyright::Text(String::from_utf8_lossy(&content).into_owned())));
            }
            _ => {}
        }
    }
    Ok(None)
}
