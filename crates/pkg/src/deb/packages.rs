//! `Packages` indexes: which binary packages an archive has (deb-control(5), the repository format).

use std::fmt::{self, Write as _};
use std::num::NonZero;
use std::thread;

use thiserror::Error;
use tree::Digest;

use super::control::{ControlError, Paragraph, paragraphs_of_index};
use super::relation::{RelationError, check_provides, check_relations, is_package_name};
use super::version::{Version, VersionError};
use crate::path::{PathError, check_path};
use crate::text::shortened;

/// How important a package is to a system (Debian Policy 2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Priority {
    /// An old name of `optional`, which apt still sorts behind it.
    Extra,
    /// Everything else, and what an index does not tell.
    #[default]
    Optional,
    /// A small system's usual programs.
    Standard,
    /// What one expects on any Unix.
    Important,
    /// Without it the package system does not work.
    Required,
}

impl Priority {
    /// What an index or a profile calls so.
    pub fn named(name: &str) -> Self {
        match name {
            "required" => Self::Required,
            "important" => Self::Important,
            "standard" => Self::Standard,
            "extra" => Self::Extra,
            _ => Self::Optional,
        }
    }
}

/// How a package behaves towards other architectures (`Multi-Arch`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MultiArch {
    /// It satisfies its own architecture only.
    #[default]
    No,
    /// Several architectures of it can be installed.
    Same,
    /// It satisfies every architecture.
    Foreign,
    /// It satisfies every architecture where `:any` is asked.
    Allowed,
}

/// One package of an index. Relations are kept as text: read with
/// [`parse_relations`](super::parse_relations) and [`parse_provides`](super::parse_provides) when they
/// are wanted. An absent field is an empty text.
#[derive(Debug, Clone)]
pub struct Package<'a> {
    /// All of its paragraph as the index has it.
    pub text: &'a str,
    /// Line of the index where it starts, from 1.
    pub line: usize,
    /// `Package`
    pub name: &'a str,
    /// `Version`
    pub version: Version<'a>,
    /// `Architecture`: that of the machine, or `all`.
    pub architecture: &'a str,
    /// `Source` without the version in parentheses; the name if the field is absent.
    pub source: &'a str,
    /// Version of the source package.
    pub source_version: &'a str,
    /// `Essential: yes`
    pub essential: bool,
    /// `Protected: yes`, or apt's older `Important: yes`
    pub protected: bool,
    /// `Priority`
    pub priority: Priority,
    /// `Multi-Arch`
    pub multi_arch: MultiArch,
    /// `Section`
    pub section: &'a str,
    /// `Pre-Depends`
    pub pre_depends: &'a str,
    /// `Depends`
    pub depends: &'a str,
    /// `Recommends`
    pub recommends: &'a str,
    /// `Suggests`
    pub suggests: &'a str,
    /// `Enhances`
    pub enhances: &'a str,
    /// `Conflicts`
    pub conflicts: &'a str,
    /// `Breaks`
    pub breaks: &'a str,
    /// `Replaces`
    pub replaces: &'a str,
    /// `Provides`
    pub provides: &'a str,
    /// `Filename`: where the `.deb` is, below the archive's root; checked with [`check_path`].
    pub filename: &'a str,
    /// `Size` of the `.deb` in bytes.
    pub size: Option<u64>,
    /// `Installed-Size` in KiB, an estimate.
    pub installed_size: Option<u64>,
    /// `SHA256` of the `.deb`.
    pub sha256: Option<Digest>,
}

/// What an index has.
#[derive(Debug, Default)]
pub struct PackageIndex<'a> {
    /// Its packages in order.
    pub packages: Vec<Package<'a>>,
    /// Those that cannot be read, in order. A large archive has one at times; the others are as good as
    /// ever.
    pub rejected: Vec<Rejected<'a>>,
}

impl<'a> PackageIndex<'a> {
    /// The packages of an index of which all must be readable.
    pub fn whole(self) -> Result<Vec<Package<'a>>, IndexError> {
        match self.rejected.into_iter().next() {
            Some(rejected) => Err(rejected.error),
            None => Ok(self.packages),
        }
    }
}

