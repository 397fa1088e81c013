//! `Packages` indexes: which binary packages an archive has (deb-control(5), the repository format).

use std::fmt::{self, Write as _};
use std::num::NonZero;
use std::thread;

use thiserror::Error;
use tree::Digest;

use super::control::{ControlError, Paragraph, paragraphs_from};
use super::relation::is_package_name;
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

/// Why an index cannot be used.
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
/// an archive knows (`Filename`, `Size`, `SHA256`) is taken; who downloads looks for them.
pub fn parse_packages(text: &str) -> Result<Vec<Package<'_>>, IndexError> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    parse_parts(text, threads.min(text.len() / PART))
}

/// The same by so many threads.
fn parse_parts(text: &str, threads: usize) -> Result<Vec<Package<'_>>, IndexError> {
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
        let mut packages = Vec::new();
        for part in parts {
            let part = part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            packages.append(&mut part?);
        }
        Ok(packages)
    })
}

fn parse(text: &str, line: usize) -> Result<Vec<Package<'_>>, IndexError> {
    // Debian's paragraphs are about 800 bytes long.
    let mut packages = Vec::with_capacity(text.len() / 800);
    for paragraph in paragraphs_from(text, line) {
        packages.push(Package::from_paragraph(&paragraph?)?);
    }
    Ok(packages)
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
                "Priority" => package.priority = priority(value),
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

fn priority(value: &str) -> Priority {
    match value {
        "required" => Priority::Required,
        "important" => Priority::Important,
        "standard" => Priority::Standard,
        "extra" => Priority::Extra,
        _ => Priority::Optional,
    }
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
        let packages = parse_packages(&text).unwrap();
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
        let all = parse(&text, 1).unwrap();
        let seen = |packages: &[Package<'_>]| -> Vec<(usize, String)> {
            packages.iter().map(|package| (package.line, package.text.to_owned())).collect()
        };
        for threads in [0, 1, 2, 3, 7, 40, 500] {
            assert_eq!(seen(&parse_parts(&text, threads).unwrap()), seen(&all), "{threads}");
        }
        // The first error of all, and its line.
        let broken = text.replace("Size: 10\nsha256: E3B0", "Size: ten\nsha256: E3B0");
        let (one, more) = (parse(&broken, 1), parse_parts(&broken, 3));
        assert_eq!(more.unwrap_err().to_string(), one.unwrap_err().to_string());
        let last = text.rfind("Size: 10").unwrap();
        let broken = format!("{}Size: ten{}", &text[..last], &text[last + 8..]);
        let (one, more) = (parse(&broken, 1), parse_parts(&broken, 3));
        assert_eq!(more.unwrap_err().to_string(), one.unwrap_err().to_string());
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
            let error = parse_packages(&ONE.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn written_and_read_again() {
        let paragraph = paragraphs_from(ONE, 1).next().unwrap().unwrap();
        let mut text = String::new();
        write_package(&mut text, &paragraph, "pool/n.deb", 11, Digest::of(b"x"));
        assert!(text.contains(
            "Depends: libc6 (>= 2)\n , y\nDescription: one\n two\nFilename: pool/n.deb\n"
        ));
        let packages = parse_packages(&text).unwrap();
        assert_eq!((packages[0].size, packages[0].sha256), (Some(11), Some(Digest::of(b"x"))));
        assert_eq!(packages[0].depends, "libc6 (>= 2)\n , y");
    }
}
