//! Any text as an index, and the first package of it installed.
//!
//! Errors are fine, panics and endless searches are bugs; so is a set in which a hard relation does not
//! hold.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pkg::deb::{IndexInfo, Request, SolveError, Universe, parse_packages, solve};

fuzz_target!(|text: &str| {
    let index = parse_packages(text);
    let Some(first) = index.packages.first().map(|package| package.name.to_owned()) else { return };
    let mut universe = Universe::new("amd64");
    let info = IndexInfo { priority: 500, ..IndexInfo::default() };
    universe.add(info, index);
    let request = Request { packages: vec![first], recommends: true, ..Request::default() };
    if let Err(error @ SolveError::Broken(_)) = solve(&universe, &request) {
        panic!("{error}");
    }
});
