//! A judge of bills of materials: the rules of SPDX 2.3 that a document like ours can break, in our own words
//! (<https://spdx.github.io/spdx-spec/v2.3/>; numbers are its sections). Debian has no validator; where the
//! SPDX project's own (`spdx-tools` of PyPI) is in the path, it judges as well.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::process::Command;

use serde_json::Value;

/// Everything in `document` that breaks a rule; empty if all is well.
pub fn problems(document: &Value) -> Vec<String> {
    let mut judge = Judge { problems: Vec::new() };
    judge.document(document);
    let mut ids = BTreeSet::from(["SPDXRef-DOCUMENT".to_owned()]);
    for package in list(document, "packages") {
        judge.package(package);
        let id = text(package, "SPDXID");
        judge.rule(ids.insert(id.to_owned()), "7.2", format!("{id} occurs twice"));
    }
    judge.relationships(document, &ids);
    judge.extracted(document);
    judge.problems
}

/// Both judges find nothing.
pub fn assert_good(document: &Value) {
    assert_eq!(problems(document), [""; 0]);
    let file = tempfile::Builder::new().suffix(".spdx.json").tempfile().unwrap();
    std::fs::write(file.path(), document.to_string()).unwrap();
    match Command::new("pyspdxtools").arg("-i").arg(file.path()).output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            eprintln!("skipped: no pyspdxtools here; only our own rules judged");
        }
        output => {
            let output = output.unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            // What it finds is no error to its exit code.
            assert!(output.status.success() && !said.contains("invalid"), "{said}");
        }
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// 6.3, 7.2: letters, digits, dots and dashes.
fn is_id(text: &str) -> bool {
    text.strip_prefix("SPDXRef-").is_some_and(|rest| {
        !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b))
    })
}

/// An absolute address without blanks, of one of these schemes.
fn is_address(text: &str, schemes: &[&str]) -> bool {
    let rest = schemes.iter().find_map(|scheme| text.strip_prefix(scheme)?.strip_prefix("://"));
    rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic()))
}

/// Annex D: identifiers joined by AND, OR and WITH, in brackets that match.
fn is_expression(text: &str) -> bool {
    let spaced = text.replace('(', " ( ").replace(')', " ) ");
    let (mut depth, mut wanted) = (0_usize, true);
    for word in spaced.split_ascii_whitespace() {
        match word {
            "(" if wanted => depth += 1,
            ")" if !wanted && depth > 0 => depth -= 1,
            "AND" | "OR" | "WITH" if !wanted => wanted = true,
            "(" | ")" | "AND" | "OR" | "WITH" => return false,
            name => {
                let name = name.strip_suffix('+').unwrap_or(name);
                let plain = |b: u8| b.is_ascii_alphanumeric() || b".-".contains(&b);
                if !wanted || name.is_empty() || !name.bytes().all(plain) {
                    return false;
                }
                wanted = false;
            }
        }
    }
    depth == 0 && !wanted
}

/// 6.9: `YYYY-MM-DDThh:mm:ssZ` and nothing else.
fn is_time(text: &str) -> bool {
    text.len() == 20 && text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok()
}

struct Judge {
    problems: Vec<String>,
}

impl Judge {
    fn rule(&mut self, holds: bool, section: &str, what: String) {
        if !holds {
            self.problems.push(format!("{section}: {what}"));
        }
    }

    fn document(&mut self, document: &Value) {
        let info = &document["creationInfo"];
        let creators = list(info, "creators");
        let kinds = ["Tool: ", "Person: ", "Organization: "];
        let creator = |one: &Value| {
            let rest = kinds.iter().find_map(|kind| one.as_str()?.strip_prefix(kind));
            rest.is_some_and(|rest| !rest.is_empty())
        };
        let namespace = text(document, "documentNamespace");
        let is_namespace = is_address(namespace, &["https", "http"]) && !namespace.contains('#');
        for (holds, section, key) in [
            (text(document, "spdxVersion") == "SPDX-2.3", "6.1", "spdxVersion"),
            (text(document, "dataLicense") == "CC0-1.0", "6.2", "dataLicense"),
            (text(document, "SPDXID") == "SPDXRef-DOCUMENT", "6.3", "SPDXID"),
            (!text(document, "name").is_empty(), "6.4", "name"),
            (is_namespace, "6.5", "documentNamespace"),
            (!creators.is_empty() && creators.iter().all(creator), "6.8", "creators"),
            (is_time(text(info, "created")), "6.9", "created"),
        ] {
            self.rule(holds, section, format!("{key} of the document"));
        }
    }

