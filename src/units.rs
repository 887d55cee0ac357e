//! Sizes, durations, rates: parsed from and printed as the words of the config file.
//!
//! Lives here: the number-with-unit types and their grammar. Not here: where they stand in the file, defaults.
//! Invariant: parsing what a value prints gives the value back.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Why a text is not a value with a unit.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UnitError {
    #[error("the value is empty")]
    Empty,
    #[error("`{0}` does not begin with a whole number")]
    NoNumber(String),
    #[error("`{0}` has no unit")]
    NoUnit(String),
    #[error("`{unit}` is not a unit, expected {expected}")]
    UnknownUnit { unit: String, expected: &'static str },
    #[error("unit `{0}` stands after a smaller or equal one")]
    Order(String),
    #[error("`{0}` is too large")]
    TooLarge(String),
    #[error("`{0}` is zero")]
    Zero(String),
    #[error("`{0}` has no `/`")]
    NoSlash(String),
    #[error("`{0}` has no `%` at its end")]
    NoPercent(String),
    #[error("`{0}` is more than 100%")]
    OverHundred(String),
}

/// A span of time in whole milliseconds: `250ms`, `10s`, `1h30m`, `1d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration {
    millis: u64,
}

/// A number of bytes: `512B`, `64k` (= `64KiB`), `16MiB`, `1GB` (decimal).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size {
    bytes: u64,
}

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

/// A share from `0%` to `100%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u8);

/// A number of things, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Count(u32);

const TIME_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const TIME_WORDS: &str = "`ms`, `s`, `m`, `h` or `d`";

/// Longest first within a family; the first unit that divides evenly is the one that is printed.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];
const SIZE_WORDS: &str = "`B`, `k`, `m`, `g`, `KiB`, `MiB`, `GiB`, `TiB`, `kB`, `MB`, `GB` or `TB`";

impl Duration {
    pub const fn from_millis(millis: u64) -> Self {
        Self { millis }
    }

    pub const fn from_secs(secs: u64) -> Self {
        Self { millis: secs.saturating_mul(1_000) }
    }

    pub const fn as_millis(self) -> u64 {
        self.millis
    }

    /// The same span as the standard library's type.
    pub const fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.millis)
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        duration.to_std()
    }
}

impl FromStr for Duration {
    type Err = UnitError;

    /// Numbers with units, largest unit first: `1h30m`.
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let mut rest = text;
        let mut millis = 0_u64;
        let mut last = u64::MAX;
        while !rest.is_empty() || text.is_empty() {
            let (number, after) = take_number(rest, text)?;
            let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
            let factor = time_unit(unit, text)?;
            if factor >= last {
                return Err(UnitError::Order(unit.to_owned()));
            }
            millis = number
                .checked_mul(factor)
                .and_then(|part| millis.checked_add(part))
                .ok_or_else(|| UnitError::TooLarge(text.to_owned()))?;
            last = factor;
            rest = after;
        }
        Ok(Self { millis })
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.millis == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.millis;
        for (unit, factor) in TIME_UNITS {
            if rest >= factor {
                write!(f, "{}{unit}", rest / factor)?;
                rest %= factor;
            }
        }
        Ok(())
    }
}

fn time_unit(unit: &str, text: &str) -> Result<u64, UnitError> {
    if unit.is_empty() {
        return Err(UnitError::NoUnit(text.to_owned()));
    }
    let known = TIME_UNITS.iter().find(|(name, _)| *name == unit);
    known
        .map(|(_, factor)| *factor)
        .ok_or_else(|| UnitError::UnknownUnit { unit: unit.to_owned(), expected: TIME_WORDS })
}

impl Size {
    pub const fn from_bytes(bytes: u64) -> Self {
        Self { bytes }
    }

    pub const fn as_bytes(self) -> u64 {
        self.bytes
    }

    /// The same number as an index type; the largest one where it does not fit.
    pub fn to_usize(self) -> usize {
        usize::try_from(self.bytes).unwrap_or(usize::MAX)
    }
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = take_number(text, text)?;
        let factor = size_unit(unit, text)?;
        let bytes = number.checked_mul(factor).ok_or_else(|| UnitError::TooLarge(text.to_owned()))?;
        Ok(Self { bytes })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = |(_, factor): &&(&str, u64)| self.bytes != 0 && self.bytes.is_multiple_of(*factor);
        let (unit, factor) = SIZE_UNITS.iter().find(exact).unwrap_or(&("B", 1));
        write!(f, "{}{unit}", self.bytes / factor)
    }
}