/// A package that cannot be read.
#[derive(Debug)]
pub struct Rejected<'a> {
    /// Its name, if that much can be told.
    pub name: &'a str,
    /// Its version, the same way.
    pub version: &'a str,
    /// What is wrong, with the line.
    pub error: IndexError,
}

impl<'a> Rejected<'a> {
    fn new(paragraph: &'a str, error: IndexError) -> Self {
        let field = |name: &str| {
            let value = paragraph.lines().find_map(|line| line.strip_prefix(name));
            let value = value.unwrap_or_default().trim();
            if value.contains(|c: char| !c.is_ascii_graphic()) { "" } else { value }
        };
        Self { name: field("Package:"), version: field("Version:"), error }
    }

    /// Name and version, as far as they are known.
    pub fn label(&self) -> String {
        match (self.name, self.version) {
            ("", _) => "a package".to_owned(),
            (name, "") => name.to_owned(),
            (name, version) => format!("{name} {version}"),
        }
    }
}

/// Why a package of an index cannot be read.
#[derive(Debug, Error)]
pub enum IndexError {
    /// It is not a control file.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// A package lacks a field.
    #[error("line {line}: the package has no field {field}")]
    Missing {
        /// Line of the package.
        line: usize,
        /// The field.
        field: &'static str,
    },
    /// A field has no possible value.
    #[error("line {line}: {field} is {value:?}; {expected}")]
    Value {
        /// Line of the field.
        line: usize,
        /// The field.
        field: String,
        /// Its value.
        value: String,
        /// What is possible.
        expected: &'static str,
    },
    /// A field of relations is none.
    #[error("line {line}: {field}: {source}")]
    Relation {
        /// Line of the field.
        line: usize,
        /// The field.
        field: &'static str,
        /// What is wrong.
        source: RelationError,
    },
    /// The version is none.
    #[error("line {line}: {source}")]
    Version {
        /// Line of the field.
        line: usize,
        /// What is wrong.
        source: VersionError,
    },
    /// The place of the file is dangerous.
    #[error("line {line}: {source}")]
    Path {
        /// Line of the field.
        line: usize,
        /// What is wrong.
        source: PathError,
    },
}

/// Bytes of text for which a thread is worth its while.
const PART: usize = 4 << 20;

/// Reads the text of a `Packages` file: its packages in order. A package without the fields that only
/// an archive knows (`Filename`, `Size`, `SHA256`) is taken; who downloads looks for them. A package that
/// cannot be read, be it one relation, is rejected alone: what it would need or break cannot be known.
/// (apt 2.6 refuses all of an index for a bad `Depends`, and passes over a bad `Provides`.)
pub fn parse_packages(text: &str) -> PackageIndex<'_> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    parse_parts(text, threads.min(text.len() / PART))
}

/// The same by so many threads.
fn parse_parts(text: &str, threads: usize) -> PackageIndex<'_> {
    if threads < 2 {
        return parse(text, 1);
    }
    thread::scope(|scope| {
        let (mut rest, mut line, mut parts) = (text, 1, Vec::with_capacity(threads));
        for left in (1..=threads).rev() {
            // An empty line ends a paragraph.
            let middle = rest.len() / left;
            let tail = rest.as_bytes().get(middle..).unwrap_or_default();
            let end = tail.windows(2).position(|pair| pair == b"\n\n");
            let (part, behind) = rest.split_at(end.map_or(rest.len(), |end| middle + end + 2));
            parts.push(scope.spawn(move || parse(part, line)));
            line += part.bytes().filter(|&byte| byte == b'\n').count();
            rest = behind;
        }
        let mut index = PackageIndex::default();
        for part in parts {
            let part = part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            index.packages.extend(part.packages);
            index.rejected.extend(part.rejected);
        }
        index
    })
}

fn parse(text: &str, line: usize) -> PackageIndex<'_> {
    // Debian's paragraphs are about 800 bytes long.
    let packages = Vec::with_capacity(text.len() / 800);
    let mut index = PackageIndex { packages, rejected: Vec::new() };
    let mut paragraphs = paragraphs_of_index(text, line);
    loop {
        let before = paragraphs.rest();
        let Some(paragraph) = paragraphs.next() else { return index };
        let package = paragraph.map_err(IndexError::from).and_then(|paragraph| {
            let package = Package::from_paragraph(&paragraph)?;
            package.check_relations(&paragraph).map(|()| package)
        });
        match package {
            Ok(package) => index.packages.push(package),
            Err(error) => {
                let length = before.len() - paragraphs.rest().len();
                let text = before.get(..length).unwrap_or_default();
                index.rejected.push(Rejected::new(text, error));
            }
        }
    }
}