    fn package(&mut self, package: &Value) {
        let one_line = |key: &str| {
            let text = text(package, key);
            !text.trim().is_empty() && !text.contains('\n')
        };
        let absent = |key: &str| package[key].is_null();
        let is_license = |key: &str| {
            absent(key)
                || matches!(text(package, key), "NONE" | "NOASSERTION")
                || is_expression(text(package, key))
        };
        let supplier = text(package, "supplier");
        let named =
            ["Person: ", "Organization: "].iter().find_map(|kind| supplier.strip_prefix(kind));
        let is_supplier =
            supplier == "NOASSERTION" || named.is_some_and(|name| !name.trim().is_empty());
        let place = text(package, "downloadLocation");
        let schemes = ["http", "https", "ftp", "sftp", "ssh", "git", "svn"];
        let is_place = matches!(place, "NONE" | "NOASSERTION") || is_address(place, &schemes);
        let is_sum = |sum: &Value| {
            let value = text(sum, "checksumValue");
            let hexadecimal =
                value.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            text(sum, "algorithm") == "SHA256" && value.len() == 64 && hexadecimal
        };
        let is_reference = |reference: &Value| {
            text(reference, "referenceCategory") == "PACKAGE-MANAGER"
                && text(reference, "referenceType") == "purl"
                && text(reference, "referenceLocator").strip_prefix("pkg:").is_some_and(|rest| {
                    rest.split('/').count() == 3 && rest.bytes().all(|b| b.is_ascii_graphic())
                })
        };
        let homepage = text(package, "homepage");
        let unread = package["filesAnalyzed"] == false;
        for (holds, section, key) in [
            (one_line("name"), "7.1", "name"),
            (is_id(text(package, "SPDXID")), "7.2", "SPDXID"),
            (absent("versionInfo") || one_line("versionInfo"), "7.3", "versionInfo"),
            (absent("supplier") || is_supplier, "7.5", "supplier"),
            (is_place, "7.7", "downloadLocation"),
            // The files of packages are not listed; then there can be no sum over them, nor their licences.
            (unread, "7.8", "filesAnalyzed"),
            (absent("packageVerificationCode"), "7.9", "packageVerificationCode"),
            (list(package, "checksums").iter().all(is_sum), "7.10", "checksums"),
            (absent("homepage") || is_address(homepage, &["https", "http"]), "7.11", "homepage"),
            (is_license("licenseConcluded"), "7.13", "licenseConcluded"),
            (absent("licenseInfoFromFiles"), "7.14", "licenseInfoFromFiles"),
            (is_license("licenseDeclared"), "7.15", "licenseDeclared"),
            (
                absent("copyrightText") || package["copyrightText"].is_string(),
                "7.17",
                "copyrightText",
            ),
            (list(package, "externalRefs").iter().all(is_reference), "7.21", "externalRefs"),
        ] {
            self.rule(holds, section, format!("{key} of {}", package["name"]));
        }
    }

    /// 10.1, 10.2: what an expression names that SPDX does not know has a text here, and nothing else has.
    fn extracted(&mut self, document: &Value) {
        let own = |text: &str| -> Vec<String> {
            let words = text.split(|c: char| c.is_whitespace() || "()".contains(c));
            words.filter(|word| word.starts_with("LicenseRef-")).map(str::to_owned).collect()
        };
        let packages = list(document, "packages").iter();
        let named: BTreeSet<String> =
            packages.flat_map(|package| own(text(package, "licenseDeclared"))).collect();
        let mut told = BTreeSet::new();
        for license in list(document, "hasExtractedLicensingInfos") {
            let id = text(license, "licenseId");
            self.rule(told.insert(id.to_owned()), "10.1", format!("{id} occurs twice"));
            let is_text = !text(license, "extractedText").trim().is_empty();
            self.rule(is_text, "10.2", format!("extractedText of {id}"));
        }
        self.rule(named == told, "10.1", format!("{named:?} are named, {told:?} are there"));
    }

    /// 11.1: both ends are there, and the document says what it describes; the short form agrees.
    fn relationships(&mut self, document: &Value, ids: &BTreeSet<String>) {
        let mut described = BTreeSet::new();
        for relationship in list(document, "relationships") {
            let (from, to) =
                (text(relationship, "spdxElementId"), text(relationship, "relatedSpdxElement"));
            self.rule(ids.contains(from) && ids.contains(to), "11.1", format!("{from} and {to}"));
            let kind = text(relationship, "relationshipType");
            self.rule(matches!(kind, "DESCRIBES"), "11.1", format!("a relationship {kind}"));
            described.insert(to.to_owned());
        }
        let short: BTreeSet<String> = list(document, "documentDescribes")
            .iter()
            .filter_map(|id| Some(id.as_str()?.to_owned()))
            .collect();
        let packages = ids.iter().filter(|id| *id != "SPDXRef-DOCUMENT").cloned().collect();
        self.rule(described == packages, "11.1", "not every package is described".to_owned());
        self.rule(short == packages, "11.1", "documentDescribes says something else".to_owned());
    }
}

/// The judge notices what is wrong: `good` with one thing changed at a time.
pub fn assert_notices(good: &Value) {
    for (section, pointer, value) in [
        ("6.1", "/spdxVersion", "SPDX-2.9"),
        ("6.2", "/dataLicense", "MIT"),
        ("6.3", "/SPDXID", "SPDXRef-x"),
        ("6.4", "/name", ""),
        ("6.5", "/documentNamespace", "https://example.org/a#b"),
        ("6.8", "/creationInfo/creators/0", "kldload"),
        ("6.9", "/creationInfo/created", "2025-05-20T12:00:00+00:00"),
        ("7.1", "/packages/0/name", "a\nb"),
        ("7.2", "/packages/0/SPDXID", "SPDXRef-a_b"),
        ("7.5", "/packages/0/supplier", "Some One"),
        ("7.7", "/packages/0/downloadLocation", "file:/srv/debian/a.deb"),
        ("7.8", "/packages/0/filesAnalyzed", "no"),
        ("7.10", "/packages/0/checksums/0/checksumValue", "ABCD"),
        ("7.15", "/packages/0/licenseDeclared", "GPL-2 OR OR MIT"),
        ("7.15", "/packages/0/licenseDeclared", "(MIT AND GPL-2.0-only"),
        ("7.15", "/packages/0/licenseDeclared", "GPL_2"),
        ("7.21", "/packages/0/externalRefs/0/referenceLocator", "deb/debian/a"),
        ("11.1", "/relationships/0/relatedSpdxElement", "SPDXRef-gone"),
        ("11.1", "/documentDescribes/0", "SPDXRef-gone"),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value.into();
        let found = problems(&bad);
        let noticed = found.iter().any(|problem| problem.starts_with(&format!("{section}: ")));
        assert!(noticed, "{pointer} = {value:?}: {found:?}");
    }
}
