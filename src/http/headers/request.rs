//! The parsed fields of a request: how its body is framed, and everything that makes that doubtful.

use http::header::EXPECT;
use http::{HeaderMap, HeaderName, HeaderValue, Version};

use super::refusal::{Fault, Refusal};

/// Limits of a request head; checked, no defaults hidden here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Field lines, trailers not counted.
    pub max_fields: usize,
    /// Bytes of all names and values, with 4 per field for its separators.
    pub max_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_fields: 100, max_bytes: 32 * 1024 }
    }
}

/// How the request body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// HTTP/1 without body.
    Empty,
    /// `Content-Length`, in bytes.
    Length(u64),
    /// HTTP/1.1 `Transfer-Encoding: chunked`.
    Chunked,
    /// HTTP/2 without length: until the stream ends.
    Open,
}

/// Checks the parsed fields of a request and decides its framing (RFC 9112 section 6, RFC 9113 section 8.2).
///
/// The cost is one walk over the fields. The same rules hold for every method.
pub fn check_request(headers: &HeaderMap, version: Version, settings: &Settings) -> Result<Framing, Refusal> {
    if headers.len() > settings.max_fields {
        return Err(Refusal::new(Fault::HeadersTooLarge, "too many header fields"));
    }
    let mut walk = Walk { h2: version == Version::HTTP_2, bytes: 0, length: None, chunked: false };
    for (name, value) in headers {
        walk.field(name, value)?;
    }
    if walk.bytes > settings.max_bytes {
        return Err(Refusal::new(Fault::HeadersTooLarge, "header fields too large"));
    }
    walk.framing(version)
}

/// The client waits for `100 Continue`; only asked of a request that [`check_request`] passed.
pub fn expects_continue(headers: &HeaderMap, version: Version) -> bool {
    // RFC 9110 section 10.1.1: ignored in HTTP/1.0.
    version != Version::HTTP_10 && headers.contains_key(EXPECT)
}

/// Drops every field whose name holds `_`, and says how many names went: origins that map `-` to `_` would take
/// `X_Forwarded_For` for the field that we set.
pub fn drop_underscore_names(headers: &mut HeaderMap) -> usize {
    let mut dropped = 0;
    while let Some(name) = headers.keys().find(|name| has_underscore(name.as_str())).cloned() {
        headers.remove(&name);
        dropped += 1;
    }
    dropped
}

pub(super) fn has_underscore(name: &str) -> bool {
    // Names are short: a search that is quick in long texts costs three times as much here.
    name.bytes().any(|b| b == b'_')
}

struct Walk {
    h2: bool,
    bytes: usize,
    length: Option<u64>,
    chunked: bool,
}

impl Walk {
    fn field(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<(), Refusal> {
        let (name, value) = (name.as_str(), value.as_bytes());
        self.bytes += name.len() + value.len() + 4;
        if let [first, .., last] | [first @ last] = value
            && (*first <= b' ' || *last <= b' ')
        {
            return Err(Refusal::bad("white space around a field value"));
        }
        match name.len() {
            2 if name == "te" && self.h2 && !value.eq_ignore_ascii_case(b"trailers") => {
                Err(Refusal::bad("te other than trailers in HTTP/2"))
            }
            6 if name == "expect" && !value.eq_ignore_ascii_case(b"100-continue") => {
                Err(Refusal::new(Fault::ExpectationUnknown, "unknown expectation"))
            }
            14 if name == "content-length" => self.content_length(value),
            17 if name == "transfer-encoding" => self.transfer_encoding(value),
            7 | 10 | 16 if self.h2 && is_connection_field(name) => {
                Err(Refusal::bad("connection field in HTTP/2"))
            }
            _ => Ok(()),
        }
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.length.is_some() {
            return Err(Refusal::bad("more than one Content-Length"));
        }
        self.length = Some(parse_length(value).ok_or(Refusal::bad("invalid Content-Length"))?);
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.h2 {
            return Err(Refusal::bad("connection field in HTTP/2"));
        }
        if self.chunked {
            return Err(Refusal::bad("more than one Transfer-Encoding"));
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(unknown_coding(value));
        }
        self.chunked = true;
        Ok(())
    }

    fn framing(self, version: Version) -> Result<Framing, Refusal> {
        match (self.length, self.chunked) {
            (Some(_), true) => Err(Refusal::bad("content-length beside transfer-encoding")),
            (None, true) if version != Version::HTTP_11 => Err(Refusal::bad("transfer-encoding in HTTP/1.0")),
            (None, true) => Ok(Framing::Chunked),
            (Some(length), false) => Ok(Framing::Length(length)),
            (None, false) if self.h2 => Ok(Framing::Open),
            (None, false) => Ok(Framing::Empty),
        }
    }
}

fn is_connection_field(name: &str) -> bool {
    matches!(name, "upgrade" | "connection" | "keep-alive" | "proxy-connection")
}

/// Digits only (no sign, no list), and it must fit (RFC 9110 section 8.6). Leading zeros are legal there, but the value
/// goes on as it came, and some origins would read it as octal.
fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || (value.len() > 1 && value[0] == b'0') {
        return None;
    }
    value.iter().try_fold(0_u64, |length, &b| {
        let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
        length.checked_mul(10)?.checked_add(digit)
    })
}

/// 501 for a well-formed coding that we do not know; 400 for anything that only looks like `chunked`.
#[cold]
fn unknown_coding(value: &[u8]) -> Refusal {
    let known = value.windows(7).any(|part| part.eq_ignore_ascii_case(b"chunked"));
    let token = !value.is_empty() && value.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-');
    if token && !known {
        return Refusal::new(Fault::CodingUnknown, "unknown transfer coding");
    }
    Refusal::bad("transfer-encoding other than chunked")
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
