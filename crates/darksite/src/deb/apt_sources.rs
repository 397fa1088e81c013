//! Sources of a stock apt: which mirrors a build host uses already (sources.list(5)).
//!
//! Both formats are read, one-line and deb822. Only what tells where suites are is kept: whom to trust
//! is not taken from a host.

use std::fs;
use std::path::{Path, PathBuf};

use pkg::deb::paragraphs;

use crate::Location;

/// One suite of one mirror that the host uses for binary packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSource {
    /// The archive's address.
    pub location: Location,
    /// The suite, as `trixie-updates`.
    pub suite: String,
    /// Whether `Valid-Until` counts there, if the source tells.
    pub check_valid_until: Option<bool>,
}

/// Names that are given to one release after the other, or to none.
const ALIASES: [&str; 7] =
    ["stable", "oldstable", "oldoldstable", "testing", "unstable", "sid", "experimental"];

/// Reads the lists of mirrors that sources name.
pub type ReadList<'a> = &'a dyn Fn(&Path) -> String;

/// What an address of apt stands for: itself, or the mirrors in a file (apt-transport-mirror(1)).
fn archives(address: &str, read: ReadList<'_>) -> Vec<Location> {
    let Some(list) = address.strip_prefix("mirror+").filter(|list| list.starts_with("file:"))
    else {
        return address.parse().into_iter().collect();
    };
    match list.parse() {
        Ok(Location::File(path)) => parse_mirrors(&read(&path)),
        _ => Vec::new(),
    }
}

/// Reads a list of mirrors: an address a line, and what apt should know of it. Those with a number of
/// priority come first, the lowest before all.
pub fn parse_mirrors(text: &str) -> Vec<Location> {
    let line = |line: &str| {
        let mut words = line.split('#').next()?.split_whitespace();
        let location = words.next()?.parse().ok()?;
        let priority = words.find_map(|word| word.strip_prefix("priority:")?.parse::<u32>().ok());
        Some((priority.unwrap_or(u32::MAX), location))
    };
    let mut found: Vec<(u32, Location)> = text.lines().filter_map(line).collect();
    found.sort_by_key(|(priority, _)| *priority);
    found.into_iter().map(|(_, location)| location).collect()
}

/// Reads a file in the one-line format. Lines that cannot be used are left out: they are not ours.
pub fn parse_one_line(text: &str, read: ReadList<'_>) -> Vec<HostSource> {
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(rest) = line.strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t', '[']))
        else {
            continue;
        };
        let rest = rest.trim();
        let (options, rest) = match rest.strip_prefix('[').map(|rest| rest.split_once(']')) {
            Some(Some((options, rest))) => (options, rest.trim()),
            Some(None) => continue,
            None => ("", rest),
        };
        let mut words = rest.split_whitespace();
        let (Some(address), Some(suite)) = (words.next(), words.next()) else { continue };
        let check_valid_until = options
            .split_whitespace()
            .find_map(|option| option.strip_prefix("check-valid-until="))
            .and_then(yes);
        found.extend(archives(address, read).into_iter().map(|location| HostSource {
            location,
            suite: suite.to_owned(),
            check_valid_until,
        }));
    }
    found
}

/// Reads a file in the deb822 format; stanzas after one that is no stanza are left out.
pub fn parse_deb822(text: &str, read: ReadList<'_>) -> Vec<HostSource> {
    let mut found = Vec::new();
    for stanza in paragraphs(text).map_while(Result::ok) {
        let words = |name: &str| {
            let lines = stanza.field(name).map(|field| field.lines().collect::<Vec<_>>());
            let lines = lines.unwrap_or_default();
            lines.iter().flat_map(|line| line.split_whitespace()).map(str::to_owned).collect()
        };
        let types: Vec<String> = words("Types");
        let enabled = stanza.get("Enabled").and_then(yes).unwrap_or(true);
        if !enabled || !types.iter().any(|kind| kind == "deb") {
            continue;
        }
        let check_valid_until = stanza.get("Check-Valid-Until").and_then(yes);
        let (uris, suites): (Vec<String>, Vec<String>) = (words("URIs"), words("Suites"));
        for location in uris.iter().flat_map(|uri| archives(uri, read)) {
            found.extend(suites.iter().map(|suite| HostSource {
                location: location.clone(),
                suite: suite.clone(),
                check_valid_until,
            }));
        }
    }
    found
}

