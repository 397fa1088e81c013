//! A recipe's text, cut into the parts of its readers.

use serde::de::DeserializeOwned;
use thiserror::Error;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::fields::fields;

/// Longest recipe that is read, in bytes.
const LONGEST: usize = 4 << 20;

/// Why a recipe cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {problem}")]
pub struct RecipeError {
    /// Line of the file, from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: String,
}

impl RecipeError {
    /// The value at `place` has this problem. A place is keys and positions with dots between, as
    /// `users.1.uid`; where a key is not told, the table that would have it is to blame.
    pub fn at(text: &str, place: &str, problem: String) -> Self {
        Self { line: line_of(text, place).unwrap_or(1), problem }
    }
}

/// In which line of a recipe the value at `place` begins, as [`RecipeError::at`] says it.
pub fn line_of(text: &str, place: &str) -> Option<usize> {
    let table = DeTable::parse(text).ok()?;
    let (mut value, mut rest) = key(table.get_ref(), place)?;
    while let Some(place) = rest {
        let inner = match value.get_ref() {
            DeValue::Table(table) => key(table, place),
            DeValue::Array(array) => {
                let (step, rest) =
                    place.split_once('.').map_or((place, None), |(a, b)| (a, Some(b)));
                step.parse().ok().and_then(|at: usize| Some((array.get(at)?, rest)))
            }
            _ => None,
        };
        let Some(inner) = inner else { break };
        (value, rest) = inner;
    }
    Some(line(text, value.span().start))
}

/// The value of the key that `place` begins with, and where to go on in it. Keys may have dots in them: the longest
/// one counts.
fn key<'t, 'i, 'p>(
    table: &'t DeTable<'i>,
    place: &'p str,
) -> Option<(&'t Spanned<DeValue<'i>>, Option<&'p str>)> {
    let found = table.iter().filter_map(|(key, value)| {
        let rest = place.strip_prefix(&**key.get_ref())?;
        match rest.strip_prefix('.') {
            None if rest.is_empty() => Some((value, None)),
            None => None,
            rest => Some((value, rest)),
        }
    });
    found.min_by_key(|(_, rest)| rest.map_or(0, |rest| rest.len() + 1))
}

/// A recipe that was read, but not yet understood.
#[derive(Debug)]
pub struct Document<'a> {
    text: &'a str,
    rest: DeTable<'a>,
    known: Vec<&'static str>,
}

impl<'a> Document<'a> {
    /// Reads the text.
    pub fn parse(text: &'a str) -> Result<Self, RecipeError> {
        if text.len() > LONGEST {
            let problem = format!("{} bytes are no recipe; {LONGEST} are the most", text.len());
            return Err(RecipeError { line: 1, problem });
        }
        let table = DeTable::parse(text).map_err(|error| explained(text, &error))?;
        Ok(Self { text, rest: table.into_inner(), known: Vec::new() })
    }

    /// Takes out the keys that `T` has, which must be a struct, and reads them.
    pub fn take<T: DeserializeOwned>(&mut self) -> Result<T, RecipeError> {
        let keys = fields::<T>();
        self.known.extend(keys);
        let mut ours = DeTable::new();
        for (key, value) in std::mem::take(&mut self.rest) {
            let known = keys.contains(&&**key.get_ref());
            let table = if known { &mut ours } else { &mut self.rest };
            table.insert(key, value);
        }
        let table = Spanned::new(0..self.text.len(), ours);
        T::deserialize(Deserializer::from(table)).map_err(|error| explained(self.text, &error))
    }

    /// Refuses keys that nobody took.
    pub fn finish(self) -> Result<(), RecipeError> {
        let Some(key) = self.rest.keys().min_by_key(|key| key.span().start) else { return Ok(()) };
        let problem = unknown("key", key.get_ref(), &self.known);
        Err(RecipeError { line: line(self.text, key.span().start), problem })
    }
}

fn line(text: &str, at: usize) -> usize {
    text.get(..at).map_or(1, |before| before.matches('\n').count() + 1)
}

/// The error with its line, and with the nearest word where one is unknown.
pub(crate) fn explained(text: &str, error: &toml::de::Error) -> RecipeError {
    let line = line(text, error.span().map_or(0, |span| span.start));
    let message = error.message().lines().next().unwrap_or_default();
    // serde's: unknown field `x`, expected one of `a`, `b`
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let problem = match quoted.split_first() {
        Some((word, known)) if message.starts_with("unknown field `") => {
            unknown("key", word, known)
        }
        Some((word, known)) if message.starts_with("unknown variant `") => {
            unknown("value", word, known)
        }
        _ => told(message),
    };
    RecipeError { line, problem }
}

