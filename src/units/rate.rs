//! [`Rate`] and [`ByteRate`].

use std::fmt;
use std::str::FromStr;

use super::{Size, UnitError, take_number};

/// So many per second, minute, hour or day: `10/s`, `300/m`, `5/h`. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    count: u32,
    per: Period,
}

/// The time unit of a [`Rate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Period {
    Second,
    Minute,
    Hour,
    Day,
}

/// Bytes per second: `240B/s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteRate {
    per_second: Size,
}

impl Rate {
    /// How many per [`Rate::period`].
    pub const fn count(self) -> u32 {
        self.count
    }

    pub const fn period(self) -> Period {
        self.per
    }
}

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        if text.is_empty() {
            return Err(UnitError::Empty);
        }
        let (count, unit) = text.split_once('/').ok_or_else(|| UnitError::NoSlash(text.to_owned()))?;
        let (count, rest) = take_number(count, text)?;
        if !rest.is_empty() {
            return Err(UnitError::NoNumber(text.to_owned()));
        }
        let count = u32::try_from(count).map_err(|_| UnitError::TooLarge(text.to_owned()))?;
        if count == 0 {
            return Err(UnitError::Zero(text.to_owned()));
        }
        Ok(Self { count, per: unit.parse()? })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.per.word())
    }
}

impl Period {
    pub const fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_secs(match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        })
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "m",
            Self::Hour => "h",
            Self::Day => "d",
        }
    }
}

impl FromStr for Period {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        match text {
            "s" => Ok(Self::Second),
            "m" => Ok(Self::Minute),
            "h" => Ok(Self::Hour),
            "d" => Ok(Self::Day),
            _ => Err(UnitError::UnknownUnit { unit: text.to_owned(), expected: "`s`, `m`, `h` or `d`" }),
        }
    }
}

impl ByteRate {
    pub const fn bytes_per_second(self) -> u64 {
        self.per_second.as_bytes()
    }
}

impl FromStr for ByteRate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        if text.is_empty() {
            return Err(UnitError::Empty);
        }
        let (size, unit) = text.split_once('/').ok_or_else(|| UnitError::NoSlash(text.to_owned()))?;
        if unit != "s" {
            return Err(UnitError::UnknownUnit { unit: unit.to_owned(), expected: "`s`" });
        }
        Ok(Self { per_second: size.parse()? })
    }
}

impl fmt::Display for ByteRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.per_second)
    }
}
