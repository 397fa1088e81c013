//! Control files: paragraphs of fields (deb822(5), Debian Policy 5.1).
//!
//! A paragraph's fields are `Name: value`, continued by lines that start with a blank; paragraphs are
//! apart by empty lines. Lines that start with `#` are comments. Names are compared without regard to
//! case and occur once in a paragraph.
//!
//! OpenPGP armour around a paragraph is not looked at here; see [`crate::openpgp`].

use thiserror::Error;

use crate::text::shortened;

/// Most fields that one paragraph may have; Debian's longest have about thirty.
const FIELDS: usize = 256;

/// Why a text is not a control file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {problem}")]
pub struct ControlError {
    /// Line of the text, from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: ControlProblem,
}

/// What is wrong with a control file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ControlProblem {
    /// A line is neither a field nor a continuation.
    #[error("{0:?} is not a field; fields are \"Name: value\"")]
    NotAField(String),
    /// A name has a character that names cannot have.
    #[error("{0:?} cannot be the name of a field")]
    Name(String),
    /// The first line of a paragraph starts with a blank.
    #[error("a continued line, but no field before it")]
    Continuation,
    /// A field occurs twice.
    #[error("the field {0} occurs a second time in this paragraph")]
    Duplicate(String),
    /// There are too many fields.
    #[error("a paragraph with more than {FIELDS} fields")]
    TooMany,
}

/// One field of a paragraph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name as written.
    pub name: &'a str,
    /// Its value without blanks around; continued lines are in it with their line breaks and leading
    /// blanks.
    pub value: &'a str,
    /// Where it starts, a line of the text from 1.
    pub line: usize,
}

impl<'a> Field<'a> {
    /// The value's lines without blanks around, comments left out.
    pub fn lines(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.value.split('\n').filter(|line| !line.starts_with('#')).map(str::trim)
    }
}

/// One paragraph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paragraph<'a> {
    /// All of it as written, from the first field to the end of the last line.
    pub text: &'a str,
    /// Line of the first field, from 1.
    pub line: usize,
    fields: Vec<Field<'a>>,
}

impl<'a> Paragraph<'a> {
    /// The fields in their order.
    pub fn fields(&self) -> &[Field<'a>] {
        &self.fields
    }

    /// The field of this name, in whatever case.
    pub fn field(&self, name: &str) -> Option<&Field<'a>> {
        self.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name))
    }

    /// The value of the field of this name; see [`Field::value`].
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.field(name).map(|field| field.value)
    }
}

/// The paragraphs of a control file, in order; ends after the first error.
pub fn paragraphs(text: &str) -> Paragraphs<'_> {
    Paragraphs { text, at: 0, line: 1, goes_on: false, spare: Vec::new() }
}

/// The same of a text whose first line has the number `line`; after an error the next paragraph follows.
pub(super) fn paragraphs_of_index(text: &str, line: usize) -> Paragraphs<'_> {
    Paragraphs { text, at: 0, line, goes_on: true, spare: Vec::new() }
}

/// Iterator of [`paragraphs`].
#[derive(Debug, Clone)]
pub struct Paragraphs<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    /// Whether an error costs its paragraph only.
    goes_on: bool,
    /// Fields of the paragraph before; most have as many.
    spare: Vec<Field<'a>>,
}

/// A field being read: name, where its value starts and ends, its line.
struct Open<'a> {
    name: &'a str,
    start: usize,
    end: usize,
    line: usize,
}

impl<'a> Paragraphs<'a> {
    /// What was not read yet.
    pub(super) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn next_line(&mut self) -> Option<(usize, &'a str)> {
        let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
        let start = self.at;
        let length = rest.find('\n').unwrap_or(rest.len());
        self.at += length + 1;
        self.line += 1;
        rest.get(..length).map(|line| (start, line))
    }

    fn close(&mut self, open: Option<Open<'a>>) {
        if let Some(Open { name, start, end, line }) = open {
            let value = self.text.get(start..end).unwrap_or_default().trim();
            self.spare.push(Field { name, value, line });
        }
    }

