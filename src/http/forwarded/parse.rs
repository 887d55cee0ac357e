//! The grammar of `Forwarded` (RFC 7239 section 4), strictly.

use std::borrow::Cow;
use std::net::IpAddr;

use super::chain;

/// What one proxy said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element<'a> {
    /// `for`
    pub client: Option<Node>,
    pub by: Option<Node>,
    pub proto: Option<Cow<'a, str>>,
    pub host: Option<Cow<'a, str>>,
}

/// A node identifier (RFC 7239 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    Address(IpAddr, Option<u16>),
    /// `unknown`, or an obfuscated name such as `_hidden`, with or without a port.
    Hidden,
}

/// Appends the elements of one field line, leftmost first. `None`: the line breaks the grammar. Empty elements are
/// skipped (RFC 9110 section 5.6.1); a parameter named twice breaks the grammar; unknown parameters are ignored.
pub fn parse_forwarded<'a>(line: &'a str, elements: &mut Vec<Element<'a>>) -> Option<()> {
    let mut cursor = Cursor { rest: line };
    loop {
        cursor.skip_space();
        if !matches!(cursor.rest.as_bytes(), [] | [b',', ..]) {
            elements.push(element(&mut cursor)?);
            cursor.skip_space();
        }
        match cursor.rest.as_bytes() {
            [] => return Some(()),
            [b',', ..] => cursor.advance(1),
            _ => return None,
        }
    }
}

fn element<'a>(cursor: &mut Cursor<'a>) -> Option<Element<'a>> {
    let mut element = Element::default();
    let mut seen: Vec<&str> = Vec::new();
    loop {
        let name = cursor.token()?;
        if !cursor.take(b'=') || seen.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            return None;
        }
        seen.push(name);
        let value = cursor.value()?;
        match name {
            name if name.eq_ignore_ascii_case("for") => element.client = Some(node(&value)?),
            name if name.eq_ignore_ascii_case("by") => element.by = Some(node(&value)?),
            name if name.eq_ignore_ascii_case("proto") => element.proto = Some(value),
            name if name.eq_ignore_ascii_case("host") => element.host = Some(value),
            _ => {}
        }
        // No white space beside `;` in the grammar, but many writers put one behind it.
        cursor.skip_space();
        if !cursor.take(b';') {
            return Some(element);
        }
        cursor.skip_space();
    }
}

fn node(text: &str) -> Option<Node> {
    // A bare IPv6 address is not in the grammar: it needs brackets, or its end could be a port.
    let bare = text.parse::<std::net::Ipv6Addr>().is_ok();
    if let Some((ip, port)) = chain::address(text.as_bytes()) {
        return (!bare).then_some(Node::Address(ip, port));
    }
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (text, None),
    };
    if port.is_some_and(|port| !is_hidden(port) && port.parse::<u16>().is_err()) {
        return None;
    }
    // An address whose port is hidden is still an address.
    if let Some((ip, None)) = chain::address(name.as_bytes()) {
        return name.parse::<std::net::Ipv6Addr>().is_err().then_some(Node::Address(ip, None));
    }
    (name.eq_ignore_ascii_case("unknown") || is_hidden(name)).then_some(Node::Hidden)
}

/// `"_" 1*( ALPHA / DIGIT / "." / "_" / "-")`
fn is_hidden(text: &str) -> bool {
    let inner = text.strip_prefix('_').unwrap_or("");
    !inner.is_empty() && inner.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    fn advance(&mut self, count: usize) {
        self.rest = self.rest.get(count..).unwrap_or("");
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.rest.as_bytes().first() == Some(&byte);
        if found {
            self.advance(1);
        }
        found
    }

    fn token(&mut self) -> Option<&'a str> {
        let end = self.rest.bytes().position(|b| !is_token(b)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        (!token.is_empty()).then_some(token)
    }

    fn value(&mut self) -> Option<Cow<'a, str>> {
        if self.take(b'"') { self.quoted() } else { self.token().map(Cow::Borrowed) }
    }

    /// After the opening quote. Borrows unless something was escaped.
    fn quoted(&mut self) -> Option<Cow<'a, str>> {
        let mut text: Option<String> = None;
        let mut start = 0;
        let bytes = self.rest.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            match bytes[at] {
                b'"' => {
                    let tail = self.rest.get(start..at)?;
                    self.advance(at + 1);
                    return Some(match text {
                        Some(text) => Cow::Owned(text + tail),
                        None => Cow::Borrowed(tail),
                    });
                }
                b'\\' => {
                    text.get_or_insert_default().push_str(self.rest.get(start..at)?);
                    start = at + 1;
                    at += 2;
                }
                _ => at += 1,
            }
        }
        None
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