impl<'a> Package<'a> {
    /// The package of one paragraph: of an index, or the control file of a `.deb`.
    pub fn from_paragraph(paragraph: &Paragraph<'a>) -> Result<Self, IndexError> {
        let mut package = Self {
            text: paragraph.text,
            line: paragraph.line,
            name: "",
            version: Version::ZERO,
            architecture: "",
            source: "",
            source_version: "",
            essential: false,
            protected: false,
            priority: Priority::Optional,
            multi_arch: MultiArch::No,
            section: "",
            pre_depends: "",
            depends: "",
            recommends: "",
            suggests: "",
            enhances: "",
            conflicts: "",
            breaks: "",
            replaces: "",
            provides: "",
            filename: "",
            size: None,
            installed_size: None,
            sha256: None,
        };
        let mut version = None;
        for field in paragraph.fields() {
            let (line, value) = (field.line, field.value);
            let bad = |expected| IndexError::Value {
                line,
                field: field.name.to_owned(),
                value: shortened(value),
                expected,
            };
            let number =
                || value.parse::<u64>().map_err(|_| bad("a number of bytes or KiB is expected"));
            let yes = || match value {
                _ if value.eq_ignore_ascii_case("yes") => Ok(true),
                _ if value.eq_ignore_ascii_case("no") => Ok(false),
                _ => Err(bad("it can be yes or no")),
            };
            match canonical(field.name) {
                "Package" if is_package_name(value) => package.name = value,
                "Package" => return Err(bad("this cannot be the name of a package")),
                "Version" => {
                    version = Some(
                        Version::parse(value)
                            .map_err(|source| IndexError::Version { line, source })?,
                    );
                }
                "Architecture" if is_package_name(value) => package.architecture = value,
                "Architecture" => return Err(bad("one architecture is expected")),
                "Source" => {
                    let (name, rest) = value.split_once([' ', '(']).unwrap_or((value, ""));
                    package.source = name;
                    package.source_version = rest.trim_matches(['(', ')', ' ']);
                }
                "Essential" => package.essential = yes()?,
                "Protected" | "Important" => package.protected |= yes()?,
                "Priority" => package.priority = Priority::named(value),
                "Multi-Arch" => {
                    package.multi_arch = match value {
                        "no" => MultiArch::No,
                        "same" => MultiArch::Same,
                        "foreign" => MultiArch::Foreign,
                        "allowed" => MultiArch::Allowed,
                        _ => return Err(bad("it can be no, same, foreign or allowed")),
                    };
                }
                "Section" => package.section = value,
                "Pre-Depends" => package.pre_depends = value,
                "Depends" => package.depends = value,
                "Recommends" => package.recommends = value,
                "Suggests" => package.suggests = value,
                "Enhances" => package.enhances = value,
                "Conflicts" => package.conflicts = value,
                "Breaks" => package.breaks = value,
                "Replaces" => package.replaces = value,
                "Provides" => package.provides = value,
                "Filename" => {
                    package.filename =
                        check_path(value).map_err(|source| IndexError::Path { line, source })?;
                }
                "Size" => package.size = Some(number()?),
                // Some third parties write fractions.
                "Installed-Size" => package.installed_size = number().ok(),
                "SHA256" => {
                    let digest = value.to_ascii_lowercase().parse();
                    package.sha256 =
                        Some(digest.map_err(|_| bad("64 hexadecimal digits are expected"))?);
                }
                _ => {}
            }
        }
        let missing = |field| IndexError::Missing { line: paragraph.line, field };
        package.version = version.ok_or_else(|| missing("Version"))?;
        if package.name.is_empty() {
            return Err(missing("Package"));
        }
        if package.architecture.is_empty() {
            return Err(missing("Architecture"));
        }
        if package.source.is_empty() {
            package.source = package.name;
        }
        if package.source_version.is_empty() {
            package.source_version = package.version.as_str();
        }
        Ok(package)
    }
}

