//! Numbers with units, as people write them in filters.

/// What kind of number a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Microseconds. `bare`: a number without unit is allowed, because the field's full name says the unit.
    Micros {
        bare: bool,
    },
    Bytes,
    Seconds,
    Count,
    /// A point in time, stored as RFC 3339 text.
    Moment,
}

const TIMES: &[(&str, f64)] = &[
    ("us", 1.0),
    ("µs", 1.0),
    ("ms", 1e3),
    ("s", 1e6),
    ("m", 6e7),
    ("min", 6e7),
    ("h", 3.6e9),
    ("d", 8.64e10),
];

const SIZES: &[(&str, f64)] = &[
    ("b", 1.0),
    ("k", 1e3),
    ("kb", 1e3),
    ("kib", 1024.0),
    ("m", 1e6),
    ("mb", 1e6),
    ("mib", 1_048_576.0),
    ("g", 1e9),
    ("gb", 1e9),
    ("gib", 1_073_741_824.0),
];

const COUNTS: &[(&str, f64)] = &[("k", 1e3), ("m", 1e6)];

impl Unit {
    /// Reads a number in the unit in which the field is stored.
    pub(super) fn parse(self, text: &str) -> Result<f64, String> {
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '-').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: f64 = number.parse().map_err(|_| format!("`{text}` is not a number"))?;
        let scale = match self {
            Self::Micros { bare: false } if unit.is_empty() && number != 0.0 => {
                return Err(format!("which unit? write {number}ms or {number}s"));
            }
            _ if unit.is_empty() => 1.0,
            Self::Micros { .. } => scale_of(TIMES, unit, "us, ms, s, m, h, d")?,
            Self::Seconds => scale_of(TIMES, unit, "us, ms, s, m, h, d")? / 1e6,
            Self::Bytes => scale_of(SIZES, unit, "B, kB, KiB, MB, MiB, GB, GiB")?,
            Self::Count | Self::Moment => scale_of(COUNTS, unit, "k, M")?,
        };
        Ok(number * scale)
    }
}

fn scale_of(table: &[(&str, f64)], unit: &str, known: &str) -> Result<f64, String> {
    let found = table.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
    found.map(|(_, scale)| *scale).ok_or_else(|| format!("`{unit}` is no unit here; known are {known}"))
}

/// A span of time such as `15m`, `1h30m`, `250ms`; seconds need their unit too.
pub(super) fn span(text: &str) -> Option<std::time::Duration> {
    let mut rest = text;
    let mut micros = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|&digits| digits > 0)?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        micros += number * scale_of(TIMES, &rest[..letters], "").ok()?;
        rest = &rest[letters..];
    }
    let spans_time = !text.is_empty();
    std::time::Duration::try_from_secs_f64(micros / 1e6).ok().filter(|_| spans_time)
}
