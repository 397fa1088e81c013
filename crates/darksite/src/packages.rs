//! From a lock to files to fetch.

use jiff::{SignedDuration, Timestamp};

use crate::Location;
use crate::fetch::Wanted;
use crate::lock::{Blob, Lock, LockedSuite};

/// How long after the date of a suite its files are looked for in an archive of snapshots. A file may
/// reach the archive hours after the `Release` file that names it was made.
const LATER: [SignedDuration; 3] =
    [SignedDuration::from_hours(12), SignedDuration::from_hours(36), SignedDuration::ZERO];

/// Where the files of a suite are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// Mirrors, the preferred one first.
    pub mirrors: Vec<Location>,
    /// The archive of snapshots: the address below which each date has the whole archive, as
    /// `http://snapshot.debian.org/archive/debian`.
    pub snapshots: Option<Location>,
}

/// The packages of `lock`, where `places` tells for each suite where to look. A mirror that has lost a
/// version is no obstacle as long as the archive of snapshots keeps it.
pub fn packages(lock: &Lock, places: &dyn Fn(&LockedSuite) -> Places) -> Vec<Wanted> {
    let suites: Vec<(&str, Vec<Location>)> = lock
        .suites
        .iter()
        .map(|suite| {
            let Places { mut mirrors, snapshots } = places(suite);
            if !mirrors.contains(&suite.mirror) {
                mirrors.push(suite.mirror.clone());
            }
            if let Some(archive) = snapshots {
                let at = |later| suite.date.saturating_add(later).unwrap_or(suite.date);
                mirrors.extend(LATER.map(|later| snapshot(&archive, at(later))));
            }
            (suite.name.as_str(), mirrors)
        })
        .collect();
    lock.packages
        .iter()
        .map(|package| {
            let known = suites.iter().find(|(name, _)| *name == package.suite);
            let bases = known.map(|(_, bases)| bases.as_slice()).unwrap_or_default();
            Wanted {
                name: package.path.clone(),
                locations: bases.iter().map(|base| base.join(&package.path)).collect(),
                digest: package.blob.digest,
                size: package.blob.size,
            }
        })
        .collect()
}

/// Hours after the date of a suite at which an archive of snapshots may have just that state: several
/// times a day there is a new one.
const STATES: std::ops::RangeInclusive<i64> = 1..=8;

/// The signed files and indexes of `lock`: for a store that has not seen how the lock was made.
pub fn indexes(lock: &Lock, places: &dyn Fn(&LockedSuite) -> Places) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    for suite in &lock.suites {
        let Places { mut mirrors, snapshots } = places(suite);
        if !mirrors.contains(&suite.mirror) {
            mirrors.push(suite.mirror.clone());
        }
        if let Some(archive) = snapshots {
            let at = |hours| suite.date.saturating_add(SignedDuration::from_hours(hours));
            let states = STATES.map(|hours| at(hours).unwrap_or(suite.date));
            mirrors.extend(states.map(|date| snapshot(&archive, date)));
        }
        let mut add = |path: &str, blob: Blob, by_hash: Option<String>| {
            let name = format!("dists/{}/{path}", suite.name);
            let by_hash = by_hash.map(|path| format!("dists/{}/{path}", suite.name));
            let names: Vec<&String> = by_hash.iter().chain([&name]).collect();
            let locations =
                mirrors.iter().flat_map(|base| names.iter().map(|name| base.join(name)));
            let locations = locations.collect();
            let Blob { digest, size } = blob;
            wanted.push(Wanted { name: name.clone(), locations, digest, size });
        };
        match suite.signature {
            Some(signature) => {
                add("Release", suite.release, None);
                add("Release.gpg", signature, None);
            }
            None => add("InRelease", suite.release, None),
        }
        for index in &suite.indexes {
            let directory = index.path.rsplit_once('/').map_or("", |(directory, _)| directory);
            let by_hash = format!("{directory}/by-hash/SHA256/{}", index.blob.digest);
            add(&index.path, index.blob, Some(by_hash));
        }
    }
    wanted
}

/// The archive as it was on a date.
pub fn snapshot(archive: &Location, date: Timestamp) -> Location {
    archive.join(&date.strftime("%Y%m%dT%H%M%SZ").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock;

    #[test]
    fn mirrors_come_before_snapshots() {
        let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let lock = lock::parse(&format!(
            "kldload-lock 1\ndistribution debian trixie amd64\n\
             suite trixie 2025-05-17T08:05:41Z {digest} 10 http://old.example/debian\n\
             package a 1.0 amd64 7 {digest} trixie/main pool/a.deb\n"
        ))
        .unwrap();
        let places = |_: &LockedSuite| Places {
            mirrors: vec!["http://new.example".parse().unwrap()],
            snapshots: Some("http://snap.example/archive/debian".parse().unwrap()),
        };
        let wanted = packages(&lock, &places);
        let locations: Vec<String> = wanted[0].locations.iter().map(ToString::to_string).collect();
        let expected = [
            "http://new.example/pool/a.deb",
            "http://old.example/debian/pool/a.deb",
            "http://snap.example/archive/debian/20250517T200541Z/pool/a.deb",
            "http://snap.example/archive/debian/20250518T200541Z/pool/a.deb",
            "http://snap.example/archive/debian/20250517T080541Z/pool/a.deb",
        ];
        assert_eq!(locations, expected);
    }
}
