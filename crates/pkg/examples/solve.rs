//! Solves a profile over `Packages` files and says how long it took.
//!
//!     solve PROFILE CODENAME PACKAGES...
//!
//! Files may be compressed (xz, gz, zst). Each file is a suite of its own, all of priority 500.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "an example fails by it")]

use std::fs;
use std::io::Read;
use std::time::Instant;

use archive::compress::{Peek, decoder};
use pkg::deb::{IndexInfo, Request, Universe, parse_packages, solve};
use pkg::profile::Profiles;

fn main() {
    let mut args = std::env::args().skip(1);
    let profile = args.next().expect("PROFILE");
    let codename = args.next().expect("CODENAME");
    let started = Instant::now();
    let texts: Vec<String> = args
        .map(|path| {
            let mut peek = Peek::new(fs::File::open(path).unwrap());
            let mut text = String::new();
            decoder(&mut peek).unwrap().read_to_string(&mut text).unwrap();
            text
        })
        .collect();
    let read = started.elapsed();
    let mut universe = Universe::new("amd64");
    for text in &texts {
        let info = IndexInfo { priority: 500, codename: codename.clone(), ..IndexInfo::default() };
        universe.add(info, parse_packages(text));
    }
    let parsed = started.elapsed();
    let profile = Profiles::built_in("debian").unwrap().get(&profile, &codename).unwrap();
    let solution = solve(&universe, &Request::from_profile(&profile)).unwrap();
    let solved = started.elapsed();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("").trim();
    println!(
        "{} packages of {}; seconds: {:.2} in all ({:.2} reading, {:.2} parsing, {:.2} solving); \
         peak memory {peak}; by search: {}",
        solution.packages.len(),
        universe.entries().len(),
        solved.as_secs_f64(),
        read.as_secs_f64(),
        (parsed - read).as_secs_f64(),
        (solved - parsed).as_secs_f64(),
        !solution.direct
    );
}
