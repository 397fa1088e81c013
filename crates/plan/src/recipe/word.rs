//! Values that are one of a few words.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserializer;
use serde::de::{Error, Visitor};

/// Something that recipes call by a word.
pub(super) trait Word: Copy + 'static {
    /// All of them.
    const ALL: &'static [Self];

    /// What recipes call it.
    fn word(self) -> &'static str;
}

/// Reads a word. What is no text at all is told which words there are, too.
pub(super) fn word<'de, D: Deserializer<'de>, T: Word>(from: D) -> Result<T, D::Error> {
    struct Reader<T>(PhantomData<T>);
    impl<T: Word> Visitor<'_> for Reader<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let words: Vec<String> = T::ALL.iter().map(|one| format!("{:?}", one.word())).collect();
            write!(f, "one of {}", words.join(", "))
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            let found = T::ALL.iter().copied().find(|one| one.word() == text);
            // As serde says it, so that the nearest one is told.
            let words = || T::ALL.iter().map(|one| format!("`{}`", one.word())).collect::<Vec<_>>();
            let unknown = || {
                E::custom(format!(
                    "unknown variant `{text}`, expected one of {}",
                    words().join(", ")
                ))
            };
            found.ok_or_else(unknown)
        }
    }
    from.deserialize_any(Reader(PhantomData))
}