/// serde's message in the words of recipes; types have names that only programmers know.
fn told(message: &str) -> String {
    let Some((problem, expected)) = message.split_once(", expected ") else {
        return message.to_owned();
    };
    let expected = match expected {
        "a sequence" => "a list, as [\"a\", \"b\"]",
        "a map" => "a table, as { key = \"value\" }",
        "a boolean" => "true or false",
        "u32" => "a number from 0 to 4294967295",
        "i16" => "a number from -32768 to 32767",
        "a string" => "text in quotes",
        other => match other.strip_prefix("struct ") {
            Some(_) => "a table, as { key = \"value\" }",
            None => other,
        },
    };
    format!("{problem}; {expected} is expected")
}

fn unknown(what: &str, word: &str, known: &[&str]) -> String {
    format!("unknown {what} {word:?}; {}", nearest(word, known))
}

/// What to write instead of a word that is not known: the nearest one, or any of them.
pub fn nearest<T: AsRef<str>>(word: &str, known: &[T]) -> String {
    let limit = word.chars().count().div_ceil(3);
    let near = known.iter().map(AsRef::as_ref).map(|one| (strsim::osa_distance(word, one), one));
    match near.filter(|(distance, _)| *distance <= limit).min() {
        Some((_, near)) => format!("did you mean {near:?}?"),
        None => {
            let mut known: Vec<&str> = known.iter().map(AsRef::as_ref).collect();
            known.sort_unstable();
            format!("known are {}", known.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Fruit {
        #[serde(default)]
        pears: u32,
        #[serde(default)]
        kind: Option<Kind>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Bosc,
        Anjou,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Nuts {
        walnut: Option<Size>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Size {
        weight: u32,
    }

    fn read(text: &str) -> Result<(Fruit, Nuts), RecipeError> {
        let mut document = Document::parse(text)?;
        let both = (document.take()?, document.take()?);
        document.finish().map(|()| both)
    }

    #[test]
    fn readers_share_a_document() {
        let (fruit, nuts) = read("pears = 2\nkind = \"bosc\"\n[walnut]\nweight = 3\n").unwrap();
        assert_eq!(fruit, Fruit { pears: 2, kind: Some(Kind::Bosc) });
        assert_eq!(nuts, Nuts { walnut: Some(Size { weight: 3 }) });
        read("").unwrap();
    }

    #[test]
    fn places_have_lines() {
        let text = "pears = 1\n[walnut]\nweight = 3\n[[nuts]]\nkind = \"a\"\n[[nuts]]\nkinds = [\n\"b\",\n\"c\",\n]\n";
        for (place, line) in [
            ("pears", 1),
            ("walnut", 2),
            ("walnut.weight", 3),
            ("walnut.size", 2),
            ("nuts.0.kind", 5),
            ("nuts.1", 6),
            ("nuts.1.kinds.1", 9),
            ("nuts.7", 4),
            ("apples", 1),
        ] {
            assert_eq!(RecipeError::at(text, place, String::new()).line, line, "{place}");
        }
    }

    #[test]
    fn errors_name_the_line_and_the_nearest_word() {
        for (text, message) in [
            ("pears = 1\npeers = 2\n", "line 2: unknown key \"peers\"; did you mean \"pears\"?"),
            ("\n\nx = 1\n", "line 3: unknown key \"x\"; known are kind, pears, walnut"),
            (
                "[walnuts]\nweight = 1\n",
                "line 1: unknown key \"walnuts\"; did you mean \"walnut\"?",
            ),
            ("[walnut]\nweigth = 1\n", "line 2: unknown key \"weigth\"; did you mean \"weight\"?"),
            ("kind = \"bosk\"\n", "line 1: unknown value \"bosk\"; did you mean \"bosc\"?"),
            ("\npears = \"two\"\n", "line 2: invalid type: string \"two\"; a number from 0 to"),
            ("pears = 1\n\n[walnut]\n", "line 3: missing field `weight`"),
            ("pears = 1\npears = 2\n", "line 2: duplicate key"),
            ("pears\n", "line 1: "),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error:?} is not {message:?}");
        }
        let text = "x = 1\n\n[[walnuts]]\nweight = 1\n\n[[walnuts]]\nweight = 2\n";
        let lines = ["walnuts.0", "walnuts.1.weight", "pears"].map(|place| line_of(text, place));
        assert_eq!(lines, [Some(3), Some(7), None]);
        assert_eq!(line_of("a = [\n  1,\n  2]\n", "a.1"), Some(3));
        let dots = "[a]\nb = 1\n\"b.c\" = 2\n[a.\"d.e\"]\n\"f.g:h\" = 3\n";
        let places = ["a.b", "a.b.c", "a.b.cd", "a.d.e", "a.d.e.f.g:h", "a.d.e.f.g"];
        let lines = places.map(|place| line_of(dots, place));
        assert_eq!(lines, [Some(2), Some(3), Some(2), Some(4), Some(5), Some(4)]);
        assert!(Document::parse(&"[a.b]\n".repeat(LONGEST)).is_err());
        assert!(read(&"x = [".repeat(100_000)).is_err());
    }
}
