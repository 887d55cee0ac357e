//! Caddy's JSON access log.

use serde_json::{Map, Value};

use super::members::{Members, json_time, plain};

/// Members that are read, so not kept under their own names.
const KNOWN: &[&str] = &[
    "ts",
    "request",
    "status",
    "size",
    "duration",
    "bytes_read",
    "user_id",
    "resp_headers",
    "logger",
    "level",
    "msg",
];

pub(super) fn read(object: &Map<String, Value>, line: &[u8]) -> Option<Value> {
    let request = object.get("request")?.as_object()?;
    let mut members = Members::new("caddy", json_time(object.get("ts")?)?);
    let text = |name: &str| request.get(name).map(plain).unwrap_or_default();
    members.client(&text("remote_ip"));
    members.client(&text("client_ip"));
    // Before 2.5 address and port were one.
    members.client(&text("remote_addr"));
    members.number("client_port", &text("remote_port"));
    members.text("method", &text("method"));
    members.host(&text("host"));
    members.target(&text("uri"));
    members.proto(&text("proto"));
    headers(
        &mut members,
        request.get("headers"),
        &[("User-Agent", "ua"), ("Referer", "referer"), ("Content-Type", "req_type")],
    );
    members.set("scheme", if request.contains_key("tls") { "https" } else { "http" });
    if let Some(tls) = request.get("tls").and_then(Value::as_object) {
        handshake(&mut members, tls);
    }
    answer(&mut members, object);
    object.iter().filter(|(name, _)| !KNOWN.contains(&name.as_str())).for_each(|(name, value)| {
        if !members.has(name) {
            members.set(name, value.clone());
        }
    });
    Some(members.finish(line))
}

fn answer(members: &mut Members, object: &Map<String, Value>) {
    let text = |name: &str| object.get(name).map(plain).unwrap_or_default();
    members.status(&text("status"));
    members.number("tx_body_b", &text("size"));
    members.number("rx_body_b", &text("bytes_read"));
    members.text("user", &text("user_id"));
    duration(members, object.get("duration"));
    headers(
        members,
        object.get("resp_headers"),
        &[("Content-Type", "resp_type"), ("Content-Encoding", "enc")],
    );
    if text("msg") != "handled request" {
        members.text("err", &text("msg"));
    }
    if text("level") != "info" {
        members.text("level", &text("level"));
    }
}

/// Seconds as a number; `1.2ms` when the encoder was told so.
fn duration(members: &mut Members, value: Option<&Value>) {
    match value {
        Some(Value::String(text)) => {
            let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
            let scale = match &text[digits.len()..] {
                "s" => 1e6,
                "ms" => 1e3,
                "µs" | "us" => 1.0,
                "ns" => 1e-3,
                _ => return,
            };
            digits.parse::<f64>().into_iter().for_each(|number| members.micros("dur_us", number * scale));
        }
        Some(value) => value.as_f64().into_iter().for_each(|seconds| members.micros("dur_us", seconds * 1e6)),
        None => {}
    }
}

fn headers(members: &mut Members, headers: Option<&Value>, wanted: &[(&str, &str)]) {
    for (name, member) in wanted {
        if let Some(text) = headers.and_then(|headers| headers.get(name)?.get(0)?.as_str()) {
            members.text(member, text);
        }
    }
}

/// Numbers of RFC 8446 and its registry.
fn handshake(members: &mut Members, tls: &Map<String, Value>) {
    match tls.get("version").and_then(Value::as_u64) {
        Some(772) => members.set("tls_ver", "1.3"),
        Some(771) => members.set("tls_ver", "1.2"),
        Some(770) => members.set("tls_ver", "1.1"),
        other => other.into_iter().for_each(|version| members.set("tls_ver", version.to_string())),
    }
    if let Some(suite) = tls.get("cipher_suite").and_then(Value::as_u64) {
        members.set("tls_cipher", cipher(suite).map_or_else(|| format!("0x{suite:04x}"), str::to_owned));
    }
    tls.get("resumed")
        .and_then(Value::as_bool)
        .into_iter()
        .for_each(|resumed| members.set("tls_resumed", resumed));
    members.text("tls_alpn", tls.get("proto").and_then(Value::as_str).unwrap_or_default());
    members.text("tls_sni", tls.get("server_name").and_then(Value::as_str).unwrap_or_default());
}

fn cipher(suite: u64) -> Option<&'static str> {
    Some(match suite {
        0x1301 => "TLS13_AES_128_GCM_SHA256",
        0x1302 => "TLS13_AES_256_GCM_SHA384",
        0x1303 => "TLS13_CHACHA20_POLY1305_SHA256",
        0xc02b => "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        0xc02c => "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        0xc02f => "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        0xc030 => "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        0xcca8 => "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        0xcca9 => "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        _ => return None,
    })
}
