//! The text of a lock file.

use std::fmt;
use std::str::FromStr;

use pkg::path::check_path;
use thiserror::Error;

use super::{Blob, HEADER, Lock, LockedIndex, LockedPackage, LockedSuite, VERSION};

/// Most that all files of a lock may have together, in bytes: a PiB. So whoever adds lengths up never comes to
/// the end of a `u64`.
const MOST_BYTES: u64 = 1 << 50;

/// Why a text is not a lock.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {problem}")]
pub struct LockError {
    /// Line of the text, from 1.
    pub line: usize,
    /// What is wrong, and what is expected.
    pub problem: String,
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER} {VERSION}")?;
        writeln!(f, "distribution {} {} {}", self.distribution, self.codename, self.architecture)?;
        for request in &self.requests {
            writeln!(f, "request {request}")?;
        }
        for pin in &self.pins {
            writeln!(f, "pin {pin}")?;
        }
        for (key, value) in &self.asked {
            writeln!(f, "asked {key} {value}")?;
        }
        for suite in &self.suites {
            let Blob { digest, size } = suite.release;
            writeln!(f, "suite {} {} {digest} {size} {}", suite.name, suite.date, suite.mirror)?;
            if let Some(Blob { digest, size }) = suite.signature {
                writeln!(f, "signature {} {digest} {size}", suite.name)?;
            }
            for LockedIndex { path, blob: Blob { digest, size } } in &suite.indexes {
                writeln!(f, "index {} {digest} {size} {path}", suite.name)?;
            }
        }
        for package in &self.packages {
            let LockedPackage { name, version, architecture, suite, component, path, .. } = package;
            let Blob { digest, size } = package.blob;
            writeln!(
                f,
                "package {name} {version} {architecture} {size} {digest} {suite}/{component} {path}"
            )?;
        }
        Ok(())
    }
}

/// Reads the text of a lock.
pub fn parse(text: &str) -> Result<Lock, LockError> {
    let line = |(at, rest)| Line { number: at + 1, rest, bytes: 0 };
    let mut lines = text.lines().enumerate().map(line);
    let mut first = lines.next().unwrap_or(line((0, "")));
    if first.word("the header")? != HEADER {
        return Err(first.bad(format!("this is not a lock: it does not start with {HEADER:?}")));
    }
    let version: u32 = first.parsed("a version")?;
    if version != VERSION {
        let problem = format!("a lock of version {version}; this program knows version {VERSION}");
        return Err(first.bad(problem));
    }
    let mut lock = Lock::default();
    let mut bytes = 0_u64;
    for mut line in lines {
        if line.rest.is_empty() || line.rest.starts_with('#') {
            continue;
        }
        match line.word("a kind of line")? {
            "distribution" => {
                lock.distribution = line.name("a distribution")?;
                lock.codename = line.name("a codename")?;
                lock.architecture = line.name("an architecture")?;
            }
            kind @ ("request" | "pin" | "asked") if line.rest.chars().any(char::is_control) => {
                return Err(line.bad(format!("a {kind} with control characters")));
            }
            "request" => lock.requests.push(line.rest.to_owned()),
            "pin" => lock.pins.push(line.rest.to_owned()),
            "asked" => {
                let key = line.word("a key")?;
                lock.asked.push((key.to_owned(), line.rest.to_owned()));
            }
            "suite" => {
                let name = line.suite_name()?;
                if lock.suite(&name).is_some() {
                    return Err(line.bad(format!("the suite {name} occurs a second time")));
                }
                let (date, release) = (line.parsed("a date")?, line.blob()?);
                let mirror = line.parsed("an address")?;
                let (signature, indexes) = (None, Vec::new());
                lock.suites.push(LockedSuite { name, date, release, signature, mirror, indexes });
            }
            "signature" => {
                let blob = {
                    let at = line.known_suite(&lock)?;
                    (at, line.blob()?)
                };
                if let Some(suite) = lock.suites.get_mut(blob.0) {
                    suite.signature = Some(blob.1);
                }
            }
            "index" => {
                let at = line.known_suite(&lock)?;
                let (blob, path) = (line.blob()?, line.path()?);
                if let Some(suite) = lock.suites.get_mut(at) {
                    suite.indexes.push(LockedIndex { path, blob });
                }
            }
            "package" => lock.packages.push(line.package(&lock)?),
            other => return Err(line.bad(format!("{other:?} is not a kind of line"))),
        }
        bytes = bytes.saturating_add(line.bytes);
        if bytes > MOST_BYTES {
            let size = line.bytes;
            let problem =
                format!("with a size of {size}, all files have more than {MOST_BYTES} bytes");
            return Err(line.bad(problem));
        }
    }
    if lock.distribution.is_empty() {
        return Err(first.bad("the line \"distribution\" is missing".to_owned()));
    }
    lock.sort();
    Ok(lock)
}

