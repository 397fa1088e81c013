//! dpkg's database for packages that were unpacked here, as its own `--unpack` would have left it.
//!
//! dpkg writes `status` anew, in its own order of fields, the first time it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use pkg::deb::paragraphs;

use super::Fault;
use super::facts::Facts;
use super::unpack::Unpacked;

/// Control files that dpkg does not keep.
const NOT_KEPT: &str = "control";

fn at(path: &Path) -> impl FnOnce(io::Error) -> Fault + use<> {
    let path = path.to_owned();
    move |error| Fault::Told(format!("{}: {error}", path.display()))
}

/// Writes a file of dpkg's.
fn write(path: &Path, mode: u32, content: &[u8]) -> Result<(), Fault> {
    fs::write(path, content)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)))
        .map_err(at(path))
}

/// Makes the database in `root`, with these packages unpacked and nothing else.
pub(super) fn create(
    root: &Path,
    architecture: &str,
    facts: &[Facts],
    unpacked: &BTreeMap<usize, Unpacked>,
) -> Result<(), Fault> {
    let directory = root.join("var/lib/dpkg");
    for name in ["info", "updates", "triggers", "alternatives", "parts"] {
        let path = directory.join(name);
        fs::create_dir_all(&path).map_err(at(&path))?;
    }
    write(&directory.join("diversions"), 0o644, b"")?;
    for name in ["arch", "arch-native"] {
        write(&directory.join(name), 0o644, format!("{architecture}\n").as_bytes())?;
    }
    write(&directory.join("info/format"), 0o644, b"1\n")?;

    let mut status = String::new();
    let mut triggers = Triggers::default();
    for (&at, unpacked) in unpacked {
        let Some(facts) = facts.get(at) else { continue };
        info(&directory.join("info"), facts, unpacked)?;
        stanza(&mut status, facts, unpacked)?;
        triggers.add(facts, unpacked);
    }
    write(&directory.join("status"), 0o644, status.as_bytes())?;
    triggers.write(&directory.join("triggers"))
}

/// The files of one package in `info`.
fn info(directory: &Path, facts: &Facts, unpacked: &Unpacked) -> Result<(), Fault> {
    let name = facts.database_name();
    for file in unpacked.control.iter().filter(|file| file.name != NOT_KEPT) {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if file.name.is_empty() || file.name.len() > 100 || !file.name.bytes().all(plain) {
            let package = &facts.package;
            let problem = format!("a control file cannot be called {:?}", file.name);
            return Err(Fault::Told(format!("{}: {problem}", package.name)));
        }
        let path = directory.join(format!("{name}.{}", file.name));
        write(&path, file.mode & 0o755, &file.content)?;
    }
    let mut list = Vec::new();
    for path in &unpacked.list {
        list.extend_from_slice(path);
        list.push(b'\n');
    }
    write(&directory.join(format!("{name}.list")), 0o644, &list)
}

/// The package's paragraph of `status`.
fn stanza(status: &mut String, facts: &Facts, unpacked: &Unpacked) -> Result<(), Fault> {
    let fault = || Fault::Told(format!("{}: it has no control file", facts.package.name));
    let control = unpacked.control.iter().find(|file| file.name == "control").ok_or_else(fault)?;
    let text = String::from_utf8_lossy(&control.content);
    let paragraph = paragraphs(&text).next().and_then(Result::ok).ok_or_else(fault)?;
    status.push_str("Status: install ok unpacked\n");
    for field in paragraph.fields() {
        // What only the archive knows, or what dpkg says itself.
        let ours = ["Status", "Conffiles", "Filename", "Size", "MD5sum", "SHA1", "SHA256"];
        if ours.iter().any(|name| field.name.eq_ignore_ascii_case(name)) {
            continue;
        }
        let lines = field.value.split('\n').filter(|line| !line.starts_with('#'));
        let value: Vec<&str> = lines.collect();
        status.push_str(&format!("{}: {}\n", field.name, value.join("\n")));
    }
    if !unpacked.conffiles.is_empty() {
        status.push_str("Conffiles:\n");
        for path in &unpacked.conffiles {
            status.push_str(&format!(" {path} newconffile\n"));
        }
    }
    status.push('\n');
    Ok(())
}

/// Who is interested in what (deb-triggers(5)).
#[derive(Debug, Default)]
struct Triggers {
    files: Vec<String>,
    named: BTreeMap<String, BTreeSet<String>>,
}

impl Triggers {
    fn add(&mut self, facts: &Facts, unpacked: &Unpacked) {
        let Some(file) = unpacked.control.iter().find(|file| file.name == "triggers") else {
            return;
        };
        for line in String::from_utf8_lossy(&file.content).lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let (Some(directive), Some(name)) = (words.next(), words.next()) else { continue };
            let option = match directive {
                "interest" | "interest-await" => "",
                "interest-noawait" => "/noawait",
                _ => continue,
            };
            let package = format!("{}{option}", facts.database_name());
            if name.starts_with('/') {
                self.files.push(format!("{name} {package}\n"));
            } else if name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
            {
                self.named.entry(name.to_owned()).or_default().insert(package);
            }
        }
    }

    fn write(&self, directory: &Path) -> Result<(), Fault> {
        if !self.files.is_empty() {
            write(&directory.join("File"), 0o644, self.files.concat().as_bytes())?;
        }
        for (name, packages) in &self.named {
            let lines: String = packages.iter().map(|package| format!("{package}\n")).collect();
            write(&directory.join(name), 0o644, lines.as_bytes())?;
        }
        Ok(())
    }
}

/// Writes which packages nobody asked for.
pub(super) fn automatic(root: &Path, architecture: &str, facts: &[Facts]) -> Result<(), Fault> {
    let directory = root.join("var/lib/apt");
    if !directory.is_dir() {
        return Ok(());
    }
    let mut names: Vec<&str> = facts
        .iter()
        .filter(|facts| facts.package.automatic)
        .map(|facts| facts.package.name.as_str())
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    names.sort_unstable();
    // apt has the machine's architecture here for packages of all architectures, too.
    let text: String = names
        .iter()
        .map(|name| format!("Package: {name}\nArchitecture: {architecture}\nAuto-Installed: 1\n\n"))
        .collect();
    write(&directory.join("extended_states"), 0o644, text.as_bytes())
}

/// The packages that are not installed entirely, by what `status` says.
pub(super) fn unfinished(root: &Path) -> Result<Vec<String>, Fault> {
    let path: PathBuf = root.join("var/lib/dpkg/status");
    let text = fs::read(&path).map_err(at(&path))?;
    let text = String::from_utf8_lossy(&text);
    let mut found = Vec::new();
    for paragraph in paragraphs(&text) {
        let paragraph =
            paragraph.map_err(|error| Fault::Told(format!("{}: {error}", path.display())))?;
        let status = paragraph.get("Status").unwrap_or_default();
        if status != "install ok installed" {
            found.push(format!("{} ({status})", paragraph.get("Package").unwrap_or_default()));
        }
    }
    Ok(found)
}
