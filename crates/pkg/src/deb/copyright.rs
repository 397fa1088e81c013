//! Machine-readable copyright files (DEP 5,
//! <https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/>): which licences a package names.

use std::collections::{BTreeMap, BTreeSet};

use super::control::paragraphs;

/// Names of DEP 5, in lower case, with the identifier SPDX has for the same text. Names of the GNU
/// licences follow a rule ([`gnu`]).
const KNOWN: &[(&str, &str)] = &[
    ("0bsd", "0BSD"),
    ("apache-1.1", "Apache-1.1"),
    ("apache-2", "Apache-2.0"),
    ("apache-2.0", "Apache-2.0"),
    ("artistic", "Artistic-1.0"),
    ("artistic-1", "Artistic-1.0"),
    ("artistic-1.0", "Artistic-1.0"),
    ("artistic-2", "Artistic-2.0"),
    ("artistic-2.0", "Artistic-2.0"),
    ("beerware", "Beerware"),
    ("bsd-2-clause", "BSD-2-Clause"),
    ("bsd-3-clause", "BSD-3-Clause"),
    ("bsd-4-clause", "BSD-4-Clause"),
    ("bsd-4-clause-uc", "BSD-4-Clause-UC"),
    ("bsl-1", "BSL-1.0"),
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
    ("mit-0", "MIT-0"),
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

/// The licences of a package's files as its copyright file names them, and their texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copyright {
    /// As `GPL-2+ or Artistic`.
    pub names: BTreeSet<String>,
    /// What stands below the names.
    texts: BTreeMap<String, String>,
}

impl Copyright {
    /// Reads a copyright file; `None` if it is meant for people only.
    pub fn parse(text: &str) -> Option<Self> {
        let mut paragraphs = paragraphs(text);
        let header = paragraphs.next()?.ok()?;
        if !header.get("Format")?.contains("copyright-format/1.0") {
            return None;
        }
        let mut found = Self::default();
        for paragraph in paragraphs {
            // Half of a list would pass for the whole.
            let paragraph = paragraph.ok()?;
            let Some(license) = paragraph.get("License") else { continue };
            let (names, text) = license.split_once('\n').unwrap_or((license, ""));
            let names = names.split_whitespace().collect::<Vec<_>>().join(" ");
            if !text.trim().is_empty() {
                found.texts.entry(names.clone()).or_insert_with(|| unfolded(text));
            }
            if paragraph.get("Files").is_some() {
                found.names.insert(names);
            }
        }
        found.names.remove("");
        (!found.names.is_empty()).then_some(found)
    }

    /// The text of a licence, or of those among which it is named.
    pub fn text(&self, name: &str) -> Option<&str> {
        let among =
            || self.texts.iter().find(|(names, _)| names.contains(name)).map(|(_, text)| text);
        self.texts.get(name).or_else(among).map(String::as_str)
    }
}

