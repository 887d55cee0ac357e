//! [`Place`] and [`At`]: a value that remembers where the user wrote it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Where a value stands. Prints as `tollgate.toml:12`, or `default`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nobody wrote it: the default of the language.
    Default,
    /// Written in a file.
    File(Arc<Spot>),
}

/// A stretch of one config file.
#[derive(Debug, PartialEq, Eq)]
pub struct Spot {
    /// The file as the user named it.
    pub file: Arc<str>,
    /// The dotted key: `site."example.com".routes[2].proxy`.
    pub key: Arc<str>,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// Byte offsets into the file.
    pub start: usize,
    pub end: usize,
}

impl Place {
    pub fn spot(&self) -> Option<&Spot> {
        match self {
            Self::Default => None,
            Self::File(spot) => Some(spot),
        }
    }

    pub fn is_default(&self) -> bool {
        matches!(self, Self::Default)
    }

    /// The line, from 1; 0 for a default.
    pub fn line(&self) -> u32 {
        self.spot().map_or(0, |spot| spot.line)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(spot) => write!(f, "{}:{}", spot.file, spot.line),
        }
    }
}

/// A value, the words it was written with, and where.
#[derive(Clone, Debug)]
pub struct At<T> {
    pub value: T,
    pub place: Place,
    /// As the user (or the default) says it, without quotes; empty for tables and lists.
    pub written: Arc<str>,
}

impl<T> At<T> {
    pub fn new(value: T, place: Place, written: impl Into<Arc<str>>) -> Self {
        Self { value, place, written: written.into() }
    }

    /// Whether the user wrote it.
    pub fn is_written(&self) -> bool {
        !self.place.is_default()
    }

    /// The words for a record's `cause`: `timeouts.upstream=60s @tollgate.toml:12`, or
    /// `timeouts.upstream=60s (default)`.
    pub fn cause(&self, key: &str) -> Arc<str> {
        let words = match &self.place {
            Place::Default => format!("{key}={} (default)", self.written),
            place @ Place::File(_) => format!("{key}={} @{place}", self.written),
        };
        words.into()
    }

    /// Another value in the same place.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> At<U> {
        At { value: change(self.value), place: self.place, written: self.written }
    }
}

impl<T> Deref for At<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cause_names_key_value_and_place() {
        let spot = Spot {
            file: "tollgate.toml".into(),
            key: "server.timeouts.upstream".into(),
            line: 12,
            column: 5,
            start: 100,
            end: 105,
        };
        let written = At::new(60, Place::File(Arc::new(spot)), "60s");
        assert_eq!(&*written.cause("timeouts.upstream"), "timeouts.upstream=60s @tollgate.toml:12");
        let default = At::new(60, Place::Default, "60s");
        assert_eq!(&*default.cause("timeouts.upstream"), "timeouts.upstream=60s (default)");
    }
}
