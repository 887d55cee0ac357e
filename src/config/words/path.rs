//! Paths: the patterns of routes, and what paths are changed into.

use std::sync::Arc;

use super::{Deref, checked_text, fmt};
use crate::config::read::{Problem, Word};

/// Which paths a route takes. All of them are canonical paths (RFC 3986 section 6.2.2), as requests have them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// `/x`: this path only.
    Exact(Arc<str>),
    /// `/x/*`: every path that begins with `/x/`; here without `*`.
    Prefix(Arc<str>),
    /// `~regex`: every path in which it is found; here without `~`.
    Regex(Arc<str>),
}

impl Word for PathPattern {
    const WHAT: &'static str = "path";
    const EXAMPLE: &'static str = "/api/*";

    fn parse(text: &str) -> Result<Self, Problem> {
        if let Some(regex) = text.strip_prefix('~') {
            check_regex(regex)?;
            return Ok(Self::Regex(regex.into()));
        }
        match text.strip_suffix('*') {
            Some(prefix) if prefix.ends_with('/') => {
                check_path(prefix)?;
                Ok(Self::Prefix(prefix.into()))
            }
            Some(front) if !front.contains('*') && front.starts_with('/') => {
                Err(Problem::new("a `*` stands for what follows a `/`")
                    .help(format!("write `{front}/*`, or `~^{front}` for every path that begins so")))
            }
            _ => {
                check_path(text)?;
                Ok(Self::Exact(text.into()))
            }
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => f.write_str(path),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Regex(regex) => write!(f, "~{regex}"),
        }
    }
}

fn check_regex(text: &str) -> Result<(), Problem> {
    if text.is_empty() {
        return Err(Problem::new("`~` without a regular expression"));
    }
    match regex::RegexBuilder::new(text).size_limit(1 << 20).build() {
        Ok(_) => Ok(()),
        Err(error) => {
            let words = error.to_string();
            let reason = words.lines().last().unwrap_or("").trim_start_matches("error: ").to_owned();
            Err(Problem::new(format!("the regular expression is wrong: {reason}")))
        }
    }
}

/// A path as a canonical request has it, so that it can match at all.
fn check_path(text: &str) -> Result<(), Problem> {
    if text.is_empty() {
        return Err(Problem::new("the path is empty").help("`/` is the path of the root, `/*` every path"));
    }
    if !text.starts_with('/') {
        return Err(Problem::new("a path begins with `/`").help(format!("write `/{}`", text.escape_debug())));
    }
    if text.contains('*') {
        return Err(Problem::new("a `*` may stand only at the end, after a `/`")
            .help("for anything else use a regular expression: `~^/users/[^/]+/photo$`"));
    }
    if text.contains(['?', '#']) {
        return Err(Problem::new("a path has no query")
            .help("conditions on the query are `when = { query = { … } }`"));
    }
    if text.contains("//") || text.split('/').any(|part| part == "." || part == "..") {
        return Err(Problem::new(
            "no request has such a path: `//`, `/./` and `/../` are resolved before routing",
        ));
    }
    check_escapes(text)
}

/// Only what a canonical path holds: printable ASCII, `%` with two upper-case digits for what must be escaped.
fn check_escapes(text: &str) -> Result<(), Problem> {
    if let Some(other) = text.chars().find(|c| !c.is_ascii_graphic() || "\"<>\\^`{|}".contains(*c)) {
        let mut bytes = [0; 4];
        let escaped: String =
            other.encode_utf8(&mut bytes).bytes().map(|byte| format!("%{byte:02X}")).collect();
        return Err(Problem::new(format!("`{}` cannot stand in a path", other.escape_debug()))
            .help(format!("write `{escaped}`")));
    }
    for after in text.split('%').skip(1) {
        let code = after.get(..2).filter(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let Some(byte) = code.and_then(|code| u8::from_str_radix(code, 16).ok()) else {
            return Err(Problem::new("`%` without two hexadecimal digits"));
        };
        let written = format!("%{}", &after[..2]);
        let plain = char::from(byte);
        if plain.is_ascii_alphanumeric() || "-._~".contains(plain) {
            return Err(Problem::new(format!(
                "no request has `{written}` in its path: it is resolved before routing"
            ))
            .help(format!("write `{plain}`")));
        }
        if written != written.to_ascii_uppercase() {
            return Err(Problem::new(format!(
                "no request has `{written}` in its path: escapes are upper case"
            ))
            .help(format!("write `{}`", written.to_ascii_uppercase())));
        }
    }
    Ok(())
}

checked_text! {
    /// A path, without pattern.
    UrlPath, "path", "/healthz", check_url_path
}

/// A path with an optional query, as it can be asked for.
fn check_url_path(text: &str) -> Result<(), Problem> {
    if !text.starts_with('/') {
        return Err(Problem::new("a path begins with `/`"));
    }
    if text.contains('*') {
        return Err(Problem::new("a `*` has no meaning here"));
    }
    match text.parse::<http::uri::PathAndQuery>() {
        Ok(_) if !text.contains('#') => Ok(()),
        _ => Err(Problem::new(format!("`{}` is not a path", text.escape_debug()))),
    }
}

checked_text! {
    /// What a path is replaced with; a `*` at the end carries over.
    Rewrite, "path", "/new/*", check_rewrite
}

impl Rewrite {
    /// What stands before the `*`, if it carries over.
    pub fn carries(&self) -> Option<&str> {
        self.strip_suffix('*')
    }
}

fn check_rewrite(text: &str) -> Result<(), Problem> {
    check_path(text.strip_suffix("/*").map_or(text, |front| if front.is_empty() { "/" } else { front }))
}

checked_text! {
    /// Where a redirect leads: a path or a URL; a `*` at the end carries over.
    Target, "target", "/new/*", check_target
}

impl Target {
    /// What stands before the `*`, if it carries over.
    pub fn carries(&self) -> Option<&str> {
        self.strip_suffix('*')
    }
}

fn check_target(text: &str) -> Result<(), Problem> {
    let front = text.strip_suffix('*').unwrap_or(text);
    if front.contains('*') {
        return Err(Problem::new("a `*` may stand only at the end"));
    }
    // Two slashes at the front would name another host.
    let is_path = front.starts_with('/') && !front.starts_with("//") && !front.starts_with("/\\");
    let is_url = front.starts_with("http://") || front.starts_with("https://");
    let parses = front.parse::<http::Uri>().is_ok() && http::HeaderValue::from_str(front).is_ok();
    if parses && (is_path || is_url) {
        return Ok(());
    }
    Err(Problem::new(format!("`{}` is neither a path nor a URL", text.escape_debug()))
        .help("write `/path` or `https://example.com/path`"))
}
