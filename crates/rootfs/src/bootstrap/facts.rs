//! What is known of a package before it is unpacked: its control file, its relations, its scripts.

use std::fs::File;
use std::io::BufReader;

use pkg::deb::{Deb, paragraphs, parse_provides, parse_relations};

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

/// Opens a package.
pub(super) fn open(package: &Package) -> Result<Deb<BufReader<File>>, Fault> {
    let fault = |error: &dyn std::fmt::Display| {
        Fault(format!("{} ({}): {error}", package.name, package.deb.display()))
    };
    let file = File::open(&package.deb).map_err(|error| fault(&error))?;
    Deb::open(BufReader::with_capacity(1 << 17, file)).map_err(|error| fault(&error))
}

impl Facts {
    /// Reads them, and checks that the file is the package it is said to be.
    pub fn read(package: &Package, architecture: &str) -> Result<Self, Fault> {
        let deb = open(package)?;
        let fault = |problem: String| {
            Fault(format!("{} ({}): {problem}", package.name, package.deb.display()))
        };
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
