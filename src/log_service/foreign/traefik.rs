//! Traefik's JSON access log; its durations are nanoseconds.

use serde_json::{Map, Value};

use super::members::{Members, json_time, plain};

const TEXTS: &[(&str, &str)] = &[
    ("RequestMethod", "method"),
    ("RequestScheme", "scheme"),
    ("RouterName", "route"),
    ("ServiceName", "upstream"),
    ("ServiceAddr", "up_addr"),
    ("ClientUsername", "user"),
    ("TLSVersion", "tls_ver"),
    ("TLSCipher", "tls_cipher"),
    ("entryPointName", "listener"),
    ("request_User-Agent", "ua"),
    ("request_Referer", "referer"),
    ("downstream_Content-Type", "resp_type"),
    ("TraceId", "trace_id"),
    ("SpanId", "span_id"),
];
const NUMBERS: &[(&str, &str)] = &[
    ("ClientPort", "client_port"),
    ("OriginStatus", "up_status"),
    ("DownstreamContentSize", "tx_body_b"),
    ("OriginContentSize", "up_rx_b"),
    ("RequestContentSize", "rx_body_b"),
];
const NANOS: &[(&str, &str)] =
    &[("Duration", "dur_us"), ("Overhead", "t_self_us"), ("OriginDuration", "t_wait_us")];
/// Read by name below, or said twice.
const OTHERS: &[&str] = &[
    "StartUTC",
    "StartLocal",
    "time",
    "level",
    "msg",
    "ClientAddr",
    "ClientHost",
    "RequestHost",
    "RequestAddr",
    "RequestPort",
    "RequestPath",
    "RequestProtocol",
    "DownstreamStatus",
    "RetryAttempts",
    "ServiceURL",
];

pub(super) fn read(object: &Map<String, Value>, line: &[u8]) -> Option<Value> {
    let time = ["StartUTC", "StartLocal", "time"].iter().find_map(|name| json_time(object.get(*name)?))?;
    let text = |name: &str| object.get(name).map(plain).unwrap_or_default();
    let mut members = Members::new("traefik", time);
    members.client(&text("ClientHost"));
    members.client(&text("ClientAddr"));
    members.host(&text("RequestHost"));
    members.target(&text("RequestPath"));
    members.proto(&text("RequestProtocol"));
    members.status(&text("DownstreamStatus"));
    TEXTS.iter().for_each(|(name, member)| members.text(member, &text(name)));
    NUMBERS.iter().for_each(|(name, member)| members.number(member, &text(name)));
    for (name, member) in NANOS {
        object
            .get(*name)
            .and_then(Value::as_f64)
            .into_iter()
            .for_each(|nanos| members.micros(member, nanos / 1e3));
    }
    if members.has("up_addr") {
        let retries = object.get("RetryAttempts").and_then(Value::as_u64).unwrap_or(0);
        members.set("tries", retries.saturating_add(1));
    }
    let known = |name: &str| {
        OTHERS.contains(&name) || TEXTS.iter().chain(NUMBERS).chain(NANOS).any(|(known, _)| *known == name)
    };
    object.iter().filter(|(name, _)| !known(name)).for_each(|(name, value)| {
        if !members.has(name) {
            members.set(name, value.clone());
        }
    });
    Some(members.finish(line))
}
