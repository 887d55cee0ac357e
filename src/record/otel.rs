//! The record as OpenTelemetry's log data model has it, as one JSON object: `time`, `severity_number`, `body`, `attributes`…

use std::borrow::Cow;

use super::escape::json_string;
use super::id;
use super::members::Members;
use super::names;

/// The severity of an entry (OpenTelemetry logs data model, "Severity Fields"), number and text.
pub fn severity(members: &Members<'_>) -> (u8, &'static str) {
    let level = members.text("level").unwrap_or_default().to_ascii_lowercase();
    match (members.number("status"), &*level) {
        (Some(500..), _) | (_, "error" | "err") => (17, "ERROR"),
        (Some(400..), _) | (_, "warn" | "warning") => (13, "WARN"),
        (_, "fatal" | "crit" | "critical" | "alert" | "emerg" | "emergency") => (21, "FATAL"),
        (_, "debug") => (5, "DEBUG"),
        (_, "trace") => (1, "TRACE"),
        _ if members.raw("status") == Some("0") || members.text("kind").as_deref() == Some("gap") => {
            (13, "WARN")
        }
        _ => (9, "INFO"),
    }
}

/// The short line that stands as the body: what was asked for and what came of it, or what was said.
pub fn body(members: &Members<'_>) -> String {
    if let Some(text) = members.text("msg").or_else(|| members.text("line")) {
        return text.into_owned();
    }
    let word = |name| members.text(name).unwrap_or(Cow::Borrowed(""));
    match members.text("method") {
        Some(method) => {
            let status = members.raw("status").unwrap_or("0");
            format!("{method} {}{} {status}", word("host"), word("path"))
        }
        None => {
            let (kind, reason) = (word("kind"), word("reason"));
            format!("{kind} {reason}").trim_end().to_owned()
        }
    }
}

/// Whether a member is a field of the log record itself, and no attribute.
pub fn is_field(native: &str) -> bool {
    matches!(
        native,
        "v" | "ts" | "trace_id" | "span_id" | "trace_flags" | "level" | "msg" | "line" | "proxy" | "kind"
    )
}

/// What an attribute is called.
pub fn attribute(native: &str) -> Cow<'static, str> {
    match names::of(native) {
        Some(names) => Cow::Borrowed(names.otel),
        None => Cow::Owned(format!("tollgate.{native}")),
    }
}

/// The value of an attribute, as JSON. Records with the same `log.record.uid` count as one (semantic conventions, "Log
/// attributes"), and the two of a tunnel have one id: its beginning is told apart.
pub fn value<'m>(native: &str, value: &'m str, members: &Members<'_>) -> Cow<'m, str> {
    match value.strip_suffix('"') {
        Some(id) if native == "id" && members.text("kind").as_deref() == Some("open") => {
            Cow::Owned(format!("{id}{}\"", String::from_utf8_lossy(id::OPEN)))
        }
        _ => Cow::Borrowed(value),
    }
}

/// The trace of the request: the one that it came with, else the one that its id begins.
pub fn trace_id(members: &Members<'_>) -> Option<String> {
    let own = || members.raw("method").and_then(|_| members.text("id")).map(|id| id.replace('-', ""));
    members.text("trace_id").map(Cow::into_owned).or_else(own)
}

/// Appends the object with its line feed.
pub fn write(members: &Members<'_>, out: &mut Vec<u8>) {
    let (number, text) = severity(members);
    let mut put = |name: &str, value: &str| {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(value.as_bytes());
    };
    put("{\"time\":", members.raw("ts").unwrap_or("null"));
    put(",\"severity_number\":", &number.to_string());
    put(",\"severity_text\":\"", text);
    put("\",\"event_name\":\"tollgate.", &members.text("kind").unwrap_or_default());
    put("\"", "");
    if let Some(trace) = trace_id(members) {
        put(",\"trace_id\":\"", &trace);
        put("\"", "");
    }
    for name in ["span_id", "trace_flags"] {
        if let Some(value) = members.raw(name) {
            put(",\"", name);
            put("\":", value);
        }
    }
    out.extend_from_slice(b",\"body\":");
    json_string(body(members).as_bytes(), out);
    out.extend_from_slice(b",\"resource\":{\"service.name\":\"tollgate\",\"service.instance.id\":");
    out.extend_from_slice(members.raw("proxy").unwrap_or("null").as_bytes());
    out.extend_from_slice(b"},\"attributes\":{");
    let mut comma: &[u8] = b"";
    for (name, value) in members.0.iter().filter(|(name, _)| !is_field(name)) {
        out.extend_from_slice(comma);
        json_string(attribute(name).as_bytes(), out);
        out.push(b':');
        out.extend_from_slice(self::value(name, value.get(), members).as_bytes());
        comma = b",";
    }
    out.extend_from_slice(b"}}\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_records_of_a_tunnel_have_unique_ids() {
        let uid = |kind: &str| {
            let line = format!(r#"{{"kind":"{kind}","ts":"t","id":"01a1"}}"#);
            let mut out = Vec::new();
            write(&Members::of(line.as_bytes()).unwrap(), &mut out);
            let object: serde_json::Value = serde_json::from_slice(&out).unwrap();
            object["attributes"]["log.record.uid"].as_str().unwrap().to_owned()
        };
        assert_eq!((uid("open").as_str(), uid("close").as_str()), ("01a1-open", "01a1"));
    }
}