/// The lines of a field as they were before they were put into it.
fn unfolded(text: &str) -> String {
    let line = |line: &str| match line.trim() {
        "." => String::new(),
        _ => line.strip_prefix(' ').unwrap_or(line).trim_end().to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Licences that hold together as an expression of SPDX. `other` gives a name to what SPDX has no
/// identifier for.
pub fn spdx_expression(
    licenses: &BTreeSet<String>,
    other: &mut dyn FnMut(&str) -> String,
) -> String {
    let mut all = BTreeSet::new();
    for license in licenses {
        let expression = expression(license, other);
        all.insert(match expression.contains(" OR ") && licenses.len() > 1 {
            true => format!("({expression})"),
            false => expression,
        });
    }
    all.into_iter().collect::<Vec<_>>().join(" AND ")
}

/// A licence's name, or the word between two.
#[derive(PartialEq, Eq)]
enum Word {
    Name(String),
    And,
    Or,
}

/// `A or B and C` binds as in SPDX; a comma parts `A or B, and C`. What is put together in another way is
/// one name.
fn expression(license: &str, other: &mut dyn FnMut(&str) -> String) -> String {
    let Some(groups) = groups(license) else { return other(license) };
    let several = groups.len() > 1;
    let text = |group: &Vec<Word>| {
        let words: Vec<String> = group
            .iter()
            .map(|word| match word {
                Word::Name(name) => identifier(name).unwrap_or_else(|| other(name)),
                Word::And => "AND".to_owned(),
                Word::Or => "OR".to_owned(),
            })
            .collect();
        let text = words.join(" ");
        if several && words.len() > 1 { format!("({text})") } else { text }
    };
    groups.iter().map(text).collect::<Vec<_>>().join(" ")
}

/// Names with words between them, and between such groups the word that joins them as a group of its own.
fn groups(license: &str) -> Option<Vec<Vec<Word>>> {
    let mut groups: Vec<Vec<Word>> = Vec::new();
    for part in license.split(',') {
        let mut words = Vec::new();
        for word in part.split_whitespace() {
            match (word, words.last_mut()) {
                ("and" | "AND", _) => words.push(Word::And),
                ("or" | "OR", _) => words.push(Word::Or),
                // `GPL-2+ with Autoconf exception`
                (word, Some(Word::Name(name))) => *name += &format!(" {word}"),
                (word, _) => words.push(Word::Name(word.to_owned())),
            }
        }
        if !groups.is_empty() {
            let join = words.iter().position(|word| matches!(word, Word::And | Word::Or));
            if join != Some(0) {
                return None;
            }
            groups.push(vec![words.remove(0)]);
        }
        let in_turn = words
            .iter()
            .enumerate()
            .all(|(at, word)| (at % 2 == 0) == matches!(word, Word::Name(_)));
        if !in_turn || words.len() % 2 == 0 {
            return None;
        }
        groups.push(words);
    }
    Some(groups)
}

fn identifier(name: &str) -> Option<String> {
    let name = name.to_ascii_lowercase();
    let (name, exception) = match name.strip_suffix(" with linux-syscall-note exception") {
        Some(name) => (name, " WITH Linux-syscall-note"),
        None => (&*name, ""),
    };
    let known = KNOWN.iter().find(|(theirs, _)| *theirs == name);
    let spdx = known.map(|(_, spdx)| (*spdx).to_owned()).or_else(|| gnu(name))?;
    Some(spdx + exception)
}

/// `gpl-2`, `lgpl-2.1+`, `gfdl-niv-1.3`, `gpl-2.0-or-later`: SPDX says whether later versions will do.
fn gnu(name: &str) -> Option<String> {
    let (family, version) = name.split_once('-')?;
    // "No invariant sections".
    let (version, kind) = match version.strip_prefix("niv-") {
        Some(version) if family == "gfdl" => (version, "-no-invariants"),
        _ => (version, ""),
    };
    let later = ["+", "-or-later"].iter().find_map(|ending| version.strip_suffix(ending));
    let (version, suffix) = match later {
        Some(version) => (version, "or-later"),
        None => (version.strip_suffix("-only").unwrap_or(version), "only"),
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
    is_version.then(|| format!("{}-{version}{kind}-{suffix}", family.to_ascii_uppercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str =
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n";

    fn named(text: &str) -> Option<Vec<String>> {
        Some(Copyright::parse(&format!("{HEADER}{text}"))?.names.into_iter().collect())
    }

    #[test]
    fn what_files_are_under() {
        let text = "Files: *\nCopyright: us\nLicense: GPL-2+\n text\n\nFiles: a\nCopyright: x\n\
                    License: Expat  or\tISC\n\nLicense: GPL-2+\n all of it\n";
        assert_eq!(named(text).unwrap(), ["Expat or ISC", "GPL-2+"]);
        assert_eq!(Copyright::parse("This package was debianised by hand.\n"), None);
        assert_eq!(Copyright::parse(""), None);
        assert_eq!(named("Files: *\nCopyright: x\n"), None);
        assert_eq!(named("Files: *\nLicense: ISC\n\nno field\n"), None);
    }

    #[test]
    fn endless_exceptions_are_no_licence() {
        let name = format!("gpl-2{}", " with linux-syscall-note exception".repeat(100_000));
        assert_eq!(identifier(&name), None);
    }

    #[test]
    fn texts_of_licences() {
        let text = "Files: *\nLicense: own or other\n\nFiles: a\nLicense: pd and gift\n Take it.\n\n\
                    License: own\n One.\n .\n   Two.\n";
        let copyright = Copyright::parse(&format!("{HEADER}{text}")).unwrap();
        assert_eq!(copyright.text("own"), Some("One.\n\n  Two."));
        assert_eq!(copyright.text("gift"), Some("Take it."));
        assert_eq!(copyright.text("other"), None);
    }

    #[test]
    fn names_of_spdx() {
        let of = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            spdx_expression(&names, &mut |name| format!("<{name}>"))
        };
        assert_eq!(of(&["GPL-2+"]), "GPL-2.0-or-later");
        assert_eq!(of(&["GPL-2.0-only or LGPL-2.1-or-later"]), "GPL-2.0-only OR LGPL-2.1-or-later");
        assert_eq!(of(&["LGPL-2.1", "expat"]), "LGPL-2.1-only AND MIT");
        assert_eq!(of(&["GFDL-NIV-1.3+"]), "GFDL-1.3-no-invariants-or-later");
        assert_eq!(of(&["GPL-1+ or Artistic"]), "GPL-1.0-or-later OR Artistic-1.0");
        assert_eq!(
            of(&["GPL-1+ or Artistic", "ISC"]),
            "(GPL-1.0-or-later OR Artistic-1.0) AND ISC"
        );
        assert_eq!(
            of(&["GPL-2 or MPL-1.1, and BSD-3-clause"]),
            "(GPL-2.0-only OR MPL-1.1) AND BSD-3-Clause"
        );
        assert_eq!(
            of(&["GPL-2 with Linux-syscall-note exception OR BSD-3-Clause"]),
            "GPL-2.0-only WITH Linux-syscall-note OR BSD-3-Clause"
        );
        assert_eq!(
            of(&["GPL-2+ with OpenSSL exception and public-domain", "ISC"]),
            "<GPL-2+ with OpenSSL exception> AND <public-domain> AND ISC"
        );
        for one in ["public-domain", "GPL-7", "GPL-NIV-3", "GPL-2 GPL-3", "or ISC", "ISC,ISC", ""] {
            assert_eq!(of(&[one]), format!("<{one}>"));
        }
    }
}
