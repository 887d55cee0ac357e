//! What loggers and shippers of others call the members that every row has columns for.
//!
//! A member of another name stays under its name, so an object comes back as it was sent; what it says stands in the
//! column besides, unless the object has a member of that name too. Names with dots are looked for as they are written
//! (`{"trace.id":…}`) and as objects in each other (`{"trace":{"id":…}}`), as Elastic's common schema has both.
//!
//! The one member that is changed is `level`: its column has the [word](word_of_level) that filters ask for, and where the
//! sender wrote it otherwise (`ERROR`, `30`), that is kept as `level_in`.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::cells::{text_of, unhex};
use crate::record::members::{Member, Members};

/// Of a request: what a proxy or framework calls it.
pub(super) const RIDS: [&str; 6] =
    ["x-request-id", "X-Request-Id", "request_id", "requestId", "req_id", "http.request.id"];
/// Of a trace: OpenTelemetry, JavaScript and Elastic's common schema.
pub(super) const TRACES: [&str; 2] = ["traceId", "trace.id"];
const SPANS: [&str; 2] = ["spanId", "span.id"];
const LEVELS: [&str; 6] = ["severity", "log.level", "levelname", "severity_text", "severityText", "lvl"];
/// When it happened, by weight; `ts` comes before.
pub(super) const TIMES: [&str; 3] = ["@timestamp", "timestamp", "time"];

/// What an object says under other names.
pub(super) struct Aliases<'a> {
    pub(super) level: Option<Cow<'a, str>>,
    pub(super) rid: Option<Cow<'a, str>>,
    pub(super) trace_id: Option<[u8; 16]>,
    pub(super) span_id: Option<[u8; 8]>,
}

impl<'a> Aliases<'a> {
    pub(super) fn of(members: &'a [Member<'a>]) -> Self {
        let is_said = |name: &str| members.iter().any(|member| member.0 == name);
        let texts = |own: &str, names: &'static [&'static str]| {
            let names = if is_said(own) { &[] } else { names };
            names.iter().filter_map(|name| text_of(find(members, name)?))
        };
        let hex = |text: &str| unhex(&text.replace('-', "").to_ascii_lowercase());
        Self {
            level: texts("level", &LEVELS).find(|level| is_word(level)).map(|level| word_of_level(&level)),
            rid: texts("rid", &RIDS).find(|rid| !rid.is_empty()),
            trace_id: texts("trace_id", &TRACES).find_map(|text| hex(&text)),
            span_id: texts("span_id", &SPANS).find_map(|text| unhex(&text.to_ascii_lowercase())),
        }
    }
}

/// The value of a member; a name with dots may be objects in each other. Of several the last one counts.
pub(super) fn find<'a>(members: &[Member<'a>], name: &str) -> Option<&'a RawValue> {
    let last = |name: &str| members.iter().rev().find(|member| member.0 == name).map(|member| member.1);
    last(name).or_else(|| {
        let (outer, inner) = name.split_once('.')?;
        let outer = last(outer).filter(|value| value.get().starts_with('{'))?;
        let Members(members) = serde_json::from_str(outer.get()).ok()?;
        find(&members, inner)
    })
}

/// A level is a short word; a text is none.
fn is_word(text: &str) -> bool {
    (1..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// In lower case, and one word for what has several.
fn word_of_level<'a>(level: &Cow<'a, str>) -> Cow<'a, str> {
    let known: &'static str = match () {
        () if level.eq_ignore_ascii_case("warning") => "warn",
        () if level.eq_ignore_ascii_case("err") => "error",
        () if level.eq_ignore_ascii_case("information") => "info",
        () if level.eq_ignore_ascii_case("crit") => "critical",
        () if level.bytes().any(|byte| byte.is_ascii_uppercase()) => {
            return Cow::Owned(level.to_ascii_lowercase());
        }
        () => return level.clone(),
    };
    Cow::Borrowed(known)
}

/// The word for a `level` that is written otherwise: other letters, or a number of pino and bunyan. `None` when it is what
/// it should be, or no level.
pub(super) fn other_level(value: &RawValue) -> Option<Cow<'static, str>> {
    let of_number = match value.get() {
        "10" => "trace",
        "20" => "debug",
        "30" => "info",
        "40" => "warn",
        "50" => "error",
        "60" => "fatal",
        _ => "",
    };
    if !of_number.is_empty() {
        return Some(Cow::Borrowed(of_number));
    }
    let text = text_of(value).filter(|text| is_word(text))?;
    let word = word_of_level(&text);
    (word != text).then(|| Cow::Owned(word.into_owned()))
}

/// Seconds, milliseconds, microseconds or nanoseconds since the Unix epoch, told by how large the number is, as
/// microseconds. Before September 2001 it is no time but, most likely, a duration.
pub(super) fn epoch_us(text: &str) -> Option<i64> {
    const FIRST_SECOND: f64 = 1e9;
    let is_number = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+'));
    let number: f64 = text.parse().ok().filter(|_| is_number)?;
    // A whole number is exact beyond what a float can hold.
    let whole = text.parse::<i64>().ok();
    let us = match number {
        _ if number < FIRST_SECOND => return None,
        _ if number < 1e11 => (number * 1e6).round() as i64,
        _ if number < 1e14 => whole.map_or((number * 1e3).round() as i64, |ms| ms.saturating_mul(1000)),
        _ if number < 1e17 => whole.unwrap_or(number as i64),
        _ if number < 9e18 => whole.unwrap_or(number as i64) / 1000,
        _ => return None,
    };
    Some(us)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_are_told_apart_by_their_size() {
        let us = 1_795_251_600_123_456;
        for (text, expected) in [
            ("1795251600", 1_795_251_600_000_000),
            ("1795251600.123456", us),
            ("1795251600123", 1_795_251_600_123_000),
            ("1795251600123.456", us),
            ("1795251600123456", us),
            ("1795251600123456789", us),
        ] {
            assert_eq!(epoch_us(text), Some(expected), "{text}");
        }
        for none in
            ["0.003", "12", "-1795251600", "", "nan", "inf", "1e300", "999999999", "17952516001234567890123"]
        {
            assert_eq!(epoch_us(none), None, "{none}");
        }
    }

    #[test]
    fn levels_are_one_word() {
        let level = |json: &str| other_level(serde_json::from_str(json).unwrap()).map(Cow::into_owned);
        for (json, word) in
            [("\"ERROR\"", "error"), ("\"Warning\"", "warn"), ("\"warning\"", "warn"), ("30", "info")]
        {
            assert_eq!(level(json).as_deref(), Some(word), "{json}");
        }
        for same in ["\"error\"", "\"a text of several words\"", "7", "null", "{}", "\"\""] {
            assert_eq!(level(same), None, "{same}");
        }
    }
}
