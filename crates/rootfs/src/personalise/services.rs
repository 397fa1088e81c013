//! Services on and off, by the links that `systemctl enable`, `disable` and `mask` make.

use std::collections::BTreeSet;

use tree::{InodeId, Kind};

use super::{PersonaliseError, Root};
use crate::firstboot::is_own_unit;

/// Units that are switched; full names, as `ssh.service`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Services {
    /// Units that are started.
    pub enable: Vec<String>,
    /// Units that are not started by themselves.
    pub disable: Vec<String>,
    /// Units that cannot be started.
    pub mask: Vec<String>,
}

/// Where links and local units are.
const LOCAL: &str = "etc/systemd/system";
/// Where units are, the first one counts.
const PATHS: [&str; 2] = [LOCAL, "usr/lib/systemd/system"];

pub(super) fn install(root: &mut Root<'_>, services: &Services) -> Result<(), PersonaliseError> {
    for unit in services.enable.iter().chain(&services.disable) {
        refuse_alias(root, unit, &PATHS)?;
    }
    for unit in &services.mask {
        // A name that a package has for another unit may be masked for itself, as ctrl-alt-del.target; one that is
        // there because its unit is enabled would leave that unit running.
        refuse_alias(root, unit, &PATHS[..1])?;
    }
    for unit in &services.disable {
        disable(root, unit)?;
    }
    for unit in &services.mask {
        mask(root, unit)?;
    }
    let mut done = BTreeSet::new();
    // Ours come later, started where they are not disabled or masked.
    for unit in services.enable.iter().filter(|unit| !is_own_unit(unit)) {
        enable(root, unit, &mut done, true)?;
    }
    Ok(())
}

/// What `[Install]` says.
#[derive(Debug, Default, PartialEq, Eq)]
struct InstallSection {
    /// Directory of the target, as `multi-user.target.wants`.
    links: Vec<String>,
    aliases: Vec<String>,
    also: Vec<String>,
    default_instance: Option<String>,
}

fn parse(text: &str) -> InstallSection {
    let mut section = InstallSection::default();
    let mut inside = false;
    let text = text.replace("\\\n", " ");
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == "[Install]";
        }
        let Some((key, value)) = line.split_once('=').filter(|_| inside) else { continue };
        let words = value.split_whitespace().map(str::to_owned);
        match key.trim() {
            "WantedBy" => section.links.extend(words.map(|unit| format!("{unit}.wants"))),
            "RequiredBy" => section.links.extend(words.map(|unit| format!("{unit}.requires"))),
            "UpheldBy" => section.links.extend(words.map(|unit| format!("{unit}.upholds"))),
            "Alias" => section.aliases.extend(words),
            "Also" => section.also.extend(words),
            "DefaultInstance" => section.default_instance = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    section
}

/// `getty@tty2.service` as `getty@.service` and `tty2`.
fn template(unit: &str) -> Option<(String, &str)> {
    let (name, kind) = unit.rsplit_once('.')?;
    let (name, instance) = name.split_once('@')?;
    (!instance.is_empty()).then(|| (format!("{name}@.{kind}"), instance))
}

/// Path of the file of a unit or of its template.
fn file_of(root: &Root<'_>, unit: &str) -> Option<String> {
    let names = [Some(unit.to_owned()), template(unit).map(|(name, _)| name)];
    let candidates =
        names.into_iter().flatten().flat_map(|name| PATHS.map(|p| format!("{p}/{name}")));
    candidates.into_iter().find(|path| {
        let is_file = |id: InodeId| matches!(root.editor.tree.inode(id).kind, Kind::File(_));
        root.editor.tree.resolve(path).is_ok_and(is_file)
    })
}

/// Refuses a link that is another name of a unit, as systemctl does.
fn refuse_alias(root: &Root<'_>, unit: &str, paths: &[&str]) -> Result<(), PersonaliseError> {
    for path in paths {
        let Some(target) = link_target(root, &format!("{path}/{unit}")) else { continue };
        let real = target.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        if target != b"/dev/null" && real != unit.as_bytes() {
            let of = String::from_utf8_lossy(real).into_owned();
            return Err(PersonaliseError::Alias { unit: unit.to_owned(), of });
        }
    }
    Ok(())
}

