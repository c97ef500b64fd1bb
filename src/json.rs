//! Writing JSON. JSON has no word for a number that is not one: serde_json writes `null` for NaN and for infinity, and whoever
//! reads the line again finds a value missing. Everything that is kept or sent is therefore written here, where such a number
//! is an error that names its place. `tests/suite/architecture.rs` checks that nothing else writes JSON.

use std::fmt::{self, Display};
use std::io;

use serde::Serialize;
use serde::ser::{self, Serializer};

/// Why something cannot be written as JSON.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A number of it is NaN or infinite.
    #[error("{place} is {value}, not a finite number")]
    NotFinite {
        /// The fields and places that lead to it, such as `scores.clip_t.value`.
        place: String,
        /// `NaN`, `inf` or `-inf`.
        value: f64,
    },
    /// JSON has no form for it.
    #[error(transparent)]
    Form(#[from] serde_json::Error),
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Form(error) => error.into(),
            error @ Error::NotFinite { .. } => Self::new(io::ErrorKind::InvalidData, error),
        }
    }
}

/// `value` as JSON on one line.
///
/// # Errors
/// A number that is not finite, a form that JSON does not have.
pub fn to_vec(value: &(impl Serialize + ?Sized)) -> Result<Vec<u8>, Error> {
    check(value)?;
    Ok(serde_json::to_vec(value)?)
}