fn size_unit(unit: &str, text: &str) -> Result<u64, UnitError> {
    let full = match unit {
        "" => return Err(UnitError::NoUnit(text.to_owned())),
        "k" | "K" => "KiB",
        "m" | "M" => "MiB",
        "g" | "G" => "GiB",
        other => other,
    };
    let known = SIZE_UNITS.iter().find(|(name, _)| *name == full);
    known
        .map(|(_, factor)| *factor)
        .ok_or_else(|| UnitError::UnknownUnit { unit: unit.to_owned(), expected: SIZE_WORDS })
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

impl Percent {
    /// From 0 to 100.
    pub const fn as_u8(self) -> u8 {
        self.0
    }

    /// From 0.0 to 1.0.
    pub fn as_share(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

impl FromStr for Percent {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, rest) = take_number(text, text)?;
        if rest != "%" {
            return Err(UnitError::NoPercent(text.to_owned()));
        }
        match u8::try_from(number) {
            Ok(share @ 0..=100) => Ok(Self(share)),
            _ => Err(UnitError::OverHundred(text.to_owned())),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl Count {
    /// None for zero.
    pub const fn new(count: u32) -> Option<Self> {
        if count == 0 { None } else { Some(Self(count)) }
    }

    pub const fn get(self) -> u32 {
        self.0
    }

    pub const fn to_usize(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The decimal digits at the start of `rest`, and what follows them. `whole` is for the message.
fn take_number<'a>(rest: &'a str, whole: &str) -> Result<(u64, &'a str), UnitError> {
    if whole.is_empty() {
        return Err(UnitError::Empty);
    }
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, after) = rest.split_at(end);
    if digits.is_empty() {
        return Err(UnitError::NoNumber(whole.to_owned()));
    }
    let number = digits.parse().map_err(|_| UnitError::TooLarge(whole.to_owned()))?;
    Ok((number, after))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_add_their_parts() {
        assert_eq!("1h30m".parse(), Ok(Duration::from_secs(5_400)));
        assert_eq!("250ms".parse(), Ok(Duration::from_millis(250)));
        assert_eq!("1d".parse(), Ok(Duration::from_secs(86_400)));
    }

    #[test]
    fn durations_without_unit_or_in_wrong_order_are_refused() {
        assert_eq!("10".parse::<Duration>(), Err(UnitError::NoUnit("10".into())));
        assert_eq!("".parse::<Duration>(), Err(UnitError::Empty));
        assert_eq!("s".parse::<Duration>(), Err(UnitError::NoNumber("s".into())));
        assert_eq!("5s5m".parse::<Duration>(), Err(UnitError::Order("m".into())));
        assert!(matches!("1.5s".parse::<Duration>(), Err(UnitError::UnknownUnit { .. })));
        assert!(matches!("99999999999999d".parse::<Duration>(), Err(UnitError::TooLarge(_))));
    }

    #[test]
    fn one_letter_sizes_are_binary_and_the_b_forms_decimal() {
        assert_eq!("64k".parse(), Ok(Size::from_bytes(65_536)));
        assert_eq!("16MiB".parse(), Ok(Size::from_bytes(16 << 20)));
        assert_eq!("1GB".parse(), Ok(Size::from_bytes(1_000_000_000)));
        assert_eq!("512".parse::<Size>(), Err(UnitError::NoUnit("512".into())));
    }

    #[test]
    fn rates_are_never_zero_and_need_a_period() {
        assert_eq!("300/m".parse::<Rate>().map(|r| (r.count(), r.period())), Ok((300, Period::Minute)));
        assert_eq!("0/s".parse::<Rate>(), Err(UnitError::Zero("0/s".into())));
        assert_eq!("10".parse::<Rate>(), Err(UnitError::NoSlash("10".into())));
        assert!(matches!("10/week".parse::<Rate>(), Err(UnitError::UnknownUnit { .. })));
        assert!(matches!("10x/s".parse::<Rate>(), Err(UnitError::NoNumber(_))));
    }

    #[test]
    fn percent_ends_at_a_hundred() {
        assert_eq!("100%".parse::<Percent>().map(Percent::as_u8), Ok(100));
        assert_eq!("101%".parse::<Percent>(), Err(UnitError::OverHundred("101%".into())));
        assert_eq!("20".parse::<Percent>(), Err(UnitError::NoPercent("20".into())));
    }

    proptest! {
        #[test]
        fn what_is_printed_parses_back(number: u64, count in 1..u32::MAX, share in 0..=100_u8, unit in 0..4_usize) {
            let duration = Duration::from_millis(number);
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
            let size = Size::from_bytes(number);
            prop_assert_eq!(size.to_string().parse(), Ok(size));
            let per = [Period::Second, Period::Minute, Period::Hour, Period::Day][unit];
            let rate = Rate { count, per };
            prop_assert_eq!(rate.to_string().parse(), Ok(rate));
            let bytes = ByteRate { per_second: size };
            prop_assert_eq!(bytes.to_string().parse(), Ok(bytes));
            prop_assert_eq!(Percent(share).to_string().parse(), Ok(Percent(share)));
        }

        #[test]
        fn no_text_panics(text in "[0-9a-zA-Z/%. ]{0,24}") {
            let _ = (text.parse::<Duration>(), text.parse::<Size>(), text.parse::<Rate>());
            let _ = (text.parse::<ByteRate>(), text.parse::<Percent>());
        }
    }
}
