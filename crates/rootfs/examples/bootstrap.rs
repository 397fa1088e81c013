//! `bootstrap DIRECTORY OUTPUT [MODULES]`: a directory of `.deb` files becomes a saved tree.
//!
//! `BOOTSTRAP_LIMIT` is the time for each script, in seconds; `BOOTSTRAP_JOBS` how many unpack.
#![allow(clippy::unwrap_used, missing_docs)]
use rootfs::bootstrap::{self, Bootstrap, Event, Package};
use std::time::{Duration, Instant};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args == [bootstrap::INSIDE] {
        std::process::exit(i32::from(!bootstrap::inside()));
    }
    let number = |name: &str, otherwise: u64| {
        std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
    };
    let mut packages = Vec::new();
    for entry in std::fs::read_dir(&args[0]).unwrap() {
        let deb = entry.unwrap().path();
        let name = deb.file_stem().unwrap().to_string_lossy().replace("%3a", ":");
        let [name, version, architecture] = name.split('_').collect::<Vec<_>>()[..] else {
            continue;
        };
        packages.push(Package {
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: architecture.to_owned(),
            sha256: tree::Digest::of(&std::fs::read(&deb).unwrap()).to_string(),
            deb: deb.clone(),
            automatic: false,
        });
    }
    let request = Bootstrap {
        packages,
        architecture: "amd64".to_owned(),
        timestamp: 1_795_536_000,
        script_timeout: Duration::from_secs(number("BOOTSTRAP_LIMIT", 1800)),
        jobs: number("BOOTSTRAP_JOBS", 0) as usize,
        modules: args.get(2).map(Into::into),
        signing: None,
        program: None,
    };
    let begin = Instant::now();
    let result = bootstrap::bootstrap(&request, args[1].as_ref(), &mut |event| {
        let time = begin.elapsed().as_secs_f64();
        match event {
            Event::Step(_) => {}
            event => println!("{time:7.2} {event:?}"),
        }
    });
    match result {
        Ok((tree, _)) => {
            println!("{:.2} s, {} inodes", begin.elapsed().as_secs_f64(), tree.inode_count())
        }
        Err(error) => {
            println!("error: {error}");
            std::process::exit(1);
        }
    }
}