    fn read(&mut self) -> Result<Option<Paragraph<'a>>, ControlError> {
        self.spare.clear();
        let mut open: Option<Open<'a>> = None;
        let mut span: Option<(usize, usize)> = None;
        let mut end = 0;
        while let Some((start, text)) = self.next_line() {
            let line = self.line - 1;
            let fail = |problem| Err(ControlError { line, problem });
            match text.as_bytes().first() {
                Some(b'#') => continue,
                Some(b' ' | b'\t') if !text.trim_ascii().is_empty() => match &mut open {
                    Some(field) => field.end = start + text.len(),
                    None => return fail(ControlProblem::Continuation),
                },
                None | Some(b' ' | b'\t' | b'\r') if text.trim_ascii().is_empty() => {
                    if span.is_some() {
                        break;
                    }
                    continue;
                }
                _ => {
                    let Some(colon) = text.find(':') else {
                        return fail(ControlProblem::NotAField(shortened(text)));
                    };
                    let name = text.get(..colon).unwrap_or_default();
                    let graphic = |byte: u8| byte.is_ascii_graphic();
                    if name.is_empty() || name.starts_with('-') || !name.bytes().all(graphic) {
                        return fail(ControlProblem::Name(shortened(name)));
                    }
                    let last = open.take();
                    self.close(last);
                    if self.spare.len() == FIELDS {
                        return fail(ControlProblem::TooMany);
                    }
                    if self.spare.iter().any(|field| field.name.eq_ignore_ascii_case(name)) {
                        return fail(ControlProblem::Duplicate(shortened(name)));
                    }
                    span.get_or_insert((start, line));
                    open = Some(Open {
                        name,
                        start: start + colon + 1,
                        end: start + text.len(),
                        line,
                    });
                }
            }
            end = start + text.len();
        }
        self.close(open);
        let Some((start, line)) = span else { return Ok(None) };
        let text = self.text.get(start..end).unwrap_or_default();
        Ok(Some(Paragraph { text, line, fields: self.spare.clone() }))
    }
}

impl<'a> Iterator for Paragraphs<'a> {
    type Item = Result<Paragraph<'a>, ControlError>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = self.read();
        if result.is_err() && self.goes_on {
            while self.next_line().is_some_and(|(_, line)| !line.trim_ascii().is_empty()) {}
        } else if result.is_err() {
            self.at = self.text.len();
        }
        result.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        paragraphs(text).find_map(Result::err).unwrap().to_string()
    }

    #[test]
    fn paragraphs_of_all_shapes() {
        let text = "\n# first\nPackage: a\nDescription: short\n long\n .\n\tend\n# inside\nTag:\n x,\n#y\n \
                    z\n\n \n\nPackage:b\nEmpty:\n";
        let read: Vec<_> = paragraphs(text).map(Result::unwrap).collect();
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].line, 3);
        assert_eq!(read[0].get("description"), Some("short\n long\n .\n\tend"));
        let tag = read[0].field("TAG").unwrap();
        assert_eq!((tag.line, tag.lines().collect::<Vec<_>>()), (9, vec!["x,", "z"]));
        assert!(read[0].text.starts_with("Package: a\n") && read[0].text.ends_with("\n z"));
        assert_eq!((read[1].get("Package"), read[1].get("Empty")), (Some("b"), Some("")));
        assert_eq!(read[1].line, 16);
        assert_eq!(paragraphs("").count(), 0);
    }

    #[test]
    fn errors_name_the_line() {
        assert_eq!(
            error("A: b\n\nrubbish\n"),
            "line 3: \"rubbish\" is not a field; fields are \"Name: value\""
        );
        assert_eq!(error(" x\n"), "line 1: a continued line, but no field before it");
        assert_eq!(
            error("A: 1\nB: 2\na: 3\n"),
            "line 3: the field a occurs a second time in this paragraph"
        );
        assert_eq!(error("A b: 1\n"), "line 1: \"A b\" cannot be the name of a field");
        let many: String = (0..=FIELDS).map(|number| format!("F{number}: x\n")).collect();
        assert_eq!(error(&many), "line 257: a paragraph with more than 256 fields");
        let after: Vec<_> = paragraphs("x\nA: b\n").collect();
        assert_eq!(after.len(), 1, "nothing after an error");
    }
}
