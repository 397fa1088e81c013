//! What is known of a package before it is unpacked: its control file, its relations, its scripts.

use std::fs::File;
use std::io::{self, BufReader, Read};

use pkg::deb::{Deb, paragraphs, parse_provides, parse_relations};
use tree::Hasher;

use super::{Fault, Package};

/// What decides how and when a package is unpacked.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub package: Package,
    /// `Essential: yes`
    pub essential: bool,
    /// Files in dpkg's database have the architecture in their names.
    pub same: bool,
    /// A script must run before it is unpacked.
    pub preinst: bool,
    /// Names it stands for, its own first.
    pub provides: Vec<String>,
    /// Alternatives by name, as each of `Pre-Depends` has them.
    pub pre_depends: Vec<Vec<String>>,
    /// The same of `Depends`.
    pub depends: Vec<Vec<String>>,
    /// The text of `Replaces`.
    pub replaces: String,
}

/// A package's file, hashed as it is read.
pub(super) struct PackageFile<'a> {
    package: &'a Package,
    file: File,
    hasher: Hasher,
}

impl<'a> PackageFile<'a> {
    pub fn open(package: &'a Package) -> Result<Self, Fault> {
        let file = File::open(&package.deb).map_err(|error| told(package, error))?;
        Ok(Self { package, file, hasher: Hasher::default() })
    }

    /// The package in it, from where reading has come.
    pub fn deb(&mut self) -> Result<Deb<BufReader<&mut Self>>, Fault> {
        let package = self.package;
        Deb::open(BufReader::with_capacity(1 << 17, self)).map_err(|error| told(package, error))
    }

    /// What reading led to, if the whole file is the one that the lock names. A file that is not would
    /// explain any failure.
    pub fn checked<T>(mut self, read: Result<T, Fault>) -> Result<T, Fault> {
        let package = self.package;
        io::copy(&mut self, &mut io::sink()).map_err(|error| told(package, error))?;
        let found = self.hasher.finish().to_string();
        if found != package.sha256 {
            let (deb, wanted) = (package.deb.clone(), package.sha256.clone());
            return Err(Fault::Damaged { deb, wanted, found });
        }
        read
    }
}

impl Read for PackageFile<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.hasher.update(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}

pub(super) fn told(package: &Package, error: impl std::fmt::Display) -> Fault {
    Fault::Told(format!("{} ({}): {error}", package.name, package.deb.display()))
}

impl Facts {
    /// Reads them, and checks that the file is the package it is said to be.
    pub fn read(package: &Package, architecture: &str) -> Result<Self, Fault> {
        let mut file = PackageFile::open(package)?;
        match Self::of(package, &mut file, architecture) {
            Ok(facts) => Ok(facts),
            failed => file.checked(failed),
        }
    }

    fn of(
        package: &Package,
        file: &mut PackageFile<'_>,
        architecture: &str,
    ) -> Result<Self, Fault> {
        let deb = file.deb()?;
        let fault = |problem: String| told(package, problem);
        let paragraph = paragraphs(deb.control())
            .next()
            .transpose()
            .map_err(|error| fault(format!("control: {error}")))?
            .ok_or_else(|| fault("control is empty".to_owned()))?;
        let get = |name: &str| paragraph.get(name).unwrap_or_default();
        let is = (get("Package"), get("Version"), get("Architecture"));
        let Package { name, version, architecture: wanted, .. } = package;
        if is != (name.as_str(), version.as_str(), wanted.as_str()) {
            let (name, version, architecture) = is;
            return Err(fault(format!("the file is {name} {version} {architecture}")));
        }
        // Names become names of files.
        let plain = |text: &str| {
            !text.is_empty()
                && text.len() < 128
                && !text.starts_with('.')
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        };
        if !plain(name) || !plain(wanted) {
            return Err(fault(format!("{name:?} of {wanted:?} cannot be a package")));
        }
        if wanted != architecture && wanted != "all" {
            return Err(fault(format!("it is for {wanted}; this root is for {architecture}")));
        }
        let relations = |field: &str| -> Result<Vec<Vec<String>>, Fault> {
            let clauses =
                parse_relations(get(field)).map_err(|error| fault(format!("{field}: {error}")))?;
            let names = |clause: &Vec<pkg::deb::Dependency<'_>>| {
                clause.iter().map(|one| one.name.to_owned()).collect()
            };
            Ok(clauses.iter().map(names).collect())
        };
        let mut provides = vec![name.clone()];
        let provided = parse_provides(get("Provides"));
        let provided = provided.map_err(|error| fault(format!("Provides: {error}")))?;
        provides.extend(provided.iter().map(|one| one.name.to_owned()));
        Ok(Self {
            package: package.clone(),
            essential: get("Essential").eq_ignore_ascii_case("yes"),
            same: get("Multi-Arch").eq_ignore_ascii_case("same"),
            preinst: deb.file("preinst").is_some(),
            provides,
            pre_depends: relations("Pre-Depends")?,
            depends: relations("Depends")?,
            replaces: get("Replaces").to_owned(),
        })
    }

    /// What its files in dpkg's database are called, without ending.
    pub fn database_name(&self) -> String {
        let Package { name, architecture, .. } = &self.package;
        if self.same { format!("{name}:{architecture}") } else { name.clone() }
    }

    /// Whether it may take over files of `other`.
    pub fn replaces(&self, other: &Package) -> bool {
        let Ok(clauses) = parse_relations(&self.replaces) else { return false };
        let Ok(version) = pkg::deb::Version::parse(&other.version) else { return false };
        clauses.iter().flatten().any(|one| {
            one.name == other.name
                && one.version.is_none_or(|(operator, wanted)| operator.holds(version, wanted))
        })
    }
}