fn enable(
    root: &mut Root<'_>,
    unit: &str,
    done: &mut BTreeSet<String>,
    asked: bool,
) -> Result<(), PersonaliseError> {
    if !done.insert(unit.to_owned()) {
        return Ok(());
    }
    let own = format!("{LOCAL}/{unit}");
    if link_target(root, &own).is_some_and(|target| target == b"/dev/null") {
        root.editor.remove(&own)?;
    }
    let Some(path) = file_of(root, unit) else {
        // What another unit names may be in a package that is not installed.
        return if asked { Err(PersonaliseError::Unit(unit.to_owned())) } else { Ok(()) };
    };
    let section = parse(&root.text(&path)?);
    if section == InstallSection::default() {
        let error = PersonaliseError::NotInstallable(unit.to_owned());
        return if asked { Err(error) } else { Ok(()) };
    }
    // A template is enabled as its default instance.
    let (unit, instance) = match (template(unit), unit.contains("@."), &section.default_instance) {
        (Some((_, instance)), ..) => (unit.to_owned(), instance.to_owned()),
        (None, true, Some(instance)) => {
            (unit.replacen("@.", &format!("@{instance}."), 1), instance.clone())
        }
        (None, true, None) => return Err(PersonaliseError::NotInstallable(unit.to_owned())),
        (None, false, _) => (unit.to_owned(), String::new()),
    };
    let target = format!("/{path}");
    for link in &section.links {
        let link = link.replace("%i", &instance).replace("%I", &instance);
        root.editor.symlink(&format!("{LOCAL}/{link}/{unit}"), &target)?;
    }
    for alias in &section.aliases {
        let path = format!("{LOCAL}/{}", alias.replace("%i", &instance));
        if link_target(root, &path).is_some() || root.editor.tree.get(&path).is_none() {
            root.editor.symlink(&path, &target)?;
        }
    }
    for other in &section.also {
        enable(root, other, done, false)?;
    }
    Ok(())
}

fn link_target<'a>(root: &'a Root<'_>, path: &str) -> Option<&'a [u8]> {
    match &root.editor.tree.inode(root.editor.tree.get(path)?).kind {
        Kind::Symlink(target) => Some(target),
        _ => None,
    }
}

/// Removes every link to the unit, whatever it is called.
fn disable(root: &mut Root<'_>, unit: &str) -> Result<(), PersonaliseError> {
    if !is_known(root, unit) {
        return Err(PersonaliseError::Unit(unit.to_owned()));
    }
    let file = template(unit).map_or_else(|| unit.to_owned(), |(name, _)| name);
    let is_template = file != unit;
    let names_it = |name: &[u8], target: &[u8]| {
        let ends_in = target.rsplit(|&byte| byte == b'/').next();
        name == unit.as_bytes() || !is_template && ends_in == Some(file.as_bytes())
    };
    let mut found = Vec::new();
    let mut todo = vec![LOCAL.to_owned()];
    while let Some(path) = todo.pop() {
        let directory = root.editor.tree.get(&path).and_then(|id| root.editor.tree.directory(id));
        for (name, id) in directory.into_iter().flat_map(|directory| directory.iter()) {
            let below = format!("{path}/{}", String::from_utf8_lossy(name));
            match &root.editor.tree.inode(id).kind {
                Kind::Directory(_) if path == LOCAL => todo.push(below),
                Kind::Symlink(target)
                    if &**target != b"/dev/null" && names_it(name, target.as_ref()) =>
                {
                    found.push(below);
                }
                _ => {}
            }
        }
    }
    for path in found {
        root.editor.remove(&path)?;
    }
    Ok(())
}

/// Whether there is such a unit, or will be one: of ours, or made of a script of System V.
fn is_known(root: &Root<'_>, unit: &str) -> bool {
    let script = unit.strip_suffix(".service").map(|name| format!("etc/init.d/{name}"));
    file_of(root, unit).is_some()
        || link_target(root, &format!("{LOCAL}/{unit}")).is_some()
        || is_own_unit(unit)
        || script.is_some_and(|script| root.has(&script))
}

fn mask(root: &mut Root<'_>, unit: &str) -> Result<(), PersonaliseError> {
    if !is_known(root, unit) {
        return Err(PersonaliseError::Unit(unit.to_owned()));
    }
    let path = format!("{LOCAL}/{unit}");
    if let Some(id) = root.editor.tree.get(&path)
        && !matches!(root.editor.tree.inode(id).kind, Kind::Symlink(_))
    {
        return Err(PersonaliseError::Local(unit.to_owned()));
    }
    root.editor.symlink(&path, "/dev/null")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn install_sections() {
        let text = "[Unit]\nWantedBy=no\n[Install]\nWantedBy=multi-user.target a.target\nRequiredBy=b.target\n\
                    Alias=c.service\nAlso=d.socket \\\n e.socket\nDefaultInstance=tty1\n";
        let section = parse(text);
        assert_eq!(
            section.links,
            ["multi-user.target.wants", "a.target.wants", "b.target.requires"]
        );
        assert_eq!(
            (&*section.aliases, &*section.also),
            (&["c.service".to_owned()][..], &["d.socket".to_owned(), "e.socket".to_owned()][..])
        );
        assert_eq!(section.default_instance.as_deref(), Some("tty1"));
        assert_eq!(template("getty@tty2.service"), Some(("getty@.service".to_owned(), "tty2")));
        assert_eq!((template("getty@.service"), template("ssh.service")), (None, None));
    }
}
