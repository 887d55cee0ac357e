//! [`Duration`].

use std::fmt;
use std::str::FromStr;

use super::{UnitError, take_number};

/// A span of time in whole milliseconds: `250ms`, `10s`, `1h30m`, `1d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration {
    millis: u64,
}

const TIME_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const TIME_WORDS: &str = "`ms`, `s`, `m`, `h` or `d`";

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
            let (unit, after) =
                after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
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
