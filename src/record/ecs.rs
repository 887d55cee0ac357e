//! The record in Elastic's Common Schema: one JSON object whose names Kibana knows, with dots in the names as ECS loggers write them.

use super::escape::json_string;
use super::members::Members;
use super::names;

/// The version of the schema that these names are of.
pub const ECS_VERSION: &str = "9.2.0";

/// Appends the object with its line feed. Members that ECS does not have are `tollgate.NAME`.
pub fn write(members: &Members<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"@timestamp\":");
    out.extend_from_slice(members.raw("ts").unwrap_or("null").as_bytes());
    put(out, "ecs.version", &format!("\"{ECS_VERSION}\""));
    put(out, "event.dataset", "\"tollgate.access\"");
    put(out, "event.kind", "\"event\"");
    let kind = members.text("kind").unwrap_or_default();
    if matches!(&*kind, "request" | "open" | "close" | "conn") {
        put(out, "event.category", "[\"web\",\"network\"]");
        put(out, "event.type", "[\"access\"]");
        put(out, "event.outcome", outcome(members));
        put(out, "observer.vendor", "\"tollgate\"");
        put(out, "observer.type", "\"proxy\"");
    }
    for (name, value) in &members.0 {
        member(name, value.get(), members, out);
    }
    sums(members, out);
    out.extend_from_slice(b"}\n");
}

fn member(name: &str, value: &str, members: &Members<'_>, out: &mut Vec<u8>) {
    match name {
        "ts" => {}
        // Nanoseconds there.
        "dur_us" => {
            put(out, "event.duration", &members.number(name).unwrap_or(0).saturating_mul(1000).to_string())
        }
        "boot" => put(out, "service.ephemeral_id", &format!("\"{value}\"")),
        "line" if members.raw("msg").is_some() => put(out, "tollgate.line", value),
        name => match names::of(name) {
            Some(names) => put(out, names.ecs, value),
            None => put_own(out, name, value),
        },
    }
}

/// What ECS counts together: head and body. The request's own id is that of the exchange if no other came.
fn sums(members: &Members<'_>, out: &mut Vec<u8>) {
    let sum = |one, other| Some(members.number(one)? + members.number(other)?);
    for (name, sum) in [
        ("http.request.bytes", sum("rx_head_b", "rx_body_b")),
        ("http.response.bytes", sum("tx_head_b", "tx_body_b")),
    ] {
        if let Some(sum) = sum {
            put(out, name, &sum.to_string());
        }
    }
    if let (None, Some(id), Some(_)) = (members.raw("rid"), members.raw("id"), members.raw("method")) {
        put(out, "http.request.id", id);
    }
}

fn outcome(members: &Members<'_>) -> &'static str {
    let is_failure =
        members.raw("reason").is_some() || members.number("status").is_some_and(|status| status >= 500);
    if is_failure { "\"failure\"" } else { "\"success\"" }
}

fn put(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    out.extend_from_slice(value.as_bytes());
}

/// A member that has no name there; its own may hold anything.
fn put_own(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(b',');
    json_string(format!("tollgate.{name}").as_bytes(), out);
    out.push(b':');
    out.extend_from_slice(value.as_bytes());
}
