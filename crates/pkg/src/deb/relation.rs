//! Relations between packages: `Depends` and its kin (Debian Policy 7, deb-control(5)).

use std::fmt;

use thiserror::Error;

use super::version::{Version, VersionError};
use crate::text::shortened;

/// Most clauses of one field, and most alternatives of one clause; Debian's longest have hundreds.
const LIMIT: usize = 1 << 14;

/// A comparison with a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operator {
    /// `<<`
    Earlier,
    /// `<=`, and the obsolete `<`
    EarlierOrEqual,
    /// `=`
    Equal,
    /// `>=`, and the obsolete `>`
    LaterOrEqual,
    /// `>>`
    Later,
}

impl Operator {
    /// Whether `version OPERATOR wanted` holds.
    pub fn holds(self, version: Version<'_>, wanted: Version<'_>) -> bool {
        let order = version.cmp(&wanted);
        match self {
            Self::Earlier => order.is_lt(),
            Self::EarlierOrEqual => order.is_le(),
            Self::Equal => order.is_eq(),
            Self::LaterOrEqual => order.is_ge(),
            Self::Later => order.is_gt(),
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Earlier => "<<",
            Self::EarlierOrEqual => "<=",
            Self::Equal => "=",
            Self::LaterOrEqual => ">=",
            Self::Later => ">>",
        })
    }
}

/// What is behind the colon of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArchQualifier<'a> {
    /// `:any`, any architecture of a `Multi-Arch: allowed` package.
    Any,
    /// `:native`, in build dependencies.
    Native,
    /// A named architecture.
    Named(&'a str),
}

/// One architecture of `[amd64 !arm64]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Restriction<'a> {
    /// `!` is before it.
    pub negated: bool,
    /// The architecture, or a wildcard such as `linux-any`.
    pub architecture: &'a str,
}

/// One build profile of `<!nocheck cross>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Profile<'a> {
    /// `!` is before it.
    pub negated: bool,
    /// The profile.
    pub name: &'a str,
}

/// One alternative: a package, perhaps of certain versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency<'a> {
    /// The name of a package, real or virtual.
    pub name: &'a str,
    /// What is behind the colon of the name.
    pub arch: Option<ArchQualifier<'a>>,
    /// Which versions.
    pub version: Option<(Operator, Version<'a>)>,
    /// For which architectures it is meant; all if empty.
    pub architectures: Vec<Restriction<'a>>,
    /// For which build profiles: one of the lists must hold entirely; always if empty.
    pub profiles: Vec<Vec<Profile<'a>>>,
}

/// Alternatives in order of preference; one of them must hold. Never empty.
pub type Clause<'a> = Vec<Dependency<'a>>;

impl Dependency<'_> {
    /// Whether this relation is meant for `architecture` (`amd64`). Wildcards other than `any` and
    /// `linux-any` match nothing.
    pub fn is_for(&self, architecture: &str) -> bool {
        let same = |one: &Restriction<'_>| {
            matches!(one.architecture, "any" | "linux-any") || one.architecture == architecture
        };
        match self.architectures.first() {
            None => true,
            Some(first) if first.negated => !self.architectures.iter().any(same),
            Some(_) => self.architectures.iter().any(same),
        }
    }
}

impl fmt::Display for Dependency<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        match self.arch {
            None => {}
            Some(ArchQualifier::Any) => f.write_str(":any")?,
            Some(ArchQualifier::Native) => f.write_str(":native")?,
            Some(ArchQualifier::Named(name)) => write!(f, ":{name}")?,
        }
        if let Some((operator, version)) = &self.version {
            write!(f, " ({operator} {version})")?;
        }
        let mark = |negated| if negated { "!" } else { "" };
        for (at, one) in self.architectures.iter().enumerate() {
            let before = if at == 0 { " [" } else { " " };
            write!(f, "{before}{}{}", mark(one.negated), one.architecture)?;
        }
        if !self.architectures.is_empty() {
            f.write_str("]")?;
        }
        for list in &self.profiles {
            for (at, one) in list.iter().enumerate() {
                let before = if at == 0 { " <" } else { " " };
                write!(f, "{before}{}{}", mark(one.negated), one.name)?;
            }
            f.write_str(">")?;
        }
        Ok(())
    }
}

