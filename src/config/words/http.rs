//! Words of HTTP: methods, field names and values, statuses, media types.

use http::{HeaderName, HeaderValue, Method};

use super::{Arc, Deref, checked_text, fmt};
use crate::config::headers::ServerHeader;
use crate::config::node::{Node, Value};
use crate::config::read::{Problem, Read, Sink, Word, integer};
use crate::config::shape::Kind;

impl Word for HeaderName {
    const WHAT: &'static str = "header name";
    const EXAMPLE: &'static str = "x-api-key";

    fn parse(text: &str) -> Result<Self, Problem> {
        Self::from_bytes(text.as_bytes())
            .map_err(|_| Problem::new(format!("`{}` is not the name of a header field", text.escape_debug())))
    }
}

impl Word for HeaderValue {
    const WHAT: &'static str = "header value";
    const EXAMPLE: &'static str = "max-age=60";

    fn parse(text: &str) -> Result<Self, Problem> {
        let problem = |message| Err(Problem::new(message));
        if text != text.trim_matches([' ', '\t']) {
            return problem("a header value has no space at its ends");
        }
        match Self::from_str(text) {
            Ok(value) if text.is_ascii() => Ok(value),
            _ => problem("a header value has printable ASCII only"),
        }
    }
}

impl Word for Method {
    const WHAT: &'static str = "method";
    const EXAMPLE: &'static str = "GET";

    fn parse(text: &str) -> Result<Self, Problem> {
        let bad = |message: String| Problem::new(message);
        let shown = text.escape_debug();
        let method =
            Self::from_bytes(text.as_bytes()).map_err(|_| bad(format!("`{shown}` is not a method")))?;
        if matches!(text, "CONNECT" | "TRACE") {
            return Err(bad(format!("{text} is never let through")));
        }
        let upper = text.to_ascii_uppercase();
        if upper != text {
            return Err(
                bad(format!("methods are case-sensitive: `{shown}`")).help(format!("write `{upper}`"))
            );
        }
        Ok(method)
    }
}

impl Word for ServerHeader {
    const WHAT: &'static str = "server name";
    const EXAMPLE: &'static str = "remove";

    fn parse(text: &str) -> Result<Self, Problem> {
        match text {
            "remove" => Ok(Self::Remove),
            "pass" => Ok(Self::Pass),
            _ => <HeaderValue as Word>::parse(text).map(Self::Replace),
        }
    }
}

/// The status of an answer, from 200 to 599. As a key it is written as a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Status(u16);

impl Status {
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl Read for Status {
    fn kind() -> Kind {
        Kind::Integer { min: 200, max: 599 }
    }

    fn read(node: &Node, sink: &mut Sink) -> Option<Self> {
        if let Value::Text(text) = &node.value {
            let problem = Problem::new("a status is a number")
                .help(format!("write it without quotes: {}", text.escape_debug()));
            sink.bad_value(&node.place, "status", "", problem);
            return None;
        }
        u16::try_from(integer(node, 200, 599, sink)?).ok().map(Self)
    }
}

/// Statuses for which a page of our own may be given, as keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ErrorStatus(u16);

impl ErrorStatus {
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl Word for ErrorStatus {
    const WHAT: &'static str = "error status";
    const EXAMPLE: &'static str = "502";

    fn parse(text: &str) -> Result<Self, Problem> {
        match text.parse() {
            Ok(status @ 400..=599) => Ok(Self(status)),
            _ => Err(Problem::new(format!("`{}` is not a status from 400 to 599", text.escape_debug()))),
        }
    }
}

/// Statuses from one to another, both included: `200-399`, or a single one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange {
    pub first: u16,
    pub last: u16,
}

impl Word for StatusRange {
    const WHAT: &'static str = "range of statuses";
    const EXAMPLE: &'static str = "200-399";

    fn parse(text: &str) -> Result<Self, Problem> {
        let bad = || Problem::new(format!("`{}` is not a range of statuses", text.escape_debug()));
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let status = |text: &str| {
            text.trim().parse().ok().filter(|status| (100..=599).contains(status)).ok_or_else(bad)
        };
        let range = Self { first: status(first)?, last: status(last)? };
        if range.first > range.last {
            return Err(bad().help("the smaller one comes first"));
        }
        Ok(range)
    }
}

checked_text! {
    /// A media type, with parameters or with `*`: `text/html; charset=utf-8`, `text/*`.
    MediaType, "media type", "text/html", check_media_type
}

/// RFC 9110 section 8.3.1.
fn check_media_type(text: &str) -> Result<(), Problem> {
    let essence = text.split(';').next().unwrap_or(text).trim_end();
    let is_token = |part: &str| HeaderName::from_bytes(part.as_bytes()).is_ok();
    let is_type = essence.split_once('/').is_some_and(|(kind, sub)| is_token(kind) && is_token(sub));
    if is_type && HeaderValue::from_str(text).is_ok() {
        return Ok(());
    }
    Err(Problem::new(format!("`{}` is not a media type", text.escape_debug())))
}
