//! Sizes, durations, rates: parsed from and printed as the words of the config file.
//!
//! Lives here: the number-with-unit types and their grammar. Not here: where they stand in the file, defaults.
//! Invariant: parsing what a value prints gives the value back.

mod duration;
mod rate;
mod size;

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

pub use duration::Duration;
pub use rate::{ByteRate, Period, Rate};
pub use size::Size;

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

/// A share from `0%` to `100%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u8);

/// A number of things, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Count(u32);

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
        fn what_is_printed_parses_back(number: u64, count in 1..u32::MAX, share in 0..=100_u8, unit in "[smhd]") {
            let duration = Duration::from_millis(number);
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
            let size = Size::from_bytes(number);
            prop_assert_eq!(size.to_string().parse(), Ok(size));
            let rate = format!("{count}/{unit}");
            prop_assert_eq!(rate.parse::<Rate>().map(|rate| rate.to_string()), Ok(rate));
            let bytes = format!("{size}/s");
            prop_assert_eq!(bytes.parse::<ByteRate>().map(|rate| rate.to_string()), Ok(bytes));
            prop_assert_eq!(Percent(share).to_string().parse(), Ok(Percent(share)));
        }

        #[test]
        fn no_text_panics(text in "[0-9a-zA-Z/%. ]{0,24}") {
            let _ = (text.parse::<Duration>(), text.parse::<Size>(), text.parse::<Rate>());
            let _ = (text.parse::<ByteRate>(), text.parse::<Percent>());
        }
    }
}
