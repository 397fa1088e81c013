//! From a lock to files to fetch.

use jiff::{SignedDuration, Timestamp};
use pkg::distribution::DistributionError;

use crate::Location;
use crate::family::family;
use crate::fetch::Wanted;
use crate::lock::{Lock, LockedSuite};

/// How many hours after the date of a suite its files are looked for in an archive of snapshots. A file
/// may reach the archive hours after the `Release` file that names it was made.
const LATER: [i64; 3] = [12, 36, 0];

/// The same of signed files and indexes, which are replaced several times a day: a snapshot may have just
/// the state that was locked.
const STATES: std::ops::RangeInclusive<i64> = 1..=8;

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
    let suites: Vec<(&str, Bases)> = lock
        .suites
        .iter()
        .map(|suite| (suite.name.as_str(), bases(suite, places(suite), LATER)))
        .collect();
    lock.packages
        .iter()
        .map(|package| {
            let known = suites.iter().find(|(name, _)| *name == package.suite);
            let at =
                |bases: &[Location]| bases.iter().map(|base| base.join(&package.path)).collect();
            Wanted {
                name: package.path.clone(),
                locations: known.map(|(_, bases)| at(&bases.mirrors)).unwrap_or_default(),
                archives: known.map(|(_, bases)| at(&bases.archives)).unwrap_or_default(),
                digest: package.blob.digest,
                size: package.blob.size,
            }
        })
        .collect()
}

/// The signed files and indexes of `lock`: for a store that has not seen how the lock was made.
pub fn indexes(
    lock: &Lock,
    places: &dyn Fn(&LockedSuite) -> Places,
) -> Result<Vec<Wanted>, DistributionError> {
    let family = family(&lock.distribution)?;
    let mut wanted = Vec::new();
    for suite in &lock.suites {
        let bases = bases(suite, places(suite), STATES);
        wanted.extend(family.metadata(suite).into_iter().map(|file| {
            let paths = &file.places;
            let at = |bases: &[Location]| {
                let all = bases.iter().flat_map(|base| paths.iter().map(|path| base.join(path)));
                all.collect()
            };
            Wanted {
                name: format!("{}: {}", suite.name, file.path),
                locations: at(&bases.mirrors),
                archives: at(&bases.archives),
                digest: file.blob.digest,
                size: file.blob.size,
            }
        }));
    }
    Ok(wanted)
}

/// What paths of a suite are joined to.
struct Bases {
    mirrors: Vec<Location>,
    /// The archive of snapshots at several dates.
    archives: Vec<Location>,
}

/// Where a suite's files may be: its mirrors, the one of the lock, the archive of snapshots some hours
/// after the suite's date. If the lock's is among the mirrors it is the first of them that was good when
/// the lock was made: whoever was refused then comes behind.
fn bases(suite: &LockedSuite, places: Places, hours: impl IntoIterator<Item = i64>) -> Bases {
    let Places { mut mirrors, snapshots } = places;
    // As they are shown, as a lock keeps no passwords.
    let good = suite.mirror.to_string();
    match mirrors.iter().position(|mirror| mirror.to_string() == good) {
        Some(at) => mirrors.get_mut(..=at).unwrap_or_default().rotate_right(1),
        None => mirrors.push(suite.mirror.clone()),
    }
    let later = |hours| suite.date.saturating_add(SignedDuration::from_hours(hours));
    let dates = hours.into_iter().map(|hours| later(hours).unwrap_or(suite.date));
    let archives = snapshots.map(|archive| dates.map(|date| snapshot(&archive, date)).collect());
    Bases { mirrors, archives: archives.unwrap_or_default() }
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
        let locations = |places: &dyn Fn(&LockedSuite) -> Places| -> Vec<String> {
            let wanted = packages(&lock, places);
            let places = wanted[0].locations.iter().chain(&wanted[0].archives);
            places.map(ToString::to_string).collect()
        };
        let expected = [
            "http://new.example/pool/a.deb",
            "http://old.example/debian/pool/a.deb",
            "http://snap.example/archive/debian/20250517T200541Z/pool/a.deb",
            "http://snap.example/archive/debian/20250518T200541Z/pool/a.deb",
            "http://snap.example/archive/debian/20250517T080541Z/pool/a.deb",
        ];
        assert_eq!(locations(&places), expected);
        // The mirror that was good goes before one that was not.
        let refused = |_: &LockedSuite| Places {
            mirrors: ["http://bad.example", "http://old.example/debian", "http://other.example"]
                .map(|mirror| mirror.parse().unwrap())
                .to_vec(),
            snapshots: None,
        };
        let expected = ["http://old.example/debian", "http://bad.example", "http://other.example"];
        assert_eq!(locations(&refused), expected.map(|mirror| format!("{mirror}/pool/a.deb")));
    }
}