impl Package<'_> {
    /// Whether all fields that are kept as text can be read when they are wanted.
    fn check_relations(&self, paragraph: &Paragraph<'_>) -> Result<(), IndexError> {
        let needs = [
            ("Pre-Depends", self.pre_depends),
            ("Depends", self.depends),
            ("Recommends", self.recommends),
            ("Suggests", self.suggests),
            ("Conflicts", self.conflicts),
            ("Breaks", self.breaks),
        ];
        let needs = needs.map(|(field, value)| (field, check_relations(value)));
        let provides = ("Provides", check_provides(self.provides));
        for (field, checked) in needs.into_iter().chain([provides]) {
            checked.map_err(|source| {
                let line = paragraph.field(field).map_or(paragraph.line, |field| field.line);
                IndexError::Relation { line, field, source }
            })?;
        }
        Ok(())
    }
}

/// The name of a field as it is written in `from_paragraph`; itself if it is none of these.
fn canonical(name: &str) -> &str {
    const NAMES: [&str; 23] = [
        "Package",
        "Version",
        "Architecture",
        "Source",
        "Essential",
        "Protected",
        "Important",
        "Priority",
        "Multi-Arch",
        "Section",
        "Pre-Depends",
        "Depends",
        "Recommends",
        "Suggests",
        "Enhances",
        "Conflicts",
        "Breaks",
        "Replaces",
        "Provides",
        "Filename",
        "Size",
        "Installed-Size",
        "SHA256",
    ];
    NAMES.into_iter().find(|known| known.eq_ignore_ascii_case(name)).unwrap_or(name)
}

impl fmt::Display for Package<'_> {
    /// `name version architecture`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.name, self.version, self.architecture)
    }
}

