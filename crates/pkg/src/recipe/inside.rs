//! Conversions that happen inside of a value, so that their errors have its line.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Reads a `W` and makes a `T` of it. It is what `#[serde(try_from)]` does, but that converts when the value is
/// left already: what is wrong in a list then has the line where the list begins.
pub fn inside<'de, D, W, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    W: Deserialize<'de>,
    T: TryFrom<W, Error = String>,
{
    from.deserialize_any(Inside(PhantomData::<(W, T)>))
}

struct Inside<W, T>(PhantomData<(W, T)>);

impl<'de, W: Deserialize<'de>, T: TryFrom<W, Error = String>> Inside<W, T> {
    fn made<D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        T::try_from(W::deserialize(from)?).map_err(D::Error::custom)
    }
}

impl<'de, W: Deserialize<'de>, T: TryFrom<W, Error = String>> Visitor<'de> for Inside<W, T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another kind of value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<T, E> {
        Self::made(value.into_deserializer())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<T, E> {
        Self::made(value.into_deserializer())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<T, E> {
        Self::made(value.into_deserializer())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<T, E> {
        Self::made(value.into_deserializer())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<T, A::Error> {
        Self::made(SeqAccessDeserializer::new(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<T, A::Error> {
        Self::made(MapAccessDeserializer::new(table))
    }
}