/// Whether apt's configuration switches `Valid-Until` off for all sources:
/// `Acquire::Check-Valid-Until "false";`
pub fn ignores_valid_until(configuration: &str) -> bool {
    configuration.lines().rev().find_map(|line| {
        let line = line.trim();
        let name = "Acquire::Check-Valid-Until";
        let value = line.get(..name.len()).filter(|start| start.eq_ignore_ascii_case(name));
        let value = value.and(line.get(name.len()..))?;
        yes(value.trim().trim_end_matches(';').trim().trim_matches('"'))
    }) == Some(false)
}

/// What a host's apt is configured to use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostApt {
    /// Its sources of binary packages, in the order apt reads them.
    pub sources: Vec<HostSource>,
    /// Whether it takes states that are older than their `Valid-Until`.
    pub ignores_valid_until: bool,
}

impl HostApt {
    /// Reads the configuration in `directory`, usually `/etc/apt`. What is missing or cannot be read is
    /// as if it were empty: there are other mirrors.
    pub fn read(directory: &Path) -> Self {
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        let mut sources = parse_one_line(&read(&directory.join("sources.list")), &read);
        for path in files(&directory.join("sources.list.d")) {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("list") => sources.extend(parse_one_line(&read(&path), &read)),
                Some("sources") => sources.extend(parse_deb822(&read(&path), &read)),
                _ => {}
            }
        }
        let mut configuration = String::new();
        for path in files(&directory.join("apt.conf.d")) {
            configuration += &read(&path);
            configuration.push('\n');
        }
        configuration += &read(&directory.join("apt.conf"));
        Self { sources, ignores_valid_until: ignores_valid_until(&configuration) }
    }

    /// The archives it uses for suites like `trixie-updates`: those of any release (`codenames`, and what
    /// releases are called in turn) with one of the endings `suffixes`, as a mirror has them all. Tells too
    /// whether `Valid-Until` counts there.
    pub fn mirrors(&self, suffixes: &[&str], codenames: &[String]) -> (Vec<Location>, bool) {
        let mut found: Vec<Location> = Vec::new();
        let mut check = !self.ignores_valid_until;
        let names = || codenames.iter().map(String::as_str).chain(ALIASES);
        for source in &self.sources {
            let ours = names().any(|name| {
                let suffix = source.suite.strip_prefix(name);
                suffix.is_some_and(|suffix| suffixes.contains(&suffix))
            });
            if ours && !found.contains(&source.location) {
                check = source.check_valid_until.unwrap_or(check);
                found.push(source.location.clone());
            }
        }
        (found, check)
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn yes(text: &str) -> Option<bool> {
    match &*text.to_ascii_lowercase() {
        "yes" | "true" | "with" | "on" | "enable" | "1" => Some(true),
        "no" | "false" | "without" | "off" | "disable" | "0" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(_: &Path) -> String {
        String::new()
    }

    fn shown(sources: &[HostSource]) -> Vec<String> {
        let show = |source: &HostSource| {
            format!("{} {} {:?}", source.location, source.suite, source.check_valid_until)
        };
        sources.iter().map(show).collect()
    }

    #[test]
    fn one_line_format() {
        let text = "# deb http://no.example/ x main\n\
                    deb http://a.example/debian trixie main contrib # near\n\
                    deb-src http://a.example/debian trixie main\n\
                    deb [ arch=amd64 check-valid-until=no ] file:/srv/debian trixie-updates main\n\
                    deb cdrom:[x]/ trixie main\n\
                    deb [broken http://a.example/ x\n\
                    deb http://b.example/\n";
        let expected =
            ["http://a.example/debian trixie None", "file:/srv/debian trixie-updates Some(false)"];
        assert_eq!(shown(&parse_one_line(text, &nothing)), expected);
    }

    #[test]
    fn deb822_format() {
        let text = "Types: deb deb-src\nURIs: http://a.example/debian\n http://b.example\n\
                    Suites: trixie trixie-updates\nComponents: main\nCheck-Valid-Until: no\n\n\
                    Types: deb\nEnabled: no\nURIs: http://c.example\nSuites: trixie\n\n\
                    Types: deb-src\nURIs: http://c.example\nSuites: trixie\n";
        let expected = [
            "http://a.example/debian trixie Some(false)",
            "http://a.example/debian trixie-updates Some(false)",
            "http://b.example trixie Some(false)",
            "http://b.example trixie-updates Some(false)",
        ];
        assert_eq!(shown(&parse_deb822(text, &nothing)), expected);
        assert!(parse_deb822("no stanza", &nothing).is_empty());
    }

    #[test]
    fn a_hosts_directory() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        assert_eq!(HostApt::read(root), HostApt::default());
        for name in ["sources.list.d", "apt.conf.d"] {
            fs::create_dir(root.join(name)).unwrap();
        }
        fs::write(root.join("sources.list"), "deb http://a.example bookworm main\n").unwrap();
        let stanza = "Types: deb\nURIs: http://b.example http://a.example\nSuites: bookworm bookworm-updates\n";
        fs::write(root.join("sources.list.d/b.sources"), stanza).unwrap();
        fs::write(root.join("sources.list.d/c.sources.save"), stanza.replace('b', "c")).unwrap();
        fs::write(root.join("apt.conf.d/99x"), "Acquire::Check-Valid-Until \"no\";\n").unwrap();
        let apt = HostApt::read(root);
        let codenames = ["bookworm".to_owned(), "trixie".to_owned()];
        let show = |suffix: &str| {
            let (mirrors, check) = apt.mirrors(&[suffix], &codenames);
            (mirrors.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "), check)
        };
        assert_eq!(show(""), ("http://a.example http://b.example".to_owned(), false));
        assert_eq!(show("-updates"), ("http://b.example http://a.example".to_owned(), false));
        assert_eq!(show("-security").0, "");
        assert_eq!(apt.mirrors(&["-updates", "-backports"], &codenames).0.len(), 2);
    }

    #[test]
    fn lists_of_mirrors_and_names_in_turn() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let list = "# ours\nhttp://far.example/debian\tpriority:9\nhttp://any.example/debian\n\
                    http://near.example/debian priority:1 type:index # here\nftp://x\n";
        fs::write(root.join("mirrors.txt"), list).unwrap();
        let list = format!("mirror+file:{}/mirrors.txt", root.display());
        let sources = format!("deb {list} stable main\ndeb mirror+http://x/ trixie main\n");
        fs::write(root.join("sources.list"), sources).unwrap();
        fs::create_dir(root.join("sources.list.d")).unwrap();
        let stanza = format!("Types: deb\nURIs: {list}\nSuites: oldstable-security\n");
        fs::write(root.join("sources.list.d/a.sources"), stanza).unwrap();
        let apt = HostApt::read(root);
        for suffix in ["", "-security"] {
            let (mirrors, _) = apt.mirrors(&[suffix], &["trixie".to_owned()]);
            let mirrors: Vec<String> = mirrors.iter().map(ToString::to_string).collect();
            assert_eq!(
                mirrors,
                ["near", "far", "any"].map(|name| format!("http://{name}.example/debian"))
            );
        }
    }

    #[test]
    fn configuration() {
        assert!(ignores_valid_until("X \"y\";\n acquire::check-valid-until \"false\";\n"));
        assert!(!ignores_valid_until("Acquire::Check-Valid-Until \"true\";"));
        assert!(!ignores_valid_until("é\n"));
    }
}
