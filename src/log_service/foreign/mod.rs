//! Access logs of other proxies, read as records: nginx, Apache, HAProxy, Caddy and Traefik.
//!
//! A line becomes an object with the members of our own record (`record`), in our units: microseconds, bytes, RFC 3339
//! in UTC. What the record has no member for stays under its own name. What is not in the line is not invented, but for
//! `id`: it is made of the line's time and a hash of its text, so that the same line has the same id whenever it is read.
//! Secrets in queries are hidden as our own log hides them.
//!
//! | [`Format`] | lines |
//! |---|---|
//! | `tollgate` | JSON objects; any that are none of the others |
//! | `combined` | nginx and Apache `combined` or `common`, also with the virtual host in front and more fields behind |
//! | `nginx-json` | a `log_format … escape=json` whose names are those of nginx's variables |
//! | `haproxy` | `option httplog` and `option httpslog`, with or without a syslog header |
//! | `caddy` | Caddy's JSON |
//! | `traefik` | Traefik's default lines |
//! | `traefik-json` | Traefik's JSON |
//!
//! Times without an offset are taken as UTC. HAProxy's `%B` counts heads too, and so does `tx_body_b` then.
//!
//! Invariants: no line panics; a line costs time and memory linear in its length, and is at most 1 MiB.

mod caddy;
mod clf;
mod haproxy;
mod members;
mod nginx_json;
mod open;
#[cfg(test)]
mod tests;
mod traefik;
mod walk;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

pub use open::open;
pub use walk::{REPORT, Told, Walk};

/// What a line is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    Tollgate,
    Combined,
    NginxJson,
    Haproxy,
    Caddy,
    Traefik,
    TraefikJson,
}

const NAMES: [(Format, &str); 7] = [
    (Format::Tollgate, "tollgate"),
    (Format::Combined, "combined"),
    (Format::NginxJson, "nginx-json"),
    (Format::Haproxy, "haproxy"),
    (Format::Caddy, "caddy"),
    (Format::Traefik, "traefik"),
    (Format::TraefikJson, "traefik-json"),
];

/// A name that is no format.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no format: there is tollgate, combined, nginx-json, haproxy, caddy, traefik, traefik-json")]
pub struct FormatError(String);

impl FromStr for Format {
    type Err = FormatError;

    /// `nginx` is short for `combined`.
    fn from_str(text: &str) -> Result<Self, FormatError> {
        let name = if text == "nginx" || text == "apache" { "combined" } else { text };
        let found = NAMES.iter().find(|(_, known)| *known == name);
        found.map(|(format, _)| *format).ok_or_else(|| FormatError(text.to_owned()))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(format, _)| format == self).map_or("", |(_, name)| name);
        f.pad(name)
    }
}

/// A line that was understood.
#[derive(Debug, PartialEq)]
pub(crate) enum Read {
    /// One of our own: it is checked and counted elsewhere.
    Own,
    Record(Value),
}

impl Format {
    /// Reads a line that should be in this format; `None` when it is not.
    pub(crate) fn read(self, line: &[u8]) -> Option<Read> {
        match self {
            Self::Combined => clf::combined(line).map(Read::Record),
            Self::Traefik => clf::traefik(line).map(Read::Record),
            Self::Haproxy => haproxy::read(line).map(Read::Record),
            _ => self.object(&object(line)?, line),
        }
    }

    fn object(self, object: &Map<String, Value>, line: &[u8]) -> Option<Read> {
        match self {
            Self::Tollgate => Some(Read::Own),
            Self::NginxJson => nginx_json::read(object, line).map(Read::Record),
            Self::Caddy => caddy::read(object, line).map(Read::Record),
            Self::TraefikJson => traefik::read(object, line).map(Read::Record),
            Self::Combined | Self::Haproxy | Self::Traefik => None,
        }
    }

    /// Finds out what a line is written in, the most particular first.
    pub(crate) fn detect(line: &[u8]) -> Option<(Self, Read)> {
        if line.trim_ascii_start().first() == Some(&b'{') {
            let object = object(line)?;
            let guess = guess(&object);
            // A line of another kind in the same file, such as Caddy's "server running", is an entry all the same.
            let read = guess.object(&object, line).map(|read| (guess, read));
            return read.or(Some((Self::Tollgate, Read::Own)));
        }
        let texts = [Self::Traefik, Self::Haproxy, Self::Combined];
        texts.into_iter().find_map(|format| Some((format, format.read(line)?)))
    }
}

/// A JSON object. nginx writes bytes that are no UTF-8 as they are: they show as U+FFFD.
fn object(line: &[u8]) -> Option<Map<String, Value>> {
    if line.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    serde_json::from_slice(line).ok().or_else(|| match String::from_utf8_lossy(line) {
        Cow::Owned(mended) => serde_json::from_str(&mended).ok(),
        Cow::Borrowed(_) => None,
    })
}

/// By the names that only one of them uses.
fn guess(object: &Map<String, Value>) -> Format {
    let has = |name: &&str| object.contains_key(*name);
    // Ours: a stored line has a checksum, every record its kind.
    if has(&"kind") || has(&"c") {
        Format::Tollgate
    } else if object.get("request").is_some_and(Value::is_object) && has(&"logger") {
        Format::Caddy
    } else if ["DownstreamStatus", "RequestMethod", "OriginStatus", "ClientHost"].iter().any(has) {
        Format::TraefikJson
    } else if nginx_json::TELLING.iter().any(has) {
        Format::NginxJson
    } else {
        Format::Tollgate
    }
}
