//! [`Size`].

use std::fmt;
use std::str::FromStr;

use super::{UnitError, take_number};

/// A number of bytes: `512B`, `64k` (= `64KiB`), `16MiB`, `1GB` (decimal).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size {
    bytes: u64,
}

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
