//! How JSON writes what it has no own form for: 64-bit numbers as text, ids in hexadecimal, other bytes in base64.
//!
//! Of any field `null` means that it is absent. Source: Protocol Buffers, "ProtoJSON Format".

use std::fmt;
use std::str::FromStr;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serializer};

use crate::record::escape::hex_text;

/// A field that is not there, or `null`, has its default.
pub(super) fn or_default<'de, T, D>(from: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// 64-bit integers are written as text, and read as text or as a number.
pub(super) mod number_as_text {
    use super::*;

    pub(in super::super) fn serialize<N: fmt::Display, S: Serializer>(
        number: &N,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_str(number)
    }

    pub(in super::super) fn deserialize<'de, N, D>(from: D) -> Result<N, D::Error>
    where
        N: Default + FromStr + TryFrom<i64> + TryFrom<u64>,
        D: Deserializer<'de>,
    {
        Ok(optional(from)?.unwrap_or_default())
    }

    pub(in super::super) fn optional<'de, N, D>(from: D) -> Result<Option<N>, D::Error>
    where
        N: FromStr + TryFrom<i64> + TryFrom<u64>,
        D: Deserializer<'de>,
    {
        from.deserialize_any(Number(std::marker::PhantomData))
    }

    struct Number<N>(std::marker::PhantomData<N>);

    impl<N: FromStr + TryFrom<i64> + TryFrom<u64>> Visitor<'_> for Number<N> {
        type Value = Option<N>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an integer of 64 bits, as a number or as text")
        }

        fn visit_unit<E: Error>(self) -> Result<Option<N>, E> {
            Ok(None)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Option<N>, E> {
            text.parse().map(Some).map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<Option<N>, E> {
            number.try_into().map(Some).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
        }

        fn visit_i64<E: Error>(self, number: i64) -> Result<Option<N>, E> {
            number.try_into().map(Some).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
        }
    }
}

/// A severity is a number; some senders write its name.
pub(super) mod severity {
    use super::*;

    const NAMES: [&str; 6] = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];

    pub(in super::super) fn serialize<S: Serializer>(number: &i32, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i32(*number)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<i32, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Severity {
            Number(i32),
            Name(String),
        }
        match Option::deserialize(from)? {
            None => Ok(0),
            Some(Severity::Number(number)) => Ok(number),
            Some(Severity::Name(name)) => {
                number_of(&name).ok_or_else(|| D::Error::invalid_value(Unexpected::Str(&name), &"a severity"))
            }
        }
    }

    /// `SEVERITY_NUMBER_WARN2` is 14.
    fn number_of(name: &str) -> Option<i32> {
        let name = name.strip_prefix("SEVERITY_NUMBER_")?;
        if name == "UNSPECIFIED" {
            return Some(0);
        }
        let (first, rest) = (1..)
            .step_by(4)
            .zip(NAMES)
            .find_map(|(first, known)| Some((first, name.strip_prefix(known)?)))?;
        match rest {
            "" => Some(first),
            "2" => Some(first + 1),
            "3" => Some(first + 2),
            "4" => Some(first + 3),
            _ => None,
        }
    }
}

/// A double may be no number, which JSON writes as text.
pub(super) mod double {
    use super::*;

    pub(in super::super) fn serialize<S: Serializer>(number: &f64, to: S) -> Result<S::Ok, S::Error> {
        match number {
            _ if number.is_nan() => to.serialize_str("NaN"),
            _ if number.is_infinite() => {
                to.serialize_str(if *number > 0.0 { "Infinity" } else { "-Infinity" })
            }
            _ => to.serialize_f64(*number),
        }
    }

    pub(in super::super) fn optional<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Double {
            Number(f64),
            Text(String),
        }
        match Option::deserialize(from)? {
            None => Ok(None),
            Some(Double::Number(number)) => Ok(Some(number)),
            Some(Double::Text(text)) => {
                let wrong = || D::Error::invalid_value(Unexpected::Str(&text), &"a number");
                text.parse().map(Some).map_err(|_| wrong())
            }
        }
    }
}

/// Ids of traces and spans.
pub(super) mod hex {
    use super::*;

    pub(in super::super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex_text(bytes))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text: String = or_default(from)?;
        let wrong = || D::Error::invalid_value(Unexpected::Str(&text), &"bytes in hexadecimal");
        bytes_of(&text).ok_or_else(wrong)
    }
}

/// Bytes of a value.
pub(super) mod base64 {
    use ::base64::Engine as _;
    use ::base64::engine::general_purpose::STANDARD;

    use super::*;

    pub(in super::super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub(in super::super) fn optional<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Vec<u8>>, D::Error> {
        let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
        let wrong = || D::Error::invalid_value(Unexpected::Str(&text), &"bytes in base64");
        STANDARD.decode(&text).map(Some).map_err(|_| wrong())
    }
}

/// The bytes that an even number of hexadecimal digits stands for.
pub(crate) fn bytes_of(digits: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    // Two digits are less than 256.
    let bytes = pairs.iter().map(|[high, low]| Some((digit(*high)? << 4 | digit(*low)?) as u8));
    bytes.collect::<Option<Vec<u8>>>().filter(|_| rest.is_empty())
}
