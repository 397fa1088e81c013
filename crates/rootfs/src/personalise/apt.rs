//! Where the machine gets packages from: the distribution's own archives, whatever mirror built the root.

use super::{PersonaliseError, Root};

/// Sources of packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AptSources {
    /// The distribution, as `debian`: the name of the file.
    pub distribution: String,
    /// Its archives.
    pub archives: Vec<AptArchive>,
}

/// An archive and what is used of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AptArchive {
    /// Its address.
    pub uri: String,
    /// Suites, as `trixie`.
    pub suites: Vec<String>,
    /// Components, as `main`.
    pub components: Vec<String>,
}

/// Writes the sources in the deb822 format (sources.list(5)), in place of all others.
pub(super) fn install(root: &mut Root<'_>, sources: &AptSources) -> Result<(), PersonaliseError> {
    let name = &sources.distribution;
    let keyring = ["pgp", "gpg"]
        .map(|ending| format!("usr/share/keyrings/{name}-archive-keyring.{ending}"))
        .into_iter()
        .find(|path| root.has(path));
    // A root without apt has no use for sources.
    let (true, Some(keyring)) = (root.has("usr/bin/apt-get"), keyring) else { return Ok(()) };
    root.editor.remove("etc/apt/sources.list")?;
    root.editor.remove_all("etc/apt/sources.list.d/*")?;
    let stanzas: Vec<String> = sources
        .archives
        .iter()
        .map(|archive| {
            format!(
                "Types: deb\nURIs: {}\nSuites: {}\nComponents: {}\nSigned-By: /{keyring}\n",
                archive.uri,
                archive.suites.join(" "),
                archive.components.join(" ")
            )
        })
        .collect();
    let path = format!("etc/apt/sources.list.d/{name}.sources");
    root.editor.file(&path, 0o644, &stanzas.join("\n"))?;
    Ok(())
}
