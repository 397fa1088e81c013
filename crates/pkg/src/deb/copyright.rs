//! Machine-readable copyright files (DEP 5,
//! <https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/>): which licences a package names.

use std::collections::BTreeSet;

use super::control::paragraphs;

/// Names of DEP 5, in lower case, with the identifier SPDX has for the same text. Names of the GNU
/// licences follow a rule ([`gnu`]).
const KNOWN: &[(&str, &str)] = &[
    ("0bsd", "0BSD"),
    ("apache-1.1", "Apache-1.1"),
    ("apache-2", "Apache-2.0"),
    ("apache-2.0", "Apache-2.0"),
    ("artistic", "Artistic-1.0"),
    ("artistic-1.0", "Artistic-1.0"),
    ("artistic-2", "Artistic-2.0"),
    ("artistic-2.0", "Artistic-2.0"),
    ("beerware", "Beerware"),
    ("bsd-2-clause", "BSD-2-Clause"),
    ("bsd-3-clause", "BSD-3-Clause"),
    ("bsd-4-clause", "BSD-4-Clause"),
    ("bsd-4-clause-uc", "BSD-4-Clause-UC"),
    ("bsl-1.0", "BSL-1.0"),
    ("cc-by-3.0", "CC-BY-3.0"),
    ("cc-by-4.0", "CC-BY-4.0"),
    ("cc-by-sa-3.0", "CC-BY-SA-3.0"),
    ("cc-by-sa-4.0", "CC-BY-SA-4.0"),
    ("cc0", "CC0-1.0"),
    ("cc0-1.0", "CC0-1.0"),
    ("cddl", "CDDL-1.0"),
    ("cddl-1.0", "CDDL-1.0"),
    ("curl", "curl"),
    ("epl-1.0", "EPL-1.0"),
    ("epl-2.0", "EPL-2.0"),
    ("expat", "MIT"),
    ("fsfap", "FSFAP"),
    ("fsful", "FSFUL"),
    ("fsfullr", "FSFULLR"),
    ("ftl", "FTL"),
    ("hpnd", "HPND"),
    ("isc", "ISC"),
    ("libpng", "Libpng"),
    ("mit", "MIT"),
    ("mpl-1.1", "MPL-1.1"),
    ("mpl-2.0", "MPL-2.0"),
    ("ncsa", "NCSA"),
    ("ofl-1.1", "OFL-1.1"),
    ("openssl", "OpenSSL"),
    ("postgresql", "PostgreSQL"),
    ("psf-2", "PSF-2.0"),
    ("psf-2.0", "PSF-2.0"),
    ("ruby", "Ruby"),
    ("unicode-dfs-2016", "Unicode-DFS-2016"),
    ("unlicense", "Unlicense"),
    ("vim", "Vim"),
    ("wtfpl", "WTFPL"),
    ("x11", "X11"),
    ("zlib", "Zlib"),
];