/// The same, ended by a line feed.
///
/// # Errors
/// As [`to_vec`].
pub fn to_line(value: &(impl Serialize + ?Sized)) -> Result<Vec<u8>, Error> {
    let mut line = to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

/// The same as a text.
///
/// # Errors
/// As [`to_vec`].
pub fn to_string(value: &(impl Serialize + ?Sized)) -> Result<String, Error> {
    check(value)?;
    Ok(serde_json::to_string(value)?)
}

/// The same in memory.
///
/// # Errors
/// As [`to_vec`].
pub fn to_value(value: &(impl Serialize + ?Sized)) -> Result<serde_json::Value, Error> {
    check(value)?;
    Ok(serde_json::to_value(value)?)
}

/// Refuse a number that is not finite anywhere in `value`.
fn check(value: &(impl Serialize + ?Sized)) -> Result<(), Error> {
    value.serialize(&mut Check::default()).map_err(|found| match found {
        Found::NotFinite(value, mut places) => {
            places.reverse();
            let place = if places.is_empty() { "the number".to_owned() } else { places.join(".") };
            Error::NotFinite { place, value }
        }
        Found::Custom(error) => Error::Form(ser::Error::custom(error)),
    })
}

/// What [`Check`] ends with: a number that is not finite and the places that lead to it, the innermost first.
#[derive(Debug)]
enum Found {
    NotFinite(f64, Vec<String>),
    Custom(String),
}

impl Found {
    fn at(mut self, place: impl Display) -> Self {
        if let Self::NotFinite(_, places) = &mut self {
            places.push(place.to_string());
        }
        self
    }
}

impl Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Found {}

impl ser::Error for Found {
    fn custom<T: Display>(message: T) -> Self {
        Self::Custom(message.to_string())
    }
}

/// Walks through a value and writes nothing.
#[derive(Default)]
struct Check {
    /// The key of the map entry that is walked through.
    key: String,
    /// Elements of the sequence walked through so far.
    element: usize,
}

impl Check {
    fn inner(place: impl Display, value: &(impl Serialize + ?Sized)) -> Result<(), Found> {
        value.serialize(&mut Self::default()).map_err(|found| found.at(place))
    }

    fn next(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), Found> {
        self.element += 1;
        Self::inner(self.element - 1, value)
    }
}

/// Nothing to look at in these.
macro_rules! pass {
    ($($method:ident($kind:ty)),* $(,)?) => { $(fn $method(self, _: $kind) -> Result<(), Found> { Ok(()) })* };
}

impl Serializer for &mut Check {
    type Ok = ();
    type Error = Found;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    pass!(
        serialize_bool(bool),
        serialize_i8(i8),
        serialize_i16(i16),
        serialize_i32(i32),
        serialize_i64(i64),
        serialize_i128(i128),
        serialize_u8(u8),
        serialize_u16(u16),
        serialize_u32(u32),
        serialize_u64(u64),
        serialize_u128(u128),
        serialize_char(char),
        serialize_str(&str),
        serialize_bytes(&[u8]),
        serialize_unit_struct(&'static str),
    );

    fn serialize_f32(self, value: f32) -> Result<(), Found> {
        self.serialize_f64(f64::from(value))
    }

    fn serialize_f64(self, value: f64) -> Result<(), Found> {
        if value.is_finite() { Ok(()) } else { Err(Found::NotFinite(value, Vec::new())) }
    }

    fn serialize_none(self) -> Result<(), Found> {
        Ok(())
    }

    fn serialize_unit(self) -> Result<(), Found> {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Found> {
        value.serialize(self)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<(), Found> {
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Found> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Found> {
        Check::inner(variant, value)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, Found> {
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Found> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Found> {
        Ok(self)
    }

    fn serialize_tuple_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Self, Found> {
        Ok(self)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self, Found> {
        Ok(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Found> {
        Ok(self)
    }

    fn serialize_struct_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Self, Found> {
        Ok(self)
    }
}

/// What has parts in an order, each counted.
macro_rules! parts_in_order {
    ($($kind:ident :: $method:ident),* $(,)?) => { $(
        impl ser::$kind for &mut Check {
            type Ok = ();
            type Error = Found;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Found> {
                self.next(value)
            }

            fn end(self) -> Result<(), Found> {
                Ok(())
            }
        }
    )* };
}
parts_in_order!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field,
);

/// Structs and variants like them.
macro_rules! named_fields {
    ($($kind:ident),*) => { $(
        impl ser::$kind for &mut Check {
            type Ok = ();
            type Error = Found;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Found> {
                Check::inner(name, value)
            }

            fn end(self) -> Result<(), Found> {
                Ok(())
            }
        }
    )* };
}
named_fields!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for &mut Check {
    type Ok = ();
    type Error = Found;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Found> {
        let key = serde_json::to_value(key).unwrap_or_default();
        self.key = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Found> {
        Check::inner(std::mem::take(&mut self.key), value)
    }

    fn end(self) -> Result<(), Found> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;

    use super::*;

    #[derive(Serialize)]
    struct Inner {
        value: f64,
        others: Vec<Option<f32>>,
    }

    #[derive(Serialize)]
    #[serde(tag = "kind", rename_all = "snake_case")]
    enum Tagged {
        One {
            #[serde(flatten)]
            inner: Inner,
        },
        Two(BTreeMap<String, (u8, f64)>),
    }

    #[derive(Serialize)]
    enum Plain {
        Pair(u8, f64),
        Single(f64),
        Named { x: f64 },
        Nothing,
    }

    fn place(value: &impl Serialize) -> String {
        let error = to_vec(value).unwrap_err();
        assert!(matches!(error, Error::NotFinite { .. }), "{error}");
        assert!(to_string(value).is_err() && to_line(value).is_err() && to_value(value).is_err());
        error.to_string()
    }

    #[test]
    fn a_number_that_is_none_is_named_wherever_it_stands() {
        let inner = |value, other| Inner { value, others: vec![None, Some(1.0), Some(other)] };
        assert_eq!(place(&f64::NAN), "the number is NaN, not a finite number");
        assert_eq!(place(&inner(f64::INFINITY, 0.0)), "value is inf, not a finite number");
        assert_eq!(
            place(&Tagged::One { inner: inner(0.0, f32::NEG_INFINITY) }),
            "others.2 is -inf, not a finite number"
        );
        let map = BTreeMap::from([("a".to_owned(), (1, 1.0)), ("b".to_owned(), (2, f64::NAN))]);
        assert_eq!(place(&Tagged::Two(map)), "b.1 is NaN, not a finite number");
        assert_eq!(place(&(Plain::Nothing, Plain::Pair(1, f64::NAN))), "1.1 is NaN, not a finite number");
        assert_eq!(place(&[Plain::Single(f64::NAN)]), "0.Single is NaN, not a finite number");
        assert_eq!(place(&Some(Plain::Named { x: f64::NAN })), "x is NaN, not a finite number");
    }

    #[test]
    fn what_is_finite_is_written_as_serde_json_writes_it() {
        let value = Tagged::One { inner: Inner { value: 1e300, others: vec![None, Some(f32::MIN_POSITIVE)] } };
        assert_eq!(to_vec(&value).unwrap(), serde_json::to_vec(&value).unwrap());
        assert_eq!(to_line(&value).unwrap(), [serde_json::to_vec(&value).unwrap(), vec![b'\n']].concat());
        assert_eq!(to_string(&value).unwrap(), serde_json::to_string(&value).unwrap());
        assert_eq!(to_value(&value).unwrap(), serde_json::to_value(&value).unwrap());
    }
}
