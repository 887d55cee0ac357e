//! Lines of the family of `combined`: nginx, Apache, and Traefik's default, which adds its own at the end.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::bytes::{Captures, Regex};
use serde_json::Value;

use super::members::{Members, clf_time};

/// Host in front (optional), client, identity, user, time, request, status, bytes, then what else there is.
static LINE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let quoted = r#""((?:[^"\\]|\\.)*)""#;
    let line = format!(
        r#"(?s-u)^\s*(?:([^\s"\[\]]+) )?([^\s"\[\]]+) [^\s"\[\]]+ ([^"\[\]]*?) \[([^\]"]{{10,40}})\] {quoted} (\d{{3}}|-) (\d+|-)(?: {quoted} {quoted})?(?:\s+(.*?))?\s*$"#
    );
    Regex::new(&line).ok()
});

/// Requests since the start, router, server, milliseconds.
static TRAEFIK: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"(?-u)^(\d+) "([^"]*)" "([^"]*)" (\d+)ms$"#).ok());

/// `name=value` and `name="value"` behind the known fields.
static PAIR: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"(?-u)(?:^|\s)([A-Za-z_]\w{0,40})[=:](?:"([^"]*)"|(\S+))"#).ok());

/// Names that people give to nginx's times, all in seconds.
const TIMES: &[(&str, &str)] = &[
    ("rt", "dur_us"),
    ("request_time", "dur_us"),
    ("uct", "t_conn_us"),
    ("upstream_connect_time", "t_conn_us"),
    ("uht", "t_wait_us"),
    ("upstream_header_time", "t_wait_us"),
];

pub(super) fn combined(line: &[u8]) -> Option<Value> {
    let found = LINE.as_ref()?.captures(line)?;
    let mut members = begin("combined", &found)?;
    if let Some(more) = found.get(10) {
        extras(&mut members, &text(more.as_bytes()));
    }
    Some(members.finish(line))
}

pub(super) fn traefik(line: &[u8]) -> Option<Value> {
    let found = LINE.as_ref()?.captures(line)?;
    let more = TRAEFIK.as_ref()?.captures(found.get(10)?.as_bytes())?;
    let mut members = begin("traefik", &found)?;
    let part = |at: usize| more.get(at).map(|part| text(part.as_bytes())).unwrap_or_default();
    members.number("RequestCount", &part(1));
    members.text("route", &part(2));
    let server = part(3);
    members.text("up_addr", server.split_once("://").map_or(&*server, |(_, address)| address));
    members.micros("dur_us", part(4).parse::<f64>().ok()? * 1e3);
    Some(members.finish(line))
}

fn begin(proxy: &str, found: &Captures<'_>) -> Option<Members> {
    let part = |at: usize| found.get(at).map(|part| text(part.as_bytes())).unwrap_or_default();
    let mut members = Members::new(proxy, clf_time(&part(4))?);
    members.host(&part(1));
    members.client(&part(2));
    members.text("user", &part(3));
    members.request_line(&part(5));
    members.status(&part(6));
    members.number("tx_body_b", &part(7));
    members.text("referer", &part(8));
    members.text("ua", &part(9));
    Some(members)
}

fn extras(members: &mut Members, rest: &str) {
    let Some(pairs) = PAIR.as_ref() else { return };
    let mut known = false;
    for found in pairs.captures_iter(rest.as_bytes()) {
        let part = |at: usize| found.get(at).map(|part| text(part.as_bytes()));
        let (Some(name), Some(value)) = (part(1), part(2).or_else(|| part(3))) else { continue };
        known = true;
        match TIMES.iter().find(|(short, _)| *short == name) {
            Some((_, member)) => members.seconds(member, &value),
            None => members.text(&name, &value),
        }
    }
    if !known {
        members.text("rest", rest);
    }
}

/// Undoes `\"`, `\\` and `\xhh`; what is no UTF-8 then shows as U+FFFD.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    if !bytes.contains(&b'\\') {
        return String::from_utf8_lossy(bytes);
    }
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        let (byte, next) = match (first, tail) {
            (b'\\', [b'x', high, low, more @ ..]) => match hexadecimal(*high, *low) {
                Some(byte) => (byte, more),
                None => (b'\\', tail),
            },
            (b'\\', [next @ (b'"' | b'\\'), more @ ..]) => (*next, more),
            _ => (*first, tail),
        };
        plain.push(byte);
        rest = next;
    }
    Cow::Owned(String::from_utf8_lossy(&plain).into_owned())
}

/// The byte that two hexadecimal digits stand for.
pub(super) fn hexadecimal(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}