/// The licences of a package's files as its copyright file names them, as `GPL-2+ or Artistic`. `None`
/// if the file is meant for people only.
pub fn licenses(copyright: &str) -> Option<BTreeSet<String>> {
    let mut paragraphs = paragraphs(copyright);
    let header = paragraphs.next()?.ok()?;
    if !header.get("Format")?.contains("copyright-format/1.0") {
        return None;
    }
    let mut found = BTreeSet::new();
    for paragraph in paragraphs {
        // Half of a list would pass for the whole.
        let paragraph = paragraph.ok()?;
        if let (Some(_), Some(license)) = (paragraph.get("Files"), paragraph.get("License")) {
            let names = license.lines().next().unwrap_or_default();
            found.insert(names.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    found.remove("");
    (!found.is_empty()).then_some(found)
}

/// Licences that hold together as an expression of SPDX; `None` if SPDX has no identifier for one.
pub fn spdx_expression(licenses: &BTreeSet<String>) -> Option<String> {
    let mut all = BTreeSet::new();
    for license in licenses {
        let expression = expression(license)?;
        all.insert(match expression.contains(" OR ") && licenses.len() > 1 {
            true => format!("({expression})"),
            false => expression,
        });
    }
    Some(all.into_iter().collect::<Vec<_>>().join(" AND "))
}

/// `A or B and C` binds as in SPDX; a comma parts `A or B, and C`.
fn expression(license: &str) -> Option<String> {
    let mut groups: Vec<String> = Vec::new();
    let parts: Vec<&str> = license.split(',').collect();
    for part in &parts {
        let mut words = Vec::new();
        for word in part.split_whitespace() {
            words.push(match word {
                "and" => "AND".to_owned(),
                "or" => "OR".to_owned(),
                name => identifier(name)?,
            });
        }
        // The word that joins it to the group before.
        let joined = match words.first().map(String::as_str) {
            Some("AND" | "OR") if !groups.is_empty() => Some(words.remove(0)),
            _ => None,
        };
        let alternates = words
            .iter()
            .enumerate()
            .all(|(at, word)| (at % 2 == 1) == (word == "AND" || word == "OR"));
        if !alternates || words.len() % 2 == 0 || (joined.is_none() && !groups.is_empty()) {
            return None;
        }
        groups.extend(joined);
        let text = words.join(" ");
        groups.push(if parts.len() > 1 && words.len() > 1 { format!("({text})") } else { text });
    }
    Some(groups.join(" "))
}

fn identifier(name: &str) -> Option<String> {
    let name = name.to_ascii_lowercase();
    let known = KNOWN.iter().find(|(theirs, _)| *theirs == name);
    known.map(|(_, spdx)| (*spdx).to_owned()).or_else(|| gnu(&name))
}

/// `gpl-2`, `lgpl-2.1+`, `gfdl-1.3`: SPDX says whether later versions will do.
fn gnu(name: &str) -> Option<String> {
    let (family, version) = name.split_once('-')?;
    let (version, suffix) = match version.strip_suffix('+') {
        Some(version) => (version, "or-later"),
        None => (version, "only"),
    };
    let version = if version.contains('.') { version.to_owned() } else { format!("{version}.0") };
    let versions: &[&str] = match family {
        "gpl" => &["1.0", "2.0", "3.0"],
        "lgpl" => &["2.0", "2.1", "3.0"],
        "agpl" => &["1.0", "3.0"],
        "gfdl" => &["1.1", "1.2", "1.3"],
        _ => return None,
    };
    let is_version = versions.contains(&version.as_str());
    is_version.then(|| format!("{}-{version}-{suffix}", family.to_ascii_uppercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str =
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n";

    fn named(text: &str) -> Option<Vec<String>> {
        Some(licenses(&format!("{HEADER}{text}"))?.into_iter().collect())
    }

    #[test]
    fn what_files_are_under() {
        let text = "Files: *\nCopyright: us\nLicense: GPL-2+\n text\n\nFiles: a\nCopyright: x\n\
                    License: Expat  or\tISC\n\nLicense: GPL-2+\n all of it\n";
        assert_eq!(named(text).unwrap(), ["Expat or ISC", "GPL-2+"]);
        assert_eq!(licenses("This package was debianised by hand.\n"), None);
        assert_eq!(licenses(""), None);
        assert_eq!(named("Files: *\nCopyright: x\n"), None);
        assert_eq!(named("Files: *\nLicense: ISC\n\nno field\n"), None);
    }

    #[test]
    fn names_of_spdx() {
        let of = |names: &[&str]| {
            spdx_expression(&names.iter().map(|name| (*name).to_owned()).collect())
        };
        assert_eq!(of(&["GPL-2+"]).unwrap(), "GPL-2.0-or-later");
        assert_eq!(of(&["LGPL-2.1", "expat"]).unwrap(), "LGPL-2.1-only AND MIT");
        assert_eq!(of(&["GPL-1+ or Artistic"]).unwrap(), "GPL-1.0-or-later OR Artistic-1.0");
        assert_eq!(
            of(&["GPL-1+ or Artistic", "ISC"]).unwrap(),
            "(GPL-1.0-or-later OR Artistic-1.0) AND ISC"
        );
        assert_eq!(
            of(&["GPL-2 or MPL-1.1, and BSD-3-clause"]).unwrap(),
            "(GPL-2.0-only OR MPL-1.1) AND BSD-3-Clause"
        );
        for unknown in [
            "public-domain",
            "GPL-2+ with OpenSSL exception",
            "GPL-7",
            "GPL-2 GPL-3",
            "or ISC",
            "ISC,ISC",
            "",
        ] {
            assert_eq!(of(&[unknown]), None, "{unknown}");
        }
    }
}
