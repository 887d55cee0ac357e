//! The words of the language: strings with a grammar, each parsed by one small function.
//!
//! Lives here: grammar only. Not here: whether a name exists or two words contradict each other (`check`).

mod address;
mod alert;
mod http;
mod path;

use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

pub use self::address::{Host, Listen, Net};
pub use self::http::{ErrorStatus, MediaType, Status, StatusRange};
pub use self::path::{PathPattern, Rewrite, Target, UrlPath};

use super::compress::Level;
use super::env;
use super::limit::LimitKey;
use super::log::{LogService, Redact, SpoolSync};
use super::node::Node;
use super::read::{Problem, Read, Sink, Word, integer};
use super::shape::Kind;
use super::upstream::RetryOn;
use crate::units::{ByteRate, Duration, Percent, Rate, Size, UnitError};

/// Any text.
pub type Text = Arc<str>;

impl Word for Text {
    const WHAT: &'static str = "string";
    const EXAMPLE: &'static str = "";

    fn parse(text: &str) -> Result<Self, Problem> {
        Ok(text.into())
    }
}

/// A word that stays a text, checked by a function.
macro_rules! checked_text {
    ($(#[doc = $about:literal])+ $Name:ident, $what:literal, $example:literal, $check:expr) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub struct $Name(Arc<str>);

        impl Word for $Name {
            const WHAT: &'static str = $what;
            const EXAMPLE: &'static str = $example;

            fn parse(text: &str) -> Result<Self, Problem> {
                $check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl Deref for $Name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl From<$Name> for Arc<str> {
            fn from(word: $Name) -> Self {
                word.0
            }
        }

        impl fmt::Display for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
use checked_text;

checked_text! {
    /// The name of a limit or upstream: letters, digits, `-` and `_`.
    Name, "name", "api", check_name
}

checked_text! {
    /// The name of an environment variable.
    EnvName, "variable name", "LOG_LEVEL", check_env_name
}

checked_text! {
    /// A text in which `*` stands for any text.
    Glob, "pattern", "Bearer *", check_not_empty
}

fn check_name(text: &str) -> Result<(), Problem> {
    check_not_empty(text)?;
    if text.len() > 64 {
        return Err(Problem::new("the name is longer than 64 characters"));
    }
    match text.chars().find(|c| !c.is_ascii_alphanumeric() && !"-_".contains(*c)) {
        Some(other) => Err(Problem::new(format!("a name cannot have `{}`", other.escape_debug()))
            .help("names have letters, digits, `-` and `_`")),
        None => Ok(()),
    }
}

fn check_env_name(text: &str) -> Result<(), Problem> {
    match text {
        "PORT" | "TOLLGATE_WORKER" | "TOLLGATE_UPSTREAM" => {
            Err(Problem::new(format!("`{text}` is set by tollgate for each worker")))
        }
        _ if env::is_name(text) => Ok(()),
        _ => Err(Problem::new(format!("`{}` is not the name of a variable", text.escape_debug()))),
    }
}

fn check_not_empty(text: &str) -> Result<(), Problem> {
    if text.is_empty() { Err(Problem::new("the text is empty")) } else { Ok(()) }
}

/// The word `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auto;

impl Read for Auto {
    fn kind() -> Kind {
        Kind::Choice { what: "number", words: &["auto"] }
    }

    fn read(node: &Node, sink: &mut Sink) -> Option<Self> {
        let text = sink.text::<Self>(node)?;
        if text == "auto" {
            return Some(Self);
        }
        let problem = Problem::new(format!("`{}` is not `auto` and not a number", text.escape_debug()));
        let is_number = text.parse::<u32>().is_ok();
        let problem =
            if is_number { problem.help(format!("write it without quotes: {text}")) } else { problem };
        sink.bad_value(&node.place, "number", "", problem);
        None
    }
}

/// A switch that can only be turned off; what is on has a form of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct False;

/// A switch that can only be turned on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct True;

impl Read for False {
    fn kind() -> Kind {
        Kind::Only(false)
    }

    fn read(node: &Node, sink: &mut Sink) -> Option<Self> {
        only(false, "true has no meaning here; it is on when it is not `false`", node, sink).then_some(Self)
    }
}

impl Read for True {
    fn kind() -> Kind {
        Kind::Only(true)
    }

    fn read(node: &Node, sink: &mut Sink) -> Option<Self> {
        only(true, "false has no meaning here; it is off when it is left out", node, sink).then_some(Self)
    }
}

fn only(wanted: bool, otherwise: &str, node: &Node, sink: &mut Sink) -> bool {
    match bool::read(node, sink) {
        Some(on) if on == wanted => true,
        Some(_) => {
            sink.bad_value(&node.place, "switch", "", Problem::new(otherwise));
            false
        }
        None => false,
    }
}

impl From<UnitError> for Problem {
    fn from(error: UnitError) -> Self {
        Self::new(error.to_string())
    }
}

macro_rules! unit_words {
    ($($Unit:ty, $what:literal, $example:literal;)+) => {$(
        impl Word for $Unit {
            const WHAT: &'static str = $what;
            const EXAMPLE: &'static str = $example;

            fn parse(text: &str) -> Result<Self, Problem> {
                Ok(text.parse::<Self>()?)
            }
        }
    )+};
}

unit_words! {
    Duration, "duration", "10s";
    Size, "size", "16MiB";
    Rate, "rate", "10/s";
    ByteRate, "byte rate", "240B/s";
    Percent, "share", "20%";
}

impl Read for Level {
    fn kind() -> Kind {
        Kind::Integer { min: 1, max: 9 }
    }

    fn read(node: &Node, sink: &mut Sink) -> Option<Self> {
        u8::try_from(integer(node, 1, 9, sink)?).ok().map(Self)
    }
}

impl Word for LogService {
    const WHAT: &'static str = "log service";
    const EXAMPLE: &'static str = "embedded";

    fn parse(text: &str) -> Result<Self, Problem> {
        match text {
            "embedded" => return Ok(Self::Embedded),
            "none" => return Ok(Self::None),
            _ => {}
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(socket_path(path)?));
        }
        let unknown = || {
            Problem::new(format!("`{}` is not a log service", text.escape_debug()))
                .help("write `embedded`, `none`, `unix:PATH` or a URL such as `http://logs.example.com:9600`")
        };
        let url: ::http::Uri = text.parse().map_err(|_| unknown())?;
        match url.scheme_str() {
            Some("http" | "https") if url.host().is_some_and(|host| !host.is_empty()) => Ok(Self::Url(url)),
            _ => Err(unknown()),
        }
    }
}

impl Word for SpoolSync {
    const WHAT: &'static str = "moment";
    const EXAMPLE: &'static str = "200ms";

    fn parse(text: &str) -> Result<Self, Problem> {
        match text {
            "always" => Ok(Self::Always),
            "os" => Ok(Self::System),
            _ => match text.parse::<Duration>() {
                Ok(interval) if interval.as_millis() > 0 => Ok(Self::Every(interval)),
                _ => Err(Problem::new(format!("`{}` does not say when", text.escape_debug()))
                    .help("write `always`, `os`, or an interval such as `200ms`")),
            },
        }
    }
}

impl Word for Redact {
    const WHAT: &'static str = "part of a request";
    const EXAMPLE: &'static str = "query.token";

    fn parse(text: &str) -> Result<Self, Problem> {
        match text.split_once('.') {
            Some(("query", name)) if !name.is_empty() => Ok(Self::Query(name.to_owned())),
            Some(("header" | "cookie", _)) => {
                Err(Problem::new("header fields and cookies are never recorded as they are")
                    .help("only query parameters need to be named: `query.NAME`"))
            }
            _ => Err(Problem::new(format!("`{}` is not a part of a request", text.escape_debug()))
                .help("write `query.NAME`")),
        }
    }
}

impl Word for LimitKey {
    const WHAT: &'static str = "limit key";
    const EXAMPLE: &'static str = "client.ip";

    fn parse(text: &str) -> Result<Self, Problem> {
        let known = "there are `client.ip`, `header.NAME`, `cookie.NAME`, `site` and `route`";
        match text.split_once('.') {
            None if text == "site" => Ok(Self::Site),
            None if text == "route" => Ok(Self::Route),
            Some(("client", "ip")) => Ok(Self::ClientIp),
            Some(("header", name)) => <::http::HeaderName as Word>::parse(name).map(Self::Header),
            Some(("cookie", name)) if ::http::HeaderName::from_bytes(name.as_bytes()).is_ok() => {
                Ok(Self::Cookie(name.to_owned()))
            }
            _ => Err(Problem::new(format!("`{}` is not a limit key", text.escape_debug())).help(known)),
        }
    }
}

impl Word for RetryOn {
    const WHAT: &'static str = "reason to retry";
    const EXAMPLE: &'static str = "connect";

    fn parse(text: &str) -> Result<Self, Problem> {
        match text {
            "connect" => Ok(Self::Connect),
            "closed" => Ok(Self::Closed),
            _ => match text.parse() {
                Ok(status @ 500..=599) => Ok(Self::Status(status)),
                _ => Err(Problem::new(format!("`{}` is no reason to retry", text.escape_debug()))
                    .help("there are `connect`, `closed` and statuses from `500` to `599`")),
            },
        }
    }
}

/// The path of a Unix socket: not empty, and short enough for the kernel (107 bytes).
fn socket_path(path: &str) -> Result<PathBuf, Problem> {
    if path.is_empty() {
        return Err(Problem::new("`unix:` without a path"));
    }
    if path.contains('\0') {
        return Err(Problem::new("a path cannot hold a zero byte"));
    }
    if path.len() > 107 {
        return Err(Problem::new(format!(
            "the path of a socket has at most 107 bytes, this one {}",
            path.len()
        )));
    }
    Ok(path.into())
}