/// Why a field is not a list of relations.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RelationError {
    /// A name has a character that names cannot have, or is empty.
    #[error("{0:?} is not the name of a package")]
    Name(String),
    /// Something else is behind the name.
    #[error("{0:?} is not expected here")]
    Rest(String),
    /// A bracket is not closed.
    #[error("a bracket is not closed: {0:?}")]
    Bracket(String),
    /// No comparison starts the text in parentheses.
    #[error("{0:?} has none of << <= = >= >>")]
    Operator(String),
    /// The version is none.
    #[error(transparent)]
    Version(#[from] VersionError),
    /// Alternatives where none are allowed.
    #[error("{0:?} has alternatives, which this field cannot have")]
    Alternatives(String),
    /// The field is absurdly long.
    #[error("more than {LIMIT} relations")]
    TooMany,
}

/// Reads the value of `Depends`, `Pre-Depends`, `Recommends`, `Conflicts`, `Breaks`, `Build-Depends`
/// and so on: clauses of alternatives. Empty clauses (`a,,b`, a comma at the end) are passed over as
/// dpkg does.
pub fn parse_relations(field: &str) -> Result<Vec<Clause<'_>>, RelationError> {
    let mut clauses: Vec<Clause<'_>> = Vec::new();
    each_relation(field, |alternative, dependency| match clauses.last_mut() {
        Some(clause) if alternative > 0 => clause.push(dependency),
        _ => clauses.push(vec![dependency]),
    })?;
    Ok(clauses)
}

/// Whether [`parse_relations`] can read a value, without keeping what it reads.
pub(super) fn check_relations(field: &str) -> Result<(), RelationError> {
    each_relation(field, |_, _| {})
}

/// Hands over each dependency with its number among the alternatives of its clause.
fn each_relation<'a>(
    field: &'a str,
    mut found: impl FnMut(usize, Dependency<'a>),
) -> Result<(), RelationError> {
    let clauses = field.split(',').filter(|clause| !clause.trim_ascii().is_empty());
    for (at, clause) in clauses.enumerate() {
        for (alternative, text) in clause.split('|').enumerate() {
            let dependency = parse_one(text)?;
            if at.max(alternative) >= LIMIT {
                return Err(RelationError::TooMany);
            }
            found(alternative, dependency);
        }
    }
    Ok(())
}

/// Whether [`parse_provides`] can read a value.
pub(super) fn check_provides(field: &str) -> Result<(), RelationError> {
    match field.contains('|') {
        true => Err(RelationError::Alternatives(shortened(field))),
        false => check_relations(field),
    }
}

/// Reads the value of `Provides`: names, perhaps with a version after `=`.
pub fn parse_provides(field: &str) -> Result<Vec<Dependency<'_>>, RelationError> {
    let clauses = parse_relations(field)?;
    clauses
        .into_iter()
        .map(|mut clause| match clause.pop() {
            Some(one) if clause.is_empty() => Ok(one),
            _ => Err(RelationError::Alternatives(shortened(field))),
        })
        .collect()
}

/// Whether `name` can be that of a package: letters, digits and `+-.`, as dpkg accepts on reading.
pub(crate) fn is_package_name(name: &str) -> bool {
    name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_'))
}

