//! apt judges the solver: the same requests, on a system where nothing is installed.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use pkg::deb::{self, Pin, PinTarget, Policy, Priority, Reason, Request, Universe};
use pkg::profile::Profiles;
use support::{Apt, Installed};

/// Packages that may differ from apt's choice over all requests together.
const ALLOWED: usize = 5;

/// Requests of different nature: recommended packages wanted or not, and names.
const REQUESTS: &[(bool, &str)] = &[
    (true, "build-essential"),
    (false, "nginx"),
    (true, "postgresql"),
    (true, "exim4"),
    (true, "kde-plasma-desktop"),
    (true, "task-xfce-desktop"),
    (true, "libreoffice"),
    (true, "docker.io"),
    (true, "samba winbind"),
    (false, "texlive"),
    (true, "r-base"),
    (true, "default-jdk"),
    (true, "qemu-system-x86 libvirt-daemon-system virt-manager"),
    (false, "wine"),
    (true, "mariadb-server"),
    (true, "emacs"),
    (true, "php"),
    (false, "rails"),
    (true, "debhelper devscripts"),
    (true, "wordpress"),
    (true, "gimp inkscape blender"),
    (false, "gnome-core plasma-desktop"),
];

/// Requests whose recommended packages do not fit together, so that apt's first way ends in a broken set.
const MENDED: &[&str] = &["heartbeat", "science-all", "live-task-lxde"];

/// Holds that are compared with apt.
const HOLDS: usize = 4;

/// What a profile asks for.
fn profile(name: &str, codename: &str) -> Request {
    let profile = Profiles::built_in("debian").unwrap().get(name, codename).unwrap();
    let excluded = profile.exclude.into_iter().collect();
    Request {
        packages: profile.packages,
        essential: profile.essential,
        priority: profile.priority.as_deref().map(Priority::named),
        recommends: profile.recommends,
        policy: Policy { excluded, ..Policy::default() },
        optional: Vec::new(),
    }
}

fn ours(universe: &Universe<'_>, request: &Request) -> (BTreeMap<String, String>, bool) {
    let solution = deb::solve(universe, request).unwrap();
    assert!(solution.skipped.is_empty());
    let set = solution
        .packages
        .iter()
        .map(|chosen| (chosen.package.name.to_owned(), chosen.package.version.as_str().to_owned()));
    (set.collect(), solution.direct)
}

/// Compares one request with apt; returns how many packages differ.
fn compare(
    apt: &Apt,
    universe: &Universe<'_>,
    name: &str,
    request: &Request,
    report: &mut String,
) -> usize {
    let names = deb::asked(universe, request).unwrap();
    let theirs =
        apt.simulate(&names, request.recommends).unwrap_or_else(|error| panic!("{name}: {error}"));
    let (ours, direct) = ours(universe, request);
    let mut differ = 0;
    for (package, version) in &theirs {
        if ours.get(package) != Some(version) {
            differ += 1;
            let _ = writeln!(
                report,
                "  {name}: apt has {package} {version}, we {:?}",
                ours.get(package)
            );
        }
    }
    for package in ours.keys().filter(|package| !theirs.contains_key(*package)) {
        differ += 1;
        let _ = writeln!(report, "  {name}: only we have {package}");
    }
    let how = if direct { "" } else { ", mended or searched" };
    let line = format!("{name}: apt {} packages, we {}{how}", theirs.len(), ours.len());
    println!("{line}");
    let _ = writeln!(report, "{line}");
    differ
}

/// Our set, each package with its version, is complete and without contradiction to apt.
fn complete(apt: &Apt, universe: &Universe<'_>, name: &str, request: &Request) {
    let (ours, _) = ours(universe, request);
    let exact: Vec<String> =
        ours.iter().map(|(name, version)| format!("{name}={version}")).collect();
    let exact: Vec<&str> = exact.iter().map(String::as_str).collect();
    let again = apt.simulate(&exact, false).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(again, ours, "{name}: apt adds or removes packages");
}

/// Compares the three profiles of a release with apt; returns how many packages differ.
fn profiles(apt: &Apt, universe: &Universe<'_>, codename: &str, report: &mut String) -> usize {
    ["core", "server", "desktop"]
        .into_iter()
        .map(|name| {
            let request = profile(name, codename);
            let name = format!("{codename} {name}");
            complete(apt, universe, &name, &request);
            compare(apt, universe, &name, &request, report)
        })
        .sum()
}

fn judge(differ: usize, report: &str) {
    println!("{report}{differ} packages differ");
    assert!(
        differ <= ALLOWED,
        "{differ} packages differ from apt's choice; {ALLOWED} may:\n{report}"
    );
}

#[test]
#[ignore = "fetches the indexes of two more releases: cargo xtask test --vm all"]
fn other_releases_as_apt() {
    let mut report = String::new();
    let mut differ = 0;
    for codename in ["bookworm", "forky"] {
        let Some(apt) = Apt::fetch(codename, false) else { return };
        differ += profiles(&apt, &apt.universe(), codename, &mut report);
    }
    judge(differ, &report);
}

/// A pin: package, what it is pinned to, priority.
type Stanza<'a> = (&'a str, String, i32);