/// A line, read word by word.
struct Line<'a> {
    number: usize,
    rest: &'a str,
    /// Sizes that were read of it.
    bytes: u64,
}

impl<'a> Line<'a> {
    fn bad(&self, problem: String) -> LockError {
        LockError { line: self.number, problem }
    }

    fn word(&mut self, expected: &str) -> Result<&'a str, LockError> {
        let (word, rest) = self.rest.split_once(' ').unwrap_or((self.rest, ""));
        if word.is_empty() || word.chars().any(char::is_control) {
            return Err(self.bad(format!("{expected} is expected before {rest:?}")));
        }
        self.rest = rest;
        Ok(word)
    }

    /// A word that may become the name of a file.
    fn name(&mut self, expected: &str) -> Result<String, LockError> {
        let word = self.word(expected)?;
        if word.contains('/') || check_path(word).is_err() {
            return Err(self.bad(format!("{word:?} is not {expected}")));
        }
        Ok(word.to_owned())
    }

    fn parsed<T: FromStr>(&mut self, expected: &str) -> Result<T, LockError> {
        let word = self.word(expected)?;
        word.parse().map_err(|_| self.bad(format!("{word:?} is not {expected}")))
    }

    fn blob(&mut self) -> Result<Blob, LockError> {
        let digest = self.parsed("a SHA-256 digest")?;
        Ok(Blob { digest, size: self.size()? })
    }

    fn size(&mut self) -> Result<u64, LockError> {
        let size: u64 = self.parsed("a size in bytes")?;
        self.bytes = self.bytes.saturating_add(size);
        Ok(size)
    }

    fn path(&mut self) -> Result<String, LockError> {
        let path = check_path(self.rest).map_err(|error| self.bad(error.to_string()))?;
        Ok(path.to_owned())
    }

    /// Suites become directories.
    fn suite_name(&mut self) -> Result<String, LockError> {
        let name = self.word("a suite")?;
        check_path(name).map_err(|error| self.bad(error.to_string()))?;
        Ok(name.to_owned())
    }

    fn known_suite(&mut self, lock: &Lock) -> Result<usize, LockError> {
        let name = self.word("a suite")?;
        let at = lock.suites.iter().position(|suite| suite.name == name);
        at.ok_or_else(|| self.bad(format!("the suite {name} has no line \"suite\" before")))
    }

    fn package(&mut self, lock: &Lock) -> Result<LockedPackage, LockError> {
        let name = self.name("a name")?;
        let version = self.name("a version")?;
        let architecture = self.name("an architecture")?;
        let size = self.size()?;
        let digest = self.parsed("a SHA-256 digest")?;
        let place = self.word("suite/component")?;
        // Names of suites and of components may have slashes: `stable/updates`, `updates/main`.
        let split = lock.suites.iter().find_map(|suite| {
            let component = place.strip_prefix(&suite.name)?.strip_prefix('/')?;
            Some((suite.name.clone(), component.to_owned()))
        });
        let (suite, component) = split
            .ok_or_else(|| self.bad(format!("{place:?} is of no suite that has a line before")))?;
        check_path(&component).map_err(|error| self.bad(error.to_string()))?;
        let path = self.path()?;
        let blob = Blob { digest, size };
        Ok(LockedPackage { name, architecture, version, blob, suite, component, path })
    }
}