fn parse_one(text: &str) -> Result<Dependency<'_>, RelationError> {
    let text = text.trim_ascii();
    let blank = |c: char| c.is_ascii_whitespace() || matches!(c, '(' | '[' | '<');
    let (name, mut rest) = text.split_at(text.find(blank).unwrap_or(text.len()));
    let (name, arch) = match name.split_once(':') {
        None => (name, None),
        Some((name, "any")) => (name, Some(ArchQualifier::Any)),
        Some((name, "native")) => (name, Some(ArchQualifier::Native)),
        Some((name, arch)) if is_package_name(arch) => (name, Some(ArchQualifier::Named(arch))),
        Some((_, arch)) => return Err(RelationError::Name(shortened(arch))),
    };
    if !is_package_name(name) {
        return Err(RelationError::Name(shortened(name)));
    }
    let mut one =
        Dependency { name, arch, version: None, architectures: Vec::new(), profiles: Vec::new() };
    loop {
        rest = rest.trim_ascii_start();
        let Some(first) = rest.chars().next() else { return Ok(one) };
        let close = match first {
            '(' if one.version.is_none() => ')',
            '[' if one.architectures.is_empty() => ']',
            '<' => '>',
            _ => return Err(RelationError::Rest(shortened(rest))),
        };
        let Some((inside, after)) = rest.get(1..).and_then(|rest| rest.split_once(close)) else {
            return Err(RelationError::Bracket(shortened(rest)));
        };
        let negation = |word: &mut &str| match word.strip_prefix('!') {
            Some(word_after) => {
                *word = word_after;
                true
            }
            None => false,
        };
        match first {
            '(' => one.version = Some(parse_version(inside)?),
            '[' => {
                for mut architecture in inside.split_ascii_whitespace() {
                    let negated = negation(&mut architecture);
                    one.architectures.push(Restriction { negated, architecture });
                }
                if one.architectures.is_empty() {
                    return Err(RelationError::Rest(shortened(rest)));
                }
            }
            _ => {
                let mut list = Vec::new();
                for mut name in inside.split_ascii_whitespace() {
                    let negated = negation(&mut name);
                    list.push(Profile { negated, name });
                }
                if list.is_empty() {
                    return Err(RelationError::Rest(shortened(rest)));
                }
                one.profiles.push(list);
            }
        }
        rest = after;
    }
}

fn parse_version(inside: &str) -> Result<(Operator, Version<'_>), RelationError> {
    let inside = inside.trim_ascii();
    let (operator, rest) = [
        ("<<", Operator::Earlier),
        ("<=", Operator::EarlierOrEqual),
        (">=", Operator::LaterOrEqual),
        (">>", Operator::Later),
        ("<", Operator::EarlierOrEqual),
        (">", Operator::LaterOrEqual),
        ("=", Operator::Equal),
    ]
    .into_iter()
    .find_map(|(text, operator)| Some((operator, inside.strip_prefix(text)?)))
    .ok_or_else(|| RelationError::Operator(shortened(inside)))?;
    Ok((operator, Version::parse(rest)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form() {
        let field = "libc6 (>= 2.36), mail-agent|exim4:any(<<4.9) , python3:native [amd64 !arm64] \
                     <!nocheck> <cross stage1>,, g++ (=4:12)\n , perl (> 5), x:amd64 ";
        let clauses = parse_relations(field).unwrap();
        let written: Vec<String> = clauses
            .iter()
            .map(|clause| clause.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | "))
            .collect();
        assert_eq!(
            written,
            [
                "libc6 (>= 2.36)",
                "mail-agent | exim4:any (<< 4.9)",
                "python3:native [amd64 !arm64] <!nocheck> <cross stage1>",
                "g++ (= 4:12)",
                "perl (>= 5)",
                "x:amd64"
            ]
        );
        assert!(parse_relations(" \n ").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_relation() {
        for (field, message) in [
            ("a |", "\"\" is not the name"),
            ("(= 1)", "\"\" is not the name"),
            ("a (1)", "has none of"),
            ("a (>= 1", "not closed"),
            ("a (>= )", "is not a version"),
            ("a b", "\"b\" is not expected"),
            ("a (= 1) (= 2)", "is not expected"),
            ("a []", "is not expected"),
            ("ä", "is not the name"),
            ("a:", "\"\" is not the name"),
        ] {
            let error = parse_relations(field).unwrap_err().to_string();
            assert!(error.contains(message), "{field}: {error}");
        }
        assert!(parse_provides("a | b").unwrap_err().to_string().contains("alternatives"));
        assert_eq!(parse_provides("a, b (= 1)").unwrap().len(), 2);
    }

    #[test]
    fn restrictions() {
        let holds = |field: &str| parse_relations(field).unwrap()[0][0].is_for("amd64");
        assert!(
            holds("a") && holds("a [amd64]") && holds("a [arm64 amd64]") && holds("a [!arm64]")
        );
        assert!(holds("a [linux-any]") && !holds("a [arm64]") && !holds("a [!amd64 !arm64]"));
    }
}
