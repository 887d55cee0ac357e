//! nginx with a JSON `log_format`: the names are its variables', or those that people usually give them.

use serde_json::{Map, Value};

use super::members::{Members, json_time, plain};

/// Names that say whose line it is.
pub(super) const TELLING: &[&str] = &[
    "remote_addr",
    "body_bytes_sent",
    "request_uri",
    "time_local",
    "time_iso8601",
    "request_time",
    "http_user_agent",
    "upstream_response_time",
    "bytes_sent",
];

const TIMES: &[&str] = &["msec", "time_iso8601", "time_local", "@timestamp", "timestamp", "time", "ts"];

/// What a member is made from.
#[derive(Clone, Copy)]
enum As {
    Text,
    Number,
    Seconds,
    Client,
    Line,
    Target,
    Query,
    Host,
    Proto,
    Status,
}

const MEMBERS: &[(&str, &str, As)] = &[
    ("request", "", As::Line),
    ("request_method", "method", As::Text),
    ("method", "method", As::Text),
    ("request_uri", "", As::Target),
    ("uri", "", As::Target),
    ("path", "", As::Target),
    ("args", "", As::Query),
    ("query_string", "", As::Query),
    ("server_protocol", "", As::Proto),
    ("remote_addr", "", As::Client),
    ("client_ip", "", As::Client),
    ("remote_port", "client_port", As::Number),
    ("remote_user", "user", As::Text),
    ("server_name", "", As::Host),
    ("host", "", As::Host),
    ("http_host", "", As::Host),
    ("scheme", "scheme", As::Text),
    ("status", "", As::Status),
    ("bytes_sent", "tx_body_b", As::Number),
    ("body_bytes_sent", "tx_body_b", As::Number),
    ("request_length", "rx_head_b", As::Number),
    ("request_time", "dur_us", As::Seconds),
    ("http_referer", "referer", As::Text),
    ("http_referrer", "referer", As::Text),
    ("http_user_agent", "ua", As::Text),
    ("request_id", "rid", As::Text),
    ("connection", "conn", As::Number),
    ("connection_requests", "conn_req", As::Number),
    ("upstream_connect_time", "t_conn_us", As::Seconds),
    ("upstream_cache_status", "cache", As::Text),
    ("proxy_host", "upstream", As::Text),
    ("proxy_upstream_name", "upstream", As::Text),
    ("ssl_protocol", "tls_ver", As::Text),
    ("ssl_cipher", "tls_cipher", As::Text),
    ("ssl_curve", "tls_group", As::Text),
    ("ssl_server_name", "tls_sni", As::Text),
    ("ssl_alpn_protocol", "tls_alpn", As::Text),
    ("sent_http_content_type", "resp_type", As::Text),
    ("content_type", "req_type", As::Text),
    ("hostname", "hostname", As::Text),
];

/// Several tries stand in one text, with commas (and colons after a redirect inside).
const UPSTREAM: &[&str] =
    &["upstream_addr", "upstream_status", "upstream_header_time", "upstream_response_time"];

pub(super) fn read(object: &Map<String, Value>, line: &[u8]) -> Option<Value> {
    let (named, time) = TIMES.iter().find_map(|name| Some((*name, json_time(object.get(*name)?)?)))?;
    let mut members = Members::new("nginx", time);
    for (name, member, form) in MEMBERS {
        if let Some(value) = object.get(*name) {
            put(&mut members, member, *form, &plain(value));
        }
    }
    upstream(&mut members, object);
    if !members.has("status") {
        return None;
    }
    let known = |name: &str| {
        MEMBERS.iter().any(|(known, ..)| *known == name) || UPSTREAM.contains(&name) || name == named
    };
    for (name, value) in object.iter().filter(|(name, _)| !known(name)) {
        let name = if members.has(name) { format!("{name}_in") } else { name.clone() };
        if value.as_str().is_none_or(|text| !matches!(text, "" | "-")) {
            members.set(&name, value.clone());
        }
    }
    Some(members.finish(line))
}

fn put(members: &mut Members, member: &str, form: As, text: &str) {
    match form {
        As::Text if member == "tls_ver" => members.text(member, text.trim_start_matches("TLSv")),
        As::Text if member == "cache" => members.text(member, &text.to_ascii_lowercase()),
        As::Text => members.text(member, text),
        As::Number => members.number(member, text),
        As::Seconds => members.seconds(member, text),
        As::Client => members.client(text),
        As::Line => members.request_line(text),
        As::Target => members.target(text),
        As::Query => members.query(text),
        As::Host => members.host(text),
        As::Proto => members.proto(text),
        As::Status => members.status(text),
    }
}

fn upstream(members: &mut Members, object: &Map<String, Value>) {
    let tries = |name: &str| -> Vec<String> {
        let text = object.get(name).map(plain).unwrap_or_default();
        let parts = text.split(", ").flat_map(|part| part.split(" : "));
        parts.map(str::to_owned).filter(|part| !matches!(part.as_str(), "" | "-")).collect()
    };
    let last = |name: &str| tries(name).pop();
    let addresses = tries("upstream_addr");
    if let Some(address) = addresses.last() {
        members.text("up_addr", address);
        members.set("tries", addresses.len());
    }
    last("upstream_status").into_iter().for_each(|status| members.number("up_status", &status));
    let header = last("upstream_header_time").and_then(|time| time.parse::<f64>().ok());
    let whole = last("upstream_response_time").and_then(|time| time.parse::<f64>().ok());
    // nginx counts both from the beginning of the connect.
    let connect = last("upstream_connect_time").and_then(|time| time.parse::<f64>().ok()).unwrap_or(0.0);
    header.into_iter().for_each(|header| members.micros("t_wait_us", (header - connect).max(0.0) * 1e6));
    if let (Some(header), Some(whole)) = (header, whole) {
        members.micros("t_resp_us", (whole - header).max(0.0) * 1e6);
    } else if let Some(whole) = whole {
        members.micros("upstream_response_us", whole * 1e6);
    }
}