/// Adds the paragraph of one package to the text of a `Packages` file: the fields of `control` as they
/// are (a paragraph of another index, or the control file of a `.deb`), but `Filename`, `Size` and
/// digests replaced by these.
pub fn write_package(
    out: &mut String,
    control: &Paragraph<'_>,
    filename: &str,
    size: u64,
    sha256: Digest,
) {
    const REPLACED: [&str; 6] = ["Filename", "Size", "MD5sum", "SHA1", "SHA256", "SHA512"];
    for field in control.fields() {
        if REPLACED.iter().any(|name| name.eq_ignore_ascii_case(field.name)) {
            continue;
        }
        let space = if field.value.is_empty() || field.value.starts_with('\n') { "" } else { " " };
        // Comments are for control files of sources, not for indexes.
        let mut lines = field.value.split('\n').filter(|line| !line.starts_with('#'));
        let _ = writeln!(out, "{}:{space}{}", field.name, lines.next().unwrap_or_default());
        for line in lines {
            let _ = writeln!(out, "{line}");
        }
    }
    let _ = writeln!(out, "Filename: {filename}\nSize: {size}\nSHA256: {sha256}\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "Package: libx1\nSource: x (1.0)\nVersion: 1.0-1+b2\nArchitecture: amd64\nEssential: \
                       yes\nImportant: yes\nPriority: required\nMulti-Arch: same\nDepends: libc6 (>= 2)\n , \
                       y\nDescription: one\n two\nFilename: ./pool/x.deb\nSize: 10\nsha256: \
                       E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855\n";

    #[test]
    fn fields() {
        let text = format!("{ONE}\nPackage: b\nVersion: 2\nArchitecture: all\n");
        let packages = parse_packages(&text).whole().unwrap();
        let [one, b] = &packages[..] else { panic!("{packages:?}") };
        assert_eq!((one.source, one.source_version), ("x", "1.0"));
        assert!(one.essential && one.protected && one.priority == Priority::Required);
        assert_eq!((one.multi_arch, one.filename), (MultiArch::Same, "pool/x.deb"));
        assert_eq!((one.size, one.sha256), (Some(10), Some(Digest::of(b""))));
        assert_eq!((b.line, b.source, b.source_version, b.depends), (17, "b", "2", ""));
        assert_eq!(b.to_string(), "b 2 all");
    }

    #[test]
    fn threads_read_what_one_reads() {
        let mut text = String::new();
        for number in 0..40 {
            let more = "\n".repeat(number % 3);
            text += &format!("{ONE}Tag: {}\n\n{more}", "é".repeat(number));
        }
        let all = parse(&text, 1).whole().unwrap();
        let seen = |packages: &[Package<'_>]| -> Vec<(usize, String)> {
            packages.iter().map(|package| (package.line, package.text.to_owned())).collect()
        };
        for threads in [0, 1, 2, 3, 7, 40, 500] {
            assert_eq!(
                seen(&parse_parts(&text, threads).whole().unwrap()),
                seen(&all),
                "{threads}"
            );
        }
        // All errors, and their lines.
        let last = text.rfind("Size: 10").unwrap();
        for (broken, count) in [
            (text.replace("Size: 10\nsha256: E3B0", "Size: ten\nsha256: E3B0"), 40),
            (format!("{}Size: ten{}", &text[..last], &text[last + 8..]), 1),
        ] {
            let (one, more) = (parse(&broken, 1), parse_parts(&broken, 3));
            let told = |index: &PackageIndex<'_>| -> Vec<String> {
                index.rejected.iter().map(|one| one.error.to_string()).collect()
            };
            assert_eq!(told(&more), told(&one));
            assert_eq!((more.packages.len(), more.rejected.len()), (40 - count, count));
        }
    }

    #[test]
    fn a_bad_package_costs_itself_alone() {
        for (bad, label, message) in [
            (
                "Package: x\nVersion: 2_\nArchitecture: all",
                "x 2_",
                "line 18: \"2_\" is not a version",
            ),
            ("Package: x\nrubbish\nVersion: 2", "x 2", "line 18: \"rubbish\" is not a field"),
            (" x\nPackage: x", "x", "line 17: a continued line"),
            ("Version: 2\nArchitecture: all", "a package", "line 17: the package has no field"),
            (
                "Package: x\nVersion: 2\nArchitecture: all\nDepends: a (>> b\nTag: t",
                "x 2",
                "line 20: Depends: a bracket is not closed",
            ),
            (
                "Package: x\nVersion: 2\nProvides: a | b\nArchitecture: all",
                "x 2",
                "line 19: Provides: \"a | b\" has alternatives",
            ),
        ] {
            let text = format!("{ONE}\n{bad}\n\nPackage: b\nVersion: 3\nArchitecture: all\n");
            let index = parse_packages(&text);
            let [rejected] = &index.rejected[..] else { panic!("{bad}: {index:?}") };
            assert_eq!(rejected.label(), label, "{bad}");
            assert!(rejected.error.to_string().starts_with(message), "{bad}: {}", rejected.error);
            let names: Vec<&str> = index.packages.iter().map(|package| package.name).collect();
            assert_eq!(names, ["libx1", "b"], "{bad}");
            let lines = text.lines().position(|line| line == "Package: b").unwrap() + 1;
            assert_eq!(index.packages[1].line, lines, "{bad}");
        }
    }

    #[test]
    fn errors() {
        for (from, to, message) in [
            ("Version: 1.0-1+b2\n", "", "line 1: the package has no field Version"),
            ("Version: 1.0-1+b2\n", "Version: x_1\n", "line 3: \"x_1\" is not a version"),
            ("Package: libx1\n", "", "has no field Package"),
            ("Essential: yes", "Essential: maybe", "line 5: Essential is \"maybe\"; it can be"),
            ("./pool", "../pool", "line 13: the path \"../pool/x.deb\" has a part"),
            ("Size: 10", "Size: ten", "line 14: Size is \"ten\""),
            ("E3B0", "X3B0", "64 hexadecimal digits"),
            ("same", "both", "no, same, foreign or allowed"),
        ] {
            let error = parse_packages(&ONE.replacen(from, to, 1)).whole().unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn written_and_read_again() {
        let paragraph = paragraphs_of_index(ONE, 1).next().unwrap().unwrap();
        let mut text = String::new();
        write_package(&mut text, &paragraph, "pool/n.deb", 11, Digest::of(b"x"));
        assert!(text.contains(
            "Depends: libc6 (>= 2)\n , y\nDescription: one\n two\nFilename: pool/n.deb\n"
        ));
        let packages = parse_packages(&text).whole().unwrap();
        assert_eq!((packages[0].size, packages[0].sha256), (Some(11), Some(Digest::of(b"x"))));
        assert_eq!(packages[0].depends, "libc6 (>= 2)\n , y");
    }
}