/// Pins by version, by a pattern, of a source package, of a suite by its bare name; against each other.
fn more_pins(
    apt: &Apt,
    universe: &Universe<'_>,
    zfs: &dyn Fn(Vec<Pin>) -> Request,
    report: &mut String,
) -> usize {
    let backport = universe.entries().iter().find(|entry| {
        let from =
            |index: &u16| universe.indexes()[usize::from(*index)].codename.ends_with("-backports");
        entry.package.name == "zfsutils-linux" && entry.indexes.iter().any(from)
    });
    let Some(backport) = backport else {
        eprintln!("skipped: backports have no zfsutils-linux today");
        return 0;
    };
    let version = backport.package.version.as_str();
    let upstream = version.split('-').next().unwrap();
    let source = "src:zfs-linux";
    let cases: &[(&str, &[Stanza<'_>])] = &[
        ("a version", &[(source, format!("version {version}"), 990)]),
        ("a pattern of versions", &[(source, format!("version {upstream}*"), 501)]),
        ("a pattern too weak", &[(source, format!("version {upstream}*"), 499)]),
        ("a bare suite", &[(source, "release trixie-backports".to_owned(), 990)]),
        ("never a suite", &[(source, "release stable".to_owned(), -1)]),
        (
            "the first of two",
            &[
                (source, "release trixie-backports".to_owned(), 990),
                (source, format!("version {version}"), -1),
            ],
        ),
        (
            "names before all",
            &[
                ("*", "release trixie-backports".to_owned(), 990),
                (source, "release trixie-backports".to_owned(), 50),
            ],
        ),
    ];
    let mut differ = 0;
    for (name, pins) in cases {
        let mut preferences = String::new();
        let mut ours = Vec::new();
        for (package, target, priority) in *pins {
            let _ = writeln!(
                preferences,
                "Package: {package}\nPin: {target}\nPin-Priority: {priority}\n"
            );
            let target = PinTarget::parse(target).unwrap();
            ours.push(Pin { packages: vec![(*package).to_owned()], target, priority: *priority });
        }
        apt.preferences(&preferences);
        differ += compare(apt, universe, &format!("pinned: {name}"), &zfs(ours), report);
    }
    differ
}

/// A machine was made before there were updates, and some of the packages that have one by now are held in
/// turn.
fn holds(apt: &Apt, universe: &Universe<'_>, report: &mut String) -> usize {
    let mut request = Request { recommends: false, ..profile("core", "trixie") };
    let before = apt.universe_of(|release| release.codename == "trixie");
    let then = deb::solve(&before, &request).unwrap().packages;
    let versions = || then.iter().map(|one| (one.package.name, one.package.version.as_str()));
    let (now, _) = ours(universe, &request);
    let updated: Vec<&str> = versions()
        .filter(|(name, version)| now.get(*name).is_some_and(|now| now != version))
        .map(|(name, _)| name)
        .collect();
    if updated.is_empty() {
        eprintln!("skipped: no package of core has an update today");
    }
    let mut differ = 0;
    // Each call of apt takes its time.
    for held in updated.iter().step_by(updated.len().div_ceil(HOLDS).max(1)) {
        request.policy = Policy::default();
        assert!(request.policy.hold(&[(*held).to_owned()], versions()).is_empty());
        let (ours, _) = ours(universe, &request);
        let installed = then.iter().map(|one| Installed {
            package: one.package,
            asked: one.reason == Reason::Asked,
            held: one.package.name == *held,
        });
        let theirs = apt.upgraded(&installed.collect::<Vec<_>>());
        let all: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
        let other = |name: &&String| ours.get(*name) != theirs.get(*name);
        let others: Vec<&String> = all.into_iter().filter(other).collect();
        differ += others.len();
        let _ = writeln!(report, "{held} held at {}: {others:?} differ", ours[*held]);
    }
    differ
}

#[test]
fn trixie_as_apt() {
    let Some(apt) = Apt::fetch("trixie", true) else { return };
    let universe = apt.universe();
    let mut report = String::new();
    let mut differ = profiles(&apt, &universe, "trixie", &mut report);
    differ += holds(&apt, &universe, &mut report);
    for (at, &(recommends, names)) in REQUESTS.iter().enumerate() {
        let packages = names.split(' ').map(str::to_owned).collect();
        let request = Request { packages, recommends, ..Request::default() };
        differ += compare(&apt, &universe, names, &request, &mut report);
        // Each call of apt takes its time.
        if at % 7 == 0 {
            complete(&apt, &universe, names, &request);
        }
    }
    for names in MENDED {
        let request =
            Request { packages: vec![(*names).to_owned()], recommends: true, ..Request::default() };
        assert!(!ours(&universe, &request).1, "{names}: nothing had to be mended");
        differ += compare(&apt, &universe, names, &request, &mut report);
        complete(&apt, &universe, names, &request);
    }
    // A newer kernel with what it needs, and nothing else.
    let kernel = "linux-image-amd64/trixie-backports";
    let request = Request { packages: vec![kernel.to_owned()], ..Request::default() };
    let theirs = apt.simulate(&[kernel], false).unwrap();
    assert_eq!(ours(&universe, &request).0, theirs, "{kernel}");
    // OpenZFS from backports, nothing else.
    let names = ["zfs*", "libzfs*", "libzpool*", "libnvpair*", "libuutil*"];
    apt.preferences(&format!(
        "Package: {}\nPin: release n=trixie-backports\nPin-Priority: 990\n",
        names.join(" ")
    ));
    let pin = Pin {
        packages: names.map(str::to_owned).to_vec(),
        target: PinTarget::parse("release n=trixie-backports").unwrap(),
        priority: 990,
    };
    let zfs = |pins: Vec<Pin>| {
        let policy = Policy { pins, ..Policy::default() };
        let packages = vec!["zfsutils-linux".to_owned(), "zfs-dkms".to_owned()];
        Request { packages, policy, recommends: true, ..Request::default() }
    };
    differ += compare(&apt, &universe, "zfs from backports", &zfs(vec![pin]), &mut report);
    differ += more_pins(&apt, &universe, &zfs, &mut report);
    judge(differ, &report);
}
